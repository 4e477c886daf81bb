//! What becomes of a message at RabbitMQ, beyond what every transport is asked for in `conformance`.
//!
//! | what happened | test |
//! |---|---|
//! | every row for every transport | `conformance::settlement`, `fan_out`, `retries`, `stopping`, `outages` |
//! | past its deadline, in whatever notation | `a_message_past_its_deadline_is_rejected_before_it_is_worked_on` |
//! | every fault of a plugin | `hostile::every_fault_of_a_preprocessor_is_a_dead_letter_that_names_it` |
//! | a full queue, an unbound exchange | `a_full_queue_of_results_..`, `an_exchange_without_a_binding_..` |
//! | held too long | `transport::hold::tests` |
//! | the drain is over, again and again, while a message is held | `what_a_drain_returns_is_not_counted` |
//! | the source cannot be told | `an_acknowledgement_that_cannot_be_given_is_told` |

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lapin::types::{AMQPValue, FieldTable};
use millrace_tests::amqp::{Client, Parcel, QueueKind};
use millrace_tests::broker::Broker;
use millrace_tests::oracle::{Oracle, Verdict};
use millrace_tests::samples::pictures;
use millrace_tests::scene::{Plugin, Scene};
use millrace_tests::{PATIENCE, unique};

const HOLDING: &str = "holding: the pipeline receives no messages until this succeeds";

fn parcel(id: &str) -> Result<Parcel> {
    let samples = pictures()?;
    let sample = samples.first().context("no sample")?;
    Ok(Parcel {
        content_type: Some("image/x-rgb".to_owned()),
        ..Parcel::new(id, sample.raw()?)
    })
}

async fn publish(client: &Client, scene: &Scene, n: u32) -> Result<Oracle> {
    let mut oracle = Oracle::default();
    let like = parcel("")?;
    let parcels = (0..n).map(|n| {
        oracle.attempt(&n.to_string());
        Parcel {
            id: Some(n.to_string()),
            ..like.clone()
        }
    });
    client.publish_all(&scene.input, parcels).await?;
    oracle.confirmed.clone_from(&oracle.attempted);
    Ok(oracle)
}

/// Every message has exactly one result, and nothing is left anywhere.
async fn finished(client: &Client, scene: &Scene, oracle: &mut Oracle) -> Result<()> {
    scene.gather(client, oracle).await?;
    assert_eq!(oracle.judge(), Verdict::default());
    assert_eq!(oracle.results.len(), oracle.confirmed.len(), "{oracle:?}");
    assert!(oracle.dead.is_empty() && oracle.waiting.is_empty(), "{oracle:?}");
    Ok(())
}

async fn wait_for_count(client: &Client, queue: &str, n: u32) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while client.count(queue).await? < n {
        ensure!(tokio::time::Instant::now() < deadline, "no {n} messages in `{queue}`");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_full_queue_of_results_holds_everything_and_goes_on_by_itself() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let client = Client::connect(&broker.url()).await?;
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(1));
    full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    client.declare_classic_with(&scene.results, full).await?;
    let mill = scene.mill()?;
    let mut host = mill.start_ready()?;
    let mut oracle = publish(&client, &scene, 20).await?;
    host.wait_line(PATIENCE, HOLDING)?;
    assert_eq!(client.count(&scene.dead).await?, 0);
    for result in client.take_all(&scene.results, 20).await? {
        oracle.result(&result.correlation_id);
    }
    host.wait_line(PATIENCE, "no message is held any more")?;
    host.stop()?;
    finished(&client, &scene, &mut oracle).await
}

#[tokio::test]
async fn an_exchange_without_a_binding_holds_everything_and_goes_on_by_itself() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let key = unique("key");
    let scene = Scene {
        route: Plugin::with_settings("by-label", "default = \"bound\"")?,
        tables: format!("[pipeline.images.destination.bound]\nexchange = \"amq.direct\"\nrouting_key = \"{key}\"\n"),
        ..scene
    };
    let mill = scene.mill()?;
    let mut host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    let mut oracle = publish(&client, &scene, 20).await?;
    host.wait_line(PATIENCE, HOLDING)?;
    assert_eq!(client.count(&scene.dead).await?, 0);
    client.bind(&scene.results, "amq.direct", &key).await?;
    wait_for_count(&client, &scene.results, 20).await?;
    host.stop()?;
    finished(&client, &scene, &mut oracle).await
}

