//! A model folder's recorded inputs and outputs, which a device must reproduce before it serves.

use std::path::Path;

use millrace_model_types::{Element, Tensor, TensorData, TensorType};
use sha2::{Digest, Sha256};

use crate::error::ModelError;
use crate::manifest::SampleSource;
use crate::weights::{self, Number};

/// Most samples; a few distinguish a right device from a wrong one.
const MAX_SAMPLES: usize = 256;

/// Inputs and the raw outputs that belong to them.
#[derive(Debug)]
pub struct Samples {
    // Invariant: not empty, every tensor of the model's input type, every output of the model's length.
    /// Each input, and the raw output that belongs to it.
    pub items: Vec<(Tensor, Vec<f32>)>,
    /// The largest difference of an output that is still right.
    pub tolerance: f32,
    /// The file's name.
    pub file: String,
    /// The file's SHA-256, in hexadecimal.
    pub sha256: String,
}

impl Samples {
    pub(crate) fn read(
        folder: &Path,
        source: &SampleSource,
        input: &TensorType,
        n_outputs: usize,
    ) -> Result<Self, ModelError> {
        let path = folder.join(&source.file);
        let failed = |message| ModelError::Weights {
            path: path.clone(),
            message,
        };
        // Samples change nothing that a model computes, so they are not in its digest.
        let (mut file, sha256) = weights::open(&path, source.format, &mut Sha256::new())?;
        let (Some(inputs), Some(outputs)) = (file.shape("input"), file.shape("output")) else {
            let there: Vec<String> = file
                .names()
                .take(4)
                .map(|name| format!("`{}`", name.escape_debug()))
                .collect();
            let message = format!(
                "samples are two tensors, `input` and `output`; it has {}",
                there.join(", ")
            );
            return Err(failed(message));
        };
        let n_samples = inputs.first().copied().unwrap_or(0);
        let shape: Vec<usize> = input.shape.iter().map(|axis| *axis as usize).collect();
        if inputs.get(1..) != Some(shape.as_slice()) || !(1..=MAX_SAMPLES).contains(&n_samples) {
            let message = format!("`input` of shape {inputs:?}, expected [1 to {MAX_SAMPLES}] and {shape:?}");
            return Err(failed(message));
        }
        let output_elements = outputs
            .iter()
            .skip(1)
            .fold(1, |product: usize, axis| product.saturating_mul(*axis));
        if outputs.first() != Some(&n_samples) || output_elements != n_outputs {
            let message = format!("`output` of shape {outputs:?}, expected {n_samples} times {n_outputs} numbers");
            return Err(failed(message));
        }
        let (number, inputs) = file.read("input")?;
        if (number == Number::U8) != (input.element == Element::Byte) {
            return Err(failed(format!("`input` is not of {input}")));
        }
        let (_, outputs) = file.read("output")?;
        let inputs = inputs.chunks((input.elements() as usize).max(1));
        let mut items = Vec::new();
        for (numbers, outputs) in inputs.zip(outputs.chunks(n_outputs.max(1))) {
            let data = match input.element {
                // They were widened from bytes: the cast is exact.
                Element::Byte => TensorData::Bytes(numbers.iter().map(|number| *number as u8).collect()),
                Element::Float => TensorData::Floats(numbers.to_vec()),
            };
            let tensor = Tensor::new(input.shape.clone(), data).map_err(|error| failed(error.to_string()))?;
            items.push((tensor, outputs.to_vec()));
        }
        Ok(Self {
            items,
            tolerance: source.tolerance,
            file: source.file.clone(),
            sha256,
        })
    }
}
