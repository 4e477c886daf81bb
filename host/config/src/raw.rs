//! `plugins.toml` as the user wrote it: every key that there is, typed but not yet judged. Knows no defaults.

use std::time::Duration;

use millrace_schema::Form;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::{Diagnostic, Span};
use super::keys;
use super::raw_device::{RawDevice, RawDevices};
use super::settings::Settings;
use super::table::{Key, Read, Report, Table, Unreadable};
use super::values::{Bytes, Patterns, Text, takes_texts, texts};

/// The whole file.
pub(super) struct RawConfig<'t> {
    /// Whether there is a key `pipeline`, whatever it holds.
    pub(super) has_pipelines: bool,
    /// `[broker]`, and `[host]`: read by the checks, as their keys declare.
    pub(super) broker: Option<Table<'t>>,
    pub(super) host: Option<Table<'t>>,
    pub(super) models: Vec<RawModel<'t>>,
    pub(super) plugins: Vec<RawPlugin<'t>>,
    pub(super) pipelines: Vec<RawPipeline<'t>>,
}

/// `[model.NAME]`
pub(super) struct RawModel<'t> {
    pub(super) name: &'t str,
    pub(super) span: Span,
    /// Whether a key could not be read.
    pub(super) is_invalid: bool,
    /// The model folder: `path = "models/shapes-lenet"`.
    pub(super) path: Key<Text>,
    /// Where it runs: `device = "auto"`, or `device = { adapter = "llvmpipe" }`.
    pub(super) device: Key<RawDevice>,
    /// Several of them: `devices = ["gpu:0", "gpu:1"]`.
    pub(super) devices: Key<RawDevices>,
    /// How often it is on each: `instances = 2`.
    pub(super) instances: Key<i128>,
    /// Threads on the CPU: `threads = 2`.
    pub(super) threads: Key<i128>,
    /// Numbers on a GPU: `precision = "f16"`.
    pub(super) precision: Key<Text>,
    /// The largest batch: `max_batch = 64`.
    pub(super) max_batch: Key<i128>,
    /// How long the first of a batch waits for others: `max_wait = "2ms"`.
    pub(super) max_wait: Key<Duration>,
}

/// `[plugin.NAME]`
pub(super) struct RawPlugin<'t> {
    pub(super) name: &'t str,
    pub(super) span: Span,
    /// Whether a key could not be read.
    pub(super) is_invalid: bool,
    /// The component or core module: `path = "plugins/decode-image.wasm"`.
    pub(super) path: Key<Text>,
    /// The digest that the file must have: `sha256 = "9f86d081884c7d65.."`.
    pub(super) sha256: Key<Text>,
    /// CPU time of one call: `deadline = "1s"`.
    pub(super) deadline: Key<Duration>,
    /// All memories and tables of one instance: `memory = "256MiB"`.
    pub(super) memory: Key<Bytes>,
    /// What lives as long as an instance: `isolation = "message"` or `"worker"`.
    pub(super) isolation: Key<Text>,
    /// What `configure` is given, as JSON: `settings = { resize = "bilinear" }`.
    pub(super) settings: Key<Settings>,
}

/// `[pipeline.NAME]`
pub(super) struct RawPipeline<'t> {
    pub(super) name: &'t str,
    pub(super) span: Span,
    /// Where messages come from: `source = { queue = "image_queue" }` or `{ folder = "inbox" }`.
    pub(super) source: Key<RawSource>,
    /// The preprocessor, and transformers before it: `preprocess = "decode-image"` or `["json-image", "letterbox"]`.
    pub(super) preprocess: Key<References>,
    /// The model: `model = "shapes"`.
    pub(super) model: Key<Reference>,
    /// The router, and transformers after it: `route = "by-label"` or `["by-label", "sign"]`.
    pub(super) route: Key<References>,
    /// Attempts where a plugin says `retry`: `attempts = 3`.
    pub(super) attempts: Key<i128>,
    /// The queue of dead letters: `dead_letter = "image_queue.dead"`.
    pub(super) dead_letter: Key<Text>,
    /// The largest message that reaches a plugin: `max_message = "8MiB"`.
    pub(super) max_message: Key<Bytes>,
    /// The results of one message together: `max_results = "8MiB"`.
    pub(super) max_results: Key<Bytes>,
    /// `[pipeline.NAME.destination.NAME]`
    pub(super) destinations: Vec<RawDestination<'t>>,
    /// How a new version is watched at first: `[pipeline.NAME.trial]`.
    pub(super) trial: Key<RawTrial>,
    /// What a new version must process first: `[[pipeline.NAME.probe]]`.
    pub(super) probes: Vec<RawProbe>,
}

