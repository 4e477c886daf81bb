//! One block: fill the queue, start the subject, time the drain, check every result.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use millrace_tests::amqp::{Client, Parcel, QueueKind};
use millrace_tests::broker::Broker;
use millrace_tests::samples::Sample;
use millrace_tests::scene::Scene;

use crate::subject::Subject;

/// What all blocks of a run share.
pub(crate) struct Bench<'a> {
    /// The broker that every subject drains.
    pub(crate) broker: &'a Broker,
    /// How queues are declared.
    pub(crate) kind: QueueKind,
    /// The pictures, published in turn.
    pub(crate) samples: Vec<Sample>,
    /// Messages in a block.
    pub(crate) messages: usize,
    /// Messages in flight.
    pub(crate) prefetch: u16,
}

/// What one block came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    /// Messages a second.
    pub(crate) rate: f64,
    /// CPU seconds of the subject for 1,000 messages.
    pub(crate) subject_cpu: f64,
    /// CPU seconds of the broker for 1,000 messages.
    pub(crate) broker_cpu: f64,
}

/// The clock and the CPU times at one moment of a drain.
pub(crate) struct Mark {
    pub(crate) at: Instant,
    pub(crate) results: usize,
    subject_cpu: f64,
    broker_cpu: f64,
}

/// The first twentieth is not counted: the subject starts in it.
const WARM_UP_PART: usize = 20;
/// How often the queue is looked at: a passive declaration, which costs the broker next to nothing.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The longest a drain may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(600);
/// What `/proc` counts CPU time in: `USER_HZ`, which Linux has fixed at 100 for programs.
const TICKS_PER_SECOND: f64 = 100.0;

impl Bench<'_> {
    /// Measures a subject once.
    pub(crate) async fn block(&self, subject: Subject) -> Result<Block> {
        let client = Client::connect(&self.broker.url()).await?;
        let mut scene = Scene {
            prefetch: self.prefetch,
            ..Scene::new(self.broker)?
        };
        if self.kind == QueueKind::Classic {
            scene.source = vec!["type = \"classic\"", "durable = true"];
        } else {
            // The host declares its source with a dead-letter queue, and takes a passive one as it is.
            scene.source = vec!["type = \"passive\""];
        }
        client.declare(&scene.input, self.kind).await?;
        client.declare(&scene.results, self.kind).await?;
        client.publish_all(&scene.input, self.parcels(subject)?).await?;

        let running = subject.start(scene.clone())?;
        let (begin, end) = self.watch(&client, &scene, running.pid()).await?;
        drop(running);
        self.check(subject, &client, &scene).await?;
        for queue in [&scene.input, &scene.results, &scene.dead] {
            client.delete(queue).await?;
        }

        let (n, seconds) = ((end.results - begin.results) as f64, (end.at - begin.at).as_secs_f64());
        Ok(Block {
            rate: n / seconds,
            subject_cpu: (end.subject_cpu - begin.subject_cpu) / n * 1000.0,
            broker_cpu: (end.broker_cpu - begin.broker_cpu) / n * 1000.0,
        })
    }

    pub(crate) fn parcels(&self, subject: Subject) -> Result<Vec<Parcel>> {
        let bodies = self
            .samples
            .iter()
            .map(|sample| subject.body().of(sample))
            .collect::<Result<Vec<_>>>()?;
        let numbered = (0..self.messages).zip(bodies.iter().cycle());
        let parcel = |(n, (content_type, body)): (usize, &(&str, Vec<u8>))| Parcel {
            content_type: Some((*content_type).to_owned()),
            ..Parcel::new(&n.to_string(), body.clone())
        };
        Ok(numbered.map(parcel).collect())
    }

    pub(crate) async fn watch(&self, client: &Client, scene: &Scene, subject: u32) -> Result<(Mark, Mark)> {
        let broker = self.broker.pid().context("the broker does not run")?;
        let deadline = Instant::now() + DRAIN_LIMIT;
        let mut begin = None;
        loop {
            let results = client.count(&scene.results).await? as usize;
            let mark = || -> Result<Mark> {
                Ok(Mark {
                    at: Instant::now(),
                    results,
                    subject_cpu: cpu(subject)?,
                    broker_cpu: cpu(broker)?,
                })
            };
            if begin.is_none() && results >= self.messages / WARM_UP_PART {
                begin = Some(mark()?);
            }
            if results >= self.messages {
                return Ok((
                    begin.context("the drain was over at once: take more --messages")?,
                    mark()?,
                ));
            }
            if Instant::now() > deadline {
                bail!(
                    "{results} of {} results after {} s",
                    self.messages,
                    DRAIN_LIMIT.as_secs()
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Every message has one result, and it is right.
    pub(crate) async fn check(&self, subject: Subject, client: &Client, scene: &Scene) -> Result<()> {
        let results = client
            .take(&scene.results, self.messages + 1, Duration::from_millis(500))
            .await?;
        ensure!(
            results.len() == self.messages,
            "{} results of {} messages",
            results.len(),
            self.messages
        );
        let mut seen = BTreeSet::new();
        for result in &results {
            let n: usize = result.correlation_id.parse().context("a result for no input")?;
            ensure!(
                n < self.messages && seen.insert(n),
                "message {n} has two results, or was never sent"
            );
            let sample = self.samples.get(n % self.samples.len()).context("no sample")?;
            subject.check(result, sample).with_context(|| format!("message {n}"))?;
        }
        Ok(())
    }
}

/// User and system time of a process so far, in seconds.
fn cpu(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the process has ended")?;
    // Fields are counted from after the name, which may hold spaces: utime and stime are the 12th and 13th there.
    let (_, fields) = stat.rsplit_once(')').context("no process name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| -> Result<f64> { Ok(fields.get(index).context("a short line")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}
