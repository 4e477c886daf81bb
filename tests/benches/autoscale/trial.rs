//! A trial: measures what one host does, then lets the load rise and fall while the controller starts and stops hosts.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millrace_tests::amqp::{Client, QueueKind};
use millrace_tests::broker::Broker;
use millrace_tests::relay::Relay;
use millrace_tests::scene::Scene;
use tokio::runtime::Runtime;

use crate::fleet::Fleet;
use crate::load::Load;
use crate::report::{Report, Row};
use crate::rule::{Controller, Look, Rule};

/// How often the controller looks.
const EVERY: Duration = Duration::from_secs(1);
/// Arrivals are counted over so many looks: a second alone is noise.
const LOOKS: usize = 5;
/// Load by which one host is measured: more than it can do.
const CALIBRATION_RATE: f64 = 2_000.0;
/// Messages that wait while it is measured.
const CALIBRATION_BACKLOG: u32 = 500;
/// How long it is measured.
const CALIBRATION: Duration = Duration::from_secs(8);
/// How long the queue may take to run empty after the last step.
const END_LIMIT: Duration = Duration::from_secs(300);

/// What a trial is made of.
pub(crate) struct Trial<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) broker: &'a Broker,
    pub(crate) relay: &'a Relay,
    pub(crate) prefetch: u16,
    pub(crate) hosts_max: usize,
    pub(crate) steps: Vec<Step>,
}

/// A part of the load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Step {
    /// Of what one host does.
    pub(crate) part: f64,
    pub(crate) lasts: Duration,
}

/// Reads steps such as `30x60,250x90`: percent and seconds.
///
/// # Errors
/// When one is written otherwise.
pub(crate) fn steps(text: &str) -> Result<Vec<Step>> {
    let step = |word: &str| {
        let (percent, seconds) = word.split_once('x')?;
        Some(Step {
            part: percent.parse::<f64>().ok()? / 100.0,
            lasts: Duration::from_secs(seconds.parse().ok()?),
        })
    };
    text.split(',')
        .map(|word| step(word).with_context(|| format!("`{word}` is not PERCENTxSECONDS")))
        .collect()
}

/// What the controller sees from look to look.
struct Eyes<'a> {
    runtime: &'a Runtime,
    client: Client,
    queue: String,
    // When, and how many messages had come by then.
    arrived: VecDeque<(Instant, f64)>,
}

impl Eyes<'_> {
    fn n_waiting(&self) -> Result<u32> {
        let counted = self.runtime.block_on(self.client.count(&self.queue));
        counted.context("what waits cannot be counted")
    }

    /// Messages that wait, and that come each second: what waits more, and what the hosts received.
    fn look(&mut self, fleet: &mut Fleet<'_>) -> Result<(f64, f64)> {
        let n_waiting = f64::from(self.n_waiting()?);
        let now = (Instant::now(), n_waiting + fleet.look()?);
        self.arrived.push_back(now);
        if self.arrived.len() > LOOKS + 1 {
            self.arrived.pop_front();
        }
        let first = self.arrived.front().copied().unwrap_or(now);
        let seconds = (now.0 - first.0).as_secs_f64();
        let rate = if seconds > 0.0 {
            (now.1 - first.1) / seconds
        } else {
            0.0
        };
        Ok((n_waiting, rate.max(0.0)))
    }
}

