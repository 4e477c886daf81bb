//! Claims of rows: which wait, and to whom they belong. All of it is done on the thread of the file, in one transaction.

use rusqlite::{Connection, OptionalExtension, params};

use super::row;
use super::tables::Tables;
use crate::message::Message;

/// A row that was claimed.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) seq: i64,
    pub(super) message: Message,
    /// Why no plugin may see it.
    pub(super) malformed: Option<String>,
    /// Whether a claim before ended without a settlement.
    pub(super) redelivered: bool,
    /// Hosts that crashed with it in flight, where it is quarantined.
    pub(super) crash_count: u32,
}

/// What is at a source now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    /// Whether ordinary rows can be claimed.
    pub(super) has_rows: bool,
    /// Whether quarantined ones can be.
    pub(super) has_quarantined: bool,
    /// Whether there is no row but those that are done.
    pub(super) is_empty: bool,
    /// Rows that wait or are in flight, up to a bound.
    pub(super) n_open: u32,
}

/// Rows are counted up to so many: a count looks at each.
const COUNTED_MAX: u32 = 10_000;

/// New rows are those behind every claim: claims are made in the order of `seq`, which SQLite counts up.
fn is_new(tables: &Tables) -> String {
    format!(
        "seq > coalesce((SELECT max(seq) FROM {}), -9223372036854775808)",
        tables.claims
    )
}

/// Looks at a source.
pub(super) fn look(connection: &Connection, tables: &Tables, now_ms: i64) -> rusqlite::Result<Look> {
    let Tables { rows, claims, .. } = tables;
    let is_new = is_new(tables);
    let sql = format!(
        "SELECT EXISTS(SELECT 1 FROM {rows} WHERE {is_new}),
                EXISTS(SELECT 1 FROM {claims} WHERE owner IS NULL AND phase = 'waiting' AND due <= ?1),
                EXISTS(SELECT 1 FROM {claims} WHERE owner IS NULL AND phase = 'quarantined'),
                EXISTS(SELECT 1 FROM {claims} WHERE phase <> 'done'),
                (SELECT count(*) FROM (SELECT 1 FROM {rows} WHERE {is_new} LIMIT ?2))
                + (SELECT count(*) FROM (SELECT 1 FROM {claims} WHERE phase <> 'done' LIMIT ?2))"
    );
    connection.query_row(&sql, params![now_ms, COUNTED_MAX], |row| {
        let (is_new, waits): (bool, bool) = (row.get(0)?, row.get(1)?);
        let is_claimed: bool = row.get(3)?;
        Ok(Look {
            has_rows: is_new || waits,
            has_quarantined: row.get(2)?,
            is_empty: !is_new && !is_claimed,
            n_open: row.get(4)?,
        })
    })
}

