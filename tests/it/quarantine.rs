//! Messages that crash hosts: alone they are found out, and their neighbours never pay for them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millrace_tests::amqp::{Client, Parcel, QueueKind};
use millrace_tests::broker::Broker;
use millrace_tests::host::{Host, Mill};
use millrace_tests::oracle::Oracle;
use millrace_tests::samples::pictures;
use millrace_tests::scene::Scene;
use millrace_tests::{PATIENCE, wait_for};

const POISON: &str = "poison";
/// The host dies when it begins to work on the poison, which no sandbox could do to it.
const DEADLY: &str = "preprocess(poison)=abort";
const CLASSIC: [&str; 1] = ["type = \"classic\""];

fn parcels(ids: impl IntoIterator<Item = String>) -> Result<Vec<Parcel>> {
    let samples = pictures()?;
    let sample = samples.first().context("no sample")?;
    let body = sample.raw()?;
    let parcels = ids.into_iter().map(|id| Parcel {
        content_type: Some("image/x-rgb".to_owned()),
        ..Parcel::new(&id, body.clone())
    });
    Ok(parcels.collect())
}

/// Innocent messages with the poison among them.
async fn publish(client: &Client, scene: &Scene, n: u32) -> Result<Oracle> {
    let mut oracle = Oracle::default();
    let ids: Vec<String> = (0..n)
        .map(|n| if n == 10 { POISON.to_owned() } else { n.to_string() })
        .collect();
    ids.iter().for_each(|id| oracle.attempt(id));
    client.publish_all(&scene.input, parcels(ids)?).await?;
    oracle.confirmed.clone_from(&oracle.attempted);
    Ok(oracle)
}

/// The poison alone is a dead letter, after this many crashes; every other message has its result.
async fn judge(client: &Client, scene: &Scene, oracle: &mut Oracle, n_crashes: u32) -> Result<()> {
    let dead_letters = client.drain(&scene.dead).await?;
    let [dead_letter] = dead_letters.as_slice() else {
        anyhow::bail!("not one dead letter: {dead_letters:?}")
    };
    oracle.dead_letter(&dead_letter.correlation_id);
    assert_eq!(
        (
            dead_letter.correlation_id.as_str(),
            dead_letter.header("x-millrace-reason")
        ),
        (POISON, "attempts-spent")
    );
    let text = dead_letter.header("x-millrace-text");
    assert!(text.contains(&format!("a host crashed {n_crashes} times")), "{text}");
    // Each try ended in a crash.
    assert!(
        text.contains(&format!("{n_crashes} attempts were made, and ")),
        "{text}"
    );
    assert_eq!(dead_letter.header("x-millrace-attempt"), n_crashes.to_string());
    scene.gather(client, oracle).await?;
    let verdict = oracle.judge();
    assert_eq!((verdict.lost.len(), verdict.unexpected.len()), (0, 0), "{verdict}");
    assert!(
        !oracle.results.contains_key(POISON) && oracle.waiting.is_empty(),
        "{oracle:?}"
    );
    assert_eq!(oracle.results.len() + 1, oracle.confirmed.len());
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

/// Hosts crash by the poison until its attempts are spent; the one after them dead-letters it and finishes everything else.
async fn dies(attempts: &'static str, source: &[&'static str], n_crashes: u32) -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene {
        pipeline: attempts,
        source: source.to_vec(),
        ..Scene::new(broker)?
    };
    let mill = scene.mill()?;
    mill.start_ready()?.stop()?;
    let client = Client::connect(&broker.url()).await?;
    let mut oracle = publish(&client, &scene, 100).await?;
    for crash in 1..=n_crashes {
        let status = mill.start_failing(DEADLY)?.wait_end()?;
        ensure!(status.code().is_none(), "crash {crash}: the host ended with {status}");
    }
    let host = mill.start_failing(DEADLY)?;
    wait_for_count(&client, &scene.dead, 1)
        .await
        .with_context(|| host.log())?;
    wait_for_count(&client, &scene.results, 99)
        .await
        .with_context(|| host.log())?;
    host.stop()?;
    judge(&client, &scene, &mut oracle, n_crashes).await
}

