//! Every key of `plugins.toml`, declared: the reader takes no other, and the JSON Schema and the tables of the reference
//! are made of this. Reads nothing.

use millrace_schema::{Declared, File, Form, Section, Units};

use super::host::HOST;
use super::keys_pipeline;
use super::limits::{
    DEADLINE, DEVICE, GPU_AT, INSTANCES, ISOLATION, MAX_BATCH, MAX_DEVICES, MAX_WAIT, MEMORY, PRECISION, THREADS,
};
use super::registry::Registry;
use super::units;

/// `plugins.toml`
pub(crate) fn file(registry: &'static Registry) -> File {
    File {
        name: "plugins.toml",
        root: registry.root(),
        takes_environment: true,
    }
}

pub static DURATION: Units = Units {
    name: "duration",
    pattern: units::duration_pattern,
};
pub static SIZE: Units = Units {
    name: "size",
    pattern: units::size_pattern,
};

/// Names of models, plugins, pipelines and destinations: what [`super::Name`] takes.
pub(crate) const NAME: &str = "^[a-z][a-z0-9-]{0,62}$";
/// A path; nothing more is seen of it without a disk.
pub const PATH: &str = "^[^\\x00]+$";

/// Patterns, of which none is empty.
pub const PATTERNS: Form = Form::Either(&[Form::Text("."), Form::List(&Form::Text("."), 1, None)]);
/// Where a source or a destination is, if not at the broker of `[broker]`.
pub const CONNECTION: Declared = Declared::new(
    "connection",
    Form::Text(NAME),
    "\"plant\"",
    "The connection that it goes by: the name of a `[connection.NAME]`.",
)
.or("`[broker]`");

/// The file, put together with the keys that the transports declare; made once for a registry.
pub(crate) fn root(registry: &'static Registry) -> &'static Section {
    let broker = leak(Section {
        id: "broker",
        title: "[broker]",
        help: "How a broker is reached. Needed as soon as one pipeline has a queue as its source, or an exchange or a reply as \
            a destination.",
        one_of: registry.connections().map(|kind| kind.key).collect::<Vec<_>>().leak(),
        keys: registry
            .connections()
            .flat_map(|kind| kind.keys)
            .copied()
            .collect::<Vec<_>>()
            .leak(),
        ..Section::EMPTY
    });
    let keys = vec![
        Declared::new("broker", Form::Table(broker), "", "How the broker is reached.").or("no broker"),
        Declared::new(
            "connection",
            Form::Named(broker, NAME),
            "",
            "Further connections, by name: each has the keys of `[broker]`.",
        )
        .or("none"),
        Declared::new("host", Form::Table(&HOST), "", "The process itself.").or("as below"),
        Declared::new("model", Form::Named(&MODEL, NAME), "", "The models, by name.").or("none"),
        Declared::new("plugin", Form::Named(&PLUGIN, NAME), "", "The plugins, by name.").or("none"),
        Declared::new(
            "pipeline",
            Form::Named(keys_pipeline::pipeline(registry), NAME),
            "",
            "The pipelines, by name; at least one.",
        )
        .required(),
    ];
    leak(Section {
        id: "file",
        help: "The configuration of a Millrace host: a broker, models, plugins, and the pipelines that join them.",
        keys: keys.leak(),
        ..Section::EMPTY
    })
}

/// Sections refer to each other for as long as the process runs.
pub(super) fn leak(section: Section) -> &'static Section {
    Box::leak(Box::new(section))
}

