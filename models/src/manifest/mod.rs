//! `model.toml`, checked by itself: no weights are read here. Every mistake has a line and a column.

mod faults;
mod keys;
mod keys_layer;
mod layer;
mod raw;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use keys::{reference, schema};
pub(crate) use layer::{Conv2d, Layer, LayerKind, Pool, Window};
use raw::{RawAccuracy, RawInput, RawManifest, RawOutput, RawSamples, RawWeights};
use toml::Spanned;

use crate::error::ModelError;
use crate::scores::Activation;
use crate::tensor::{Element, TensorType};

/// Longest `model.toml` that is read, in bytes; a thousand labels and a thousand layers take 100 KB.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// Most layers, nested ones included; ResNet-152 has about 600.
pub(crate) const MAX_LAYERS: usize = 4096;
/// Deepest nesting of residual layers.
pub(crate) const MAX_NESTING: usize = 8;
/// Largest width, kernel, stride or padding. Products of three stay within 64 bits.
pub(crate) const MAX_EXTENT: u32 = 1 << 20;
/// Most labels.
const MAX_LABELS: usize = 1 << 20;
/// The largest difference of a recorded output that is still right, where the file does not say.
const SAMPLE_TOLERANCE: f64 = 1e-3;

/// What `model.toml` says, checked as far as that goes without the weights.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) licence: Option<String>,
    pub(crate) provenance: Option<String>,
    pub(crate) input: TensorType,
    pub(crate) normalisation: Option<Normalisation>,
    pub(crate) labels: Vec<String>,
    /// Where the labels stand, for the error when they do not fit the network.
    pub(crate) labels_at: usize,
    pub(crate) activation: Activation,
    pub(crate) weights: WeightSource,
    pub(crate) samples: Option<SampleSource>,
    pub(crate) held_out_accuracy: Option<f64>,
    pub(crate) layers: Vec<Layer>,
}

/// `(byte * scale - mean) / std`, as `byte * factor + shift`; one of each for every channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Normalisation {
    // Invariant: both have one finite number for each channel.
    pub(crate) factor: Vec<f32>,
    pub(crate) shift: Vec<f32>,
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
pub(crate) struct Mistake {
    at: usize,
    message: String,
}

impl Mistake {
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

    pub(crate) fn mistake(&self, mistake: Mistake) -> ModelError {
        let (line, column) = self.place(mistake.at);
        ModelError::Manifest {
            path: self.path.clone(),
            line,
            column,
            message: mistake.message,
        }
    }
}

impl Manifest {
    /// Parses and checks the text.
    ///
    /// # Errors
    /// Every mistake, in the order of the text.
    pub(crate) fn parse(source: &Source) -> Result<Self, ModelError> {
        let mut mistakes = Vec::new();
        let raw = raw::read(&source.text, &mut mistakes);
        let of_values = faults::of_values(&raw);
        let manifest = check(raw, &mut mistakes);
        of_values.add_to(&mut mistakes);
        let manifest = manifest.filter(|_| mistakes.is_empty());
        mistakes.sort_by_key(|mistake| mistake.at);
        // A table that cannot be read is a mistake already.
        let unread = || Mistake::new(0, "it cannot be read".to_owned());
        manifest.ok_or_else(|| {
            if mistakes.is_empty() {
                mistakes.push(unread());
            }
            ModelError::of(mistakes.into_iter().map(|mistake| source.mistake(mistake)).collect())
        })
    }
}

