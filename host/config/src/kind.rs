//! What a transport registers: the keys by which it is recognised in a file, how they are read, and what it can do.

use std::sync::Arc;

use millrace_schema::Declared;

use super::check::Checker;
use super::endpoint::{Capabilities, ConnectionConfig, DestinationConfig, SourceConfig};
use super::section::{FromTable, Reader};
use super::table::Table;

/// A kind of transport: one folder, and one line in the registry.
pub struct Transport {
    /// What it is called: `amqp`.
    pub name: &'static str,
    /// What its page of the reference calls it: `RabbitMQ`.
    pub title: &'static str,
    /// Its page of the reference, in `docs/`: the tables of its keys, and what it promises.
    pub page: &'static str,
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
    /// Reads and checks them: [`source`]. Its pipeline is the table's [`outer`](Table::outer).
    pub read: Reader<Arc<dyn SourceConfig>>,
}

/// A key whose value is a secret.
pub struct SecretKey {
    /// The key.
    pub key: &'static str,
    /// What a replay takes in place of one from the environment: it is not asked for there.
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
    /// Reads and checks them: [`destination`]. Its pipeline is the table's [`outer`](Table::outer).
    pub read: Reader<Arc<dyn DestinationConfig>>,
}

/// A kind of connection.
pub struct ConnectionKind {
    /// The key by which it is recognised: `amqp`.
    pub key: &'static str,
    /// All of its keys.
    pub keys: &'static [Declared],
    /// The address that a replay takes in place of one from the environment: it is never connected to there.
    pub nowhere: &'static str,
    /// Whether an address that is written in the file may have a secret anywhere.
    pub hides: fn(&str) -> bool,
    /// Reads and checks them: [`connection`].
    pub read: Reader<Arc<dyn ConnectionConfig>>,
}

impl Transport {
    /// Whether a kind of connection is one of its own.
    pub(crate) fn connects(&self, kind: &str) -> bool {
        self.connections.iter().any(|own| own.key == kind)
    }
}

/// The reader of a kind of source.
pub fn source<T: FromTable + SourceConfig>(
    table: &Table<'_>,
    checker: &mut Checker<'_, '_>,
) -> Option<Arc<dyn SourceConfig>> {
    Some(Arc::new(T::read(table, checker)?))
}

/// The reader of a kind of destination.
pub fn destination<T: FromTable + DestinationConfig>(
    table: &Table<'_>,
    checker: &mut Checker<'_, '_>,
) -> Option<Arc<dyn DestinationConfig>> {
    Some(Arc::new(T::read(table, checker)?))
}

/// The reader of a kind of connection.
pub fn connection<T: FromTable + ConnectionConfig>(
    table: &Table<'_>,
    checker: &mut Checker<'_, '_>,
) -> Option<Arc<dyn ConnectionConfig>> {
    Some(Arc::new(T::read(table, checker)?))
}
