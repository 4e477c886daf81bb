//! A model on a device: batches in, outputs and scores out. A failure is reported as the batch's fault or the device's.

mod burn;
mod cpu;
mod executor;
mod input;
mod interpreter;
mod verify;

pub use verify::reproduce_samples;

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::BurnExecutor;
pub(crate) use cpu::CPU_CHUNK;
use cpu::CpuExecutor;
use executor::{Executor, Fault, Outputs};
use interpreter::InterpreterExecutor;
use millrace_model_folder::{Model, Network};
use millrace_model_types::{Tensor, TensorType, panic_text};

use crate::burn::Products;
use crate::device::{Device, Place};

/// Most bytes that a full batch may take between two operations.
const MAX_BATCH_BYTES: u64 = 16 << 30;
/// On wgpu each warmed size is this many times the one before it: few kernels to tune, and at most three
/// quarters of a batch are padding.
const PADDED_STEP: usize = 4;
/// Items that Burn's CPU backend takes at a time. It spreads the items of a batch over the cores by itself, and
/// is fastest at 8 to 16 of them (a LeNet on two cores: 3,300 images/s at 1, 8,700 at 16, 5,300 at 64);
/// chunks side by side on threads of our own were no faster.
pub(crate) const FLEX_CHUNK: usize = 16;

/// One item's result.
#[derive(Debug, Clone)]
pub struct ItemOutput {
    /// Raw outputs, in the order of [`Model::outputs`]; not checked for finiteness.
    pub outputs: Vec<(TensorType, Vec<f32>)>,
    /// Scores of the first output by the activation of `model.toml`; empty for models that are not classifiers.
    pub scores: Vec<f32>,
}

/// How near a device's numbers are to the reference's.
#[derive(Debug, Clone, PartialEq)]
pub struct Parity {
    /// The device.
    pub device: String,
    /// The reference.
    pub reference: String,
    /// The largest difference of an output, as a share of the largest output.
    pub difference: f32,
    /// Whether the largest of each output was the same.
    pub same_top: bool,
}

/// Why a batch, or a warm-up, failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The device is lost or poisoned; everything in flight is to be held.
    #[error("the device is lost: {0}")]
    DeviceLost(String),
    /// This batch failed; the device goes on.
    #[error("the batch failed: {0}")]
    Failed(String),
    /// The device computes wrong numbers.
    #[error("the device computes wrong numbers: {0}")]
    WrongNumbers(String),
    /// The network differs from the one that the samples were recorded with: no device is to blame.
    #[error("the layers and weights are not the network of the recorded samples: {what}")]
    AnotherNetwork {
        /// Which sample, what was expected, and what came out.
        what: String,
        /// The allowed values.
        hint: Another,
    },
    /// The network itself yields NaN or infinities.
    #[error("the network's outputs are not finite: {0}")]
    NotFinite(String),
}

/// Why samples may not be reproduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Another {
    /// The recorded scores are the activation of the outputs.
    AfterActivation,
    /// The outputs are nearly right.
    Nearly,
    /// Anything.
    Network,
}

impl RunError {
    /// A hint, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::AnotherNetwork { hint, .. } => Some(match hint {
                Another::AfterActivation => {
                    "the samples were recorded behind the activation: record the raw outputs, or set `activation = \"none\"` and \
                     add the activation as the last layer"
                }
                Another::Nearly => {
                    "the outputs are nearly right: compare `mean`, `std`, `scale` and each `eps` with the training code; for \
                     samples that were recorded in half precision raise `tolerance`"
                }
                Another::Network => {
                    "compare the layers with `forward`, call by call: an activation, the order, `padding` or the pooling; then \
                     the normalisation and which checkpoint it is; or record the samples anew, with `model.eval()`"
                }
            }),
            Self::NotFinite(_) => {
                Some("a weight or a normalisation is too large for 32 bits: look at the training's last checkpoints")
            }
            Self::DeviceLost(_) | Self::Failed(_) | Self::WrongNumbers(_) => None,
        }
    }
}

/// A model on a device, used by one thread.
#[derive(Debug)]
pub struct Runner {
    model: Model,
    executor: Box<dyn Executor>,
    device: Device,
    max_batch: usize,
    // Invariant: ascending, not empty, the last is `max_batch`, or 1 where items are run one by one.
    sizes: Vec<usize>,
    /// The most items that the executor takes at a time.
    chunk: usize,
}

