//! A generation: the set of plugins, models and destinations that is current. One immutable value behind one pointer.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use tracing::info;

use crate::config::Name;
use crate::disposition::{Disposition, Stage};
use crate::inference::{Company, Served};
use crate::plugins::Plugins;
use crate::recall::Recall;
use crate::sandbox::{Lane, Plugin};
use crate::transport::{Destination, PendingOutput};
use crate::trial::{Came, PATIENCE, Standing, Trial};
use crate::work::{Attempt, Notes, Work, failure, panicked};

/// The current generation; a message loads it once, when its processing begins, and keeps what it loaded.
pub type Current<S = Stages> = Arc<ArcSwap<Generation<S>>>;

/// Everything that messages are processed with.
#[derive(Debug)]
pub struct Generation<S = Stages> {
    /// 1 for the set that the host started with.
    pub id: u64,
    /// What each pipeline runs.
    pub pipelines: BTreeMap<Name, Serving<S>>,
}

/// What serves one pipeline: its stages, and those that they replaced while they are on trial.
#[derive(Debug)]
pub struct Serving<S = Stages> {
    /// What is current.
    pub stages: Arc<S>,
    /// Present from a swap on; it knows when it is over.
    pub trial: Option<Arc<Trial<S>>>,
}

/// What one pipeline runs.
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
    /// Takes back what is in their hands.
    pub recall: Recall,
}

/// What came of the work on a message, and by which stages.
pub type Made<S> = (Arc<S>, Result<Vec<PendingOutput>, Disposition>);

impl<S: Work> Serving<S> {
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

    /// Makes the results of a message; nothing where it was taken back, to begin anew with what serves then. On trial, what
    /// the new stages fail is made at once by the previous ones, and what comes of that stands.
    pub async fn results(&self, attempt: &mut Attempt<'_>) -> Option<Made<S>> {
        let Some(trial) = &self.trial else {
            return run(&self.stages, attempt).await;
        };
        match trial.begin().await {
            Standing::Passed => run(&self.stages, attempt).await,
            Standing::Undone(previous) => run(&previous, attempt).await,
            Standing::Beside(previous) => self.beside(trial, &previous, attempt).await,
            Standing::OnTrial {
                previous,
                is_pair,
                place,
            } => {
                if is_pair {
                    attempt.notes.company = Company::Alone;
                }
                let made = run(&self.stages, attempt).await;
                drop(place);
                let (stages, made) = made?;
                match (failure(&made, attempt), is_pair) {
                    (None, false) => {
                        trial.saw(Came::Fine);
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
    ) -> Option<Made<S>> {
        let first = again(attempt);
        attempt.notes.company = Company::Alone;
        if let Some((_, again)) = run(previous, attempt).await {
            match failure(&again, attempt) {
                None => trial.compare(first.pace, attempt.notes.pace),
                Some(_) => self.previous_failed(trial, previous),
            }
        }
        attempt.notes = first;
        trial.saw(Came::Fine);
        Some((Arc::clone(&self.stages), made))
    }

    /// The new stages failed: what the previous ones make of it stands.
    async fn failed(
        &self,
        trial: &Trial<S>,
        previous: &Arc<S>,
        attempt: &mut Attempt<'_>,
        (made, how): (Result<Vec<PendingOutput>, Disposition>, String),
    ) -> Option<Made<S>> {
        let first = again(attempt);
        attempt.notes.company = first.company;
        let (_, again) = run(previous, attempt).await?;
        let is_returned = matches!(again, Err(Disposition::Return));
        match failure(&again, attempt) {
            None if is_returned => trial.saw(Came::AsBefore),
            None => {
                trial.previous_passed();
                if attempt.lines.may_tell() {
                    let plugin = match &made {
                        Err(Disposition::Reject(reason) | Disposition::Retry(reason)) => reason.plugin_name(),
                        _ => None,
                    };
                    info!(
                        plugin,
                        reason = how,
                        "failed on trial, and processed by the version before"
                    );
                }
                trial.saw(Came::Worse(how));
            }
            Some(_) => {
                trial.compare(first.pace, attempt.notes.pace);
                trial.saw(Came::AsBefore);
            }
        }
        if trial.is_undone() {
            // Those that are in its hands need not find out for themselves.
            self.stages.recall().take_back();
        }
        // Where both fail by themselves, what is current is to blame: of the other nobody can be rid.
        match is_own_fault(self.stages.as_ref(), &made) && is_own_fault(previous.as_ref(), &again) {
            true => {
                attempt.notes = first;
                Some((Arc::clone(&self.stages), made))
            }
            false => Some((Arc::clone(previous), again)),
        }
    }

    /// The new stages have enough in their hands; but they may be what mends what the previous ones fail.
    async fn beside(&self, trial: &Arc<Trial<S>>, previous: &Arc<S>, attempt: &mut Attempt<'_>) -> Option<Made<S>> {
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
                    // Nobody is there who could say that the message is to blame: it waits.
                    Standing::Beside(_) if is_own_fault => tokio::time::sleep(PATIENCE).await,
                    standing => return standing,
                }
            }
        };
        let standing = tokio::select! {
            biased; // what was taken back does not begin
            () = self.stages.recall().is_taken_back() => None,
            () = kept => None,
            standing = free => Some(standing),
        };
        let place = match standing {
            Some(Standing::OnTrial { place, .. }) => Some(place),
            Some(Standing::Passed) => None,
            Some(Standing::Beside(_) | Standing::Undone(_)) => {
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
async fn run<S: Work>(stages: &Arc<S>, attempt: &mut Attempt<'_>) -> Option<Made<S>> {
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
    matches!(made, Err(Disposition::Reject(reason)) if stages.culprit(reason).is_some())
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

impl<S> Clone for Serving<S> {
    fn clone(&self) -> Self {
        Self {
            stages: Arc::clone(&self.stages),
            trial: self.trial.clone(),
        }
    }
}
