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
use machine::{BreakerTransition, Failure, Machine, Turn};

/// How often a waiting pipeline checks whether the failing component is still in service.
const LOOK: Duration = Duration::from_secs(1);

/// Which plugin version or model a message failed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailingComponent {
    /// Where it works: the model infers.
    pub stage: Stage,
    /// Its name in `plugins.toml`.
    pub name: String,
    /// Which build of it.
    pub digest: String,
}

/// The verdict on a message that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureVerdict {
    /// Its disposition stands: the component may be right about this message.
    Stands,
    /// It is kept, and waits for its next turn.
    Kept,
    /// It was the half-open call: it makes room for another message.
    HalfOpenFailed,
}

/// The wait of an open breaker.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The component to blame.
    pub failing_component: FailingComponent,
    /// How it failed last.
    pub class: ReasonClass,
    /// For how long.
    pub lasts: Duration,
    /// When a message is tried; zero while one is.
    pub half_open_in: Duration,
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

/// A message in flight, as the breaker sees it. Dropping it makes way for the next.
#[derive(Debug)]
pub struct Ticket {
    breaker: Breaker,
    state: TicketState,
    waits_since: Option<Instant>,
}

/// The state of a ticket's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TicketState {
    /// Waiting for its turn; counted in the machine.
    Waits,
    /// Running as one of many.
    Runs,
    /// A half-open call: it runs alone, to see whether the component has recovered; the breaker had opened this often.
    HalfOpen(u64),
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

    /// Waits until a message may be received: always while closed; while open one as a half-open call, when none in
    /// flight is left that could be it. `is_served` says whether a component is still in service.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn admits(&self, is_served: impl Fn(&FailingComponent) -> bool) {
        loop {
            let changed = self.0.changed.notified();
            self.forget_unless(&is_served);
            let turn = self.machine().turn_to_take(Instant::now());
            match turn {
                Turn::Ordinary | Turn::HalfOpen(_) => return,
                Turn::Wait(until) => wait(until, changed).await,
            }
        }
    }

    /// Admits a message that was received.
    pub fn ticket(&self) -> Ticket {
        self.machine().n_waiting += 1;
        Ticket {
            breaker: self.clone(),
            state: TicketState::Waits,
            waits_since: None,
        }
    }

    /// Lets a quarantined message pass, which runs alone and while the breaker is closed: nothing may wait while others
    /// wait for it.
    pub fn quarantined_ticket(&self) -> Ticket {
        Ticket {
            breaker: self.clone(),
            state: TicketState::Runs,
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

    /// Other parts serve from now on: closes where the failing component is not among them.
    pub fn swapped(&self, is_served: impl Fn(&FailingComponent) -> bool) {
        self.forget_unless(is_served);
    }

    /// The half-open call that it waits for, while it is open.
    pub fn opened(&self) -> Option<Opened> {
        self.machine().opened(Instant::now())
    }

    /// How often it opened.
    pub fn n_opened(&self) -> u64 {
        self.machine().n_opened
    }

    fn forget_unless(&self, is_served: impl Fn(&FailingComponent) -> bool) {
        let change = self.machine().forget_unless(is_served, Instant::now());
        self.log(change);
    }

    fn log(&self, change: Option<BreakerTransition>) {
        let pipeline = &*self.0.pipeline;
        match change {
            None => return,
            Some(BreakerTransition::Opened {
                failing_component,
                generation,
                reason,
                n_failures,
                pause,
            }) => {
                let half_open_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                warn!(
                    pipeline,
                    %failing_component, generation, n_failures, reason, half_open_in_ms, "breaker open: the pipeline receives no messages until a half-open call succeeds"
                );
            }
            Some(BreakerTransition::HalfOpenFailed {
                failing_component,
                reason,
                pause,
            }) => {
                let half_open_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                info!(pipeline, %failing_component, reason, half_open_in_ms, "half-open call failed: the breaker stays open");
            }
            Some(BreakerTransition::Closed {
                failing_component,
                lasted,
            }) => {
                info!(pipeline, %failing_component, open_s = lasted.as_secs(), "breaker closed");
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
    /// Waits until the message may run: at once while the breaker is closed, else when it closes or as a half-open call.
    ///
    /// # Errors
    /// [`GaveUp`] when a drain begins while it waits, or it waited too long.
    pub async fn turn(&mut self, is_served: impl Fn(&FailingComponent) -> bool) -> Result<(), GaveUp> {
        if self.state == TicketState::Runs {
            return Ok(());
        }
        let breaker = self.breaker.clone();
        loop {
            let changed = breaker.0.changed.notified();
            breaker.forget_unless(&is_served);
            let turn = breaker.machine().turn(Instant::now());
            let until = match turn {
                Turn::Ordinary => {
                    self.state = TicketState::Runs;
                    return Ok(());
                }
                Turn::HalfOpen(opened) => {
                    self.state = TicketState::HalfOpen(opened);
                    return Ok(());
                }
                Turn::Wait(until) => until,
            };
            let since = *self.waits_since.get_or_insert_with(Instant::now);
            if since.elapsed() > HOLD_LIMIT {
                warn!(
                    held_s = since.elapsed().as_secs(),
                    "the message waited too long for the breaker: returning it to its source"
                );
                return Err(GaveUp);
            }
            tokio::select! {
                () = wait(until, changed) => {}
                () = breaker.0.drain.cancelled() => return Err(GaveUp),
            }
        }
    }

    /// Its work is over, and it makes way for the next: its settlement may have to wait for others.
    pub fn ends(&mut self) {
        let mut machine = self.breaker.machine();
        match std::mem::replace(&mut self.state, TicketState::Runs) {
            TicketState::Waits => machine.n_waiting -= 1,
            TicketState::HalfOpen(opened) => machine.half_open_ended(opened),
            TicketState::Runs => return,
        }
        drop(machine);
        self.breaker.0.changed.notify_waiters();
    }

    /// Reports that a stage did its work for this message: it does not fail for everything.
    pub fn passed(&mut self, stage: Stage, digest: &str) {
        let change = self.breaker.machine().passed(stage, digest, Instant::now());
        self.breaker.log(change);
    }

    /// Waits until what runs is to be kept without being tried: others found out that it fails, at a high price. Never
    /// for a half-open call, and it outlives the ticket.
    ///
    /// # Cancellation
    /// Safe.
    pub fn keeps_all(&self) -> impl Future<Output = ()> + Send + use<> {
        let (breaker, is_half_open_call) = (self.breaker.clone(), matches!(self.state, TicketState::HalfOpen(_)));
        async move {
            loop {
                let changed = breaker.0.changed.notified();
                if !is_half_open_call && breaker.machine().keeps_all() {
                    return;
                }
                changed.await;
            }
        }
    }

    /// Waits for its turn once more: what came of it until now is of no account.
    pub fn begins_anew(&mut self) {
        let mut machine = self.breaker.machine();
        match std::mem::replace(&mut self.state, TicketState::Waits) {
            TicketState::Waits => return,
            TicketState::Runs => {}
            TicketState::HalfOpen(opened) => machine.half_open_ended(opened),
        }
        machine.n_waiting += 1;
        drop(machine);
        self.breaker.0.changed.notify_waiters();
    }

    /// Asks what becomes of a message that a stage failed for, after plugins had used so much CPU time; one that is kept
    /// waits for its turn again.
    pub fn failed(
        &mut self,
        failing_component: FailingComponent,
        generation: u64,
        reason: &Reason,
        cost: Duration,
    ) -> FailureVerdict {
        let half_open = match self.state {
            TicketState::HalfOpen(opened) => Some(opened),
            TicketState::Waits | TicketState::Runs => None,
        };
        let mut machine = self.breaker.machine();
        let failure = Failure {
            failing_component,
            generation,
            reason,
            cost,
        };
        let (verdict, change) = machine.failed(failure, half_open, Instant::now());
        self.state = match verdict {
            FailureVerdict::Kept => {
                machine.n_waiting += 1;
                TicketState::Waits
            }
            FailureVerdict::Stands | FailureVerdict::HalfOpenFailed => TicketState::Runs,
        };
        drop(machine);
        if verdict == FailureVerdict::Kept {
            debug!("the message waits until the breaker closes");
        }
        self.breaker.log(change);
        verdict
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.ends();
    }
}

impl fmt::Display for FailingComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.stage == Stage::Infer { "model" } else { "plugin" };
        let version = self.digest.get(..12).unwrap_or(&self.digest);
        write!(f, "{kind} `{}` ({version})", self.name)
    }
}

/// Waits for a change, until a half-open call is due, or for the next look at what is in service.
async fn wait(until: Option<Instant>, changed: impl Future<Output = ()>) {
    let look = Instant::now() + LOOK;
    tokio::select! {
        () = changed => {}
        () = tokio::time::sleep_until(until.map_or(look, |until| until.min(look))) => {}
    }
}
