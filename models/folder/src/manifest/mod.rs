//! `model.toml`, checked by itself: no weights are read here. Every mistake has a line and a column.

mod faults;
mod input;
mod keys;
mod keys_layer;
mod layer;
mod raw;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use input::Normalisation;
pub(crate) use input::{FoundInput, GivenInput, Input};
pub use keys::{reference, schema};
pub(crate) use layer::{Conv2d, Layer, LayerKind, Pool, Window};
use raw::{RawAccuracy, RawInput, RawManifest, RawOutput, RawSamples, RawWeights};
use toml::Spanned;

use crate::error::ModelError;
use crate::scores::Activation;

/// Longest `model.toml` that is read, in bytes; a thousand labels and a thousand layers take 100 KB.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// Most layers, nested ones included; ResNet-152 has about 600.
pub(crate) const MAX_LAYERS: usize = 4096;
/// Deepest nesting of residual layers.
pub(crate) const MAX_NESTING: usize = 8;
/// Largest width, kernel, stride or padding. Products of three stay within 64 bits.
pub(crate) const MAX_EXTENT: u32 = 1 << 20;
/// Most labels.
pub(crate) const MAX_LABELS: usize = 1 << 20;
/// Most axes of an item; the graph's values have one more.
const MAX_AXES: usize = millrace_graph::limits::MAX_AXES - 1;
/// The largest difference of a recorded output that is still right, where the file does not say.
const SAMPLE_TOLERANCE: f64 = 1e-3;

/// A `model.toml`, checked as far as that goes without the weights.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) licence: Option<String>,
    pub(crate) provenance: Option<String>,
    pub(crate) input: GivenInput,
    pub(crate) output: Output,
    pub(crate) weights: WeightSource,
    pub(crate) samples: Option<SampleSource>,
    pub(crate) held_out_accuracy: Option<f64>,
    pub(crate) network: NetworkSource,
}

/// Where the network is described.
#[derive(Debug, Clone)]
pub(crate) enum NetworkSource {
    /// In `model.toml`.
    Layers(Vec<Layer>),
    /// In the file with the weights.
    Onnx,
}

/// The meaning of the outputs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Output {
    /// The one that the labels belong to, and where it is named; the first where there is none.
    pub(crate) name: Option<(String, usize)>,
    pub(crate) labels: Vec<String>,
    /// Where the labels stand, for the error when they do not fit the network.
    pub(crate) labels_at: usize,
    /// None where nothing is said: it follows from the labels and the network's end.
    pub(crate) activation: Option<Activation>,
}

#[derive(Debug, Clone)]
pub(crate) struct WeightSource {
    /// A plain file name within the folder.
    pub(crate) file: String,
    pub(crate) format: Format,
    pub(crate) sha256: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) layout: Layout,
    pub(crate) ignore: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct SampleSource {
    pub(crate) file: String,
    pub(crate) format: Format,
    pub(crate) tolerance: f32,
}

/// How a weight file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Safetensors,
    Pytorch,
    Burn,
    /// The network itself, its weights in it.
    Onnx,
}

/// Which way round linear weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[out, in]`
    Pytorch,
    /// `[in, out]`
    Burn,
}

/// Something wrong at a place in the text.
#[derive(Debug)]
pub(crate) struct Diagnostic {
    at: usize,
    message: String,
}

impl Diagnostic {
    pub(crate) fn new(at: usize, message: String) -> Self {
        Self { at, message }
    }
}

/// The text of `model.toml` and where it is, for errors that point into it.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    /// Line and column of a byte offset, both from 1; the column counts characters.
    pub(crate) fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        (line, column)
    }

    pub(crate) fn diagnostic(&self, diagnostic: Diagnostic) -> ModelError {
        let (line, column) = self.place(diagnostic.at);
        ModelError::Manifest {
            path: self.path.clone(),
            line,
            column,
            message: diagnostic.message,
        }
    }
}

