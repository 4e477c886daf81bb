//! A model folder, read and checked; on no device yet.

use std::path::Path;
use std::sync::Arc;

use millrace_model_types::TensorType;

use crate::error::ModelError;
use crate::load;
use crate::lower::Network;
use crate::manifest::{Input, Normalisation};
use crate::samples::Samples;
use crate::scores::Activation;

/// The name of the file that describes a model, within its folder.
pub const MANIFEST_FILE: &str = "model.toml";

/// A checked model folder, its weights in host memory; on no device yet. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Model {
    inner: Arc<Parts>,
}

/// What a model is made of.
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

    /// What a person should know of it, and may not expect; told when it is checked.
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

    /// What the model takes, without the batch axis.
    pub fn input(&self) -> &TensorType {
        &self.inner.input.tensor
    }

    /// What it yields, raw, without the batch axis.
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

    /// What `model.toml`, or the network's file, says about itself.
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

    /// The checked network.
    pub fn network(&self) -> &Network {
        &self.inner.network
    }

    /// Where each output is among the graph's.
    pub fn output_order(&self) -> &[usize] {
        &self.inner.order
    }

    /// Which output the scores are made of; none where the model is no classifier.
    pub fn scored_output(&self) -> Option<usize> {
        (!self.labels().is_empty()).then_some(0)
    }

    /// How bytes become the network's numbers; none for floats, and for bytes that are fed as they are.
    pub fn normalisation(&self) -> Option<&Normalisation> {
        self.inner.input.normalisation.as_ref()
    }

    /// How raw outputs become scores.
    pub fn activation(&self) -> Activation {
        self.inner.activation
    }

    /// Recorded inputs and outputs, where there are any.
    pub fn samples(&self) -> Option<&Samples> {
        self.inner.samples.as_ref()
    }
}
