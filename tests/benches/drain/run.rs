//! The whole bench: which parts there are, in which order, and what is written at the end.

use std::collections::BTreeMap;
use std::time::SystemTime;

use anyhow::{Context, Result};
use millrace_tests::broker::Broker;
use millrace_tests::figures::{Described, FORMAT, MemoryLimit, Record, Settings, Skipped, StartUp};

use crate::arguments::{ALWAYS, Arguments, Part};
use crate::measure::Bench;
use crate::progress::Progress;
use crate::running::{Variation, mill};
use crate::subject::{Network, ROUND, Runs, Subject};
use crate::supplies::Supplies;
use crate::{about, alone, neighbour, open, starts, swaps, vary};

/// Messages of the first block of a subject, which shows its rate: a second or two of most.
const FIRST: usize = 1_500;
/// Those of one with photos.
const FIRST_PHOTOS: usize = 60;
/// Bounds of a block: fewer say nothing, more take longer to publish than to drain.
const MESSAGES: (f64, f64) = (100.0, 60_000.0);
/// What a block takes beside its drain: publishing, a start, the check.
const AROUND: f64 = 9.0;
/// What the neighbours and the swaps of a round take.
const OF_NEIGHBOURS: f64 = 60.0;
const OF_SWAPS: f64 = 80.0;
/// What calls and forward passes of a round take.
const ALONE: f64 = 22.0;

/// A run.
pub(crate) struct Run<'a> {
    pub(crate) bench: Bench<'a>,
    pub(crate) record: Record,
    pub(crate) progress: Progress,
    /// Messages a second of each subject, as its last block showed.
    rates: BTreeMap<String, f64>,
    seconds: f64,
}

/// Measures everything that is asked for, and writes it.
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    arguments.must_be_writable()?;
    let (subjects, skipped) = arguments.subjects()?;
    for Skipped { subject, why } in &skipped {
        println!("{subject} is not measured: {why}");
    }
    let mut needed = subjects.clone();
    needed.extend(ALWAYS);
    if arguments.has(Part::Size) {
        needed.extend(arguments.edges().iter().flat_map(|edge| vary::of_size(*edge)));
    }
    if arguments.has(Part::Waiting) {
        needed.extend(vary::of_size(vary::WAITING_EDGE));
    }
    println!("Making what is needed: messages, networks, a broker.");
    let supplies = Supplies::gather(&needed, arguments.python.clone())?;
    let broker = Broker::start()?;
    let record = begin(arguments, &broker, &needed, skipped, &supplies)?;
    let mut run = Run {
        bench: Bench {
            broker: &broker,
            kind: arguments.kind(),
            supplies,
            messages: arguments.messages,
            prefetch: arguments.prefetch,
            broker_idle_cpu: 0.0,
        },
        record,
        progress: Progress::new(expected(arguments, &subjects)),
        rates: BTreeMap::new(),
        seconds: arguments.seconds(),
    };
    let measured = run.measure(&subjects, arguments).await;
    run.record.mark_unsteady();
    run.record.ratios = run.record.ratios_of_blocks();
    // What was measured before an error is kept, and is not a page. The first error is the one that counts.
    let kept = match run.record.blocks.is_empty() && measured.is_err() {
        true => Ok(()),
        false => arguments.keep(&run.record),
    };
    measured.and(kept)?;
    arguments.write(&run.record)
}

fn begin(
    arguments: &Arguments,
    broker: &Broker,
    subjects: &[Subject],
    skipped: Vec<Skipped>,
    supplies: &Supplies,
) -> Result<Record> {
    let (commit, dirty) = about::commit();
    let mut described: Vec<Described> = Vec::new();
    for subject in ROUND.iter().filter(|subject| subjects.contains(subject)) {
        if described.iter().any(|one| one.name == subject.name) {
            continue;
        }
        let items = supplies.items(subject.body)?;
        described.push(Described {
            name: subject.name.to_owned(),
            what: subject.what.to_owned(),
            body: subject.body.to_string(),
            body_bytes: items.first().map_or(0, |item| item.body().len()),
            guarantee: subject.guarantee().to_owned(),
        });
    }
    Ok(Record {
        format: FORMAT,
        commit,
        dirty,
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        command: arguments.command(),
        machine: about::machine(broker, supplies.python.as_deref())?,
        settings: Settings {
            rounds: arguments.rounds(),
            seconds: arguments.seconds(),
            queue: arguments.queue.to_string(),
            prefetch: arguments.prefetch,
            peer_threads: 1,
            broker_idle_cpu: 0.0,
        },
        subjects: described,
        skipped,
        ..Record::default()
    })
}