/// `[pipeline.NAME.trial]`
pub(super) struct RawTrial {
    /// Messages that it sees: `messages = 100`.
    pub(super) messages: Key<i128>,
    /// Messages that may fail: `failures = 2`.
    pub(super) failures: Key<i128>,
    /// How many times the time of the version before: `slower = 5.0`.
    pub(super) slower: Key<f64>,
}

/// `[[pipeline.NAME.probe]]`
pub(super) struct RawProbe {
    pub(super) span: Span,
    /// The file with its body: `file = "probes/arrow.png"`.
    pub(super) file: Key<Text>,
    /// The best label that it must have: `label = "arrow"`.
    pub(super) label: Key<Text>,
    /// What must come of it: `outcome = "results"`, `"skip"` or `"reject"`.
    pub(super) outcome: Key<Text>,
}

/// `source = { .. }`
pub(super) struct RawSource {
    pub(super) span: Span,
    /// An AMQP queue: `queue = "image_queue"`.
    pub(super) queue: Key<Text>,
    /// A folder of files: `folder = "inbox"`.
    pub(super) folder: Key<Text>,
    /// Messages in flight: `prefetch = 256`.
    pub(super) prefetch: Key<i128>,
    /// How a missing queue is declared.
    pub(super) declare: RawDeclare,
    /// Which files are messages: `pattern = "*.png"` or `["*.png", "*.jpg"]`.
    pub(super) pattern: Key<Patterns>,
    /// How long a file must not have changed: `settle = "200ms"`.
    pub(super) settle: Key<Duration>,
}

/// How a queue is declared where it is missing.
pub(super) struct RawDeclare {
    /// `type = "quorum"`, `"classic"` or `"passive"`.
    pub(super) kind: Key<Text>,
    /// Whether a classic queue survives a restart of the broker: `durable = false`.
    pub(super) durable: Key<bool>,
}

/// `[pipeline.NAME.destination.NAME]`
pub(super) struct RawDestination<'t> {
    pub(super) name: &'t str,
    pub(super) span: Span,
    /// An AMQP exchange, `""` for the default exchange: `exchange = "results"`.
    pub(super) exchange: Key<Text>,
    /// The key where the plugin gives none; on the default exchange a queue: `routing_key = "result_queue"`.
    pub(super) routing_key: Key<Text>,
    /// Keys that a plugin may choose: `keys = ["label.*"]`.
    pub(super) keys: Key<Patterns>,
    /// How a missing queue is declared: on the default exchange alone.
    pub(super) declare: RawDeclare,
    /// Reply queues that are allowed: `reply = ["amq.rabbitmq.reply-to.*"]`.
    pub(super) reply: Key<Patterns>,
    /// A folder: `folder = "out"`.
    pub(super) folder: Key<Text>,
    /// Where `queue` is written, which is a key of sources and means nothing here.
    pub(super) queue: Option<Span>,
}

/// The name of a plugin or a model.
pub(super) struct Reference(pub(super) Text);

/// The names of plugins that a message passes one after the other.
pub(super) struct References(pub(super) Vec<Spanned<Reference>>);

impl<'t> RawConfig<'t> {
    /// Reads the whole file; what is wrong with keys and types is in the report.
    pub(super) fn read(table: &'t DeTable<'t>, report: &mut Report<'_>) -> Self {
        let mut file = Table::new(table, &keys::ROOT, String::new(), 0..0);
        let raw = Self {
            has_pipelines: table.contains_key("pipeline"),
            broker: file.table("broker", report).into_given(),
            host: file.table("host", report).into_given(),
            models: read_named(&mut file, "model", report, RawModel::read),
            plugins: read_named(&mut file, "plugin", report, RawPlugin::read),
            pipelines: read_named(&mut file, "pipeline", report, RawPipeline::read),
        };
        file.finish(&keys::belongs, report);
        raw
    }
}

fn read_named<'t, T>(
    outer: &mut Table<'t>,
    name: &'static str,
    report: &mut Report<'_>,
    read: fn(&'t str, Table<'t>, &mut Report<'_>) -> T,
) -> Vec<T> {
    let tables = outer.named_tables(name, report);
    tables
        .into_iter()
        .map(|(name, table)| read(name, table, report))
        .collect()
}

impl<'t> RawModel<'t> {
    fn read(name: &'t str, mut table: Table<'t>, report: &mut Report<'_>) -> Self {
        let raw = Self {
            name,
            span: table.span().clone(),
            path: table.key("path", report),
            device: table.key("device", report),
            devices: table.key("devices", report),
            instances: table.key("instances", report),
            threads: table.key("threads", report),
            precision: table.key("precision", report),
            max_batch: table.key("max_batch", report),
            max_wait: table.key("max_wait", report),
            is_invalid: table.is_invalid(),
        };
        table.finish(&keys::belongs, report);
        raw
    }
}