static MODEL: Section = Section {
    id: "model",
    title: "[model.NAME]",
    help: "A model.",
    keys: &[
        Declared::new(
            "path",
            Form::Text(PATH),
            "\"models/shapes-lenet\"",
            "The model: a folder with a `model.toml` and the weights, or an `.onnx` file.",
        )
        .required(),
        Declared::new(
            "device",
            DEVICE_FORM,
            "\"auto\"",
            "`\"auto\"`: a real GPU where there is one, else the CPU, never a software rasteriser. `\"gpu\"`: a real GPU or an \
            error. `\"gpu:1\"`: the second of them. `\"cpu\"`: the CPU. `{ adapter = \"TEXT\" }`: the adapter whose name contains \
            the text, software adapters too; `millrace devices` lists them.",
        )
        .at_home(),
        Declared::new(
            "devices",
            Form::List(&DEVICE_FORM, 1, Some(MAX_DEVICES)),
            "[\"gpu:0\", \"gpu:1\"]",
            "Several devices, each with the whole model, which take batches side by side. Not beside `device`.",
        )
        .or("the one of `device`")
        .at_home(),
        Declared::new(
            "instances",
            Form::Integer(&INSTANCES),
            "1",
            "How often the model is on each device: several take batches side by side, each with weights of its own.",
        )
        .at_home(),
        Declared::new(
            "threads",
            Form::Integer(&THREADS),
            "2",
            "Threads that compute on the CPU, for each instance. The sandbox's workers need cores as well: fewer threads than \
            cores are right where preprocessing takes as long as the model.",
        )
        .or("the number of physical cores")
        .at_home(),
        Declared::new(
            "precision",
            Form::Words(&PRECISION),
            "\"f32\"",
            "How numbers are kept on a GPU: `\"f32\"`, or `\"f16\"`, which takes half the memory and less time where the device \
            can; what it costs in accuracy is measured and logged when the model is loaded. A CPU computes in `f32`.",
        )
        .at_home(),
        Declared::new("max_batch", Form::Integer(&MAX_BATCH), "64", "The largest batch.").or("by device").at_home(),
        Declared::new(
            "max_wait",
            Form::Quantity(&DURATION, &MAX_WAIT),
            "\"2ms\"",
            "How long the first tensor of a batch waits for others. A lone message never waits.",
        )
        .at_home(),
    ],
    ..Section::EMPTY
};

const DEVICE_FORM: Form = Form::Either(&[Form::Words(&DEVICE), Form::Text(GPU_AT), Form::Table(&ADAPTER)]);

pub(crate) static ADAPTER: Section = Section {
    id: "adapter",
    title: "`device`",
    help: "A device by the name of its adapter.",
    keys: &[Declared::new(
        "adapter",
        Form::Text(r"[^ \t\r\n]"),
        "\"llvmpipe\"",
        "A part of the adapter's name; `millrace devices` lists them.",
    )
    .required()],
    ..Section::EMPTY
};

pub(crate) static PLUGIN: Section = Section {
    id: "plugin",
    title: "[plugin.NAME]",
    help: "A plugin: one WebAssembly file.",
    keys: &[
        Declared::new(
            "path",
            Form::Text(PATH),
            "\"plugins/decode-image.wasm\"",
            "The WebAssembly file: a component, or a core module with an embedded component type.",
        )
        .required(),
        Declared::new(
            "sha256",
            Form::Text("^[0-9A-Fa-f]{64}$"),
            "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
            "The digest that the file must have: 64 hexadecimal digits, as `sha256sum` prints them.",
        )
        .or("any file")
        .at_home(),
        Declared::new("deadline", Form::Quantity(&DURATION, &DEADLINE), "\"1s\"", "CPU time of one call.").at_home(),
        Declared::new(
            "memory",
            Form::Quantity(&SIZE, &MEMORY),
            "\"256MiB\"",
            "All memories and tables of one instance together.",
        )
        .at_home(),
        Declared::new(
            "isolation",
            Form::Words(&ISOLATION),
            "\"message\"",
            "`\"message\"`: a fresh instance for each message, so that no message can see another. `\"worker\"`: one instance \
            for each worker thread, renewed after a fault: faster, and the plugin keeps what it remembers.",
        )
        .at_home(),
        Declared::new(
            "settings",
            Form::Any,
            "{ resize = \"bilinear\" }",
            "The settings for the plugin's `configure`, as a JSON object. Dates and times become strings; `nan`, infinities and \
            integers of more than 64 bits are refused.",
        )
        .at_home(),
    ],
    ..Section::EMPTY
};
