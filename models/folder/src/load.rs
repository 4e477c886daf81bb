//! From a path to a checked model: a folder with a `model.toml`, or an `.onnx` file by itself. Knows no device.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use millrace_graph::{Activation as Function, Graph, Op, Unary, ValueId};
use millrace_model_types::{Element, TensorType};
use sha2::{Digest, Sha256};

use crate::error::ModelError;
use crate::lower::{self, Network};
use crate::manifest::{FoundInput, Input, MAX_MANIFEST_BYTES, Manifest, NetworkSource, Source};
use crate::model::{MANIFEST_FILE, Parts};
use crate::network_file;
use crate::samples::Samples;
use crate::scores::Activation;
use crate::weights;

/// Most files of a folder that are looked at for a network.
const MAX_ENTRIES: usize = 4096;

/// Reads and checks what is at a path.
pub(crate) fn load(path: &Path) -> Result<Parts, ModelError> {
    match bare(path)? {
        Some(file) => {
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
            let source = Source {
                path: file.clone(),
                text: String::new(),
            };
            let folder = match file.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            let named = match path.is_dir() {
                true => path.file_name(),
                false => file.file_stem(),
            };
            let named = named.map(|name| name.to_string_lossy().into_owned());
            read(folder, Manifest::bare(name.unwrap_or_default()), &source, named)
        }
        None if path.is_file() => Err(ModelError::Weights {
            path: path.to_owned(),
            message: format!(
                "a model is a folder with a {MANIFEST_FILE}, or a file whose name ends with .onnx: this is neither"
            ),
        }),
        None => {
            let source = read_manifest(&path.join(MANIFEST_FILE))?;
            let named = path.file_name().map(|name| name.to_string_lossy().into_owned());
            Manifest::parse_and(&source, path, |manifest| read(path, manifest, &source, named))
        }
    }
}

/// The `.onnx` file that is a model without a `model.toml`: the path itself, or the only one of the folder.
fn bare(path: &Path) -> Result<Option<PathBuf>, ModelError> {
    if !path.is_dir() {
        let is_network = path.extension().is_some_and(|extension| extension == "onnx");
        return Ok(is_network.then(|| path.to_owned()));
    }
    if path.join(MANIFEST_FILE).exists() {
        return Ok(None);
    }
    let failed = |source| ModelError::Read {
        path: path.to_owned(),
        source,
    };
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)?.take(MAX_ENTRIES) {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|extension| extension == "onnx") && file.is_file() {
            found.push(file);
        }
    }
    found.sort();
    match found.as_slice() {
        [one] => Ok(Some(one.clone())),
        [] => Ok(None), // reading the manifest says what is missing
        many => Err(ModelError::Weights {
            path: path.to_owned(),
            message: format!(
                "there is no {MANIFEST_FILE}, and {} networks (.onnx): name one of them, or write a {MANIFEST_FILE}",
                many.len()
            ),
        }),
    }
}

