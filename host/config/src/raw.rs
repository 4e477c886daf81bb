//! `plugins.toml` as the user wrote it: every key that there is, typed but not yet judged. Knows no defaults.

use std::time::Duration;

use millrace_schema::Form;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::{Diagnostic, Span};
use super::kind::{ConnectionKind, PipelineTables, ReadConnection, ReadDestination, ReadSource, SourceKind};
use super::raw_device::{RawDevice, RawDevices};
use super::settings::Settings;
use super::table::{Key, Read, Report, Table, Unreadable};
use super::values::{Bytes, Text, takes_texts, texts};

/// The whole file.
pub(super) struct RawConfig<'t> {
    /// Whether there is a key `pipeline`, whatever it holds.
    pub(super) has_pipelines: bool,
    pub(super) broker: Option<RawConnection<'t>>,
    pub(super) connections: Vec<RawConnection<'t>>,
    /// `[host]`: read by the checks, as its keys declare.
    pub(super) host: Option<Table<'t>>,
    pub(super) models: Vec<RawModel<'t>>,
    pub(super) plugins: Vec<RawPlugin<'t>>,
    pub(super) pipelines: Vec<RawPipeline<'t>>,
}

/// `[broker]`, or `[connection.NAME]`
pub(super) struct RawConnection<'t> {
    /// Empty for `[broker]`.
    pub(super) name: &'t str,
    pub(super) span: Span,
    pub(super) kind: &'static ConnectionKind,
    pub(super) read: Box<dyn ReadConnection>,
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
    /// Messages that a new version must process first: `[[pipeline.NAME.smoke_test]]`.
    pub(super) probes: Vec<RawProbe>,
}

/// `[pipeline.NAME.trial]`
pub(super) struct RawTrial {
    /// Messages that it sees: `messages = 100`.
    pub(super) messages: Key<i128>,
    /// Messages that may fail: `failures = 2`.
    pub(super) failures: Key<i128>,
    /// The factor to the time of the version before: `slower = 5.0`.
    pub(super) slower: Key<f64>,
}

/// `[[pipeline.NAME.smoke_test]]`
pub(super) struct RawProbe {
    pub(super) span: Span,
    /// The file with its body: `file = "smoke-tests/arrow.png"`.
    pub(super) file: Key<Text>,
    /// The best label that it must have: `label = "arrow"`.
    pub(super) label: Key<Text>,
    /// The expected outcome: `outcome = "results"`, `"skip"` or `"reject"`.
    pub(super) outcome: Key<Text>,
}

/// The kind that a table is of, by the keys that it has.
pub(super) enum Chosen<K, R> {
    None,
    Several,
    One(K, R),
}

/// `source = { .. }`
pub(super) struct RawSource {
    pub(super) span: Span,
    pub(super) kind: Chosen<&'static SourceKind, Box<dyn ReadSource>>,
}

/// `[pipeline.NAME.destination.NAME]`
pub(super) struct RawDestination<'t> {
    pub(super) name: &'t str,
    pub(super) span: Span,
    pub(super) kind: Chosen<(), Box<dyn ReadDestination>>,
    /// Whether it has a key that no destination has, which was reported.
    pub(super) is_misplaced: bool,
}

/// The name of a plugin or a model.
pub(super) struct Reference(pub(super) Text);

/// The names of plugins that a message passes one after the other.
pub(super) struct References(pub(super) Vec<Spanned<Reference>>);

