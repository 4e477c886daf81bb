//! Bad versions under a backlog, with all of a prefetch in flight: from the swap to its undoing, and the longest time in which no
//! message had its result. Knows the host by its file and its control socket alone.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millrace_tests::amqp::Client;
use millrace_tests::samples::guest;
use millrace_tests::scene::{Plugin, Scene};
use millrace_tests::versions::hostile;
use serde_json::Value;

use crate::measure::Bench;
use crate::subject::LENET;
use crate::swaps::Stage;

/// Messages in flight.
const PREFETCH: u16 = 256;

/// CPU time of a call.
const DEADLINE: &str = "1s";

/// How each is bad, and its mode.
const BAD: [(&str, &str); 4] = [
    ("never returns", "loop"),
    ("takes all memory", "memory-bomb"),
    ("is slow", "work"),
    ("traps", "trap"),
];

/// How long a version may stay, and how long a result may take, before this gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a message comes beside the backlog.
const TICK: Duration = Duration::from_millis(20);

/// Swaps to each bad version once, and prints what came of it.
pub(crate) async fn run(bench: &Bench<'_>) -> Result<()> {
    println!("\nunder a backlog, prefetch {PREFETCH}, a deadline of {DEADLINE}:");
    println!(
        "{:<20}{:>18}{:>26}",
        "a version that", "is undone after", "longest without a result"
    );
    let wasm = fs::read(guest("wasm32-wasip2", "hostile")?)?;
    for (what, mode) in BAD {
        let bad = hostile(&wasm, &format!(r#"{{"mode":"{mode}"}}"#))?;
        let (undone, gap) = swap(bench, &bad).await.with_context(|| what)?;
        println!(
            "{what:<20}{:>16.1} s{:>24.1} s",
            undone.as_secs_f64(),
            gap.as_secs_f64()
        );
    }
    Ok(())
}

async fn swap(bench: &Bench<'_>, bad: &[u8]) -> Result<(Duration, Duration)> {
    let client = Client::connect(&bench.broker.url()).await?;
    let scene = Scene::new(bench.broker)?;
    let scene = Scene {
        prefetch: PREFETCH,
        source: vec!["type = \"passive\""],
        preprocess: Plugin {
            lines: format!("deadline = {DEADLINE:?}"),
            ..scene.preprocess
        },
        ..scene
    };
    for queue in [&scene.input, &scene.results] {
        client.declare(queue, bench.kind).await?;
    }
    client
        .publish_all(&scene.input, bench.supplies.parcels(&LENET, bench.messages)?)
        .await?;
    let stage = Stage::start(&scene)?;
    let mut taker = client.taker(&scene.results).await?;
    taker.next(PATIENCE).await?.context("no result")?;

    stage.put(bad)?;
    let control = stage.control.clone();
    let swapped = tokio::task::spawn_blocking(move || {
        let change = control.reload()?;
        ensure!(
            change.get("outcome").and_then(Value::as_str) == Some("done"),
            "{change}"
        );
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let is_undone = |change: &Value| change.get("outcome").and_then(Value::as_str) == Some("undone");
            if control.history()?.iter().any(is_undone) {
                return Ok(began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("it is not undone")
    });
    // A few more for as long as it serves: a backlog that is gone too soon would show it no more messages.
    let items = bench.supplies.items(LENET.body)?;
    let (mut n_sent, mut n_results, mut sent) = (bench.messages, 1, Instant::now());
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    while !swapped.is_finished() || n_results < n_sent {
        if !swapped.is_finished() && sent.elapsed() >= TICK {
            let item = items.get(n_sent % items.len()).context("no messages")?;
            client.publish(&scene.input, &item.parcel(n_sent)).await?;
            (n_sent, sent) = (n_sent + 1, Instant::now());
        }
        let is_there = taker.next(TICK).await?.is_some();
        ensure!(last.elapsed() < PATIENCE, "{n_results} results, and no more");
        if is_there {
            longest = longest.max(last.elapsed());
            (n_results, last) = (n_results + 1, Instant::now());
        }
    }
    let undone = swapped.await??;
    taker.close().await?;
    stage.host.stop()?;
    ensure!(
        client.count(&scene.dead).await.unwrap_or(0) == 0,
        "there are dead letters"
    );
    for queue in [&scene.input, &scene.results, &scene.dead] {
        client.delete(queue).await?;
    }
    Ok((undone, longest))
}
