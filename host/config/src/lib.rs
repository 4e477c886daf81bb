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
mod report;
mod settings;
mod table;
mod units;
mod values;

mod keys;
mod keys_case;
mod keys_expect;
mod limits;
mod section;

mod device;
mod host;
mod model;
mod pipeline;
mod plugin;
mod references;
mod schema;
mod secrets;
mod trial;

mod check;
mod check_control;
mod check_kinds;
mod check_values;
mod links;

mod control_address;

/// What a transport declares, reads and checks its keys with.
pub mod reading {
    pub use millrace_schema::{Declared, Form, Section, When};

    pub use super::check::Checker;
    pub use super::check_values::Expect;
    pub use super::diagnostics::Diagnostic;
    pub use super::keys::{CONNECTION, PATH, PATTERNS};
    pub use super::kind::{connection, destination, source};
    pub use super::limits::{AtLeast, Choice, Optional, PREFETCH, Within};
    pub use super::links::{Declaration, EndpointRole, LinkedEndpoint};
    pub use super::report::Report;
    pub use super::section::{Beside, By, Flag, FromTable, Reader, Reads};
    pub use super::table::{Key, Table};
    pub use super::values::{Bytes, Patterns, Text};
    pub use crate::section;
}

pub mod case;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
pub use kind::{ConnectionKind, DestinationKind, SecretKey, SourceKind, Transport};
pub use model::ModelConfig;
pub use pipeline::PipelineConfig;
pub use plugin::{Isolation, PluginConfig, default_limits, limits_read, limits_shown};
pub use registry::Registry;
pub use schema::{case_file, case_schema, keys_asked, reference, reference_pages, schema, schema_with_settings};
pub use trial::{SmokeTestConfig, SmokeTestOutcome, TrialConfig};

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
