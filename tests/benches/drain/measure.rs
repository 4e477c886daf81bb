//! One block: fill the queue, start the subject, time the drain, check every result.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use millrace_tests::amqp::{Arrival, Client, QueueKind};
use millrace_tests::broker::Broker;
use millrace_tests::figures::Block;
use millrace_tests::scene::Scene;

use crate::clock::{self, Machine};
use crate::running::{Running, Variation};
use crate::subject::Subject;
use crate::supplies::Supplies;

/// What all blocks of a run share.
pub(crate) struct Bench<'a> {
    /// The broker that every subject drains.
    pub(crate) broker: &'a Broker,
    /// How queues are declared.
    pub(crate) kind: QueueKind,
    /// What is in the queues.
    pub(crate) supplies: Supplies,
    /// Messages in a block, where nothing else is said.
    pub(crate) messages: usize,
    /// Messages in flight.
    pub(crate) prefetch: u16,
    /// The broker's CPU seconds in a second without clients.
    pub(crate) broker_idle_cpu: f64,
}

/// The clock and the CPU times at one moment of a drain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) at: Instant,
    pub(crate) results: usize,
    subject_cpu: f64,
    broker_cpu: f64,
    pub(crate) busy: Busy,
}

/// The machine's CPU time at one moment, and what of it is this run's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Busy {
    machine: Machine,
    ours: f64,
}

impl Busy {
    /// The part of the machine that other programs had since.
    fn foreign_since(&self, earlier: &Self) -> f64 {
        self.machine.foreign_since(&earlier.machine, self.ours - earlier.ours)
    }

    /// What is wrong with what was measured since, by others' doing.
    pub(crate) fn marks_since(&self, earlier: &Self) -> Vec<String> {
        let is_foreign = self.foreign_since(earlier) > FOREIGN_MAX;
        is_foreign.then(|| FOREIGN.to_owned()).into_iter().collect()
    }
}

/// The first twentieth is not counted: the subject starts in it.
const WARM_UP_PART: usize = 20;
/// How often the queue is looked at: a passive declaration, which costs the broker next to nothing.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The longest a drain may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(600);
/// The part of the machine that others may take in a block.
const FOREIGN_MAX: f64 = 0.1;
/// What is said of a block in which they took more.
const FOREIGN: &str = "foreign cpu";
/// A block that is over sooner says little.
const SHORT: f64 = 1.0;
/// How long a result that should not be there is waited for.
const NO_MORE: Duration = Duration::from_millis(300);
/// How long the broker is watched alone.
const IDLE: Duration = Duration::from_secs(4);

