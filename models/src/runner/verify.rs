//! Whether a device computes what it should: against another executor, and against recorded samples.
//! A device that computes wrong says nothing.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millrace_model_folder::Model;
use millrace_model_types::{Element, Precision, Tensor, TensorData};

use super::{Another, Fault, Parity, RunError, Runner};
use crate::device::Device;

/// Different seeded tensors; a batch repeats them, so that every row is compared at the price of four.
const N_SEEDED: usize = 4;
/// As many of a network of so many multiplications an item.
const N_SEEDED_OF_LARGE: usize = 2;
const MANY_MULTIPLICATIONS: u64 = 1 << 30;
/// As many for the interpreter, which takes a second for a billion multiplications; twice that in a build for development.
const N_SEEDED_FOR_INTERPRETER: usize = 1;
const MANY_FOR_INTERPRETER: u64 = 100_000_000;
/// From so many on, nobody waits for the interpreter.
const TOO_MANY_FOR_INTERPRETER: u64 = 8_000_000_000;
/// The largest difference from the reference, as a share of the largest output: GPUs sum in another
/// order (1e-5 is usual), one that computes wrong is beyond 1e-2.
const TOLERANCE: f32 = 1e-3;
/// The same where numbers have 16 bits: 1e-2 is usual of a deep network.
const HALF_TOLERANCE: f32 = 5e-2;
/// Outputs that are all smaller than this are compared as if one were of this size.
const SCALE_FLOOR: f32 = 1e-3;
/// Where a generator starts; any number does.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Most samples' time on the CPU when a folder is checked.
const PATIENCE: Duration = Duration::from_secs(10);
/// Outputs of a sample that are listed, the largest first.
const TOP: usize = 3;
/// Folders whose samples are known to be right are not run again; so many are remembered.
const KNOWN_MAX: usize = 64;
/// A difference of this share of the largest output is one of rounding, and not of another network.
const NEARLY: f32 = 0.02;

/// Digests of models and of their samples, for as long as this process lives.
static KNOWN: Mutex<VecDeque<(String, String)>> = Mutex::new(VecDeque::new());

pub(super) fn warm_up(runner: &mut Runner, progress: &mut dyn FnMut(usize)) -> Result<Option<Parity>, RunError> {
    let reference = runner.device.reference();
    let n_compared = n_seeded(&runner.model, &reference);
    let inputs = seeded(&runner.model, n_compared.max(1));
    let mut reference = Runner::new(&runner.model, &reference, inputs.len())?;
    let expected = match n_compared {
        0 => Vec::new(),
        _ => reference.forward(&inputs).map_err(told)?,
    };
    for item in &expected {
        check_finite(item, "a test tensor")?;
    }
    let scales = scales(&expected);
    let tolerance = tolerance(runner);
    let mut parity = Parity {
        device: runner.device.name().to_owned(),
        reference: reference.device.name().to_owned(),
        difference: 0.0,
        same_top: true,
    };
    for size in runner.sizes.clone() {
        progress(size);
        let batch: Vec<Tensor> = inputs.iter().cycle().take(size).cloned().collect();
        let outputs = runner.forward(&batch).map_err(told)?;
        for (index, (item, expected)) in outputs.iter().zip(expected.iter().cycle()).enumerate() {
            for (output, ((found, expected), scale)) in item.iter().zip(expected).zip(&scales).enumerate() {
                compare(found, expected, tolerance * scale).map_err(|difference| {
                    let of = named(&runner.model, output);
                    RunError::WrongNumbers(format!(
                        "{}: {of}item {index} of a batch of {size} is not what {} computes: {difference}",
                        runner.device.name(),
                        reference.device.name()
                    ))
                })?;
                parity.difference = parity.difference.max(largest_difference(found, expected) / scale);
                parity.same_top &= highest(found) == highest(expected);
            }
        }
    }
    check_samples(runner, &mut reference)?;
    if n_compared == 0 {
        warn_of_no_reference(runner);
        return Ok(None);
    }
    Ok(Some(parity))
}

fn warn_of_no_reference(runner: &Runner) {
    tracing::warn!(
        model = runner.model.name(),
        device = runner.device.name(),
        multiply_adds = runner.model.network().cost.multiply_adds,
        n_samples = runner.model.samples().map_or(0, |samples| samples.items.len()),
        "the device was compared with recorded samples and no other executor: without GPU support there is only an \
         interpreter, too slow for so large a network"
    );
}

/// The largest difference that is one of rounding, as a share of the largest output.
fn tolerance(runner: &Runner) -> f32 {
    match runner.device.precision() {
        Precision::F32 => TOLERANCE,
        Precision::F16 => HALF_TOLERANCE,
    }
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    let differences = found
        .iter()
        .zip(expected)
        .map(|(found, expected)| (found - expected).abs());
    differences.fold(0.0, f32::max)
}

/// The place of the largest number, the first of equals.
fn highest(numbers: &[f32]) -> Option<usize> {
    let numbered = numbers.iter().enumerate();
    let highest = numbered.rev().max_by(|(_, one), (_, other)| one.total_cmp(other));
    highest.map(|(index, _)| index)
}