impl<'t> RawPlugin<'t> {
    fn read(name: &'t str, mut table: Table<'t>, report: &mut Report<'_>) -> Self {
        let raw = Self {
            name,
            span: table.span().clone(),
            path: table.key("path", report),
            sha256: table.key("sha256", report),
            deadline: table.key("deadline", report),
            memory: table.key("memory", report),
            isolation: table.key("isolation", report),
            settings: table.key("settings", report),
            is_invalid: table.is_invalid(),
        };
        if let Some(span) = table.reserve("grant") {
            let hint = "a plugin has its message, its settings and its log, and nothing else";
            report.diagnostic(Diagnostic::at(span, "nothing can be granted to a plugin yet").hint(hint));
        }
        table.finish(&keys::belongs, report);
        raw
    }
}

impl<'t> RawPipeline<'t> {
    fn read(name: &'t str, mut table: Table<'t>, report: &mut Report<'_>) -> Self {
        let raw = Self {
            name,
            span: table.span().clone(),
            source: RawSource::read(&mut table, report),
            preprocess: table.key("preprocess", report),
            model: table.key("model", report),
            route: table.key("route", report),
            attempts: table.key("attempts", report),
            dead_letter: table.key("dead_letter", report),
            max_message: table.key("max_message", report),
            max_results: table.key("max_results", report),
            destinations: read_named(&mut table, "destination", report, RawDestination::read),
            trial: table.table("trial", report).map(|table| RawTrial::read(table, report)),
            probes: table
                .tables("probe", report)
                .into_iter()
                .map(|table| RawProbe::read(table, report))
                .collect(),
        };
        table.finish(&keys::belongs, report);
        raw
    }
}

impl RawTrial {
    fn read(mut table: Table<'_>, report: &mut Report<'_>) -> Self {
        let raw = Self {
            messages: table.key("messages", report),
            failures: table.key("failures", report),
            slower: table.key("slower", report),
        };
        table.finish(&keys::belongs, report);
        raw
    }
}

impl RawProbe {
    fn read(mut table: Table<'_>, report: &mut Report<'_>) -> Self {
        let raw = Self {
            span: table.span().clone(),
            file: table.key("file", report),
            label: table.key("label", report),
            outcome: table.key("outcome", report),
        };
        table.finish(&keys::belongs, report);
        raw
    }
}

impl RawSource {
    fn read(pipeline: &mut Table<'_>, report: &mut Report<'_>) -> Key<Self> {
        pipeline.table("source", report).map(|mut table| {
            let raw = Self {
                span: table.span().clone(),
                queue: table.key("queue", report),
                folder: table.key("folder", report),
                prefetch: table.key("prefetch", report),
                declare: RawDeclare::read(&mut table, report),
                pattern: table.key("pattern", report),
                settle: table.key("settle", report),
            };
            table.finish(&keys::belongs, report);
            raw
        })
    }
}

impl RawDeclare {
    fn read(table: &mut Table<'_>, report: &mut Report<'_>) -> Self {
        Self {
            kind: table.key("type", report),
            durable: table.key("durable", report),
        }
    }
}

impl<'t> RawDestination<'t> {
    fn read(name: &'t str, mut table: Table<'t>, report: &mut Report<'_>) -> Self {
        let raw = Self {
            name,
            span: table.span().clone(),
            exchange: table.key("exchange", report),
            routing_key: table.key("routing_key", report),
            keys: table.key("keys", report),
            declare: RawDeclare::read(&mut table, report),
            reply: table.key("reply", report),
            folder: table.key("folder", report),
            queue: table.reserve("queue"),
        };
        table.finish(&keys::belongs, report);
        raw
    }
}

impl<'t> Read<'t> for Reference {
    const EXPECTED: &'static str = "one name in a string";

    fn read(value: &'t Spanned<DeValue<'t>>, report: &mut Report<'_>) -> Result<Self, Unreadable> {
        Text::read(value, report).map(Self)
    }

    fn takes(form: &Form) -> bool {
        Text::takes(form)
    }
}

impl<'t> Read<'t> for References {
    const EXPECTED: &'static str = "a name or a list of names";

    fn read(value: &'t Spanned<DeValue<'t>>, report: &mut Report<'_>) -> Result<Self, Unreadable> {
        texts(value, "a name", report).map(|texts| {
            let references = texts
                .into_iter()
                .map(|text| Spanned::new(text.span(), Reference(text.into_inner())));
            Self(references.collect())
        })
    }

    fn takes(form: &Form) -> bool {
        takes_texts(form)
    }
}
