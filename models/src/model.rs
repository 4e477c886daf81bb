//! A model folder, read and checked; on no device yet.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::device::{CPU_MAX_BATCH, DeviceChoice, GPU_MAX_BATCH};
use crate::error::ModelError;
use crate::manifest::{MAX_MANIFEST_BYTES, Manifest, Normalisation, Source};
use crate::plan::{self, Plan};
use crate::runner::{CPU_CHUNK, RunError};
use crate::samples::Samples;
use crate::scores::Activation;
use crate::tensor::{Element, TensorType};
use crate::weights;

/// Windows that the CPU backend unfolds at a time on each core (`TILE_SIZE` in burn-flex's `ops/conv.rs`).
const UNFOLDED_WINDOWS: u64 = 512;

/// The name of the file that describes a model, within its folder.
pub const MANIFEST_FILE: &str = "model.toml";

/// A checked model folder, its weights in host memory; on no device yet. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Model {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    manifest: Manifest,
    name: String,
    digest: String,
    outputs: Vec<TensorType>,
    plan: Plan,
    samples: Option<Samples>,
}

impl Model {
    /// Reads and checks a model folder: `model.toml`, the weights it names, and its samples.
    ///
    /// # Errors
    /// Names the file, with line and column in `model.toml`, and the layer with what was expected and found.
    pub fn load(folder: &Path) -> Result<Self, ModelError> {
        let source = read_manifest(&folder.join(MANIFEST_FILE))?;
        Manifest::parse_and(&source, folder, |manifest| Self::read(folder, manifest, &source))
    }

    /// Reads the files that `model.toml` names.
    fn read(folder: &Path, manifest: Manifest, source: &Source) -> Result<Self, ModelError> {
        // The length stands between the two, so that no byte can move from one file to the other.
        let mut digest = Sha256::new();
        digest.update((source.text.len() as u64).to_le_bytes());
        digest.update(source.text.as_bytes());
        let weights_path = folder.join(&manifest.weights.file);
        let (mut file, found) = weights::open(&weights_path, manifest.weights.format, &mut digest)?;
        if let Some(expected) = manifest.weights.sha256.clone().filter(|expected| *expected != found) {
            return Err(ModelError::Digest {
                path: weights_path,
                expected,
                found,
            });
        }
        let plan = plan::build(&manifest, source, &mut file)?;
        let outputs = vec![output_type(&manifest, &plan, source)?];
        let n_outputs = plan.output.iter().product();
        let samples = match &manifest.samples {
            Some(samples) => Some(Samples::read(folder, samples, &manifest.input, n_outputs)?),
            None => None,
        };
        let name = match (&manifest.name, folder.file_name()) {
            (Some(name), _) => name.clone(),
            (None, Some(name)) => name.to_string_lossy().into_owned(),
            (None, None) => "model".to_owned(),
        };
        let digest = weights::hexadecimal(&digest.finalize());
        tracing::debug!(model = %name, digest, weight_bytes = plan.weight_bytes, "model folder read");
        Ok(Self {
            inner: Arc::new(Inner {
                manifest,
                name,
                digest,
                outputs,
                plan,
                samples,
            }),
        })
    }

    /// Runs the recorded samples on the CPU backend, as many as 10 s are enough for, or a test tensor where there are none;
    /// what is known to be right is not run again. Tells `progress` how many were run, of how many. Blocking.
    ///
    /// # Errors
    /// When the layers and the weights are not the network that the samples were recorded with, or yield no numbers.
    pub fn reproduce_samples(&self, progress: &mut dyn FnMut(usize, usize)) -> Result<usize, RunError> {
        crate::runner::reproduce(self, progress)
    }

    /// The name in `model.toml`, or the folder's.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// SHA-256 in lower-case hexadecimal over the length of `model.toml` (8 bytes, little-endian),
    /// `model.toml` and the weights.
    pub fn digest(&self) -> &str {
        &self.inner.digest
    }

    /// What the model takes, without the batch axis.
    pub fn input(&self) -> &TensorType {
        &self.inner.manifest.input
    }

    /// What it yields, raw, without the batch axis.
    pub fn outputs(&self) -> &[TensorType] {
        &self.inner.outputs
    }

    /// Labels of the first output's classes, in order; empty where it has none.
    pub fn labels(&self) -> &[String] {
        &self.inner.manifest.labels
    }

