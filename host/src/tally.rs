//! What became of a pipeline's messages, counted at both ends of their lives. Knows no source, no plugin and no table.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::disposition::ReasonClass;

/// Labels that are counted one by one; a model may have more, and then the later ones are counted together.
pub(crate) const LABELS_MAX: usize = 4096;

/// Upper bounds of the times of calls that are counted together, in seconds; from a call of a small plugin in an
/// instance that it had, to a deadline.
pub const CALL_BOUNDS_S: [f64; 10] = [1e-5, 1e-4, 5e-4, 1e-3, 5e-3, 0.01, 0.05, 0.1, 1.0, 10.0];

/// What became of the messages of a pipeline.
#[derive(Debug, Default)]
pub struct Tally {
    // std Mutex and not atomics: what is taken, in hand and settled must be seen at one moment, or it would not add up.
    counts: Mutex<Counts>,
}

/// Everything that is counted, at one moment.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    /// Messages taken.
    pub n_taken: u64,
    /// Messages taken and not yet settled.
    pub n_in_hand: u64,
    /// Acknowledged, by the model's best label.
    pub labels: BTreeMap<String, u64>,
    /// Acknowledged, of labels that came when there were as many as are told apart.
    pub n_other_labels: u64,
    /// Acknowledged, without a label.
    pub n_unlabelled: u64,
    /// Acknowledged without a result, since a plugin said so.
    pub n_skipped: u64,
    /// Dead letters.
    pub rejected: BTreeMap<ReasonClass, u64>,
    /// Gone back for another attempt.
    pub n_retried: u64,
    /// Set apart, as suspects.
    pub n_quarantined: u64,
    /// Given back as they were.
    pub n_returned: u64,
    /// Settled where the source could not be told: they will come again.
    pub n_lost: u64,
    /// Calls, by plugin.
    pub calls: BTreeMap<String, Calls>,
    // Invariant: the sum of what is acknowledged, skipped and rejected; kept, since a bar asks for it all the time.
    n_finished: u64,
}

/// Calls of one plugin.
#[derive(Debug, Default, Clone)]
pub struct Calls {
    /// By what came of them.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// How many took no longer than each of [`CALL_BOUNDS_S`], and longer than the one before.
    pub by_time: [u64; CALL_BOUNDS_S.len()],
    /// All their time, in seconds.
    pub seconds: f64,
}

/// What became of one message.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// Acknowledged; by its best label where the model is a classifier.
    Acked(Option<&'a str>),
    /// Acknowledged without a result, since a plugin said so.
    Skipped,
    /// A dead letter.
    Rejected(ReasonClass),
    /// Gone back for another attempt.
    Retried,
    /// Set apart, as a suspect.
    Quarantined,
    /// Given back as it was.
    Returned,
    /// The source could not be told.
    Lost,
}

/// One message in hand. Dropping it unsettled leaves a message that nobody accounts for: a bug of ours.
#[derive(Debug)]
#[must_use = "a message that is not settled is missing in the end"]
pub struct InHand {
    tally: Arc<Tally>,
}

impl Tally {
    /// Counts a message that was taken.
    pub fn take(self: &Arc<Self>) -> InHand {
        let mut counts = self.lock();
        counts.n_taken += 1;
        counts.n_in_hand += 1;
        InHand {
            tally: Arc::clone(self),
        }
    }

    /// Counts a call of a plugin, by a constant that says what came of it.
    pub fn called(&self, plugin: &str, outcome: &'static str, took: Duration) {
        let mut counts = self.lock();
        if !counts.calls.contains_key(plugin) {
            counts.calls.insert(plugin.to_owned(), Calls::default());
        }
        let Some(calls) = counts.calls.get_mut(plugin) else {
            return;
        };
        *calls.outcomes.entry(outcome).or_default() += 1;
        let seconds = took.as_secs_f64();
        calls.seconds += seconds;
        let at = CALL_BOUNDS_S.iter().position(|bound| seconds <= *bound);
        if let Some(count) = at.and_then(|at| calls.by_time.get_mut(at)) {
            *count += 1;
        }
    }

    /// Messages that are done with: acknowledged, skipped or rejected.
    pub fn n_finished(&self) -> u64 {
        self.lock().n_finished
    }

    /// Everything at this moment.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Nothing between the additions of one change can panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InHand {
    /// Counts what became of it.
    pub fn settle(self, outcome: Outcome<'_>) {
        self.tally.lock().add_outcome(outcome);
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.tally.lock().n_in_hand -= 1;
    }
}

