//! A model on a device: batches in, outputs and scores out. What fails is told as the batch's fault or the device's.

mod input;
mod network;
mod verify;

pub(crate) use verify::reproduce;

use std::panic::{AssertUnwindSafe, catch_unwind};

use network::{Fault, Network};

use crate::device::Device;
use crate::model::Model;
use crate::tensor::{Tensor, TensorType};

/// Most bytes that a full batch may take between two operations.
const MAX_BATCH_BYTES: u64 = 16 << 30;
/// On wgpu each warmed size is this many times the one before it: few kernels to tune, and at most three
/// quarters of a batch are padding.
const PADDED_STEP: usize = 4;
/// Items that the CPU backend takes at a time. It spreads the items of a batch over the cores by itself, and
/// is fastest at 8 to 16 of them (a LeNet on two cores: 3,300 images/s at 1, 8,700 at 16, 5,300 at 64);
/// chunks side by side on threads of our own were no faster.
pub(crate) const CPU_CHUNK: usize = 16;

/// One item's result.
#[derive(Debug, Clone)]
pub struct ItemOutput {
    /// Raw outputs, in the order of [`Model::outputs`]; not checked for finiteness.
    pub outputs: Vec<(TensorType, Vec<f32>)>,
    /// Scores of the first output by the activation of `model.toml`; empty for models that are no classifiers.
    pub scores: Vec<f32>,
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
    /// The network is not the one that the samples were recorded with: no device is to blame.
    #[error("the layers and weights are not the network of the recorded samples: {what}")]
    AnotherNetwork {
        /// Which sample, what was expected, and what came out.
        what: String,
        /// What it may be.
        hint: Another,
    },
    /// The network itself yields what is no number.
    #[error("the network's outputs are not finite: {0}")]
    NotFinite(String),
}

/// Why samples may not be reproduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Another {
    /// What was recorded is what the activation makes of the outputs.
    AfterActivation,
    /// The outputs are nearly right.
    Nearly,
    /// Anything.
    Network,
}

impl RunError {
    /// What to do about it, where that is known.
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
    network: Network,
    device: Device,
    // Invariant: ascending, not empty, the last is `max_batch`.
    sizes: Vec<usize>,
    axes: Vec<usize>,
    n_outputs: usize,
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
        let batch_bytes = (model.plan().peak_elements as u64)
            .saturating_mul(size_of::<f32>() as u64)
            .saturating_mul(max_batch as u64);
        if batch_bytes > MAX_BATCH_BYTES {
            let message =
                format!("{max_batch} items take {batch_bytes} bytes between two layers, more than {MAX_BATCH_BYTES}");
            return Err(RunError::Failed(message));
        }
        let upload = || Network::upload(model.plan(), &device.burn);
        let network = contained(upload).map_err(|fault| match fault {
            Fault::Poisoned(reason) => RunError::DeviceLost(reason),
            Fault::Other(reason) => RunError::Failed(reason),
        })?;
        let axes = model.input().shape.iter().map(|axis| *axis as usize).collect();
        let n_outputs = model.plan().output.iter().product();
        let sizes = if device.pads_batches() {
            padded_sizes(max_batch)
        } else {
            vec![max_batch]
        };
        Ok(Self {
            model: model.clone(),
            network,
            device: device.clone(),
            sizes,
            axes,
            n_outputs,
        })
    }

    /// The model that runs here.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Most items of a batch.
    pub fn max_batch(&self) -> usize {
        self.sizes.last().copied().unwrap_or(1)
    }

    /// Runs every batch size that will be used, once, telling `progress` each size before it runs; then
    /// checks this device's numbers for seeded tensors against the CPU backend's (1e-3 of the largest
    /// output), and the model folder's recorded samples where there are any (the folder's tolerance).
    ///
    /// # Errors
    /// When the device fails, or computes something else than the CPU backend; when that does not compute what was
    /// recorded, or no numbers.
    pub fn warm_up(&mut self, progress: &mut dyn FnMut(usize)) -> Result<(), RunError> {
        verify::warm_up(self, progress)
    }

    /// Runs one batch of 1 to `max_batch` tensors of the model's input type.
    ///
    /// # Errors
    /// [`RunError::DeviceLost`] when the device is gone; anything else concerns this batch.
    pub fn run(&mut self, batch: &[Tensor]) -> Result<Vec<ItemOutput>, RunError> {
        self.check(batch)?;
        let outputs = self.forward(batch).map_err(|fault| self.judge(fault))?;
        Ok(self.items(&outputs))
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

    /// All outputs of a checked batch, row-major, without those of padding.
    fn forward(&self, batch: &[Tensor]) -> Result<Vec<f32>, Fault> {
        if !self.device.pads_batches() {
            return self.forward_in_chunks(batch);
        }
        let size = self
            .sizes
            .iter()
            .copied()
            .find(|size| *size >= batch.len())
            .unwrap_or(batch.len());
        let numbers = input::numbers(&self.model, batch, size);
        let mut outputs = contained(|| self.network.forward(numbers, size, &self.axes))?;
        self.expect_outputs(&outputs, size)?;
        outputs.truncate(batch.len() * self.n_outputs);
        Ok(outputs)
    }

    fn forward_in_chunks(&self, batch: &[Tensor]) -> Result<Vec<f32>, Fault> {
        let mut outputs = Vec::with_capacity(batch.len() * self.n_outputs);
        for chunk in batch.chunks(CPU_CHUNK) {
            let numbers = input::numbers(&self.model, chunk, chunk.len());
            let chunk_outputs = contained(|| self.network.forward(numbers, chunk.len(), &self.axes))?;
            self.expect_outputs(&chunk_outputs, chunk.len())?;
            outputs.extend(chunk_outputs);
        }
        Ok(outputs)
    }

    fn expect_outputs(&self, outputs: &[f32], n_items: usize) -> Result<(), Fault> {
        if outputs.len() == n_items * self.n_outputs {
            return Ok(());
        }
        Err(Fault::Other(format!(
            "{} outputs for {n_items} items of {}",
            outputs.len(),
            self.n_outputs
        )))
    }

    fn items(&self, outputs: &[f32]) -> Vec<ItemOutput> {
        let activation = self.model.activation();
        let classifies = !self.model.labels().is_empty();
        let items = outputs.chunks(self.n_outputs.max(1)).map(|row| ItemOutput {
            outputs: self
                .model
                .outputs()
                .iter()
                .map(|output| (output.clone(), row.to_vec()))
                .collect(),
            scores: if classifies { activation.apply(row) } else { Vec::new() },
        });
        items.collect()
    }

    /// Tells a lost device from a failed batch: one that cannot run a tensor of our own is lost, since no
    /// message is to blame for that.
    fn judge(&self, fault: Fault) -> RunError {
        let reason = match fault {
            Fault::Poisoned(reason) => return RunError::DeviceLost(reason),
            Fault::Other(reason) => reason,
        };
        match self.forward(&verify::seeded(&self.model, 1)) {
            Ok(_) => RunError::Failed(reason),
            Err(Fault::Poisoned(again) | Fault::Other(again)) => {
                RunError::DeviceLost(format!("{reason}; a test tensor then: {again}"))
            }
        }
    }
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
        Err(panic) => Err(Fault::Other(crate::panic_text(panic.as_ref()))),
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
