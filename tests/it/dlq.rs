//! `millrace dlq`: dead letters are looked at without harm, saved as test cases, and put back with what they had.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, DecimalValue, FieldTable};
use millrace_tests::amqp::{Client, Parcel, QueueKind};
use millrace_tests::broker::Broker;
use millrace_tests::host::{Ended, Mill};
use millrace_tests::scene::Scene;
use millrace_tests::unique;
use serde_json::Value;

/// A queue of dead letters and the queue that they came from, without a host.
struct Desk {
    client: Client,
    mill: Mill,
    url: String,
    source: String,
    dead: String,
}

impl Desk {
    async fn new(kind: QueueKind) -> Result<Self> {
        let broker = Broker::shared()?;
        let client = Client::connect(&broker.url()).await?;
        let source = unique("desk");
        let dead = format!("{source}.dead");
        client.declare(&source, QueueKind::Quorum).await?;
        client.declare(&dead, kind).await?;
        Ok(Self {
            client,
            mill: Mill::new("")?,
            url: broker.url(),
            source,
            dead,
        })
    }

    /// `millrace dlq` over the queue.
    fn dlq(&self, arguments: &[&str]) -> Result<Ended> {
        let place = ["--queue", &self.dead, "--amqp", &self.url];
        self.mill.run(&[&["dlq"], arguments, &place].concat())
    }

    /// A dead letter as a host writes it.
    fn dead_letter(&self, id: &str, reason: &str) -> Parcel {
        let original = format!(
            r#"{{"exchange":"","routing_key":"{}","properties":{{"message_id":"{id}"}},"headers":{{}}}}"#,
            self.source
        );
        let facts = [
            ("message-id", id),
            ("reason", reason),
            ("stage", "preprocess"),
            ("text", "no picture"),
            ("queue", &self.source),
            ("original", &original),
        ];
        let headers = facts.map(|(name, value)| (format!("x-millrace-{name}"), value.to_owned()));
        Parcel {
            headers: headers.to_vec(),
            ..Parcel::new(&format!("dead-letter-{id}"), id)
        }
    }
}

fn long(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let entries = entries.iter().map(|(name, value)| ((*name).into(), value.clone()));
    entries.collect::<BTreeMap<_, _>>().into()
}

/// Every type of header that a broker forwards.
fn headers() -> FieldTable {
    table(&[
        ("bool", AMQPValue::Boolean(true)),
        ("i8", AMQPValue::ShortShortInt(-5)),
        ("u8", AMQPValue::ShortShortUInt(200)),
        ("i16", AMQPValue::ShortInt(-5)),
        ("u16", AMQPValue::ShortUInt(60_000)),
        ("i32", AMQPValue::LongInt(-5)),
        ("u32", AMQPValue::LongUInt(4_000_000_000)),
        ("i64", AMQPValue::LongLongInt(i64::MIN)),
        ("f32", AMQPValue::Float(0.1)),
        ("f64", AMQPValue::Double(1e300)),
        (
            "decimal",
            AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 314 }),
        ),
        ("text", long("grün")),
        ("not-utf8", AMQPValue::LongString(vec![0xff, 0].into())),
        ("bytes", AMQPValue::ByteArray(vec![0, 1, 255].into())),
        ("timestamp", AMQPValue::Timestamp(1_700_000_000)),
        ("void", AMQPValue::Void),
        (
            "array",
            AMQPValue::FieldArray(vec![AMQPValue::ShortInt(1), long("a")].into()),
        ),
        (
            "table",
            AMQPValue::FieldTable(table(&[("inner", AMQPValue::LongUInt(7))])),
        ),
    ])
}

