//! `model.toml` as it is written, before anything is checked.

use serde::Deserialize;
use serde::de::{Error, SeqAccess, Visitor};
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawManifest {
    /// A name for logs and results; the folder's name where it is absent.
    pub(crate) name: Option<String>,
    /// A sentence about the model.
    pub(crate) description: Option<String>,
    /// The licence of the weights, such as `"Apache-2.0"`.
    #[serde(alias = "license")]
    pub(crate) licence: Option<String>,
    /// Where the weights come from.
    pub(crate) provenance: Option<String>,
    /// What the model takes.
    pub(crate) input: RawInput,
    /// What its outputs mean.
    #[serde(default)]
    pub(crate) output: RawOutput,
    /// The file with the weights.
    pub(crate) weights: RawWeights,
    /// Recorded inputs and outputs, checked before a device serves.
    pub(crate) samples: Option<RawSamples>,
    /// What was measured on held-out data; told, not used.
    pub(crate) accuracy: Option<RawAccuracy>,
    /// The network, first layer first.
    pub(crate) layer: Vec<Spanned<RawLayer>>,
}

/// `[input]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawInput {
    /// Without the batch axis: `[channels, height, width]` or `[features]`.
    pub(crate) shape: Spanned<Vec<u32>>,
    /// `"byte"` or `"float"`.
    pub(crate) element: Spanned<String>,
    /// `scale` for bytes: 1/255 where it is absent.
    pub(crate) scale: Option<Spanned<f64>>,
    /// One number, or one for each channel; 0 where it is absent.
    pub(crate) mean: Option<Spanned<Vec<f64>>>,
    /// One number, or one for each channel; 1 where it is absent.
    pub(crate) std: Option<Spanned<Vec<f64>>>,
}

/// `[output]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawOutput {
    /// The classes, in the order of the outputs; a model without them is no classifier.
    pub(crate) labels: Option<Spanned<Vec<String>>>,
    /// `"softmax"` (the default of a classifier), `"sigmoid"` or `"none"`.
    pub(crate) activation: Option<Spanned<String>>,
}

/// `[weights]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawWeights {
    /// A file name within the folder.
    pub(crate) file: Spanned<String>,
    /// `"safetensors"`, `"pytorch"` or `"burn"`; by the file's extension where it is absent.
    pub(crate) format: Option<Spanned<String>>,
    /// The SHA-256 of the file, in hexadecimal.
    pub(crate) sha256: Option<Spanned<String>>,
    /// The key, or dotted path of keys, that the weights are nested under; found where it is absent.
    pub(crate) key: Option<Spanned<String>>,
    /// `"pytorch"` (linear weights are `[out, in]`) or `"burn"` (`[in, out]`); by the format where absent.
    pub(crate) layout: Option<Spanned<String>>,
    /// Names, or beginnings of dotted names, of weights that no layer uses.
    #[serde(default)]
    pub(crate) ignore: Vec<String>,
}

/// `[samples]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSamples {
    /// A file with the tensors `input` and `output`, the batch axis first.
    pub(crate) file: Spanned<String>,
    /// The largest difference of an output that is still right.
    pub(crate) tolerance: Option<Spanned<f64>>,
}

/// `[accuracy]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawAccuracy {
    /// Share of held-out items that were classified rightly, 0 to 1.
    pub(crate) held_out: Spanned<f64>,
    /// How many items were held out.
    pub(crate) items: Option<u64>,
}

/// `[[layer]]`: every key of every kind, so that a key in the wrong place has a line and a column.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLayer {
    #[serde(rename = "type")]
    pub(crate) kind: Spanned<String>,
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) out: Option<Spanned<Extent>>,
    pub(crate) kernel: Option<Spanned<Extent>>,
    pub(crate) stride: Option<Spanned<Extent>>,
    pub(crate) padding: Option<Spanned<Extent>>,
    pub(crate) dilation: Option<Spanned<Extent>>,
    pub(crate) groups: Option<Spanned<u32>>,
    pub(crate) bias: Option<Spanned<bool>>,
    pub(crate) affine: Option<Spanned<bool>>,
    pub(crate) eps: Option<Spanned<f64>>,
    pub(crate) slope: Option<Spanned<f64>>,
    pub(crate) approximate: Option<Spanned<bool>>,
    pub(crate) ceil: Option<Spanned<bool>>,
    pub(crate) count_padding: Option<Spanned<bool>>,
    pub(crate) p: Option<Spanned<f64>>,
    pub(crate) body: Option<Spanned<Vec<Spanned<RawLayer>>>>,
    pub(crate) shortcut: Option<Spanned<Vec<Spanned<RawLayer>>>>,
}

/// `5` or `[5, 3]`: the same for both axes, or height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    One(u32),
    Two([u32; 2]),
}

impl<'de> Deserialize<'de> for Extent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ExtentVisitor)
    }
}

struct ExtentVisitor;

impl<'de> Visitor<'de> for ExtentVisitor {
    type Value = Extent;

    fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("a whole number, or two of them as [height, width]")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Extent, E> {
        match u32::try_from(value) {
            Ok(value) => Ok(Extent::One(value)),
            Err(_) => Err(E::invalid_value(serde::de::Unexpected::Signed(value), &self)),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Extent, E> {
        match u32::try_from(value) {
            Ok(value) => Ok(Extent::One(value)),
            Err(_) => Err(E::invalid_value(serde::de::Unexpected::Unsigned(value), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Extent, A::Error> {
        let height = values
            .next_element()?
            .ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let width = values
            .next_element()?
            .ok_or_else(|| A::Error::invalid_length(1, &self))?;
        if values.next_element::<u32>()?.is_some() {
            return Err(A::Error::invalid_length(3, &self));
        }
        Ok(Extent::Two([height, width]))
    }
}