fn check(raw: RawManifest, mistakes: &mut Vec<Mistake>) -> Option<Manifest> {
    let input = raw.input.and_then(|input| check_input(&input, mistakes));
    let output = keep(check_output(raw.output), mistakes);
    let n_before = mistakes.len();
    let layers = raw.layer.map(|layers| layer::check_list(layers, mistakes));
    if layers.as_ref().is_some_and(Vec::is_empty) && mistakes.len() == n_before {
        mistakes.push(Mistake::new(0, "the layer list is empty".to_owned()));
    }
    let last = layers.iter().flatten().last();
    let ends_in_softmax = last.is_some_and(|layer| matches!(layer.kind, LayerKind::Softmax));
    if let Some((labels, labels_at, activation)) = &output
        && ends_in_softmax
        && !labels.is_empty()
        && *activation != Activation::None
    {
        let message = "the network ends in a softmax layer, so its outputs are scores already: `activation` must be \
                       \"none\", or the layer go"
            .to_owned();
        mistakes.push(Mistake::new(*labels_at, message));
    }
    let weights = raw.weights.and_then(|weights| check_weights(weights, mistakes));
    let samples = raw.samples.map(|samples| check_samples(&samples, mistakes));
    let accuracy = raw
        .accuracy
        .and_then(|accuracy| keep(check_accuracy(&accuracy), mistakes)?);
    let ((input, normalisation), (labels, labels_at, activation)) = (input?, output?);
    Some(Manifest {
        name: raw.name,
        description: raw.description,
        licence: raw.licence,
        provenance: raw.provenance,
        input,
        normalisation,
        labels,
        labels_at,
        activation,
        weights: weights?,
        samples: match samples {
            Some(samples) => Some(samples?),
            None => None,
        },
        held_out_accuracy: accuracy,
        layers: layers?,
    })
}

/// What is right; what is wrong goes to the others.
fn keep<T>(checked: Result<T, Mistake>, mistakes: &mut Vec<Mistake>) -> Option<T> {
    checked.map_err(|mistake| mistakes.push(mistake)).ok()
}

fn check_input(raw: &RawInput, mistakes: &mut Vec<Mistake>) -> Option<(TensorType, Option<Normalisation>)> {
    let shape = raw.shape.as_ref().and_then(|shape| keep(check_shape(shape), mistakes));
    let element = raw
        .element
        .as_ref()
        .and_then(|element| keep(check_element(element), mistakes));
    let input = TensorType {
        shape: shape?,
        element: element?,
    };
    let normalisation = keep(check_normalisation(raw, &input), mistakes)?;
    Some((input, normalisation))
}

fn check_shape(given: &Spanned<Vec<u32>>) -> Result<Vec<u32>, Mistake> {
    let shape = given.get_ref();
    if !matches!(shape.len(), 1 | 3) {
        let message = format!(
            "`shape` has {} axes; it is [channels, height, width] or [features]",
            shape.len()
        );
        return Err(Mistake::new(given.span().start, message));
    }
    if let Some(axis) = shape.iter().find(|axis| !(1..=MAX_EXTENT).contains(*axis)) {
        let message = format!("`shape` has an axis of {axis}, not within 1 to {MAX_EXTENT}");
        return Err(Mistake::new(given.span().start, message));
    }
    Ok(shape.clone())
}

fn check_element(given: &Spanned<String>) -> Result<Element, Mistake> {
    match given.get_ref().as_str() {
        "byte" => Ok(Element::Byte),
        "float" => Ok(Element::Float),
        other => {
            let message = format!("unknown element `{other}`; it is \"byte\" or \"float\"");
            Err(Mistake::new(given.span().start, message))
        }
    }
}

fn check_normalisation(raw: &RawInput, input: &TensorType) -> Result<Option<Normalisation>, Mistake> {
    if input.element == Element::Float {
        let given = [
            raw.scale.as_ref().map(Spanned::span),
            raw.mean.as_ref().map(Spanned::span),
            raw.std.as_ref().map(Spanned::span),
        ];
        return match given.into_iter().flatten().next() {
            Some(span) => {
                let message = "floats are fed to the network as they are: `scale`, `mean` and `std` go with bytes";
                Err(Mistake::new(span.start, message.to_owned()))
            }
            None => Ok(None),
        };
    }
    // A flat input has no channels: it is normalised as one.
    let channels = if input.shape.len() == 3 {
        input.shape.first().map_or(1, |axis| *axis as usize)
    } else {
        1
    };
    let scale = raw.scale.as_ref().map_or(1.0 / 255.0, |scale| *scale.get_ref());
    let mean = per_channel(raw.mean.as_ref(), "mean", channels, 0.0)?;
    let std = per_channel(raw.std.as_ref(), "std", channels, 1.0)?;
    let at = raw.std.as_ref().map_or(0, |std| std.span().start);
    let mut normalisation = Normalisation {
        factor: Vec::new(),
        shift: Vec::new(),
    };
    for (mean, std) in mean.into_iter().zip(std) {
        let (factor, shift) = ((scale / std) as f32, (-mean / std) as f32);
        if !factor.is_finite() || !shift.is_finite() {
            let message = format!("scale {scale}, mean {mean} and std {std} make no finite normalisation");
            return Err(Mistake::new(at, message));
        }
        normalisation.factor.push(factor);
        normalisation.shift.push(shift);
    }
    Ok(Some(normalisation))
}

