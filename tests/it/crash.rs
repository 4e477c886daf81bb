//! Killed, drained, started before its broker: nothing is lost, and what comes twice keeps its id.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use millrace_tests::PATIENCE;
use millrace_tests::amqp::{Client, Parcel};
use millrace_tests::broker::Broker;
use millrace_tests::oracle::Oracle;
use millrace_tests::samples::pictures;
use millrace_tests::scene::Scene;

const N_MESSAGES: u32 = 1000;
/// When nothing has come for so long, nothing comes any more.
const SILENCE: Duration = Duration::from_secs(20);

/// Publishes [`N_MESSAGES`] raw pictures and notes them.
async fn publish(client: &Client, scene: &Scene, oracle: &mut Oracle) -> Result<()> {
    let bodies: Vec<Vec<u8>> = pictures()?.iter().map(|sample| sample.raw()).collect::<Result<_>>()?;
    let parcels = (0..N_MESSAGES).zip(bodies.into_iter().cycle()).map(|(n, body)| {
        oracle.attempt(&n.to_string());
        Parcel {
            content_type: Some("image/x-rgb".to_owned()),
            ..Parcel::new(&n.to_string(), body)
        }
    });
    client.publish_all(&scene.input, parcels).await?;
    oracle.confirmed.clone_from(&oracle.attempted);
    Ok(())
}

/// Waits until some results are there, so that what follows happens in the middle of the run.
async fn wait_for_results(client: &Client, scene: &Scene, n: u32) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while client.count(&scene.results).await? < n {
        ensure!(tokio::time::Instant::now() < deadline, "no {n} results");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Takes results until every message has one, or until nothing comes any more. A message has one id for its results.
async fn collect(client: &Client, scene: &Scene, oracle: &mut Oracle) -> Result<()> {
    let mut ids = BTreeMap::new();
    let mut taker = client.taker(&scene.results).await?;
    while oracle.results.len() < N_MESSAGES as usize
        && let Some(result) = taker.next(SILENCE).await?
    {
        oracle.result(&result.correlation_id);
        let first = ids
            .entry(result.correlation_id.clone())
            .or_insert_with(|| result.id.clone());
        ensure!(*first == result.id, "two results of one message with two ids");
    }
    taker.close().await
}

#[tokio::test]
async fn a_host_that_stops_closes_its_connections_and_waits_for_nothing() -> Result<()> {
    let broker = Broker::shared()?;
    // With what looks at a host from outside: it must not keep the connections open.
    let scene = Scene {
        tables: "[host]\nadmin = \"127.0.0.1:0\"\n".to_owned(),
        ..Scene::new(broker)?
    };
    let mill = scene.mill()?;
    let mut host = mill.start_ready()?;
    host.terminate()?;
    host.wait_line(PATIENCE, "stopped")?;
    assert_eq!(host.n_lines("the broker did not close the connections in time"), 0);
    assert_eq!(host.wait_end()?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn a_broker_killed_in_the_middle_loses_nothing() -> Result<()> {
    let broker = Broker::start()?;
    let scene = Scene::new(&broker)?;
    let mill = scene.mill()?;
    let host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    broker.remember_queues()?;
    let mut oracle = Oracle::default();
    publish(&client, &scene, &mut oracle).await?;
    wait_for_results(&client, &scene, 100).await?;
    broker.restart()?;

    let client = Client::connect(&broker.url()).await?;
    collect(&client, &scene, &mut oracle).await?;
    host.stop()?;
    scene.gather(&client, &mut oracle).await?;
    let verdict = oracle.judge();
    assert_eq!((verdict.lost.len(), verdict.unexpected.len()), (0, 0), "{verdict}");
    assert!(verdict.duplicated <= u64::from(scene.prefetch), "{verdict}");
    Ok(())
}