fn read(folder: &Path, manifest: Manifest, source: &Source, named: Option<String>) -> Result<Parts, ModelError> {
    // The length stands between the two, so that no byte can move from one file to the other.
    let mut digest = Sha256::new();
    digest.update((source.text.len() as u64).to_le_bytes());
    digest.update(source.text.as_bytes());
    let mut found = match &manifest.network {
        NetworkSource::Layers(layers) => {
            let path = folder.join(&manifest.weights.file);
            let (mut file, sha256) = weights::open(&path, manifest.weights.format, &mut digest)?;
            expect_digest(&manifest, &path, sha256)?;
            let shape = manifest.input.shape().unwrap_or_default().to_vec();
            Found {
                network: lower::lower(&manifest, layers, source, &mut file)?,
                // The whole of it is in the manifest.
                input: FoundInput {
                    shape,
                    is_bytes: false,
                    is_unit: false,
                },
                labels: Vec::new(),
                description: None,
            }
        }
        NetworkSource::Onnx => {
            let path = folder.join(&manifest.weights.file);
            let (found, sha256) = network_file::read(&path, manifest.input.shape(), &mut digest)?;
            expect_digest(&manifest, &path, sha256)?;
            found
        }
    };
    let input = manifest.input_beside(&found.input, source)?;
    let order = output_order(&manifest, &found.network.graph, source)?;
    let outputs = output_types(&found.network.graph, &order);
    let labels = labels(&manifest, std::mem::take(&mut found.labels), &outputs, source)?;
    let activation = activation(&manifest, &labels, &found.network.graph, &order, source)?;
    let n_outputs = outputs.first().map_or(0, |output| output.elements() as usize);
    let samples = match &manifest.samples {
        Some(samples) => Some(Samples::read(folder, samples, &input.tensor, n_outputs)?),
        None => None,
    };
    let name = manifest.name.clone().or(named).unwrap_or_else(|| "model".to_owned());
    let digest = weights::hexadecimal(&digest.finalize());
    let weight_bytes = found.network.weight_bytes();
    tracing::debug!(model = %name, digest, weight_bytes, "model read");
    Ok(Parts {
        notes: notes(&manifest, &input, &labels),
        output_names: order
            .iter()
            .filter_map(|index| found.network.graph.outputs().get(*index))
            .map(|output| output.name.clone())
            .collect(),
        description: manifest.description.or(found.description),
        licence: manifest.licence,
        provenance: manifest.provenance,
        held_out_accuracy: manifest.held_out_accuracy,
        network: found.network,
        name,
        digest,
        input,
        outputs,
        order,
        labels,
        activation,
        samples,
    })
}

/// A network, and what its file says beside it.
pub(crate) struct Found {
    pub(crate) network: Network,
    pub(crate) input: FoundInput,
    pub(crate) labels: Vec<String>,
    pub(crate) description: Option<String>,
}

fn expect_digest(manifest: &Manifest, path: &Path, found: String) -> Result<(), ModelError> {
    match &manifest.weights.sha256 {
        Some(expected) if *expected != found => Err(ModelError::Digest {
            path: path.to_owned(),
            expected: expected.clone(),
            found,
        }),
        _ => Ok(()),
    }
}