impl Runner {
    /// Uploads the weights.
    ///
    /// # Errors
    /// When `max_batch` is 0 or needs too much memory, or the device refuses.
    pub fn new(model: &Model, device: &Device, max_batch: usize) -> Result<Self, RunError> {
        if max_batch == 0 {
            return Err(RunError::Failed("max_batch is 0".to_owned()));
        }
        let network = model.network();
        let batch_bytes = (network.cost.peak_elements as u64)
            .saturating_mul(size_of::<f32>() as u64)
            .saturating_mul(max_batch as u64);
        if batch_bytes > MAX_BATCH_BYTES {
            let message =
                format!("{max_batch} items take {batch_bytes} bytes between two layers, more than {MAX_BATCH_BYTES}");
            return Err(RunError::Failed(message));
        }
        let executor = contained(|| prepare(network, device, max_batch)).map_err(|fault| match fault {
            Fault::Poisoned(reason) => RunError::DeviceLost(reason),
            Fault::OutOfMemory(reason) | Fault::Other(reason) => RunError::Failed(reason),
        })?;
        let sizes = if !network.is_batched() {
            vec![1]
        } else if device.pads_batches() {
            padded_sizes(max_batch)
        } else {
            vec![max_batch]
        };
        Ok(Self {
            model: model.clone(),
            executor,
            device: device.clone(),
            max_batch,
            sizes,
            chunk: match network.is_batched() {
                true => device.chunk().unwrap_or(max_batch).min(max_batch),
                false => 1,
            },
        })
    }

    /// The model that runs here.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Most items of a batch.
    pub fn max_batch(&self) -> usize {
        self.max_batch
    }

    /// Runs every batch size that will be used, once, telling `progress` each size before it runs; then checks this device's
    /// numbers for seeded tensors against another executor's (1e-3 of the largest output), and the model folder's recorded
    /// samples where there are any (the folder's tolerance). With half precision 5e-2 is allowed. Yields how near they are:
    /// nothing where no other executor was asked, which happens to large networks in builds without GPU support.
    ///
    /// # Errors
    /// When the device fails, or computes something else than the reference; when that does not compute what was
    /// recorded, or no numbers.
    pub fn warm_up(&mut self, progress: &mut dyn FnMut(usize)) -> Result<Option<Parity>, RunError> {
        verify::warm_up(self, progress)
    }

    /// Runs one batch of 1 to `max_batch` tensors of the model's input type.
    ///
    /// # Errors
    /// [`RunError::DeviceLost`] when the device is gone; anything else concerns this batch.
    pub fn run(&mut self, batch: &[Tensor]) -> Result<Vec<ItemOutput>, RunError> {
        self.check(batch)?;
        match self.forward(batch) {
            Ok(outputs) => Ok(self.items(outputs)),
            Err(fault) => Err(self.judge(fault)),
        }
    }

    /// Whether fewer items at a time can be tried than those that were too many.
    fn halve(&mut self, n_items: usize) -> bool {
        let tried = self.chunk.min(n_items);
        self.chunk = (tried / 2).max(1);
        tried > 1
    }

    fn check(&self, batch: &[Tensor]) -> Result<(), RunError> {
        let max_batch = self.max_batch();
        if !(1..=max_batch).contains(&batch.len()) {
            let message = format!("{} items in a batch, not within 1 to {max_batch}", batch.len());
            return Err(RunError::Failed(message));
        }
        let wants = self.model.input();
        match batch
            .iter()
            .enumerate()
            .find(|(_, tensor)| tensor.tensor_type() != *wants)
        {
            Some((index, tensor)) => Err(RunError::Failed(format!(
                "item {index} is {}, expected {wants}",
                tensor.tensor_type()
            ))),
            None => Ok(()),
        }
    }

    /// The outputs of each item of a checked batch, without those of padding. What is too much for the device's memory is
    /// tried in halves, and from then on no more at a time than what could be run.
    fn forward(&mut self, batch: &[Tensor]) -> Result<Outputs, Fault> {
        loop {
            match self.forward_in_chunks(batch) {
                Err(Fault::OutOfMemory(reason)) if self.halve(batch.len()) => tracing::warn!(
                    model = self.model.name(),
                    device = self.device.name(),
                    batch = self.chunk,
                    reason,
                    "the device is out of memory: batches are split from now on"
                ),
                done => return done,
            }
        }
    }

