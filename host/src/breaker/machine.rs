//! The states of a breaker: closed and counting, open, open with a half-open call on its way. Knows no clock and waits
//! for nothing.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use super::{FailingComponent, FailureVerdict, Opened};
use crate::disposition::{Reason, ReasonClass, Stage};

/// This many messages in a row must fail by one component: a few bad messages do not make a broken plugin.
pub(super) const THRESHOLD: u32 = 5;

/// The first pause before a half-open call, before jitter.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause before jitter, which at most doubles it: five minutes.
const LONGEST_PAUSE: Duration = Duration::from_secs(150);

/// CPU time of a message's failure from which on those that wait behind it do not try for themselves: with hundreds in
/// flight, each to cost as much, nothing else would run for minutes.
const COSTLY: Duration = Duration::from_millis(20);

/// A message that a stage failed for.
#[derive(Debug)]
pub(super) struct Failure<'r> {
    pub(super) failing_component: FailingComponent,
    pub(super) generation: u64,
    pub(super) reason: &'r Reason,
    /// CPU time that plugins used for the message.
    pub(super) cost: Duration,
}

/// Where a breaker is.
#[derive(Debug, Default)]
pub(super) struct Machine {
    // Invariant: at most one for each stage, each with fewer than THRESHOLD; empty while open.
    failures: Vec<(FailingComponent, u32)>,
    open: Option<Open>,
    /// Messages in flight that wait for their turn.
    pub(super) n_waiting: usize,
    /// How often it opened.
    pub(super) n_opened: u64,
}

#[derive(Debug)]
struct Open {
    failing_component: FailingComponent,
    class: ReasonClass,
    since: Instant,
    half_open_at: Instant,
    is_half_open: bool,
    is_costly: bool,
    pauses: ExponentialBackoff,
}

/// Whether a message may go on now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// As one of many.
    Ordinary,
    /// As the half-open call, after so many openings.
    HalfOpen(u64),
    /// Not yet: until a change, or until this time.
    Wait(Option<Instant>),
}

/// The transition to report, once.
#[derive(Debug)]
pub(super) enum BreakerTransition {
    Opened {
        failing_component: FailingComponent,
        generation: u64,
        reason: String,
        n_failures: u32,
        pause: Duration,
    },
    HalfOpenFailed {
        failing_component: FailingComponent,
        reason: String,
        pause: Duration,
    },
    Closed {
        failing_component: FailingComponent,
        lasted: Duration,
    },
}

impl Machine {
    /// Whether another message may be received: those in flight make half-open calls before it does.
    pub(super) fn turn_to_take(&self, now: Instant) -> Turn {
        match &self.open {
            Some(_) if self.n_waiting > 0 => Turn::Wait(None),
            _ => self.next(now),
        }
    }

    /// Whether a message that waits may run; then it waits no more.
    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        let turn = self.next(now);
        match (turn, &mut self.open) {
            (Turn::Wait(_), _) => return turn,
            (Turn::HalfOpen(_), Some(open)) => open.is_half_open = true,
            _ => {}
        }
        self.n_waiting -= 1;
        turn
    }

    fn next(&self, now: Instant) -> Turn {
        match &self.open {
            None => Turn::Ordinary,
            Some(open) if open.is_half_open => Turn::Wait(None),
            Some(open) if open.half_open_at > now => Turn::Wait(Some(open.half_open_at)),
            Some(_) => Turn::HalfOpen(self.n_opened),
        }
    }

    /// A stage did its work: its count starts again, and where it was the failing component the breaker closes.
    pub(super) fn passed(&mut self, stage: Stage, digest: &str, now: Instant) -> Option<BreakerTransition> {
        let is_it = |failing_component: &FailingComponent| {
            failing_component.stage == stage && failing_component.digest == digest
        };
        self.failures.retain(|(failing_component, _)| !is_it(failing_component));
        self.close_if(is_it, now)
    }

    /// Closes where the failing component is out of service: nothing bad is known of its successor.
    pub(super) fn forget_unless(
        &mut self,
        is_served: impl Fn(&FailingComponent) -> bool,
        now: Instant,
    ) -> Option<BreakerTransition> {
        self.close_if(|failing_component| !is_served(failing_component), now)
    }

    /// A stage failed for a message; `half_open` where that was the half-open call after so many openings.
    pub(super) fn failed(
        &mut self,
        failure: Failure<'_>,
        half_open: Option<u64>,
        now: Instant,
    ) -> (FailureVerdict, Option<BreakerTransition>) {
        let Failure {
            failing_component,
            generation,
            reason,
            cost,
        } = failure;
        let is_half_open_call = half_open == Some(self.n_opened);
        if let Some(open) = &mut self.open {
            if !is_half_open_call {
                return (FailureVerdict::Kept, None);
            }
            let pause = next(&mut open.pauses);
            (open.is_half_open, open.half_open_at, open.class) = (false, now + pause, reason.class);
            let (failing_component, reason) = (open.failing_component.clone(), reason.to_string());
            let change = BreakerTransition::HalfOpenFailed {
                failing_component,
                reason,
                pause,
            };
            return (FailureVerdict::HalfOpenFailed, Some(change));
        }
        let n_before = self.failures.iter().find(|(other, _)| *other == failing_component);
        let n_failures = n_before.map_or(0, |(_, count)| *count) + 1;
        self.failures
            .retain(|(other, _)| other.stage != failing_component.stage);
        if n_failures < THRESHOLD {
            self.failures.push((failing_component, n_failures));
            return (FailureVerdict::Stands, None);
        }
        self.failures.clear();
        let mut pauses = pauses();
        let pause = next(&mut pauses);
        self.n_opened += 1;
        self.open = Some(Open {
            failing_component: failing_component.clone(),
            class: reason.class,
            since: now,
            half_open_at: now + pause,
            is_half_open: false,
            is_costly: cost >= COSTLY || reason.class == ReasonClass::Deadline,
            pauses,
        });
        let change = BreakerTransition::Opened {
            failing_component,
            generation,
            reason: reason.to_string(),
            n_failures,
            pause,
        };
        (FailureVerdict::Kept, Some(change))
    }

    /// Whether it is open, and messages in flight are not to find out for themselves.
    pub(super) fn keeps_all(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.is_costly)
    }

    /// A half-open call ended without a verdict on the component: the next may follow at once.
    pub(super) fn half_open_ended(&mut self, opened: u64) {
        if let Some(open) = &mut self.open
            && self.n_opened == opened
        {
            open.is_half_open = false;
        }
    }

    /// The half-open call that it waits for, while it is open.
    pub(super) fn opened(&self, now: Instant) -> Option<Opened> {
        self.open.as_ref().map(|open| Opened {
            failing_component: open.failing_component.clone(),
            class: open.class,
            lasts: now.duration_since(open.since),
            half_open_in: if open.is_half_open {
                Duration::ZERO
            } else {
                open.half_open_at.saturating_duration_since(now)
            },
        })
    }

    fn close_if(&mut self, is_it: impl FnOnce(&FailingComponent) -> bool, now: Instant) -> Option<BreakerTransition> {
        let open = self.open.take_if(|open| is_it(&open.failing_component))?;
        Some(BreakerTransition::Closed {
            lasted: now.duration_since(open.since),
            failing_component: open.failing_component,
        })
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}

fn next(pauses: &mut ExponentialBackoff) -> Duration {
    pauses.next().unwrap_or(LONGEST_PAUSE)
}
