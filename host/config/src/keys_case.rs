//! Every key of a case, declared: a message and what a plugin must make of it. Reads nothing.

use millrace_schema::{Bounds, Declared, File, Form, Section, When, Words};
use serde_json::Value;

use super::keys::{DURATION, PATH, SIZE};
use super::keys_expect::EXPECT;
use super::limits::{AtLeast, Within};
use super::plugin::{DEADLINE, MEMORY};
use super::values::Bytes;

/// A case: `cases/NAME.toml`.
pub(super) const CASE: File = File {
    name: "case",
    root: &ROOT,
    takes_environment: false,
};

/// The count of attempts that a plugin sees.
pub(super) const ATTEMPT: Within<i128> = Within {
    min: 1,
    max: 1 << 31,
    default: 1,
};
/// More instructions than any deadline has room for.
pub(super) const FUEL: Within<i128> = Within {
    min: 1,
    max: 1 << 50,
    default: 1 << 50,
};
/// The range of 32 bits.
pub(super) const BUDGET_MEMORY: Within<Bytes> = Within {
    min: Bytes(1),
    max: Bytes(4 << 30),
    default: Bytes(4 << 30),
};

/// Words that a reader matches itself, and the first of which holds where the key is not there.
pub(super) struct Few(pub(super) &'static [&'static str]);

/// Any number, and any axis.
struct Any(Option<u32>);

pub(super) const NUMBER: Form = Form::Number(&Any(None));
pub(super) const SHAPE: Form = Form::List(&Form::Integer(&Any(Some(u32::MAX))), 0, Some(8));
pub(super) const ELEMENT: Form = Form::Words(&Few(&["byte", "float"]));
pub(super) const TEXT: Form = Form::Text("");
pub(super) const HEADERS: Form = Form::Either(&[Form::Map(&TEXT), Form::List(&Form::List(&TEXT, 2, Some(2)), 0, None)]);
static ROOT: Section = Section {
    id: "case",
    help: "A case: a message, and the outcome that a plugin must have for it.",
    keys: &[
        Declared::new(
            "model",
            Form::Text(PATH),
            "\"../../../models/shapes-lenet\"",
            "A model folder: its input type is the one that a preprocessor must make, its labels are those of `[prediction]`.",
        )
        .or("none"),
        Declared::new(
            "wants",
            Form::Table(&WANTS),
            "",
            "The input type that a preprocessor must make, where there is no model. Not beside `model`.",
        )
        .or("the input type of the model")
        .unless(&[When::Matches("model", "")]),
        Declared::new("message", Form::Table(&MESSAGE), "", "The message.").required(),
        Declared::new(
            "settings",
            Form::Any,
            "{ resize = \"nearest\" }",
            "The plugin's settings, as in `plugins.toml`, but without environment variables.",
        ),
        Declared::new("limits", Form::Table(&LIMITS), "", "The limits of a call.").or("those of `plugins.toml`"),
        Declared::new("prediction", Form::Table(&PREDICTION), "", "The prediction that a router gets.").or("none"),
        Declared::new("expect", Form::Table(&EXPECT), "", "The expected outcome.").or("nothing, which fails"),
        Declared::new("budget", Form::Table(&BUDGET), "", "The budget of a call.").or("anything"),
    ],
    ..Section::EMPTY
};

static WANTS: Section = Section {
    id: "wants",
    title: "`wants`",
    help: "The input type that a preprocessor must make.",
    keys: &[
        Declared::new("shape", SHAPE, "[3, 32, 32]", "The axes.").required(),
        Declared::new("element", ELEMENT, "\"byte\"", "`\"byte\"` or `\"float\"`.").required(),
    ],
    ..Section::EMPTY
};

