//! What fails for everything costs a few messages and not the queue: the host stops taking, says so, and goes on by
//! itself.

use std::collections::BTreeSet;

use anyhow::Result;
use millrace_tests::admin::Admin;
use millrace_tests::amqp::{Client, Parcel};
use millrace_tests::broker::Broker;
use millrace_tests::host::{Host, Mill};
use millrace_tests::oracle::{Oracle, Verdict};
use millrace_tests::samples::pictures;
use millrace_tests::scene::{Plugin, Scene, head};
use millrace_tests::{PATIENCE, unique};

const ADMIN: &str = "[host]\nadmin = \"127.0.0.1:0\"\n";
const OPEN: &str = "breaker open: the pipeline receives no messages until a half-open call succeeds";
const CLOSED: &str = "breaker closed";
/// Dead letters before a breaker opens.
const DEAD_MAX: usize = 4;

fn trapping(broker: &Broker) -> Result<Scene> {
    Ok(Scene {
        preprocess: Plugin::with_settings("hostile", "mode = \"trap\"")?,
        tables: ADMIN.to_owned(),
        ..Scene::new(broker)?
    })
}

async fn publish(client: &Client, queue: &str, bodies: impl Iterator<Item = Vec<u8>>) -> Result<Oracle> {
    let mut oracle = Oracle::default();
    let parcels: Vec<Parcel> = bodies
        .enumerate()
        .map(|(n, body)| {
            let id = format!("{n:04}");
            oracle.attempt(&id);
            Parcel::new(&id, body)
        })
        .collect();
    client.publish_all(queue, parcels).await?;
    oracle.confirmed.clone_from(&oracle.attempted);
    Ok(oracle)
}

fn fields<'l>(line: &'l serde_json::Value, name: &str) -> &'l str {
    line.get("fields").unwrap_or(line)[name].as_str().unwrap_or_default()
}

/// What is seen of an open breaker, from all sides.
fn check_open(host: &mut Host, failing_component: &str, class: &str) -> Result<Admin> {
    let line = host.wait_line(PATIENCE, OPEN)?;
    assert!(
        fields(&line, "failing_component").starts_with(failing_component),
        "{line}"
    );
    assert!(!fields(&line, "reason").is_empty(), "{line}");
    let admin = Admin::of(host)?;
    let health = admin.wait_ready(503, "breaker open for")?;
    assert!(health.contains(failing_component) && health.contains(class), "{health}");
    assert_eq!(admin.metric("millrace_breaker_open{pipeline=\"images\"}")?, Some(1.0));
    assert_eq!(admin.get("/livez")?.0, 200);
    Ok(admin)
}

