//! Every key of `plugins.toml`, declared: the reader takes no other, and the JSON Schema and the tables of the reference
//! are made of this. Reads nothing.

use std::sync::LazyLock;

use millrace_schema::{Declared, File, Form, Section, Units};

use super::keys_pipeline::PIPELINE;
use super::limits::{
    ADMIN_PUBLIC, AtLeast, DEADLINE, DEVICE, DRAIN, GPU_AT, HOST_MEMORY, INSTANCES, ISOLATION, MAX_BATCH, MAX_DEVICES,
    MAX_WAIT, MEMORY, PRECISION, THREADS, WATCH, WORKERS,
};
use super::units;
use crate::transport::registry;

/// `plugins.toml`
pub(crate) fn file() -> File {
    File {
        name: "plugins.toml",
        root: &ROOT,
        takes_environment: true,
    }
}

pub(crate) static DURATION: Units = Units {
    name: "duration",
    pattern: units::duration_pattern,
};
pub(crate) static SIZE: Units = Units {
    name: "size",
    pattern: units::size_pattern,
};

/// Names of models, plugins, pipelines and destinations: what [`super::Name`] takes.
pub(crate) const NAME: &str = "^[a-z][a-z0-9-]{0,62}$";
/// A path; nothing more is seen of it without a disk.
pub(crate) const PATH: &str = "^[^\\x00]+$";

/// Patterns, of which none is empty.
pub(crate) const PATTERNS: Form = Form::Either(&[Form::Text("."), Form::List(&Form::Text("."), 1, None)]);
/// Where a source or a destination is, if not at the broker of `[broker]`.
pub(crate) const CONNECTION: Declared = Declared::new(
    "connection",
    Form::Text(NAME),
    "\"plant\"",
    "The connection that it goes by: the name of a `[connection.NAME]`.",
)
.or("`[broker]`");

/// The file: put together, since transports declare a part of it.
pub(crate) static ROOT: LazyLock<Section> = LazyLock::new(|| Section {
    id: "file",
    help: "What a Millrace host runs on: a broker, models, plugins, and the pipelines that join them.",
    keys: &ROOT_KEYS,
    ..Section::EMPTY
});

static ROOT_KEYS: LazyLock<Vec<Declared>> = LazyLock::new(|| {
    vec![
        Declared::new("broker", Form::Table(&BROKER), "", "How the broker is reached.").or("no broker"),
        Declared::new(
            "connection",
            Form::Named(&BROKER, NAME),
            "",
            "Further connections, by name: each has the keys of `[broker]`.",
        )
        .or("none"),
        Declared::new("host", Form::Table(&HOST), "", "The process itself.").or("as below"),
        Declared::new("model", Form::Named(&MODEL, NAME), "", "The models, by name.").or("none"),
        Declared::new("plugin", Form::Named(&PLUGIN, NAME), "", "The plugins, by name.").or("none"),
        Declared::new(
            "pipeline",
            Form::Named(&PIPELINE, NAME),
            "",
            "The pipelines, by name; at least one.",
        )
        .required(),
    ]
});

static BROKER: LazyLock<Section> = LazyLock::new(|| Section {
    id: "broker",
    title: "[broker]",
    help: "How a broker is reached. Needed as soon as one pipeline has a queue as its source, or an exchange or a reply as \
        a destination.",
    one_of: &BROKER_KINDS,
    keys: &BROKER_KEYS,
    ..Section::EMPTY
});
static BROKER_KINDS: LazyLock<Vec<&str>> = LazyLock::new(|| registry::connections().map(|kind| kind.key).collect());
static BROKER_KEYS: LazyLock<Vec<Declared>> =
    LazyLock::new(|| registry::connections().flat_map(|kind| kind.keys).copied().collect());

static HOST: Section = Section {
    id: "host",
    title: "[host]",
    help: "The process itself. The whole table may be left out.",
    keys: &[
        Declared::new(
            "workers",
            Form::Integer(&WORKERS),
            "4",
            "Sandbox worker threads: as many plugin calls run at once.",
        )
        .or("the number of cores")
        .at_home(),
        Declared::new(
            "drain",
            Form::Quantity(&DURATION, &DRAIN),
            "\"25s\"",
            "How long a stop (SIGINT, SIGTERM) or a pause may take. What is unfinished goes back to its source in its last \
            quarter, at most three seconds. Keep it below what the service manager allows by a second or more.",
        )
        .at_home(),
        Declared::new(
            "admin",
            Form::Text(":[0-9]+$"),
            "\"127.0.0.1:9464\"",
            "Where health and metrics are served over HTTP, to whoever asks: an address of this machine alone (`127.0.0.1`, \
            `[::1]`), or with `admin_public` any. Port `0` takes a free one, which the log names.",
        )
        .or("nowhere")
        .at_home(),
        Declared::new(
            "admin_public",
            Form::Flag(ADMIN_PUBLIC),
            "true",
            "Whether `admin` may be an address that other machines reach, for a Prometheus or a probe elsewhere. Nothing can \
            be changed there, and nobody is asked for credentials: the names of pipelines, queues, plugins and models are \
            for everybody who gets that far.",
        )
        .at_home(),
        Declared::new(
            "memory",
            Form::Quantity(&SIZE, &AtLeast(&HOST_MEMORY)),
            "\"4GiB\"",
            "The most memory that the process may take. A file that may take more is refused, with the terms and the key to \
            lower.",
        )
        .or("what the machine, or the control group, has; then it is a warning"),
        Declared::new(
            "control",
            Form::Text(r"^(auto|off)$|\.sock$|:[0-9]+$"),
            "\"auto\"",
            "Where the running host can be asked to change. `\"auto\"`: a socket for the user that the host runs as; \
            `millrace` finds it by the path of this file. A path that ends in `.sock`: a socket there, for the same user \
            alone. An address with a port: TCP, for whoever shows `control_token`. `\"off\"`: nowhere.",
        )
        .or("`\"auto\"`")
        .at_home(),
        Declared::new(
            "control_token",
            Form::Text("^[!-~]{16,512}$"),
            "\"${CONTROL_TOKEN}\"",
            "What a client by TCP must show: 16 to 512 letters, digits and punctuation. A browser on the same machine \
            reaches every address of it, so there is no port without a token. It is not encrypted on its way: other \
            machines should come by a proxy with TLS.",
        )
        .or("none")
        .at_home(),
        Declared::new(
            "watch",
            Form::Flag(WATCH),
            "true",
            "Whether a change of this file, or of anything that it names, is taken up by itself. A reload can be asked for \
            either way.",
        )
        .at_home(),
    ],
    ..Section::EMPTY
};

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
            "What the plugin's `configure` is given, as a JSON object. Dates and times become strings; `nan`, infinities and \
            integers of more than 64 bits are refused.",
        )
        .at_home(),
    ],
    ..Section::EMPTY
};

/// Where a key belongs that is easily written in a table where it is unknown.
pub(crate) fn belongs(key: &str) -> Option<&'static str> {
    let home = |section: &&'static Section| section.find(key).is_some_and(|key| key.has_home);
    ROOT.all().into_iter().find(home).map(|section| section.title)
}
