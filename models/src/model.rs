//! A model folder, read and checked; on no device yet.

use std::path::Path;
use std::sync::Arc;

use crate::device::{CPU_MAX_BATCH, DeviceChoice, Placement};
use crate::error::ModelError;
use crate::load;
use crate::lower::Network;
use crate::manifest::{Input, Normalisation};
use crate::runner::RunError;
use crate::samples::Samples;
use crate::scores::Activation;
use crate::tensor::TensorType;

/// Windows whose numbers a thread's kernels have in another order at a time.
const UNFOLDED_WINDOWS: u64 = 512;
/// Most items that a thread of the CPU has at a time, however large the batch.
const CPU_ITEMS: usize = 16;

/// The name of the file that describes a model, within its folder.
pub const MANIFEST_FILE: &str = "model.toml";

/// A checked model folder, its weights in host memory; on no device yet. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Model {
    inner: Arc<Parts>,
}

/// The parts of a model.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) digest: String,
    pub(crate) description: Option<String>,
    pub(crate) licence: Option<String>,
    pub(crate) provenance: Option<String>,
    pub(crate) held_out_accuracy: Option<f64>,
    pub(crate) notes: Vec<String>,
    pub(crate) network: Network,
    pub(crate) input: Input,
    // Invariant: the graph's outputs in the order of `order`.
    pub(crate) outputs: Vec<TensorType>,
    pub(crate) output_names: Vec<String>,
    /// Places of the graph's outputs.
    pub(crate) order: Vec<usize>,
    pub(crate) labels: Vec<String>,
    pub(crate) activation: Activation,
    pub(crate) samples: Option<Samples>,
}

