//! The work on one message between taking it and delivering its results: preprocessed, classified, routed, addressed.
//! Knows no source and no receipt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use crate::breaker::{Culprit, Ticket};
use crate::connect::Parcel;
use crate::disposition::{Disposition, Reason, ReasonClass, Stage};
use crate::envelope::{Facts, Timings};
use crate::failpoints::{self, Place};
use crate::generation::Stages;
use crate::inference::{Approach, InferError};
use crate::message::{Envelope, Message, Outbound, Prediction, Tensor};
use crate::quota::LineQuota;
use crate::sandbox::{CallError, Called, Plugin, Refusal};
use crate::tally::{Call, Tally};
use crate::trial::Pace;

/// What a pipeline does with a message. [`Stages`] are the real ones; the simulator of the settlement has a script.
pub trait Work: Send + Sync + 'static {
    /// The generation that it belongs to.
    fn generation(&self) -> u64;

    /// How often a message is tried.
    fn attempts(&self) -> u32;

    /// Which build of a plugin or model does a stage's work.
    fn digest(&self, stage: Stage) -> Option<&str>;

    /// Who failed, where it may fail for every message; a refusal is an answer.
    fn culprit(&self, reason: &Reason) -> Option<Culprit>;

    /// Makes every result of a message, addressed and ready to be sent: what may not go out must not go out in part.
    /// Otherwise it says what becomes of the message.
    fn results(&self, attempt: &mut Attempt<'_>) -> impl Future<Output = Result<Vec<Parcel>, Disposition>> + Send;

    /// The envelope of a dead letter.
    fn dead_letter(&self, attempt: &Attempt<'_>, reason: &Reason) -> Envelope;
}

/// One attempt at one message, and what was learned on the way.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// The host's id.
    pub host_id: &'a str,
    /// The message.
    pub message: Arc<Message>,
    /// Where calls are counted.
    pub tally: &'a Tally,
    /// Lines that may be written about it.
    pub lines: &'a LineQuota,
    /// What the breaker knows of it.
    pub ticket: Ticket,
    /// What was learned on the way.
    pub notes: Notes,
}

/// What is learned of a message while it is worked on.
#[derive(Debug, Default)]
pub struct Notes {
    /// What each stage took.
    pub timings: Timings,
    /// What of that was not waiting for a sandbox worker.
    pub pace: Pace,
    /// The best label, where the model is a classifier.
    pub label: Option<String>,
    /// Whether a plugin said `skip`.
    pub skipped: bool,
}

/// How the work failed, where plugins or a model may be to blame for it: what another version may do better.
pub fn failure(made: &Result<Vec<Parcel>, Disposition>, attempt: &Attempt<'_>) -> Option<String> {
    match made {
        Err(Disposition::Reject(reason) | Disposition::Retry(reason)) => {
            let is_theirs =
                reason.plugin.is_some() || matches!(reason.class, ReasonClass::NonFinite | ReasonClass::ModelFailed);
            is_theirs.then(|| format!("{} ({}): {}", reason.stage, reason.class, reason.text))
        }
        Err(Disposition::Ack) if attempt.notes.skipped => Some("a plugin skips it".to_owned()),
        Ok(_) | Err(_) => None,
    }
}

/// A disposition that blames no plugin.
pub fn reject(stage: Stage, class: ReasonClass, text: String) -> Disposition {
    Disposition::Reject(Reason {
        stage,
        class,
        text,
        plugin: None,
    })
}

impl Work for Stages {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn attempts(&self) -> u32 {
        self.attempts
    }

    fn digest(&self, stage: Stage) -> Option<&str> {
        match stage {
            Stage::Preprocess => Some(&self.preprocess.identity().digest),
            Stage::Infer => Some(self.model.digest()),
            Stage::Route => Some(&self.route.identity().digest),
            Stage::Receive | Stage::Deliver => None,
        }
    }

