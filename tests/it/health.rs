//! Health and metrics: what the host is doing is seen from outside, adds up, and nobody who asks disturbs the work.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::Result;
use millrace_tests::admin::Admin;
use millrace_tests::amqp::{Client, Parcel};
use millrace_tests::broker::Broker;
use millrace_tests::samples::pictures;
use millrace_tests::scene::{Plugin, Scene};
use millrace_tests::{PATIENCE, wait_for};

const ADMIN: &str = "[host]\nadmin = \"127.0.0.1:0\"\n";

fn scene(broker: &Broker) -> Result<Scene> {
    Ok(Scene {
        tables: ADMIN.to_owned(),
        ..Scene::new(broker)?
    })
}

#[tokio::test]
async fn readiness_follows_the_broker() -> Result<()> {
    let broker = Broker::prepare()?;
    let scene = scene(&broker)?;
    let mill = scene.mill()?;
    let mut host = mill.start()?;
    let admin = Admin::of(&mut host)?;
    assert_eq!(admin.get("/livez")?.0, 200);
    admin.wait_ready(
        503,
        r#""phase":"running","pipelines":{"images":{"ready":false,"why":["waiting for the broker: the broker cannot be reached: "#,
    )?;
    // It answered before it began to warm up, which takes too short a time here to be seen from outside.
    let log = host.log();
    let at = |line: &str| log.find(line);
    assert!(at("serving health and metrics") < at("warming up"), "{log}");
    broker.run()?;
    admin.wait_ready(200, r#""why":[]"#)?;
    let connections = admin.metric("millrace_broker_connections_total{connection=\"publish\"}")?;
    assert_eq!(connections, Some(1.0));
    assert_eq!(
        admin.metric("millrace_broker_connected{connection=\"consume\"}")?,
        Some(1.0)
    );

    // The alarm blocks who publishes, the moment it does.
    let client = Client::connect(&broker.url()).await?;
    host.stop()?;
    let sample = pictures()?.swap_remove(0);
    for n in 0..3 {
        client
            .publish(&scene.input, &Parcel::new(&n.to_string(), sample.png.clone()))
            .await?;
    }
    broker.rabbitmqctl(&["set_vm_memory_high_watermark", "0.000001"])?;
    let mut host = mill.start()?;
    let admin = Admin::of(&mut host)?;
    admin.wait_ready(503, "the broker blocks publishes")?;
    assert_eq!(admin.metric("millrace_broker_blocked")?, Some(1.0));
    broker.rabbitmqctl(&["set_vm_memory_high_watermark", "0.6"])?;
    admin.wait_ready(200, "")?;
    assert_eq!(client.take_all(&scene.results, 3).await?.len(), 3);
    host.stop()
}

#[test]
fn a_host_that_compiles_still_is_seen_and_says_so() -> Result<()> {
    let scene = scene(Broker::shared()?)?;
    let mill = scene.mill()?;
    let loading = mill.path("loading");
    std::fs::write(&loading, "")?;
    let mut host = mill.start_failing(&format!("load=while:{}", loading.display()))?;
    let admin = Admin::of(&mut host)?;
    assert_eq!(admin.get("/livez")?.0, 200);
    let starting = r#""phase":"starting","pipelines":{"images":{"ready":false,"why":["starting: compiling plugins and loading models for "#;
    admin.wait_ready(503, starting)?;
    let ready = mill.run(&["ready"])?;
    assert_eq!(ready.code, Some(1), "{ready:?}");
    let said = format!("{}{}", ready.stdout, ready.stderr);
    assert!(said.contains("compiling plugins and loading models"), "{said}");
    std::fs::remove_file(&loading)?;
    admin.wait_ready(200, r#""why":[]"#)?;
    assert_eq!(mill.run(&["ready"])?.code, Some(0));
    host.stop()
}

#[tokio::test]
async fn a_held_message_is_seen_and_why() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = scene(broker)?;
    // Others own it: the host does not declare it again.
    let mill = scene.mill_with_foreign_results()?;
    let client = Client::connect(&broker.url()).await?;
    client
        .declare(&scene.results, millrace_tests::amqp::QueueKind::Quorum)
        .await?;
    let mut host = mill.start_ready()?;
    let admin = Admin::of(&mut host)?;
    admin.wait_ready(200, "")?;
    client.delete(&scene.results).await?;
    let sample = pictures()?.swap_remove(0);
    client.publish(&scene.input, &Parcel::new("held", sample.png)).await?;
    let health = admin.wait_ready(503, "holding 1 for")?;
    assert!(
        health.contains(&scene.results) && health.contains("no queue takes it"),
        "{health}"
    );
    assert_eq!(admin.metric("millrace_held{pipeline=\"images\"}")?, Some(1.0));
    assert_eq!(admin.metric("millrace_in_flight{pipeline=\"images\"}")?, Some(1.0));
    client
        .declare(&scene.results, millrace_tests::amqp::QueueKind::Quorum)
        .await?;
    client.take_all(&scene.results, 1).await?;
    admin.wait_ready(200, "")?;
    host.stop()
}

#[tokio::test]
async fn the_counts_add_up_after_rejects_and_retries() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene {
        preprocess: Plugin::with_settings("hostile", "mode = \"retry-twice\"")?,
        pipeline: "attempts = 3\nmax_message = \"1KiB\"",
        ..scene(broker)?
    };
    let mill = scene.mill()?;
    let mut host = mill.start_ready()?;
    let admin = Admin::of(&mut host)?;
    let client = Client::connect(&broker.url()).await?;
    // Every tenth message is too large.
    let parcels = (0..1000).map(|n| Parcel::new(&n.to_string(), vec![0; if n % 10 == 0 { 2048 } else { 16 }]));
    client.publish_all(&scene.input, parcels).await?;
    client.take_all(&scene.results, 900).await?;
    client.take_all(&scene.dead, 100).await?;
    let in_flight = "millrace_in_flight{pipeline=\"images\"}";
    wait_for("nothing in flight", || {
        (admin.metric(in_flight).ok()? == Some(0.0)).then_some(())
    })?;
    let settled = |outcome: &str, class: &str| {
        let labels = format!("pipeline=\"images\",outcome=\"{outcome}\",class=\"{class}\"");
        admin.metric(&format!("millrace_settled_total{{{labels}}}"))
    };
    assert_eq!(settled("acked", "")?, Some(900.0));
    assert_eq!(settled("rejected", "malformed")?, Some(100.0));
    assert_eq!(settled("retried", "")?, Some(1800.0));
    assert_eq!(admin.sum("millrace_settled_total", "images")?, 2800.0);
    assert_eq!(admin.sum("millrace_received_total", "images")?, 2800.0);
    let called = "stage=\"preprocess\",plugin=\"hostile\",generation=\"1\",outcome=\"retry\"";
    let calls = admin.metric(&format!("millrace_plugin_calls_total{{pipeline=\"images\",{called}}}"))?;
    assert_eq!(calls, Some(1800.0));
    assert_eq!(admin.sum("millrace_message_seconds_count", "images")?, 2800.0);
    for (stage, n) in [
        ("preprocess", 2700.0),
        ("infer", 900.0),
        ("route", 900.0),
        ("deliver", 900.0),
    ] {
        let stage = format!("millrace_stage_seconds_count{{pipeline=\"images\",stage=\"{stage}\"}}");
        assert_eq!(admin.metric(&stage)?, Some(n), "{stage}");
    }
    // Exit code 0 says that the host's own sum is right, too.
    host.stop()
}

