//! The trial of a new generation's stages beside those that they replaced: they are given a few messages at a time, and more
//! as they prove themselves. Each message that they fail is tried again at once on the previous ones, so that a bad version
//! costs no message, and a bad message condemns no version. Knows no source and no plugin.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::config::{Name, TrialConfig};
use crate::control::TrialStatus;

/// Messages that both versions process, for what they cost to be compared: the same message, on the same machine.
pub const PAIRS: u32 = 20;

/// Pairs in which the new version must cost more than `slower` times as much, and [`CPU_MIN`] or [`DEVICE_MIN`] more.
///
/// Where both are equal, and one pair in five is off by so much by chance, this undoes fewer than one swap in ten million.
pub const SLOWER_PAIRS: usize = 17;

/// This many in a row from the first on are sure without more.
pub const SLOWER_AT_ONCE: usize = 12;

/// A plugin that takes less CPU time than this more for a message is not slower: caches and clocks make as much.
pub const CPU_MIN: Duration = Duration::from_millis(1);

/// The same of a model's device, which is timed by the clock on the wall: on a CPU it shares the cores with everybody.
pub const DEVICE_MIN: Duration = Duration::from_millis(5);

/// The previous stages are no longer a baseline when they fail for so many messages in a row that the new ones process.
const PREVIOUS_FAILS: u32 = 3;

/// Messages that the new stages have in their hands at once before any came through: while they hold one worker, the others
/// serve.
const FIRST_SHARE: usize = 1;

/// How long a message waits for the new stages to have a hand free, and how long these may have another in it before that is
/// no use: most messages take less, and a few that come at once are tried one after the other.
pub const PATIENCE: Duration = Duration::from_millis(200);

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialEnded {
    pub pipeline: Name,
    /// The generation whose stages were on trial.
    pub generation: u64,
    /// Why they are worse; nothing where they passed.
    pub worse: Option<String>,
}

/// A trial; shared by the messages that take part.
#[derive(Debug)]
pub struct Trial<S> {
    pipeline: Name,
    generation: u64,
    limits: TrialConfig,
    // std Mutex: never held over an await.
    state: Mutex<State<S>>,
    freed: Notify,
    // One event for each trial: bounded by what begins them.
    ended: mpsc::UnboundedSender<TrialEnded>,
}

#[derive(Debug)]
struct State<S> {
    phase: TrialPhase,
    // Let go of when the new stages have passed.
    previous: Option<Arc<S>>,
    // The messages in the hands of the new stages, by when they came, the oldest first; at most `share`.
    in_flight: VecDeque<(u64, Instant)>,
    last_slot: u64,
    // Grows by one with each message that comes through: twice as many in each round.
    share: usize,
    n_seen: u32,
    n_worse: u32,
    n_previous_failed: u32,
    pairs: Vec<(Pace, Pace)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TrialPhase {
    Running,
    Passed,
    Undone,
}

/// The stages for a message.
#[derive(Debug)]
pub enum TrialAssignment<S> {
    /// The new stages, and where they fail, or if it is one of a pair, the previous ones.
    OnTrial {
        /// The previous stages.
        previous: Arc<S>,
        /// Whether both process it.
        is_pair: bool,
        /// To be dropped when the new stages are done with it.
        place: TrialSlot<S>,
    },
    /// The previous stages: the new ones have as many in their hands as they have shown that they can bear.
    Beside(Arc<S>),
    /// The new stages alone.
    Passed,
    /// The previous stages alone.
    Undone(Arc<S>),
}

/// The result of a message that the new stages processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrialResult {
    /// They processed it.
    Fine,
    /// They failed for it, as the previous ones did.
    AsBefore,
    /// They failed for it, in these words, and the previous ones processed it.
    Worse(String),
}

/// A message in the hands of new stages, until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the place to another"]
pub struct TrialSlot<S> {
    trial: Arc<Trial<S>>,
    slot: u64,
}

/// The cost of a message, without any waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// CPU time of its calls.
    pub plugins: Duration,
    /// Time of the device.
    pub device: Duration,
}