    fn culprit(&self, reason: &Reason) -> Option<Culprit> {
        let (name, digest) = match reason.class {
            ReasonClass::Trap
            | ReasonClass::Deadline
            | ReasonClass::Memory
            | ReasonClass::OutputTooLarge
            | ReasonClass::BadTensor
            | ReasonClass::Denied => {
                let plugin = reason.plugin.as_ref()?;
                (&*plugin.name, &*plugin.digest)
            }
            ReasonClass::NonFinite | ReasonClass::ModelFailed => (self.model.name(), self.model.digest()),
            ReasonClass::Refused
            | ReasonClass::Retried
            | ReasonClass::AttemptsSpent
            | ReasonClass::Malformed
            | ReasonClass::Expired
            | ReasonClass::HostFault => return None,
        };
        Some(Culprit {
            stage: reason.stage,
            name: name.to_owned(),
            digest: digest.to_owned(),
        })
    }

    async fn results(&self, attempt: &mut Attempt<'_>) -> Result<Vec<Parcel>, Disposition> {
        let approach = self.model.approach();
        let tensor = self.preprocess(attempt).await?;
        let prediction = self.infer(attempt, approach, tensor).await?;
        let outbounds = self.route(attempt, prediction).await?;
        self.address(attempt, outbounds)
    }

    fn dead_letter(&self, attempt: &Attempt<'_>, reason: &Reason) -> Envelope {
        self.facts(attempt).dead_letter(&attempt.message, reason)
    }
}

impl Stages {
    async fn preprocess(&self, attempt: &mut Attempt<'_>) -> Result<Tensor, Disposition> {
        let (message, wants) = (Arc::clone(&attempt.message), self.model.wants());
        failpoints::pass(Place::Preprocess, &message.id).await;
        let began = Instant::now();
        let call = || self.preprocess.preprocess(&self.lane, &message, wants);
        let (called, ran) = self.twice(attempt, Stage::Preprocess, &self.preprocess, call).await;
        attempt.notes.pace.plugins += ran;
        took(attempt, Stage::Preprocess, began);
        let tensor = called.map_err(|error| self.failed(attempt, Stage::Preprocess, &self.preprocess, error))?;
        self.passed(attempt, Stage::Preprocess);
        Ok(tensor)
    }

    async fn infer(
        &self,
        attempt: &mut Attempt<'_>,
        approach: Approach,
        tensor: Tensor,
    ) -> Result<Arc<Prediction>, Disposition> {
        let began = Instant::now();
        let prediction = self.model.infer(approach, tensor, attempt.message.deadline).await;
        attempt.notes.pace.infer = began.elapsed();
        took(attempt, Stage::Infer, began);
        let prediction = prediction.map_err(|error| {
            let class = match error {
                InferError::DeviceLost => return Disposition::Return,
                InferError::NonFinite { .. } => ReasonClass::NonFinite,
                InferError::Failed(_) => ReasonClass::ModelFailed,
                InferError::Expired => ReasonClass::Expired,
            };
            reject(Stage::Infer, class, error.to_string())
        })?;
        self.passed(attempt, Stage::Infer);
        attempt.notes.label = prediction.top(1).pop().map(|best| best.label);
        Ok(Arc::new(prediction))
    }

    async fn route(
        &self,
        attempt: &mut Attempt<'_>,
        prediction: Arc<Prediction>,
    ) -> Result<Vec<Outbound>, Disposition> {
        let message = Arc::clone(&attempt.message);
        let began = Instant::now();
        let call = || self.route.route(&self.lane, &message, &prediction);
        let (called, ran) = self.twice(attempt, Stage::Route, &self.route, call).await;
        attempt.notes.pace.plugins += ran;
        took(attempt, Stage::Route, began);
        called.map_err(|error| self.failed(attempt, Stage::Route, &self.route, error))
    }

    fn address(&self, attempt: &mut Attempt<'_>, outbounds: Vec<Outbound>) -> Result<Vec<Parcel>, Disposition> {
        let (facts, message) = (self.facts(attempt), &attempt.message);
        let parcels = outbounds.into_iter().enumerate().map(|(index, outbound)| {
            let Some(destination) = self.destinations.get(outbound.destination.as_str()) else {
                let (destination, pipeline) = (outbound.destination, attempt.pipeline);
                return Err(format!("no destination {destination:?} in pipeline `{pipeline}`"));
            };
            let envelope = facts.result(message, &outbound, index);
            let envelope = envelope.map_err(|error| error.to_string())?;
            let parcel = destination.parcel(message, outbound, index, envelope);
            parcel.map_err(|error| error.to_string())
        });
        let parcels = parcels
            .collect::<Result<_, _>>()
            .map_err(|text| blame(&self.route, Stage::Route, ReasonClass::Denied, text))?;
        self.passed(attempt, Stage::Route);
        Ok(parcels)
    }

