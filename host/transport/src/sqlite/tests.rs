//! Hosts that share a table: what one leaves, another finds; and rows as strangers write them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::destination::TableDestination;
use super::file::File;
use super::keys::{Done, TableSourceConfig};
use super::source::TableSource;
use crate::config::Name;
use crate::disposition::{Disposition, Reason, ReasonClass, Stage};
use crate::message::{Envelope, Message, Outbound};
use crate::{Delivery, Destination as _, Hold, Quarantine, Settled, Settlement, Source as _, Until};

const PATIENCE: Duration = Duration::from_secs(30);
/// Two seconds is the shortest lease of a file; tests have less time.
const LEASE: Duration = Duration::from_millis(300);

struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(bench.folder.path().join("a.db"), "").unwrap();
        bench
    }

    fn config(&self, done: Done) -> TableSourceConfig {
        TableSourceConfig {
            file: self.folder.path().join("a.db"),
            table: "images".to_owned(),
            dead: None,
            done,
            prefetch: 8,
            lease: LEASE,
            poll: Duration::from_millis(5),
        }
    }

    async fn open(&self, done: Done, until: Until) -> TableSource {
        let name = Name::new("images").unwrap();
        TableSource::open(&self.config(done), &name, 1_000, until)
            .await
            .unwrap()
    }

    async fn host(&self) -> TableSource {
        self.open(Done::Delete, Until::Stopped).await
    }

    fn sql(&self) -> Connection {
        let connection = Connection::open(self.folder.path().join("a.db")).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        connection
    }

    fn put(&self, id: &str, headers: &str) {
        let insert = "INSERT INTO images (id, body, headers) VALUES (nullif(?1, ''), x'0102', nullif(?2, ''))";
        self.sql().execute(insert, params![id, headers]).unwrap();
    }

    fn count(&self, sql: &str) -> u32 {
        self.sql().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

async fn next(source: &mut TableSource) -> Delivery {
    let next = tokio::time::timeout(PATIENCE, source.next()).await;
    next.expect("in time").expect("no error").expect("not the end")
}

async fn settle(delivery: Delivery, disposition: Disposition) -> Settled {
    let hold = Hold::new("images", CancellationToken::new(), Duration::from_secs(1));
    let message = delivery.message;
    let settlement = Settlement {
        disposition: &disposition,
        otherwise: &Disposition::Return,
        message: &message,
        results: &[],
        hold: &hold,
        dead_letter: &|reason| Envelope {
            message_id: "letter".to_owned(),
            headers: [("x-millrace-reason".into(), reason.class.to_string())].into(),
            ..Envelope::default()
        },
    };
    delivery.ack.settle(settlement).await
}

fn reason() -> Reason {
    Reason {
        stage: Stage::Preprocess,
        class: ReasonClass::Refused,
        text: "no".to_owned(),
        plugin: None,
    }
}

/// Ends a host as a kill does: nothing of it is settled or given back.
fn kill(source: TableSource, deliveries: Vec<Delivery>) {
    source.stop_keeping();
    std::mem::forget(deliveries);
    std::mem::forget(source);
}

#[tokio::test]
async fn a_killed_hosts_rows_come_back_when_its_lease_is_over_and_are_counted() {
    let bench = Bench::new();
    let mut first = bench.host().await;
    bench.put("a", "");
    let taken = next(&mut first).await;
    assert_eq!((taken.message.redelivered, taken.quarantine), (false, Quarantine::None));
    let mut second = bench.host().await;
    kill(first, vec![taken]);
    let again = next(&mut second).await;
    assert_eq!(again.quarantine, Quarantine::Due { crash_count: 1 });
    assert!(again.message.redelivered && again.message.attempt == 1);
    assert_eq!(
        settle(again, Disposition::Quarantine { crash_count: 1 }).await,
        Settled::Done
    );
    let isolation = crate::isolation::IsolationLock::default();
    let alone = isolation.exclusive().await;
    let mut queue = second.quarantine().expect("it has one");
    tokio::time::timeout(PATIENCE, queue.waiting()).await.expect("in time");
    let inside = queue.take(&alone).await.expect("it waits there");
    assert_eq!(inside.quarantine, Quarantine::Inside { crash_count: 1 });
    kill(second, vec![inside]);
    let third = bench.host().await;
    let mut queue = third.quarantine().expect("it has one");
    tokio::time::timeout(PATIENCE, queue.waiting()).await.expect("in time");
    let due = queue.take(&alone).await.expect("it waits there");
    assert_eq!(due.quarantine, Quarantine::Due { crash_count: 2 });
    assert_eq!(settle(due, Disposition::Reject(reason())).await, Settled::Done);
    assert_eq!(bench.count("SELECT count(*) FROM images"), 0);
    assert_eq!(bench.count("SELECT count(*) FROM images_claims"), 0);
    assert_eq!(
        bench.count("SELECT count(*) FROM images_dead WHERE message_id = 'a'"),
        1
    );
}

#[tokio::test]
async fn a_host_whose_lease_was_over_settles_nothing_that_is_anothers() {
    let bench = Bench::new();
    let mut first = bench.host().await;
    bench.put("a", "");
    let taken = next(&mut first).await;
    first.stop_keeping();
    let mut second = bench.host().await;
    let again = next(&mut second).await;
    assert!(matches!(settle(taken, Disposition::Ack).await, Settled::Lost(_)));
    assert_eq!(bench.count("SELECT count(*) FROM images"), 1);
    assert_eq!(settle(again, Disposition::Ack).await, Settled::Done);
    assert_eq!(bench.count("SELECT count(*) FROM images"), 0);
}

#[tokio::test]
async fn one_of_several_goes_back_and_a_retry_is_counted() {
    let bench = Bench::new();
    let mut host = bench.host().await;
    ["a", "b"].iter().for_each(|id| bench.put(id, ""));
    let (first, second) = (next(&mut host).await, next(&mut host).await);
    assert_eq!(settle(second, Disposition::Return).await, Settled::Returned);
    let again = next(&mut host).await;
    assert_eq!(
        (again.message.id.as_str(), again.message.attempt, again.quarantine),
        ("b", 1, Quarantine::None)
    );
    assert_eq!(settle(again, Disposition::Retry(reason())).await, Settled::Done);
    let retried = next(&mut host).await;
    assert_eq!((retried.message.id.as_str(), retried.message.attempt), ("b", 2));
    assert_eq!(settle(first, Disposition::Ack).await, Settled::Done);
}

#[tokio::test]
async fn rows_that_are_done_stay_where_they_are_to_be_kept_and_a_run_ends() {
    let bench = Bench::new();
    drop(bench.host().await);
    bench.put("", "");
    let mut host = bench.open(Done::Keep, Until::Empty).await;
    let delivery = next(&mut host).await;
    assert_eq!(delivery.message.id, "images-1");
    assert_eq!(settle(delivery, Disposition::Ack).await, Settled::Done);
    let ended = tokio::time::timeout(PATIENCE, host.next()).await.expect("in time");
    assert!(ended.unwrap().is_none());
    assert_eq!(bench.count("SELECT count(*) FROM images"), 1);
    assert_eq!(
        bench.count("SELECT count(*) FROM images_claims WHERE phase = 'done'"),
        1
    );
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_malformed_and_keeps_its_neighbours() {
    let bench = Bench::new();
    let mut host = bench.host().await;
    let long = "n".repeat(256);
    let deep = format!("{{\"a\": {}}}", "[".repeat(60_000));
    let rows: [(&str, &str, Option<&str>); 7] = [
        ("plain", "{\"colour\": \"red\", \"n\": 1, \"nothing\": null}", None),
        (&long, "", Some("`id` is too long")),
        ("text", "colour", Some("no JSON object")),
        ("list", "[]", Some("no JSON object")),
        ("deep", &deep, Some("no JSON object")),
        ("late", "{\"x-millrace-deadline\": \"soon\"}", Some("no deadline")),
        ("last", "", None),
    ];
    rows.iter().for_each(|(id, headers, _)| bench.put(id, headers));
    for (id, _, why) in rows {
        let delivery = next(&mut host).await;
        match (why, &delivery.malformed) {
            (None, None) => assert_eq!(delivery.message.id, id),
            (Some(why), Some(text)) => assert!(text.contains(why) && delivery.message.body.is_empty(), "{id}: {text}"),
            (_, found) => panic!("{id}: {found:?}"),
        }
        if id == "plain" {
            let headers = [("colour", "red"), ("n", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(delivery.message.headers, headers);
        }
        settle(delivery, Disposition::Ack).await;
    }
}

fn pending(file: &Path, id: &str) -> crate::PendingOutput {
    let outbound = Outbound {
        destination: "results".to_owned(),
        key: None,
        body: b"a result".to_vec(),
        content_type: None,
        headers: Vec::new(),
    };
    let envelope = Envelope {
        message_id: id.to_owned(),
        ..Envelope::default()
    };
    let destination = TableDestination::new(File::of(file).unwrap(), "results");
    destination.address(&Message::default(), outbound, 0, envelope).unwrap()
}

#[tokio::test]
async fn a_result_is_there_once_and_a_file_that_is_replaced_is_opened_anew() {
    let bench = Bench::new();
    let file = bench.folder.path().join("a.db");
    let count = || bench.count("SELECT count(*) FROM results");
    for id in ["a", "a", "b"] {
        pending(&file, id).send().await.unwrap();
    }
    assert_eq!(count(), 2);
    let held = pending(&file, "c");
    pending(&file, "b").send().await.unwrap();
    std::fs::rename(&file, bench.folder.path().join("away.db")).unwrap();
    assert!(
        held.send().await.is_err(),
        "a result in a file that is away was confirmed"
    );
    std::fs::write(&file, "").unwrap();
    held.send().await.unwrap();
    assert_eq!(count(), 1);
}

#[tokio::test]
async fn a_table_that_is_not_fit_for_results_is_told_at_the_start() {
    let rows = [
        ("id TEXT PRIMARY KEY, correlation_id, content_type, headers, body", ""),
        (
            "id TEXT, correlation_id, content_type, headers, body",
            "make `id` its primary key",
        ),
        (
            "id TEXT PRIMARY KEY, correlation_id, headers, body",
            "has no column `content_type`",
        ),
    ];
    for (columns, expected) in rows {
        let bench = Bench::new();
        bench
            .sql()
            .execute_batch(&format!("CREATE TABLE results ({columns})"))
            .unwrap();
        let file = File::of(&bench.folder.path().join("a.db")).unwrap();
        let prepared = TableDestination::new(file, "results").prepare().await;
        let told = prepared.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(
            told.contains(expected) && told.is_empty() == expected.is_empty(),
            "{columns}: {told}"
        );
    }
}

#[tokio::test]
async fn work_that_fails_leaves_that_of_others_in_its_transaction() {
    let bench = Bench::new();
    let file = Arc::new(File::of(&bench.folder.path().join("a.db")).unwrap());
    let make = file.write("make", |connection| {
        connection.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    });
    make.await.unwrap();
    let inserts = [1, 2, 1, 3].map(|n| {
        let file = Arc::clone(&file);
        async move {
            let insert = file.write("insert", move |connection| {
                connection.execute("INSERT INTO t VALUES (?1)", [n])
            });
            insert.await.is_ok()
        }
    });
    let done = futures_util::future::join_all(inserts).await;
    assert_eq!(done, [true, true, false, true]);
    assert_eq!(bench.count("SELECT count(*) FROM t"), 3);
}