#[tokio::test]
async fn one_attempt_is_spent_when_a_crash_alone_proves_the_first() -> Result<()> {
    dies("attempts = 1", &[], 2).await
}

#[tokio::test]
async fn a_classic_queue_finds_its_poison_too() -> Result<()> {
    dies("attempts = 2", &CLASSIC, 2).await
}

/// Puts messages where an older host quarantined them, with the header that it counted a crash in.
async fn leave_behind(client: &Client, scene: &Scene, ids: &[&str]) -> Result<()> {
    let former = scene.former_quarantine_queue();
    client.declare(&former, QueueKind::Quorum).await?;
    let left = parcels(ids.iter().map(|id| (*id).to_owned()))?;
    let left = left.into_iter().map(|parcel| Parcel {
        headers: vec![
            ("x-millrace-suspect".to_owned(), "1".to_owned()),
            // As its publisher may have sent it: an older host copies it, and it counts nothing.
            ("x-millrace-crash-count".to_owned(), "1000".to_owned()),
        ],
        ..parcel
    });
    client.publish_all(&former, left).await
}

#[tokio::test]
async fn messages_that_an_older_host_quarantined_run_alone_and_their_crashes_count() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene {
        pipeline: "attempts = 2",
        ..Scene::new(broker)?
    };
    let mill = scene.mill()?;
    mill.start_ready()?.stop()?;
    let client = Client::connect(&broker.url()).await?;
    leave_behind(&client, &scene, &["innocent", POISON]).await?;
    let mut oracle = publish(&client, &scene, 10).await?;
    for id in ["innocent", POISON] {
        oracle.attempt(id);
    }
    oracle.confirmed.clone_from(&oracle.attempted);
    // The crash that the older host counted, and this one, which it runs alone.
    let status = mill.start_failing(DEADLY)?.wait_end()?;
    ensure!(status.code().is_none(), "the host ended with {status}");
    let mut host = mill.start_failing(DEADLY)?;
    host.wait_line(PATIENCE, "found the quarantine queue of older hosts")?;
    wait_for_count(&client, &scene.dead, 1)
        .await
        .with_context(|| host.log())?;
    wait_for_count(&client, &scene.results, 11)
        .await
        .with_context(|| host.log())?;
    // During a rolling upgrade an older host puts messages there at any time.
    leave_behind(&client, &scene, &["late"]).await?;
    wait_for_count(&client, &scene.results, 12)
        .await
        .with_context(|| host.log())?;
    oracle.attempt("late");
    oracle.confirmed.clone_from(&oracle.attempted);
    host.stop()?;
    assert_eq!(client.count(&scene.former_quarantine_queue()).await?, 0);
    judge(&client, &scene, &mut oracle, 2).await
}

/// Starts a host in the place of each that died; gives how many did.
fn replace_the_dead(mill: &Mill, hosts: &mut [Host]) -> Result<u32> {
    let mut n_dead = 0;
    for host in hosts {
        if host.has_ended()? {
            *host = mill.start_failing(DEADLY)?;
            n_dead += 1;
        }
    }
    Ok(n_dead)
}

#[tokio::test]
async fn two_hosts_dead_letter_the_poison_between_them() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene {
        pipeline: "attempts = 2",
        ..Scene::new(broker)?
    };
    let mill = scene.mill()?;
    mill.start_ready()?.stop()?;
    let client = Client::connect(&broker.url()).await?;
    let mut oracle = publish(&client, &scene, 100).await?;
    let mut hosts = [mill.start_failing(DEADLY)?, mill.start_failing(DEADLY)?];
    let (mut n_dead, deadline) = (0, tokio::time::Instant::now() + 2 * PATIENCE);
    while client.count(&scene.dead).await? < 1 || client.count(&scene.results).await? < 99 {
        ensure!(
            tokio::time::Instant::now() < deadline,
            "after {n_dead} crashes: {}",
            hosts[0].log()
        );
        n_dead += replace_the_dead(&mill, &mut hosts)?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The last of them may have died after it was looked for, and the other have dead-lettered its message.
    n_dead += replace_the_dead(&mill, &mut hosts)?;
    assert_eq!(n_dead, 2);
    for mut host in hosts {
        host.wait_ready()?;
        host.stop()?;
    }
    judge(&client, &scene, &mut oracle, 2).await
}

