//! A generation: the set of plugins, models and destinations that is current. One immutable value behind one pointer.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use tracing::info;

use crate::config::Name;
use crate::disposition::{Disposition, Stage};
use crate::inference::{BatchSharing, Served};
use crate::message::Headers;
use crate::plugins::Plugins;
use crate::recall::Recall;
use crate::sandbox::{Lane, Plugin};
use crate::transport::{Destination, PendingOutput};
use crate::trial::{PATIENCE, Trial, TrialAssignment, TrialResult};
use crate::work::{Attempt, Notes, Work, failure, panicked};

/// The current generation; a message loads it once, when its processing begins, and keeps what it loaded.
pub type Current<S = Stages> = Arc<ArcSwap<Generation<S>>>;

/// Everything that messages are processed with.
#[derive(Debug)]
pub struct Generation<S = Stages> {
    /// 1 for the set that the host started with.
    pub id: u64,
    /// The parts of each pipeline.
    pub pipelines: BTreeMap<Name, ServingStages<S>>,
}

/// The stages that serve one pipeline, and those that they replaced while they are on trial.
#[derive(Debug)]
pub struct ServingStages<S = Stages> {
    /// The current stages.
    pub stages: Arc<S>,
    /// Present from a swap on; it knows when it is over.
    pub trial: Option<Arc<Trial<S>>>,
}

/// The stages of one pipeline.
#[derive(Debug)]
pub struct Stages {
    /// The generation that these stages belong to.
    pub generation: u64,
    /// Make the tensor and the results.
    pub plugins: Plugins<Arc<Plugin>>,
    /// Makes the prediction.
    pub model: Arc<Served>,
    /// The pipeline's share of the sandbox workers.
    pub lane: Lane,
    /// Where results may go, by the name that routers use.
    pub destinations: BTreeMap<Name, Arc<dyn Destination>>,
    /// How often a message is tried when a plugin says `retry`.
    pub attempts: u32,
    /// Bytes of the largest message that a plugin is given.
    pub max_message_bytes: usize,
    /// Bytes of the bodies of a message's results together.
    pub max_results_bytes: usize,
    /// The headers of results that say what made them, once one was made.
    pub described: OnceLock<Headers>,
    /// Takes back what is in their hands.
    pub recall: Recall,
}

/// The outcome of the work on a message, and the stages that did it.
pub type StageOutcome<S> = (Arc<S>, Result<Vec<PendingOutput>, Disposition>);

impl<S: Work> ServingStages<S> {
    /// Stages that have nothing to prove.
    pub fn proven(stages: Arc<S>) -> Self {
        Self { stages, trial: None }
    }

    /// Whether a build of a plugin or model does a stage's work for every message: the one that what fails for everything
    /// is put down to. What a trial goes back to is not among them.
    pub fn has(&self, stage: Stage, digest: &str) -> bool {
        self.stages.has(stage, digest)
    }

    /// Whether a build may have worked on a message that begins now.
    pub fn may_use(&self, stage: Stage, digest: &str) -> bool {
        let previous = self.trial.as_ref().and_then(|trial| trial.previous());
        self.has(stage, digest) || previous.is_some_and(|previous| previous.has(stage, digest))
    }

    /// Makes the results of a message; `None` where it was taken back, to start again with the stages that serve then.
    /// On trial, what the new stages fail is made at once by the previous ones, and what comes of that stands.
    pub async fn results(&self, attempt: &mut Attempt<'_>) -> Option<StageOutcome<S>> {
        match &self.trial {
            None => run(&self.stages, attempt).await,
            // Boxed: most messages meet no trial, and need not have the room for one.
            Some(trial) => Box::pin(self.results_on_trial(trial, attempt)).await,
        }
    }

    async fn results_on_trial(&self, trial: &Arc<Trial<S>>, attempt: &mut Attempt<'_>) -> Option<StageOutcome<S>> {
        match trial.begin().await {
            TrialAssignment::Passed => run(&self.stages, attempt).await,
            TrialAssignment::Undone(previous) => run(&previous, attempt).await,
            TrialAssignment::Beside(previous) => self.beside(trial, &previous, attempt).await,
            TrialAssignment::OnTrial {
                previous,
                is_pair,
                place,
            } => {
                if is_pair {
                    attempt.notes.batch_sharing = BatchSharing::Alone;
                }
                let made = run(&self.stages, attempt).await;
                drop(place);
                let (stages, made) = made?;
                match (failure(&made, attempt), is_pair) {
                    (None, false) => {
                        trial.saw(TrialResult::Fine);
                        Some((stages, made))
                    }
                    (None, true) => self.compared(trial, &previous, attempt, made).await,
                    (Some(how), _) => self.failed(trial, &previous, attempt, (made, how)).await,
                }
            }
        }
    }

    /// The new stages made something of one of a pair: the previous ones are only measured.
    async fn compared(
        &self,
        trial: &Trial<S>,
        previous: &Arc<S>,
        attempt: &mut Attempt<'_>,
        made: Result<Vec<PendingOutput>, Disposition>,
    ) -> Option<StageOutcome<S>> {
        let first = again(attempt);
        attempt.notes.batch_sharing = BatchSharing::Alone;
        if let Some((_, again)) = run(previous, attempt).await {
            match failure(&again, attempt) {
                None => trial.compare(first.pace, attempt.notes.pace),
                Some(_) => self.previous_failed(trial, previous),
            }
        }
        attempt.notes = first;
        trial.saw(TrialResult::Fine);
        Some((Arc::clone(&self.stages), made))
    }

