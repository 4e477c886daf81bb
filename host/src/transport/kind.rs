//! What a transport registers: the keys by which it is recognised in a file, how they are read, and what it can do.

use std::sync::Arc;

use millrace_schema::Declared;
use toml::Spanned;

use super::config::{Capabilities, ConnectionConfig, DestinationConfig, SourceConfig};
use crate::config::Span;
use crate::config::reading::{Checker, Key, Report, Table, Text};

/// A kind of transport: one folder, and one line in the registry.
pub(crate) struct Transport {
    /// What it is called: `amqp`.
    pub(crate) name: &'static str,
    /// Its sources.
    pub(crate) sources: &'static [SourceKind],
    /// Its destinations.
    pub(crate) destinations: &'static [DestinationKind],
    /// Its connections.
    pub(crate) connections: &'static [ConnectionKind],
}

/// A kind of `source`.
pub(crate) struct SourceKind {
    /// The key by which it is recognised: `queue`.
    pub(crate) key: &'static str,
    /// Where a foreign key has no meaning: `for a queue`.
    pub(crate) place: &'static str,
    /// For who wrote neither: `{ queue = ".." }`.
    pub(crate) example: &'static str,
    /// All of its keys.
    pub(crate) keys: &'static [Declared],
    /// What it can do.
    pub(crate) capabilities: &'static Capabilities,
    /// Reads them.
    pub(crate) read: fn(&mut Table<'_>, &mut Report<'_>) -> Box<dyn ReadSource>,
}

/// A kind of destination.
pub(crate) struct DestinationKind {
    /// The key by which it is recognised: `exchange`.
    pub(crate) key: &'static str,
    /// For who wrote neither: `exchange = ".."`.
    pub(crate) example: &'static str,
    /// All of its keys.
    pub(crate) keys: &'static [Declared],
    /// Keys that mean nothing in any destination: what is said to who writes one, and what helps.
    pub(crate) misplaced: &'static [(&'static str, &'static str, &'static str)],
    /// Reads them.
    pub(crate) read: fn(&mut Table<'_>, &mut Report<'_>) -> Box<dyn ReadDestination>,
}

/// A kind of connection.
pub(crate) struct ConnectionKind {
    /// The key by which it is recognised: `amqp`.
    pub(crate) key: &'static str,
    /// All of its keys.
    pub(crate) keys: &'static [Declared],
    /// The address that a replay takes in place of one from the environment: nobody is asked there.
    pub(crate) nowhere: &'static str,
    /// Whether an address that is written in the file may have a secret anywhere.
    pub(crate) hides: fn(&str) -> bool,
    /// Reads them.
    pub(crate) read: fn(&mut Table<'_>, &mut Report<'_>) -> Box<dyn ReadConnection>,
}

/// The keys of a source, read and not checked.
pub(crate) trait ReadSource {
    /// Checks them.
    fn check(&self, checker: &mut Checker<'_, '_>, place: &Place<'_>) -> Option<Arc<dyn SourceConfig>>;

    /// The address at which others reach it, where messages can ask for a reply there.
    fn address(&self) -> Option<&Spanned<Text>> {
        None
    }
}

/// The keys of a destination, read and not checked.
pub(crate) trait ReadDestination {
    /// Checks them.
    fn check(&self, checker: &mut Checker<'_, '_>, place: &Place<'_>) -> Option<Arc<dyn DestinationConfig>>;
}

/// The keys of a connection, read and not checked.
pub(crate) trait ReadConnection {
    /// Checks them; what is wrong has something in its place.
    fn check(&self, checker: &mut Checker<'_, '_>, span: &Span) -> Arc<dyn ConnectionConfig>;
}

/// The pipeline that a source or a destination belongs to, as it is written.
pub(crate) struct Place<'a> {
    /// The pipeline's name.
    pub(crate) pipeline: &'a str,
    /// Where the table is.
    pub(crate) span: &'a Span,
    /// Where its dead letters go.
    pub(crate) dead_letter: &'a Key<Text>,
    /// Its source, where that is of one kind.
    pub(crate) source: Option<(&'static SourceKind, &'a dyn ReadSource)>,
}