#[tokio::test]
async fn what_is_put_back_has_every_property_and_header_it_had() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let mill = scene.mill()?;
    let host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    let mut sent_headers = headers();
    sent_headers.insert("BCC".into(), AMQPValue::FieldArray(vec![long("nowhere")].into()));
    let restored = BasicProperties::default()
        .with_content_type("image/png".into())
        .with_content_encoding("identity".into())
        .with_delivery_mode(1)
        .with_priority(3)
        .with_correlation_id("c-1".into())
        .with_reply_to("answers".into())
        .with_expiration("600000".into())
        .with_message_id("order-7".into())
        .with_timestamp(1_700_000_000)
        .with_type("picture".into())
        .with_app_id("camera".into());
    let sent = restored.clone().with_headers(sent_headers).with_user_id("guest".into());
    client.publish_raw(&scene.input, sent, b"no picture").await?;
    client.wait_count(&scene.dead, 1).await?;
    host.stop()?;

    let listed = mill.run(&["dlq", "ls", "--json"])?;
    let line: Value = serde_json::from_str(listed.stdout.trim()).context(listed.stderr)?;
    assert_eq!(line["message_id"], "order-7", "{line}");
    assert_eq!(line["queue"], scene.input.as_str(), "{line}");
    assert_eq!(line["reason"], "refused", "{line}");
    // The table says why, and not only in which plugin.
    let listed = mill.run(&["dlq", "ls"])?;
    assert!(
        listed.stdout.contains("decode-image@") && listed.stdout.contains("not a PNG"),
        "{listed:?}"
    );
    let ended = mill.run(&["dlq", "requeue", "order-7"])?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("1 message put back"), "{ended:?}");
    assert_eq!(client.count(&scene.dead).await?, 0);
    let mut back = client.drain_raw(&scene.input).await?;
    let back = back.pop().context("nothing came back")?;
    assert_eq!(back.data, b"no picture");
    let mut got: BTreeMap<_, _> = back.properties.headers().clone().unwrap_or_default().inner().clone();
    assert!(got.remove("x-millrace-nonce").is_some(), "{got:?}");
    // The queue's own.
    got.remove("x-delivery-count");
    assert_eq!(FieldTable::from(got), headers());
    let got = back.properties.clone().with_headers(FieldTable::default());
    assert_eq!(got, restored.with_headers(FieldTable::default()));
    Ok(())
}

