//! Mistakes that only the whole file shows: roles, loops, shared queues and folders, unused tables. Knows no single
//! key.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::diagnostics::{Diagnostic, Span, quoted};
use super::raw::RawConfig;
use super::table::Report;
use super::{Name, QueueType};

/// How the tables of a file refer to each other and to the world.
#[derive(Default)]
pub(super) struct Links {
    pub(super) uses: Vec<Use>,
    pub(super) endpoints: Vec<EndpointUse>,
    /// The places that need a broker.
    pub(super) needs_broker: Vec<Span>,
}

/// A pipeline names a plugin or a model.
pub(super) struct Use {
    pub(super) name: String,
    pub(super) kind: UseKind,
    pub(super) span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UseKind {
    Preprocess,
    Transform,
    Model,
    Route,
}

/// A pipeline takes from or sends to a queue or a folder.
pub(super) struct EndpointUse {
    pub(super) pipeline: String,
    pub(super) role: EndpointRole,
    pub(super) endpoint: LinkedEndpoint,
    pub(super) span: Span,
    /// How a queue is declared, where the file says so.
    pub(super) declare: Option<QueueType>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndpointRole {
    Source,
    Destination,
    DeadLetter,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LinkedEndpoint {
    Queue(String),
    /// Without symbolic links where it exists.
    Folder(PathBuf),
}

impl UseKind {
    /// The table that holds what is used.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Preprocess | Self::Transform | Self::Route => "plugin",
            Self::Model => "model",
        }
    }

    /// The work of a plugin in this use.
    fn verb(self) -> &'static str {
        match self {
            Self::Preprocess => "preprocess",
            Self::Transform => "transform",
            Self::Route => "route",
            Self::Model => "infer",
        }
    }
}

impl LinkedEndpoint {
    /// A folder, however its path is written.
    pub(super) fn folder(path: &Path) -> Self {
        Self::Folder(path.canonicalize().unwrap_or_else(|_| path.components().collect()))
    }
}

impl Links {
    /// Reports what is wrong across tables.
    pub(super) fn check(&self, raw: &RawConfig<'_>, report: &mut Report<'_>) {
        self.both_roles(report);
        self.loops(report);
        self.long_loops(report);
        self.shared_sources(report);
        self.declarations(report);
        let plugins = raw.plugins.iter().map(|plugin| ("plugin", plugin.name, &plugin.span));
        let models = raw.models.iter().map(|model| ("model", model.name, &model.span));
        for (kind, name, span) in plugins.chain(models) {
            if !self
                .uses
                .iter()
                .any(|used| used.kind.noun() == kind && used.name == name)
            {
                report.warning(Diagnostic::at(
                    span.clone(),
                    format!("no pipeline uses the {kind} {}", quoted(name)),
                ));
            }
        }
    }

    /// The names that are used in one way.
    pub(super) fn used_as(&self, kind: UseKind) -> BTreeSet<Name> {
        self.uses
            .iter()
            .filter(|used| used.kind == kind)
            .filter_map(|used| Name::new(&used.name))
            .collect()
    }

    /// A plugin targets one world.
    fn both_roles(&self, report: &mut Report<'_>) {
        let mut told = BTreeSet::new();
        for (place, second) in self.uses.iter().enumerate() {
            let differs = |first: &&Use| first.kind != second.kind && first.name == second.name;
            let is_plugin = |used: &&Use| used.kind.noun() == "plugin";
            let earlier = self.uses.iter().take(place).filter(is_plugin);
            if is_plugin(&second)
                && let Some(first) = earlier.into_iter().find(differs)
                && told.insert(&second.name)
            {
                let (name, one, other) = (quoted(&second.name), first.kind.verb(), second.kind.verb());
                let message = format!("the plugin {name} cannot both {one} and {other}");
                let diagnostic = Diagnostic::at(second.span.clone(), message)
                    .hint("a plugin targets one world: `preprocessor`, `transformer` or `router`")
                    .context(first.span.clone(), format!("here it is used to {one}"));
                report.diagnostic(diagnostic);
            }
        }
    }

