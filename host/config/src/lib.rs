//! `plugins.toml`, checked: what the host runs on. Knows nothing of how any of it is used.

#![expect(missing_docs, reason = "a part of the host: only this repository uses it")]

mod diagnostics;

mod endpoint;
mod kind;
mod registry;

mod document;
mod syntax;

mod environment;
mod globs;
mod settings;
mod table;
mod units;
mod values;

mod keys;
mod keys_case;
mod keys_expect;
mod keys_pipeline;
mod limits;
mod section;

mod host;
mod raw;
mod raw_device;
mod schema;

mod check;
mod check_control;
mod check_destination;
mod check_pipeline;
mod check_trial;
mod check_values;
mod links;

mod control_address;

/// What a transport reads and checks its keys with.
pub mod reading {
    pub use super::check::Checker;
    pub use super::check_values::Expect;
    pub use super::diagnostics::Diagnostic;
    pub use super::keys::{CONNECTION, DURATION, PATH, PATTERNS, SIZE};
    pub use super::limits::{Choice, Limits, PREFETCH};
    pub use super::links::{Declaration, EndpointRole, LinkedEndpoint};
    pub use super::table::{Key, Report, Table};
    pub use super::values::{Bytes, Patterns, Text};
}

pub mod case;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millrace_model_types::Placement;

use millrace_types::plugins::Plugins;

pub use check::{default_limits, limits_read, limits_shown};
pub use control_address::control_of;
pub use diagnostics::HIDDEN;
use diagnostics::SourceText;
pub use diagnostics::did_you_mean;
pub use diagnostics::{ConfigErrors, Diagnostic, Rendering, Span, Warning};
pub use endpoint::{
    Capabilities, Comparable, ConnectionConfig, ConnectionName, DestinationConfig, Redelivery, SourceConfig,
};
pub use environment::without_line_break;
pub use globs::Globs;
pub use host::HostConfig;
pub use kind::{
    ConnectionKind, DestinationKind, PipelineTables, ReadConnection, ReadDestination, ReadSource, SecretKey,
    SourceKind, Transport,
};
pub use registry::Registry;
pub use schema::{case_file, case_schema, keys_asked, reference, schema, schema_with_settings};

/// A name in `plugins.toml`: kebab-case, 1 to 63 characters of `a-z`, `0-9` and `-`, beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// A value that never prints, such as the broker's URL with its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Everything the host runs on.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from, absolute.
    pub path: PathBuf,
    /// The connections, by name; present whenever a pipeline needs one.
    pub connections: BTreeMap<ConnectionName, Arc<dyn ConnectionConfig>>,
    /// Settings of the process.
    pub host: HostConfig,
    pub models: BTreeMap<Name, ModelConfig>,
    pub plugins: BTreeMap<Name, PluginConfig>,
    /// Pipelines by name; at least one.
    pub pipelines: BTreeMap<Name, PipelineConfig>,
    /// The file's text, so that later checks can point into it.
    source: Arc<SourceText>,
}

/// The valid parts of a file as far as this module can see, whether or not all of it is.
#[derive(Debug, Clone, Default)]
pub struct ValidParts {
    /// Models without a mistake.
    pub models: BTreeMap<Name, ModelConfig>,
    /// Plugins without a mistake.
    pub plugins: BTreeMap<Name, PluginConfig>,
    /// Plugins that a pipeline preprocesses with.
    pub preprocessors: BTreeSet<Name>,
    /// Plugins that a pipeline turns messages or results into others with.
    pub transformers: BTreeSet<Name>,
    /// Plugins that a pipeline routes with.
    pub routers: BTreeSet<Name>,
    /// Connections, by name.
    pub connections: BTreeMap<ConnectionName, Arc<dyn ConnectionConfig>>,
}

/// Where the host can be asked to change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ControlConfig {
    /// At a socket whose path follows from that of the file, for its owner alone.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// At a socket of this path, absolute, for its owner alone.
    Socket(PathBuf),
    /// At a TCP port, for clients with the token.
    Tcp {
        /// Where it listens.
        address: SocketAddr,
        /// The token of clients: a browser on the same machine reaches loopback, too.
        token: Secret,
    },
}

/// `[model.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelConfig {
    pub name: Name,
    /// The model folder, or the network's file; absolute.
    pub path: PathBuf,
    /// Where it runs.
    pub placement: Placement,
    /// The largest batch; by device where the file says nothing.
    pub max_batch: Option<usize>,
    /// The longest a tensor waits for others after the first of its batch.
    pub max_wait: Duration,
}

/// `[plugin.NAME]`
#[derive(Clone, PartialEq, Eq)]
pub struct PluginConfig {
    pub name: Name,
    /// The component or core module, absolute.
    pub path: PathBuf,
    /// The digest that the file must have, lower-case hexadecimal.
    pub sha256: Option<String>,
    /// CPU time of one call.
    pub deadline: Duration,
    /// All memories and tables of one instance together.
    pub memory_bytes: usize,
    /// The scope of an instance.
    pub isolation: Isolation,
    /// The settings table as a JSON object. May hold secrets from the environment: it is not printed.
    pub settings: String,
}

/// How long an instance lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// A fresh instance for each message.
    #[default]
    Message,
    /// One for each worker thread, renewed after a fault.
    Worker,
}

