//! A stop is not a crash: hosts that are stopped, cut off, paused and replaced, and the next ones that quarantine nothing for it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millrace_tests::amqp::{Client, Parcel};
use millrace_tests::broker::Broker;
use millrace_tests::control::CONTROL;
use millrace_tests::flow::Flow;
use millrace_tests::host::{Host, Mill, said};
use millrace_tests::oracle::{Oracle, Verdict};
use millrace_tests::samples::pictures;
use millrace_tests::scene::Scene;
use millrace_tests::{PATIENCE, wait_for};

/// The one line that is said when a host may have ended over messages, and the one when they are through.
const QUARANTINED: &str =
    "messages come again that were in flight when a host ended: each is quarantined and runs alone once";
const THROUGH: &str = "all quarantined messages have run";
const STILL_IN_FLIGHT: &str = "some messages are still in flight: their sources will redeliver them";

/// The exit code of a drain that was cut off.
const CUT_OFF: i32 = 3;

/// What a busy machine may need beyond what the documentation says.
const SLACK: Duration = Duration::from_secs(4);

async fn publish(client: &Client, scene: &Scene, n: u32) -> Result<Oracle> {
    let bodies: Vec<Vec<u8>> = pictures()?.iter().map(|sample| sample.raw()).collect::<Result<_>>()?;
    let mut oracle = Oracle::default();
    let parcels = (0..n).zip(bodies.into_iter().cycle()).map(|(n, body)| {
        oracle.attempt(&n.to_string());
        Parcel {
            content_type: Some("image/x-rgb".to_owned()),
            ..Parcel::new(&n.to_string(), body)
        }
    });
    client.publish_all(&scene.input, parcels).await?;
    oracle.confirmed.clone_from(&oracle.attempted);
    Ok(oracle)
}

async fn wait_for_count(client: &Client, scene: &Scene, n: u32, host: &Host) -> Result<()> {
    let deadline = tokio::time::Instant::now() + 3 * PATIENCE;
    while client.count(&scene.results).await? < n {
        ensure!(tokio::time::Instant::now() < deadline, "no {n} results: {}", host.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Every message has one result, nothing waits and nothing is dead.
async fn finished(client: &Client, scene: &Scene, oracle: &mut Oracle) -> Result<()> {
    scene.gather(client, oracle).await?;
    assert_eq!(oracle.judge(), Verdict::default());
    assert_eq!(oracle.results.len(), oracle.confirmed.len());
    assert!(oracle.dead.is_empty() && oracle.waiting.is_empty(), "{oracle:?}");
    Ok(())
}

/// The log of a host that must have quarantined nothing.
fn quarantines_nobody(host: &Host) {
    assert_eq!(host.n_lines(QUARANTINED), 0, "{}", host.log());
}

/// As many as a host takes at once by default, so that nothing is smaller than where it was seen.
fn scene(broker: &Broker, host: &str) -> Result<Scene> {
    Ok(Scene {
        prefetch: 256,
        tables: format!("[host]\n{host}\n"),
        ..Scene::new(broker)?
    })
}

#[tokio::test]
async fn a_stop_under_load_leaves_no_suspect() -> Result<()> {
    let broker = Broker::shared()?;
    for source in [vec![], vec!["type = \"classic\""]] {
        let scene = Scene {
            source,
            ..scene(broker, "")?
        };
        let mill = scene.mill()?;
        mill.start_ready()?.stop()?;
        let client = Client::connect(&broker.url()).await?;
        let mut oracle = publish(&client, &scene, 4000).await?;
        let mut n_results = 0;
        for _ in 0..3 {
            let host = mill.start_ready()?;
            n_results += 300;
            wait_for_count(&client, &scene, n_results, &host).await?;
            quarantines_nobody(&host);
            host.stop()?;
            n_results = client.count(&scene.results).await?;
        }
        ensure!(n_results < 4000, "the stops came too late to show anything");
        let host = mill.start_ready()?;
        wait_for_count(&client, &scene, 4000, &host).await?;
        quarantines_nobody(&host);
        host.stop()?;
        finished(&client, &scene, &mut oracle).await?;
    }
    Ok(())
}

/// A host whose plugin does nothing until a file is gone, with its hands full.
async fn stuck(client: &Client, scene: &Scene, mill: &Mill) -> Result<(Host, Oracle)> {
    std::fs::write(mill.path("gate"), "")?;
    let mut host = mill.start_failing("preprocess=while:gate")?;
    host.wait_ready()?;
    let oracle = publish(client, scene, 300).await?;
    let broker = Broker::shared()?;
    let in_flight = format!(
        "{}\t{}\t{}",
        scene.input,
        scene.prefetch,
        300 - u32::from(scene.prefetch)
    );
    wait_for("a host with its hands full", || {
        let counts = broker.rabbitmqctl(&["list_queues", "name", "messages_unacknowledged", "messages_ready"]);
        counts
            .is_ok_and(|counts| counts.lines().any(|line| line == in_flight))
            .then_some(())
    })?;
    Ok((host, oracle))
}

/// Messages in flight go to a host that quarantines none of them.
async fn goes_on(client: &Client, scene: &Scene, mill: &Mill, oracle: &mut Oracle) -> Result<()> {
    let host = mill.start_ready()?;
    wait_for_count(client, scene, 300, &host).await?;
    quarantines_nobody(&host);
    host.stop()?;
    finished(client, scene, oracle).await
}

#[tokio::test]
async fn what_a_drain_that_is_cut_off_gives_back_is_not_suspect() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = scene(broker, "drain = \"4s\"")?;
    let mill = scene.mill()?;
    let client = Client::connect(&broker.url()).await?;
    let (host, mut oracle) = stuck(&client, &scene, &mill).await?;
    let began = Instant::now();
    host.terminate()?;
    let log = host.lines().len();
    let status = host.wait_end()?;
    ensure!(status.code() == Some(CUT_OFF), "{status} after {log} lines");
    ensure!(
        began.elapsed() < Duration::from_secs(5) + SLACK,
        "it took {:?}",
        began.elapsed()
    );
    goes_on(&client, &scene, &mill, &mut oracle).await
}

#[tokio::test]
async fn what_a_second_signal_gives_back_is_not_suspect() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = scene(broker, "drain = \"1h\"")?;
    let mill = scene.mill()?;
    let client = Client::connect(&broker.url()).await?;
    let (mut host, mut oracle) = stuck(&client, &scene, &mill).await?;
    host.terminate()?;
    host.wait_line(PATIENCE, "draining: finishing the messages in flight")?;
    // Signals that come together are one: said again until it is heard.
    let began = Instant::now();
    wait_for("the end of the host", || {
        let ended = host.has_ended().ok()?;
        (ended || host.terminate().is_err()).then_some(())
    })?;
    ensure!(
        began.elapsed() < Duration::from_secs(3) + SLACK,
        "it took {:?}",
        began.elapsed()
    );
    assert_eq!(host.n_lines(STILL_IN_FLIGHT), 0, "{}", host.log());
    let status = host.wait_end()?;
    ensure!(status.code() == Some(CUT_OFF), "{status}");
    goes_on(&client, &scene, &mill, &mut oracle).await
}

#[tokio::test]
async fn what_a_lost_device_gives_back_is_not_suspect() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = scene(broker, "")?;
    let mill = scene.mill()?;
    mill.start_ready()?.stop()?;
    let client = Client::connect(&broker.url()).await?;
    let mut oracle = publish(&client, &scene, 300).await?;
    let status = mill.start_failing("model=lost@2")?.wait_end()?;
    ensure!(status.code() == Some(75), "{status}");
    goes_on(&client, &scene, &mill, &mut oracle).await
}

