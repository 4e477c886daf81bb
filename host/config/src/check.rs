//! From a file to what the host runs on. Knows the tables of the file, and no key in them.
//!
//! After a mistake a value stands in (usually the default), so that everything else is still looked at; nothing
//! that was built this way leaves the module.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeTable;

use super::diagnostics::{Diagnostic, Span, did_you_mean};
use super::endpoint::{ConnectionConfig, ConnectionName};
use super::kind::Transport;
use super::links::{EndpointRole, EndpointUse, LinkedEndpoint, Links, UseKind};
use super::report::Report;
use super::section::FromTable;
use super::table::{Key, Table};
use super::values::Text;
use super::{HostConfig, ModelConfig, Name, PipelineConfig, PluginConfig, ValidParts};

/// The checks of one file, and what they found out for the checks across pipelines.
pub struct Checker<'r, 'a> {
    pub report: &'r mut Report<'a>,
    /// The folder of the file: relative paths begin here.
    pub(crate) base: &'r Path,
    pub(crate) links: Links,
    /// The connections of the file, by name, and the kind of each; none for `[broker]`.
    kinds: BTreeMap<Option<Name>, &'static str>,
    /// What each of them connects to: two may be to the same.
    servers: BTreeMap<ConnectionName, String>,
}

/// The checked parts.
pub(super) struct Checked {
    /// Missing where there is a mistake in it.
    pub(super) host: Option<HostConfig>,
    pub(super) pipelines: BTreeMap<Name, PipelineConfig>,
    pub(super) valid_parts: ValidParts,
}

impl<'r, 'a> Checker<'r, 'a> {
    pub(crate) fn new(report: &'r mut Report<'a>, base: &'r Path) -> Self {
        Self {
            report,
            base,
            links: Links::default(),
            kinds: BTreeMap::new(),
            servers: BTreeMap::new(),
        }
    }
}

impl Checker<'_, '_> {
    /// Checks the whole file.
    pub(super) fn config(&mut self, table: &DeTable<'_>) -> Checked {
        let file = Table::new(table, self.report.registry.root(), String::new(), 0..0);
        self.finish(&file);
        let connections = self.connections(&file);
        let host = HostConfig::read_all(&file.table_or_empty("host", self.report), self);
        let models = file.named_tables("model", self.report);
        let models = models.iter().filter_map(|table| self.if_valid(table));
        let models = models.map(|model: ModelConfig| (model.name.clone(), model)).collect();
        let plugins = self.plugins(&file);
        let pipelines = file.named_tables("pipeline", self.report);
        let pipelines = pipelines
            .iter()
            .filter_map(|table| PipelineConfig::read_all(table, self));
        let pipelines = pipelines.map(|pipeline| (pipeline.name.clone(), pipeline)).collect();
        self.missing(&file);
        self.links.check(&file, self.report);
        let valid_parts = ValidParts {
            models,
            plugins,
            preprocessors: self.links.used_as(UseKind::Preprocess),
            transformers: self.links.used_as(UseKind::Transform),
            routers: self.links.used_as(UseKind::Route),
            connections,
        };
        Checked {
            host,
            pipelines,
            valid_parts,
        }
    }

    /// Reports tables that must be there and are not.
    fn missing(&mut self, file: &Table<'_>) {
        if !file.has("pipeline") && !self.report.meant.contains(&(0, "pipeline")) {
            let diagnostic = Diagnostic::at(None, "the file has no pipeline").hint("add a `[pipeline.NAME]`");
            self.report.diagnostic(diagnostic);
        }
        if !self.kinds.contains_key(&None)
            && !self.report.meant.contains(&(0, "broker"))
            && let Some(span) = self.links.needs_broker.first()
        {
            let diagnostic = Diagnostic::at(span.clone(), "this needs a broker, and the file has no `[broker]`");
            let hint = match self.kinds.keys().flatten().next() {
                Some(name) => format!("name a connection with `connection = \"{name}\"`, or add `[broker]`"),
                None => "add `[broker]` with `amqp = \"${AMQP_URL}\"`".to_owned(),
            };
            self.report.diagnostic(diagnostic.hint(hint));
        }
    }

    /// What a table holds, where nothing is wrong with it but keys that it should not have.
    fn if_valid<T: FromTable>(&mut self, table: &Table<'_>) -> Option<T> {
        self.finish(table);
        let n_before = self.report.diagnostics.len();
        T::read(table, self).filter(|_| self.report.diagnostics.len() == n_before)
    }

    /// Every `[plugin.NAME]`.
    fn plugins(&mut self, file: &Table<'_>) -> BTreeMap<Name, PluginConfig> {
        let mut plugins = BTreeMap::new();
        for mut table in file.named_tables("plugin", self.report) {
            if let Some(span) = table.reserve("grant") {
                let hint = "a plugin has its message, its settings and its log, and nothing else";
                self.report
                    .diagnostic(Diagnostic::at(span, "nothing can be granted to a plugin yet").hint(hint));
            }
            if let Some(plugin) = self.if_valid::<PluginConfig>(&table) {
                plugins.insert(plugin.name.clone(), plugin);
            }
        }
        plugins
    }

