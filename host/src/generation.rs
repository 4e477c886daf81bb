//! A generation: the set of plugins, models and destinations that is current. One immutable value behind one pointer.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::Name;
use crate::connect::{Destination, Parcel};
use crate::disposition::{Disposition, Stage};
use crate::inference::Served;
use crate::plugins::Plugins;
use crate::sandbox::{Lane, Plugin};
use crate::trial::{Standing, Trial};
use crate::work::{Attempt, Work, failure};

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
    pub destinations: BTreeMap<Name, Destination>,
    /// How often a message is tried when a plugin says `retry`.
    pub attempts: u32,
    /// Bytes of the largest message that a plugin is given.
    pub max_message_bytes: usize,
    /// Bytes of the bodies of a message's results together.
    pub max_results_bytes: usize,
}

/// What came of the work on a message, and by which stages.
pub type Made<S> = (Arc<S>, Result<Vec<Parcel>, Disposition>);

impl<S: Work> Serving<S> {
    /// Stages that have nothing to prove.
    pub fn proven(stages: Arc<S>) -> Self {
        Self { stages, trial: None }
    }

    /// Whether a build of a plugin or model does a stage's work here.
    pub fn has(&self, stage: Stage, digest: &str) -> bool {
        let previous = self.trial.as_ref().and_then(|trial| trial.previous());
        let mut all = std::iter::once(&self.stages).chain(&previous);
        all.any(|stages| stages.has(stage, digest))
    }

    /// Makes the results of a message. On trial, what the new stages fail is made at once by the previous ones, and what
    /// comes of that stands.
    pub async fn results(&self, attempt: &mut Attempt<'_>) -> Made<S> {
        let stages = Arc::clone(&self.stages);
        let standing = self.trial.as_ref().map(|trial| (trial, trial.begin()));
        let Some((trial, standing)) = standing else {
            let made = stages.results(attempt).await;
            return (stages, made);
        };
        let (previous, is_pair) = match standing {
            Standing::OnTrial { previous, is_pair } => (previous, is_pair),
            Standing::Passed => {
                let made = stages.results(attempt).await;
                return (stages, made);
            }
            Standing::Undone(previous) => {
                let made = previous.results(attempt).await;
                return (previous, made);
            }
        };
        let made = stages.results(attempt).await;
        let failed = failure(&made, attempt);
        if failed.is_none() && !is_pair {
            trial.saw(None);
            return (stages, made);
        }
        let first = std::mem::take(&mut attempt.notes);
        let again = previous.results(attempt).await;
        match failed {
            Some(how) => {
                let is_worse = failure(&again, attempt).is_none() && !matches!(again, Err(Disposition::Return));
                trial.saw(is_worse.then_some(how));
                (previous, again)
            }
            None => {
                if failure(&again, attempt).is_none() {
                    trial.compare(first.pace, attempt.notes.pace);
                }
                attempt.notes = first;
                trial.saw(None);
                (stages, made)
            }
        }
    }
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
