//! `plugins.toml`, checked: what the host runs on. Knows nothing of how any of it is used.

mod mistakes;

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

mod whereabouts;

/// What a transport reads and checks its keys with.
pub(crate) mod reading {
    pub(crate) use super::check::Checker;
    pub(crate) use super::check_values::Expect;
    pub(crate) use super::keys::{CONNECTION, DURATION, PATH, PATTERNS, SIZE};
    pub(crate) use super::limits::{Choice, Limits, PREFETCH};
    pub(crate) use super::links::{Declaration, Endpoint, EndpointRole};
    pub(crate) use super::mistakes::Mistake;
    pub(crate) use super::table::{Key, Report, Table};
    pub(crate) use super::values::{Bytes, Patterns, Text};
}

pub mod case;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millrace_models::Placement;

use crate::plugins::Plugins;
use crate::transport::{ConnectionConfig, ConnectionName, DestinationConfig, SourceConfig};

pub use check::{default_limits, limits_read, limits_shown};
pub(crate) use environment::without_line_break;
pub use globs::Globs;
pub(crate) use mistakes::HIDDEN;
use mistakes::Source;
pub(crate) use mistakes::did_you_mean;
pub use mistakes::{ConfigErrors, Mistake, Rendering, Span, Warning};
pub use schema::{case_schema, reference, schema, schema_with_settings};
pub use whereabouts::control_of;

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
    /// Models by name.
    pub models: BTreeMap<Name, ModelConfig>,
    /// Plugins by name.
    pub plugins: BTreeMap<Name, PluginConfig>,
    /// Pipelines by name; at least one.
    pub pipelines: BTreeMap<Name, PipelineConfig>,
    /// The file's text, so that later checks can point into it.
    source: Arc<Source>,
}

/// What of a file is right as far as this room can see, whether or not all of it is.
#[derive(Debug, Clone, Default)]
pub struct Sound {
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

/// `[host]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// Sandbox worker threads.
    pub workers: usize,
    /// How long a drain may take before what is left is returned.
    pub drain: Duration,
    /// Where health and metrics are served, on this machine alone; nowhere if absent.
    pub admin: Option<SocketAddr>,
    /// What the process may take in memory; what the machine has where the file says nothing.
    pub memory_bytes: Option<u64>,
    /// Where the host can be asked to change.
    pub control: ControlConfig,
    /// Whether a change of the file, or of what it names, is taken up by itself.
    pub watch: bool,
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
    /// At a TCP port, for whoever has the token.
    Tcp {
        /// Where it listens.
        address: SocketAddr,
        /// What clients must show: a browser on the same machine reaches loopback, too.
        token: Secret,
    },
}

/// `[model.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelConfig {
    /// Its name.
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
    /// Its name.
    pub name: Name,
    /// The component or core module, absolute.
    pub path: PathBuf,
    /// The digest that the file must have, lower-case hexadecimal.
    pub sha256: Option<String>,
    /// CPU time of one call.
    pub deadline: Duration,
    /// All memories and tables of one instance together.
    pub memory_bytes: usize,
    /// What lives as long as an instance.
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
    /// Its name.
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

/// `[[pipeline.NAME.probe]]`: a message, and what must come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeConfig {
    /// The file with its body, absolute.
    pub file: PathBuf,
    /// What must come of it.
    pub outcome: ProbeOutcome,
    /// The best label that it must have.
    pub label: Option<String>,
}

/// What must come of a probe.
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
    pub fn load(path: &Path) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let text = document::read(path)?;
        Self::parse(&text, path, &|name| std::env::var(name).ok())
    }

    /// Checks the text of a file that is, or would be, at `path`, with an environment of its own.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(
        text: &str,
        path: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        document::parse(text, path, env)
    }

    /// Where a key is in the file, such as `plugin.decode-image.path`, or else the nearest table above it.
    pub fn locate(&self, key: &str) -> Option<Span> {
        self.source.locate(key)
    }

    /// An empty collection for what later checks find: they push mistakes at what [`Config::locate`] gives.
    pub fn errors(&self) -> ConfigErrors {
        let plugins = || self.pipelines.values().map(|pipeline| &pipeline.plugins);
        let transformers = plugins().flat_map(|plugins| plugins.before.iter().chain(&plugins.after));
        let sound = Sound {
            models: self.models.clone(),
            plugins: self.plugins.clone(),
            preprocessors: plugins().map(|plugins| plugins.preprocess.clone()).collect(),
            transformers: transformers.cloned().collect(),
            routers: plugins().map(|plugins| plugins.route.clone()).collect(),
            connections: self.connections.clone(),
        };
        ConfigErrors::new(Arc::clone(&self.source), sound, Vec::new())
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
