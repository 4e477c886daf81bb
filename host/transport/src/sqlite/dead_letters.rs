//! Dead letters in a table: read where they lie, and put back in one transaction. Knows no pipeline.

use std::io::{Cursor, Read};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value, json};

use super::error::SqliteError;
use super::file::File;
use super::row::headers;
use super::tables::Tables;
use crate::dead_letter::DeadLetter;
use crate::dead_letters::own;
use crate::message::Message;
use crate::{DeadLetterError, DeadLetterStore, Handle, HeldDeadLetter, OpenStore, Requeuer};

/// The table of dead letters of a source.
#[derive(Debug, Clone)]
pub(super) struct TableStore {
    file: File,
    tables: Arc<Tables>,
}

/// The dead letters that were there when it was opened.
#[derive(Debug)]
struct Open {
    store: TableStore,
    after: i64,
    last: i64,
    n_left: usize,
}

/// A dead letter that was read.
#[derive(Debug)]
struct Found {
    seq: i64,
    dead_letter: DeadLetter,
    message: Message,
    body: Vec<u8>,
}

/// It went back already, or it was deleted.
#[derive(Debug, thiserror::Error)]
#[error("the dead letter is gone")]
struct GoneMeanwhile;

impl TableStore {
    pub(super) fn new(file: File, table: &str, dead: &str) -> Self {
        Self {
            file,
            tables: Arc::new(Tables::new(table, dead)),
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &Tables) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DeadLetterError> {
        let tables = Arc::clone(&self.tables);
        let read = self
            .file
            .read("read dead letters in", move |connection| work(connection, &tables));
        read.await.map_err(DeadLetterError::new)
    }

    /// Both steps in one transaction: the message is in one place at any time. It gets a place behind all others.
    async fn move_back(&self, seq: i64) -> Result<bool, SqliteError> {
        let tables = Arc::clone(&self.tables);
        let moved = self.file.write("put back a message in", move |connection| {
            let Tables { rows, dead, .. } = tables.as_ref();
            let insert = format!(
                "INSERT INTO {rows} (id, body, content_type, correlation_id, headers) \
                 SELECT message_id, body, content_type, correlation_id, headers FROM {dead} WHERE seq = ?1"
            );
            let n = connection.execute(&insert, [seq])?;
            connection.execute(&format!("DELETE FROM {dead} WHERE seq = ?1"), [seq])?;
            Ok(n == 1)
        });
        moved.await
    }
}

impl DeadLetterStore for TableStore {
    fn shown(&self) -> String {
        format!("table `{}` in `{}`", self.tables.dead, self.file.path().display())
    }

    fn are_files(&self) -> bool {
        false
    }

    fn open(&self) -> BoxFuture<'_, Result<Box<dyn OpenStore>, DeadLetterError>> {
        async {
            let (last, n_left): (i64, u32) = self
                .read(|connection, tables| {
                    let is_there = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE";
                    let is_there = connection.query_row(is_there, [&tables.dead], |_| Ok(())).optional()?;
                    if is_there.is_none() {
                        return Ok((0, 0)); // no host has used the file
                    }
                    let sql = format!("SELECT coalesce(max(seq), 0), count(*) FROM {}", tables.dead);
                    connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
                })
                .await?;
            let open = Open {
                store: self.clone(),
                after: i64::MIN,
                last,
                n_left: n_left as usize,
            };
            Ok(Box::new(open) as Box<dyn OpenStore>)
        }
        .boxed()
    }

    fn refuses_target(&self) -> Option<&'static str> {
        Some(
            "--to names a queue, but these dead letters are in a table: requeue moves their rows back into the source's",
        )
    }

    fn target(&self, _: &DeadLetter, _: Option<&str>) -> Result<String, String> {
        Ok(format!("the table {}", self.tables.rows))
    }

    fn requeuer(&self) -> Box<dyn Requeuer> {
        Box::new(self.clone())
    }
}

