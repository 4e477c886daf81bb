//! What comes again when a host is killed, by prefetch: two hosts share a queue, one is killed while messages wait, and
//! the other has to let each of those messages run alone.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use millrace_tests::amqp::{Client, QueueKind};
use millrace_tests::broker::Broker;
use millrace_tests::relay::Relay;
use millrace_tests::scene::Scene;
use tokio::runtime::Runtime;

use crate::fleet::Member;
use crate::load::Load;

/// Messages sent for each one of a prefetch: the queue must not run empty before the host is killed.
const BACKLOG: usize = 60;
/// How fast they are sent.
const RATE: f64 = 3_000.0;
/// The longest that one kill may take.
const LIMIT: Duration = Duration::from_secs(600);
/// How often is looked.
const EVERY: Duration = Duration::from_millis(50);

/// Kills a host at each prefetch, and prints what came of it.
///
/// # Errors
/// When a message is lost.
pub(crate) fn run(runtime: &Runtime, broker: &Broker, relay: &Relay, prefetches: &[u16]) -> Result<()> {
    println!("prefetch  in flight  quarantined  second results  until all had run alone");
    for &prefetch in prefetches {
        kill(runtime, broker, relay, prefetch)?;
    }
    Ok(())
}

fn kill(runtime: &Runtime, broker: &Broker, relay: &Relay, prefetch: u16) -> Result<()> {
    let scene = Scene {
        prefetch,
        ..Scene::at(relay.url())?
    };
    let url = broker.url();
    let client = runtime.block_on(async {
        let client = Client::connect(&url).await?;
        client.declare(&scene.results, QueueKind::Quorum).await?;
        anyhow::Ok(client)
    })?;
    let (mut victim, mut other) = (Member::start(&scene)?, Member::start(&scene)?);
    for member in [&mut victim, &mut other] {
        member.host.wait_ready()?;
    }
    let load = Load::start(runtime, &url, &scene)?;
    load.set(RATE);
    let (n, began) = (usize::from(prefetch), Instant::now());
    wait(began, || Ok(load.account()?.n_sent >= BACKLOG * n))?;
    load.set(0.0);
    // In flight by its own account are fewer than the prefetch: the rest is on the way from and to the broker.
    let n_full = f64::from(prefetch) * 2.0;
    wait(began, || {
        Ok(victim.admin.sum("millrace_received_total", "images")? >= n_full)
    })?;
    let waiting = |queue: &str| runtime.block_on(client.count(queue));
    ensure!(
        waiting(&scene.input)? > 0,
        "the queue ran empty before the host was killed"
    );
    let n_in_flight = victim.admin.sum("millrace_in_flight", "images")?;
    victim.host.kill()?;
    let killed = Instant::now();
    // The quarantine has run when nothing waits there; it was full in between.
    let (mut last, quarantine) = (killed, scene.quarantine_queue());
    wait(began, || {
        if waiting(&quarantine)? > 0 {
            last = Instant::now();
        }
        let account = load.account()?;
        Ok(account.n_done == account.n_sent && waiting(&quarantine)? == 0)
    })?;
    let quarantined = "millrace_settled_total{pipeline=\"images\",outcome=\"quarantined\",class=\"\"}";
    let n_quarantined = other.admin.metric(quarantined)?.unwrap_or_default();
    other.host.stop()?;
    let account = load.account()?;
    ensure!(account.n_foreign == 0 && waiting(&scene.input)? == 0 && waiting(&scene.dead)? == 0);
    println!(
        "{prefetch:>8} {n_in_flight:>10} {n_quarantined:>12} {:>15} {:>21.1} s",
        account.n_duplicates,
        (last - killed).as_secs_f64()
    );
    for queue in [&scene.input, &scene.results, &scene.dead, &quarantine] {
        runtime.block_on(client.delete(queue))?;
    }
    Ok(())
}

fn wait(began: Instant, mut is_done: impl FnMut() -> Result<bool>) -> Result<()> {
    while !is_done()? {
        ensure!(began.elapsed() < LIMIT, "it takes longer than {LIMIT:?}");
        std::thread::sleep(EVERY);
    }
    Ok(())
}
