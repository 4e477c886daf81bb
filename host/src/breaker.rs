//! The breaker of a pipeline: when a plugin version or the model fails for everything, it stops taking after a few
//! messages instead of making dead letters of a whole queue. Knows no source, and nothing of what a stage does.

mod machine;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::disposition::{Reason, ReasonClass, Stage};
use crate::transport::{GaveUp, HOLD_LIMIT};
use machine::{Change, Failure, Machine, Turn};

/// How often a waiting pipeline looks whether the culprit is still in service.
const LOOK: Duration = Duration::from_secs(1);

/// Which plugin version or model a message failed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Culprit {
    /// Where it works: the model infers.
    pub stage: Stage,
    /// Its name in `plugins.toml`.
    pub name: String,
    /// Which build of it.
    pub digest: String,
}

/// What becomes of a message that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its disposition stands: the culprit may be right about this message.
    Stands,
    /// It is kept, and waits for its next turn.
    Kept,
    /// It was the probe: it makes room for another message.
    ProbeFailed,
}

/// What an open breaker waits for.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Who is to blame.
    pub culprit: Culprit,
    /// How it failed last.
    pub class: ReasonClass,
    /// For how long.
    pub lasts: Duration,
    /// When a message is tried; zero while one is.
    pub probe_in: Duration,
}

/// Whether a pipeline's messages may run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Breaker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pipeline: String,
    drain: CancellationToken,
    // std Mutex and not tokio's: it is never held over an await.
    machine: Mutex<Machine>,
    changed: Notify,
}

/// A message in hand, as the breaker sees it. Dropping it makes way for the next.
#[derive(Debug)]
pub struct Ticket {
    breaker: Breaker,
    standing: Standing,
    waits_since: Option<Instant>,
}

/// What a ticket's message is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Waiting for its turn; counted in the machine.
    Waits,
    /// Running as one of many.
    Runs,
    /// Running alone, to see whether the culprit has recovered; the breaker had been opened this often.
    Probes(u64),
}

impl Breaker {
    /// A closed breaker. When `drain` is cancelled, what it keeps is given up.
    pub fn new(pipeline: &str, drain: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            pipeline: pipeline.to_owned(),
            drain,
            machine: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// Waits until a message may be taken: always while closed; while open one as a probe, when none in hand is left
    /// that could be it. `is_served` says whether a culprit is still in service.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn admits(&self, is_served: impl Fn(&Culprit) -> bool) {
        loop {
            let changed = self.0.changed.notified();
            self.forget_unless(&is_served);
            let turn = self.machine().turn_to_take(Instant::now());
            match turn {
                Turn::Ordinary | Turn::Probe(_) => return,
                Turn::Wait(until) => wait(until, changed).await,
            }
        }
    }

    /// Admits a message that was taken.
    pub fn ticket(&self) -> Ticket {
        self.machine().n_waiting += 1;
        Ticket {
            breaker: self.clone(),
            standing: Standing::Waits,
            waits_since: None,
        }
    }

    /// Lets a suspect by, which runs alone and while the breaker is closed: nothing may wait while others wait for it.
    pub fn ticket_of_suspect(&self) -> Ticket {
        Ticket {
            breaker: self.clone(),
            standing: Standing::Runs,
            waits_since: None,
        }
    }