fn per_channel(
    given: Option<&Spanned<Vec<f64>>>,
    key: &str,
    channels: usize,
    default: f64,
) -> Result<Vec<f64>, Mistake> {
    let Some(given) = given else {
        return Ok(vec![default; channels]);
    };
    match given.get_ref().as_slice() {
        [one] => Ok(vec![*one; channels]),
        many if many.len() == channels => Ok(many.to_vec()),
        many => {
            let message = format!("`{key}` has {} numbers for {channels} channels", many.len());
            Err(Mistake::new(given.span().start, message))
        }
    }
}

fn check_output(raw: RawOutput) -> Result<(Vec<String>, usize, Activation), Mistake> {
    let Some(labels) = raw.labels else {
        return match raw.activation {
            Some(activation) if activation.get_ref() != "none" => {
                let message = "an activation makes scores of classes: it needs `labels`".to_owned();
                Err(Mistake::new(activation.span().start, message))
            }
            _ => Ok((Vec::new(), 0, Activation::None)),
        };
    };
    let at = labels.span().start;
    let activation = match &raw.activation {
        None => Activation::Softmax,
        Some(given) => match given.get_ref().as_str() {
            "softmax" => Activation::Softmax,
            "sigmoid" => Activation::Sigmoid,
            "none" => Activation::None,
            other => {
                let message = format!("unknown activation `{other}`; it is \"softmax\", \"sigmoid\" or \"none\"");
                return Err(Mistake::new(given.span().start, message));
            }
        },
    };
    let labels = labels.into_inner();
    if labels.is_empty() || labels.len() > MAX_LABELS {
        return Err(Mistake::new(
            at,
            format!("{} labels, not within 1 to {MAX_LABELS}", labels.len()),
        ));
    }
    Ok((labels, at, activation))
}

fn check_weights(raw: RawWeights, mistakes: &mut Vec<Mistake>) -> Option<WeightSource> {
    let file = raw.file.as_ref().and_then(|file| keep(file_name(file), mistakes));
    let format = match (&raw.format, &raw.file, &file) {
        (Some(given), ..) => keep(check_format(given), mistakes),
        (None, Some(given), Some(file)) => {
            let format = format_of(file);
            if format.is_none() {
                mistakes.push(unknown_format(given, "say which `format` it is"));
            }
            format
        }
        _ => None,
    };
    let layout = match &raw.layout {
        None if format == Some(Format::Burn) => Some(Layout::Burn),
        None => Some(Layout::Pytorch),
        Some(given) => keep(check_layout(given), mistakes),
    };
    let sha256 = raw.sha256.and_then(|given| keep(check_sha256(&given), mistakes));
    Some(WeightSource {
        file: file?,
        format: format?,
        sha256,
        key: raw.key.map(Spanned::into_inner),
        layout: layout?,
        ignore: raw.ignore,
    })
}

fn check_format(given: &Spanned<String>) -> Result<Format, Mistake> {
    match given.get_ref().as_str() {
        "safetensors" => Ok(Format::Safetensors),
        "pytorch" => Ok(Format::Pytorch),
        "burn" => Ok(Format::Burn),
        other => {
            let message = format!("unknown format `{other}`; it is \"safetensors\", \"pytorch\" or \"burn\"");
            Err(Mistake::new(given.span().start, message))
        }
    }
}

