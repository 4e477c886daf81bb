//! Whether a device computes what it should: against the CPU backend, and against recorded samples.
//! A device that computes wrong says nothing.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Another, Fault, RunError, Runner};
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

/// Most samples' time on the CPU backend when a folder is checked.
const PATIENCE: Duration = Duration::from_secs(10);
/// Outputs that are told of a sample, the largest first.
const TOP: usize = 3;
/// Folders whose samples are known to be right are not run again; so many are remembered.
const KNOWN_MAX: usize = 64;
/// A difference of this share of the largest output is one of rounding, and not of another network.
const NEARLY: f32 = 0.02;

/// Digests of models and of their samples, for as long as this process lives.
static KNOWN: Mutex<VecDeque<(String, String)>> = Mutex::new(VecDeque::new());

pub(super) fn warm_up(runner: &Runner, progress: &mut dyn FnMut(usize)) -> Result<(), RunError> {
    let inputs = seeded(&runner.model, N_SEEDED);
    let reference = Runner::new(&runner.model, &Device::cpu(), N_SEEDED)?;
    let expected = reference.forward(&inputs).map_err(told)?;
    let expected: Vec<&[f32]> = expected.chunks(runner.n_outputs.max(1)).collect();
    for row in &expected {
        check_finite(row, "a test tensor")?;
    }
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
    check_samples(runner, &reference)
}

fn check_samples(runner: &Runner, reference: &Runner) -> Result<(), RunError> {
    let Some(samples) = runner.model.samples() else {
        return Ok(());
    };
    for (index, (input, expected)) in samples.items.iter().enumerate() {
        let outputs = runner.forward(std::slice::from_ref(input)).map_err(told)?;
        let Err(difference) = compare(&outputs, expected, samples.tolerance) else {
            continue;
        };
        // The device is to blame only for what the CPU backend computes as it was recorded.
        check_sample(reference, index)?;
        return Err(RunError::WrongNumbers(format!(
            "{}: sample {index} of {} is not what was recorded, and the CPU backend computes what was: {difference}",
            runner.device.name(),
            samples.file
        )));
    }
    Ok(())
}

/// Runs the recorded samples, or a test tensor where there are none, on the CPU backend, as many as there is time for.
/// `progress` is told how many were run, of how many.
pub(crate) fn reproduce(model: &Model, progress: &mut dyn FnMut(usize, usize)) -> Result<usize, RunError> {
    let known = (
        model.digest().to_owned(),
        model.samples().map_or("", |samples| &samples.sha256).to_owned(),
    );
    if known_samples().contains(&known) {
        return Ok(0);
    }
    let began = Instant::now();
    let reference = Runner::new(model, &Device::cpu(), 1)?;
    let n_samples = model.samples().map_or(0, |samples| samples.items.len());
    if n_samples == 0 {
        let outputs = reference.forward(&seeded(model, 1)).map_err(told)?;
        check_finite(&outputs, "a test tensor")?;
    }
    let mut n_run = 0;
    while n_run < n_samples && (n_run == 0 || began.elapsed() < PATIENCE) {
        check_sample(&reference, n_run)?;
        n_run += 1;
        progress(n_run, n_samples);
    }
    let mut all = known_samples();
    all.truncate(KNOWN_MAX - 1);
    all.push_front(known);
    Ok(n_run)
}

fn known_samples() -> MutexGuard<'static, VecDeque<(String, String)>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Compares one sample with what the CPU backend computes: where that differs, the network is another one.
fn check_sample(reference: &Runner, index: usize) -> Result<(), RunError> {
    let Some((samples, (input, expected))) = reference
        .model
        .samples()
        .and_then(|samples| Some((samples, samples.items.get(index)?)))
    else {
        return Ok(());
    };
    let outputs = reference.forward(std::slice::from_ref(input)).map_err(told)?;
    let name = format!("sample {index} of {}", samples.file);
    check_finite(&outputs, &name)?;
    if compare(&outputs, expected, samples.tolerance).is_ok() {
        return Ok(());
    }
    let differences = outputs
        .iter()
        .zip(expected)
        .map(|(found, expected)| (found - expected).abs());
    let largest = differences
        .enumerate()
        .max_by(|(_, one), (_, other)| one.total_cmp(other));
    let (at, largest) = largest.unwrap_or_default();
    let labels = reference.model.labels();
    let what = format!(
        "{name}: the largest outputs are to be {}, and are {}; the largest difference is {largest} at {}, allowed is {}",
        top(expected, labels),
        top(&outputs, labels),
        label(at, labels),
        samples.tolerance
    );
    let scores = reference.model.activation().apply(&outputs);
    let after_activation = compare(&scores, expected, samples.tolerance).is_ok();
    let scale = expected.iter().fold(0.0, |most: f32, output| most.max(output.abs()));
    Err(RunError::AnotherNetwork {
        what,
        hint: match after_activation {
            true => Another::AfterActivation,
            false if largest <= NEARLY * scale => Another::Nearly,
            false => Another::Network,
        },
    })
}

fn check_finite(outputs: &[f32], of: &str) -> Result<(), RunError> {
    match outputs.iter().position(|output| !output.is_finite()) {
        None => Ok(()),
        Some(index) => Err(RunError::NotFinite(format!("{of}: output {index} on the CPU backend"))),
    }
}

/// The largest of some outputs, in words.
fn top(outputs: &[f32], labels: &[String]) -> String {
    let mut order: Vec<(usize, &f32)> = outputs.iter().enumerate().collect();
    order.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let told = order
        .into_iter()
        .take(TOP)
        .map(|(index, output)| format!("{} {output}", label(index, labels)));
    told.collect::<Vec<_>>().join(", ")
}

fn label(index: usize, labels: &[String]) -> String {
    match labels.get(index) {
        Some(label) => format!("`{}`", label.escape_debug().take(40).collect::<String>()),
        None => format!("output {index}"),
    }
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