pub(crate) fn read_manifest(path: &Path) -> Result<Source, ModelError> {
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

/// The outputs in the order in which plugins see them: the one with the labels comes first.
fn output_order(manifest: &Manifest, graph: &Graph, source: &Source) -> Result<Vec<usize>, ModelError> {
    let names: Vec<&str> = graph.outputs().iter().map(|output| output.name.as_str()).collect();
    let first = match &manifest.output.name {
        None => 0,
        Some((name, at)) => names.iter().position(|there| there == name).ok_or_else(|| {
            let there: Vec<String> = names.iter().map(|name| format!("`{}`", name.escape_debug())).collect();
            let expected = format!("one of {}", there.join(", "));
            mismatch(
                source,
                *at,
                "the output",
                expected,
                format!("`{}`", name.escape_debug()),
            )
        })?,
    };
    let others = (0..names.len()).filter(|index| *index != first);
    Ok(std::iter::once(first).chain(others).collect())
}

/// The types of what the network yields for an item. An axis that has several numbers for each item keeps these.
fn output_types(graph: &Graph, order: &[usize]) -> Vec<TensorType> {
    let is_batched = graph.shape(graph.input()).is_batched();
    let outputs = order.iter().filter_map(|index| graph.outputs().get(*index));
    let types = outputs.map(|output| {
        let axes = graph.shape(output.value).0.as_slice();
        // Where there is no batch, the axis of the only item is dropped as well.
        let axes = match axes {
            [first, rest @ ..] if !is_batched && first.size == 1 && !rest.is_empty() => rest,
            all => all,
        };
        let of_item = axes.iter().filter(|axis| !axis.batched || axis.size > 1);
        TensorType {
            // Every axis is bounded by the largest activation, far below `u32::MAX`.
            shape: of_item
                .map(|axis| u32::try_from(axis.size).unwrap_or(u32::MAX))
                .collect(),
            element: Element::Float,
        }
    });
    types.collect()
}

/// The labels, which must be as many as the first output has classes; those of the network's file are passed over where
/// they do not fit.
fn labels(
    manifest: &Manifest,
    found: Vec<String>,
    outputs: &[TensorType],
    source: &Source,
) -> Result<Vec<String>, ModelError> {
    let shape = outputs.first().map_or(&[][..], |output| output.shape.as_slice());
    let fits = |n_labels: usize| {
        let mut classes = shape.iter().filter(|axis| **axis != 1);
        let n_classes = classes.next().map_or(1, |axis| *axis as usize);
        classes.next().is_none() && !shape.is_empty() && n_classes == n_labels
    };
    let given = &manifest.output.labels;
    if given.is_empty() {
        return Ok(if fits(found.len()) { found } else { Vec::new() });
    }
    if fits(given.len()) {
        return Ok(given.clone());
    }
    let n_labels = given.len();
    Err(mismatch(
        source,
        manifest.output.labels_at,
        "the last layer",
        format!("[{n_labels}], one output for each of the {n_labels} labels"),
        format!("{shape:?}"),
    ))
}

/// How outputs become scores: as it is said, or by how the network ends.
fn activation(
    manifest: &Manifest,
    labels: &[String],
    graph: &Graph,
    order: &[usize],
    source: &Source,
) -> Result<Activation, ModelError> {
    if labels.is_empty() {
        return Ok(Activation::None);
    }
    // A layer list is judged where it is read.
    let output = order.first().and_then(|index| graph.outputs().get(*index));
    let output = output.filter(|_| matches!(manifest.network, NetworkSource::Onnx));
    let are_scores = output.is_some_and(|output| yields_scores(graph, output.value));
    match (manifest.output.activation, are_scores) {
        (None, true) => Ok(Activation::None),
        (None, false) => Ok(Activation::Softmax),
        (Some(given), true) if given != Activation::None => Err(mismatch(
            source,
            manifest.output.labels_at,
            "the network's end",
            "`activation = \"none\"`, as its outputs are scores already".to_owned(),
            "another".to_owned(),
        )),
        (Some(given), _) => Ok(given),
    }
}

/// Whether a value is what a softmax or a sigmoid yields, reshaped or not.
fn yields_scores(graph: &Graph, value: ValueId) -> bool {
    let mut value = value;
    // Backwards: each node's output is read by later ones.
    for node in graph.nodes().iter().rev() {
        if node.output != value {
            continue;
        }
        match &node.op {
            Op::Softmax { log: false, .. } | Op::Unary(Unary::Activation(Function::Sigmoid)) => return true,
            Op::Reshape(_) => match node.inputs.first() {
                Some(millrace_graph::Operand::Value(before)) => value = *before,
                _ => return false,
            },
            Op::Convolution(of) => return of.activation == Some(Function::Sigmoid),
            Op::Linear(of) => return of.activation == Some(Function::Sigmoid),
            _ => return false,
        }
    }
    false
}

/// Notes about a model that a person may not expect.
fn notes(manifest: &Manifest, input: &Input, labels: &[String]) -> Vec<String> {
    let mut notes = Vec::new();
    if !matches!(manifest.network, NetworkSource::Onnx) {
        return notes;
    }
    let is_picture = input.tensor.shape.len() == 3;
    if input.tensor.element == Element::Float && is_picture {
        notes.push(
            "it takes floats as its network does: the preprocessing plugin normalises them (`mean` and `std` in the settings \
             of decode-image), or `mean` and `std` under [input] of a model.toml make it take bytes"
                .to_owned(),
        );
    }
    if labels.is_empty() {
        notes.push("it has no labels, so it yields no scores: plugins see its raw outputs".to_owned());
    }
    notes
}

fn mismatch(source: &Source, at: usize, layer: &str, expected: String, found: String) -> ModelError {
    let (line, column) = source.place(at);
    ModelError::Mismatch {
        path: source.path.clone(),
        line,
        column,
        layer: layer.to_owned(),
        expected,
        found,
    }
}