fn check_layout(given: &Spanned<String>) -> Result<Layout, Mistake> {
    match given.get_ref().as_str() {
        "pytorch" => Ok(Layout::Pytorch),
        "burn" => Ok(Layout::Burn),
        other => {
            let message = format!("unknown layout `{other}`; it is \"pytorch\" or \"burn\"");
            Err(Mistake::new(given.span().start, message))
        }
    }
}

fn check_sha256(given: &Spanned<String>) -> Result<String, Mistake> {
    let digest = given.get_ref().to_ascii_lowercase();
    if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let message = format!("`{}` is no SHA-256: it has 64 hexadecimal digits", given.get_ref());
        return Err(Mistake::new(given.span().start, message));
    }
    Ok(digest)
}

fn check_samples(raw: &RawSamples, mistakes: &mut Vec<Mistake>) -> Option<SampleSource> {
    let file = raw.file.as_ref().and_then(|file| keep(file_name(file), mistakes));
    let format = file.as_deref().and_then(format_of);
    if let (Some(given), Some(_), None) = (&raw.file, &file, format) {
        mistakes.push(unknown_format(given, "samples are in one of these"));
    }
    let tolerance = match &raw.tolerance {
        None => SAMPLE_TOLERANCE as f32,
        Some(given) if *given.get_ref() > 0.0 && given.get_ref().is_finite() => *given.get_ref() as f32,
        Some(given) => {
            let message = "`tolerance` is a finite number above 0".to_owned();
            mistakes.push(Mistake::new(given.span().start, message));
            return None;
        }
    };
    Some(SampleSource {
        file: file?,
        format: format?,
        tolerance,
    })
}

fn check_accuracy(raw: &RawAccuracy) -> Result<Option<f64>, Mistake> {
    let Some(given) = &raw.held_out else {
        return Ok(None); // told already
    };
    let held_out = *given.get_ref();
    if !(0.0..=1.0).contains(&held_out) || raw.items == Some(0) {
        let message = "`held_out` is a share within 0 to 1, of at least one item".to_owned();
        return Err(Mistake::new(given.span().start, message));
    }
    Ok(Some(held_out))
}

/// A model folder is self-contained: its files have plain names, no paths that lead out of it.
fn file_name(given: &Spanned<String>) -> Result<String, Mistake> {
    let name = given.get_ref();
    let plain = Path::new(name).file_name().is_some_and(|last| last == name.as_str());
    if !plain || name.contains('\0') {
        let message = format!(
            "`{}` is not the name of a file in the model folder",
            name.escape_debug()
        );
        return Err(Mistake::new(given.span().start, message));
    }
    Ok(name.clone())
}

/// The format that a file's extension says.
fn format_of(file: &str) -> Option<Format> {
    match Path::new(file).extension()?.to_str()? {
        "safetensors" => Some(Format::Safetensors),
        "pt" | "pth" => Some(Format::Pytorch),
        "bpk" => Some(Format::Burn),
        _ => None,
    }
}

/// Neither the extension nor a key says how the file is written.
fn unknown_format(given: &Spanned<String>, hint: &str) -> Mistake {
    let name = given.get_ref();
    let ending = Path::new(name)
        .extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or_default();
    let known = match ending {
        "bin" | "ckpt" | "pkl" => " (such a file is often PyTorch's: `format = \"pytorch\"`)",
        "onnx" | "pb" | "h5" | "keras" | "hdf5" | "tflite" | "gguf" | "npy" | "npz" | "engine" | "mlmodel"
        | "msgpack" => {
            " (such a file is not read: write the weights by torch.save(model.state_dict(), \"weights.pth\"))"
        }
        "json" => " (such a file is an index or a configuration: name the file of weights)",
        _ => "",
    };
    let message = format!("`{name}` ends in none of .safetensors, .pth, .pt and .bpk: {hint}{known}");
    Mistake::new(given.span().start, message)
}