impl Manifest {
    /// Parses and checks the text.
    ///
    /// # Errors
    /// Every mistake, in the order of the text.
    pub(crate) fn parse(source: &Source) -> Result<Self, ModelError> {
        let mut diagnostics = Vec::new();
        let raw = raw::read(&source.text, &mut diagnostics);
        let of_values = faults::of_values(&raw);
        let manifest = check(raw, &mut diagnostics);
        of_values.add_to(&mut diagnostics);
        let manifest = manifest.filter(|_| diagnostics.is_empty());
        diagnostics.sort_by_key(|diagnostic| diagnostic.at);
        // A table that cannot be read is a mistake already.
        let unread = || Diagnostic::new(0, "it cannot be read".to_owned());
        manifest.ok_or_else(|| {
            if diagnostics.is_empty() {
                diagnostics.push(unread());
            }
            ModelError::of(
                diagnostics
                    .into_iter()
                    .map(|diagnostic| source.diagnostic(diagnostic))
                    .collect(),
            )
        })
    }
}

impl Manifest {
    /// The manifest of an `.onnx` file by itself: defaults for everything else.
    pub(crate) fn bare(file: String) -> Self {
        Self {
            name: None,
            description: None,
            licence: None,
            provenance: None,
            input: GivenInput::Partly(Box::default()),
            output: Output::default(),
            weights: WeightSource {
                file,
                format: Format::Onnx,
                sha256: None,
                key: None,
                layout: Layout::Pytorch,
                ignore: Vec::new(),
            },
            samples: None,
            held_out_accuracy: None,
            network: NetworkSource::Onnx,
        }
    }

    /// The input beside what the network's file says of it.
    ///
    /// # Errors
    /// When the two do not agree.
    pub(crate) fn input_beside(&self, found: &FoundInput, source: &Source) -> Result<Input, ModelError> {
        self.input
            .beside(found)
            .map_err(|diagnostic| source.diagnostic(diagnostic))
    }
}

fn check(raw: RawManifest, diagnostics: &mut Vec<Diagnostic>) -> Option<Manifest> {
    let has_layers = !raw.weights.as_ref().is_some_and(RawWeights::is_onnx);
    let input = match raw.input {
        None if !has_layers => Some(RawInput::default()),
        given => given,
    };
    let input = input.and_then(|input| input::check(input, has_layers, diagnostics));
    let output = keep(check_output(raw.output), diagnostics);
    let n_before = diagnostics.len();
    let layers = raw.layer.map(|layers| layer::check_list(layers, diagnostics));
    if layers.as_ref().is_some_and(Vec::is_empty) && diagnostics.len() == n_before {
        diagnostics.push(Diagnostic::new(0, "the layer list is empty".to_owned()));
    }
    let last = layers.iter().flatten().last();
    let ends_in_softmax = last.is_some_and(|layer| matches!(layer.kind, LayerKind::Softmax));
    if let Some(output) = output.as_ref().filter(|_| ends_in_softmax)
        && !output.labels.is_empty()
        && output.activation != Some(Activation::None)
    {
        let message = "the network ends in a softmax layer, so its outputs are scores already: `activation` must be \
                       \"none\", or the layer go"
            .to_owned();
        diagnostics.push(Diagnostic::new(output.labels_at, message));
    }
    let weights = raw.weights.and_then(|weights| check_weights(weights, diagnostics));
    let samples = raw.samples.map(|samples| check_samples(&samples, diagnostics));
    let accuracy = raw
        .accuracy
        .and_then(|accuracy| keep(check_accuracy(&accuracy), diagnostics)?);
    Some(Manifest {
        name: raw.name,
        description: raw.description,
        licence: raw.licence,
        provenance: raw.provenance,
        input: input?,
        output: output?,
        weights: weights?,
        samples: match samples {
            Some(samples) => Some(samples?),
            None => None,
        },
        held_out_accuracy: accuracy,
        network: match has_layers {
            true => NetworkSource::Layers(layers?),
            false => NetworkSource::Onnx,
        },
    })
}