    /// Waits until it is closed.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn closed(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.opened().is_none() {
                return;
            }
            changed.await;
        }
    }

    /// Others serve from now on: closes where the culprit is not among them.
    pub fn swapped(&self, is_served: impl Fn(&Culprit) -> bool) {
        self.forget_unless(is_served);
    }

    /// What it waits for, while it is open.
    pub fn opened(&self) -> Option<Opened> {
        self.machine().opened(Instant::now())
    }

    /// How often it opened.
    pub fn n_opened(&self) -> u64 {
        self.machine().n_opened
    }

    fn forget_unless(&self, is_served: impl Fn(&Culprit) -> bool) {
        let change = self.machine().forget_unless(is_served, Instant::now());
        self.tell(change);
    }

    fn tell(&self, change: Option<Change>) {
        let pipeline = &*self.0.pipeline;
        match change {
            None => return,
            Some(Change::Opened {
                culprit,
                generation,
                reason,
                n_failures,
                pause,
            }) => {
                let probe_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                warn!(
                    pipeline,
                    %culprit, generation, n_failures, reason, probe_ms, "breaker open: taking nothing until a probe succeeds"
                );
            }
            Some(Change::ProbeFailed { culprit, reason, pause }) => {
                let probe_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                info!(pipeline, %culprit, reason, probe_ms, "a probe failed: the breaker stays open");
            }
            Some(Change::Closed { culprit, lasted }) => {
                info!(pipeline, %culprit, open_s = lasted.as_secs(), "breaker closed");
            }
        }
        self.0.changed.notify_waiters();
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        // Each change of the machine is whole before anything in it could panic.
        self.0.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Waits until the message may run: at once while the breaker is closed, else when it closes or as a probe.
    ///
    /// # Errors
    /// [`GaveUp`] when a drain begins while it waits, or it waited too long.
    pub async fn turn(&mut self, is_served: impl Fn(&Culprit) -> bool) -> Result<(), GaveUp> {
        if self.standing == Standing::Runs {
            return Ok(());
        }
        let breaker = self.breaker.clone();
        loop {
            let changed = breaker.0.changed.notified();
            breaker.forget_unless(&is_served);
            let turn = breaker.machine().turn(Instant::now());
            let until = match turn {
                Turn::Ordinary => {
                    self.standing = Standing::Runs;
                    return Ok(());
                }
                Turn::Probe(opened) => {
                    self.standing = Standing::Probes(opened);
                    return Ok(());
                }
                Turn::Wait(until) => until,
            };
            let since = *self.waits_since.get_or_insert_with(Instant::now);
            if since.elapsed() > HOLD_LIMIT {
                warn!(
                    held_s = since.elapsed().as_secs(),
                    "kept too long: returning the message"
                );
                return Err(GaveUp);
            }
            tokio::select! {
                () = wait(until, changed) => {}
                () = breaker.0.drain.cancelled() => return Err(GaveUp),
            }
        }
    }

    /// Tells that a stage did its work for this message: it does not fail for everything.
    pub fn passed(&mut self, stage: Stage, digest: &str) {
        let change = self.breaker.machine().passed(stage, digest, Instant::now());
        self.breaker.tell(change);
    }

    /// Waits until what runs is to be kept without being tried: others found out that it fails, at a high price. Never
    /// for a probe, and it outlives the ticket.
    ///
    /// # Cancellation
    /// Safe.
    pub fn keeps_all(&self) -> impl Future<Output = ()> + Send + use<> {
        let (breaker, is_probe) = (self.breaker.clone(), matches!(self.standing, Standing::Probes(_)));
        async move {
            loop {
                let changed = breaker.0.changed.notified();
                if !is_probe && breaker.machine().keeps_all() {
                    return;
                }
                changed.await;
            }
        }
    }

    /// Waits for its turn once more: what came of it until now is of no account.
    pub fn begins_anew(&mut self) {
        let mut machine = self.breaker.machine();
        match std::mem::replace(&mut self.standing, Standing::Waits) {
            Standing::Waits => return,
            Standing::Runs => {}
            Standing::Probes(opened) => machine.probe_ended(opened),
        }
        machine.n_waiting += 1;
        drop(machine);
        self.breaker.0.changed.notify_waiters();
    }

    /// Asks what becomes of a message that a stage failed for, after plugins had used so much CPU time; one that is kept
    /// waits for its turn again.
    pub fn failed(&mut self, culprit: Culprit, generation: u64, reason: &Reason, cost: Duration) -> Verdict {
        let probe = match self.standing {
            Standing::Probes(opened) => Some(opened),
            Standing::Waits | Standing::Runs => None,
        };
        let mut machine = self.breaker.machine();
        let failure = Failure {
            culprit,
            generation,
            reason,
            cost,
        };
        let (verdict, change) = machine.failed(failure, probe, Instant::now());
        self.standing = match verdict {
            Verdict::Kept => {
                machine.n_waiting += 1;
                Standing::Waits
            }
            Verdict::Stands | Verdict::ProbeFailed => Standing::Runs,
        };
        drop(machine);
        if verdict == Verdict::Kept {
            debug!("kept until the breaker closes");
        }
        self.breaker.tell(change);
        verdict
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut machine = self.breaker.machine();
        match self.standing {
            Standing::Waits => machine.n_waiting -= 1,
            Standing::Probes(opened) => machine.probe_ended(opened),
            Standing::Runs => return,
        }
        drop(machine);
        self.breaker.0.changed.notify_waiters();
    }
}

impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.stage == Stage::Infer { "model" } else { "plugin" };
        let version = self.digest.get(..12).unwrap_or(&self.digest);
        write!(f, "{kind} `{}` ({version})", self.name)
    }
}

/// Waits for a change, until a probe is due, or for the next look at what is in service.
async fn wait(until: Option<Instant>, changed: impl Future<Output = ()>) {
    let look = Instant::now() + LOOK;
    tokio::select! {
        () = changed => {}
        () = tokio::time::sleep_until(until.map_or(look, |until| until.min(look))) => {}
    }
}