    /// The new stages failed: what the previous ones make of it stands.
    async fn failed(
        &self,
        trial: &Trial<S>,
        previous: &Arc<S>,
        attempt: &mut Attempt<'_>,
        (made, how): (Result<Vec<PendingOutput>, Disposition>, String),
    ) -> Option<StageOutcome<S>> {
        let first = again(attempt);
        attempt.notes.batch_sharing = first.batch_sharing;
        let (_, again) = run(previous, attempt).await?;
        let is_returned = matches!(again, Err(Disposition::Return));
        match failure(&again, attempt) {
            None if is_returned => trial.saw(TrialResult::AsBefore),
            None => {
                trial.previous_passed();
                if attempt.lines.may_log() {
                    let plugin = match &made {
                        Err(Disposition::Reject(reason) | Disposition::Retry(reason)) => reason.plugin_name(),
                        _ => None,
                    };
                    info!(
                        plugin,
                        reason = how,
                        "the version on trial failed for this message: the version before processes it"
                    );
                }
                trial.saw(TrialResult::Worse(how));
            }
            Some(_) => {
                trial.compare(first.pace, attempt.notes.pace);
                trial.saw(TrialResult::AsBefore);
            }
        }
        if trial.is_undone() {
            // Messages in flight need not find out for themselves.
            self.stages.recall().take_back();
        }
        // Where both fail by themselves, the current one is to blame: the other cannot be undone.
        match is_own_fault(self.stages.as_ref(), &made) && is_own_fault(previous.as_ref(), &again) {
            true => {
                attempt.notes = first;
                Some((Arc::clone(&self.stages), made))
            }
            false => Some((Arc::clone(previous), again)),
        }
    }

    /// The new stages have enough in their hands; but they may be what mends what the previous ones fail.
    async fn beside(
        &self,
        trial: &Arc<Trial<S>>,
        previous: &Arc<S>,
        attempt: &mut Attempt<'_>,
    ) -> Option<StageOutcome<S>> {
        let made = run(previous, attempt).await?.1;
        if failure(&made, attempt).is_none() {
            trial.previous_passed();
            return Some((Arc::clone(previous), made));
        }
        let is_own_fault = is_own_fault(previous.as_ref(), &made);
        let first = again(attempt);
        let kept = attempt.ticket.keeps_all();
        let free = async {
            loop {
                match trial.begin().await {
                    // No other version can tell whether the message is to blame: it waits.
                    TrialAssignment::Beside(_) if is_own_fault => tokio::time::sleep(PATIENCE).await,
                    assignment => return assignment,
                }
            }
        };
        let assignment = tokio::select! {
            biased; // what was taken back does not begin
            () = self.stages.recall().is_taken_back() => None,
            () = kept => None,
            assignment = free => Some(assignment),
        };
        let place = match assignment {
            Some(TrialAssignment::OnTrial { place, .. }) => Some(place),
            Some(TrialAssignment::Passed) => None,
            Some(TrialAssignment::Beside(_) | TrialAssignment::Undone(_)) => {
                attempt.notes = first;
                return Some((Arc::clone(previous), made));
            }
            None => {
                attempt.notes = Notes::default();
                return None;
            }
        };
        let made = run(&self.stages, attempt).await;
        drop(place);
        let (stages, made) = made?;
        if failure(&made, attempt).is_none() {
            self.previous_failed(trial, previous);
        }
        Some((stages, made))
    }

    fn previous_failed(&self, trial: &Trial<S>, previous: &Arc<S>) {
        trial.previous_failed();
        if trial.previous().is_none() {
            previous.recall().take_back();
        }
    }
}

/// Lets stages make the results of a message, unless it is taken back from them, or is to be kept.
async fn run<S: Work>(stages: &Arc<S>, attempt: &mut Attempt<'_>) -> Option<StageOutcome<S>> {
    let kept = attempt.ticket.keeps_all();
    let made = tokio::select! {
        biased; // what was taken back does not begin
        () = stages.recall().is_taken_back() => None,
        () = kept => None,
        made = AssertUnwindSafe(stages.results(attempt)).catch_unwind() => Some(made),
    };
    match made {
        Some(made) => Some((Arc::clone(stages), made.unwrap_or_else(|_| Err(panicked())))),
        None => {
            attempt.notes = Notes::default();
            None
        }
    }
}

/// Begins once more with a message that has lost time already; gives what was learned of it until now.
fn again(attempt: &mut Attempt<'_>) -> Notes {
    let again = Notes {
        comes_first: true,
        ..Notes::default()
    };
    std::mem::replace(&mut attempt.notes, again)
}

/// Whether stages failed in a way that may be one for every message.
fn is_own_fault<S: Work>(stages: &S, made: &Result<Vec<PendingOutput>, Disposition>) -> bool {
    matches!(made, Err(Disposition::Reject(reason)) if stages.failing_component(reason).is_some())
}

// Not derived: that would ask for stages that can be cloned.
impl<S> Clone for Generation<S> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            pipelines: self.pipelines.clone(),
        }
    }
}

impl<S> Clone for ServingStages<S> {
    fn clone(&self) -> Self {
        Self {
            stages: Arc::clone(&self.stages),
            trial: self.trial.clone(),
        }
    }
}
