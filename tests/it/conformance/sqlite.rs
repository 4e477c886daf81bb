//! SQLite, for the suite: a table in a file of its own for each source and each destination. An outage is a file that is
//! away, or one that another process has locked.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, params};
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::messages::Sent;
use super::{Bench, Dead, Fault, Found, Harness, Keys, Promises, Weather, suite};

/// Longer than a host holds the lock of a file.
const PATIENCE: Duration = Duration::from_secs(20);
/// The table of every source, and of every destination.
const MESSAGES: &str = "messages";
const RESULTS: &str = "results";
const FILE: &str = "a.db";

struct Sqlite;

suite!(Sqlite);

#[test]
fn one_result_is_refused() -> Result<()> {
    super::fan_out::one_result_is_refused(HARNESS)
}

struct Files {
    root: TempDir,
    /// The folder of every source's or destination's file.
    known: Mutex<Vec<PathBuf>>,
    /// Each has the lock of a file.
    locks: Mutex<Vec<Connection>>,
}

impl Harness for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn keys(&self) -> Keys {
        Keys {
            source: &["sqlite"],
            destination: &["sqlite"],
            connection: &[],
            beside: &[],
        }
    }

    fn promises(&self) -> Promises {
        Promises {
            keeps: true,
            gives_back: true,
            tells_redelivery: true,
            order_binds_commits: false,
            has_quarantine_queue: true,
            ends: true,
            has_headers: true,
            is_shared: true,
            waits_at_start: false,
            replaces_results: true,
            keeps_dead_letters: true,
            outages: &[Fault::Gone, Fault::Frozen],
            steps: &[],
            marked_at_leave: 0,
            stated: &[(
                "waits_at_start",
                "sqlite.md",
                "A file that is not there at the start is an error.",
            )],
        }
    }

    fn bench(&self, _weather: Weather) -> Result<Box<dyn Bench>> {
        Ok(Box::new(Files {
            root: tempfile::Builder::new().prefix("millrace-sqlite-").tempdir()?,
            known: Mutex::default(),
            locks: Mutex::default(),
        }))
    }
}

impl Files {
    fn inbox(&self, pipeline: &str) -> PathBuf {
        self.root.path().join(format!("in-{pipeline}"))
    }

    fn out(&self, pipeline: &str, name: &str) -> PathBuf {
        self.root.path().join(format!("out-{pipeline}-{name}"))
    }

    /// A file that is there from now on, with the table of a source.
    fn make(&self, folder: &Path) -> Result<String> {
        std::fs::create_dir_all(folder)?;
        let mut known = lock(&self.known);
        if !known.iter().any(|known| known == folder) {
            known.push(folder.to_owned());
            // As a producer makes it.
            let made = "PRAGMA journal_mode = wal; CREATE TABLE IF NOT EXISTS messages (seq INTEGER PRIMARY KEY \
                        AUTOINCREMENT, id TEXT, body BLOB NOT NULL, content_type TEXT, correlation_id TEXT, headers TEXT)";
            open(folder)?.execute_batch(made)?;
        }
        Ok(folder.join(FILE).display().to_string())
    }

    fn insert(&self, pipeline: &str, rows: &[(&str, &[u8], Option<String>)]) -> Result<()> {
        let mut connection = open(&self.inbox(pipeline))?;
        let transaction = connection.transaction()?;
        for (id, body, headers) in rows {
            let insert = "INSERT INTO messages (id, body, headers) VALUES (?1, ?2, ?3)";
            transaction.execute(insert, params![id, body, headers])?;
        }
        Ok(transaction.commit()?)
    }

    fn count(&self, pipeline: &str, sql: &str) -> Result<usize> {
        let count: u32 = open(&self.inbox(pipeline))?.query_row(sql, [], |row| row.get(0))?;
        Ok(usize::try_from(count)?)
    }
}

impl Bench for Files {
    fn connection(&self) -> String {
        String::new()
    }

    fn source(&self, pipeline: &str, prefetch: u16) -> Result<String> {
        let file = self.make(&self.inbox(pipeline))?;
        Ok(format!(
            "sqlite = {file:?}, table = \"{MESSAGES}\", prefetch = {prefetch}, lease = \"3s\", poll = \"20ms\""
        ))
    }

    fn put(&self, pipeline: &str, messages: &[Sent]) -> Result<()> {
        let rows: Vec<(&str, &[u8], Option<String>)> = messages
            .iter()
            .map(|sent| {
                let headers = sent.headers.iter();
                let headers: Map<String, Value> = headers
                    .map(|(name, value)| (name.clone(), Value::String(value.clone())))
                    .collect();
                let headers = (!headers.is_empty()).then(|| Value::Object(headers).to_string());
                (sent.id.as_str(), sent.body.as_slice(), headers)
            })
            .collect();
        self.insert(pipeline, &rows)
    }

