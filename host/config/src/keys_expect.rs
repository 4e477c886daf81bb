//! The keys of what a case expects, declared: a tensor, results, a message. Reads nothing.

use millrace_schema::{Declared, Form, Section, When};

use super::keys::PATH;
use super::keys_case::{ELEMENT, Few, HEADERS, NUMBER, SHAPE, TEXT};
use super::limits::{AtLeast, Within};

/// How far a number may be off.
pub(super) const TOLERANCE: Within<f64> = Within {
    min: 0.0,
    max: 1e9,
    default: 0.001,
};
const ANY_TOLERANCE: AtLeast<f64> = AtLeast {
    min: TOLERANCE.min,
    max: TOLERANCE.max,
};
const DIGEST: Form = Form::Text("^[0-9A-Fa-f]{64}$");
const OUTCOMES: Few = Few(&[
    "ok",
    "processed",
    "no-fault",
    "reject",
    "retry",
    "skip",
    "settings",
    "trap",
    "deadline",
    "memory",
    "output-too-large",
    "bad-tensor",
    "denied",
]);
/// Nothing comes out: all outcomes but the first begin otherwise.
const FAILED: &[When] = &[When::Matches("outcome", "^([^o]|ou)")];

pub(super) static EXPECT: Section = Section {
    id: "expect",
    title: "[expect]",
    help: "The expected outcome. Keys that are left out are not compared.",
    keys: &[
        Declared::new(
            "outcome",
            Form::Words(&OUTCOMES),
            "\"ok\"",
            "`\"ok\"`; `\"processed\"`: ok or a skip; `\"no-fault\"`: any answer but a fault; what the plugin may answer: `\"reject\"`, `\"retry\"`, `\"skip\"`; how it may fail: `\"trap\"`, \
            `\"deadline\"`, `\"memory\"`, `\"output-too-large\"`, `\"bad-tensor\"`, `\"denied\"`; and `\"settings\"`: it \
            refuses its settings, or they are not such as it declares.",
        ),
        Declared::new(
            "reason",
            TEXT,
            "\"no picture\"",
            "Is contained in the text of the refusal or the fault.",
        )
        .or("any")
        .with(&["outcome"])
        .unless(&[When::Matches("outcome", "^(ok|processed|no-fault)$")]),
        Declared::new("tensor", Form::Table(&TENSOR), "", "The tensor of a preprocessor.")
            .or("any")
            .unless(FAILED),
        Declared::new(
            "label",
            TEXT,
            "\"square\"",
            "The best label of the case's `model` for the tensor.",
        )
        .or("any")
        .unless(FAILED),
        Declared::new(
            "result",
            Form::Tables(&RESULT),
            "",
            "For a router: each result, in order; `result = []` expects none.",
        )
        .or("any")
        .unless(FAILED),
        Declared::new(
            "message",
            Form::Table(&BODY),
            "",
            "For a transformer: the message that it returns.",
        )
        .or("any")
        .unless(FAILED),
    ],
    ..Section::EMPTY
};

static TENSOR: Section = Section {
    id: "tensor",
    title: "`tensor`",
    help: "A tensor: its type, its statistics, its elements.",
    keys: &[
        Declared::new("shape", SHAPE, "[3, 32, 32]", "The axes.").or("any"),
        Declared::new("element", ELEMENT, "\"byte\"", "`\"byte\"` or `\"float\"`.").or("any"),
        Declared::new("min", NUMBER, "0", "The least element.").or("any"),
        Declared::new("max", NUMBER, "255", "The greatest element.").or("any"),
        Declared::new("mean", NUMBER, "96.4", "Their mean.").or("any"),
        Declared::new(
            "sha256",
            DIGEST,
            "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
            "The digest of the elements (floats little-endian).",
        )
        .or("any"),
        Declared::new(
            "file",
            Form::Text(PATH),
            "\"red-square.out.png\"",
            "A PNG for what is a picture (1 or 3 channels; floats from 0 to 1), else the elements as they are.",
        )
        .or("any"),
        Declared::new(
            "tolerance",
            Form::Number(&ANY_TOLERANCE),
            "0.001",
            "How far a statistic, and each element in the file, may be off.",
        )
        .or("0.001"),
    ],
    ..Section::EMPTY
};

/// The common keys of a body in `[[expect.result]]` and `[expect.message]`.
macro_rules! body_keys {
    ($($own:expr),*) => {
        &[
            $($own,)*
            Declared::new("content_type", TEXT, "\"application/json\"", "Its content type; `\"\"` says that it has none.")
                .or("any"),
            Declared::new("headers", HEADERS, "{ label = \"cat\" }", "These headers with these values are among its headers.")
                .or("any"),
            Declared::new(
                "json",
                Form::Any,
                "{ \"/label\" = \"cat\" }",
                "Values in a JSON body by JSON pointer; `\"\"` is the whole body.",
            )
            .or("any"),
            Declared::new("text", TEXT, "\"cat\"", "The whole body.").or("any"),
            Declared::new(
                "body_sha256",
                DIGEST,
                "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
                "Its digest.",
            )
            .or("any"),
            Declared::new("file", Form::Text(PATH), "\"cat.json\"", "A file with the whole body.").or("any"),
            Declared::new(
                "tolerance",
                Form::Number(&ANY_TOLERANCE),
                "0.001",
                "How far a number in `json` may be off.",
            )
            .or("0.001"),
        ]
    };
}

pub(super) static RESULT: Section = Section {
    id: "result",
    title: "[[expect.result]]",
    help: "A result of a router.",
    keys: body_keys![
        Declared::new("destination", TEXT, "\"results\"", "Its destination.").or("any"),
        Declared::new(
            "key",
            TEXT,
            "\"label.cat\"",
            "Its routing key; `\"\"` says that it has none."
        )
        .or("any")
    ],
    ..Section::EMPTY
};

static BODY: Section = Section {
    id: "transformed",
    title: "[expect.message]",
    help: "The message that a transformer returns.",
    keys: body_keys![],
    ..Section::EMPTY
};
