//! Every key of `model.toml`, declared: its JSON Schema and the tables of its reference are made of this, and a test holds
//! the reader to it. Reads nothing.

use millrace_schema::{Bounds, Declared, File, FillError, Form, Section, When, Words, json_schema};
use serde_json::Value;

use super::keys_layer::LAYER;
use super::{MAX_AXES, MAX_EXTENT, MAX_LABELS, SAMPLE_TOLERANCE};

/// `model.toml`
pub(super) const FILE: File = File {
    name: "model.toml",
    root: &ROOT,
    takes_environment: false,
};

/// Where a number must lie, as far as that can be said without its neighbours.
pub(super) struct Within {
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) default: Option<f64>,
    pub(super) is_whole: bool,
}

/// One of a few words; none of them holds where the key is not there.
struct Few(&'static [&'static str]);

/// Any number.
pub(super) const ANY: Within = Within {
    min: None,
    max: None,
    default: None,
    is_whole: false,
};
/// A width, a kernel, a stride: any size.
pub(super) const SIZE: Within = Within {
    min: Some(1.0),
    max: Some(MAX_EXTENT as f64),
    is_whole: true,
    ..ANY
};
const SHARE: Within = Within {
    min: Some(0.0),
    max: Some(1.0),
    ..ANY
};
const COUNT: Within = Within {
    min: Some(1.0),
    is_whole: true,
    ..ANY
};
const TOLERANCE: Within = Within {
    default: Some(SAMPLE_TOLERANCE),
    ..ANY
};
const AXIS: Form = Form::Integer(&SIZE);
/// A name within the folder, and no path out of it.
const FILE_NAME: &str = r"^[^/\x00]+$";
/// The default for a key that an `.onnx` file has the answer to.
const BY_ONNX: &str = "what the `.onnx` file says; required beside layers";
const OF_BYTES: &[When] = &[When::Matches("element", "^float$")];

static ROOT: Section = Section {
    id: "file",
    help: "A model: what it takes, what its outputs mean, its weights and its layers.",
    keys: &[
        Declared::new("name", Form::Text(""), "\"shapes\"", "A name for logs and results.").or("the folder's name"),
        Declared::new(
            "description",
            Form::Text(""),
            "\"Ten shapes\"",
            "A sentence; shown, not used.",
        )
        .or("none"),
        Declared::new(
            "licence",
            Form::Text(""),
            "\"Apache-2.0\"",
            "The licence of the weights; shown, not used.",
        )
        .or("none")
        .unless(&[When::Matches("license", "")]),
        Declared::new("license", Form::Text(""), "\"Apache-2.0\"", "The same as `licence`.").or("none"),
        Declared::new(
            "provenance",
            Form::Text(""),
            "\"trained on our own pictures\"",
            "Where the weights come from; shown, not used.",
        )
        .or("none"),
        Declared::new("input", Form::Table(&INPUT), "", "What the model takes; see below.").or(BY_ONNX),
        Declared::new("output", Form::Table(&OUTPUT), "", "What its outputs mean; see below.").or("no classifier"),
        Declared::new(
            "weights",
            Form::Table(&WEIGHTS),
            "",
            "The file with the weights; see below.",
        )
        .required(),
        Declared::new(
            "samples",
            Form::Table(&SAMPLES),
            "",
            "Recorded inputs and outputs, checked before a device serves; see below.",
        )
        .or("none"),
        Declared::new(
            "accuracy",
            Form::Table(&ACCURACY),
            "",
            "What was measured on held-out data; shown, not used.",
        )
        .or("none"),
        Declared::new(
            "layer",
            Form::Tables(&LAYER),
            "",
            "The network, first layer first; see below.",
        )
        .or("in the `.onnx` file, which has them; else required"),
    ],
    ..Section::EMPTY
};

static INPUT: Section = Section {
    id: "input",
    title: "[input]",
    help: "What the model takes.",
    keys: &[
        Declared::new(
            "shape",
            Form::List(&AXIS, 1, Some(MAX_AXES)),
            "[3, 32, 32]",
            "`[channels, height, width]`, or `[features]` for a network without convolutions; without the batch axis. Beside \
            an `.onnx` file whatever that takes: it fixes the axes that the file leaves open.",
        )
        .or(BY_ONNX),
        Declared::new(
            "element",
            Form::Words(&Few(&["byte", "float"])),
            "\"byte\"",
            "`\"byte\"` or `\"float\"`: what the preprocessing plugin yields.",
        )
        .or("`\"byte\"` beside an `.onnx` file where that takes bytes or there is a normalisation, else `\"float\"`; required \
            beside layers"),
        Declared::new(
            "scale",
            Form::Number(&ANY),
            "0.00392156862745098",
            "For bytes: what each is multiplied with.",
        )
        .or("1/255")
        .unless(OF_BYTES),
        Declared::new(
            "mean",
            Form::List(&Form::Number(&ANY), 1, None),
            "[0.485, 0.456, 0.406]",
            "For bytes: a list with one number, or one for each channel.",
        )
        .or("0")
        .unless(OF_BYTES),
        Declared::new(
            "std",
            Form::List(&Form::Number(&ANY), 1, None),
            "[0.229, 0.224, 0.225]",
            "The same.",
        )
        .or("1")
        .unless(OF_BYTES),
    ],
    ..Section::EMPTY
};