/// What a run will take, in seconds.
fn expected(arguments: &Arguments, subjects: &[Subject]) -> f64 {
    let (n, seconds) = (subjects.len() as f64, arguments.seconds());
    let mut expected = n * AROUND;
    if arguments.has(Part::Rounds) {
        expected += n * arguments.rounds() as f64 * (seconds + AROUND);
    }
    if arguments.has(Part::Alone) {
        expected += arguments.rounds() as f64 * ALONE;
    }
    if arguments.has(Part::StartUp) {
        expected += n * starts::STARTS as f64 * starts::EXPECTED;
    }
    if arguments.has(Part::Latency) {
        expected += (arguments.few() * of_latency(subjects).len()) as f64 * (3.0 * seconds + AROUND);
    }
    for (part, seconds) in [(Part::Neighbour, OF_NEIGHBOURS), (Part::Swaps, OF_SWAPS)] {
        expected += if arguments.has(part) {
            arguments.few() as f64 * seconds
        } else {
            0.0
        };
    }
    expected + arguments.few() as f64 * vary::n_blocks(arguments, subjects) as f64 * (seconds + AROUND)
}

/// Those whose latency is measured: all that people may run.
fn of_latency(subjects: &[Subject]) -> Vec<Subject> {
    let mut chosen: Vec<Subject> = Vec::new();
    for subject in subjects.iter().filter(|subject| !subject.needs_native_host()) {
        if !chosen.contains(subject) {
            chosen.push(*subject);
        }
    }
    chosen
}