#[tokio::test]
async fn a_death_is_told_once_and_once_more_when_everybody_ran() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene {
        prefetch: 40,
        ..scene(broker, "")?
    };
    let mill = scene.mill()?;
    let client = Client::connect(&broker.url()).await?;
    let (host, mut oracle) = stuck(&client, &scene, &mill).await?;
    host.kill()?;
    let mut host = mill.start_ready()?;
    host.wait_line_that(2 * PATIENCE, "all forty through", |line| {
        said(line) == Some(THROUGH) && line.get("n_run").and_then(serde_json::Value::as_u64) == Some(40)
    })?;
    assert_eq!(host.n_lines(QUARANTINED), 1, "{}", host.log());
    wait_for_count(&client, &scene, 300, &host).await?;
    host.stop()?;
    finished(&client, &scene, &mut oracle).await
}

#[tokio::test]
async fn a_pause_and_another_source_under_load_leave_no_suspect() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = scene(broker, CONTROL)?;
    let mill = scene.mill()?;
    let mut host = mill.start_ready()?;
    let flow = Flow::start(&scene)?;
    flow.wait_more(50)?;
    let paused = mill.run(&["pause", "images"])?;
    ensure!(paused.code == Some(0), "{paused:?}");
    host.wait_line(PATIENCE, "paused")?;
    let resumed = mill.run(&["resume", "images"])?;
    ensure!(resumed.code == Some(0), "{resumed:?}");
    flow.wait_more(50)?;
    // Another prefetch is another source, which is opened beside the one that it replaces.
    let file = mill.path("plugins.toml");
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&file, text.replace("prefetch = 256", "prefetch = 100"))?;
    let reloaded = mill.run(&["reload", "--wait"])?;
    ensure!(reloaded.code == Some(0), "{reloaded:?}");
    flow.wait_more(100)?;
    host.wait_lines(PATIENCE, 3, "ready")?;
    quarantines_nobody(&host);
    flow.finish(host)?.all_results()
}

#[tokio::test]
async fn rolling_restarts_under_load_repeat_nothing_and_suspect_almost_nobody() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = scene(broker, "")?;
    let mill = scene.mill()?;
    let mut hosts = vec![mill.start_ready()?, mill.start_ready()?];
    let flow = Flow::start(&scene)?;
    let mut n_quarantined = 0;
    for _ in 0..3 {
        flow.wait_more(50)?;
        let next = mill.start_ready()?;
        let last = std::mem::replace(hosts.get_mut(0).context("two hosts")?, next);
        n_quarantined += last.n_lines(QUARANTINED);
        last.stop()?;
        hosts.rotate_left(1);
    }
    flow.wait_more(50)?;
    let last = hosts.pop().context("two hosts")?;
    n_quarantined += hosts.iter().map(|host| host.n_lines(QUARANTINED)).sum::<usize>();
    for host in hosts {
        host.stop()?;
    }
    flow.finish(last)?.all_results()?;
    // A quorum queue takes back, and marks, what is on its way to a consumer in the millisecond in which that leaves.
    assert!(n_quarantined <= 1, "{n_quarantined} alarms in three restarts");
    Ok(())
}
