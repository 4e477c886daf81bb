//! The trial of a new generation's stages beside those that they replaced: each message that they fail is tried again at
//! once on the previous ones, so that a bad version costs no message, and a bad message condemns no version. Knows no
//! source and no plugin.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::config::{Name, TrialConfig};
use crate::control::TrialStatus;

/// Messages that both versions process, for their times to be compared: under the same load, on the same message.
const PAIRS: u32 = 20;

/// The fewest pairs that say anything.
const PAIRS_MIN: usize = 10;

/// Less than this is no difference: it is lost in what else a message costs.
const DIFFERENCE_MIN: Duration = Duration::from_micros(500);

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialEnded {
    /// The pipeline.
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
    // One event for each trial: bounded by what begins them.
    ended: mpsc::UnboundedSender<TrialEnded>,
}

#[derive(Debug)]
struct State<S> {
    phase: Phase,
    // Let go of when the new stages have passed.
    previous: Option<Arc<S>>,
    n_begun: u32,
    n_seen: u32,
    n_worse: u32,
    pairs: Vec<(Pace, Pace)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Passed,
    Undone,
}

/// What a message is to be processed with.
#[derive(Debug)]
pub enum Standing<S> {
    /// The new stages, and where they fail, or if it is one of a pair, the previous ones.
    OnTrial {
        /// The previous stages.
        previous: Arc<S>,
        /// Whether both process it.
        is_pair: bool,
    },
    /// The new stages alone.
    Passed,
    /// The previous stages alone.
    Undone(Arc<S>),
}

