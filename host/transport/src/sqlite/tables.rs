//! The tables of a source: their names, and how they are made. Knows no row.

use std::path::Path;

use rusqlite::Connection;

use super::error::SqliteError;

/// What a row of a message has.
pub(super) const MESSAGE_COLUMNS: [&str; 6] = ["seq", "id", "body", "content_type", "correlation_id", "headers"];

/// What a dead letter has.
pub(super) const DEAD_COLUMNS: [&str; 8] = [
    "seq",
    "id",
    "facts",
    "message_id",
    "body",
    "content_type",
    "correlation_id",
    "headers",
];

/// The tables of a source.
// Invariant: each name is letters, digits and `_`.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    pub(super) rows: String,
    pub(super) claims: String,
    pub(super) owners: String,
    pub(super) dead: String,
}

impl Tables {
    pub(super) fn new(table: &str, dead: &str) -> Self {
        Self {
            rows: table.to_owned(),
            claims: format!("{table}_claims"),
            owners: format!("{table}_owners"),
            dead: dead.to_owned(),
        }
    }

    /// Makes those that are missing.
    pub(super) fn make(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Self {
            rows,
            claims,
            owners,
            dead,
        } = self;
        connection.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {rows} (
                 seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT, body BLOB NOT NULL, content_type TEXT,
                 correlation_id TEXT, headers TEXT);
             CREATE TABLE IF NOT EXISTS {claims} (
                 seq INTEGER PRIMARY KEY, phase TEXT NOT NULL, owner TEXT, due INTEGER NOT NULL DEFAULT 0,
                 attempt INTEGER NOT NULL DEFAULT 1, crash_count INTEGER NOT NULL DEFAULT 0,
                 redelivered INTEGER NOT NULL DEFAULT 0);
             CREATE INDEX IF NOT EXISTS {claims}_due ON {claims} (phase, due) WHERE owner IS NULL;
             CREATE INDEX IF NOT EXISTS {claims}_owner ON {claims} (owner) WHERE owner IS NOT NULL;
             CREATE TABLE IF NOT EXISTS {owners} (owner TEXT PRIMARY KEY, until INTEGER NOT NULL);"
        ))?;
        make_dead(connection, dead)
    }
}

/// Makes the table of dead letters, where it is missing.
fn make_dead(connection: &Connection, dead: &str) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {dead} (
             seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, facts TEXT NOT NULL, message_id TEXT,
             body BLOB NOT NULL, content_type TEXT, correlation_id TEXT, headers TEXT);"
    ))
}

/// The columns that a table has.
pub(super) fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut asked = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
    asked.query_map([table], |row| row.get(0))?.collect()
}

/// Whether a table has all columns of a kind: another application's may have its name.
///
/// # Errors
/// The first that it has not.
pub(super) fn must_have(
    path: &Path,
    table: &str,
    found: &[String],
    needed: &[&'static str],
) -> Result<(), SqliteError> {
    match needed.iter().find(|column| !found.iter().any(|own| own == *column)) {
        None => Ok(()),
        Some(column) => Err(SqliteError::NoColumn {
            path: path.to_owned(),
            table: table.to_owned(),
            column,
        }),
    }
}
