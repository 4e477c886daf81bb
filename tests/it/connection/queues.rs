//! Queues that are deleted under a running host, and queues that are not for it: declared again where the file lets the
//! host declare them, waited for where others must, refused where they lose messages.

use lapin::types::{AMQPValue, FieldTable};
use millrace_tests::admin::Admin;

use super::*;

const ADMIN: &str = "[host]\nadmin = \"127.0.0.1:0\"\n";
const AGAIN: &str = "declared the queue, which was not there";

fn raw(id: &str, picture: &[u8]) -> Parcel {
    Parcel {
        content_type: Some("image/x-rgb".to_owned()),
        ..Parcel::new(id, picture.to_vec())
    }
}

#[tokio::test]
async fn queues_that_are_deleted_under_a_host_are_declared_again() -> Result<()> {
    let broker = Broker::shared()?;
    let mut run = Run::start(broker, Scene::new(broker)?).await?;
    run.client.delete(&run.scene.results).await?;
    run.send(3).await?;
    run.host.wait_line(PATIENCE, AGAIN)?;
    assert_eq!(run.take(&run.scene.results).await?, 0, "{}", run.host.log());

    run.client.delete(&run.scene.dead).await?;
    run.client
        .publish(&run.scene.input, &Parcel::new("torn", "no picture"))
        .await?;
    run.host.wait_lines(PATIENCE, 2, AGAIN)?;
    let dead = run.client.take_all(&run.scene.dead, 1).await?;
    assert_eq!(dead[0].correlation_id, "torn");

    run.client.delete(&run.scene.results).await?;
    run.n_sent = 0;
    run.send(1).await?;
    run.host
        .wait_line(PATIENCE, "the queue was deleted, with the messages in it")?;
    run.take(&run.scene.results).await?;

    run.client.delete(&run.scene.quarantine_queue()).await?;
    run.host
        .wait_line(PATIENCE, "lost the channel to the quarantine queue")?;
    run.n_sent = 0;
    run.send(1).await?;
    run.take(&run.scene.results).await?;
    assert_eq!(run.host.n_lines("connected to the broker"), 2, "{}", run.host.log());
    run.finish().await
}

#[tokio::test]
async fn the_quarantine_queue_is_declared_again_for_the_message_that_goes_there() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene::new(broker)?;
    let mill = scene.mill()?;
    mill.start_ready()?.stop()?;
    let client = Client::connect(&broker.url()).await?;
    let picture = pictures()?.first().context("no sample")?.raw()?;
    client.publish(&scene.input, &raw("a", &picture)).await?;
    client.give_back_one(&scene.input).await?;
    let gate = mill.path("gate");
    std::fs::write(&gate, "")?;
    let mut host = mill.start_failing(&format!("copy(a)=while:{}", gate.display()))?;
    host.wait_ready()?;
    host.wait_line(
        PATIENCE,
        "messages come again that were in flight when a host ended: each is quarantined and runs alone once",
    )?;
    client.delete(&scene.quarantine_queue()).await?;
    std::fs::remove_file(gate)?;
    let results = client.take_all(&scene.results, 1).await;
    let results = results.with_context(|| host.log())?;
    assert_eq!(results[0].correlation_id, "a");
    host.stop()
}