    /// The results of a pipeline must not come back to it.
    fn loops(&self, report: &mut Report<'_>) {
        for source in self.with_role(EndpointRole::Source) {
            let own = |sink: &&EndpointUse| sink.pipeline == source.pipeline && sink.endpoint == source.endpoint;
            for sink in self.with_role(EndpointRole::Destination).filter(own) {
                let message = "this destination feeds the pipeline's own source: messages would loop endlessly";
                report
                    .diagnostic(Diagnostic::at(sink.span.clone(), message).context(source.span.clone(), "the source"));
            }
            for sink in self.with_role(EndpointRole::DeadLetter).filter(own) {
                let message = "dead letters cannot go to the source queue";
                report
                    .diagnostic(Diagnostic::at(sink.span.clone(), message).context(source.span.clone(), "the source"));
            }
        }
    }

    /// Pipelines that feed each other in a ring: legal, where some router ends it.
    fn long_loops(&self, report: &mut Report<'_>) {
        let mut told = BTreeSet::new();
        for start in self.with_role(EndpointRole::Source) {
            let mut seen = BTreeSet::new();
            let mut reached = vec![start.pipeline.as_str()];
            while let Some(pipeline) = reached.pop() {
                for (sink, next) in self.feeds(pipeline) {
                    let closes = next.pipeline == start.pipeline && pipeline != start.pipeline;
                    if closes && !told.contains(&start.pipeline) {
                        let message = "pipelines feed each other in a ring: messages may loop endlessly";
                        let warning = Diagnostic::at(sink.span.clone(), message);
                        report.warning(warning.context(start.span.clone(), "which leads back here"));
                        told.extend(seen.iter().map(|pipeline: &&str| (*pipeline).to_owned()));
                        told.extend([start.pipeline.clone(), pipeline.to_owned()]);
                    } else if seen.insert(next.pipeline.as_str()) {
                        reached.push(&next.pipeline);
                    }
                }
            }
        }
    }

    /// The destinations of a pipeline that are another pipeline's source, with that source.
    fn feeds<'l>(&'l self, pipeline: &'l str) -> impl Iterator<Item = (&'l EndpointUse, &'l EndpointUse)> {
        let sinks = self
            .with_role(EndpointRole::Destination)
            .filter(move |sink| sink.pipeline == pipeline);
        sinks.flat_map(move |sink| {
            let fed = move |source: &&EndpointUse| source.endpoint == sink.endpoint && source.pipeline != pipeline;
            self.with_role(EndpointRole::Source)
                .filter(fed)
                .map(move |source| (sink, source))
        })
    }

    fn shared_sources(&self, report: &mut Report<'_>) {
        let sources: Vec<&EndpointUse> = self.with_role(EndpointRole::Source).collect();
        for (index, second) in sources.iter().enumerate() {
            let Some(first) = sources
                .iter()
                .take(index)
                .find(|first| first.endpoint == second.endpoint)
            else {
                continue;
            };
            let label = format!("the source of {}", quoted(&first.pipeline));
            match second.endpoint {
                LinkedEndpoint::Folder(_) => {
                    let message = "two pipelines cannot take from one folder";
                    report.diagnostic(Diagnostic::at(second.span.clone(), message).context(first.span.clone(), label));
                }
                LinkedEndpoint::Queue(_) => {
                    let message = "two pipelines take from one queue: each message goes to either";
                    report.warning(Diagnostic::at(second.span.clone(), message).context(first.span.clone(), label));
                }
            }
        }
    }

    /// One queue cannot be declared in two ways: the broker would refuse the second.
    fn declarations(&self, report: &mut Report<'_>) {
        let declared = |used: &&EndpointUse| used.declare.is_some_and(|declare| declare != QueueType::Passive);
        let declared: Vec<&EndpointUse> = self.endpoints.iter().filter(declared).collect();
        for (index, second) in declared.iter().enumerate() {
            let differs = |first: &&&EndpointUse| first.endpoint == second.endpoint && first.declare != second.declare;
            if let Some(first) = declared.iter().take(index).find(differs) {
                let message = "the queue has another `type` or `durable` elsewhere in the file";
                let diagnostic = Diagnostic::at(second.span.clone(), message)
                    .hint("give both the same `type` and `durable`")
                    .context(first.span.clone(), "here");
                report.diagnostic(diagnostic);
            }
        }
    }

    fn with_role(&self, role: EndpointRole) -> impl Iterator<Item = &EndpointUse> {
        self.endpoints.iter().filter(move |used| used.role == role)
    }
}