#[tokio::test]
async fn hostile_clients_of_the_admin_page_disturb_nothing() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = scene(broker)?;
    let mill = scene.mill()?;
    let mut host = mill.start_ready()?;
    let admin = Admin::of(&mut host)?;
    // Slow heads, one that is too long, and more connections than are served at once.
    let mut slow = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect_timeout(&admin.0, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        if n % 2 == 0 {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: ")?;
        }
        slow.push(stream);
    }
    let client = Client::connect(&broker.url()).await?;
    let samples = pictures()?;
    let parcels = (0..200).zip(samples.iter().cycle());
    let parcels = parcels.map(|(n, sample)| Parcel::new(&n.to_string(), sample.png.clone()));
    client.publish_all(&scene.input, parcels).await?;
    client.take_all(&scene.results, 200).await?;
    // Each of them is turned out in time, and then others are answered.
    for mut stream in slow {
        // An error is a connection that was cut, which is as good.
        stream.read_to_end(&mut Vec::new()).ok();
    }
    let mut long = TcpStream::connect_timeout(&admin.0, PATIENCE)?;
    long.set_read_timeout(Some(PATIENCE))?;
    // The host may close it before all is written.
    long.write_all(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20)).as_bytes())
        .ok();
    let mut answer = Vec::new();
    long.read_to_end(&mut answer).ok();
    assert!(
        !answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let mut post = TcpStream::connect_timeout(&admin.0, PATIENCE)?;
    post.write_all(b"POST /metrics HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = String::new();
    post.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    // A web page that had its own name point here.
    let mut page = TcpStream::connect_timeout(&admin.0, PATIENCE)?;
    page.write_all(b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n")?;
    let mut answer = String::new();
    page.read_to_string(&mut answer)?;
    assert!(
        answer.starts_with("HTTP/1.1 403") && !answer.contains("millrace_"),
        "{answer}"
    );
    assert_eq!(admin.get("/v1/pipelines")?.0, 404);
    admin.wait_ready(200, "")?;
    host.stop()
}
