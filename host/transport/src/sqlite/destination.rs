//! A table as a destination: a result is a row. Knows no source.

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rusqlite::{Connection, params};
use tracing::warn;

use super::error::SqliteError;
use super::file::File;
use super::tables::{columns, must_have};
use crate::error_chain::ErrorChain;
use crate::message::{Envelope, Message, Outbound};
use crate::{DeliverError, Denied, Destination, OpenError, Output, PendingOutput};

/// What a row of a result has.
const COLUMNS: [&str; 5] = ["id", "correlation_id", "content_type", "headers", "body"];

/// A table that results are put into.
#[derive(Debug)]
pub(super) struct TableDestination {
    file: File,
    // Invariant: letters, digits and `_`.
    table: Arc<str>,
}

/// A result that is to be a row.
#[derive(Debug)]
struct PendingRow {
    file: File,
    table: Arc<str>,
    row: Arc<Row>,
}

#[derive(Debug)]
struct Row {
    envelope: Envelope,
    headers: String,
    body: Vec<u8>,
}

impl TableDestination {
    pub(super) fn new(file: File, table: &str) -> Self {
        Self {
            file,
            table: table.into(),
        }
    }

    /// Makes the table where it is missing. One that cannot be made now is made with the first result.
    ///
    /// # Errors
    /// When it would take no result.
    pub(super) async fn prepare(&self) -> Result<(), OpenError> {
        let made = async {
            self.file.make().await?;
            let table = Arc::clone(&self.table);
            let found = self.file.write("make a table in", move |connection| {
                make(connection, &table)?;
                // Where all columns are there, it can fail for one reason alone.
                let is_unique = connection.prepare(&insert_into(&table)).is_ok();
                Ok((columns(connection, &table)?, is_unique))
            });
            let (found, is_unique) = found.await?;
            must_have(self.file.path(), &self.table, &found, &COLUMNS)?;
            match is_unique {
                true => Ok(()),
                false => Err(SqliteError::IdNotUnique {
                    path: self.file.path().to_owned(),
                    table: self.table.to_string(),
                }),
            }
        };
        match made.await {
            Err(error) if error.is_outage() => {
                warn!(table = %self.table, error = %ErrorChain(&error), "no results can be put into the table yet: waiting for it");
                Ok(())
            }
            prepared => prepared.map_err(OpenError::fatal),
        }
    }
}

impl Destination for TableDestination {
    fn address(&self, _: &Message, outbound: Outbound, _: usize, envelope: Envelope) -> Result<PendingOutput, Denied> {
        let Outbound {
            destination, key, body, ..
        } = outbound;
        if let Some(key) = key {
            return Err(Denied::Key { destination, key });
        }
        Ok(Box::new(PendingRow {
            file: self.file.clone(),
            table: Arc::clone(&self.table),
            row: Arc::new(Row {
                // Texts always serialise.
                headers: serde_json::to_string(&envelope.headers).unwrap_or_default(),
                envelope,
                body,
            }),
        }))
    }
}

impl PendingRow {
    async fn insert(&self) -> Result<(), SqliteError> {
        let (table, row) = (Arc::clone(&self.table), Arc::clone(&self.row));
        let insert = self.file.write("put a result into", move |connection| {
            // The file may be another than at the start.
            make(connection, &table)?;
            let Envelope {
                message_id,
                correlation_id,
                content_type,
                ..
            } = &row.envelope;
            let row = params![message_id, correlation_id, content_type, row.headers, row.body];
            connection.execute(&insert_into(&table), row).map(drop)
        });
        insert.await
    }
}

impl Output for PendingRow {
    fn send(&self) -> BoxFuture<'_, Result<(), DeliverError>> {
        self.insert()
            .map(|inserted| {
                inserted.map_err(|error| match error.is_refusal() {
                    true => DeliverError::refused(error),
                    false => DeliverError::new(error),
                })
            })
            .boxed()
    }
}

impl fmt::Display for PendingRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table `{}` in `{}`", self.table, self.file.path().display())
    }
}

/// The same result has the same id, and is there already.
fn insert_into(table: &str) -> String {
    format!(
        "INSERT INTO {table} (id, correlation_id, content_type, headers, body) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (id) DO NOTHING"
    )
}

fn make(connection: &Connection, table: &str) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {table} (
             id TEXT PRIMARY KEY, correlation_id TEXT, content_type TEXT, headers TEXT, body BLOB NOT NULL)"
    ))
}