impl Bench<'_> {
    /// Measures a subject once.
    pub(crate) async fn block(&self, subject: &Subject, n: usize, variation: &Variation) -> Result<Block> {
        let client = Client::connect(&self.broker.url()).await?;
        let scene = self.scene(&client).await?;
        client
            .publish_all(&scene.input, self.supplies.parcels(subject, n)?)
            .await?;
        let load = clock::load();
        let mut running = Running::start(subject, &scene, &self.supplies, variation, n)?;
        let marks = self.watch(&client, &scene, &mut running, n).await?;
        running.must_be(subject)?;
        let mut block = self.block_of(subject, &mut running, marks)?;
        (block.messages, block.load) = (n, load);
        if let Some(said) = running.end(subject)? {
            block.peak_bytes = said;
        }
        self.check(subject, &client, &scene, n).await?;
        self.remove(&client, &scene).await?;

        Ok(block)
    }

    /// What a subject that still runs took between two moments.
    pub(crate) fn block_of(
        &self,
        subject: &Subject,
        running: &mut Running,
        (begin, end): (Mark, Mark),
    ) -> Result<Block> {
        let seconds = (end.at - begin.at).as_secs_f64();
        let cpu_seconds = end.subject_cpu - begin.subject_cpu;
        let broker_cpu = end.broker_cpu - begin.broker_cpu;
        let foreign_cpu = end.busy.foreign_since(&begin.busy);
        let marks = [(foreign_cpu > FOREIGN_MAX, FOREIGN), (seconds < SHORT, "short")];
        Ok(Block {
            subject: subject.name.to_owned(),
            counted: end.results - begin.results,
            seconds,
            cpu_seconds,
            broker_cpu_seconds: (broker_cpu - self.broker_idle_cpu * seconds).max(0.0),
            peak_bytes: running.peak_bytes(),
            mean_batch: running.mean_batch()?,
            foreign_cpu,
            marks: marks
                .iter()
                .filter(|mark| mark.0)
                .map(|mark| mark.1.to_owned())
                .collect(),
            ..Block::default()
        })
    }

    /// Queues that no other block has, declared.
    pub(crate) async fn scene(&self, client: &Client) -> Result<Scene> {
        self.scene_of(client, self.kind).await
    }

    /// The same of another kind.
    pub(crate) async fn scene_of(&self, client: &Client, kind: QueueKind) -> Result<Scene> {
        let scene = Scene {
            prefetch: self.prefetch,
            // The host declares its source with a dead-letter queue, and takes a passive one as it is.
            source: vec!["type = \"passive\""],
            ..Scene::new(self.broker)?
        };
        for queue in [&scene.input, &scene.results] {
            client.declare(queue, kind).await?;
        }
        Ok(scene)
    }

    /// Deletes the queues of a scene.
    pub(crate) async fn remove(&self, client: &Client, scene: &Scene) -> Result<()> {
        for queue in [&scene.input, &scene.results, &scene.dead] {
            client.delete(queue).await?;
        }
        Ok(())
    }

    /// Waits until there are `n` results, and gives the moments between which they count.
    pub(crate) async fn watch(
        &self,
        client: &Client,
        scene: &Scene,
        running: &mut Running,
        n: usize,
    ) -> Result<(Mark, Mark)> {
        let deadline = Instant::now() + DRAIN_LIMIT;
        let mut begin = None;
        loop {
            let results = client.count(&scene.results).await? as usize;
            if begin.is_none() && results >= (n / WARM_UP_PART).max(1) && running.serves() {
                begin = Some(self.mark(running, results)?);
            }
            if results >= n {
                let begin = begin.context("the drain was over at once: take more --messages")?;
                return Ok((begin, self.mark(running, results)?));
            }
            running.must_live()?;
            if Instant::now() > deadline {
                bail!("{results} of {n} results after {} s", DRAIN_LIMIT.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn mark(&self, running: &Running, results: usize) -> Result<Mark> {
        let subject_cpu = running.cpu()?;
        Ok(Mark {
            at: Instant::now(),
            results,
            subject_cpu,
            broker_cpu: self.broker_cpu()?,
            busy: self.busy(subject_cpu)?,
        })
    }

    /// The machine now, with the subject's CPU seconds.
    pub(crate) fn busy(&self, subject_cpu: f64) -> Result<Busy> {
        Ok(Busy {
            machine: Machine::now()?,
            ours: subject_cpu + self.broker_cpu()? + clock::cpu(std::process::id())?,
        })
    }

    fn broker_cpu(&self) -> Result<f64> {
        clock::cpu(self.broker.pid().context("the broker does not run")?)
    }

    /// What the broker takes in a second without clients.
    pub(crate) async fn idle(&self) -> Result<f64> {
        let (began, before) = (Instant::now(), self.broker_cpu()?);
        tokio::time::sleep(IDLE).await;
        Ok((self.broker_cpu()? - before) / began.elapsed().as_secs_f64())
    }

    /// Every message has one result, and it is right.
    pub(crate) async fn check(&self, subject: &Subject, client: &Client, scene: &Scene, n: usize) -> Result<()> {
        let results = client.take_all(&scene.results, n).await?;
        let more = client.take(&scene.results, 1, NO_MORE).await?;
        ensure!(more.is_empty(), "more than {n} results of {n} messages");
        self.check_all(subject, &results, n)
    }

    /// No two of these results are of one message, and all are right.
    pub(crate) fn check_all(&self, subject: &Subject, results: &[Arrival], n: usize) -> Result<()> {
        let mut seen = vec![false; n];
        for result in results {
            let number: usize = result.correlation_id.parse().context("a result for no input")?;
            let slot = seen
                .get_mut(number)
                .context("a result of a message that was never sent")?;
            ensure!(!std::mem::replace(slot, true), "message {number} has two results");
            self.supplies.check(subject, result, number)?;
        }
        Ok(())
    }
}