impl Requeuer for TableStore {
    fn open(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    fn put_back(&self, held: Box<dyn HeldDeadLetter>, to: String) -> BoxFuture<'_, Result<String, DeadLetterError>> {
        async {
            let found = own::<Found>(held)?;
            match self.move_back(found.seq).await {
                Ok(true) => Ok(to),
                Ok(false) => Err(DeadLetterError::new(GoneMeanwhile)),
                Err(error) => Err(DeadLetterError::new(error)),
            }
        }
        .boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}

impl OpenStore for Open {
    fn n_left(&self) -> usize {
        self.n_left
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Box<dyn HeldDeadLetter>>, DeadLetterError>> {
        async {
            if self.n_left == 0 {
                return Ok(None);
            }
            let (after, last) = (self.after, self.last);
            let found = self
                .store
                .read(move |connection, tables| {
                    let sql = format!(
                        "SELECT seq, id, facts, message_id, body, content_type, correlation_id, headers FROM {} \
                         WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT 1",
                        tables.dead
                    );
                    let read = |row: &Row<'_>| read(row, &tables.rows);
                    connection.query_row(&sql, params![after, last], read).optional()
                })
                .await?;
            self.n_left = self.n_left.saturating_sub(1);
            let Some(found) = found else {
                self.n_left = 0;
                return Ok(None);
            };
            self.after = found.seq;
            Ok(Some(Box::new(found) as Box<dyn HeldDeadLetter>))
        }
        .boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<(), DeadLetterError>> {
        ready(Ok(())).boxed()
    }
}

impl HeldDeadLetter for Found {
    fn dead_letter(&self) -> &DeadLetter {
        &self.dead_letter
    }

    fn handle(&self) -> Handle {
        Handle::Id(self.dead_letter.id.clone())
    }

    fn message(&self) -> Result<Message, DeadLetterError> {
        Ok(self.message.clone())
    }

    fn open_body(&self) -> Result<Box<dyn Read + '_>, DeadLetterError> {
        Ok(Box::new(Cursor::new(&self.body)))
    }
}

/// Reads a dead letter. Somebody may have written it by hand: what is no text is none.
fn read(row: &Row<'_>, table: &str) -> rusqlite::Result<Found> {
    let text = |at: usize| -> rusqlite::Result<Option<String>> {
        let bytes = row.get_ref(at)?.as_bytes_or_null().ok().flatten();
        Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    };
    let facts = text(2)?.unwrap_or_default();
    let facts: Map<String, Value> = serde_json::from_str(&facts).unwrap_or_default();
    let facts = facts.into_iter().map(|(name, value)| {
        let text = value.as_str().map(str::to_owned);
        (name, text.unwrap_or_else(|| value.to_string()))
    });
    let body = row
        .get_ref(4)?
        .as_bytes_or_null()
        .ok()
        .flatten()
        .unwrap_or_default()
        .to_vec();
    let (content_type, correlation_id) = (text(5)?, text(6)?);
    let original_headers = text(7)?;
    let mut dead_letter = DeadLetter {
        id: text(1)?.unwrap_or_default(),
        content_type: content_type.clone(),
        correlation_id: correlation_id.clone(),
        headers: facts.collect(),
        n_bytes: body.len() as u64,
        ..DeadLetter::default()
    };
    dead_letter.original = original_headers
        .as_deref()
        .and_then(|text| serde_json::from_str::<Value>(text).ok())
        .map(|headers| json!({ "headers": headers }));
    let message = Message {
        id: dead_letter.message_id().to_owned(),
        correlation_id,
        source: table.to_owned(),
        key: table.to_owned(),
        attempt: dead_letter.attempt(),
        content_type,
        headers: original_headers
            .and_then(|text| headers(&text).ok())
            .unwrap_or_default(),
        ..Message::default()
    };
    Ok(Found {
        seq: row.get(0)?,
        dead_letter,
        message,
        body,
    })
}