#[tokio::test]
async fn a_stream_is_refused_by_name_and_so_is_a_queue_that_goes_with_its_consumer() -> Result<()> {
    let broker = Broker::start()?;
    let client = Client::connect(&broker.url()).await?;
    // One who may not declare queues can see a stream, too.
    broker.add_user("reader", "secret")?;
    let url = broker.url_as("reader", "secret");
    let mut stream = FieldTable::default();
    stream.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
    for (kind, words) in [("stream", "is a stream"), ("auto", "when its last consumer leaves")] {
        let scene = Scene {
            source: vec!["type = \"passive\""],
            url: if kind == "stream" { url.clone() } else { broker.url() },
            ..Scene::new(&broker)?
        };
        match kind {
            "stream" => client.declare_classic_with(&scene.input, stream.clone()).await?,
            _ => client.declare_auto_delete(&scene.input).await?,
        }
        for queue in [&scene.results, &scene.dead, &scene.quarantine_queue()] {
            client.declare(queue, QueueKind::Quorum).await?;
        }
        let nothing = Permissions {
            configure: "^$",
            ..Permissions::default()
        };
        broker.permit("reader", nothing)?;
        let mill = scene.mill()?;
        for (verb, code) in [
            (&["run", "plugins.toml"][..], 1),
            (&["check", "--online", "plugins.toml"], 2),
        ] {
            let ended = mill.run(verb)?;
            assert_eq!(ended.code, Some(code), "{kind}: {ended:?}");
            let (queue, said) = (format!("queue `{}`", scene.input), &ended.stderr);
            assert!(said.contains(words) && said.contains(&queue), "{kind}: {ended:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_a_queue_of_others_loses_is_told_and_it_is_used_all_the_same() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene {
        source: vec!["type = \"passive\""],
        ..Scene::new(broker)?
    };
    let client = Client::connect(&broker.url()).await?;
    let mut limits = FieldTable::default();
    limits.insert("x-message-ttl".into(), AMQPValue::LongInt(3_600_000));
    limits.insert("x-expires".into(), AMQPValue::LongInt(7_200_000));
    limits.insert("x-max-length".into(), AMQPValue::LongInt(1000));
    limits.insert("x-queue-mode".into(), AMQPValue::LongString("lazy".into()));
    client.declare_classic_with(&scene.input, limits).await?;
    let parts = [
        "3600000 ms (`x-message-ttl`)",
        "7200000 ms (`x-expires`)",
        "no more than 1000",
    ];
    let checked = scene.mill()?.run(&["check", "--online", "plugins.toml"])?;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let mut run = Run::start(broker, scene).await?;
    let log = run.host.log();
    for part in parts {
        assert!(checked.stderr.contains(part), "no {part:?} in {checked:?}");
        assert!(log.contains(part), "no {part:?} in {log}");
    }
    run.send(3).await?;
    run.take(&run.scene.results).await?;
    run.finish().await
}

#[tokio::test]
async fn what_passes_by_itself_is_waited_for_and_named() -> Result<()> {
    let broker = Broker::start()?;
    let scene = Scene {
        source: vec!["type = \"classic\""],
        tables: ADMIN.to_owned(),
        ..Scene::new(&broker)?
    };
    let client = Client::connect(&broker.url()).await?;
    client.declare(&scene.input, QueueKind::Classic).await?;
    let taker = client.take_exclusively(&scene.input).await?;
    let mill = scene.mill()?;
    let mut host = mill.start()?;
    let admin = Admin::of(&mut host)?;
    let health = admin.wait_ready(503, "waiting for the source: queue `")?;
    assert!(
        health.contains("in exclusive use; another consumer has the queue to itself"),
        "{health}"
    );
    taker.close().await?;
    client.declare(&scene.results, QueueKind::Quorum).await?;
    let picture = pictures()?.first().context("no sample")?.raw()?;
    let client = Client::connect(&broker.url()).await?;
    admin.wait_ready(200, "")?;
    client.publish(&scene.input, &raw("a", &picture)).await?;
    client.take_all(&scene.results, 1).await?;
    host.stop()?;

    // A limit of connections, at the start.
    broker.add_user("few", "secret")?;
    broker.rabbitmqctl(&["set_user_limits", "few", r#"{"max-connections": 0}"#])?;
    let url = broker.url_as("few", "secret");
    let mill = Scene { url, ..scene }.mill()?;
    let mut host = mill.start()?;
    let admin = Admin::of(&mut host)?;
    let health = admin.wait_ready(503, "user connection limit")?;
    assert!(health.contains("set_user_limits"), "{health}");
    broker.rabbitmqctl(&["clear_user_limits", "few", "all"])?;
    admin.wait_ready(200, "")?;
    host.stop()
}
