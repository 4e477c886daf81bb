//! The contents of a file out of training, before there is a `model.toml` for it. Knows no devices, and makes no graph.

use std::path::Path;

use millrace_onnx::{Element as OnnxElement, InputAxis, Source};
use sha2::Sha256;

use crate::error::ModelError;
use crate::manifest::Format;
use crate::weights;

/// The contents of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Survey {
    /// A network with its weights.
    Network(SurveyedNetwork),
    /// Weights alone.
    Weights(SurveyedWeights),
}

/// An `.onnx` file. Every text is escaped and cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedNetwork {
    /// Its inputs, by name.
    pub input: String,
    /// Its axes, the batch among them; nothing where one is open.
    pub axes: Vec<Option<u32>>,
    /// Whether it takes bytes.
    pub is_bytes: bool,
    /// Its outputs, by name.
    pub outputs: Vec<String>,
    /// The files of weights beside it, relative to its folder.
    pub external: Vec<String>,
    /// Its exporter, and the exporter's version.
    pub producer: String,
    /// The version of the standard operators.
    pub opset: i64,
    /// Other metadata of the exporter.
    pub metadata: Vec<(String, String)>,
}

/// A file of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedWeights {
    /// Every tensor, by name.
    pub tensors: Vec<SurveyedTensor>,
    /// Other parts that somebody may miss.
    pub beside: Option<String>,
}

/// One tensor of a file of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedTensor {
    /// As the file calls it.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Why no weight can be made of it, where that is so.
    pub unreadable: Option<String>,
}

impl Survey {
    /// Looks into a file: `.onnx`, `.pth`, `.pt` or `.safetensors`.
    ///
    /// # Errors
    /// When it is none of these, cannot be read or is not what its name says.
    pub fn of(path: &Path) -> Result<Self, ModelError> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("onnx") => network(path).map(Self::Network),
            Some("pth" | "pt") => weights(path, Format::Pytorch).map(Self::Weights),
            Some("safetensors") => weights(path, Format::Safetensors).map(Self::Weights),
            _ => Err(wrong(
                path,
                "its name ends with none of .onnx, .pth, .pt and .safetensors, which are the files that are read",
            )),
        }
    }
}

fn wrong(path: &Path, message: impl ToString) -> ModelError {
    ModelError::Weights {
        path: path.to_owned(),
        message: message.to_string(),
    }
}

fn network(path: &Path) -> Result<SurveyedNetwork, ModelError> {
    let source = Source::open(path).map_err(|error| wrong(path, weights::chain(&error)))?;
    let model = millrace_onnx::Model::read(&source).map_err(|error| wrong(path, weights::chain(&error)))?;
    let input = model.input().map_err(|problem| wrong(path, problem))?;
    let axis = |axis: &InputAxis| match axis {
        InputAxis::Fixed(length) => u32::try_from(*length).ok(),
        InputAxis::Free(_) => None,
    };
    let (producer, version) = model.producer();
    let pairs = model.metadata().iter();
    let shown = |text: &str| millrace_onnx::shown(text);
    Ok(SurveyedNetwork {
        axes: input.axes.iter().map(axis).collect(),
        is_bytes: input.element == OnnxElement::Uint8,
        input: input.name,
        outputs: model.outputs(),
        external: model.external_files().into_iter().map(str::to_owned).collect(),
        producer: format!("{producer} {version}").trim().to_owned(),
        opset: model.opset(),
        metadata: pairs.map(|(key, value)| (shown(key), shown(value))).collect(),
    })
}

fn weights(path: &Path, format: Format) -> Result<SurveyedWeights, ModelError> {
    let (file, _) = weights::open(path, format, &mut Sha256::default())?;
    let tensors = file.names().map(|name| SurveyedTensor {
        name: name.to_owned(),
        shape: file.shape(name).unwrap_or_default().to_vec(),
        unreadable: file.unreadable(name).map(str::to_owned),
    });
    Ok(SurveyedWeights {
        tensors: tensors.collect(),
        beside: file.beside().map(str::to_owned),
    })
}