/// Claims rows that are to be tried again, then new ones, `n` at the most.
pub(super) fn claim(
    connection: &Connection,
    tables: &Tables,
    owner: &str,
    (n, now_ms): (u32, i64),
    max_message_bytes: usize,
) -> rusqlite::Result<Vec<Taken>> {
    let Tables { rows, claims, .. } = tables;
    let again = format!(
        "SELECT seq FROM {claims} WHERE owner IS NULL AND phase = 'waiting' AND due <= ?1 ORDER BY due, seq LIMIT ?2"
    );
    let again: Vec<i64> = connection
        .prepare(&again)?
        .query_map(params![now_ms, n], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let n_new = n.saturating_sub(u32::try_from(again.len()).unwrap_or(n));
    let new = format!("SELECT seq FROM {rows} WHERE {} ORDER BY seq LIMIT ?1", is_new(tables));
    let new: Vec<i64> = connection
        .prepare(&new)?
        .query_map([n_new], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut insert = connection.prepare(&format!(
        "INSERT INTO {claims} (seq, phase, owner) VALUES (?1, 'taken', ?2)"
    ))?;
    for seq in &new {
        insert.execute(params![seq, owner])?;
    }
    let mut update = connection.prepare(&format!(
        "UPDATE {claims} SET phase = 'taken', owner = ?2 WHERE seq = ?1"
    ))?;
    for seq in &again {
        update.execute(params![seq, owner])?;
    }
    let mut taken = Vec::new();
    for seq in again.into_iter().chain(new) {
        taken.extend(read(connection, tables, seq, max_message_bytes)?);
    }
    Ok(taken)
}

/// Claims one quarantined row.
pub(super) fn claim_quarantined(
    connection: &Connection,
    tables: &Tables,
    owner: &str,
    max_message_bytes: usize,
) -> rusqlite::Result<Option<Taken>> {
    let claims = &tables.claims;
    loop {
        let next =
            format!("SELECT seq FROM {claims} WHERE owner IS NULL AND phase = 'quarantined' ORDER BY seq LIMIT 1");
        let next = connection.query_row(&next, [], |row| row.get(0)).optional()?;
        let Some(seq) = next else { return Ok(None) };
        let update = format!("UPDATE {claims} SET owner = ?2 WHERE seq = ?1");
        connection.execute(&update, params![seq, owner])?;
        if let Some(taken) = read(connection, tables, seq, max_message_bytes)? {
            return Ok(Some(taken));
        }
    }
}

/// Reads a row that is claimed. Where it was deleted, its claim goes too.
fn read(
    connection: &Connection,
    tables: &Tables,
    seq: i64,
    max_message_bytes: usize,
) -> rusqlite::Result<Option<Taken>> {
    let claims = &tables.claims;
    let Some((mut message, malformed)) = row::read(connection, tables, seq, max_message_bytes)? else {
        connection.execute(&format!("DELETE FROM {claims} WHERE seq = ?1"), [seq])?;
        return Ok(None);
    };
    let sql = format!("SELECT attempt, redelivered, crash_count FROM {claims} WHERE seq = ?1");
    let (attempt, redelivered, crash_count) =
        connection.query_row(&sql, [seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    (message.attempt, message.redelivered) = (attempt, redelivered);
    Ok(Some(Taken {
        seq,
        message,
        malformed,
        redelivered,
        crash_count,
    }))
}

/// Renews the lease of a host; false where another host has taken over its rows.
pub(super) fn renew(connection: &Connection, tables: &Tables, owner: &str, until_ms: i64) -> rusqlite::Result<bool> {
    let update = format!("UPDATE {} SET until = ?2 WHERE owner = ?1", tables.owners);
    Ok(connection.execute(&update, params![owner, until_ms])? == 1)
}

/// Begins the lease of a host.
pub(super) fn register(connection: &Connection, tables: &Tables, owner: &str, until_ms: i64) -> rusqlite::Result<()> {
    let insert = format!(
        "INSERT OR REPLACE INTO {} (owner, until) VALUES (?1, ?2)",
        tables.owners
    );
    connection.execute(&insert, params![owner, until_ms]).map(drop)
}

/// Takes the rows of hosts whose lease is over from them, marked as redelivered. Returns how many.
pub(super) fn take_over(connection: &Connection, tables: &Tables, now_ms: i64) -> rusqlite::Result<usize> {
    let Tables { claims, owners, .. } = tables;
    connection.execute(&format!("DELETE FROM {owners} WHERE until < ?1"), [now_ms])?;
    let update = format!(
        "UPDATE {claims} SET owner = NULL, due = 0, redelivered = 1,
             phase = CASE phase WHEN 'taken' THEN 'waiting' ELSE phase END
         WHERE owner IS NOT NULL AND owner NOT IN (SELECT owner FROM {owners})"
    );
    connection.execute(&update, [])
}

/// Ends the lease of a host that has no claims any more.
pub(super) fn leave(connection: &Connection, tables: &Tables, owner: &str) -> rusqlite::Result<()> {
    let Tables { claims, owners, .. } = tables;
    // What it did not give back is left to those who take over, who mark it.
    let delete = format!(
        "DELETE FROM {owners} WHERE owner = ?1 AND NOT EXISTS (SELECT 1 FROM {claims} WHERE {claims}.owner = ?1)"
    );
    connection.execute(&delete, [owner]).map(drop)
}