impl Run<'_> {
    /// Runs each subject once, for its rate alone.
    async fn calibrate(&mut self, subjects: &[Subject]) -> Result<()> {
        for subject in subjects {
            if !self.rates.contains_key(subject.name) {
                let n = match subject.network() {
                    Some(Network::ResNet18) => FIRST_PHOTOS,
                    _ => FIRST,
                };
                let rate = self
                    .block(subject, n, &Variation::usual(self.bench.prefetch))
                    .await?
                    .rate();
                let what = format!("{subject}: about {rate:.0} messages/s");
                self.rates.insert(subject.name.to_owned(), rate);
                self.progress.report(AROUND, &what);
            }
            if let Runs::Host(pipeline) = subject.runs
                && self
                    .record
                    .memory_limits
                    .iter()
                    .all(|limit| limit.subject != subject.name)
            {
                let scene = millrace_tests::scene::Scene::new(self.bench.broker)?;
                let usual = Variation::usual(self.bench.prefetch);
                let mill = mill(pipeline, &scene, &self.bench.supplies, &usual)?;
                self.record.memory_limits.push(MemoryLimit {
                    subject: subject.name.to_owned(),
                    bytes: starts::memory_limit(&mill)?,
                });
            }
        }
        Ok(())
    }

    async fn round(&mut self, subjects: &[Subject], round: usize, arguments: &Arguments) -> Result<()> {
        if arguments.has(Part::Alone) {
            self.alone(subjects, round).await?;
        }
        if !arguments.has(Part::Rounds) {
            return Ok(());
        }
        let mut order: Vec<(usize, Subject)> = subjects.iter().copied().enumerate().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for (position, subject) in order {
            let n = self.n_messages(&subject);
            let mut block = self.block(&subject, n, &Variation::usual(self.bench.prefetch)).await?;
            (block.round, block.position) = (round, position);
            let what = format!(
                "round {}: {subject}: {:.0} messages/s, CPU {:.3} s for 1,000, the broker's {:.3} s {}",
                round + 1,
                block.rate(),
                block.cpu_per_1000(),
                block.broker_cpu_per_1000(),
                block.marks.join(", ")
            );
            self.progress.report(self.seconds + AROUND, &what);
            self.rates.insert(subject.name.to_owned(), block.rate());
            self.record.blocks.push(block);
        }
        Ok(())
    }

    async fn alone(&mut self, subjects: &[Subject], round: usize) -> Result<()> {
        let mut networks = vec![Network::Shapes, Network::Mean(32)];
        if subjects
            .iter()
            .any(|subject| subject.network() == Some(Network::ResNet18))
        {
            networks.push(Network::ResNet18);
        }
        for network in networks {
            self.record.forwards.extend(alone::forwards(
                &self.bench.supplies,
                network,
                round,
                self.seconds / 6.0,
            )?);
        }
        self.record.calls.extend(alone::calls(round).await?);
        self.progress.report(
            ALONE,
            &format!("round {}: forward passes and plugin calls alone", round + 1),
        );
        Ok(())
    }

    async fn start_ups(&mut self, subjects: &[Subject]) -> Result<()> {
        for subject in subjects {
            if self.record.start_ups.iter().any(|one| one.subject == subject.name) {
                self.progress.report(starts::STARTS as f64 * starts::EXPECTED, "");
                continue;
            }
            let mut seconds = Vec::new();
            for _ in 0..starts::STARTS {
                seconds.push(
                    starts::start_up(&self.bench, subject)
                        .await
                        .with_context(|| subject.name)?,
                );
            }
            let what = format!("{subject}: the first result after {seconds:.2?} s");
            self.progress.report(starts::STARTS as f64 * starts::EXPECTED, &what);
            self.record.start_ups.push(StartUp {
                subject: subject.name.to_owned(),
                seconds,
            });
        }
        Ok(())
    }

    async fn latency(&mut self, subjects: &[Subject], round: usize) -> Result<()> {
        let mut order = of_latency(subjects);
        if round % 2 == 1 {
            order.reverse();
        }
        for subject in order {
            let guess = self.rates.get(subject.name).copied().unwrap_or(FIRST as f64);
            let measured = open::latency(&self.bench, &subject, guess, 2.0 * self.seconds).await;
            let mut latency = measured.with_context(|| subject.name)?;
            latency.round = round;
            let what = format!(
                "latency of {subject} at {:.0} messages/s: p50 {:.1} ms, p99 {:.1} ms {}",
                latency.rate,
                f64::from(latency.p50_us) / 1000.0,
                f64::from(latency.p99_us) / 1000.0,
                latency.marks.join(", ")
            );
            self.progress.report(3.0 * self.seconds + AROUND, &what);
            self.record.latency.push(latency);
        }
        Ok(())
    }

    /// One block; nothing but the error names the subject.
    pub(crate) async fn block(
        &self,
        subject: &Subject,
        n: usize,
        variation: &Variation,
    ) -> Result<millrace_tests::figures::Block> {
        let block = self.bench.block(subject, n, variation).await;
        block.with_context(|| format!("{subject}, {n} messages"))
    }

    /// As many messages as the subject drains in a block.
    pub(crate) fn n_messages(&self, subject: &Subject) -> usize {
        let rate = self.rates.get(subject.name).copied().unwrap_or(FIRST as f64);
        (rate * self.seconds).clamp(MESSAGES.0, MESSAGES.1) as usize
    }

    /// Reports a block of what is varied.
    pub(crate) fn report_varied(&mut self, what: &str) {
        self.progress.report(self.seconds + AROUND, what);
    }

    /// Every part, one after the other.
    async fn measure(&mut self, subjects: &[Subject], arguments: &Arguments) -> Result<()> {
        self.calibrate(subjects).await?;
        self.bench.broker_idle_cpu = self.bench.idle().await?;
        self.record.settings.broker_idle_cpu = self.bench.broker_idle_cpu;
        for round in 0..arguments.rounds() {
            self.round(subjects, round, arguments).await?;
        }
        if arguments.has(Part::StartUp) {
            self.start_ups(subjects).await?;
        }
        for round in 0..arguments.few() {
            if arguments.has(Part::Latency) {
                self.latency(subjects, round).await?;
            }
            vary::run(self, arguments, subjects, round).await?;
            if arguments.has(Part::Neighbour) {
                self.record
                    .neighbours
                    .extend(neighbour::some(&self.bench, round).await?);
                self.progress.report(OF_NEIGHBOURS, "a pipeline beside hostile plugins");
            }
        }
        if arguments.has(Part::Swaps) {
            self.record.swaps = swaps::some(&self.bench, arguments.few()).await?;
            self.progress
                .report(arguments.few() as f64 * OF_SWAPS, "latency beside swaps");
        }
        Ok(())
    }
}