impl<S> Trial<S> {
    /// Begins; how it ends is sent to `ended`.
    pub fn new(
        pipeline: Name,
        generation: u64,
        limits: TrialConfig,
        previous: Arc<S>,
        ended: mpsc::UnboundedSender<TrialEnded>,
    ) -> Self {
        let state = State {
            phase: TrialPhase::Running,
            previous: Some(previous),
            in_flight: VecDeque::new(),
            last_slot: 0,
            share: FIRST_SHARE,
            n_seen: 0,
            n_worse: 0,
            n_previous_failed: 0,
            pairs: Vec::new(),
        };
        Self {
            pipeline,
            generation,
            limits,
            state: Mutex::new(state),
            freed: Notify::new(),
            ended,
        }
    }

    /// A message begins: as soon as the new stages have a hand free, or it is seen that this will take long.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn begin(self: &Arc<Self>) -> TrialAssignment<S> {
        let until = Instant::now() + PATIENCE;
        loop {
            let freed = self.freed.notified();
            let previous = match self.begin_now() {
                Ok(assignment) => return assignment,
                Err(previous) => previous,
            };
            tokio::select! {
                () = freed => {}
                () = tokio::time::sleep_until(until) => return TrialAssignment::Beside(previous),
            }
        }
    }

    /// The stages for a message that does not wait; the previous stages, where it may as well wait a little.
    fn begin_now(self: &Arc<Self>) -> Result<TrialAssignment<S>, Arc<S>> {
        let mut state = self.lock();
        let Some(previous) = state.previous.clone() else {
            return Ok(TrialAssignment::Passed);
        };
        if state.phase == TrialPhase::Undone {
            return Ok(TrialAssignment::Undone(previous));
        }
        if state.in_flight.len() >= state.share {
            let is_stuck = state
                .in_flight
                .front()
                .is_some_and(|(_, since)| since.elapsed() >= PATIENCE);
            return match is_stuck {
                true => Ok(TrialAssignment::Beside(previous)),
                false => Err(previous),
            };
        }
        state.last_slot += 1;
        let slot = state.last_slot;
        state.in_flight.push_back((slot, Instant::now()));
        Ok(TrialAssignment::OnTrial {
            previous,
            is_pair: state.pairs.len() < self.n_pairs(),
            place: TrialSlot {
                trial: Arc::clone(self),
                slot,
            },
        })
    }

    /// A message was processed.
    pub fn saw(&self, came: TrialResult) {
        let mut state = self.lock();
        if state.phase != TrialPhase::Running {
            return;
        }
        state.n_seen += 1;
        match came {
            TrialResult::Fine => {
                state.share += 1;
                self.freed.notify_waiters();
            }
            TrialResult::AsBefore => {}
            TrialResult::Worse(how) => {
                state.n_worse += 1;
                state.share = FIRST_SHARE;
                if state.n_worse > self.limits.failures {
                    let (n_worse, n_seen) = (state.n_worse, state.n_seen);
                    let why = format!(
                        "it failed for {n_worse} of {n_seen} messages that the version before can process; at the last: {how}"
                    );
                    return self.undo(&mut state, why);
                }
            }
        }
        self.pass_if_proved(&mut state);
    }

    /// Both processed a message, and the same came of it.
    pub fn compare(&self, new: Pace, previous: Pace) {
        let mut state = self.lock();
        if state.phase != TrialPhase::Running || state.pairs.len() >= self.n_pairs() {
            return;
        }
        state.pairs.push((new, previous));
        match slower(&state.pairs, self.limits.slower) {
            Some(why) => self.undo(&mut state, why),
            None => self.pass_if_proved(&mut state),
        }
    }

    /// The previous stages answered a message.
    pub fn previous_passed(&self) {
        self.lock().n_previous_failed = 0;
    }

    /// The previous stages failed for a message that the new ones processed.
    pub fn previous_failed(&self) {
        let mut state = self.lock();
        state.n_previous_failed += 1;
        if state.phase == TrialPhase::Running && state.n_previous_failed >= PREVIOUS_FAILS {
            self.pass(&mut state);
        }
    }

    /// How far it is, while it lasts.
    pub fn status(&self) -> Option<TrialStatus> {
        let state = self.lock();
        let oldest = state.in_flight.front();
        (state.phase == TrialPhase::Running).then(|| TrialStatus {
            seen: state.n_seen.into(),
            of: self.limits.messages.into(),
            worse: state.n_worse.into(),
            in_flight: state.in_flight.len() as u64,
            oldest_s: oldest.map_or(0, |(_, since)| since.elapsed().as_secs()),
        })
    }

    /// The stages that messages may still be processed with beside the new ones.
    pub fn previous(&self) -> Option<Arc<S>> {
        self.lock().previous.clone()
    }

    /// Whether the new stages have not passed.
    pub fn is_unproven(&self) -> bool {
        self.lock().phase != TrialPhase::Passed
    }

    /// Whether the new stages were found worse.
    pub fn is_undone(&self) -> bool {
        self.lock().phase == TrialPhase::Undone
    }

    fn n_pairs(&self) -> usize {
        PAIRS.min(self.limits.messages) as usize
    }

    /// A backlog brings hundreds of messages before the first pairs are done: so many messages alone prove nothing.
    fn pass_if_proved(&self, state: &mut State<S>) {
        if state.n_seen >= self.limits.messages && state.pairs.len() >= self.n_pairs() {
            self.pass(state);
        }
    }

    fn pass(&self, state: &mut State<S>) {
        state.phase = TrialPhase::Passed;
        state.previous = None;
        self.end(None);
    }

    fn undo(&self, state: &mut State<S>, why: String) {
        state.phase = TrialPhase::Undone;
        self.end(Some(why));
    }

    fn end(&self, worse: Option<String>) {
        let ended = TrialEnded {
            pipeline: self.pipeline.clone(),
            generation: self.generation,
            worse,
        };
        self.freed.notify_waiters();
        if self.ended.send(ended).is_err() {
            tracing::debug!("a trial ended after its host");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        // Each change is whole before anything in it could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Drop for TrialSlot<S> {
    fn drop(&mut self) {
        self.trial.lock().in_flight.retain(|(slot, _)| *slot != self.slot);
        self.trial.freed.notify_waiters();
    }
}

/// Why the new version is slower, where so many pairs say so that chance does not.
fn slower(pairs: &[(Pace, Pace)], times: f64) -> Option<String> {
    let plugins = slower_at(pairs, times, ("its plugins took", "of CPU time", CPU_MIN), |pace| {
        pace.plugins
    });
    plugins.or_else(|| {
        slower_at(pairs, times, ("its model took", "of its device", DEVICE_MIN), |pace| {
            pace.device
        })
    })
}

/// The same of one thing that it costs.
fn slower_at(
    pairs: &[(Pace, Pace)],
    times: f64,
    (what, unit, min): (&str, &str, Duration),
    of: fn(&Pace) -> Duration,
) -> Option<String> {
    let is_slower = |(new, previous): &&(Pace, Pace)| {
        let (new, previous) = (of(new), of(previous));
        new.as_secs_f64() > previous.as_secs_f64() * times && new.saturating_sub(previous) > min
    };
    let (n_slower, n_pairs) = (pairs.iter().filter(is_slower).count(), pairs.len());
    let is_sure = n_slower >= SLOWER_PAIRS || (n_slower == n_pairs && n_pairs >= SLOWER_AT_ONCE);
    is_sure.then(|| {
        let new = median(pairs.iter().map(|(new, _)| of(new)));
        let previous = median(pairs.iter().map(|(_, previous)| of(previous)));
        format!(
            "{what} {new:.1?} {unit} for a message where the version before took {previous:.1?} (medians); for {n_slower} of {n_pairs} messages that both processed it took more than it may: `slower` allows {times} times as much, and {min:?} more"
        )
    })
}

fn median(durations: impl Iterator<Item = Duration>) -> Duration {
    let mut durations: Vec<Duration> = durations.collect();
    durations.sort_unstable();
    durations.get(durations.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