#[tokio::test]
async fn a_message_past_its_deadline_is_rejected_before_it_is_worked_on() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let mill = scene.mill()?;
    let host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    let rows = [
        ("past", "2020-01-01T00:00:00+01:00", "expired"),
        ("long-past", "0", "expired"),
        ("in-seconds", "1900000000", "expired"),
        ("unreadable", "tomorrow", "malformed"),
        ("future", "2999-01-01T00:00:00Z", ""),
    ];
    for (id, deadline, _) in rows {
        let headers = vec![("x-millrace-deadline".to_owned(), deadline.to_owned())];
        let parcel = Parcel { headers, ..parcel(id)? };
        client.publish(&scene.input, &parcel).await?;
    }
    let dead_letters = client.take_all(&scene.dead, 4).await?;
    for (id, _, class) in rows.iter().filter(|(.., class)| !class.is_empty()) {
        let dead_letter = dead_letters
            .iter()
            .find(|dead_letter| dead_letter.correlation_id == *id)
            .context(*id)?;
        assert_eq!(dead_letter.header("x-millrace-reason"), *class, "{dead_letter:?}");
        assert_eq!(dead_letter.header("x-millrace-stage"), "receive", "{dead_letter:?}");
        let is_hinted = dead_letter.header("x-millrace-text").contains("meant in seconds");
        assert_eq!(is_hinted, *id == "in-seconds", "{dead_letter:?}");
    }
    let results = client.take_all(&scene.results, 1).await?;
    assert!(results.iter().all(|result| result.correlation_id == "future"));
    host.stop()
}

#[tokio::test]
async fn messages_without_an_id_or_with_the_same_have_results_of_their_own() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let mill = scene.mill()?;
    let host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    let samples = pictures()?;
    let [first, second, ..] = samples.as_slice() else {
        anyhow::bail!("no two samples")
    };
    for id in [None, Some("twice".to_owned())] {
        for body in [&first.png, &second.png] {
            let parcel = Parcel {
                id: id.clone(),
                ..Parcel::new("", body.clone())
            };
            client.publish(&scene.input, &parcel).await?;
        }
    }
    let results = client.take_all(&scene.results, 4).await?;
    let mut ids: Vec<&str> = results.iter().map(|result| result.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4, "{results:?}");
    host.stop()
}

#[tokio::test]
async fn what_a_drain_returns_is_not_counted() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene {
        tables: "[host]\ndrain = \"1s\"\n".to_owned(),
        pipeline: "attempts = 1",
        ..Scene::new(broker)?
    };
    // Others own the queue of results: the host does not declare it again.
    let mill = scene.mill_with_foreign_results()?;
    let client = Client::connect(&broker.url()).await?;
    client.declare(&scene.results, QueueKind::Quorum).await?;
    mill.start_ready()?.stop()?;
    let mut oracle = publish(&client, &scene, 1).await?;
    for _ in 0..3 {
        let mut host = mill.start_failing("preprocess=while:gate")?;
        std::fs::write(mill.path("gate"), "")?;
        host.wait_ready()?;
        client.delete(&scene.results).await?;
        std::fs::remove_file(mill.path("gate"))?;
        host.wait_line(PATIENCE, HOLDING)?;
        host.terminate()?;
        assert_eq!(host.wait_end()?.code(), Some(3), "the drain did not cut it off");
        client.declare(&scene.results, QueueKind::Quorum).await?;
    }
    let host = mill.start_ready()?;
    wait_for_count(&client, &scene.results, 1).await?;
    host.stop()?;
    finished(&client, &scene, &mut oracle).await
}

#[tokio::test]
async fn an_acknowledgement_that_cannot_be_given_is_told() -> Result<()> {
    let broker = Broker::start()?;
    let scene = Scene::new(&broker)?;
    let mill = scene.mill()?;
    std::fs::write(mill.path("gate"), "")?;
    let mut host = mill.start_failing("confirmed=while:gate@1")?;
    host.wait_ready()?;
    let client = Client::connect(&broker.url()).await?;
    broker.remember_queues()?;
    client.publish(&scene.input, &parcel("a")?).await?;
    wait_for_count(&client, &scene.results, 1).await?;
    broker.restart()?;
    let client = Client::connect(&broker.url()).await?;
    let results = client.take_all(&scene.results, 2).await?;
    std::fs::remove_file(mill.path("gate"))?;
    host.wait_line(
        PATIENCE,
        "acknowledgement failed: the message comes again from its source or its client, and its results keep their ids",
    )?;
    let [first, second] = results.as_slice() else {
        anyhow::bail!("{results:?}")
    };
    assert_eq!(first.id, second.id);
    host.stop()
}