    /// Bytes of the weights in memory.
    pub fn weight_bytes(&self) -> u64 {
        self.inner.plan.weight_bytes
    }

    /// How many items run at a time on a device of this choice: the CPU backend takes a batch in pieces.
    pub fn batch_items(&self, device: &DeviceChoice, max_batch: Option<usize>) -> usize {
        match device.is_cpu() {
            true => max_batch.unwrap_or(CPU_MAX_BATCH).min(CPU_CHUNK),
            false => max_batch.unwrap_or(GPU_MAX_BATCH),
        }
    }

    /// The most memory that it takes on this machine while it runs on a device of this choice, with batches of at most
    /// `max_batch` items: a GPU's memory is counted as if it were the machine's, which on a software device it is.
    pub fn memory_bytes(&self, device: &DeviceChoice, max_batch: Option<usize>) -> u64 {
        let plan = self.plan();
        let n_items = self.batch_items(device, max_batch) as u64;
        let bytes = |elements: u64| elements.saturating_mul(size_of::<f32>() as u64);
        // What goes into an operation, what comes out and what is kept beside it, and as much again for the operation's
        // own: a convolution brings its input into another order.
        let batch = bytes(plan.peak_elements as u64)
            .saturating_mul(2)
            .saturating_mul(n_items);
        // Each core unfolds so many windows at a time, and keeps what comes of them.
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let unfolded = bytes(plan.window_elements)
            .saturating_mul(UNFOLDED_WINDOWS)
            .saturating_mul(cores);
        // Weights are there once as they were read and once on the device; those of one layer once more, turned round.
        plan.weight_bytes
            .saturating_mul(2)
            .saturating_add(plan.largest_weight_bytes)
            .saturating_add(batch)
            .saturating_add(unfolded)
    }

    /// What `model.toml` says about itself.
    pub fn description(&self) -> Option<&str> {
        self.inner.manifest.description.as_deref()
    }

    /// The licence of the weights, where `model.toml` says it.
    pub fn licence(&self) -> Option<&str> {
        self.inner.manifest.licence.as_deref()
    }

    /// Where the weights come from, where `model.toml` says it.
    pub fn provenance(&self) -> Option<&str> {
        self.inner.manifest.provenance.as_deref()
    }

    /// The share of held-out items that were classified rightly when the model was made, 0 to 1.
    pub fn held_out_accuracy(&self) -> Option<f64> {
        self.inner.manifest.held_out_accuracy
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.inner.plan
    }

    pub(crate) fn normalisation(&self) -> Option<&Normalisation> {
        self.inner.manifest.normalisation.as_ref()
    }

    pub(crate) fn activation(&self) -> Activation {
        self.inner.manifest.activation
    }

    pub(crate) fn samples(&self) -> Option<&Samples> {
        self.inner.samples.as_ref()
    }
}

fn read_manifest(path: &Path) -> Result<Source, ModelError> {
    let failed = |source| ModelError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mut text = String::new();
    // One byte more than the limit tells a file of just that length from a longer one.
    file.take(MAX_MANIFEST_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_MANIFEST_BYTES {
        let found = text.len() as u64;
        return Err(ModelError::TooLarge {
            path: path.to_owned(),
            found,
            limit: MAX_MANIFEST_BYTES,
        });
    }
    Ok(Source {
        path: path.to_owned(),
        text,
    })
}

/// The type of what the network yields; its classes must be as many as the labels.
fn output_type(manifest: &Manifest, plan: &Plan, source: &Source) -> Result<TensorType, ModelError> {
    let n_labels = manifest.labels.len();
    if n_labels > 0 && plan.output != [n_labels] {
        let (line, column) = source.place(manifest.labels_at);
        return Err(ModelError::Mismatch {
            path: source.path.clone(),
            line,
            column,
            layer: "the last layer".to_owned(),
            expected: format!("[{n_labels}], one output for each of the {n_labels} labels"),
            found: format!("{:?}", plan.output),
        });
    }
    // Every axis is bounded by the largest activation, far below `u32::MAX`.
    let shape = plan
        .output
        .iter()
        .map(|axis| u32::try_from(*axis).unwrap_or(u32::MAX))
        .collect();
    Ok(TensorType {
        shape,
        element: Element::Float,
    })
}