impl<'t> RawConfig<'t> {
    /// Reads the whole file; what is wrong with keys and types is in the report.
    pub(super) fn read(table: &'t DeTable<'t>, report: &mut Report<'_>) -> Self {
        let mut file = Table::new(table, report.registry.root(), String::new(), 0..0);
        let raw = Self {
            has_pipelines: table.contains_key("pipeline"),
            broker: file
                .table("broker", report)
                .into_given()
                .and_then(|table| RawConnection::read("", table, report)),
            connections: read_named(&mut file, "connection", report, RawConnection::read)
                .into_iter()
                .flatten()
                .collect(),
            host: file.table("host", report).into_given(),
            models: read_named(&mut file, "model", report, RawModel::read),
            plugins: read_named(&mut file, "plugin", report, RawPlugin::read),
            pipelines: read_named(&mut file, "pipeline", report, RawPipeline::read),
        };
        file.finish(&report.registry.home(), report);
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

impl<'t> RawConnection<'t> {
    /// By the first key that says which kind it is. Where there is none, it is one of the first kind, which misses its key.
    fn read(name: &'t str, mut table: Table<'t>, report: &mut Report<'_>) -> Option<Self> {
        let kind = report
            .registry
            .connections()
            .find(|kind| table.has(kind.key))
            .or_else(|| report.registry.connections().next())?;
        let raw = Self {
            name,
            span: table.span().clone(),
            kind,
            read: (kind.read)(&mut table, report),
        };
        table.refuse_others(kind.keys, "here", report);
        table.finish(&report.registry.home(), report);
        Some(raw)
    }
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
        table.finish(&report.registry.home(), report);
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
        table.finish(&report.registry.home(), report);
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
                .tables("smoke_test", report)
                .into_iter()
                .map(|table| RawProbe::read(table, report))
                .collect(),
        };
        table.finish(&report.registry.home(), report);
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
        table.finish(&report.registry.home(), report);
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
        table.finish(&report.registry.home(), report);
        raw
    }
}

impl RawPipeline<'_> {
    /// The tables that the check of its source or destination, at `span`, may read.
    pub(super) fn tables<'a>(&'a self, span: &'a Span) -> PipelineTables<'a> {
        let source = self.source.given().map(Spanned::get_ref);
        PipelineTables {
            pipeline: self.name,
            span,
            dead_letter: &self.dead_letter,
            source: source.and_then(|source| match &source.kind {
                Chosen::One(kind, read) => Some((*kind, read.as_ref())),
                Chosen::None | Chosen::Several => None,
            }),
        }
    }
}

impl RawSource {
    fn read(pipeline: &mut Table<'_>, report: &mut Report<'_>) -> Key<Self> {
        pipeline.table("source", report).map(|mut table| {
            let mut kinds = report.registry.sources().filter(|kind| table.has(kind.key));
            let kind = match (kinds.next(), kinds.next()) {
                (None, _) => Chosen::None,
                (Some(kind), None) => {
                    let read = (kind.read)(&mut table, report);
                    table.refuse_others(kind.keys, kind.place, report);
                    Chosen::One(kind, read)
                }
                (Some(_), Some(_)) => Chosen::Several,
            };
            let raw = Self {
                span: table.span().clone(),
                kind,
            };
            table.finish(&report.registry.home(), report);
            raw
        })
    }
}

impl<'t> RawDestination<'t> {
    fn read(name: &'t str, mut table: Table<'t>, report: &mut Report<'_>) -> Self {
        let mut is_misplaced = false;
        for (key, message, hint) in report.registry.destinations().flat_map(|kind| kind.misplaced) {
            if let Some(span) = table.reserve(key) {
                is_misplaced = true;
                report.diagnostic(Diagnostic::at(span, *message).hint(*hint));
            }
        }
        let mut kinds = report.registry.destinations().filter(|kind| table.has(kind.key));
        let kind = match (kinds.next(), kinds.next()) {
            (None, _) => Chosen::None,
            (Some(kind), None) => {
                let read = (kind.read)(&mut table, report);
                table.refuse_others(kind.keys, "here", report);
                Chosen::One((), read)
            }
            (Some(_), Some(_)) => Chosen::Several,
        };
        let raw = Self {
            name,
            span: table.span().clone(),
            kind,
            is_misplaced,
        };
        table.finish(&report.registry.home(), report);
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
