//! Mistakes that only the whole file shows: roles, loops, shared queues and folders, unused tables. Knows no single
//! key.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Name;
use super::diagnostics::{Diagnostic, Span, quoted};
use super::report::Report;
use super::table::Table;

/// How the tables of a file refer to each other and to the world.
#[derive(Default)]
pub(crate) struct Links {
    pub uses: Vec<Use>,
    pub endpoints: Vec<EndpointUse>,
    /// Where a connection is needed that is not named: `[broker]`.
    pub needs_broker: Vec<Span>,
    /// Connections that are named.
    pub connections: BTreeSet<String>,
}

/// A pipeline names a plugin or a model.
pub(crate) struct Use {
    pub name: String,
    pub kind: UseKind,
    pub span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UseKind {
    Preprocess,
    Transform,
    Model,
    Route,
}

/// A pipeline takes from or sends to something that others of the file may name too.
pub(crate) struct EndpointUse {
    pub pipeline: String,
    pub role: EndpointRole,
    pub endpoint: LinkedEndpoint,
    pub span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointRole {
    Source,
    Destination,
    DeadLetter,
}

/// A queue, a folder or the like.
#[derive(Debug, Clone)]
pub struct LinkedEndpoint {
    /// `queue`
    noun: &'static str,
    /// Which one: equal where it is the same.
    place: String,
    /// Its path, where it is a folder.
    path: Option<PathBuf>,
    /// Folders in it that are for the files of a source alone.
    own: &'static [&'static str],
    /// Whether two pipelines may take from it.
    is_shared: bool,
    /// How the file says that it is made, where it does.
    declared: Option<Declaration>,
}

/// How something is made where it is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// In any form that can be compared.
    pub how: String,
    /// The keys that say so.
    pub keys: &'static [&'static str],
}

impl UseKind {
    /// The table that holds what is used.
    pub(crate) fn noun(self) -> &'static str {
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
    /// Something that hands each message to one of those who take from it.
    pub fn shared(noun: &'static str, place: String) -> Self {
        Self {
            noun,
            is_shared: true,
            ..Self::exclusive(noun, place)
        }
    }

    /// Something that one pipeline takes from.
    pub fn exclusive(noun: &'static str, place: String) -> Self {
        Self {
            noun,
            place,
            path: None,
            own: &[],
            is_shared: false,
            declared: None,
        }
    }

    /// A folder, however its path is written: without symbolic links as far as it exists. `own` are the folders in it that
    /// are for the files of a source that takes from it.
    pub fn folder(path: &Path, own: &'static [&'static str]) -> Self {
        let path = plain(path);
        Self {
            own,
            path: Some(path.clone()),
            ..Self::exclusive("folder", format!("{path:?}"))
        }
    }

    /// The same, made as the file says.
    pub fn declared(self, declared: Option<Declaration>) -> Self {
        Self { declared, ..self }
    }

    fn is(&self, other: &Self) -> bool {
        self.noun == other.noun && self.place == other.place
    }

    /// The name of its own folder that another one is, or is in.
    fn own_folder(&self, other: &Self) -> Option<&'static str> {
        let (path, other) = (self.path.as_ref()?, other.path.as_ref()?);
        let mut own = self.own.iter();
        own.find(|own| other.starts_with(path.join(own))).copied()
    }
}

impl Links {
    /// Reports what is wrong across tables.
    pub(super) fn check(&self, file: &Table<'_>, report: &mut Report<'_>) {
        self.both_roles(report);
        self.loops(report);
        self.own_folders(report);
        self.long_loops(report);
        self.shared_sources(report);
        self.declarations(report);
        for (kind, (name, span)) in ["plugin", "model", "connection"]
            .into_iter()
            .flat_map(|kind| file.names_in(kind).into_iter().map(move |table| (kind, table)))
        {
            let mut uses = self.uses.iter();
            let is_used = match kind {
                "connection" => self.connections.contains(name),
                _ => uses.any(|used| used.kind.noun() == kind && used.name == name),
            };
            if !is_used {
                report.warning(Diagnostic::at(
                    span,
                    format!("no pipeline uses the {kind} {}", quoted(name)),
                ));
            }
        }
    }