/// How long a message took, without waiting for a sandbox worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// In plugins.
    pub plugins: Duration,
    /// Until its prediction was there.
    pub infer: Duration,
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
            phase: Phase::Running,
            previous: Some(previous),
            n_begun: 0,
            n_seen: 0,
            n_worse: 0,
            pairs: Vec::new(),
        };
        Self {
            pipeline,
            generation,
            limits,
            state: Mutex::new(state),
            ended,
        }
    }

    /// A message begins.
    pub fn begin(&self) -> Standing<S> {
        let mut state = self.lock();
        let Some(previous) = state.previous.clone() else {
            return Standing::Passed;
        };
        if state.phase == Phase::Undone {
            return Standing::Undone(previous);
        }
        state.n_begun = state.n_begun.saturating_add(1);
        let is_pair = state.n_begun <= PAIRS.min(self.limits.messages);
        Standing::OnTrial { previous, is_pair }
    }

    /// A message was processed; `worse` says how the new stages failed where the previous ones did not.
    pub fn saw(&self, worse: Option<String>) {
        let mut state = self.lock();
        if state.phase != Phase::Running {
            return;
        }
        state.n_seen += 1;
        if let Some(how) = worse {
            state.n_worse += 1;
            if state.n_worse > self.limits.failures {
                let (n_worse, n_seen) = (state.n_worse, state.n_seen);
                let why = format!(
                    "it failed for {n_worse} of {n_seen} messages that the version before can process; at the last: {how}"
                );
                return self.undo(&mut state, why);
            }
        }
        if state.n_seen >= self.limits.messages {
            state.phase = Phase::Passed;
            state.previous = None;
            self.end(None);
        }
    }

    /// Both processed a message.
    pub fn compare(&self, new: Pace, previous: Pace) {
        let mut state = self.lock();
        if state.phase != Phase::Running {
            return;
        }
        state.pairs.push((new, previous));
        if state.pairs.len() < PAIRS_MIN.min(usize::try_from(self.limits.messages).unwrap_or(PAIRS_MIN)) {
            return;
        }
        let slower = [
            ("its plugins", (|pace| pace.plugins) as fn(Pace) -> Duration),
            ("its model", |pace| pace.infer),
        ];
        for (what, of) in slower {
            let new = median(state.pairs.iter().map(|(new, _)| of(*new)));
            let previous = median(state.pairs.iter().map(|(_, previous)| of(*previous)));
            let is_slower = new.as_secs_f64() > previous.as_secs_f64() * self.limits.slower;
            if is_slower && new.saturating_sub(previous) > DIFFERENCE_MIN {
                let (n_pairs, limit) = (state.pairs.len(), self.limits.slower);
                let why = format!(
                    "{what} took {new:.1?} for a message where the version before took {previous:.1?} (medians of {n_pairs} messages that both processed); `slower` allows {limit} times"
                );
                return self.undo(&mut state, why);
            }
        }
    }

    /// How far it is, while it lasts.
    pub fn status(&self) -> Option<TrialStatus> {
        let state = self.lock();
        (state.phase == Phase::Running).then(|| TrialStatus {
            seen: state.n_seen.into(),
            of: self.limits.messages.into(),
            worse: state.n_worse.into(),
        })
    }

    /// The stages that messages may still be processed with beside the new ones.
    pub fn previous(&self) -> Option<Arc<S>> {
        self.lock().previous.clone()
    }

    fn undo(&self, state: &mut State<S>, why: String) {
        state.phase = Phase::Undone;
        self.end(Some(why));
    }

    fn end(&self, worse: Option<String>) {
        let ended = TrialEnded {
            pipeline: self.pipeline.clone(),
            generation: self.generation,
            worse,
        };
        if self.ended.send(ended).is_err() {
            tracing::debug!("a trial ended after its host");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        // Each change is whole before anything in it could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn median(durations: impl Iterator<Item = Duration>) -> Duration {
    let mut durations: Vec<Duration> = durations.collect();
    durations.sort_unstable();
    durations.get(durations.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(limits: TrialConfig) -> (Trial<&'static str>, mpsc::UnboundedReceiver<TrialEnded>) {
        let (ended, events) = mpsc::unbounded_channel();
        let name = Name::new("images").unwrap();
        (Trial::new(name, 2, limits, Arc::new("previous"), ended), events)
    }

    fn limits(messages: u32, failures: u32) -> TrialConfig {
        TrialConfig {
            messages,
            failures,
            slower: 5.0,
        }
    }

    #[test]
    fn one_that_fails_no_more_than_it_may_passes_and_lets_go_of_the_previous() {
        let (trial, mut events) = trial(limits(4, 1));
        trial.saw(Some("trap".to_owned()));
        for _ in 0..2 {
            trial.saw(None);
        }
        assert_eq!(trial.status().unwrap().seen, 3);
        assert!(events.try_recv().is_err());
        trial.saw(None);
        assert_eq!(events.try_recv().unwrap().worse, None);
        assert!(trial.status().is_none() && trial.previous().is_none());
        assert!(matches!(trial.begin(), Standing::Passed));
    }

    #[test]
    fn one_that_fails_more_often_is_undone_once_and_at_once() {
        let (trial, mut events) = trial(limits(100, 1));
        trial.saw(Some("trap".to_owned()));
        trial.saw(None);
        trial.saw(Some("out of bounds".to_owned()));
        let worse = events.try_recv().unwrap().worse.unwrap();
        assert!(worse.contains("2 of 3") && worse.ends_with("out of bounds"), "{worse}");
        assert!(matches!(trial.begin(), Standing::Undone(_)));
        trial.saw(Some("late".to_owned()));
        assert!(events.try_recv().is_err());
    }

    #[test]
    fn one_that_is_slower_on_the_same_messages_is_undone_and_noise_is_not() {
        #[track_caller]
        fn check(new_us: u64, previous_us: u64, is_undone: bool) {
            let (trial, mut events) = trial(limits(100, 1));
            let pace = |us| Pace {
                plugins: Duration::from_micros(us),
                infer: Duration::from_micros(100),
            };
            for _ in 0..PAIRS_MIN {
                trial.compare(pace(new_us), pace(previous_us));
            }
            assert_eq!(events.try_recv().is_ok(), is_undone);
        }
        check(10_000, 1000, true);
        check(4000, 1000, false);
        // Ten times of next to nothing.
        check(100, 10, false);
    }

    #[test]
    fn only_the_first_messages_are_processed_by_both() {
        let (trial, _events) = trial(limits(100, 1));
        let pairs = (0..50).filter(|_| matches!(trial.begin(), Standing::OnTrial { is_pair: true, .. }));
        assert_eq!(pairs.count(), 20);
    }
}
