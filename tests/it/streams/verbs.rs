//! What verbs print: to a reader that leaves, to a full disk, to nobody.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use millrace_tests::amqp::{Client, Parcel, QueueKind};
use millrace_tests::broker::Broker;
use millrace_tests::control::CONTROL;
use millrace_tests::host::Mill;
use millrace_tests::scene::Scene;
use millrace_tests::{unique, wait_for};

fn full() -> Result<Stdio> {
    Ok(OpenOptions::new().write(true).open("/dev/full")?.into())
}

#[test]
fn what_cannot_be_printed_is_an_error_and_no_panic() -> Result<()> {
    let mill = Scene::at("amqp://127.0.0.1:1/%2f".to_owned())?.mill()?;
    std::fs::write(mill.path("broken.toml"), "[host]\nworkers = 0\n")?;
    for (arguments, code) in [
        (["check", "plugins.toml"].as_slice(), 1),
        (&["schema"], 1),
        (&["devices"], 1),
        (&["--help"], 1),
        (&["check", "broken.toml"], 2),
        (&["--nonsense"], 2),
    ] {
        let mut command = mill.command(arguments)?;
        let ended = command.stdout(full()?).stderr(Stdio::piped()).output()?;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(
            code == 2 || said.contains("error: cannot write to stdout: No space left"),
            "{said}"
        );
        // And when the error cannot be told either, the exit code still says it.
        let ended = mill.command(arguments)?.stdout(full()?).stderr(full()?).status()?;
        assert_eq!(ended.code(), Some(code), "{arguments:?}");
        // A reader that left has what it wanted.
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let ended = mill
            .command(arguments)?
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .status()?;
        assert_eq!(ended.code(), Some(if code == 1 { 0 } else { code }), "{arguments:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_queue_that_is_not_there_yet_is_waited_for() -> Result<()> {
    let broker = Broker::shared()?;
    let mill = Mill::new("")?;
    let url = broker.url();
    let queue = unique("not-there");
    let ended = mill.run(&["receive", &queue, "--amqp", &url, "--idle", "1s"])?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("is not there yet: waiting for it"), "{ended:?}");
    assert!(
        ended.stderr.contains(&format!("error: there is no queue `{queue}`")),
        "{ended:?}"
    );

    let mut receiving = mill.command(&["receive", &queue, "--amqp", &url, "--count", "1"])?;
    let mut receiving = receiving.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(receiving.stderr.take().context("no stderr")?);
    said.read_line(&mut String::new())?;
    let client = Client::connect(&url).await?;
    client.declare(&queue, QueueKind::Classic).await?;
    client.publish(&queue, &Parcel::new("first", "text")).await?;
    let ended = receiving.wait_with_output()?;
    let printed = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success() && printed.starts_with("first "), "{printed}");

    // `| head`: what was not read goes back.
    for n in 0..50 {
        client.publish(&queue, &Parcel::new(&format!("m-{n}"), "text")).await?;
    }
    let mut receiving = mill.command(&["receive", &queue, "--amqp", &url])?;
    let mut receiving = receiving.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(receiving.stdout.take().context("no stdout")?);
    lines.read_line(&mut String::new())?;
    drop(lines);
    client.publish(&queue, &Parcel::new("one-more", "text")).await?;
    let ended = receiving.wait_with_output()?;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    ensure!(ended.status.code() == Some(0) && said.is_empty(), "{ended:?}: {said}");
    Ok(())
}

#[tokio::test]
async fn a_health_check_asks_whether_a_host_is_ready() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = Scene {
        tables: format!("[host]\nadmin = \"0.0.0.0:0\"\nadmin_public = true\n{CONTROL}\n"),
        ..Scene::new(broker)?
    };
    let mill = scene.mill()?;
    let ready = || mill.run(&["ready"]);
    let ended = ready()?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("no host runs plugins.toml"), "{ended:?}");
    let mut host = mill.start_ready()?;
    wait_for("a ready host", || (ready().ok()?.code == Some(0)).then_some(()))?;
    assert_eq!(ready()?.stdout, "ready\n");
    let served = host.wait_line(millrace_tests::PATIENCE, "serving health and metrics")?;
    let port = served["address"]
        .as_str()
        .and_then(|at| at.rsplit_once(':'))
        .context("no address")?
        .1;
    let url = format!("http://127.0.0.1:{port}");
    assert_eq!(mill.run(&["ready", "--url", &url])?.code, Some(0));
    // What is public is asked by names that the host does not know.
    let admin = millrace_tests::admin::Admin(format!("127.0.0.1:{port}").parse()?);
    assert_eq!(admin.get_as("mill.example:9464", "/readyz")?.0, 200);
    mill.run(&["pause", "images"])?;
    // It finishes what it has in flight before.
    wait_for("a paused pipeline", || {
        let ended = ready().ok()?;
        let is_paused = ended.stdout.starts_with("not ready\n  images: paused\n");
        (ended.code == Some(1) && is_paused).then_some(())
    })?;
    let ended = mill.run(&["ready", "--url", &url, "--json"])?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stdout.contains(r#""images":{"ready":false,"why":["paused""#),
        "{ended:?}"
    );
    host.stop()
}