impl Trial<'_> {
    /// Runs it.
    ///
    /// # Errors
    /// When a host or the broker fails. What became of the messages is in the report.
    pub(crate) fn run(&self) -> Result<Report> {
        let scene = Scene {
            prefetch: self.prefetch,
            ..Scene::at(self.relay.url())?
        };
        let url = self.broker.url();
        let client = self.runtime.block_on(async {
            let client = Client::connect(&url).await?;
            client.declare(&scene.results, QueueKind::Quorum).await?;
            anyhow::Ok(client)
        })?;
        let mut fleet = Fleet::new(&scene);
        fleet.scale_to(1)?;
        let mut eyes = Eyes {
            runtime: self.runtime,
            client,
            queue: scene.input.clone(),
            arrived: VecDeque::new(),
        };
        let deadline = Instant::now() + END_LIMIT;
        while !fleet.is_ready() {
            ensure!(Instant::now() < deadline, "the first host does not start");
            std::thread::sleep(Duration::from_millis(20));
            fleet.look()?;
        }
        let load = Load::start(self.runtime, &url, &scene).context("the load does not start")?;
        let rate_per_host = self.calibrate(&load, &eyes)?;
        println!(
            "one host does {rate_per_host:.0} messages/s at prefetch {}",
            self.prefetch
        );
        let rule = Rule {
            rate_per_host,
            drain_seconds: 30.0,
            hosts_min: 1,
            hosts_max: self.hosts_max,
            spare: 0.2,
            calm: Duration::from_secs(15),
            cooldown: Duration::from_secs(5),
        };
        let rows = self.follow(rule, &load, &mut fleet, &mut eyes)?;
        let history = fleet.stop()?;
        // A result that was sent twice would come now.
        std::thread::sleep(EVERY);
        let (account, n_left) = (load.account()?, eyes.n_waiting()?);
        let count = |queue: &str| self.runtime.block_on(eyes.client.count(queue));
        Ok(Report {
            rule,
            prefetch: self.prefetch,
            rows,
            history,
            account,
            n_left,
            n_dead: count(&scene.dead)?,
            n_quarantined: count(&scene.quarantine_queue())?,
        })
    }

    /// What one host does with a backlog, in messages a second; the backlog is gone afterwards.
    fn calibrate(&self, load: &Load, eyes: &Eyes<'_>) -> Result<f64> {
        load.set(CALIBRATION_RATE);
        let deadline = Instant::now() + END_LIMIT;
        let backlog = |is_done: &dyn Fn(u32) -> bool| -> Result<()> {
            while !is_done(eyes.n_waiting()?) {
                ensure!(Instant::now() < deadline, "the backlog does not become what it should");
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        };
        let seconds = u32::try_from(CALIBRATION.as_secs())?;
        // A host cannot do more than its prefetch each tenth of a second at the default delay.
        let enough = CALIBRATION_BACKLOG.max(u32::from(self.prefetch) * 10 * seconds);
        backlog(&|n| n >= enough)?;
        load.set(0.0);
        let (began, n_before) = (Instant::now(), load.account()?.n_done);
        std::thread::sleep(CALIBRATION);
        let (took, n_after) = (began.elapsed(), load.account()?.n_done);
        ensure!(eyes.n_waiting()? > 0, "the backlog was too short to measure a host");
        backlog(&|n| n == 0)?;
        Ok((n_after - n_before) as f64 / took.as_secs_f64())
    }

    /// Lets the load run its steps and the queue run empty, and looks every second.
    fn follow(&self, rule: Rule, load: &Load, fleet: &mut Fleet<'_>, eyes: &mut Eyes<'_>) -> Result<Vec<Row>> {
        let mut controller = Controller::new(rule);
        let (mut rows, began) = (Vec::<Row>::new(), Instant::now());
        let total: Duration = self.steps.iter().map(|step| step.lasts).sum();
        eyes.look(fleet)?;
        loop {
            std::thread::sleep(EVERY);
            let at = began.elapsed();
            let part = part_at(&self.steps, at);
            load.set(part * rule.rate_per_host);
            let (n_waiting, arrivals_per_second) = eyes.look(fleet)?;
            let account = load.account()?;
            let look = Look {
                at,
                n_waiting,
                arrivals_per_second,
                n_hosts: fleet.n_hosts(),
            };
            fleet.scale_to(controller.decide(look))?;
            rows.push(Row {
                at,
                part,
                n_waiting,
                arrivals_per_second,
                n_hosts: fleet.n_hosts(),
                n_done: account.n_done,
                oldest_wait: account.oldest_wait,
            });
            if at >= total && account.n_done >= account.n_sent {
                return Ok(rows);
            }
            ensure!(at < total + END_LIMIT, "{account:?}, and no more results come");
        }
    }
}

/// The load at a moment; none after the last step.
fn part_at(steps: &[Step], at: Duration) -> f64 {
    let mut end = Duration::ZERO;
    let step = steps.iter().find(|step| {
        end += step.lasts;
        at < end
    });
    step.map_or(0.0, |step| step.part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_percent_and_seconds() {
        let read = steps("30x60,250x90").expect("steps");
        let parts: Vec<f64> = [0, 59, 60, 149, 150]
            .map(|at| part_at(&read, Duration::from_secs(at)))
            .into();
        assert_eq!(parts, [0.3, 0.3, 2.5, 2.5, 0.0]);
        for wrong in ["", "30", "x", "30x60,", "ax1"] {
            assert!(steps(wrong).is_err(), "{wrong}");
        }
    }
}