impl Counts {
    /// Messages that are done with: acknowledged, skipped or rejected.
    pub fn n_finished(&self) -> u64 {
        self.n_finished
    }

    /// Messages acknowledged with their results.
    pub fn n_acked(&self) -> u64 {
        self.labels.values().sum::<u64>() + self.n_other_labels + self.n_unlabelled
    }

    /// Messages that the source has back or was done with.
    pub fn n_settled(&self) -> u64 {
        self.n_finished + self.n_retried + self.n_quarantined + self.n_returned + self.n_lost
    }

    /// Whether every message that was taken is in hand or was settled, once.
    pub fn add_up(&self) -> bool {
        self.n_taken == self.n_settled() + self.n_in_hand
    }

    /// Adds those of another pipeline.
    pub fn merge(&mut self, other: &Self) {
        self.n_taken += other.n_taken;
        self.n_in_hand += other.n_in_hand;
        for (label, count) in &other.labels {
            *self.labels.entry(label.clone()).or_default() += count;
        }
        self.n_other_labels += other.n_other_labels;
        self.n_unlabelled += other.n_unlabelled;
        self.n_skipped += other.n_skipped;
        for (class, count) in &other.rejected {
            *self.rejected.entry(*class).or_default() += count;
        }
        self.n_retried += other.n_retried;
        self.n_quarantined += other.n_quarantined;
        self.n_returned += other.n_returned;
        self.n_lost += other.n_lost;
        self.n_finished += other.n_finished;
    }

    fn add_outcome(&mut self, outcome: Outcome<'_>) {
        match outcome {
            Outcome::Acked(label) => self.add_label(label),
            Outcome::Skipped => self.n_skipped += 1,
            Outcome::Rejected(class) => *self.rejected.entry(class).or_default() += 1,
            Outcome::Retried => return self.n_retried += 1,
            Outcome::Quarantined => return self.n_quarantined += 1,
            Outcome::Returned => return self.n_returned += 1,
            Outcome::Lost => return self.n_lost += 1,
        }
        self.n_finished += 1;
    }

    fn add_label(&mut self, label: Option<&str>) {
        let Some(label) = label else {
            self.n_unlabelled += 1;
            return;
        };
        let is_full = self.labels.len() >= LABELS_MAX;
        match self.labels.get_mut(label) {
            Some(count) => *count += 1,
            None if is_full => self.n_other_labels += 1,
            None => drop(self.labels.insert(label.to_owned(), 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_in_hand_or_settled() {
        let tally = Arc::new(Tally::default());
        let outcomes = [
            Outcome::Acked(Some("square")),
            Outcome::Acked(None),
            Outcome::Skipped,
            Outcome::Rejected(ReasonClass::Trap),
            Outcome::Retried,
            Outcome::Quarantined,
            Outcome::Returned,
            Outcome::Lost,
        ];
        for outcome in outcomes {
            let message = tally.take();
            assert!(tally.counts().add_up() && tally.counts().n_in_hand == 1);
            message.settle(outcome);
            assert!(tally.counts().add_up() && tally.counts().n_in_hand == 0, "{outcome:?}");
        }
        let counts = tally.counts();
        assert_eq!((counts.n_taken, counts.n_settled(), counts.n_finished()), (8, 8, 4));
        assert_eq!(counts.n_acked(), 2);
    }

    #[test]
    fn a_message_that_nobody_settles_is_missed() {
        let tally = Arc::new(Tally::default());
        drop(tally.take());
        assert!(!tally.counts().add_up());
    }

    #[test]
    fn calls_are_counted_by_what_came_of_them_and_by_time() {
        let tally = Tally::default();
        for (outcome, took_ms) in [("ok", 2), ("ok", 3), ("trap", 70), ("deadline", 60_000)] {
            tally.called("crop", outcome, Duration::from_millis(took_ms));
        }
        let counts = tally.counts();
        let calls = counts.calls.get("crop").expect("a plugin");
        assert_eq!(
            calls.outcomes,
            BTreeMap::from([("ok", 2), ("trap", 1), ("deadline", 1)])
        );
        assert_eq!(calls.by_time, [0, 0, 0, 0, 2, 0, 0, 1, 0, 0]);
        assert!((calls.seconds - 60.075).abs() < 1e-9);
    }
}