impl Model {
    /// Reads and checks a model: a folder with a `model.toml`, the weights or the network that it names, and its samples;
    /// or an `.onnx` file, or a folder with one.
    ///
    /// # Errors
    /// Names the file, with line and column in `model.toml`, and the layer or the node with what was expected and found.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        Ok(Self {
            inner: Arc::new(load::load(path)?),
        })
    }

    /// Runs the recorded samples on the CPU, as many as 10 s are enough for, or a test tensor where there are none;
    /// what is known to be right is not run again. Tells `progress` how many were run, of how many. Blocking.
    ///
    /// # Errors
    /// When the layers and the weights are not the network that the samples were recorded with, or yield no numbers.
    pub fn reproduce_samples(&self, progress: &mut dyn FnMut(usize, usize)) -> Result<usize, RunError> {
        crate::runner::reproduce(self, progress)
    }

    /// Notes about it that a person may not expect; shown when it is checked.
    pub fn notes(&self) -> &[String] {
        &self.inner.notes
    }

    /// The name in `model.toml`, or the folder's or the file's.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// SHA-256 in lower-case hexadecimal over the length of `model.toml` (8 bytes, little-endian; 0 where there is none),
    /// `model.toml` and the weights, or the network and each file of weights beside it.
    pub fn digest(&self) -> &str {
        &self.inner.digest
    }

    /// The input of the model, without the batch axis.
    pub fn input(&self) -> &TensorType {
        &self.inner.input.tensor
    }

    /// Its raw outputs, without the batch axis.
    pub fn outputs(&self) -> &[TensorType] {
        &self.inner.outputs
    }

    /// Labels of the first output's classes, in order; empty where it has none.
    pub fn labels(&self) -> &[String] {
        &self.inner.labels
    }

    /// Bytes of the weights in memory.
    pub fn weight_bytes(&self) -> u64 {
        self.inner.network.weight_bytes()
    }

    /// How many items run at a time on the first device of a placement.
    pub fn batch_items(&self, placement: &Placement, max_batch: Option<usize>) -> usize {
        let default = placement
            .devices
            .first()
            .map_or(CPU_MAX_BATCH, DeviceChoice::default_max_batch);
        let is_cpu = placement.devices.first().is_none_or(DeviceChoice::is_cpu);
        self.items_at_a_time(is_cpu, max_batch.unwrap_or(default))
    }

    /// The most memory that it takes on this machine while it runs where a placement says, with batches of at most
    /// `max_batch` items: a GPU's memory is counted as if it were the machine's, which on a software device it is.
    pub fn memory_bytes(&self, placement: &Placement, max_batch: Option<usize>) -> u64 {
        // The smallest default of several devices holds for all.
        let default = placement.devices.iter().map(DeviceChoice::default_max_batch).min();
        let max_batch = max_batch.or(default).unwrap_or(CPU_MAX_BATCH);
        let each = placement.devices.iter().map(|device| {
            let one = match device.is_cpu() {
                true => self.cpu_bytes(max_batch, placement.threads_each()),
                false => self.gpu_bytes(max_batch),
            };
            one.saturating_mul(placement.instances.max(1) as u64)
        });
        // Weights are there once as they were read, and once more for each instance.
        each.fold(self.weight_bytes(), u64::saturating_add)
    }

    /// The memory of an instance on the CPU: its weights, with channels filled up to the width of a register; and for
    /// each thread the values of the items that it has at a time, filled up as well and with their readers' padding
    /// around them, and the room of its kernels.
    fn cpu_bytes(&self, max_batch: usize, threads: usize) -> u64 {
        let cost = &self.network().cost;
        let n_items = self.items_at_a_time(true, max_batch) as u64;
        let values = bytes(cost.peak_elements as u64)
            .saturating_mul(2)
            .saturating_mul(n_items);
        let kernels = bytes(cost.window_elements).saturating_mul(UNFOLDED_WINDOWS);
        let weights = bytes(cost.parameters);
        let packed = weights.saturating_add(weights / 4);
        let input = bytes(self.input().elements()).saturating_mul(max_batch as u64);
        let threads = (threads as u64).saturating_mul(values.saturating_add(kernels));
        packed.saturating_add(threads).saturating_add(input)
    }

    /// The memory of an instance on a GPU.
    fn gpu_bytes(&self, max_batch: usize) -> u64 {
        let cost = &self.network().cost;
        // The inputs and outputs of an operation and what is kept beside it, and as much again for the operation's
        // own: a convolution brings its input into another order.
        let n_items = self.items_at_a_time(false, max_batch) as u64;
        let batch = bytes(cost.peak_elements as u64)
            .saturating_mul(2)
            .saturating_mul(n_items);
        // The weights of one layer are there once more, turned round.
        bytes(cost.parameters)
            .saturating_add(bytes(cost.largest_parameters))
            .saturating_add(batch)
    }

    fn items_at_a_time(&self, is_cpu: bool, max_batch: usize) -> usize {
        match (self.network().is_batched(), is_cpu) {
            (false, _) => 1,
            (true, true) => max_batch.min(CPU_ITEMS),
            (true, false) => max_batch,
        }
    }

    /// The metadata of `model.toml`, or of the network's file.
    pub fn description(&self) -> Option<&str> {
        self.inner.description.as_deref()
    }

    /// The licence of the weights, where `model.toml` says it.
    pub fn licence(&self) -> Option<&str> {
        self.inner.licence.as_deref()
    }

    /// Where the weights come from, where `model.toml` says it.
    pub fn provenance(&self) -> Option<&str> {
        self.inner.provenance.as_deref()
    }

    /// The share of held-out items that were classified rightly when the model was made, 0 to 1.
    pub fn held_out_accuracy(&self) -> Option<f64> {
        self.inner.held_out_accuracy
    }

    /// The outputs' names, in order.
    pub fn output_names(&self) -> &[String] {
        &self.inner.output_names
    }

    pub(crate) fn network(&self) -> &Network {
        &self.inner.network
    }

    /// Where each output is among the graph's.
    pub(crate) fn output_order(&self) -> &[usize] {
        &self.inner.order
    }

    /// The output that the scores are made of; `None` where the model is not a classifier.
    pub(crate) fn scored_output(&self) -> Option<usize> {
        (!self.labels().is_empty()).then_some(0)
    }

    pub(crate) fn normalisation(&self) -> Option<&Normalisation> {
        self.inner.input.normalisation.as_ref()
    }

    pub(crate) fn activation(&self) -> Activation {
        self.inner.activation
    }

    pub(crate) fn samples(&self) -> Option<&Samples> {
        self.inner.samples.as_ref()
    }
}

/// For numbers with 32 bits.
fn bytes(elements: u64) -> u64 {
    elements.saturating_mul(size_of::<f32>() as u64)
}
