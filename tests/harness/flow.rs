//! Messages that flow at a steady pace while a test changes the host, and what became of each. Knows queues, and nothing of
//! the host but what it writes into results.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use tokio::time::{MissedTickBehavior, interval};

use crate::amqp::{Arrival, Client, Parcel};
use crate::host::Host;
use crate::oracle::{Oracle, Verdict};
use crate::samples::pictures;
use crate::scene::Scene;
use crate::wait_for;

/// Between two messages: a pace that a busy machine keeps with two hosts beside it.
const PACE: Duration = Duration::from_millis(10);

/// How soon a taker looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(50);

/// A publisher of pictures and takers of what comes of them, on a thread of their own: the test may block.
pub struct Flow {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// What became of the messages of a flow.
#[derive(Debug)]
pub struct Outcome {
    /// The judge's sets.
    pub oracle: Oracle,
    /// Results in the order in which they came.
    pub results: Vec<Arrival>,
    /// Dead letters in the order in which they came.
    pub dead: Vec<Arrival>,
    /// What each picture shows, by message id.
    pub labels: BTreeMap<String, String>,
}

#[derive(Default)]
struct Shared {
    /// No more is published.
    is_last: AtomicBool,
    /// No more is taken.
    is_over: AtomicBool,
    /// So many are published at once, before the next that keeps the pace.
    n_at_once: AtomicUsize,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    oracle: Oracle,
    results: Vec<Arrival>,
    /// When each result came.
    came: Vec<Instant>,
    dead: Vec<Arrival>,
    labels: BTreeMap<String, String>,
}

impl Flow {
    /// Begins to publish into the scene's source, numbered from 0, and to take from its results and dead letters. The queues
    /// must be there.
    ///
    /// # Errors
    /// When the machine has no thread for it.
    pub fn start(scene: &Scene) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (theirs, own) = (Arc::clone(&shared), scene.clone());
        let thread = std::thread::Builder::new().name("flow".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(run(&own, &theirs))
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// How many messages were published.
    pub fn n_published(&self) -> usize {
        self.shared.seen().oracle.attempted.len()
    }

    /// Publishes so many at once, beside those that keep the pace: a backlog.
    pub fn burst(&self, n: usize) {
        self.shared.n_at_once.fetch_add(n, Ordering::SeqCst);
    }

    /// The longest time in which no result came, from a place in their order on, until now.
    pub fn longest_gap_from(&self, from: usize) -> Duration {
        let mut came: Vec<Instant> = self.shared.seen().came.iter().skip(from).copied().collect();
        came.push(Instant::now());
        let gaps = came.iter().zip(came.iter().skip(1)).map(|(one, next)| *next - *one);
        gaps.max().unwrap_or_default()
    }

    /// How many results came.
    pub fn n_results(&self) -> usize {
        self.shared.seen().results.len()
    }

    /// The results from a place in their order on.
    pub fn results_from(&self, from: usize) -> Vec<Arrival> {
        self.shared.seen().results.iter().skip(from).cloned().collect()
    }

    /// Waits until so many more results came.
    ///
    /// # Errors
    /// When they do not come.
    pub fn wait_more(&self, n: usize) -> Result<()> {
        let goal = self.n_results() + n;
        self.wait(&format!("{n} more results"), || {
            (self.n_results() >= goal).then_some(())
        })
    }

    /// Waits for a result among those that come from now on.
    ///
    /// # Errors
    /// When it does not come, with the headers of the last one.
    pub fn wait_result(&self, what: &str, is_it: impl Fn(&Arrival) -> bool) -> Result<Arrival> {
        let from = self.n_results();
        let found = self.wait(what, || {
            let seen = self.shared.seen();
            seen.results.iter().skip(from).find(|arrival| is_it(arrival)).cloned()
        });
        found.with_context(|| {
            let seen = self.shared.seen();
            let last = seen.results.last().map(|last| last.headers.clone());
            format!("{} results, the last with {last:?}", seen.results.len())
        })
    }

    /// Publishes no more, waits until every message has its result or its dead letter, stops the host, and judges: nothing
    /// lost, nothing twice, nothing that nobody sent.
    ///
    /// # Errors
    /// With what is missing, or with the host's log.
    pub fn finish(mut self, host: Host) -> Result<Outcome> {
        self.shared.is_last.store(true, Ordering::SeqCst);
        let missing = || {
            let seen = self.shared.seen();
            let oracle = &seen.oracle;
            let is_out = |id: &String| oracle.results.contains_key(id) || oracle.dead.contains_key(id);
            let missing: Vec<String> = oracle.attempted.keys().filter(|id| !is_out(id)).cloned().collect();
            missing
        };
        self.wait("every message's result", || missing().is_empty().then_some(()))
            .with_context(|| format!("without any: {:?}\nthe host's log:\n{}", missing(), host.log()))?;
        host.stop()?;
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.join()?;
        let seen = std::mem::take(&mut *self.shared.seen());
        let verdict = seen.oracle.judge();
        ensure!(verdict == Verdict::default(), "{verdict}");
        Ok(Outcome {
            oracle: seen.oracle,
            results: seen.results,
            dead: seen.dead,
            labels: seen.labels,
        })
    }

    /// Waits, and gives up at once when the flow has ended of an error.
    fn wait<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
        let waited = wait_for(what, || {
            let has_ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            match (ask(), has_ended) {
                (Some(answer), _) => Some(Ok(answer)),
                (None, true) => Some(Err(anyhow!("the flow has ended before {what}"))),
                (None, false) => None,
            }
        });
        waited?
    }

