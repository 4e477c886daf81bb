//! What a transport registers: the keys by which it is recognised in a file, how they are read, and what it can do.

use std::sync::Arc;

use millrace_schema::Declared;
use toml::Spanned;

use super::check::Checker;
use super::diagnostics::Span;
use super::endpoint::{Capabilities, ConnectionConfig, DestinationConfig, SourceConfig};
use super::table::{Key, Report, Table};
use super::values::Text;

/// A kind of transport: one folder, and one line in the registry.
pub struct Transport {
    /// What it is called: `amqp`.
    pub name: &'static str,
    /// Its sources.
    pub sources: &'static [SourceKind],
    /// Its destinations.
    pub destinations: &'static [DestinationKind],
    /// Its connections.
    pub connections: &'static [ConnectionKind],
}

/// A kind of `source`.
pub struct SourceKind {
    /// The key by which it is recognised: `queue`.
    pub key: &'static str,
    /// Where a foreign key has no meaning: `for a queue`.
    pub place: &'static str,
    /// For who wrote neither: `{ queue = ".." }`.
    pub example: &'static str,
    /// All of its keys.
    pub keys: &'static [Declared],
    /// For who names a queue of dead letters, where it has none: why it needs none.
    pub no_dead_letter_queue: Option<&'static str>,
    /// Its keys whose values are in no message.
    pub secrets: &'static [SecretKey],
    /// What it can do.
    pub capabilities: &'static Capabilities,
    /// Reads them.
    pub read: fn(&mut Table<'_>, &mut Report<'_>) -> Box<dyn ReadSource>,
}

/// A key whose value is a secret.
pub struct SecretKey {
    /// The key.
    pub key: &'static str,
    /// What a replay takes in place of one from the environment: nobody is asked for it there.
    pub stand_in: &'static str,
}

/// A kind of destination.
pub struct DestinationKind {
    /// The key by which it is recognised: `exchange`.
    pub key: &'static str,
    /// For who wrote neither: `exchange = ".."`.
    pub example: &'static str,
    /// All of its keys.
    pub keys: &'static [Declared],
    /// Keys that mean nothing in any destination: what is said to who writes one, and what helps.
    pub misplaced: &'static [(&'static str, &'static str, &'static str)],
    /// Reads them.
    pub read: fn(&mut Table<'_>, &mut Report<'_>) -> Box<dyn ReadDestination>,
}

/// A kind of connection.
pub struct ConnectionKind {
    /// The key by which it is recognised: `amqp`.
    pub key: &'static str,
    /// All of its keys.
    pub keys: &'static [Declared],
    /// The address that a replay takes in place of one from the environment: nobody is asked there.
    pub nowhere: &'static str,
    /// Whether an address that is written in the file may have a secret anywhere.
    pub hides: fn(&str) -> bool,
    /// Reads them.
    pub read: fn(&mut Table<'_>, &mut Report<'_>) -> Box<dyn ReadConnection>,
}

/// The keys of a source, read and not checked.
pub trait ReadSource {
    /// Checks them.
    fn check(&self, checker: &mut Checker<'_, '_>, tables: &PipelineTables<'_>) -> Option<Arc<dyn SourceConfig>>;

    /// The address at which others reach it, where messages can ask for a reply there.
    fn address(&self) -> Option<&Spanned<Text>> {
        None
    }
}

/// The keys of a destination, read and not checked.
pub trait ReadDestination {
    /// Checks them.
    fn check(&self, checker: &mut Checker<'_, '_>, tables: &PipelineTables<'_>) -> Option<Arc<dyn DestinationConfig>>;
}

/// The keys of a connection, read and not checked.
pub trait ReadConnection {
    /// Checks them; what is wrong has something in its place.
    fn check(&self, checker: &mut Checker<'_, '_>, span: &Span) -> Arc<dyn ConnectionConfig>;
}

/// The pipeline that a source or a destination belongs to, as it is written.
pub struct PipelineTables<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// Where the table is.
    pub span: &'a Span,
    /// Where its dead letters go.
    pub dead_letter: &'a Key<Text>,
    /// Its source, where that is of one kind.
    pub source: Option<(&'static SourceKind, &'a dyn ReadSource)>,
}