    fn forward_in_chunks(&mut self, batch: &[Tensor]) -> Result<Outputs, Fault> {
        let mut items = Vec::with_capacity(batch.len());
        for chunk in batch.chunks(self.chunk.max(1)) {
            items.extend(self.forward_chunk(chunk)?);
        }
        Ok(items)
    }

    fn forward_chunk(&mut self, chunk: &[Tensor]) -> Result<Outputs, Fault> {
        let padded = self.sizes.iter().copied().find(|size| *size >= chunk.len());
        let size = match self.device.pads_batches() && self.model.network().is_batched() {
            true => padded.unwrap_or(chunk.len()),
            false => chunk.len(),
        };
        let numbers = input::numbers(&self.model, chunk, size);
        let executor = &mut self.executor;
        let mut items = contained(|| executor.run(numbers, size))?;
        items.truncate(chunk.len());
        let order = self.model.output_order();
        if !order.is_sorted() {
            for item in &mut items {
                let ordered = order
                    .iter()
                    .filter_map(|index| item.get_mut(*index).map(std::mem::take));
                *item = ordered.collect();
            }
        }
        Ok(items)
    }

    fn items(&self, outputs: Outputs) -> Vec<ItemOutput> {
        let activation = self.model.activation();
        let scored = self.model.scored_output();
        let items = outputs.into_iter().map(|item| ItemOutput {
            scores: match scored.and_then(|index| item.get(index)) {
                Some(row) => activation.apply(row),
                None => Vec::new(),
            },
            outputs: self.model.outputs().iter().cloned().zip(item).collect(),
        });
        items.collect()
    }

    /// Tells a lost device from a failed batch: one that cannot run a tensor of our own is lost, since no
    /// message is to blame for that.
    fn judge(&mut self, fault: Fault) -> RunError {
        let reason = match fault {
            Fault::Poisoned(reason) => return RunError::DeviceLost(reason),
            Fault::OutOfMemory(reason) | Fault::Other(reason) => reason,
        };
        let test = verify::seeded(&self.model, 1);
        match self.forward(&test) {
            Ok(_) => RunError::Failed(reason),
            Err(Fault::Poisoned(again) | Fault::OutOfMemory(again) | Fault::Other(again)) => {
                RunError::DeviceLost(format!("{reason}; a test tensor then: {again}"))
            }
        }
    }
}

/// The graph on a device.
fn prepare(network: &Network, device: &Device, max_batch: usize) -> Result<Box<dyn Executor>, Fault> {
    Ok(match device.place() {
        Place::Cpu { threads } => Box::new(CpuExecutor::prepare(&network.graph, *threads, max_batch)?),
        Place::Burn(on) => {
            let products = match device.is_software() {
                true => Products::Sums,
                false => Products::Kernels,
            };
            Box::new(BurnExecutor::prepare(&network.graph, on, device.precision(), products)?)
        }
        Place::Interpreter => Box::new(InterpreterExecutor::prepare(&network.graph)),
    })
}

/// Sizes that batches are padded to, ascending, ending in `max_batch`.
fn padded_sizes(max_batch: usize) -> Vec<usize> {
    let smaller = std::iter::successors(Some(1), |size: &usize| size.checked_mul(PADDED_STEP));
    smaller
        .take_while(|size| *size < max_batch)
        .chain([max_batch])
        .collect()
}

/// Runs device code: a panic in the graphics stack is a fault, not the end of the process.
fn contained<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => Err(Fault::of(&panic_text(panic.as_ref()))),
    }
}

#[cfg(test)]
mod tests {
    use super::padded_sizes;

    #[test]
    fn few_sizes_end_in_the_largest() {
        let check = |max_batch, expected: &[usize]| assert_eq!(padded_sizes(max_batch), expected);
        check(1, &[1]);
        check(3, &[1, 3]);
        check(4, &[1, 4]);
        check(64, &[1, 4, 16, 64]);
        check(100, &[1, 4, 16, 64, 100]);
    }
}
