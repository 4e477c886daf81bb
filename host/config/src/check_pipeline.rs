//! The checks of one pipeline: its source, its references, its destinations. Knows nothing of other pipelines.

use std::collections::BTreeMap;

use toml::Spanned;

use super::check::Checker;
use super::check_values::Expect;
use super::diagnostics::{Diagnostic, Span, did_you_mean, quoted};
use super::limits::{
    ATTEMPTS, CHAIN_MAX, DURABLE, MAX_MESSAGE, MAX_RESULTS, PREFETCH_FOLDER, PREFETCH_QUEUE, QUEUE_TYPE, SETTLE,
};
use super::links::{EndpointRole, EndpointUse, LinkedEndpoint, Use, UseKind};
use super::raw::{RawConfig, RawDeclare, RawPipeline, RawSource, Reference, References};
use super::table::Key;
use super::values::Text;
use super::{FolderSource, Globs, Name, PipelineConfig, QueueSource, QueueType, SourceConfig};
use millrace_types::plugins::Plugins;

/// AMQP's short strings: names of queues and exchanges, routing keys.
const SHORT_STRING_BYTES_MAX: usize = 255;
/// Queues that only the broker may declare.
const RESERVED_PREFIX: &str = "amq.";

impl Checker<'_, '_> {
    /// Checks `[pipeline.NAME]`.
    pub(super) fn pipeline(&mut self, raw: &RawPipeline<'_>, file: &RawConfig<'_>) -> Option<PipelineConfig> {
        let plugins: Vec<&str> = file.plugins.iter().map(|plugin| plugin.name).collect();
        let models: Vec<&str> = file.models.iter().map(|model| model.name).collect();
        let name = self.name(raw.name, &raw.span, "pipeline");
        self.required(
            &raw.source,
            "source",
            &raw.span,
            "`source = { queue = \"..\" }` or `{ folder = \"..\" }`",
        );
        let source = raw.source.given().and_then(|source| self.source(source.get_ref(), raw));
        self.required(&raw.preprocess, "preprocess", &raw.span, "the name of a plugin");
        let preprocess = self.chain(&raw.preprocess, UseKind::Preprocess, &plugins);
        self.required(&raw.model, "model", &raw.span, "the name of a model");
        let model = raw.model.given();
        let model = model.and_then(|model| self.reference(model, UseKind::Model, &models));
        self.required(&raw.route, "route", &raw.span, "the name of a plugin");
        let route = self.chain(&raw.route, UseKind::Route, &plugins);
        let attempts = self.within(&raw.attempts, &ATTEMPTS);
        let max_message_bytes = self.size_bytes(&raw.max_message, &MAX_MESSAGE);
        let max_results_bytes = self.size_bytes(&raw.max_results, &MAX_RESULTS);
        let mut destinations = BTreeMap::new();
        for destination in &raw.destinations {
            let name = self.name(destination.name, &destination.span, "destination");
            let config = self.destination(destination, raw);
            if let (Some(name), Some(config)) = (name, config) {
                destinations.insert(name, config);
            }
        }
        if raw.destinations.is_empty() {
            let warning = format!(
                "the pipeline {} has no destination: results go nowhere",
                quoted(raw.name)
            );
            let hint = format!("add `[pipeline.{}.destination.NAME]`", raw.name);
            self.report
                .warning(Diagnostic::at(raw.span.clone(), warning).hint(hint));
        }
        let trial = raw.trial.given().map(|trial| self.trial(trial.get_ref()));
        let trial = trial.unwrap_or_default();
        let probes = self.probes(raw, max_message_bytes);
        Some(PipelineConfig {
            name: name?,
            source: source?,
            plugins: plugins_of(preprocess?, route?)?,
            model: model?,
            attempts: u32::try_from(attempts).unwrap_or(1),
            max_message_bytes,
            max_results_bytes,
            destinations,
            trial,
            probes,
        })
    }

    /// Plugins that a message passes one after the other: transformers, and at the model's end of the chain the one that
    /// it is there for.
    fn chain(&mut self, key: &Key<References>, kind: UseKind, known: &[&str]) -> Option<Vec<Name>> {
        let given = key.given()?;
        let References(references) = given.get_ref();
        let n = references.len();
        if n == 0 || n > CHAIN_MAX {
            let message = format!("a chain of {n} plugins: it has at least one, and at most {CHAIN_MAX}");
            self.report.diagnostic(Diagnostic::at(given.span(), message));
            return None;
        }
        let own = if kind == UseKind::Preprocess { n - 1 } else { 0 };
        let names = references.iter().enumerate().map(|(place, reference)| {
            let kind = if place == own { kind } else { UseKind::Transform };
            self.reference(reference, kind, known)
        });
        // Every one is looked at, so that every mistake is told.
        let names: Vec<Option<Name>> = names.collect();
        names.into_iter().collect()
    }

