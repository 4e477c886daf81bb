//! The work on one message between taking it and delivering its results, as its life sees it. Knows no source and no
//! ack handle, and not how the work is done.

use std::sync::Arc;

use crate::breaker::{FailingComponent, Ticket};
use crate::counters::PipelineCounters;
use crate::disposition::{Disposition, Reason, ReasonClass, Stage};
use crate::envelope::Timings;
use crate::inference::BatchSharing;
use crate::message::{Envelope, Message, Outbound, Prediction, Tensor};
use crate::quota::LineQuota;
use crate::recall::Recall;
use crate::transport::PendingOutput;
use crate::trial::Pace;

/// The work of a pipeline on a message. [`Stages`](crate::generation::Stages) are the real ones; the simulator of the
/// settlement has a script.
pub trait Work: Send + Sync + 'static {
    /// The generation that it belongs to.
    fn generation(&self) -> u64;

    /// How often a message is tried.
    fn attempts(&self) -> u32;

    /// Whether a build of a plugin or model does work of a stage.
    fn has(&self, stage: Stage, digest: &str) -> bool;

    /// Takes its messages in flight back.
    fn recall(&self) -> &Recall;

    /// The component that failed, where it may fail for every message; a refusal is an answer.
    fn failing_component(&self, reason: &Reason) -> Option<FailingComponent>;

    /// Makes every result of a message, addressed and ready to be sent: what may not go out must not go out in part.
    /// Otherwise it says what becomes of the message.
    fn results(
        &self,
        attempt: &mut Attempt<'_>,
    ) -> impl Future<Output = Result<Vec<PendingOutput>, Disposition>> + Send;

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
    pub message: Arc<Message>,
    /// Where calls are counted.
    pub counters: &'a PipelineCounters,
    /// Lines that may be written about it.
    pub lines: &'a LineQuota,
    /// The message for the breaker.
    pub ticket: Ticket,
    /// Notes on the way.
    pub notes: Notes,
}

/// Notes on a message while it is worked on.
#[derive(Debug, Default)]
pub struct Notes {
    /// The time of each stage.
    pub timings: Timings,
    /// Its cost, without any waiting.
    pub pace: Pace,
    /// The other tensors in its batch.
    pub batch_sharing: BatchSharing,
    /// Whether its calls come before those of messages that have lost no time yet.
    pub comes_first: bool,
    /// The prediction for the router, from the model's answer until the results are addressed.
    pub prediction: Option<Arc<Prediction>>,
    /// The best label, where the model is a classifier.
    pub label: Option<String>,
    /// Whether a plugin said `skip`.
    pub skipped: bool,
    /// The output of each stage, for inspection: never in service.
    pub seen: Option<Box<Seen>>,
}

/// The output of each stage for a message.
#[derive(Debug, Default)]
pub struct Seen {
    /// Each transformer before the preprocessor.
    pub messages: Vec<Arc<Message>>,
    /// The preprocessor.
    pub tensor: Option<Tensor>,
    /// The model.
    pub prediction: Option<Arc<Prediction>>,
    /// The router, and the transformers after it.
    pub results: Option<Vec<Outbound>>,
}

/// How the work failed, where plugins or a model may be to blame for it: what another version may do better.
pub fn failure(made: &Result<Vec<PendingOutput>, Disposition>, attempt: &Attempt<'_>) -> Option<String> {
    match made {
        Err(Disposition::Reject(reason) | Disposition::Retry(reason)) => {
            // A host that fails over what one version makes, and not over what the other does, is better off with the other.
            let classes = [ReasonClass::NonFinite, ReasonClass::ModelFailed, ReasonClass::HostFault];
            let is_theirs = reason.plugin.is_some() || classes.contains(&reason.class);
            is_theirs.then(|| format!("{} ({}): {}", reason.stage, reason.class, reason.text))
        }
        Err(Disposition::Ack) if attempt.notes.skipped => Some("a plugin skips it".to_owned()),
        Ok(_) | Err(_) => None,
    }
}

/// The disposition of a message that the host panicked over.
pub fn panicked() -> Disposition {
    tracing::error!(
        "the host panicked while it processed this message: a bug of Millrace, please report it with the dead letter"
    );
    let text = "the host panicked while it processed this message".to_owned();
    reject(Stage::Receive, ReasonClass::HostFault, text)
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
