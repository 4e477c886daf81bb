//! Messages that come when they are due, whether or not those before them were answered: an open loop. The latency of each
//! counts from when it was due, so that nothing which stands still, the sender included, hides a wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use millrace_tests::amqp::{Arrival, Client};
use millrace_tests::figures::{Latency, quantile};
use millrace_tests::scene::Scene;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::measure::Bench;
use crate::running::{Running, Variation};
use crate::subject::Subject;
use crate::supplies::Item;

/// The part of what a subject keeps up with at which messages come.
pub(crate) const LOAD: f64 = 0.7;
/// The part of the messages that does not count, from the beginning.
const WARM_UP: f64 = 0.15;
/// Messages on their way while a subject shows what it keeps up with.
const WINDOW: usize = 1_000;
/// How long a result may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A sender that was later than this with one message of a hundred did not keep its schedule.
const LATE_MAX_US: u32 = 5_000;
/// A subject that is behind by the messages of so many seconds when the last was sent does not keep up.
const BACKLOG_MAX: f64 = 1.0;

/// When messages are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// So many a second, each when it is due.
    Rate(f64),
    /// As soon as fewer than a window are on their way.
    Window,
}

/// What came of some messages.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// From when each message was due to its result, in microseconds, by number.
    pub(crate) latencies_us: Vec<u32>,
    /// How much later than due each was sent.
    pub(crate) late_us: Vec<u32>,
    /// Results in a second, from the first twentieth on.
    pub(crate) rate: f64,
    /// Messages without a result when the last was sent.
    pub(crate) backlog: usize,
}

impl Flow {
    /// Whether its messages waited for others, and not only for the subject.
    pub(crate) fn is_saturated(&self, pace: Pace) -> bool {
        match pace {
            Pace::Rate(rate) => self.backlog as f64 > rate * BACKLOG_MAX,
            Pace::Window => false,
        }
    }
}

/// A sender and a consumer of results, for one flow after the other. They stay for all of them: a quorum queue gives back what a
/// consumer that leaves was just sent, and a channel that closes forgets what it was about to send.
pub(crate) struct Course<'a> {
    bench: &'a Bench<'a>,
    subject: Subject,
    queue: String,
    collecting: Connection,
    sending: Connection,
    consumer: Consumer,
    // Without confirms: nobody waits for one, and the broker's share of the machine is the subject's.
    channel: Channel,
    // Messages that were sent in flows before.
    n_before: usize,
}

impl<'a> Course<'a> {
    /// Connects to the queues of a scene.
    pub(crate) async fn open(bench: &'a Bench<'a>, subject: &Subject, scene: &Scene) -> Result<Self> {
        let collecting = Connection::connect(&scene.url, ConnectionProperties::default()).await?;
        let sending = Connection::connect(&scene.url, ConnectionProperties::default()).await?;
        Ok(Self {
            bench,
            subject: *subject,
            queue: scene.input.clone(),
            consumer: listen(&collecting, &scene.results).await?,
            channel: sending.create_channel().await?,
            collecting,
            sending,
            n_before: 0,
        })
    }

    /// Sends `n` messages and waits for the result of each, which must be right.
    ///
    /// # Errors
    /// When a result does not come, comes twice or is wrong.
    pub(crate) async fn flow(&mut self, n: usize, pace: Pace) -> Result<Flow> {
        let began = Instant::now();
        let sender = Sender {
            channel: self.channel.clone(),
            queue: self.queue.clone(),
            items: self.bench.supplies.items(self.subject.body)?.to_vec(),
            first: self.n_before,
            window: Arc::new(Semaphore::new(WINDOW)),
            all_sent: Arc::new(AtomicBool::new(false)),
        };
        let (window, all_sent) = (Arc::clone(&sender.window), Arc::clone(&sender.all_sent));
        let sent = tokio::spawn(sender.send(began, n, pace));
        let mut flow = Flow::default();
        let mut latencies: Vec<Option<u32>> = vec![None; n];
        let (mut is_sending, mut first) = (true, None);
        for n_results in 0..n {
            let (arrival, now) = self.next().await.with_context(|| format!("after {n_results} of {n}"))?;
            window.add_permits(1);
            let number: usize = arrival.correlation_id.parse().context("a result for no input")?;
            let in_flow = number.checked_sub(self.n_before);
            let latency = in_flow.and_then(|number| latencies.get_mut(number));
            let latency = latency.with_context(|| format!("a result of message {number}, which is of no such flow"))?;
            ensure!(latency.is_none(), "message {number} has two results");
            let due = due(began, number - self.n_before, pace);
            *latency = Some(micros(now.saturating_duration_since(due)));
            self.bench.supplies.check(&self.subject, &arrival, number)?;
            if first.is_none() && n_results >= n / 20 {
                first = Some((n_results, now));
            }
            if is_sending && all_sent.load(Ordering::Acquire) {
                (is_sending, flow.backlog) = (false, n - n_results);
            }
        }
        let (before, at) = first.context("no messages")?;
        flow.rate = (n - 1 - before) as f64 / at.elapsed().as_secs_f64();
        flow.late_us = sent.await??;
        flow.latencies_us = latencies.into_iter().flatten().collect();
        self.n_before += n;
        Ok(flow)
    }

