//! The counts of a pipeline's messages, taken at both ends of their lives. Knows no source, no plugin and no table.

mod calls;

pub use calls::{Call, CallCounts, Calls};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::disposition::{ReasonClass, Stage};
use crate::histogram::{Histogram, TIMES};

/// Labels that are counted one by one; a model may have more, and then the later ones are counted together.
pub(crate) const LABELS_MAX: usize = 4096;

/// The counts of a pipeline's messages.
#[derive(Debug, Default)]
pub struct PipelineCounters {
    // std Mutex and not atomics: what is taken, in flight and settled must be seen at one moment, or it would not add up.
    counts: Mutex<Counts>,
}

/// Everything that is counted, at one moment.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    /// Messages taken.
    pub n_received: u64,
    /// Messages in flight: received and not yet settled.
    pub n_in_flight: u64,
    /// Acknowledged, by the model's best label.
    pub labels: BTreeMap<String, u64>,
    /// Acknowledged, of labels beyond those that are counted by name.
    pub n_other_labels: u64,
    /// Acknowledged, without a label.
    pub n_unlabelled: u64,
    /// Acknowledged without a result, since a plugin said so.
    pub n_skipped: u64,
    /// Dead letters.
    pub rejected: BTreeMap<ReasonClass, u64>,
    /// Gone back for another attempt.
    pub n_retried: u64,
    pub n_quarantined: u64,
    /// Given back as they were.
    pub n_returned: u64,
    /// Settled where the acknowledgement failed: they will be redelivered.
    pub n_lost: u64,
    /// Calls, by plugin, stage and generation.
    pub calls: CallCounts,
    /// The time of each stage, of those that a message came to.
    pub stages: BTreeMap<Stage, Histogram>,
    /// Time from receiving a message until it is settled.
    pub messages: Option<Histogram>,
    /// Messages in flight, by the stage that they are at; the others wait for their turn, or are being settled.
    pub at: BTreeMap<Stage, u64>,
    /// Grows with everything that a message gets done: it is taken, called for, through a stage, settled.
    pub n_steps: u64,
    // Invariant: the sum of what is acknowledged, skipped and rejected; kept, since a bar asks for it all the time.
    n_finished: u64,
}

/// The outcome of one message.
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
    Quarantined,
    /// Given back as it was.
    Returned,
    /// The acknowledgement failed.
    Lost,
}

/// A message at a stage, while it is.
#[derive(Debug)]
pub struct At<'a> {
    counters: &'a PipelineCounters,
    stage: Stage,
}

/// The activity of a pipeline, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Motion {
    /// As in [`Counts`].
    pub n_steps: u64,
    /// As in [`Counts`].
    pub n_in_flight: u64,
    /// As in [`Counts`].
    pub at: BTreeMap<Stage, u64>,
}

/// One message in flight. Dropping it unsettled leaves a message that is not accounted for: a bug of ours.
#[derive(Debug)]
#[must_use = "a message that is not settled is missing in the end"]
pub struct InFlight {
    counters: Arc<PipelineCounters>,
    taken: Instant,
}

impl PipelineCounters {
    /// Counts a message that was taken.
    pub fn receive(self: &Arc<Self>) -> InFlight {
        let mut counts = self.lock();
        counts.n_received += 1;
        counts.n_in_flight += 1;
        counts.n_steps += 1;
        InFlight {
            counters: Arc::clone(self),
            taken: Instant::now(),
        }
    }

    /// Counts a call of a plugin, by a constant that says what came of it.
    pub fn called(&self, call: Call<'_>, outcome: &'static str, took: Duration) {
        let mut counts = self.lock();
        counts.n_steps += 1;
        counts.calls.add(call, outcome, took);
    }

    /// Counts what a stage took.
    pub fn took(&self, stage: Stage, took: Duration) {
        let mut counts = self.lock();
        counts.n_steps += 1;
        let stage = counts.stages.entry(stage).or_insert_with(|| Histogram::new(&TIMES));
        stage.add_time(took);
    }

    /// Does a stage's work, and counts what it took.
    pub async fn timed<T>(&self, stage: Stage, work: impl Future<Output = T>) -> T {
        let (began, _at) = (Instant::now(), self.enter(stage));
        let done = work.await;
        self.took(stage, began.elapsed());
        done
    }

    /// A message comes to a stage, and leaves it when what this gives is dropped.
    pub fn enter(&self, stage: Stage) -> At<'_> {
        *self.lock().at.entry(stage).or_default() += 1;
        At { counters: self, stage }
    }

    /// The activity, for the watchdog.
    pub fn motion(&self) -> Motion {
        let counts = self.lock();
        Motion {
            n_steps: counts.n_steps,
            n_in_flight: counts.n_in_flight,
            at: counts.at.clone(),
        }
    }

    /// Messages that are done with: acknowledged, skipped or rejected.
    pub fn n_finished(&self) -> u64 {
        self.lock().n_finished
    }

    /// Messages that plugins and model could process: acknowledged or skipped.
    pub fn n_processed(&self) -> u64 {
        let counts = self.lock();
        counts.n_acked() + counts.n_skipped
    }

    /// Messages that went back as they were.
    pub fn n_returned(&self) -> u64 {
        self.lock().n_returned
    }

    /// Messages in flight: received and not yet settled.
    pub fn n_in_flight(&self) -> u64 {
        self.lock().n_in_flight
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

impl InFlight {
    /// Counts what became of it.
    pub fn settle(self, outcome: Outcome<'_>) {
        let mut counts = self.counters.lock();
        counts.n_steps += 1;
        counts.add_outcome(outcome);
        let messages = counts.messages.get_or_insert_with(|| Histogram::new(&TIMES));
        messages.add_time(self.taken.elapsed());
    }
}

impl Drop for At<'_> {
    fn drop(&mut self) {
        let mut counts = self.counters.lock();
        if let Some(n) = counts.at.get_mut(&self.stage) {
            *n = n.saturating_sub(1);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.counters.lock().n_in_flight -= 1;
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

    /// Whether every message that was received is in flight or was settled, once.
    pub fn add_up(&self) -> bool {
        self.n_received == self.n_settled() + self.n_in_flight
    }

    /// Adds those of another pipeline.
    pub fn merge(&mut self, other: &Self) {
        self.n_received += other.n_received;
        self.n_in_flight += other.n_in_flight;
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
        let counters = Arc::new(PipelineCounters::default());
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
            let message = counters.receive();
            assert!(counters.counts().add_up() && counters.counts().n_in_flight == 1);
            message.settle(outcome);
            assert!(
                counters.counts().add_up() && counters.counts().n_in_flight == 0,
                "{outcome:?}"
            );
        }
        let counts = counters.counts();
        assert_eq!((counts.n_received, counts.n_settled(), counts.n_finished()), (8, 8, 4));
        assert_eq!(counts.n_acked(), 2);
    }

    #[test]
    fn a_message_that_nobody_settles_is_missed() {
        let counters = Arc::new(PipelineCounters::default());
        drop(counters.receive());
        assert!(!counters.counts().add_up());
    }

    #[test]
    fn stages_and_messages_are_timed() {
        let counters = Arc::new(PipelineCounters::default());
        assert!(counters.counts().messages.is_none());
        counters.receive().settle(Outcome::Skipped);
        counters.took(Stage::Preprocess, Duration::from_millis(1));
        let counts = counters.counts();
        assert_eq!(counts.messages.map(|messages| messages.n()), Some(1));
        assert_eq!(counts.stages.keys().collect::<Vec<_>>(), [&Stage::Preprocess]);
    }
}