    fn reference(&mut self, given: &Spanned<Reference>, kind: UseKind, known: &[&str]) -> Option<Name> {
        let text = &given.get_ref().0;
        if known.contains(&text.value.as_str()) {
            self.links.uses.push(Use {
                name: text.value.clone(),
                kind,
                span: given.span(),
            });
            return Name::new(&text.value);
        }
        let kind = kind.noun();
        if known.is_empty() && self.report.meant.contains(&(0, kind)) {
            return None;
        }
        let message = format!("there is no {kind} {}", text.quoted());
        self.report
            .diagnostic(match did_you_mean(&text.value, known.iter().copied()) {
                Some(meant) => Diagnostic::at(given.span(), format!("{message}, did you mean `{meant}`?")),
                None if Name::new(&text.value).is_some() && text.is_plain() => {
                    Diagnostic::at(given.span(), message).hint(format!("add `[{kind}.{}]`", text.value))
                }
                None => Diagnostic::at(given.span(), message).hint(format!("add `[{kind}.NAME]`")),
            });
        None
    }

    fn source(&mut self, raw: &RawSource, pipeline: &RawPipeline<'_>) -> Option<SourceConfig> {
        const EITHER: &str = "write `{ queue = \"..\" }` or `{ folder = \"..\" }`";
        match (&raw.queue, &raw.folder) {
            (Key::Absent, Key::Absent) => {
                let diagnostic = Diagnostic::at(raw.span.clone(), "the source has neither `queue` nor `folder`");
                self.report.diagnostic(diagnostic.hint(EITHER));
                None
            }
            (_, Key::Absent) => self.queue_source(raw, pipeline).map(SourceConfig::Queue),
            (Key::Absent, _) => self.folder_source(raw, pipeline).map(SourceConfig::Folder),
            _ => {
                let diagnostic = Diagnostic::at(raw.span.clone(), "the source has both `queue` and `folder`");
                self.report.diagnostic(diagnostic.hint(EITHER));
                None
            }
        }
    }

    fn queue_source(&mut self, raw: &RawSource, pipeline: &RawPipeline<'_>) -> Option<QueueSource> {
        self.refuse(
            &raw.pattern,
            "`pattern` has no meaning for a queue",
            "it chooses the files of a folder",
        );
        self.refuse(
            &raw.settle,
            "`settle` has no meaning for a queue",
            "it says when a file in a folder is complete",
        );
        let declare = self.declare(&raw.declare);
        let prefetch = self.within(&raw.prefetch, &PREFETCH_QUEUE);
        let queue = raw.queue.given()?;
        self.links.needs_broker.push(queue.span());
        let name = self.queue_name(queue, declare);
        let endpoint = LinkedEndpoint::Queue(queue.get_ref().value.clone());
        self.link(pipeline, EndpointRole::Source, endpoint, queue.span(), Some(declare));
        let dead_letter = self.dead_letter(queue, pipeline);
        Some(QueueSource {
            queue: name?,
            prefetch: u16::try_from(prefetch).unwrap_or(u16::MAX),
            declare,
            dead_letter: dead_letter?,
        })
    }

    fn dead_letter(&mut self, queue: &Spanned<Text>, pipeline: &RawPipeline<'_>) -> Option<String> {
        match &pipeline.dead_letter {
            Key::Mistaken => None,
            Key::Given(given) => {
                let endpoint = LinkedEndpoint::Queue(given.get_ref().value.clone());
                self.link(pipeline, EndpointRole::DeadLetter, endpoint, given.span(), None);
                // Dead letters are always declared, so a name that cannot be declared is wrong.
                self.queue_name(given, QueueType::default())
            }
            Key::Absent => {
                let name = format!("{}.dead", queue.get_ref().value);
                let is_declarable = name.len() <= SHORT_STRING_BYTES_MAX && !name.starts_with(RESERVED_PREFIX);
                if !is_declarable && queue.get_ref().value.len() <= SHORT_STRING_BYTES_MAX {
                    let message = "no queue of dead letters can be named after this queue";
                    let hint = "add `dead_letter = \"..\"` to the pipeline";
                    self.report.diagnostic(Diagnostic::at(queue.span(), message).hint(hint));
                }
                let endpoint = LinkedEndpoint::Queue(name.clone());
                self.link(pipeline, EndpointRole::DeadLetter, endpoint, queue.span(), None);
                Some(name)
            }
        }
    }