    fn put_crooked(&self, pipeline: &str) -> Result<Vec<String>> {
        let (long, longest) = ("v".repeat(100_000), "n".repeat(255));
        let nested = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        let rows: [(&str, Option<String>); 9] = [
            ("an \"id\" of 'others'; DROP TABLE messages; --", None),
            ("line\nbreak\tand \u{1b}[31mcolour \u{202e}", None),
            (&longest, None),
            ("no-json", Some("not JSON".to_owned())),
            ("no-object", Some("[1, 2]".to_owned())),
            ("nested", Some(format!("{{\"a\": {nested}}}"))),
            ("too-long", Some(format!("{{\"a\": {long:?}}}"))),
            (
                "forged",
                Some("{\"x-millrace-attempt\": -1, \"x-millrace-crash-count\": 7}".to_owned()),
            ),
            (
                "no-texts",
                Some("{\"a\": null, \"b\": {\"c\": []}, \"\": 1e400}".to_owned()),
            ),
        ];
        let pictures = rows
            .iter()
            .map(|(id, _)| Sent::picture(id))
            .collect::<Result<Vec<_>>>()?;
        let inserted: Vec<(&str, &[u8], Option<String>)> = rows
            .iter()
            .zip(&pictures)
            .map(|((id, headers), sent)| (*id, sent.body.as_slice(), headers.clone()))
            .collect();
        self.insert(pipeline, &inserted)?;
        // Values of other types than their columns.
        let connection = open(&self.inbox(pipeline))?;
        let insert = "INSERT INTO messages (id, body, content_type, correlation_id) VALUES (?1, ?2, ?3, ?4)";
        connection.execute(insert, params![77, "a text, and no blob", [0xff_u8, 0xfe], 1.5])?;
        let mut ids: Vec<String> = rows.iter().map(|(id, _)| (*id).to_owned()).collect();
        ids.push("77".to_owned());
        Ok(ids)
    }

    fn dead(&self, pipeline: &str) -> Result<Vec<Dead>> {
        let connection = open(&self.inbox(pipeline))?;
        if !has_table(&connection, "messages_dead")? {
            return Ok(Vec::new());
        }
        let mut asked = connection.prepare("SELECT message_id, id, facts, body FROM messages_dead ORDER BY seq")?;
        let mut rows = asked.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let facts: Map<String, Value> = serde_json::from_str(&row.get::<_, String>(2)?)?;
            let fact = |name: &str| {
                let value = facts.get(&format!("x-millrace-{name}"));
                value.and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let body = match row.get_ref(3)? {
                rusqlite::types::ValueRef::Text(bytes) | rusqlite::types::ValueRef::Blob(bytes) => bytes.to_vec(),
                other => bail!("a body of {:?}", other.data_type()),
            };
            found.push(Dead {
                of: row.get(0)?,
                id: row.get(1)?,
                stage: fact("stage"),
                class: fact("reason"),
                text: fact("text"),
                plugin: fact("plugin"),
                attempt: fact("attempt").parse().context("no attempt")?,
                body,
            });
        }
        Ok(found)
    }

    fn n_waiting(&self, pipeline: &str) -> Result<usize> {
        self.count(pipeline, "SELECT count(*) FROM messages")
    }

    /// A row that is done and whose host was killed before it was deleted comes again when the lease is over.
    fn n_unanswered(&self, pipeline: &str) -> usize {
        self.n_waiting(pipeline).unwrap_or(1)
    }

    fn n_quarantined(&self, pipeline: &str) -> Result<usize> {
        self.count(
            pipeline,
            "SELECT count(*) FROM messages_claims WHERE phase = 'quarantined'",
        )
    }

    fn destination(&self, pipeline: &str, name: &str) -> Result<String> {
        let file = self.make(&self.out(pipeline, name))?;
        Ok(format!("sqlite = {file:?}\ntable = \"{RESULTS}\""))
    }

    fn results(&self, pipeline: &str, name: &str) -> Result<Vec<Found>> {
        let connection = open(&self.out(pipeline, name))?;
        if !has_table(&connection, RESULTS)? {
            return Ok(Vec::new());
        }
        let mut asked = connection.prepare("SELECT correlation_id, id, body FROM results")?;
        let rows = asked.query_map([], |row| {
            Ok(Found {
                of: row.get(0)?,
                id: row.get(1)?,
                body: row.get(2)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn break_destination(&self, pipeline: &str, name: &str) -> Result<()> {
        take_away(&self.out(pipeline, name))
    }

    fn mend_destination(&self, pipeline: &str, name: &str) -> Result<()> {
        bring_back(&self.out(pipeline, name))
    }

    fn refuse(&self, pipeline: &str, name: &str, of: &str) -> Result<()> {
        let rule = format!(
            "CREATE TRIGGER rule BEFORE INSERT ON {RESULTS} WHEN NEW.correlation_id = '{of}'
             BEGIN SELECT RAISE(ABORT, 'a rule of the table'); END"
        );
        Ok(open(&self.out(pipeline, name))?.execute_batch(&rule)?)
    }

    fn fault(&self, fault: Fault) -> Result<()> {
        let known = lock(&self.known);
        match fault {
            Fault::Gone => known.iter().try_for_each(|folder| take_away(folder)),
            Fault::Frozen => known.iter().try_for_each(|folder| {
                let connection = open(folder)?;
                connection.execute_batch("BEGIN EXCLUSIVE")?;
                lock(&self.locks).push(connection);
                Ok(())
            }),
            Fault::Cut => bail!("no such outage"),
        }
    }

    fn heal(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Gone => lock(&self.known).iter().try_for_each(|folder| bring_back(folder)),
            // Each is rolled back when its connection is closed.
            _ => {
                lock(&self.locks).clear();
                Ok(())
            }
        }
    }
}

fn open(folder: &Path) -> Result<Connection> {
    let connection = Connection::open(folder.join(FILE))?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

fn has_table(connection: &Connection, table: &str) -> Result<bool> {
    let asked = "SELECT count(*) FROM sqlite_schema WHERE name = ?1";
    let count: u32 = connection.query_row(asked, [table], |row| row.get(0))?;
    Ok(count > 0)
}

/// Something else has the folder's name: the file in it cannot be reached.
fn take_away(folder: &Path) -> Result<()> {
    std::fs::rename(folder, folder.with_extension("away"))?;
    Ok(std::fs::write(folder, "no folder")?)
}

fn bring_back(folder: &Path) -> Result<()> {
    std::fs::remove_file(folder)?;
    Ok(std::fs::rename(folder.with_extension("away"), folder)?)
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