/// Enough different tensors to notice an exchanged row, fewer of a network that takes the reference long, and none where it
/// would take too long.
fn n_seeded(model: &Model, reference: &Device) -> usize {
    match (model.network().cost.multiply_adds, reference.is_interpreter()) {
        (0..MANY_FOR_INTERPRETER, true) | (0..MANY_MULTIPLICATIONS, false) => N_SEEDED,
        (_, false) => N_SEEDED_OF_LARGE,
        (0..TOO_MANY_FOR_INTERPRETER, true) => N_SEEDED_FOR_INTERPRETER,
        (_, true) => 0,
    }
}

/// The largest number of each output, by size.
fn scales(items: &[Vec<Vec<f32>>]) -> Vec<f32> {
    let n_outputs = items.first().map_or(0, Vec::len);
    let of_output = |index: usize| {
        let numbers = items.iter().filter_map(|item| item.get(index)).flatten();
        numbers.fold(SCALE_FLOOR, |largest: f32, number| largest.max(number.abs()))
    };
    (0..n_outputs).map(of_output).collect()
}

/// Which output, where there are several.
fn named(model: &Model, output: usize) -> String {
    match model.output_names() {
        [_] | [] => String::new(),
        names => names
            .get(output)
            .map_or_else(String::new, |name| format!("output `{}` of ", name.escape_debug())),
    }
}

fn check_samples(runner: &mut Runner, reference: &mut Runner) -> Result<(), RunError> {
    let model = runner.model.clone();
    let Some(samples) = model.samples() else {
        return Ok(());
    };
    for (index, (input, expected)) in samples.items.iter().enumerate() {
        let outputs = first(runner.forward(std::slice::from_ref(input)).map_err(told)?);
        let scale = expected.iter().fold(0.0, |most: f32, number| most.max(number.abs()));
        let allowed = match runner.device.precision() {
            Precision::F32 => samples.tolerance,
            Precision::F16 => samples.tolerance.max(HALF_TOLERANCE * scale),
        };
        let Err(difference) = compare(&outputs, expected, allowed) else {
            continue;
        };
        // The device is to blame only for what the reference computes as it was recorded.
        check_sample(reference, index)?;
        return Err(RunError::WrongNumbers(format!(
            "{}: sample {index} of {} is not what was recorded, and {} computes what was: {difference}",
            runner.device.name(),
            samples.file,
            reference.device.name()
        )));
    }
    Ok(())
}

/// Runs a model's recorded samples on the CPU, as many as 10 s are enough for, or a test tensor where there are none;
/// what is known to be right is not run again. Tells `progress` how many were run, of how many. Blocking.
///
/// # Errors
/// When the layers and the weights are not the network that the samples were recorded with, or yield no numbers.
pub fn reproduce_samples(model: &Model, progress: &mut dyn FnMut(usize, usize)) -> Result<usize, RunError> {
    let known = (
        model.digest().to_owned(),
        model.samples().map_or("", |samples| &samples.sha256).to_owned(),
    );
    if known_samples().contains(&known) {
        return Ok(0);
    }
    let began = Instant::now();
    let mut reference = Runner::new(model, &Device::cpu(), 1)?;
    let n_samples = model.samples().map_or(0, |samples| samples.items.len());
    if n_samples == 0 {
        for item in reference.forward(&seeded(model, 1)).map_err(told)? {
            check_finite(&item, "a test tensor")?;
        }
    }
    let mut n_run = 0;
    while n_run < n_samples && (n_run == 0 || began.elapsed() < PATIENCE) {
        check_sample(&mut reference, n_run)?;
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

/// Compares one sample with what the CPU computes: where that differs, the network is another one.
fn check_sample(reference: &mut Runner, index: usize) -> Result<(), RunError> {
    let model = reference.model.clone();
    let Some((samples, (input, expected))) = model
        .samples()
        .and_then(|samples| Some((samples, samples.items.get(index)?)))
    else {
        return Ok(());
    };
    let outputs = reference.forward(std::slice::from_ref(input)).map_err(told)?;
    let name = format!("sample {index} of {}", samples.file);
    for item in &outputs {
        check_finite(item, &name)?;
    }
    let outputs = first(outputs);
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
    let labels = model.labels();
    let what = format!(
        "{name}: the largest outputs are to be {}, and are {}; the largest difference is {largest} at {}, allowed is {}",
        top(expected, labels),
        top(&outputs, labels),
        label(at, labels),
        samples.tolerance
    );
    let scores = model.activation().apply(&outputs);
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

/// The output that samples are recorded of: the first of the only item.
fn first(items: Vec<Vec<Vec<f32>>>) -> Vec<f32> {
    let outputs = items.into_iter().next();
    outputs
        .and_then(|outputs| outputs.into_iter().next())
        .unwrap_or_default()
}

fn check_finite(outputs: &[Vec<f32>], of: &str) -> Result<(), RunError> {
    for (output, numbers) in outputs.iter().enumerate() {
        if let Some(index) = numbers.iter().position(|number| !number.is_finite()) {
            let of_output = match outputs.len() {
                1 => String::new(),
                _ => format!(" of output {output}"),
            };
            return Err(RunError::NotFinite(format!(
                "{of}: output {index}{of_output} on the CPU"
            )));
        }
    }
    Ok(())
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

/// A fault before the first message: no batch is to blame, so the device is not trusted.
fn told(fault: Fault) -> RunError {
    match fault {
        Fault::Poisoned(reason) => RunError::DeviceLost(reason),
        Fault::OutOfMemory(reason) | Fault::Other(reason) => RunError::Failed(reason),
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
        // An xorshift generator: enough to distinguish items.
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