/// `[pipeline.NAME]`
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    pub name: Name,
    /// Where messages come from.
    pub source: Arc<dyn SourceConfig>,
    /// The names of its plugins; each exists.
    pub plugins: Plugins<Name>,
    /// The model's name; exists.
    pub model: Name,
    /// How often a message is tried when a plugin says `retry`; at least 1.
    pub attempts: u32,
    /// The largest message that reaches a plugin.
    pub max_message_bytes: usize,
    /// The most that the bodies of one message's results have together.
    pub max_results_bytes: usize,
    /// Destinations by the name that routers use.
    pub destinations: BTreeMap<Name, Arc<dyn DestinationConfig>>,
    /// When a new version of a plugin or of the model is undone.
    pub trial: TrialConfig,
    /// Messages that a new version must process before it serves.
    pub probes: Vec<ProbeConfig>,
}

/// `[pipeline.NAME.trial]`: how a new version is watched at first, beside the one that it replaced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrialConfig {
    /// Messages that a trial sees; no trial where it is 0.
    pub messages: u32,
    /// Messages that may fail although the version before can process them.
    pub failures: u32,
    /// How many times as much as on the version before a message may cost.
    pub slower: f64,
}

impl Default for TrialConfig {
    fn default() -> Self {
        Self {
            messages: limits::TRIAL_MESSAGES_DEFAULT,
            failures: limits::TRIAL_FAILURES_DEFAULT,
            slower: limits::SLOWER.default,
        }
    }
}

/// `[[pipeline.NAME.smoke_test]]`: a message, and its expected outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeConfig {
    /// The file with its body, absolute.
    pub file: PathBuf,
    /// The expected outcome.
    pub outcome: ProbeOutcome,
    /// The best label that it must have.
    pub label: Option<String>,
}

/// The expected outcome of a smoke test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProbeOutcome {
    /// Results, whatever they are.
    #[default]
    Results,
    /// A plugin skips it.
    Skip,
    /// A plugin rejects it.
    Reject,
}

// By hand, since a derived one would move the source.
impl PartialEq for PipelineConfig {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            source,
            plugins,
            model,
            attempts,
            max_message_bytes,
            max_results_bytes,
            destinations,
            trial,
            probes,
        } = self;
        source.as_ref() == other.source.as_ref()
            && (name, plugins, model, attempts) == (&other.name, &other.plugins, &other.model, &other.attempts)
            && (max_message_bytes, max_results_bytes) == (&other.max_message_bytes, &other.max_results_bytes)
            && (destinations, trial, probes) == (&other.destinations, &other.trial, &other.probes)
    }
}

impl PipelineConfig {
    /// The connections that its messages and its results go by.
    pub fn connections(&self) -> BTreeSet<ConnectionName> {
        let destinations = self.destinations.values();
        let destinations = destinations.filter_map(|destination| destination.connection());
        self.source
            .connection()
            .into_iter()
            .chain(destinations)
            .cloned()
            .collect()
    }
}

impl Config {
    /// Reads and checks a file. Relative paths in it begin at its folder; `${NAME}` is taken from the environment.
    ///
    /// It looks for the files and folders that are named, and opens none of them.
    ///
    /// # Errors
    /// Every mistake of the file at once; after a syntax error that one alone.
    pub fn load(path: &Path, registry: &'static Registry) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let text = document::read(path)?;
        Self::parse(&text, path, registry, &|name| std::env::var(name).ok())
    }

    /// Checks the text of a file that is, or would be, at `path`, with an environment of its own.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(
        text: &str,
        path: &Path,
        registry: &'static Registry,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        document::parse(text, path, registry, env)
    }

    /// Where a key is in the file, such as `plugin.decode-image.path`, or else the nearest table above it.
    pub fn locate(&self, key: &str) -> Option<Span> {
        self.source.locate(key)
    }

    /// An empty collection for what later checks find: they push mistakes at what [`Config::locate`] gives.
    pub fn errors(&self) -> ConfigErrors {
        let plugins = || self.pipelines.values().map(|pipeline| &pipeline.plugins);
        let transformers = plugins().flat_map(|plugins| plugins.before.iter().chain(&plugins.after));
        let valid_parts = ValidParts {
            models: self.models.clone(),
            plugins: self.plugins.clone(),
            preprocessors: plugins().map(|plugins| plugins.preprocess.clone()).collect(),
            transformers: transformers.cloned().collect(),
            routers: plugins().map(|plugins| plugins.route.clone()).collect(),
            connections: self.connections.clone(),
        };
        ConfigErrors::new(Arc::clone(&self.source), valid_parts, Vec::new())
    }

    /// Shows warnings in the form of mistakes.
    pub fn render_warnings(&self, warnings: &[Warning], rendering: Rendering) -> String {
        self.source.render_warnings(warnings, rendering)
    }
}

impl fmt::Debug for PluginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginConfig")
            .field("name", &self.name)
            .field("path", &self.path)
            .field("sha256", &self.sha256)
            .field("deadline", &self.deadline)
            .field("memory_bytes", &self.memory_bytes)
            .field("isolation", &self.isolation)
            .finish_non_exhaustive()
    }
}

impl Name {
    /// Checks a name.
    pub fn new(text: &str) -> Option<Self> {
        let kebab = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.len() <= 63
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        kebab.then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Secret {
    /// Hides a value.
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
