//! What the process may take in memory: said beforehand, refused where it is too much, and held under load.

use anyhow::{Context, Result, ensure};
use millrace_tests::amqp::{Client, Parcel};
use millrace_tests::broker::Broker;
use millrace_tests::host::Mill;
use millrace_tests::process::Usage;
use millrace_tests::scene::{Plugin, Scene};
use millrace_tests::{PATIENCE, unique};

const MEBIBYTE: usize = 1 << 20;
/// The largest message that reaches the host.
const LARGEST: usize = 16 * MEBIBYTE;
/// Messages in flight.
const PREFETCH: u16 = 10;

/// A pipeline that can take nothing but small pictures, and one whose results are as large as can be.
fn scene(broker: &Broker, memory: &str) -> Result<Scene> {
    let large = unique("large-results");
    let url = broker.url();
    let slow = Plugin::with_settings("hostile", "mode = \"body-flood\"")?;
    let mut scene = Scene {
        prefetch: PREFETCH,
        preprocess: Plugin {
            lines: format!("{}\ndeadline = \"100ms\"\nmemory = \"64MiB\"", slow.lines),
            ..slow
        },
        route: Plugin::with_settings("hostile-route", "mode = \"large-body\"")?,
        pipeline: "max_message = \"16MiB\"",
        ..Scene::new(broker)?
    };
    scene.tables = format!(
        r#"
[host]
workers = 2
{memory}

[plugin.honest]
path = {:?}

[pipeline.large]
source = {{ queue = "{large}", prefetch = {PREFETCH} }}
preprocess = "honest"
model = "shapes"
route = "hostile-route"

[pipeline.large.destination.results]
exchange = ""
routing_key = "{large}.results"
"#,
        Plugin::shipped("hostile")?.path.display().to_string()
    );
    ensure!(url == scene.url, "one broker");
    Ok(scene)
}

/// What `check` says the process may take, in bytes.
fn bound(mill: &Mill) -> Result<u64> {
    let checked = mill.run(&["check", "plugins.toml"])?;
    ensure!(checked.code == Some(0), "{checked:?}");
    let line = checked
        .stdout
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("together"));
    let words: Vec<&str> = line.context("no sum")?.split_whitespace().collect();
    let (number, unit) = (words.get(1).context("no number")?, words.get(2).context("no unit")?);
    let unit = match *unit {
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => anyhow::bail!("{other}: {}", checked.stdout),
    };
    Ok((number.parse::<f64>()? * f64::from(unit)) as u64)
}

#[tokio::test]
async fn a_flood_of_the_largest_messages_stays_within_what_check_says() -> Result<()> {
    let broker = Broker::shared()?;
    let scene = scene(broker, "")?;
    let large = scene
        .tables
        .split('"')
        .find(|part| part.starts_with("large-results-"))
        .context("no queue")?;
    let mill = scene.mill()?;
    let bound = bound(&mill)?;
    let mut host = mill.start()?;
    host.wait_pipeline("images")?;
    host.wait_pipeline("large")?;
    let before = Usage::of(host.pid())?;
    let client = Client::connect(&broker.url()).await?;
    let n = usize::from(PREFETCH) * 3 / 2;
    for message in 0..n {
        client
            .publish(large, &Parcel::new(&message.to_string(), b"small".to_vec()))
            .await?;
        client
            .publish(&scene.input, &Parcel::new(&message.to_string(), vec![7_u8; LARGEST]))
            .await?;
    }
    // Every large message is called twice, each time until its deadline; then it is a dead letter as large as it was.
    // After the fourth the breaker opens, and as many as the prefetch allows are kept in flight.
    for _ in 0..4 {
        let dead_letter = client.take_all(&scene.dead, 1).await?;
        ensure!(
            dead_letter.iter().all(|dead_letter| dead_letter.body.len() == LARGEST),
            "a dead letter was cut"
        );
    }
    host.wait_line(
        PATIENCE,
        "breaker open: the pipeline receives no messages until a half-open call succeeds",
    )?;
    for _ in 0..n {
        client.take_all(&format!("{large}.results"), 1).await?;
    }
    let after = Usage::of(host.pid())?;
    println!(
        "bound {} MiB, peak {} MiB, before {} MiB",
        bound >> 20,
        after.peak_bytes >> 20,
        before.peak_bytes >> 20
    );
    ensure!(
        after.peak_bytes > before.peak_bytes + (LARGEST * usize::from(PREFETCH) / 2) as u64,
        "the flood did not fill the prefetch: {} MiB at its height",
        after.peak_bytes >> 20
    );
    ensure!(
        after.peak_bytes <= bound,
        "{} MiB at its height, and check said {} MiB",
        after.peak_bytes >> 20,
        bound >> 20
    );
    host.stop()
}

#[test]
fn a_file_that_may_take_more_than_it_is_allowed_is_refused_with_the_terms() -> Result<()> {
    let broker = Broker::shared()?;
    let mill = scene(broker, "memory = \"512MiB\"")?.mill()?;
    let checked = mill.run(&["check", "plugins.toml"])?;
    ensure!(checked.code == Some(2), "{checked:?}");
    for part in [
        "with this file the host may take",
        "but `memory` allows 512 MiB",
        "memory = \"512MiB\"",
        "lower `",
        "messages 32",
        "plugins ",
    ] {
        ensure!(checked.stderr.contains(part), "no {part:?} in:\n{}", checked.stderr);
    }
    let refused = mill.run(&["run", "--log", "warn", "plugins.toml"])?;
    ensure!(
        refused.code == Some(2) && refused.stderr == checked.stderr,
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn a_file_that_may_take_more_than_the_machine_has_is_warned_about() -> Result<()> {
    let broker = Broker::shared()?;
    let mill = Scene {
        prefetch: u16::MAX,
        ..Scene::new(broker)?
    }
    .mill()?;
    let checked = mill.run(&["check", "plugins.toml"])?;
    ensure!(checked.code == Some(0), "{checked:?}");
    for part in [
        "warning: with this file the host may take",
        "but this machine has",
        "lower `prefetch`",
    ] {
        ensure!(checked.stderr.contains(part), "no {part:?} in:\n{}", checked.stderr);
    }
    Ok(())
}
