//! The end of a run: the faults are over, everything drains, and what came out is gathered. Knows no fault.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use millrace_tests::amqp::Client;
use millrace_tests::broker::Broker;

use crate::judge::Judge;
use crate::stage::{Orders, Pipeline};

/// How long nothing may move before the run counts as stuck: a held message is tried every few seconds.
const STUCK: Duration = Duration::from_secs(90);
/// How often the queues are looked at.
const PAUSE: Duration = Duration::from_secs(1);
/// How soon a fresh message has its result when everything is calm.
const CANARY_LIMIT: Duration = Duration::from_secs(20);
/// When nothing has come from a queue for so long, it is empty.
const SILENCE: Duration = Duration::from_secs(2);

/// What is in the queues.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Queues {
    /// Ready or in flight, in source and quarantine queues.
    pub(crate) n_waiting: u64,
    /// In flight.
    pub(crate) n_in_flight: u64,
    /// Results and dead letters.
    pub(crate) n_done: u64,
}

impl Queues {
    /// Asks the broker.
    pub(crate) fn of(broker: &Broker) -> Result<Self> {
        let listed = broker.rabbitmqctl(&[
            "--no-table-headers",
            "list_queues",
            "name",
            "messages_ready",
            "messages_unacknowledged",
        ])?;
        let mut queues = Self::default();
        for line in listed.lines() {
            let mut words = line.split_whitespace();
            let (Some(name), Some(ready), Some(in_flight)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let (Ok(ready), Ok(in_flight)) = (ready.parse::<u64>(), in_flight.parse::<u64>()) else {
                continue;
            };
            for pipeline in Pipeline::ALL {
                if name == pipeline.input() || name == pipeline.quarantine_queue() {
                    queues.n_waiting += ready + in_flight;
                    queues.n_in_flight += in_flight;
                } else if name == pipeline.dead() || name == pipeline.results() {
                    queues.n_done += ready;
                }
            }
        }
        Ok(queues)
    }
}

/// Waits until nothing waits any more.
///
/// # Errors
/// When nothing moves for too long.
pub(crate) fn wait_until_empty(broker: &Broker) -> Result<()> {
    let mut last = Queues::of(broker)?;
    let mut moved = Instant::now();
    while last.n_waiting > 0 {
        std::thread::sleep(PAUSE);
        let now = Queues::of(broker)?;
        if now != last {
            (last, moved) = (now, Instant::now());
        }
        if moved.elapsed() > STUCK {
            bail!("stuck for {} s after the faults: {last:?}", STUCK.as_secs());
        }
    }
    Ok(())
}

/// A fresh message of each pipeline must have its result in time.
///
/// # Errors
/// When it has none.
pub(crate) async fn canaries(client: &Client, orders: &mut Orders, judge: &mut Judge, id: &str) -> Result<()> {
    for pipeline in Pipeline::ALL {
        let order = orders.canary(pipeline, id)?;
        let before = client.count(&pipeline.results()).await?;
        judge.attempt(&order);
        client.publish(&pipeline.input(), &order.parcel).await?;
        judge.confirm(&order);
        let deadline = Instant::now() + CANARY_LIMIT;
        while client.count(&pipeline.results()).await? <= before {
            ensure!(
                Instant::now() < deadline,
                "no result of a canary within {} s",
                CANARY_LIMIT.as_secs()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// The label of what the trapping pipeline makes of a message that it does not trap over: asked once, before the run.
pub(crate) async fn calibrate(client: &Client, orders: &mut Orders) -> Result<()> {
    let order = orders.canary(Pipeline::Traps, "calibration")?;
    client.publish(&Pipeline::Traps.input(), &order.parcel).await?;
    let results = client.take_all(&Pipeline::Traps.results(), 1).await?;
    let body = results.first().context("no result")?.json()?;
    body.get("label")
        .and_then(|label| label.as_str())
        .context("no label")?
        .clone_into(&mut orders.label_of_zeros);
    Ok(())
}

/// Takes everything that came out; only when the hosts have stopped.
pub(crate) async fn gather(client: &Client, broker: &Broker, judge: &mut Judge) -> Result<()> {
    let listed = broker.rabbitmqctl(&["--no-table-headers", "list_queues", "name"])?;
    for pipeline in Pipeline::ALL {
        for result in client.take(&pipeline.results(), usize::MAX, SILENCE).await? {
            judge.result(&result);
        }
        for dead_letter in client.take(&pipeline.dead(), usize::MAX, SILENCE).await? {
            judge.dead_letter(&dead_letter);
        }
        for queue in [pipeline.input(), pipeline.quarantine_queue()] {
            if listed.lines().any(|name| name == queue) {
                for waiting in client.drain(&queue).await? {
                    judge.waits(&waiting.id);
                }
            }
        }
    }
    Ok(())
}
