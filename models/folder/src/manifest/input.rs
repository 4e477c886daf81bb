//! `[input]`: the type of the tensor that a model takes, and how its bytes become the network's numbers.

use millrace_model_types::{Element, TensorType};
use toml::Spanned;

use super::raw::RawInput;
use super::{Diagnostic, MAX_AXES, MAX_EXTENT, keep};

/// The default factor of each byte: they become 0 to 1, as by torchvision's `ToTensor`.
const SCALE: f64 = 1.0 / 255.0;

/// `(byte * scale - mean) / std`, as `byte * factor + shift`; one of each for every channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalisation {
    // Invariant: both have one finite number for each channel.
    /// What each byte is multiplied with.
    pub factor: Vec<f32>,
    /// What is then added.
    pub shift: Vec<f32>,
}

/// The input of a model, and how bytes are normalised.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) tensor: TensorType,
    /// None for floats, and for bytes that are fed as they are.
    pub(crate) normalisation: Option<Normalisation>,
}

/// The input in `model.toml`.
#[derive(Debug, Clone)]
pub(crate) enum GivenInput {
    /// All of it.
    Whole(Input),
    /// The part beside the network's own input: checked by itself.
    Partly(Box<RawInput>),
}

/// The input in a network's file.
#[derive(Debug, Clone)]
pub(crate) struct FoundInput {
    /// The shape of an item.
    pub(crate) shape: Vec<u32>,
    /// Whether it takes bytes, which it makes floats of by itself.
    pub(crate) is_bytes: bool,
    /// Whether the file says that its floats are bytes divided by 255.
    pub(crate) is_unit: bool,
}

pub(super) fn check(raw: RawInput, has_layers: bool, diagnostics: &mut Vec<Diagnostic>) -> Option<GivenInput> {
    let shape = raw
        .shape
        .as_ref()
        .map(|shape| keep(check_shape(shape, has_layers), diagnostics));
    let element = raw
        .element
        .as_ref()
        .map(|element| keep(check_element(element), diagnostics));
    if has_layers {
        let tensor = TensorType {
            shape: shape.flatten()?,
            element: element.flatten()?,
        };
        let normalisation = keep(check_normalisation(&raw, &tensor, SCALE), diagnostics)?;
        return Some(GivenInput::Whole(Input { tensor, normalisation }));
    }
    if element == Some(Some(Element::Float)) {
        keep(check_floats(&raw), diagnostics)?;
    }
    let is_right = shape != Some(None) && element != Some(None);
    is_right.then(|| GivenInput::Partly(Box::new(raw)))
}

impl GivenInput {
    /// The shape of an item that it says.
    pub(crate) fn shape(&self) -> Option<&[u32]> {
        match self {
            Self::Whole(input) => Some(&input.tensor.shape),
            Self::Partly(raw) => raw.shape.as_ref().map(|shape| shape.get_ref().as_slice()),
        }
    }

    /// The input of a network whose file says what it takes: bytes where it takes them or where there is a normalisation
    /// for them, else floats.
    pub(super) fn beside(&self, found: &FoundInput) -> Result<Input, Diagnostic> {
        let raw = match self {
            Self::Whole(input) => return Ok(input.clone()),
            Self::Partly(raw) => raw,
        };
        if let Some(given) = raw.shape.as_ref().filter(|given| *given.get_ref() != found.shape) {
            let message = format!("`shape` is {:?}, and the file's is {:?}", given.get_ref(), found.shape);
            return Err(Diagnostic::new(given.span().start, message));
        }
        let said = raw.element.as_ref().map(|element| element.get_ref().as_str());
        let element = match said {
            Some("byte") => Element::Byte,
            Some(_) => Element::Float,
            None if found.is_bytes || found.is_unit || normalised_at(raw).is_some() => Element::Byte,
            None => Element::Float,
        };
        let tensor = TensorType {
            shape: found.shape.clone(),
            element,
        };
        // A model that takes bytes normalises them by itself.
        let scale = if found.is_bytes { 1.0 } else { SCALE };
        let normalisation = check_normalisation(raw, &tensor, scale)?;
        Ok(Input { tensor, normalisation })
    }
}

fn check_shape(given: &Spanned<Vec<u32>>, has_layers: bool) -> Result<Vec<u32>, Diagnostic> {
    let shape = given.get_ref();
    if has_layers && !matches!(shape.len(), 1 | 3) {
        let message = format!(
            "`shape` has {} axes; it is [channels, height, width] or [features]",
            shape.len()
        );
        return Err(Diagnostic::new(given.span().start, message));
    }
    if !(1..=MAX_AXES).contains(&shape.len()) {
        let message = format!("`shape` has {} axes, not within 1 to {MAX_AXES}", shape.len());
        return Err(Diagnostic::new(given.span().start, message));
    }
    if let Some(axis) = shape.iter().find(|axis| !(1..=MAX_EXTENT).contains(*axis)) {
        let message = format!("`shape` has an axis of {axis}, not within 1 to {MAX_EXTENT}");
        return Err(Diagnostic::new(given.span().start, message));
    }
    Ok(shape.clone())
}

fn check_element(given: &Spanned<String>) -> Result<Element, Diagnostic> {
    match given.get_ref().as_str() {
        "byte" => Ok(Element::Byte),
        "float" => Ok(Element::Float),
        other => {
            let message = format!("unknown element `{other}`; it is \"byte\" or \"float\"");
            Err(Diagnostic::new(given.span().start, message))
        }
    }
}

fn check_floats(raw: &RawInput) -> Result<(), Diagnostic> {
    match normalised_at(raw) {
        Some(at) => {
            let message = "floats are fed to the network as they are: `scale`, `mean` and `std` go with bytes";
            Err(Diagnostic::new(at, message.to_owned()))
        }
        None => Ok(()),
    }
}

/// Where a normalisation is, where there is one.
fn normalised_at(raw: &RawInput) -> Option<usize> {
    let given = [
        raw.scale.as_ref().map(Spanned::span),
        raw.mean.as_ref().map(Spanned::span),
        raw.std.as_ref().map(Spanned::span),
    ];
    given.into_iter().flatten().next().map(|span| span.start)
}

fn check_normalisation(raw: &RawInput, input: &TensorType, scale: f64) -> Result<Option<Normalisation>, Diagnostic> {
    if input.element == Element::Float {
        return check_floats(raw).map(|()| None);
    }
    // A flat input has no channels: it is normalised as one.
    let channels = if input.shape.len() == 3 {
        input.shape.first().map_or(1, |axis| *axis as usize)
    } else {
        1
    };
    let scale = raw.scale.as_ref().map_or(scale, |scale| *scale.get_ref());
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
            return Err(Diagnostic::new(at, message));
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
) -> Result<Vec<f64>, Diagnostic> {
    let Some(given) = given else {
        return Ok(vec![default; channels]);
    };
    match given.get_ref().as_slice() {
        [one] => Ok(vec![*one; channels]),
        many if many.len() == channels => Ok(many.to_vec()),
        many => {
            let message = format!("`{key}` has {} numbers for {channels} channels", many.len());
            Err(Diagnostic::new(given.span().start, message))
        }
    }
}