    /// The next result, and when it came.
    async fn next(&mut self) -> Result<(Arrival, Instant)> {
        let next = timeout(PATIENCE, self.consumer.next()).await;
        let delivery = next.context("no more results")?;
        let delivery = delivery.context("the broker cancelled the consumer")??;
        Ok((Arrival::from(delivery), Instant::now()))
    }

    /// Ends both connections.
    pub(crate) async fn close(self) -> Result<()> {
        self.collecting.close(200, "done".into()).await?;
        Ok(self.sending.close(200, "done".into()).await?)
    }
}

/// When a message is due; where none ever is, the beginning.
fn due(began: Instant, number: usize, pace: Pace) -> Instant {
    match pace {
        Pace::Rate(rate) => began + Duration::from_secs_f64(number as f64 / rate),
        Pace::Window => began,
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// A consumer that acknowledges nothing: the broker forgets what it sent.
async fn listen(connection: &Connection, queue: &str) -> Result<Consumer> {
    let options = BasicConsumeOptions {
        no_ack: true,
        ..Default::default()
    };
    let channel = connection.create_channel().await?;
    let queue = ShortString::try_new(queue)?;
    Ok(channel
        .basic_consume(queue, "".into(), options, FieldTable::default())
        .await?)
}

struct Sender {
    channel: Channel,
    queue: String,
    items: Vec<Item>,
    /// The number of the first message.
    first: usize,
    window: Arc<Semaphore>,
    all_sent: Arc<AtomicBool>,
}

impl Sender {
    /// Sends all messages; gives how late each was.
    async fn send(self, began: Instant, n: usize, pace: Pace) -> Result<Vec<u32>> {
        let (tick, mut ticks) = mpsc::unbounded_channel();
        if let Pace::Rate(_) = pace {
            // A thread of its own: the runtime's timers are a millisecond coarse.
            std::thread::spawn(move || {
                for number in 0..n {
                    std::thread::sleep(due(began, number, pace).saturating_duration_since(Instant::now()));
                    if tick.send(()).is_err() {
                        return;
                    }
                }
            });
        }
        let mut late_us = Vec::with_capacity(n);
        for number in 0..n {
            match pace {
                Pace::Rate(_) => ticks.recv().await.context("the clock has ended")?,
                Pace::Window => self.window.acquire().await?.forget(),
            }
            late_us.push(micros(due(began, number, pace).elapsed()));
            self.publish(self.first + number).await?;
        }
        self.all_sent.store(true, Ordering::Release);
        Ok(late_us)
    }

    async fn publish(&self, number: usize) -> Result<()> {
        let item = self.items.get(number % self.items.len()).context("no messages")?;
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_message_id(ShortString::try_new(number.to_string())?)
            .with_content_type(item.content_type().into());
        let (options, queue) = (
            BasicPublishOptions::default(),
            ShortString::try_new(self.queue.clone())?,
        );
        self.channel
            .basic_publish("".into(), queue, options, item.body(), properties)
            .await?;
        Ok(())
    }
}

/// What a subject keeps up with while messages are published, and the latency at 70 % of that.
pub(crate) async fn latency(bench: &Bench<'_>, subject: &Subject, guess: f64, seconds: f64) -> Result<Latency> {
    let client = Client::connect(&bench.broker.url()).await?;
    let scene = bench.scene(&client).await?;
    // A peer's number is out of reach: it is ended when all is done.
    let usual = Variation::usual(bench.prefetch);
    let mut running = Running::start(subject, &scene, &bench.supplies, &usual, usize::MAX >> 1)?;
    let mut course = Course::open(bench, subject, &scene).await?;
    // The first result says that it serves.
    course.flow(20, Pace::Window).await?;
    let n = ((guess * seconds / 2.0) as usize).max(100);
    let capacity = course.flow(n, Pace::Window).await?.rate;
    let rate = capacity * LOAD;
    let n = ((rate * seconds) as usize).max(100);
    let before = bench.busy(running.cpu()?)?;
    let flow = course.flow(n, Pace::Rate(rate)).await?;
    let foreign = bench.busy(running.cpu()?)?.marks_since(&before);
    course.close().await?;
    running.must_live()?;
    drop(running);
    bench.remove(&client, &scene).await?;

    let warm = (n as f64 * WARM_UP) as usize;
    let sorted = |values: &[u32]| {
        let mut values = values.get(warm..).unwrap_or_default().to_vec();
        values.sort_unstable();
        values
    };
    let (latencies, late) = (sorted(&flow.latencies_us), sorted(&flow.late_us));
    let sender_late_p99_us = quantile(&late, 0.99);
    let marks = [
        (flow.is_saturated(Pace::Rate(rate)), "saturated"),
        (sender_late_p99_us > LATE_MAX_US, "sender late"),
    ];
    Ok(Latency {
        subject: subject.name.to_owned(),
        capacity,
        rate,
        messages: latencies.len(),
        p50_us: quantile(&latencies, 0.5),
        p90_us: quantile(&latencies, 0.9),
        p99_us: quantile(&latencies, 0.99),
        p999_us: quantile(&latencies, 0.999),
        max_us: quantile(&latencies, 1.0),
        sender_late_p99_us,
        marks: marks
            .iter()
            .filter(|mark| mark.0)
            .map(|mark| mark.1.to_owned())
            .chain(foreign)
            .collect(),
        ..Latency::default()
    })
}