static OUTPUT: Section = Section {
    id: "output",
    title: "[output]",
    help: "What the outputs mean.",
    keys: &[
        Declared::new(
            "labels",
            Form::List(&Form::Text(""), 1, Some(MAX_LABELS)),
            "[\"cat\", \"dog\"]",
            "The classes, in the order of the network's outputs; without them the model is no classifier and yields no scores.",
        )
        .or("none"),
        Declared::new(
            "activation",
            Form::Words(&Few(&["softmax", "sigmoid", "none"])),
            "\"softmax\"",
            "How outputs become scores: `\"softmax\"` (one of the classes), `\"sigmoid\"` (any of them), `\"none\"` (the outputs \
            are scores already, as after a `softmax` layer).",
        )
        .or("`\"softmax\"` where there are labels; `\"none\"` where an `.onnx` file ends in a softmax or a sigmoid"),
        Declared::new(
            "name",
            Form::Text("."),
            "\"output\"",
            "The output that the labels belong to, of an `.onnx` file that has several; plugins see it as the first.",
        )
        .or("the first"),
    ],
    ..Section::EMPTY
};

static WEIGHTS: Section = Section {
    id: "weights",
    title: "[weights]",
    help: "The file with the weights.",
    keys: &[
        Declared::new("file", Form::Text(FILE_NAME), "\"cats.pth\"", "The name of a file in the folder.").required(),
        Declared::new(
            "format",
            Form::Words(&Few(&["safetensors", "pytorch", "burn", "onnx"])),
            "\"pytorch\"",
            "`\"safetensors\"`, `\"pytorch\"`, `\"burn\"` or `\"onnx\"`.",
        )
        .or("by the extension: `.safetensors`, `.pth` and `.pt`, `.bpk`, `.onnx`"),
        Declared::new(
            "sha256",
            Form::Text("^[0-9A-Fa-f]{64}$"),
            "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
            "The file's SHA-256 in hexadecimal; another file is then an error.",
        )
        .or("any file"),
        Declared::new(
            "key",
            Form::Text(""),
            "\"state_dict\"",
            "Where the weights are nested, such as `\"state_dict\"` or `\"state_dict.module\"`; asked for where several places \
            have them (`model` and `ema`).",
        )
        .or("found"),
        Declared::new(
            "layout",
            Form::Words(&Few(&["pytorch", "burn"])),
            "\"pytorch\"",
            "`\"pytorch\"` (linear weights are `[out, in]`) or `\"burn\"` (`[in, out]`).",
        )
        .or("Burn's own files have the second, all others the first"),
        Declared::new(
            "ignore",
            Form::List(&Form::Text(""), 0, None),
            "[\"aux\"]",
            "Weights that no layer uses, by name or by the beginning of a dotted name, such as `[\"aux\"]`.",
        )
        .or("none"),
    ],
    ..Section::EMPTY
};

static SAMPLES: Section = Section {
    id: "samples",
    title: "[samples]",
    help: "Recorded inputs and outputs: a device that does not reproduce them does not serve.",
    keys: &[
        Declared::new(
            "file",
            Form::Text(FILE_NAME),
            "\"samples.safetensors\"",
            "A `.safetensors`, `.pth` or `.bpk` file in the folder with two tensors, both with the batch axis first: `input` \
            (`uint8` for bytes, else floats) and `output` (the raw outputs, before `activation`).",
        )
        .required(),
        Declared::new(
            "tolerance",
            Form::Number(&TOLERANCE),
            "0.001",
            "The largest difference of an output that is still right; above 0.",
        ),
    ],
    ..Section::EMPTY
};

static ACCURACY: Section = Section {
    id: "accuracy",
    title: "[accuracy]",
    help: "What was measured when the model was made.",
    keys: &[
        Declared::new(
            "held_out",
            Form::Number(&SHARE),
            "0.98",
            "The share of held-out items that were classified rightly.",
        )
        .required(),
        Declared::new("items", Form::Integer(&COUNT), "2000", "How many they were.").or("unknown"),
    ],
    ..Section::EMPTY
};

/// The JSON Schema of `model.toml`.
pub fn schema() -> Value {
    json_schema(&FILE)
}

/// The reference of `model.toml` with its tables filled in again.
///
/// # Errors
/// When the text has not a place for each table.
pub fn reference(text: &str) -> Result<String, FillError> {
    Ok(millrace_schema::fill(&[text], FILE.root)?.concat())
}

impl Within {
    fn value(&self, number: Option<f64>) -> Option<Value> {
        // Whole numbers here are small: each is exactly what it is as a float.
        number.map(|number| match self.is_whole {
            true => (number as i64).into(),
            false => number.into(),
        })
    }
}

impl Bounds for Within {
    fn min(&self) -> Option<Value> {
        self.value(self.min)
    }

    fn max(&self) -> Option<Value> {
        self.value(self.max)
    }

    fn default(&self) -> Option<Value> {
        self.value(self.default)
    }
}

impl Words for Few {
    fn words(&self) -> Vec<&'static str> {
        self.0.to_vec()
    }

    fn default(&self) -> &'static str {
        ""
    }
}