    /// What a call's failure does to the message: every failure knows its disposition.
    fn failed(&self, attempt: &mut Attempt<'_>, stage: Stage, plugin: &Arc<Plugin>, error: CallError) -> Disposition {
        match error {
            CallError::Refused(refusal) => {
                self.passed(attempt, stage);
                self.refused(attempt, stage, plugin, refusal)
            }
            CallError::Fault { class, text } | CallError::BadOutput { class, text } => {
                blame(plugin, stage, class, text)
            }
            CallError::Stopped => Disposition::Return,
        }
    }

    fn refused(&self, attempt: &mut Attempt<'_>, stage: Stage, plugin: &Arc<Plugin>, refusal: Refusal) -> Disposition {
        let (number, attempts) = (attempt.message.attempt, self.attempts);
        match refusal {
            Refusal::Skip(text) => {
                debug!(%stage, text, "skipped");
                attempt.notes.skipped = true;
                Disposition::Ack
            }
            Refusal::Reject(text) => blame(plugin, stage, ReasonClass::Refused, text),
            Refusal::Retry(text) if number < attempts => Disposition::Retry(Reason {
                stage,
                class: ReasonClass::Retried,
                text,
                plugin: Some(Arc::clone(plugin.identity())),
            }),
            Refusal::Retry(text) => {
                let text = format!("{number} of {attempts} attempts are spent: {text}");
                blame(plugin, stage, ReasonClass::AttemptsSpent, text)
            }
        }
    }

    /// Tells that a stage works: it answered, and what it answered can be used.
    fn passed(&self, attempt: &mut Attempt<'_>, stage: Stage) {
        if let Some(digest) = self.digest(stage) {
            attempt.ticket.passed(stage, digest);
        }
    }

    /// Calls a plugin; after a fault once more, at once and in a fresh instance. With how long it ran.
    async fn twice<T, F>(
        &self,
        attempt: &Attempt<'_>,
        stage: Stage,
        plugin: &Plugin,
        mut call: impl FnMut() -> F,
    ) -> (Result<T, CallError>, Duration)
    where
        F: Future<Output = Called<T>>,
    {
        let counted = |call| self.counted(attempt.tally, stage, plugin, call);
        let first = counted(call()).await;
        match first.answer {
            Err(CallError::Fault { class, text }) => {
                if attempt.lines.may_tell() {
                    let (name, version) = (&plugin.identity().name, plugin.identity().version());
                    let generation = self.generation;
                    warn!(%stage, plugin = name, version, generation, %class, text, "a plugin failed: once more");
                }
                let second = counted(call()).await;
                (second.answer, first.ran + second.ran)
            }
            answer => (answer, first.ran),
        }
    }

    async fn counted<T>(
        &self,
        tally: &Tally,
        stage: Stage,
        plugin: &Plugin,
        call: impl Future<Output = Called<T>>,
    ) -> Called<T> {
        let began = Instant::now();
        let called = call.await;
        let outcome = called.answer.as_ref().map_or_else(CallError::as_str, |_| "ok");
        let call = Call {
            plugin: &plugin.identity().name,
            stage,
            generation: self.generation,
        };
        tally.called(call, outcome, began.elapsed());
        called
    }

    fn facts<'b>(&'b self, attempt: &'b Attempt<'_>) -> Facts<'b> {
        Facts {
            pipeline: attempt.pipeline,
            host_id: attempt.host_id,
            stages: self,
            timings: &attempt.notes.timings,
        }
    }
}

/// Ends a stage that began then.
fn took(attempt: &mut Attempt<'_>, stage: Stage, began: Instant) {
    let took = began.elapsed();
    attempt.notes.timings.record(stage, took);
    attempt.tally.took(stage, took);
}

fn blame(plugin: &Arc<Plugin>, stage: Stage, class: ReasonClass, text: String) -> Disposition {
    Disposition::Reject(Reason {
        stage,
        class,
        text,
        plugin: Some(Arc::clone(plugin.identity())),
    })
}