#[tokio::test]
async fn a_broker_that_dies_again_and_again_under_a_slow_message_does_not_condemn_it() -> Result<()> {
    let broker = Broker::start()?;
    let scene = Scene {
        pipeline: "attempts = 1",
        ..Scene::new(&broker)?
    };
    let mill = scene.mill()?;
    std::fs::write(mill.path("gate"), "")?;
    let mut host = mill.start_failing("preprocess=while:gate")?;
    host.wait_ready()?;
    let client = Client::connect(&broker.url()).await?;
    broker.remember_queues()?;
    let slow = parcels(["slow".to_owned()])?;
    client.publish_all(&scene.input, slow).await?;
    let in_flight = format!("{}\t1\t0", scene.input);
    let is_in_flight = || {
        let counts = broker.rabbitmqctl(&["list_queues", "name", "messages_unacknowledged", "messages_ready"]);
        counts
            .is_ok_and(|counts| counts.lines().any(|line| line == in_flight))
            .then_some(())
    };
    for _ in 0..5 {
        wait_for("the message in flight", is_in_flight)?;
        broker.restart()?;
    }
    wait_for("the message in flight", is_in_flight)?;
    std::fs::remove_file(mill.path("gate"))?;
    let client = Client::connect(&broker.url()).await?;
    wait_for_count(&client, &scene.results, 1).await?;
    host.stop()?;
    let results = client.drain(&scene.results).await?;
    let first = results.first().context("no result")?;
    assert!(results.iter().all(|result| result.id == first.id), "{results:?}");
    for queue in [&scene.dead, &scene.quarantine_queue(), &scene.input] {
        assert_eq!(client.count(queue).await?, 0, "{queue}");
    }
    Ok(())
}

#[tokio::test]
async fn a_host_killed_again_and_again_while_it_holds_condemns_nothing() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene {
        pipeline: "attempts = 3",
        ..Scene::new(broker)?
    };
    // Others own the queue of results: the host does not declare it again.
    let mill = scene.mill_with_foreign_results()?;
    let client = Client::connect(&broker.url()).await?;
    client.declare(&scene.results, QueueKind::Quorum).await?;
    mill.start_ready()?.stop()?;
    client
        .publish_all(&scene.input, parcels((0..3).map(|n| n.to_string()))?)
        .await?;
    for _ in 0..4 {
        std::fs::write(mill.path("gate"), "")?;
        let mut host = mill.start_failing("preprocess=while:gate")?;
        host.wait_ready()?;
        client.delete(&scene.results).await?;
        std::fs::remove_file(mill.path("gate"))?;
        host.wait_line(
            PATIENCE,
            "holding: the pipeline receives no messages until this succeeds",
        )?;
        host.kill()?;
        client.declare(&scene.results, QueueKind::Quorum).await?;
    }
    let host = mill.start_ready()?;
    // A kill between a copy and the acknowledgement of its original makes a message two, whose results have one id.
    let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while names.len() < 3 {
        ensure!(
            tokio::time::Instant::now() < deadline,
            "{} of 3 came: {}",
            names.len(),
            host.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
        for result in client.drain(&scene.results).await? {
            names.insert(result.correlation_id);
            ids.insert(result.id);
        }
    }
    host.stop()?;
    assert_eq!((names.len(), ids.len()), (3, 3));
    for queue in [&scene.dead, &scene.quarantine_queue(), &scene.input] {
        assert_eq!(client.count(queue).await?, 0, "{queue}");
    }
    Ok(())
}
