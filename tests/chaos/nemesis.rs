//! Makes the faults of a schedule happen, and writes down which. Knows nothing of messages.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use millrace_tests::broker::Broker;
use millrace_tests::relay::Flow;
use rustix::process::Signal;
use tokio::runtime::Handle;

use crate::fleet::{CALM, Fleet};
use crate::schedule::{Fault, Kind, Lane, Schedule};
use crate::stage::{self, PREFETCH, PREFETCH_QUARANTINE, Pipeline};

/// How fine the pauses are cut, so that the end of the run ends them.
const GRAIN: Duration = Duration::from_millis(50);
/// The name of the policy that makes queues of results refuse.
const POLICY: &str = "full";
/// How late a delayed line is: less than any timeout.
const DELAY: Duration = Duration::from_millis(500);
/// What a throttled line carries: a few results a second.
const THROTTLE_BYTES_PER_SECOND: u32 = 20_000;
/// The exit code of a host whose drain was cut off, as it may be while the broker is away.
const CUT_OFF: i32 = 3;

/// What the faults happen to.
pub(crate) struct Nemesis<'a> {
    pub(crate) broker: &'a Broker,
    pub(crate) fleet: &'a Fleet,
    pub(crate) runtime: Handle,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) began: Instant,
    pub(crate) log: Mutex<Vec<Happened>>,
}

/// A fault that happened.
#[derive(Debug, Clone)]
pub(crate) struct Happened {
    /// Since the begin of the run.
    pub(crate) at: Duration,
    /// What.
    pub(crate) fault: Fault,
    /// Hosts that were cut off from what they had in flight.
    pub(crate) n_hosts_cut_off: usize,
    /// Why it could not be made to happen, or what it brought to light.
    pub(crate) error: Option<String>,
}

impl Nemesis<'_> {
    /// Makes the faults of one lane happen until the run is over.
    pub(crate) fn run(&self, seed: u64, lane: Lane) {
        let mut schedule = Schedule::new(seed, lane, self.fleet.n_hosts());
        loop {
            let fault = schedule.draw();
            let until = Instant::now() + fault.pause;
            while Instant::now() < until {
                if self.stop.load(Ordering::SeqCst) {
                    return;
                }
                sleep(GRAIN);
            }
            let at = self.began.elapsed();
            eprintln!("{:>6.1} s  {fault}", at.as_secs_f64());
            let (n_hosts_cut_off, error) = match self.apply(&fault) {
                Ok(n) => (n, None),
                Err(error) => (
                    fault.kind.n_hosts_cut_off(self.fleet.n_hosts()),
                    Some(format!("{error:#}")),
                ),
            };
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push(Happened {
                at,
                fault,
                n_hosts_cut_off,
                error,
            });
        }
    }

    /// Ends whatever a fault may have left behind.
    pub(crate) fn heal(&self) -> Result<()> {
        for host in 0..self.fleet.n_hosts() {
            self.fleet.relay(host)?.set(CALM);
        }
        self.runtime.block_on(stage::bind(self.broker))
    }

    /// How often each kind happened.
    pub(crate) fn counts(&self) -> BTreeMap<Kind, u64> {
        let mut counts = BTreeMap::new();
        for happened in self.happened() {
            *counts.entry(happened.fault.kind).or_default() += 1;
        }
        counts
    }

    /// Everything that happened, in order.
    pub(crate) fn happened(&self) -> Vec<Happened> {
        let mut happened = self.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
        happened.sort_by_key(|happened| happened.at);
        happened
    }

    /// At most so many messages were in flight in hosts that were cut off, summed over the faults.
    pub(crate) fn in_flight_at_faults(&self) -> u64 {
        let in_flight = Pipeline::ALL.len() as u64 * (PREFETCH + PREFETCH_QUARANTINE);
        self.happened()
            .iter()
            .map(|happened| happened.n_hosts_cut_off as u64 * in_flight)
            .sum()
    }

    fn apply(&self, fault: &Fault) -> Result<usize> {
        let Fault { kind, host, lasts, .. } = *fault;
        let mut n_hosts_cut_off = kind.n_hosts_cut_off(self.fleet.n_hosts());
        match kind {
            Kind::KillHost => {
                self.fleet.kill(host)?;
                sleep(lasts);
                self.fleet.start(host)?;
            }
            Kind::DrainHost => {
                let code = self.fleet.drain(host)?;
                sleep(lasts);
                self.fleet.start(host)?;
                ensure!(
                    matches!(code, Some(0 | CUT_OFF)),
                    "host {host} drained and ended with {code:?}"
                );
                n_hosts_cut_off = usize::from(code == Some(CUT_OFF));
            }
            Kind::FreezeHost => {
                self.fleet.signal(host, Signal::STOP)?;
                sleep(lasts);
                self.fleet.signal(host, Signal::CONT)?;
            }
            Kind::KillBroker => {
                self.broker.kill()?;
                sleep(lasts);
                self.broker.run()?;
            }
            Kind::StopBroker => {
                self.broker.stop()?;
                sleep(lasts);
                self.broker.run()?;
            }
            Kind::FreezeBroker => {
                self.broker.pause()?;
                sleep(lasts);
                self.broker.resume()?;
            }
            Kind::StarveBroker => {
                self.broker.block()?;
                sleep(lasts);
                self.broker.unblock()?;
            }
            Kind::FillResults => self.fill_results(lasts)?,
            Kind::UnbindResults => {
                self.runtime.block_on(stage::unbind(self.broker))?;
                sleep(lasts);
                self.runtime.block_on(stage::bind(self.broker))?;
            }
            Kind::Cut => self.fleet.relay(host)?.cut(),
            Kind::Reset => self.fleet.relay(host)?.reset(),
            Kind::Hole => self.line(host, Flow::Hole, lasts)?,
            Kind::Swallow => self.line(host, Flow::Swallow, lasts)?,
            Kind::Delay => self.line(host, Flow::Delay(DELAY), lasts)?,
            Kind::Slice => self.line(host, Flow::Slice, lasts)?,
            Kind::Throttle => self.line(host, Flow::Throttle(THROTTLE_BYTES_PER_SECOND), lasts)?,
        }
        Ok(n_hosts_cut_off)
    }

    /// Queues of results refuse whatever comes, and keep what they have.
    fn fill_results(&self, lasts: Duration) -> Result<()> {
        let full = r#"{"max-length":0,"overflow":"reject-publish"}"#;
        let pattern = r"^chaos\..*\.results$";
        self.broker
            .rabbitmqctl(&["set_policy", POLICY, pattern, full, "--apply-to", "queues"])?;
        sleep(lasts);
        // The limit is raised and not taken away: RabbitMQ 3.10 tells channels that were refused to go on when a queue
        // is below its limit again, and forgets to when there is no limit any more.
        let room = r#"{"max-length":100000000,"overflow":"reject-publish"}"#;
        self.broker
            .rabbitmqctl(&["set_policy", POLICY, pattern, room, "--apply-to", "queues"])
            .map(drop)
    }

    fn line(&self, host: usize, flow: Flow, lasts: Duration) -> Result<()> {
        let relay = self.fleet.relay(host)?;
        relay.set(flow);
        sleep(lasts);
        relay.set(CALM);
        Ok(())
    }
}
