//! What a settlement does to a row and its claim, in one transaction. Knows no plugin and no pipeline.

use rusqlite::{Connection, OptionalExtension, params};

use super::keys::Done;
use super::tables::Tables;

/// What becomes of a claimed row.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    Done(Done),
    Dead {
        /// The id of the dead letter.
        id: String,
        /// What is known of it: a JSON object.
        facts: String,
        /// The id of the message, which its row need not have.
        message_id: String,
    },
    /// Back to the others.
    Waits {
        /// The number of the next attempt; the one that it has where nothing is given.
        attempt: Option<u32>,
        /// Whether it was in flight and is not settled.
        redelivered: bool,
        due_ms: i64,
    },
    /// It is to run alone, after so many crashes.
    Quarantined {
        crash_count: u32,
    },
    /// As it was before it was claimed: no plugin has seen it.
    AsItWas,
}

/// Ends a claim; false where it is another host's by now.
pub(super) fn end(
    connection: &Connection,
    tables: &Tables,
    (seq, owner): (i64, &str),
    ending: &Ending,
) -> rusqlite::Result<bool> {
    let Tables { rows, claims, dead, .. } = tables;
    let is_ours = format!("SELECT 1 FROM {claims} WHERE seq = ?1 AND owner = ?2");
    let is_ours = connection
        .query_row(&is_ours, params![seq, owner], |_| Ok(()))
        .optional()?;
    if is_ours.is_none() {
        return Ok(false);
    }
    let delete = || {
        connection.execute(&format!("DELETE FROM {rows} WHERE seq = ?1"), [seq])?;
        connection.execute(&format!("DELETE FROM {claims} WHERE seq = ?1"), [seq])
    };
    match ending {
        Ending::Done(Done::Delete) => delete()?,
        Ending::Done(Done::Keep) => {
            let keep = format!("UPDATE {claims} SET phase = 'done', owner = NULL, redelivered = 0 WHERE seq = ?1");
            connection.execute(&keep, [seq])?
        }
        Ending::Dead { id, facts, message_id } => {
            // By SQLite alone: a body that is too large to be read is moved all the same.
            let copy = format!(
                "INSERT INTO {dead} (id, facts, message_id, body, content_type, correlation_id, headers) \
                 SELECT ?2, ?3, coalesce(id, ?4), coalesce(body, x''), content_type, correlation_id, headers FROM {rows} WHERE seq = ?1"
            );
            connection.execute(&copy, params![seq, id, facts, message_id])?;
            delete()?
        }
        Ending::Waits {
            attempt,
            redelivered,
            due_ms,
        } => {
            let update = format!(
                "UPDATE {claims} SET phase = 'waiting', owner = NULL, crash_count = 0, \
                 attempt = coalesce(?2, attempt), redelivered = ?3, due = ?4 WHERE seq = ?1"
            );
            connection.execute(&update, params![seq, attempt, redelivered, due_ms])?
        }
        Ending::Quarantined { crash_count } => {
            let update = format!(
                "UPDATE {claims} SET phase = 'quarantined', owner = NULL, crash_count = ?2, redelivered = 0 \
                 WHERE seq = ?1"
            );
            connection.execute(&update, params![seq, crash_count])?
        }
        Ending::AsItWas => {
            let update = format!(
                "UPDATE {claims} SET owner = NULL, phase = CASE phase WHEN 'taken' THEN 'waiting' ELSE phase END \
                 WHERE seq = ?1"
            );
            connection.execute(&update, [seq])?
        }
    };
    Ok(true)
}
