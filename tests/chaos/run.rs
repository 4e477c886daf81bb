//! One run, from the first host to the verdict.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use millrace_tests::amqp::Client;
use millrace_tests::broker::Broker;
use tokio::runtime::Runtime;

use crate::fleet::Fleet;
use crate::judge::Judge;
use crate::nemesis::Nemesis;
use crate::publisher::Publisher;
use crate::rest::{self, Queues};
use crate::schedule::Lane;
use crate::stage::{self, Orders};
use crate::verdict::Verdict;

/// How often hosts are measured.
const MEASURE_EVERY: Duration = Duration::from_secs(2);
/// Measurements between two lines of progress.
const PROGRESS_EVERY: u32 = 5;
/// Messages that must have been done while faults happened, for each minute: fewer would prove little.
const DONE_PER_MINUTE: f64 = 200.0;

/// What to do.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) n_hosts: usize,
    pub(crate) limit: Duration,
    pub(crate) n_messages: Option<u64>,
    pub(crate) artefacts: PathBuf,
}

/// What is shared by everything that happens at one time.
struct Scene<'a> {
    run: &'a Run,
    nemesis: Nemesis<'a>,
    judge: &'a Mutex<Judge>,
    faults_over: &'a AtomicBool,
    publishing_over: &'a AtomicBool,
    violations: Mutex<Vec<String>>,
}

impl Run {
    /// Runs.
    ///
    /// # Errors
    /// When it could not begin; whatever goes wrong later is a violation in the verdict.
    pub(crate) fn go(self) -> Result<Verdict> {
        let runtime = Runtime::new()?;
        let broker = Broker::start()?;
        runtime.block_on(stage::set_up(&broker))?;
        let fleet = Fleet::new(&broker, self.n_hosts)?;
        for host in 0..self.n_hosts {
            fleet.start(host)?;
        }
        fleet.wait_ready()?;
        let mut orders = Orders::new(self.seed)?;
        runtime.block_on(async {
            let client = Client::connect(&broker.url()).await?;
            rest::calibrate(&client, &mut orders).await
        })?;
        broker.remember_queues()?;

        let (judge, faults_over, publishing_over) = (Mutex::default(), AtomicBool::new(false), AtomicBool::new(false));
        let scene = Scene {
            run: &self,
            nemesis: Nemesis {
                broker: &broker,
                fleet: &fleet,
                runtime: runtime.handle().clone(),
                stop: &faults_over,
                began: Instant::now(),
                log: Mutex::default(),
            },
            judge: &judge,
            faults_over: &faults_over,
            publishing_over: &publishing_over,
            violations: Mutex::default(),
        };
        let publisher = Publisher::new(broker.url(), orders, self.n_messages, &judge, &publishing_over);
        let n_done_under_faults = scene.storm(publisher)?;
        scene.conclude(n_done_under_faults)
    }
}