#[tokio::test]
async fn looking_leaves_dead_letters_in_their_order() -> Result<()> {
    for kind in [QueueKind::Quorum, QueueKind::Classic] {
        let desk = Desk::new(kind).await?;
        let ids: Vec<String> = (10..99).map(|n| n.to_string()).collect();
        let dead_letters = ids.iter().map(|id| desk.dead_letter(id, "refused"));
        desk.client.publish_all(&desk.dead, dead_letters).await?;
        // More often than a broker's usual delivery limit.
        for _ in 0..24 {
            let ended = desk.dlq(&["ls", "--json"])?;
            assert_eq!(ended.stdout.lines().count(), ids.len(), "{kind:?}: {ended:?}");
        }
        desk.dlq(&["show", "17"])?;
        desk.client.wait_count(&desk.dead, 89).await?;
        let left: Vec<String> = desk
            .client
            .drain(&desk.dead)
            .await?
            .iter()
            .map(|it| it.text())
            .collect();
        assert_eq!(left, ids, "{kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_short_look_leaves_every_dead_letter() -> Result<()> {
    let desk = Desk::new(QueueKind::Quorum).await?;
    let dead_letters = (10..30).map(|n| desk.dead_letter(&n.to_string(), "refused"));
    desk.client.publish_all(&desk.dead, dead_letters).await?;
    for _ in 0..5 {
        let ended = desk.dlq(&["ls", "--limit", "3"])?;
        assert_eq!(ended.stdout.lines().count(), 4, "{ended:?}");
        assert!(ended.stderr.contains("17 more dead letters"), "{ended:?}");
    }
    desk.client.wait_count(&desk.dead, 20).await?;
    let mut left: Vec<String> = desk
        .client
        .drain(&desk.dead)
        .await?
        .iter()
        .map(|it| it.text())
        .collect();
    left.sort();
    assert_eq!(left, (10..30).map(|n| n.to_string()).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn requeue_by_reason_takes_only_those() -> Result<()> {
    let desk = Desk::new(QueueKind::Quorum).await?;
    for n in 0..30 {
        let reason = if n % 3 == 0 { "trap" } else { "refused" };
        desk.client
            .publish(&desk.dead, &desk.dead_letter(&format!("{n:02}"), reason))
            .await?;
    }
    let ended = desk.dlq(&["requeue", "--reason", "trap"])?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("20 dead letters left as they were"), "{ended:?}");
    desk.client.wait_count(&desk.dead, 20).await?;
    let mut back: Vec<String> = desk
        .client
        .drain(&desk.source)
        .await?
        .into_iter()
        .map(|it| it.id)
        .collect();
    back.sort();
    let expected: Vec<String> = (0..30).step_by(3).map(|n| format!("{n:02}")).collect();
    assert_eq!(back, expected);
    Ok(())
}

#[tokio::test]
async fn a_requeue_that_is_killed_loses_nothing() -> Result<()> {
    const N_DEAD_LETTERS: u32 = 200;
    let desk = Desk::new(QueueKind::Quorum).await?;
    let dead_letters = (0..N_DEAD_LETTERS).map(|n| desk.dead_letter(&n.to_string(), "refused"));
    desk.client.publish_all(&desk.dead, dead_letters).await?;
    let (mut n_kills, mut back) = (0, BTreeMap::<String, usize>::new());
    loop {
        let before = desk.client.count(&desk.source).await?;
        let arguments = ["dlq", "requeue", "--all", "--queue", &desk.dead, "--amqp", &desk.url];
        let mut requeue = desk.mill.start_with(&arguments)?;
        while requeue.is_running() && desk.client.count(&desk.source).await? < before + 15 {
            tokio::task::yield_now().await;
        }
        match requeue.is_running() {
            // It may have ended since: then the next round finds nothing left.
            true => n_kills += usize::from(requeue.kill().is_ok()),
            false => break,
        }
    }
    for arrival in desk.client.drain(&desk.source).await? {
        *back.entry(arrival.id).or_default() += 1;
    }
    let left = desk.client.drain(&desk.dead).await?.len();
    let n_twice: usize = back.values().map(|n| n - 1).sum();
    ensure!(n_kills >= 3, "killed {n_kills} times only: this showed nothing");
    assert_eq!((back.len(), left), (N_DEAD_LETTERS as usize, 0), "{n_kills} kills");
    // Sixteen are in flight at a time.
    assert!(n_twice <= 16 * n_kills, "{n_twice} came twice after {n_kills} kills");
    Ok(())
}

#[tokio::test]
async fn a_hostile_dead_letter_prints_harmlessly() -> Result<()> {
    let desk = Desk::new(QueueKind::Quorum).await?;
    let evil = "\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\r\n\u{7f}";
    let names = [
        "reason",
        "text",
        "stage",
        "time",
        "plugin",
        "plugin-digest",
        "attempt",
        "queue",
        "original",
        "pipeline",
    ];
    let mut entries: Vec<(String, AMQPValue)> = names.map(|name| (format!("x-millrace-{name}"), long(evil))).into();
    entries.extend((0..300).map(|n| (format!("{n}{evil}"), long(&evil.repeat(10)))));
    entries.push(("huge".to_owned(), long(&"\u{1b}".repeat(40_000))));
    entries.push(("table".to_owned(), AMQPValue::FieldTable(table(&[(evil, long(evil))]))));
    let headers: BTreeMap<_, _> = entries.into_iter().map(|(name, value)| (name.into(), value)).collect();
    let properties = BasicProperties::default()
        .with_message_id(format!("id{evil}").into())
        .with_content_type(evil.into())
        .with_headers(headers.into());
    desk.client
        .publish_raw(&desk.dead, properties, format!("{{{evil}").as_bytes())
        .await?;
    for arguments in [
        &["ls"][..],
        &["ls", "--json"],
        &["show", "id"],
        &["requeue", "--all"],
        &["requeue", "idx"],
    ] {
        let ended = desk.dlq(arguments)?;
        let said = format!("{}{}", ended.stdout, ended.stderr);
        let is_harmless = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(said.chars().all(is_harmless), "{arguments:?}: {said:?}");
        assert!(
            !said.is_empty() && said.len() < 100_000,
            "{arguments:?}: {} bytes",
            said.len()
        );
    }
    desk.client.wait_count(&desk.dead, 1).await
}

#[tokio::test]
async fn a_dead_letter_that_the_broker_wrote_goes_back_to_the_queue_it_names() -> Result<()> {
    let desk = Desk::new(QueueKind::Quorum).await?;
    let short_lived = unique("short-lived");
    let arguments = table(&[
        ("x-message-ttl", AMQPValue::LongInt(0)),
        ("x-dead-letter-exchange", long("")),
        ("x-dead-letter-routing-key", long(&desk.dead)),
    ]);
    desk.client.declare_classic_with(&short_lived, arguments).await?;
    desk.client
        .publish(&short_lived, &Parcel::new("order-1", "a body"))
        .await?;
    desk.client.wait_count(&desk.dead, 1).await?;
    // The queue that it goes back to must keep it now.
    desk.client.delete(&short_lived).await?;
    desk.client.declare(&short_lived, QueueKind::Classic).await?;

    let listed = desk.dlq(&["ls"])?;
    assert!(
        listed.stdout.contains("broker") && listed.stdout.contains("expired"),
        "{listed:?}"
    );
    let shown = desk.dlq(&["show", "order"])?;
    assert!(
        shown.stdout.contains(&format!("came from        {short_lived}")),
        "{shown:?}"
    );
    let ended = desk.dlq(&["requeue", "--all"])?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let back = desk.client.drain(&short_lived).await?;
    assert_eq!(back.len(), 1);
    let back = back.first().context("nothing came back")?;
    assert_eq!(
        (back.id.as_str(), back.text().as_str(), back.header("x-death")),
        ("order-1", "a body", "")
    );
    Ok(())
}

#[tokio::test]
async fn what_nobody_can_place_stays_until_it_is_told_where_to() -> Result<()> {
    let desk = Desk::new(QueueKind::Quorum).await?;
    desk.client.publish(&desk.dead, &Parcel::new("stray", "?")).await?;
    let mut cut = desk.dead_letter("cut", "refused");
    for (name, value) in &mut cut.headers {
        if name == "x-millrace-original" {
            *value = value.replace(
                r#""headers":{}"#,
                r#""headers":{},"cut_headers":2,"cut_names":["b-big"]"#,
            );
        }
    }
    desk.client.publish(&desk.dead, &cut).await?;
    let ended = desk.dlq(&["requeue", "--all"])?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for part in [
        "stray: it does not name the queue",
        "cut: its dead letter lacks some",
        "b-big",
        "--cut-ok",
        "2 dead letters could not",
    ] {
        assert!(
            format!("{}{}", ended.stderr, ended.stdout).contains(part),
            "no {part:?}: {ended:?}"
        );
    }
    desk.client.wait_count(&desk.dead, 2).await?;
    let ended = desk.dlq(&["requeue", "--all", "--to", "no-such-queue", "--cut-ok"])?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    desk.client.wait_count(&desk.dead, 2).await?;
    let ended = desk.dlq(&["requeue", "--all", "--to", &desk.source, "--cut-ok"])?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(desk.client.count(&desk.source).await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_dead_letter_does_not_choose_any_queue_that_its_reader_may_write_to() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let mill = scene.mill()?;
    let client = Client::connect(&broker.url()).await?;
    client.declare(&scene.dead, QueueKind::Quorum).await?;
    let desk = Desk::new(QueueKind::Quorum).await?;
    client
        .publish(&scene.dead, &desk.dead_letter("forged", "refused"))
        .await?;
    let ended = mill.run(&["dlq", "requeue", "--all"])?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("not a source in the file"), "{ended:?}");
    assert_eq!(
        (client.count(&desk.source).await?, client.count(&scene.dead).await?),
        (0, 1)
    );
    Ok(())
}

#[tokio::test]
async fn the_beginning_of_an_id_is_enough_where_it_is_only_ones() -> Result<()> {
    let desk = Desk::new(QueueKind::Quorum).await?;
    for id in ["order-1", "order-17", "sale-2"] {
        desk.client
            .publish(&desk.dead, &desk.dead_letter(id, "refused"))
            .await?;
    }
    let ended = desk.dlq(&["show", "order"])?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("order-1") && ended.stderr.contains("order-17"),
        "{ended:?}"
    );
    for (id, expected) in [
        ("order-1", "order-1"),
        ("order-17", "order-17"),
        ("sa", "sale-2"),
        ("dead-letter-sale", "sale-2"),
    ] {
        let ended = desk.dlq(&["show", id])?;
        assert!(
            ended.stdout.contains(&format!("message          {expected}\n")),
            "{id}: {ended:?}"
        );
    }
    let ended = desk.dlq(&["show", "nobody"])?;
    assert!(
        ended.code == Some(1) && ended.stderr.contains("no dead letter \"nobody\""),
        "{ended:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_saved_dead_letter_is_a_complete_case() -> Result<()> {
    let desk = Desk::new(QueueKind::Quorum).await?;
    let mut dead_letter = desk.dead_letter("order-1", "refused");
    for (name, value) in &mut dead_letter.headers {
        if name == "x-millrace-original" {
            *value = value.replace(
                r#""headers":{}"#,
                r#""headers":{"colour":"red","n":{"i32":5},"t":{"table":{}}}"#,
            );
        }
    }
    dead_letter.body = b"{\"a\": 1}".to_vec();
    desk.client.publish(&desk.dead, &dead_letter).await?;
    let ended = desk.dlq(&["save", "order-1", "cases/first"])?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(desk.mill.files("cases/first"), ["body.json", "case.json"]);
    assert_eq!(
        std::fs::read(desk.mill.path("cases/first/body.json"))?,
        dead_letter.body
    );
    let case: Value = serde_json::from_slice(&std::fs::read(desk.mill.path("cases/first/case.json"))?)?;
    assert_eq!(case["body"], "body.json");
    assert_eq!(case["message"]["id"], "order-1");
    assert_eq!(case["message"]["key"], desk.source.as_str());
    assert_eq!(
        case["message"]["headers"],
        serde_json::json!([["colour", "red"], ["n", "5"]])
    );
    assert_eq!(case["dead_letter"]["reason"], "refused");
    assert_eq!(case["expect"], serde_json::json!({ "outcome": "processed" }));
    assert_eq!(case["original"]["headers"]["n"]["i32"], 5);
    let ended = desk.dlq(&["save", "order-1", "cases/first"])?;
    assert!(
        ended.code == Some(1) && ended.stderr.contains("has a case already"),
        "{ended:?}"
    );
    desk.client.wait_count(&desk.dead, 1).await
}

#[test]
fn dead_letters_in_a_folder_are_listed_shown_saved_and_put_back() -> Result<()> {
    let mill = crate::folder::mill()?;
    for name in ["a.png", "b.png"] {
        std::fs::write(mill.path("inbox").join(name), format!("no picture {name}"))?;
    }
    let ended = mill.run(&["run", "plugins.toml", "--once"])?;
    assert_eq!(mill.files("inbox/dead").len(), 4, "{ended:?}");

    let listed = mill.run(&["dlq", "ls", "--json"])?;
    let lines: Vec<Value> = listed
        .stdout
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    assert_eq!(lines.len(), 2, "{listed:?}");
    let first = lines.first().context("no line")?;
    assert_eq!((&first["file"], &first["reason"]), (&"a.png".into(), &"refused".into()));
    let shown = mill.run(&["dlq", "show", "a.png"])?;
    assert!(shown.stdout.contains("no picture a.png"), "{shown:?}");
    let saved = mill.run(&["dlq", "save", "a.png", "case"])?;
    assert_eq!(mill.files("case"), ["body.png", "case.json"], "{saved:?}");
    let case: Value = serde_json::from_slice(&std::fs::read(mill.path("case/case.json"))?)?;
    assert_eq!(
        (&case["message"]["key"], &case["message"]["source"]),
        (&"a.png".into(), &"inbox".into())
    );

    // Another file has the name: nothing is replaced.
    std::fs::write(mill.path("inbox/b.png"), "another")?;
    let ended = mill.run(&["dlq", "requeue", "--reason", "refused"])?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("waits in the inbox already"), "{ended:?}");
    assert_eq!(mill.files("inbox"), ["a.png", "b.png"]);
    assert_eq!(std::fs::read(mill.path("inbox/b.png"))?, b"another");
    assert_eq!(mill.files("inbox/dead"), ["b.png", "b.png.reason.json"]);
    Ok(())
}

#[test]
fn dead_letters_of_files_with_equal_content_are_told_apart_by_their_files() -> Result<()> {
    let mill = crate::folder::mill()?;
    let names = ["a.png", "b.png", "c.png"];
    for name in names {
        std::fs::write(mill.path("inbox").join(name), "no picture")?;
    }
    let ended = mill.run(&["run", "plugins.toml", "--once"])?;
    assert_eq!(mill.files("inbox/dead").len(), 6, "{ended:?}");
    let listed = mill.run(&["dlq", "ls"])?;
    let files = |text: &str| {
        let files = text.lines().filter_map(|line| line.split_whitespace().next());
        files.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(files(&listed.stdout), ["FILE", "a.png", "b.png", "c.png"], "{listed:?}");

    let json = mill.run(&["dlq", "ls", "--json"])?;
    let first: Value = serde_json::from_str(json.stdout.lines().next().context("no line")?)?;
    let id = first["message_id"].as_str().context("no id")?;
    for verb in [&["requeue", id][..], &["show", id], &["save", id, "case"]] {
        let ended = mill.run(&[&["dlq"], verb].concat())?;
        assert_eq!(ended.code, Some(1), "{verb:?}: {ended:?}");
        let is_listed = |name: &&str| ended.stderr.contains(&format!("file {name}, dead letter "));
        assert!(names.iter().all(is_listed), "{verb:?}: {ended:?}");
        assert_eq!(mill.files("inbox/dead").len(), 6, "{verb:?}");
    }
    let ended = mill.run(&["dlq", "requeue", "b.png"])?;
    assert!(
        ended.code == Some(0) && ended.stdout.contains("1 message put back into the inbox"),
        "{ended:?}"
    );
    assert_eq!(mill.files("inbox"), ["b.png"]);
    assert_eq!(mill.files("inbox/dead").len(), 4);
    Ok(())
}

#[tokio::test]
async fn ctrl_c_ends_a_requeue_with_nothing_lost() -> Result<()> {
    let desk = Desk::new(QueueKind::Quorum).await?;
    let n_dead_letters = 2000;
    let dead_letters = (0..n_dead_letters).map(|n| desk.dead_letter(&n.to_string(), "refused"));
    desk.client.publish_all(&desk.dead, dead_letters).await?;
    let arguments = ["dlq", "requeue", "--all", "--queue", &desk.dead, "--amqp", &desk.url];
    let requeue = desk.mill.start_with(&arguments)?;
    while desk.client.count(&desk.source).await? == 0 {
        tokio::task::yield_now().await;
    }
    requeue.interrupt()?;
    let status = requeue.wait_end()?;
    assert_eq!(status.code(), Some(1));
    let back = desk.client.drain(&desk.source).await?.len();
    let left = desk.client.drain(&desk.dead).await?.len();
    assert!(back > 0 && left > 0, "{back} came back and {left} stayed");
    // What was in flight was finished: nothing is in both.
    assert_eq!(back + left, n_dead_letters);
    Ok(())
}
