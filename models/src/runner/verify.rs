//! Whether a device computes what it should: against the CPU backend, and against recorded samples.
//! A device that computes wrong says nothing.

use super::{Fault, RunError, Runner};
use crate::device::Device;
use crate::model::Model;
use crate::tensor::{Element, Tensor, TensorData};

/// Different seeded tensors; a batch repeats them, so that every row is compared at the price of four.
const N_SEEDED: usize = 4;
/// The largest difference from the CPU backend, as a share of the largest output: GPUs sum in another
/// order (1e-5 is usual), one that computes wrong is beyond 1e-2.
const TOLERANCE: f32 = 1e-3;
/// Where a generator starts; any number does.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

pub(super) fn warm_up(runner: &Runner, progress: &mut dyn FnMut(usize)) -> Result<(), RunError> {
    let inputs = seeded(&runner.model, N_SEEDED);
    let reference = Runner::new(&runner.model, &Device::cpu(), N_SEEDED)?;
    let expected = reference.forward(&inputs).map_err(told)?;
    let expected: Vec<&[f32]> = expected.chunks(runner.n_outputs.max(1)).collect();
    let scale = expected
        .iter()
        .flat_map(|row| row.iter())
        .fold(1.0, |largest: f32, output| largest.max(output.abs()));
    for size in &runner.sizes {
        progress(*size);
        let batch: Vec<Tensor> = inputs.iter().cycle().take(*size).cloned().collect();
        let outputs = runner.forward(&batch).map_err(told)?;
        let rows = outputs.chunks(runner.n_outputs.max(1));
        for (index, (row, expected)) in rows.zip(expected.iter().cycle()).enumerate() {
            compare(row, expected, TOLERANCE * scale).map_err(|difference| {
                RunError::WrongNumbers(format!(
                    "{}: item {index} of a batch of {size} is not what the CPU backend computes: {difference}",
                    runner.device.name()
                ))
            })?;
        }
    }
    check_samples(runner)
}

fn check_samples(runner: &Runner) -> Result<(), RunError> {
    let Some(samples) = runner.model.samples() else {
        return Ok(());
    };
    for (index, (input, expected)) in samples.items.iter().enumerate() {
        let outputs = runner.forward(std::slice::from_ref(input)).map_err(told)?;
        compare(&outputs, expected, samples.tolerance).map_err(|difference| {
            RunError::WrongNumbers(format!(
                "{}: sample {index} of the model folder has another recorded output: {difference}",
                runner.device.name()
            ))
        })?;
    }
    Ok(())
}

/// A fault before any message was taken: nothing is told about a batch, so the device is not trusted.
fn told(fault: Fault) -> RunError {
    match fault {
        Fault::Poisoned(reason) => RunError::DeviceLost(reason),
        Fault::Other(reason) => RunError::Failed(reason),
    }
}

/// The first output that is too far off, in words. A NaN is, whatever was expected.
fn compare(outputs: &[f32], expected: &[f32], tolerance: f32) -> Result<(), String> {
    if outputs.len() != expected.len() {
        return Err(format!("{} outputs, expected {}", outputs.len(), expected.len()));
    }
    let far = |(output, expected): &(&f32, &f32)| {
        let near = (*output - *expected).abs() <= tolerance;
        !near
    };
    match outputs.iter().zip(expected).enumerate().find(|(_, pair)| far(pair)) {
        Some((index, (output, expected))) => Err(format!(
            "output {index} is {output}, expected {expected} within {tolerance}"
        )),
        None => Ok(()),
    }
}

/// Tensors of the model's input type, the same at every start: bytes of the whole range, floats within -1 to 1.
pub(super) fn seeded(model: &Model, n_tensors: usize) -> Vec<Tensor> {
    let input = model.input();
    let mut state = SEED;
    let mut next_byte = move || {
        // An xorshift generator: enough to tell one item from another.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 56) as u8
    };
    let tensors = (0..n_tensors).filter_map(|_| {
        let bytes: Vec<u8> = (0..input.elements()).map(|_| next_byte()).collect();
        let data = match input.element {
            Element::Byte => TensorData::Bytes(bytes),
            Element::Float => TensorData::Floats(bytes.iter().map(|byte| f32::from(*byte) / 127.5 - 1.0).collect()),
        };
        // Shape and data come from the same type, so none is left out.
        Tensor::new(input.shape.clone(), data).ok()
    });
    tensors.collect()
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn a_number_that_is_off_or_none_is_found() {
        assert!(compare(&[1.0, 2.0], &[1.0, 2.0005], 1e-3).is_ok());
        assert!(compare(&[1.0, 2.0], &[1.0, 2.002], 1e-3).is_err_and(|text| text.contains("output 1")));
        assert!(compare(&[f32::NAN], &[1.0], 1e-3).is_err());
        assert!(compare(&[1.0], &[1.0, 2.0], 1e-3).is_err());
    }
}