static MESSAGE: Section = Section {
    id: "message",
    title: "[message]",
    help: "The message: one of `file`, `text` and `base64` gives its body.",
    one_of: &["file", "text", "base64"],
    keys: &[
        Declared::new("file", Form::Text(PATH), "\"red-square.png\"", "A file with the body."),
        Declared::new("text", TEXT, "\"{}\"", "The body as it is."),
        Declared::new("base64", TEXT, "\"iVBORw0KGgo=\"", "The body in Base64."),
        Declared::new("id", TEXT, "\"message-1\"", "Its id.").or("the SHA-256 of the body, as in production"),
        Declared::new("correlation_id", TEXT, "\"7\"", "Its correlation id.").or("none"),
        Declared::new("reply_to", TEXT, "\"client.1\"", "Where its sender waits for an answer.").or("none"),
        Declared::new("source", TEXT, "\"image_queue\"", "Where it comes from.").or("`\"cases\"`"),
        Declared::new("key", TEXT, "\"cat.png\"", "Its routing key, or its file's name.")
            .or("the name of `file`, else empty"),
        Declared::new(
            "content_type",
            TEXT,
            "\"image/png\"",
            "Its content type; `\"\"` is none.",
        )
        .or("by the ending of `file`, else none"),
        Declared::new("attempt", Form::Integer(&ATTEMPT), "1", "Which attempt it is."),
        Declared::new("redelivered", Form::Flag(false), "false", "Whether it was delivered before."),
        Declared::new(
            "headers",
            HEADERS,
            "{ camera = \"7\" }",
            "Its headers: a table (plugins see them in the order of the file), or a list of pairs where a name comes twice.",
        )
        .or("none"),
    ],
    ..Section::EMPTY
};

static LIMITS: Section = Section {
    id: "limits",
    title: "[limits]",
    help: "The limits of a call, with the meaning and the defaults of `plugins.toml`.",
    keys: &[
        Declared::new(
            "deadline",
            Form::Quantity(&DURATION, &DEADLINE),
            "\"1s\"",
            "CPU time of one call.",
        ),
        Declared::new(
            "memory",
            Form::Quantity(&SIZE, &MEMORY),
            "\"256MiB\"",
            "All memories and tables of the instance together.",
        ),
    ],
    ..Section::EMPTY
};

static PREDICTION: Section = Section {
    id: "prediction",
    title: "[prediction]",
    help: "The prediction that a router gets: written here, or made by the case's model.",
    keys: &[
        Declared::new("model", TEXT, "\"shapes\"", "The model's name.").or("`\"model\"`"),
        Declared::new(
            "scores",
            Form::Map(&NUMBER),
            "{ arrow = 0.9, star = 0.1 }",
            "The score of each label. With the case's `model` a label that is not listed has 0.",
        )
        .or("none")
        .unless(&[When::Matches("preprocess", "")]),
        Declared::new(
            "outputs",
            Form::Tables(&OUTPUTS),
            "",
            "Raw outputs, for models that are not classifiers.",
        )
        .or("none"),
        Declared::new(
            "preprocess",
            Form::Text(PATH),
            "\"decode-image.wasm\"",
            "A preprocessor, in place of `scores` and `outputs`: the case's `model` runs on its tensor.",
        )
        .or("none"),
        Declared::new(
            "preprocess_settings",
            Form::Any,
            "{ resize = \"nearest\" }",
            "Its settings.",
        )
        .with(&["preprocess"]),
    ],
    ..Section::EMPTY
};

pub(super) static OUTPUTS: Section = Section {
    id: "outputs",
    title: "[[prediction.outputs]]",
    help: "A raw output.",
    keys: &[
        Declared::new("shape", SHAPE, "[2]", "Its axes.").required(),
        Declared::new(
            "values",
            Form::List(&NUMBER, 0, None),
            "[2.2, 0.1]",
            "The numbers, row by row.",
        )
        .required(),
    ],
    ..Section::EMPTY
};

static BUDGET: Section = Section {
    id: "budget",
    title: "[budget]",
    help: "The budget of a call: a case that costs more fails.",
    keys: &[
        Declared::new(
            "fuel",
            Form::Integer(&AtLeast {
                min: FUEL.min,
                max: FUEL.max,
            }),
            "12_000_000",
            "The most instructions that instantiating, configuring and the call may take together: the same on every machine.",
        )
        .or("any"),
        Declared::new(
            "memory",
            Form::Quantity(&SIZE, &BUDGET_MEMORY),
            "\"8MiB\"",
            "The most that the memories and tables of the instance may take.",
        )
        .or("any"),
    ],
    ..Section::EMPTY
};

impl Words for Few {
    fn words(&self) -> Vec<&'static str> {
        self.0.to_vec()
    }

    fn default(&self) -> &'static str {
        self.0.first().copied().unwrap_or_default()
    }
}

impl Bounds for Any {
    fn min(&self) -> Option<Value> {
        self.0.map(|_| 0.into())
    }

    fn max(&self) -> Option<Value> {
        self.0.map(Value::from)
    }

    fn default(&self) -> Option<Value> {
        None
    }
}
