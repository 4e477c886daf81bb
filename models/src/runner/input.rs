//! Items to the numbers that a network takes: joined, normalised, padded.

use millrace_model_folder::Model;
use millrace_model_types::{Tensor, TensorData};

/// The items' numbers one after the other, then zeros up to `size` items.
///
/// Bytes are normalised here and not on the device: WGSL has no 8-bit numbers to upload, and on the CPU
/// this one pass (about 3 us for a 32x32 picture) replaces three over the batch.
pub(super) fn numbers(model: &Model, batch: &[Tensor], size: usize) -> Vec<f32> {
    let elements = model.input().elements() as usize;
    let mut numbers = Vec::with_capacity(size * elements);
    for tensor in batch {
        match (tensor.data(), model.normalisation()) {
            (TensorData::Floats(floats), _) => numbers.extend_from_slice(floats),
            (TensorData::Bytes(bytes), None) => numbers.extend(bytes.iter().map(|byte| f32::from(*byte))),
            (TensorData::Bytes(bytes), Some(normalisation)) => {
                let channels = normalisation.factor.iter().zip(&normalisation.shift);
                let plane = (elements / normalisation.factor.len().max(1)).max(1);
                for (plane, (factor, shift)) in bytes.chunks(plane).zip(channels) {
                    numbers.extend(plane.iter().map(|byte| f32::from(*byte) * factor + shift));
                }
            }
        }
    }
    numbers.resize(size * elements, 0.0);
    numbers
}