    fn folder_source(&mut self, raw: &RawSource, pipeline: &RawPipeline<'_>) -> Option<FolderSource> {
        const QUEUE_ONLY: &str = "it says how a queue is declared";
        self.refuse(&raw.declare.kind, "`type` has no meaning for a folder", QUEUE_ONLY);
        self.refuse(
            &raw.declare.durable,
            "`durable` has no meaning for a folder",
            QUEUE_ONLY,
        );
        self.refuse(
            &pipeline.dead_letter,
            "a folder as a source has no queue of dead letters",
            "its dead letters are in its folder `dead`; leave out `dead_letter`",
        );
        let prefetch = self.within(&raw.prefetch, &PREFETCH_FOLDER);
        let pattern = self.file_pattern(raw);
        let given = raw.folder.given()?;
        let folder = self.path(given, Expect::Folder);
        if let Some(folder) = &folder {
            self.link(
                pipeline,
                EndpointRole::Source,
                LinkedEndpoint::folder(folder),
                given.span(),
                None,
            );
        }
        Some(FolderSource {
            folder: folder?,
            pattern,
            prefetch: u16::try_from(prefetch).unwrap_or(u16::MAX),
            settle: self.within(&raw.settle, &SETTLE),
        })
    }

    fn file_pattern(&mut self, raw: &RawSource) -> Globs {
        let Some(patterns) = raw.pattern.given() else {
            return Globs::every_name();
        };
        for pattern in patterns
            .get_ref()
            .0
            .iter()
            .filter(|pattern| pattern.get_ref().value.contains('/'))
        {
            let message = format!("the pattern {} can match no file", pattern.get_ref().quoted());
            let hint = "a pattern is for the file's name alone: only files directly in the folder are messages";
            self.report
                .diagnostic(Diagnostic::at(pattern.span(), message).hint(hint));
        }
        self.patterns(patterns)
    }

    /// How a queue is declared.
    pub(super) fn declare(&mut self, raw: &RawDeclare) -> QueueType {
        let kind = self.choice(&raw.kind, "type", QUEUE_TYPE.words);
        let durable = raw.durable.given();
        match (kind, durable.map(|durable| *durable.get_ref())) {
            (Some(QueueType::Classic { .. }), durable) => QueueType::Classic {
                durable: durable.unwrap_or(DURABLE),
            },
            (Some(QueueType::Passive), _) => {
                let hint = "a passive queue is taken as it is; leave out `durable`";
                self.refuse(&raw.durable, "`durable` has no meaning for a passive queue", hint);
                QueueType::Passive
            }
            // A `type` that is mistaken says nothing about `durable`.
            (None, _) if !raw.kind.is_absent() => QueueType::default(),
            (Some(QueueType::Quorum) | None, Some(false)) => {
                let hint = "add `type = \"classic\"` beside `durable = false`";
                self.refuse(&raw.durable, "a quorum queue is always durable", hint);
                QueueType::Quorum
            }
            (Some(QueueType::Quorum) | None, _) => QueueType::Quorum,
        }
    }

    /// The name of a queue.
    pub(super) fn queue_name(&mut self, text: &Spanned<Text>, declare: QueueType) -> Option<String> {
        let name = &text.get_ref().value;
        if name.is_empty() {
            self.report
                .diagnostic(Diagnostic::at(text.span(), "a queue must have a name"));
            return None;
        }
        self.short_string(text, "queue")?;
        if name.starts_with(RESERVED_PREFIX) && declare != QueueType::Passive {
            let message = format!(
                "the queue {} cannot be declared: `amq.` is the broker's own",
                text.get_ref().quoted()
            );
            let hint = "choose another name, or take a queue that is there with `type = \"passive\"`";
            self.report.diagnostic(Diagnostic::at(text.span(), message).hint(hint));
            return None;
        }
        Some(name.clone())
    }

    /// A text that AMQP can carry as a name.
    pub(super) fn short_string(&mut self, text: &Spanned<Text>, kind: &str) -> Option<()> {
        let value = &text.get_ref().value;
        let problem = if value.len() > SHORT_STRING_BYTES_MAX {
            format!(
                "the name of this {kind} has {} bytes, and AMQP allows {SHORT_STRING_BYTES_MAX}",
                value.len()
            )
        } else if value.contains(char::is_control) {
            format!("the name of this {kind} holds a control character")
        } else {
            return Some(());
        };
        self.report.diagnostic(Diagnostic::at(text.span(), problem));
        None
    }

    pub(super) fn link(
        &mut self,
        pipeline: &RawPipeline<'_>,
        role: EndpointRole,
        endpoint: LinkedEndpoint,
        span: Span,
        declare: Option<QueueType>,
    ) {
        let pipeline = pipeline.name.to_owned();
        self.links.endpoints.push(EndpointUse {
            pipeline,
            role,
            endpoint,
            span,
            declare,
        });
    }
}

/// The last of the first chain, and the first of the last, are those next to the model.
fn plugins_of(mut before: Vec<Name>, route: Vec<Name>) -> Option<Plugins<Name>> {
    let preprocess = before.pop()?;
    let mut after = route.into_iter();
    Some(Plugins {
        before,
        preprocess,
        route: after.next()?,
        after: after.collect(),
    })
}