    /// `[broker]`, and every `[connection.NAME]`: of a kind by the first key that says which. Where there is none, it is one
    /// of the first kind, which misses its key.
    fn connections(&mut self, file: &Table<'_>) -> BTreeMap<ConnectionName, Arc<dyn ConnectionConfig>> {
        let broker = file.table("broker", self.report).into_given();
        let mut tables: Vec<(Option<ConnectionName>, Table<'_>)> = Vec::new();
        tables.extend(broker.map(|table| (Some(ConnectionName::default()), table)));
        for table in file.named_tables("connection", self.report) {
            let name = self.name(&table, "connection");
            tables.push((name.map(|name| ConnectionName(Some(name))), table));
        }
        let mut connections = BTreeMap::new();
        for (name, table) in tables {
            self.finish(&table);
            let mut kinds = self.report.registry.connections();
            let Some(kind) = kinds.clone().find(|kind| table.has(kind.key)).or_else(|| kinds.next()) else {
                continue;
            };
            table.refuse_others(kind.keys, "here", self.report);
            let config = (kind.read)(&table, self);
            if let (Some(name), Some(config)) = (&name, &config) {
                self.servers.insert(name.clone(), config.server());
            }
            if let Some(name) = name {
                self.kinds.insert(name.0.clone(), kind.key);
                connections.extend(config.map(|config| (name, config)));
            }
        }
        connections
    }

    /// The connection that a source or a destination of a transport names, or needs because of the key `needed_by`.
    pub fn connection(
        &mut self,
        table: &Table<'_>,
        transport: &'static Transport,
        needed_by: &str,
    ) -> Option<ConnectionName> {
        let key: Key<Text> = table.key("connection", self.report);
        let found = self.connection_of(table, transport);
        match (&key, &found) {
            (Key::Absent, _) => {
                let span = table.value_span(needed_by).unwrap_or_else(|| table.span().clone());
                self.needs_broker(span, transport, found.is_some());
            }
            (Key::Given(given), _) => {
                self.links.connections.insert(given.get_ref().value.clone());
                if found.is_none() {
                    self.no_connection(given, transport);
                }
            }
            (Key::Mistaken, _) => {}
        }
        found
    }

    /// The same, for another key's check.
    pub fn connection_of(&self, table: &Table<'_>, transport: &'static Transport) -> Option<ConnectionName> {
        let kind = |name: &Option<Name>| self.kinds.get(name).copied();
        match table.peek::<Text>("connection", self.report) {
            Key::Absent => {
                let is_own = kind(&None).is_none_or(|kind| transport.connects(kind));
                is_own.then(ConnectionName::default)
            }
            Key::Mistaken => None,
            Key::Given(given) => {
                let name = Name::new(&given.get_ref().value)?;
                let name = Some(name);
                let is_own = kind(&name).is_some_and(|kind| transport.connects(kind));
                is_own.then_some(ConnectionName(name))
            }
        }
    }

    /// What a connection connects to, for a link: two names may be of one server. The name itself where there is a mistake
    /// in its table.
    pub fn server_of(&self, name: &ConnectionName) -> String {
        self.servers.get(name).cloned().unwrap_or_else(|| name.to_string())
    }

    fn needs_broker(&mut self, needed_by: Span, transport: &Transport, is_own: bool) {
        match self.kinds.get(&None) {
            Some(kind) if !is_own => {
                let message = format!(
                    "this needs a connection of kind {}, and `[broker]` is of kind {kind}",
                    transport.name
                );
                let hint = "name another with `connection`";
                self.report.diagnostic(Diagnostic::at(needed_by, message).hint(hint));
            }
            _ => self.links.needs_broker.push(needed_by),
        }
    }

    /// Reports a name of no connection, or of one of another kind.
    fn no_connection(&mut self, given: &Spanned<Text>, transport: &Transport) {
        let text = given.get_ref();
        if let Some(kind) = Name::new(&text.value).and_then(|name| self.kinds.get(&Some(name))) {
            let message = format!(
                "the connection {} is of kind {kind}, and this needs one of kind {}",
                text.quoted(),
                transport.name
            );
            self.report.diagnostic(Diagnostic::at(given.span(), message));
            return;
        }
        let known: Vec<&str> = self.kinds.keys().flatten().map(Name::as_str).collect();
        let message = format!("there is no connection {}", text.quoted());
        self.report
            .diagnostic(match did_you_mean(&text.value, known.iter().copied()) {
                Some(meant) => Diagnostic::at(given.span(), format!("{message}, did you mean `{meant}`?")),
                None => Diagnostic::at(given.span(), message)
                    .hint("add `[connection.NAME]`, or leave out `connection` for `[broker]`"),
            });
    }

    /// Reports keys of a table that are not declared for it. Comes before its keys are read: one that was probably meant is
    /// not missing.
    pub(crate) fn finish(&mut self, table: &Table<'_>) {
        table.finish(&self.report.registry.home(), self.report);
    }

    /// Adds what is wrong.
    pub fn diagnostic(&mut self, diagnostic: Diagnostic) {
        self.report.diagnostic(diagnostic);
    }

    /// Adds what a person should know.
    pub fn warning(&mut self, warning: Diagnostic) {
        self.report.warning(warning);
    }

    /// Notes what the pipeline of a source or a destination takes from or sends to, so that others who do can be found.
    pub fn link(&mut self, table: &Table<'_>, role: EndpointRole, endpoint: LinkedEndpoint, span: Span) {
        let pipeline = table.outer().name().to_owned();
        self.links.endpoints.push(EndpointUse {
            pipeline,
            role,
            endpoint,
            span,
        });
    }
}