/// The right parts; mistakes go to the others.
fn keep<T>(checked: Result<T, Diagnostic>, diagnostics: &mut Vec<Diagnostic>) -> Option<T> {
    checked.map_err(|diagnostic| diagnostics.push(diagnostic)).ok()
}

fn check_output(raw: RawOutput) -> Result<Output, Diagnostic> {
    let name = raw.name.map(|name| (name.span().start, name.into_inner()));
    let name = name.map(|(at, name)| (name, at));
    let Some(labels) = raw.labels else {
        return match raw.activation {
            Some(activation) if activation.get_ref() != "none" => {
                let message = "an activation makes scores of classes: it needs `labels`".to_owned();
                Err(Diagnostic::new(activation.span().start, message))
            }
            _ => Ok(Output {
                name,
                ..Output::default()
            }),
        };
    };
    let at = labels.span().start;
    let activation = match &raw.activation {
        None => None,
        Some(given) => Some(match given.get_ref().as_str() {
            "softmax" => Activation::Softmax,
            "sigmoid" => Activation::Sigmoid,
            "none" => Activation::None,
            other => {
                let message = format!("unknown activation `{other}`; it is \"softmax\", \"sigmoid\" or \"none\"");
                return Err(Diagnostic::new(given.span().start, message));
            }
        }),
    };
    let labels = labels.into_inner();
    if labels.is_empty() || labels.len() > MAX_LABELS {
        return Err(Diagnostic::new(
            at,
            format!("{} labels, not within 1 to {MAX_LABELS}", labels.len()),
        ));
    }
    Ok(Output {
        name,
        labels,
        labels_at: at,
        activation,
    })
}

fn check_weights(raw: RawWeights, diagnostics: &mut Vec<Diagnostic>) -> Option<WeightSource> {
    let file = raw.file.as_ref().and_then(|file| keep(file_name(file), diagnostics));
    let format = match (&raw.format, &raw.file, &file) {
        (Some(given), ..) => keep(check_format(given), diagnostics),
        (None, Some(given), Some(file)) => {
            let format = format_of(file);
            if format.is_none() {
                diagnostics.push(unknown_format(given, true, "say which `format` it is"));
            }
            format
        }
        _ => None,
    };
    if format == Some(Format::Onnx) {
        let beside = [
            ("key", raw.key.as_ref().map(Spanned::span)),
            ("layout", raw.layout.as_ref().map(Spanned::span)),
            ("ignore", raw.ignore.as_ref().map(Spanned::span)),
        ];
        for (key, span) in beside.into_iter().filter_map(|(key, span)| Some((key, span?))) {
            let message = format!("`{key}` is for weights that layers name: an `.onnx` file takes none");
            diagnostics.push(Diagnostic::new(span.start, message));
        }
    }
    let layout = match &raw.layout {
        None if format == Some(Format::Burn) => Some(Layout::Burn),
        None => Some(Layout::Pytorch),
        Some(given) => keep(check_layout(given), diagnostics),
    };
    let sha256 = raw.sha256.and_then(|given| keep(check_sha256(&given), diagnostics));
    Some(WeightSource {
        file: file?,
        format: format?,
        sha256,
        key: raw.key.map(Spanned::into_inner),
        layout: layout?,
        ignore: raw.ignore.map(Spanned::into_inner).unwrap_or_default(),
    })
}

fn check_format(given: &Spanned<String>) -> Result<Format, Diagnostic> {
    match given.get_ref().as_str() {
        "safetensors" => Ok(Format::Safetensors),
        "pytorch" => Ok(Format::Pytorch),
        "burn" => Ok(Format::Burn),
        "onnx" => Ok(Format::Onnx),
        other => {
            let message = format!("unknown format `{other}`; it is \"safetensors\", \"pytorch\", \"burn\" or \"onnx\"");
            Err(Diagnostic::new(given.span().start, message))
        }
    }
}

fn check_layout(given: &Spanned<String>) -> Result<Layout, Diagnostic> {
    match given.get_ref().as_str() {
        "pytorch" => Ok(Layout::Pytorch),
        "burn" => Ok(Layout::Burn),
        other => {
            let message = format!("unknown layout `{other}`; it is \"pytorch\" or \"burn\"");
            Err(Diagnostic::new(given.span().start, message))
        }
    }
}