    fn join(&mut self) -> Result<()> {
        let thread = self.thread.take().context("a flow that was joined")?;
        thread.join().map_err(|_| anyhow!("the flow panicked"))?
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        // A test that failed: what the flow says then is no news.
        self.shared.is_last.store(true, Ordering::SeqCst);
        self.shared.is_over.store(true, Ordering::SeqCst);
        if self.thread.is_some()
            && let Err(error) = self.join()
        {
            eprintln!("the flow: {error:#}");
        }
    }
}

impl Outcome {
    /// Demands that every message has one result and none a dead letter.
    ///
    /// # Errors
    /// With the first dead letter's headers.
    pub fn all_results(&self) -> Result<()> {
        if let Some(dead_letter) = self.dead.first() {
            return Err(anyhow!(
                "{} dead letters, the first with {:?}",
                self.dead.len(),
                dead_letter.headers
            ));
        }
        let (n_results, n_published) = (self.oracle.results.len(), self.oracle.attempted.len());
        ensure!(n_results == n_published, "{n_published} messages, {n_results} results");
        Ok(())
    }

    /// Demands that every result says what its picture shows.
    ///
    /// # Errors
    /// With the first that does not.
    pub fn all_right(&self) -> Result<()> {
        for arrival in &self.results {
            let expected = self.labels.get(&arrival.correlation_id).map(String::as_str);
            let result = arrival.json()?;
            let found = result.get("label").and_then(|label| label.as_str());
            ensure!(
                found == expected,
                "{}: {found:?}, and the picture shows {expected:?}",
                arrival.correlation_id
            );
        }
        Ok(())
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(scene: &Scene, shared: &Shared) -> Result<()> {
    let client = Client::connect(&scene.url).await?;
    tokio::try_join!(
        publish(&client, scene, shared),
        take(&client, &scene.results, shared, |seen, arrival| {
            seen.oracle.result(&arrival.correlation_id);
            seen.results.push(arrival);
            seen.came.push(Instant::now());
        }),
        take(&client, &scene.dead, shared, |seen, arrival| {
            seen.oracle.dead_letter(&arrival.correlation_id);
            seen.dead.push(arrival);
        }),
    )?;
    // The host has stopped: what is in the queues now stays there.
    let mut oracle = std::mem::take(&mut shared.seen().oracle);
    scene.gather(&client, &mut oracle).await?;
    shared.seen().oracle = oracle;
    Ok(())
}

async fn publish(client: &Client, scene: &Scene, shared: &Shared) -> Result<()> {
    let samples = pictures()?;
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut numbered = samples.iter().cycle().enumerate();
    loop {
        pace.tick().await;
        if shared.is_last.load(Ordering::SeqCst) {
            return Ok(());
        }
        let n = 1 + shared.n_at_once.swap(0, Ordering::SeqCst);
        let mut parcels = Vec::with_capacity(n);
        for (number, sample) in numbered.by_ref().take(n) {
            let id = number.to_string();
            let mut seen = shared.seen();
            seen.oracle.attempt(&id);
            seen.labels.insert(id.clone(), sample.label.clone());
            parcels.push(Parcel::new(&id, sample.png.clone()));
        }
        let ids: Vec<String> = parcels.iter().filter_map(|parcel| parcel.id.clone()).collect();
        client.publish_all(&scene.input, parcels).await?;
        let mut seen = shared.seen();
        ids.iter().for_each(|id| seen.oracle.confirm(id));
    }
}

async fn take(client: &Client, queue: &str, shared: &Shared, note: impl Fn(&mut Seen, Arrival)) -> Result<()> {
    let mut taker = client.taker(queue).await?;
    while !shared.is_over.load(Ordering::SeqCst) {
        if let Some(arrival) = taker.next(GLANCE).await? {
            note(&mut shared.seen(), arrival);
        }
    }
    taker.close().await
}
