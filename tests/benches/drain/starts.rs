//! What a subject takes before its first result, and what the host says before it starts at all.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millrace_tests::amqp::Client;
use millrace_tests::host::Mill;

use crate::measure::Bench;
use crate::running::{Running, Variation};
use crate::subject::Subject;

/// Starts of each subject.
pub(crate) const STARTS: usize = 3;
/// What one is expected to take, in seconds.
pub(crate) const EXPECTED: f64 = 3.0;
/// The longest that one may take.
const LIMIT: Duration = Duration::from_secs(120);

/// From the start of the process to its first result, in seconds.
pub(crate) async fn start_up(bench: &Bench<'_>, subject: &Subject) -> Result<f64> {
    let client = Client::connect(&bench.broker.url()).await?;
    let scene = bench.scene(&client).await?;
    client
        .publish_all(&scene.input, bench.supplies.parcels(subject, 1)?)
        .await?;
    let mut taker = client.taker(&scene.results).await?;
    let began = Instant::now();
    let usual = Variation::usual(bench.prefetch);
    let running = Running::start(subject, &scene, &bench.supplies, &usual, 1)?;
    let result = taker.next(LIMIT).await?.context("no result")?;
    let took = began.elapsed().as_secs_f64();
    drop(running);
    bench.supplies.check(subject, &result, 0)?;
    taker.close().await?;
    bench.remove(&client, &scene).await?;
    Ok(took)
}

/// The most memory that a host may take, as `millrace check` says.
pub(crate) fn memory_limit(mill: &Mill) -> Result<u64> {
    let ended = mill.run(&["check", "plugins.toml"])?;
    ensure!(ended.code == Some(0), "{}{}", ended.stdout, ended.stderr);
    let said = || format!("no sum in:\n{}", ended.stdout);
    let line = ended
        .stdout
        .lines()
        .find_map(|line| line.trim().strip_prefix("together"));
    let (number, unit) = line.and_then(|line| line.trim().split_once(' ')).with_context(said)?;
    let bytes = match unit.trim() {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 1_u64,
    };
    Ok((number.parse::<f64>().with_context(said)? * bytes as f64) as u64)
}