fn check_sha256(given: &Spanned<String>) -> Result<String, Diagnostic> {
    let digest = given.get_ref().to_ascii_lowercase();
    if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let message = format!("`{}` is no SHA-256: it has 64 hexadecimal digits", given.get_ref());
        return Err(Diagnostic::new(given.span().start, message));
    }
    Ok(digest)
}

fn check_samples(raw: &RawSamples, diagnostics: &mut Vec<Diagnostic>) -> Option<SampleSource> {
    let file = raw.file.as_ref().and_then(|file| keep(file_name(file), diagnostics));
    let format = file
        .as_deref()
        .and_then(format_of)
        .filter(|format| *format != Format::Onnx);
    if let (Some(given), Some(_), None) = (&raw.file, &file, format) {
        diagnostics.push(unknown_format(given, false, "samples are in one of these"));
    }
    let tolerance = match &raw.tolerance {
        None => SAMPLE_TOLERANCE as f32,
        Some(given) if *given.get_ref() > 0.0 && given.get_ref().is_finite() => *given.get_ref() as f32,
        Some(given) => {
            let message = "`tolerance` is a finite number above 0".to_owned();
            diagnostics.push(Diagnostic::new(given.span().start, message));
            return None;
        }
    };
    Some(SampleSource {
        file: file?,
        format: format?,
        tolerance,
    })
}

fn check_accuracy(raw: &RawAccuracy) -> Result<Option<f64>, Diagnostic> {
    let Some(given) = &raw.held_out else {
        return Ok(None); // told already
    };
    let held_out = *given.get_ref();
    if !(0.0..=1.0).contains(&held_out) || raw.items == Some(0) {
        let message = "`held_out` is a share within 0 to 1, of at least one item".to_owned();
        return Err(Diagnostic::new(given.span().start, message));
    }
    Ok(Some(held_out))
}

/// A model folder is self-contained: its files have plain names, no paths that lead out of it.
fn file_name(given: &Spanned<String>) -> Result<String, Diagnostic> {
    let name = given.get_ref();
    let plain = Path::new(name).file_name().is_some_and(|last| last == name.as_str());
    if !plain || name.contains('\0') {
        let message = format!(
            "`{}` is not the name of a file in the model folder",
            name.escape_debug()
        );
        return Err(Diagnostic::new(given.span().start, message));
    }
    Ok(name.clone())
}

/// The format that a file's extension says.
fn format_of(file: &str) -> Option<Format> {
    match Path::new(file).extension()?.to_str()? {
        "safetensors" => Some(Format::Safetensors),
        "pt" | "pth" => Some(Format::Pytorch),
        "bpk" => Some(Format::Burn),
        "onnx" => Some(Format::Onnx),
        _ => None,
    }
}

/// Neither the extension nor a key says how the file is written.
fn unknown_format(given: &Spanned<String>, is_network: bool, hint: &str) -> Diagnostic {
    let name = given.get_ref();
    let ending = Path::new(name)
        .extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or_default();
    let known = match ending {
        "bin" | "ckpt" | "pkl" => " (such a file is often PyTorch's: `format = \"pytorch\"`)",
        "pb" | "h5" | "keras" | "hdf5" | "tflite" | "gguf" | "npy" | "npz" | "engine" | "mlmodel" | "msgpack" => {
            " (such a file is not read: write the weights by torch.save(model.state_dict(), \"weights.pth\"))"
        }
        "json" => " (such a file is an index or a configuration: name the file of weights)",
        _ => "",
    };
    // A network is not a file of samples.
    let endings = match is_network {
        true => ".safetensors, .pth, .pt, .bpk and .onnx",
        false => ".safetensors, .pth, .pt and .bpk",
    };
    let message = format!("`{name}` ends in none of {endings}: {hint}{known}");
    Diagnostic::new(given.span().start, message)
}
