//! Sends messages at a rate that changes, takes their results, and keeps account of each. Knows no host.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use millrace_tests::amqp::{Client, Parcel};
use millrace_tests::samples::{Sample, pictures};
use millrace_tests::scene::Scene;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often messages are sent: those that are due by then, whatever became of the ones before.
const TICK: Duration = Duration::from_millis(20);
/// How long the end of a load is waited for in one go.
const LOOK: Duration = Duration::from_millis(200);

/// What became of every message.
#[derive(Debug, Default)]
struct Ledger {
    /// When each was sent.
    sent: Vec<Instant>,
    /// Results of each.
    n_results: Vec<u32>,
    /// The first without a result.
    oldest: usize,
    n_done: usize,
    n_duplicates: usize,
    n_foreign: usize,
}

/// The account at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    pub(crate) n_sent: usize,
    /// Messages with a result.
    pub(crate) n_done: usize,
    /// Results beyond the first of a message.
    pub(crate) n_duplicates: usize,
    /// Results of no message.
    pub(crate) n_foreign: usize,
    /// How long the oldest message without a result has waited.
    pub(crate) oldest_wait: Duration,
}

/// A sender and a taker on connections of their own.
pub(crate) struct Load {
    ledger: Arc<Mutex<Ledger>>,
    rate: watch::Sender<f64>,
    sending: JoinHandle<Result<()>>,
    taking: JoinHandle<Result<()>>,
}

impl Ledger {
    fn result(&mut self, id: &str) {
        let known = id.parse::<usize>().ok().and_then(|n| self.n_results.get_mut(n));
        match known {
            None => self.n_foreign += 1,
            Some(0) => self.n_done += 1,
            Some(_) => self.n_duplicates += 1,
        }
        if let Some(n) = id.parse::<usize>().ok().and_then(|n| self.n_results.get_mut(n)) {
            *n += 1;
        }
        while self.n_results.get(self.oldest).is_some_and(|&n| n > 0) {
            self.oldest += 1;
        }
    }
}

impl Load {
    /// Begins, with nothing to send.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub(crate) fn start(runtime: &Runtime, url: &str, scene: &Scene) -> Result<Self> {
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let (rate, rates) = watch::channel(0.0);
        let (sender, mut taker) = runtime.block_on(async {
            let taker = Client::connect(url).await?.taker(&scene.results).await?;
            anyhow::Ok((Client::connect(url).await?, taker))
        })?;
        let (samples, input, entries) = (pictures()?, scene.input.clone(), Arc::clone(&ledger));
        let sending = runtime.spawn(async move { send(&sender, &input, &samples, &entries, rates).await });
        let entries = Arc::clone(&ledger);
        let taking = runtime.spawn(async move {
            loop {
                if let Some(result) = taker.next(LOOK).await? {
                    lock(&entries).result(&result.correlation_id);
                }
            }
        });
        Ok(Self {
            ledger,
            rate,
            sending,
            taking,
        })
    }

    /// From now on so many messages a second come.
    pub(crate) fn set(&self, messages_per_second: f64) {
        self.rate.send_replace(messages_per_second);
    }

    /// The account now.
    ///
    /// # Errors
    /// When sender or taker failed: then it is wrong.
    pub(crate) fn account(&self) -> Result<Account> {
        anyhow::ensure!(
            !self.sending.is_finished() && !self.taking.is_finished(),
            "the load's connection broke"
        );
        let ledger = lock(&self.ledger);
        Ok(Account {
            n_sent: ledger.sent.len(),
            n_done: ledger.n_done,
            n_duplicates: ledger.n_duplicates,
            n_foreign: ledger.n_foreign,
            oldest_wait: ledger.sent.get(ledger.oldest).map_or(Duration::ZERO, Instant::elapsed),
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.sending.abort();
        self.taking.abort();
    }
}

async fn send(
    client: &Client,
    queue: &str,
    samples: &[Sample],
    ledger: &Mutex<Ledger>,
    rates: watch::Receiver<f64>,
) -> Result<()> {
    let bodies = samples.iter().map(Sample::raw).collect::<Result<Vec<_>>>()?;
    let (mut due, mut last) = (0.0, Instant::now());
    loop {
        tokio::time::sleep(TICK).await;
        let rate = *rates.borrow();
        due += rate * last.elapsed().as_secs_f64();
        last = Instant::now();
        let mut parcels = Vec::new();
        while due >= 1.0 {
            due -= 1.0;
            let n = {
                let mut ledger = lock(ledger);
                ledger.sent.push(Instant::now());
                ledger.n_results.push(0);
                ledger.sent.len() - 1
            };
            let body = bodies.get(n % bodies.len()).context("no pictures")?;
            parcels.push(Parcel {
                content_type: Some("image/x-rgb".to_owned()),
                ..Parcel::new(&n.to_string(), body.clone())
            });
        }
        client.publish_all(queue, parcels).await?;
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    // A panic of the other task says nothing about the entries.
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