#[tokio::test]
async fn a_plugin_that_fails_for_everything_leaves_its_queue_alone_and_its_neighbour_too() -> Result<()> {
    let broker = Broker::shared()?;
    let mut scene = trapping(broker)?;
    let neighbour = unique("beside");
    let good = Plugin::shipped("decode-image")?;
    scene.tables += &format!(
        r#"
[plugin.decode-image]
path = {path:?}
[pipeline.beside]
source = {{ queue = "{neighbour}" }}
preprocess = "decode-image"
model = "shapes"
route = "by-label"
[pipeline.beside.destination.results]
exchange = ""
routing_key = "{neighbour}.results"
"#,
        path = good.path.display().to_string(),
    );
    let mill = scene.mill()?;
    let mut host = mill.start()?;
    for pipeline in ["images", "beside"] {
        host.wait_pipeline(pipeline)?;
    }
    let client = Client::connect(&broker.url()).await?;
    let bodies = (0..200).map(|n: u32| n.to_le_bytes().to_vec());
    let mut oracle = publish(&client, &scene.input, bodies).await?;
    let admin = check_open(&mut host, "plugin `hostile`", "trap")?;
    host.wait_line(PATIENCE, "half-open call failed: the breaker stays open")?;

    let samples = pictures()?;
    let pictures = (0..100).zip(samples.iter().cycle());
    let parcels = pictures.map(|(n, sample)| Parcel::new(&n.to_string(), sample.png.clone()));
    client.publish_all(&neighbour, parcels).await?;
    client.take_all(&format!("{neighbour}.results"), 100).await?;
    assert_eq!(
        admin.metric("millrace_breaker_opened_total{pipeline=\"beside\"}")?,
        Some(0.0)
    );
    let (_, health) = admin.get("/readyz")?;
    assert!(health.contains(r#""beside":{"ready":true"#), "{health}");

    host.stop()?;
    scene.gather(&client, &mut oracle).await?;
    assert_eq!(oracle.judge(), Verdict::default());
    assert!(oracle.dead.len() <= DEAD_MAX, "{:?}", oracle.dead);
    assert_eq!(oracle.dead.len() + oracle.waiting.len(), 200);
    Ok(())
}

#[tokio::test]
async fn a_run_of_bad_messages_does_not_block_the_good_ones_behind_it() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene {
        preprocess: Plugin::with_settings("hostile", "mode = \"panic-on-poison\"")?,
        prefetch: 1,
        ..trapping(broker)?
    };
    let mill = scene.mill()?;
    let mut host = mill.start_ready()?;
    let client = Client::connect(&broker.url()).await?;
    let bodies = (0..36).map(|n| if n < 6 { b"poison".to_vec() } else { b"good".to_vec() });
    let mut oracle = publish(&client, &scene.input, bodies).await?;
    let admin = check_open(&mut host, "plugin `hostile`", "trap")?;
    host.wait_line(PATIENCE, CLOSED)?;
    admin.wait_ready(200, "")?;
    for arrival in client.take_all(&scene.results, 30).await? {
        oracle.result(&arrival.correlation_id);
    }
    for arrival in client.take_all(&scene.dead, 6).await? {
        assert_eq!(arrival.body, b"poison");
        oracle.dead_letter(&arrival.correlation_id);
    }
    host.stop()?;
    scene.gather(&client, &mut oracle).await?;
    assert_eq!(oracle.judge(), Verdict::default());
    assert_eq!(oracle.waiting, BTreeSet::new());
    Ok(())
}

#[tokio::test]
async fn a_model_that_fails_for_everything_leaves_the_queue_alone() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene {
        tables: ADMIN.to_owned(),
        ..Scene::new(broker)?
    };
    let mill = scene.mill()?;
    let mut host = mill.start_failing("model=fail")?;
    host.wait_ready()?;
    let client = Client::connect(&broker.url()).await?;
    let samples = pictures()?;
    let bodies = samples.iter().cycle().take(100).map(|sample| sample.png.clone());
    let mut oracle = publish(&client, &scene.input, bodies).await?;
    check_open(&mut host, "model `shapes`", "model-failed")?;
    host.stop()?;
    scene.gather(&client, &mut oracle).await?;
    assert_eq!(oracle.judge(), Verdict::default());
    assert!(oracle.dead.len() <= DEAD_MAX, "{:?}", oracle.dead);
    assert!(oracle.results.is_empty(), "{:?}", oracle.results);
    // None is nowhere, as the judge says; one whose dead letter was confirmed may still be delivered again.
    assert!(oracle.dead.len() + oracle.waiting.len() >= 100);
    Ok(())
}

#[test]
fn a_run_of_bad_files_does_not_block_the_good_ones() -> Result<()> {
    let hostile = Plugin::with_settings("hostile", "mode = \"panic-on-poison\"")?;
    let head = head(&[&hostile, &Plugin::shipped("by-label")?]);
    let mill = Mill::new(&format!(
        r#"
{head}
[pipeline.files]
source = {{ folder = "inbox", prefetch = 1 }}
preprocess = "hostile"
model = "shapes"
route = "by-label"
[pipeline.files.destination.results]
folder = "out"
"#
    ))?;
    std::fs::create_dir(mill.path("inbox"))?;
    for n in 0..20 {
        let body = if n < 6 { "poison" } else { "good" };
        std::fs::write(mill.path("inbox").join(format!("{n:02}")), body)?;
    }
    let ended = mill.run(&["run", "plugins.toml", "--once"])?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for told in [OPEN, CLOSED] {
        assert!(ended.stderr.contains(told), "{ended:?}");
    }
    assert_eq!(mill.files("inbox/done").len(), 14, "{ended:?}");
    let dead = mill.files("inbox/dead");
    assert_eq!(dead.iter().filter(|name| name.len() == 2).count(), 6, "{dead:?}");
    Ok(())
}
