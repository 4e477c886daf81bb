//! A publisher that survives the faults: it publishes every message, with the same id, until it is confirmed. Knows
//! nothing of the hosts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use futures_util::future::join_all;
use millrace_tests::amqp::Client;
use tokio::time::{sleep, timeout};

use crate::judge::Judge;
use crate::stage::{Order, Orders, Pipeline};

/// Messages that are published at one time.
const BATCH: usize = 64;
/// Messages that wait in each queue, at least: the hosts are never out of work.
const BACKLOG: u32 = 400;
/// How long a confirm may take before the publish is made once more: longer than the broker ever stands still.
const CONFIRM_LIMIT: Duration = Duration::from_secs(20);
/// How soon it connects again, and looks again at a queue that is full enough.
const PAUSE: Duration = Duration::from_millis(50);

/// The publisher.
pub(crate) struct Publisher<'a> {
    url: String,
    orders: Orders,
    judge: &'a Mutex<Judge>,
    stop: &'a AtomicBool,
    /// Messages that are still to be drawn; nothing where there is no end.
    left: Option<u64>,
    unconfirmed: VecDeque<Order>,
}

impl<'a> Publisher<'a> {
    pub(crate) fn new(
        url: String,
        orders: Orders,
        left: Option<u64>,
        judge: &'a Mutex<Judge>,
        stop: &'a AtomicBool,
    ) -> Self {
        Self {
            url,
            orders,
            judge,
            stop,
            left,
            unconfirmed: VecDeque::new(),
        }
    }

    /// Publishes until it is told to stop, or has no more, and everything is confirmed; gives back the orders.
    pub(crate) async fn run(mut self) -> Result<Orders> {
        loop {
            if let Ok(Ok(client)) = timeout(CONFIRM_LIMIT, Client::connect(&self.url)).await {
                match self.publish(&client).await {
                    Ok(()) => return Ok(self.orders),
                    // Whatever it was: what is unconfirmed is published again.
                    Err(_) => continue,
                }
            }
            sleep(PAUSE).await;
        }
    }

    async fn publish(&mut self, client: &Client) -> Result<()> {
        loop {
            self.fill(client).await?;
            if self.unconfirmed.is_empty() {
                if self.stop.load(Ordering::SeqCst) || self.left == Some(0) {
                    return Ok(());
                }
                sleep(PAUSE).await;
                continue;
            }
            let n = self.unconfirmed.len().min(BATCH);
            let batch: Vec<Order> = self.unconfirmed.drain(..n).collect();
            let published = join_all(batch.into_iter().map(|order| self.publish_one(client, order))).await;
            self.unconfirmed.extend(published.into_iter().flatten());
            if !self.unconfirmed.is_empty() {
                return Err(anyhow!("not everything was confirmed"));
            }
        }
    }

    /// Gives the order back when it was not confirmed.
    async fn publish_one(&self, client: &Client, order: Order) -> Option<Order> {
        self.note(|judge| judge.attempt(&order));
        let input = order.pipeline.input();
        match timeout(CONFIRM_LIMIT, client.publish(&input, &order.parcel)).await {
            Ok(Ok(())) => {
                self.note(|judge| judge.confirm(&order));
                None
            }
            _ => Some(order),
        }
    }

    /// Draws a batch for every queue that is to have more.
    async fn fill(&mut self, client: &Client) -> Result<()> {
        if !self.unconfirmed.is_empty() || self.stop.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut waiting = BTreeMap::new();
        for pipeline in Pipeline::ALL {
            let counted = timeout(CONFIRM_LIMIT, client.count(&pipeline.input())).await;
            waiting.insert(pipeline, counted.map_err(|_| anyhow!("no answer"))??);
        }
        for (pipeline, waiting) in waiting {
            let n = if waiting < BACKLOG {
                BATCH / Pipeline::ALL.len()
            } else {
                0
            };
            for _ in 0..n {
                match &mut self.left {
                    Some(0) => break,
                    Some(left) => *left -= 1,
                    None => {}
                }
                let order = self.orders.draw(pipeline)?;
                self.unconfirmed.push_back(order);
            }
        }
        Ok(())
    }

    fn note(&self, note: impl FnOnce(&mut Judge)) {
        note(&mut self.judge.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