impl Scene<'_> {
    /// Publishes and makes faults happen; then the faults end, everything drains and every host stops. Gives what was
    /// done under faults.
    fn storm(&self, publisher: Publisher<'_>) -> Result<u64> {
        let runtime = &self.nemesis.runtime;
        thread::scope(|scope| {
            let publishing = scope.spawn(|| runtime.block_on(publisher.run()));
            let lanes = Lane::ALL.map(|lane| scope.spawn(move || self.nemesis.run(self.run.seed, lane)));
            let n_done = self.watch(|| publishing.is_finished());
            self.faults_over.store(true, Ordering::SeqCst);
            for lane in lanes {
                lane.join().map_err(|_| anyhow!("a lane of faults panicked"))?;
            }
            eprintln!(
                "{:>6.1} s  the faults are over",
                self.nemesis.began.elapsed().as_secs_f64()
            );
            self.check("healing", self.nemesis.heal());
            self.publishing_over.store(true, Ordering::SeqCst);
            let orders = publishing.join().map_err(|_| anyhow!("the publisher panicked"))??;
            let rested = self.come_to_rest(orders);
            self.check("coming to rest", rested);
            Ok(n_done)
        })
    }

    /// Tells how it goes, until the time is over or everything is done; gives the results and dead letters so far.
    fn watch(&self, published: impl Fn() -> bool) -> u64 {
        let mut n_done = 0;
        let mut turn = 0;
        while self.nemesis.began.elapsed() < self.run.limit {
            thread::sleep(MEASURE_EVERY);
            self.check("measuring", self.nemesis.fleet.measure());
            turn += 1;
            if turn % PROGRESS_EVERY != 0 {
                continue;
            }
            // While the broker is away there is nothing to tell.
            if let Ok(queues) = Queues::of(self.nemesis.broker) {
                n_done = n_done.max(queues.n_done);
                let (attempts, acknowledged) = self.judge(|judge| judge.n_published());
                eprintln!(
                    "{:>6.1} s  {attempts} attempts, {acknowledged} acknowledged, {} waiting, {} done",
                    self.nemesis.began.elapsed().as_secs_f64(),
                    queues.n_waiting,
                    queues.n_done
                );
                if published() && queues.n_waiting == 0 {
                    break;
                }
            }
        }
        n_done
    }

    fn come_to_rest(&self, mut orders: Orders) -> Result<()> {
        let Nemesis {
            broker, fleet, runtime, ..
        } = &self.nemesis;
        self.check("hosts after the faults", fleet.wait_ready());
        self.check("what waits", rest::wait_until_empty(broker));
        let client = runtime.block_on(Client::connect(&broker.url()))?;
        let canaries = self.judge(|judge| runtime.block_on(rest::canaries(&client, &mut orders, judge, "canary")));
        self.check("canaries", canaries);
        self.check("acknowledgements", nothing_in_hand(broker));
        self.check("the end of the hosts", fleet.stop());
        // The connection of before may have been told that a queue is gone.
        let client = runtime.block_on(Client::connect(&broker.url()))?;
        self.judge(|judge| runtime.block_on(rest::gather(&client, broker, judge)))
    }

    fn conclude(self, n_done_under_faults: u64) -> Result<Verdict> {
        let Run {
            seed,
            n_hosts,
            artefacts,
            ..
        } = self.run;
        let nemesis = &self.nemesis;
        let in_flight_at_faults = nemesis.in_flight_at_faults();
        let judgement = self.judge(|judge| judge.judge(in_flight_at_faults));
        self.check("anti-vacuity", self.anti_vacuity(n_done_under_faults));
        let mut schedule = String::new();
        for happened in nemesis.happened() {
            let error = happened.error.as_deref().unwrap_or("ok");
            writeln!(
                schedule,
                "{:>8.3} s  {}: {error}",
                happened.at.as_secs_f64(),
                happened.fault
            )?;
            if let Some(error) = happened.error {
                self.check("a fault", Err(anyhow!("{}: {error}", happened.fault)));
            }
        }
        std::fs::write(artefacts.join("faults.txt"), schedule)?;
        std::fs::write(artefacts.join("broker.log"), nemesis.broker.log())?;
        let panics = nemesis.fleet.keep_logs(artefacts)?;
        let mut violations = judgement.violations;
        violations.extend(panics);
        violations.extend(self.violations.into_inner().unwrap_or_else(PoisonError::into_inner));
        let faults = nemesis.counts().into_iter().map(|(kind, n)| (kind.to_string(), n));
        Ok(Verdict {
            seed: *seed,
            n_hosts: *n_hosts,
            seconds: nemesis.began.elapsed().as_secs_f64(),
            report: judgement.report,
            faults: faults.collect(),
            n_done_under_faults,
            n_reconnects: nemesis.fleet.n_reconnects(),
            in_flight_at_faults,
            violations,
            artefacts: artefacts.clone(),
        })
    }

    /// A run in which nothing happened proves nothing.
    fn anti_vacuity(&self, n_done: u64) -> Result<()> {
        let (nemesis, run) = (&self.nemesis, self.run);
        let cuts = nemesis
            .happened()
            .iter()
            .any(|happened| happened.fault.kind.cuts_connections());
        ensure!(
            !cuts || nemesis.fleet.n_reconnects() > 0,
            "connections were cut, and no host connected again"
        );
        ensure!(!nemesis.happened().is_empty(), "no fault happened");
        let least = match run.n_messages {
            // The rest may have come when the last faults were over.
            Some(n_messages) => n_messages / 2,
            None => (run.limit.as_secs_f64() / 60.0 * DONE_PER_MINUTE) as u64,
        };
        ensure!(
            n_done >= least,
            "{n_done} messages were done under faults, and {least} is the least that proves anything"
        );
        Ok(())
    }

    fn check(&self, what: &str, result: Result<()>) {
        if let Err(error) = result {
            let mut violations = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
            let violation = format!("{what}: {error:#}");
            // What is measured again and again is told once.
            if !violations.iter().any(|told| told.starts_with(what)) {
                eprintln!("VIOLATION: {}", violation.lines().next().unwrap_or_default());
                violations.push(violation);
            }
        }
    }

    fn judge<T>(&self, ask: impl FnOnce(&mut Judge) -> T) -> T {
        ask(&mut self.judge.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// After the last result its acknowledgement is on its way for a moment.
fn nothing_in_hand(broker: &Broker) -> Result<()> {
    let asked = millrace_tests::wait_for("messages_unacknowledged = 0", || {
        Queues::of(broker).ok().filter(|queues| queues.n_in_flight == 0)
    });
    asked
        .map(drop)
        .context("messages are in flight in hosts that have nothing to do")
}