    /// The names that are used in one way.
    pub(crate) fn used_as(&self, kind: UseKind) -> BTreeSet<Name> {
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
            let own = |sink: &&EndpointUse| sink.pipeline == source.pipeline && sink.endpoint.is(&source.endpoint);
            for sink in self.with_role(EndpointRole::Destination).filter(own) {
                let message = "this destination feeds the pipeline's own source: messages would loop endlessly";
                report
                    .diagnostic(Diagnostic::at(sink.span.clone(), message).context(source.span.clone(), "the source"));
            }
            for sink in self.with_role(EndpointRole::DeadLetter).filter(own) {
                let message = format!("dead letters cannot go to the source {}", sink.endpoint.noun);
                report
                    .diagnostic(Diagnostic::at(sink.span.clone(), message).context(source.span.clone(), "the source"));
            }
        }
    }

    /// Results among a source's own files would be taken for those: for dead letters, for one.
    fn own_folders(&self, report: &mut Report<'_>) {
        for sink in self.with_role(EndpointRole::Destination) {
            let mut sources = self.with_role(EndpointRole::Source);
            let found = sources.find_map(|source| Some((source, source.endpoint.own_folder(&sink.endpoint)?)));
            if let Some((source, own)) = found {
                let message = format!(
                    "results cannot go to `{own}` of a source's {}, which is for the source's own files",
                    source.endpoint.noun
                );
                let diagnostic = Diagnostic::at(sink.span.clone(), message)
                    .hint("name a folder that is not in the source's, or has another name there")
                    .context(source.span.clone(), "the source");
                report.diagnostic(diagnostic);
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
            let fed = move |source: &&EndpointUse| source.endpoint.is(&sink.endpoint) && source.pipeline != pipeline;
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
                .find(|first| first.endpoint.is(&second.endpoint))
            else {
                continue;
            };
            let label = format!("the source of {}", quoted(&first.pipeline));
            let noun = second.endpoint.noun;
            match second.endpoint.is_shared {
                false => {
                    let message = format!("two pipelines cannot take from one {noun}");
                    report.diagnostic(Diagnostic::at(second.span.clone(), message).context(first.span.clone(), label));
                }
                true => {
                    let message = format!("two pipelines take from one {noun}: each message goes to either");
                    report.warning(Diagnostic::at(second.span.clone(), message).context(first.span.clone(), label));
                }
            }
        }
    }

    /// One queue cannot be declared in two ways: the broker would refuse the second.
    fn declarations(&self, report: &mut Report<'_>) {
        let declared = self.endpoints.iter();
        let declared = declared.filter_map(|used| Some((used, used.endpoint.declared.as_ref()?)));
        let declared: Vec<(&EndpointUse, &Declaration)> = declared.collect();
        for (index, (second, how)) in declared.iter().enumerate() {
            let mut earlier = declared.iter().take(index);
            let differs = |(first, other): &&(&EndpointUse, &Declaration)| {
                first.endpoint.is(&second.endpoint) && other.how != how.how
            };
            if let Some((first, _)) = earlier.find(differs) {
                let keys: Vec<String> = how.keys.iter().map(|key| format!("`{key}`")).collect();
                let (noun, any, all) = (second.endpoint.noun, keys.join(" or "), keys.join(" and "));
                let message = format!("the {noun} has another {any} elsewhere in the file");
                let diagnostic = Diagnostic::at(second.span.clone(), message)
                    .hint(format!("give both the same {all}"))
                    .context(first.span.clone(), "here");
                report.diagnostic(diagnostic);
            }
        }
    }

    fn with_role(&self, role: EndpointRole) -> impl Iterator<Item = &EndpointUse> {
        self.endpoints.iter().filter(move |used| used.role == role)
    }
}

/// A path without symbolic links, as far as it exists: what is to be made may be named by way of one.
fn plain(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    let above = path.parent().map(|above| match above.as_os_str().is_empty() {
        true => Path::new("."),
        false => above,
    });
    match (above.map(Path::canonicalize), path.file_name()) {
        (Some(Ok(above)), Some(name)) => above.join(name),
        _ => path.components().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sources_own_folders_are_known_however_they_are_named_and_before_they_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let [inbox, link, beside] = ["inbox", "link", "inbox.dead"].map(|name| folder.path().join(name));
        std::fs::create_dir(&inbox).unwrap();
        std::os::unix::fs::symlink(&inbox, &link).unwrap();
        let source = LinkedEndpoint::folder(&link, &["done", "dead"]);
        for (path, expected) in [
            (inbox.join("dead"), Some("dead")),
            (link.join("done"), Some("done")),
            (inbox.join("../link/dead"), Some("dead")),
            (inbox.join("deadly"), None),
            (inbox.clone(), None),
            (beside, None),
        ] {
            let sink = LinkedEndpoint::folder(&path, &["done", "dead"]);
            assert_eq!(source.own_folder(&sink), expected, "{}", path.display());
        }
        std::fs::create_dir_all(inbox.join("dead/results")).unwrap();
        let sink = LinkedEndpoint::folder(&link.join("dead/results"), &[]);
        assert_eq!(source.own_folder(&sink), Some("dead"));
    }
}
