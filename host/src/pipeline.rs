//! The life of one message, top to bottom: taken, preprocessed, classified, routed, delivered, settled.
//! The only room that knows the order; it knows no broker, no sandbox and no device.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::config::Name;
use crate::connect::folder::FolderError;
use crate::connect::{GaveUp, Hold, Parcel, Settled, Source, Suspicion, Taken};
use crate::disposition::{Disposition, Reason, ReasonClass, Stage};
use crate::envelope::{Facts, Timings};
use crate::failpoints::{self, Place};
use crate::generation::{Current, Stages};
use crate::inference::{Approach, InferError};
use crate::message::{Envelope, Message, Outbound, Prediction, Tensor};
use crate::progress::Tally;
use crate::sandbox::{CallError, Plugin, Refusal};

/// One pipeline of a running host.
#[derive(Debug)]
pub struct Pipeline {
    /// Its name in `plugins.toml`.
    pub name: Name,
    /// Names this host in results and dead letters.
    pub host_id: Arc<str>,
    /// The current generation.
    pub current: Current,
    /// What waits while a destination is away.
    pub hold: Hold,
    /// What became of its messages.
    pub tally: Arc<Tally>,
}

impl Pipeline {
    /// Takes messages until `drain` is cancelled or the source ends; the source's prefetch bounds how many are in hand.
    ///
    /// # Errors
    /// When a source that was to end when it is empty failed before.
    pub async fn run(self: Arc<Self>, mut source: Source, drain: CancellationToken) -> Result<(), FolderError> {
        tokio::select! {
            () = source.ready() => info!(pipeline = %self.name, "ready"),
            () = drain.cancelled() => {}
        }
        let in_hand = TaskTracker::new();
        let ended = loop {
            let next = async {
                self.hold.released().await;
                source.next().await
            };
            let taken = tokio::select! {
                biased; // a drain wins over another message
                () = drain.cancelled() => break Ok(()),
                taken = next => taken,
            };
            let taken = match taken {
                Ok(Some(taken)) => taken,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let span = info_span!("message", pipeline = %self.name, id = %taken.message.id.escape_debug(), attempt = taken.message.attempt);
            in_hand.spawn(Arc::clone(&self).process(taken).instrument(span));
        };
        debug!(pipeline = %self.name, n_in_hand = in_hand.len(), "takes no more");
        // The source lives until everything taken from it is settled: its channel carries the acknowledgements.
        in_hand.close();
        in_hand.wait().await;
        ended
    }

    async fn process(self: Arc<Self>, taken: Taken) {
        let Taken {
            message,
            malformed,
            suspicion,
            receipt,
        } = taken;
        failpoints::pass(Place::Delivered, &message.id).await;
        let generation = self.current.load_full();
        let Some(stages) = generation.pipelines.get(&self.name) else {
            debug!("the pipeline is gone: the message goes back");
            let settled = receipt
                .settle(&Disposition::Return, &message, &self.hold, |_| Envelope::default())
                .await;
            return tell_settled(&settled);
        };
        let mut attempt = Attempt::new(&self, stages, Arc::new(message));
        let disposition = match malformed {
            Some(text) => attempt.reject(Stage::Receive, ReasonClass::Malformed, text),
            None if let Suspicion::Raised { deaths } = suspicion => Disposition::Quarantine { deaths },
            // A panic is our bug, and must cost one message and not the receipt: the dead letter keeps it as a test case.
            None => {
                let ran = AssertUnwindSafe(attempt.run()).catch_unwind().await;
                ran.unwrap_or_else(|_| attempt.panicked())
            }
        };
        attempt.tell(&disposition);
        let letter = |reason: &Reason| attempt.facts().dead_letter(&attempt.message, reason);
        let settled = receipt.settle(&disposition, &attempt.message, &self.hold, letter).await;
        failpoints::pass(Place::Settled, &attempt.message.id).await;
        attempt.count(&disposition, &settled);
        tell_settled(&settled);
    }
}

/// One attempt at one message, with the set that was current when it began.
struct Attempt<'a> {
    pipeline: &'a Pipeline,
    stages: &'a Stages,
    message: Arc<Message>,
    timings: Timings,
    label: Option<String>,
    skipped: bool,
}

impl<'a> Attempt<'a> {
    fn new(pipeline: &'a Pipeline, stages: &'a Stages, message: Arc<Message>) -> Self {
        Self {
            pipeline,
            stages,
            message,
            timings: Timings::default(),
            label: None,
            skipped: false,
        }
    }

    async fn run(&mut self) -> Disposition {
        match self.all_stages().await {
            Ok(()) => Disposition::Ack,
            Err(disposition) => disposition,
        }
    }

    async fn all_stages(&mut self) -> Result<(), Disposition> {
        let approach = self.stages.model.approach();
        let tensor = self.preprocess().await?;
        let prediction = self.infer(approach, tensor).await?;
        let outbounds = self.route(prediction).await?;
        let parcels = self.address(outbounds)?;
        self.deliver(parcels).await?;
        failpoints::pass(Place::Confirmed, &self.message.id).await;
        Ok(())
    }

    async fn preprocess(&mut self) -> Result<Tensor, Disposition> {
        let (stages, message, wants) = (self.stages, Arc::clone(&self.message), self.stages.model.wants());
        failpoints::pass(Place::Preprocess, &message.id).await;
        let began = Instant::now();
        let call = || stages.preprocess.preprocess(&stages.lane, &message, wants);
        let called = twice(stages, Stage::Preprocess, &stages.preprocess, call).await;
        self.timings.record(Stage::Preprocess, began.elapsed());
        called.map_err(|error| self.failed(Stage::Preprocess, &stages.preprocess, error))
    }

    async fn infer(&mut self, approach: Approach, tensor: Tensor) -> Result<Arc<Prediction>, Disposition> {
        let began = Instant::now();
        let prediction = self.stages.model.infer(approach, tensor).await;
        self.timings.record(Stage::Infer, began.elapsed());
        let prediction = prediction.map_err(|error| match error {
            InferError::DeviceLost => Disposition::Return,
            InferError::NonFinite { .. } => self.reject(Stage::Infer, ReasonClass::NonFinite, error.to_string()),
            InferError::Failed(_) => self.reject(Stage::Infer, ReasonClass::ModelFailed, error.to_string()),
        })?;
        self.label = prediction.top(1).pop().map(|best| best.label);
        Ok(Arc::new(prediction))
    }

    async fn route(&mut self, prediction: Arc<Prediction>) -> Result<Vec<Outbound>, Disposition> {
        let (stages, message) = (self.stages, Arc::clone(&self.message));
        let began = Instant::now();
        let call = || stages.route.route(&stages.lane, &message, &prediction);
        let called = twice(stages, Stage::Route, &stages.route, call).await;
        self.timings.record(Stage::Route, began.elapsed());
        called.map_err(|error| self.failed(Stage::Route, &stages.route, error))
    }

    /// Addresses every result before the first is sent: what may not go out must not go out in part.
    fn address(&self, outbounds: Vec<Outbound>) -> Result<Vec<Parcel>, Disposition> {
        let facts = self.facts();
        let parcels = outbounds.into_iter().enumerate().map(|(index, outbound)| {
            let Some(destination) = self.stages.destinations.get(outbound.destination.as_str()) else {
                return Err(format!(
                    "no destination {:?} in pipeline `{}`",
                    outbound.destination, self.pipeline.name
                ));
            };
            let envelope = facts
                .result(&self.message, &outbound, index)
                .map_err(|error| error.to_string())?;
            destination
                .parcel(&self.message, outbound, index, envelope)
                .map_err(|error| error.to_string())
        });
        parcels
            .collect::<Result<_, _>>()
            .map_err(|text| self.reject_by(&self.stages.route, Stage::Route, ReasonClass::Denied, text))
    }

    /// Sends every result until it is confirmed. All or nothing: one that does not arrive holds the message.
    async fn deliver(&self, parcels: Vec<Parcel>) -> Result<(), Disposition> {
        let hold = &self.pipeline.hold;
        let sending = parcels
            .iter()
            .map(|parcel| async move { hold.until_done(parcel, || parcel.send()).await });
        match try_join_all(sending).await {
            Ok(_) => Ok(()),
            Err(GaveUp) => Err(Disposition::Return),
        }
    }

    /// What a call's failure does to the message: every failure knows its disposition.
    fn failed(&mut self, stage: Stage, plugin: &Arc<Plugin>, error: CallError) -> Disposition {
        match error {
            CallError::Refused(refusal) => self.refused(stage, plugin, refusal),
            CallError::Fault { class, text } | CallError::BadOutput { class, text } => {
                self.reject_by(plugin, stage, class, text)
            }
            CallError::Stopped => Disposition::Return,
        }
    }

    fn refused(&mut self, stage: Stage, plugin: &Arc<Plugin>, refusal: Refusal) -> Disposition {
        let identity = Some(Arc::clone(plugin.identity()));
        match refusal {
            Refusal::Skip(text) => {
                debug!(%stage, text, "skipped");
                self.skipped = true;
                Disposition::Ack
            }
            Refusal::Reject(text) => self.reject_by(plugin, stage, ReasonClass::Refused, text),
            Refusal::Retry(text) if self.message.attempt < self.stages.attempts => Disposition::Retry(Reason {
                stage,
                class: ReasonClass::Retried,
                text,
                plugin: identity,
            }),
            Refusal::Retry(text) => {
                let text = format!(
                    "{} of {} attempts are spent: {text}",
                    self.message.attempt, self.stages.attempts
                );
                self.reject_by(plugin, stage, ReasonClass::AttemptsSpent, text)
            }
        }
    }

    fn reject(&self, stage: Stage, class: ReasonClass, text: String) -> Disposition {
        Disposition::Reject(Reason {
            stage,
            class,
            text,
            plugin: None,
        })
    }

    fn reject_by(&self, plugin: &Arc<Plugin>, stage: Stage, class: ReasonClass, text: String) -> Disposition {
        Disposition::Reject(Reason {
            stage,
            class,
            text,
            plugin: Some(Arc::clone(plugin.identity())),
        })
    }

    fn panicked(&self) -> Disposition {
        error!("the host panicked over this message: please report it with the dead letter");
        self.reject(
            Stage::Receive,
            ReasonClass::HostFault,
            "the host panicked over this message".to_owned(),
        )
    }

    fn facts(&self) -> Facts<'_> {
        let Pipeline { name, host_id, .. } = self.pipeline;
        Facts {
            pipeline: name.as_str(),
            host_id,
            stages: self.stages,
            timings: &self.timings,
        }
    }

    /// One line a message at debug; what went wrong is told once, fully.
    fn tell(&self, disposition: &Disposition) {
        let generation = self.stages.generation;
        match disposition {
            Disposition::Ack => debug!(generation, label = self.label, timings = %self.timings, "done"),
            Disposition::Return => info!(generation, "goes back to its source, uncounted"),
            Disposition::Retry(reason) => {
                info!(generation, stage = %reason.stage, %reason, "goes back to its source for another attempt");
            }
            Disposition::Quarantine { deaths } => {
                warn!(
                    generation,
                    deaths, "a host ended with it in hand: it is set apart and will run alone"
                );
            }
            Disposition::Reject(reason) => {
                warn!(generation, stage = %reason.stage, class = %reason.class, %reason, "becomes a dead letter");
            }
        }
    }

    fn count(&self, disposition: &Disposition, settled: &Settled) {
        let tally = &self.pipeline.tally;
        match (disposition, settled) {
            (_, Settled::Returned | Settled::Lost(_)) | (Disposition::Return | Disposition::Quarantine { .. }, _) => {
                tally.returned();
            }
            (Disposition::Ack, _) if self.skipped => tally.skipped(),
            (Disposition::Ack, _) => tally.acked(self.label.as_deref()),
            (Disposition::Retry(_), _) => tally.retried(),
            (Disposition::Reject(reason), _) => tally.rejected(reason.class),
        }
    }
}

/// Calls a plugin; after a fault once more, at once and in a fresh instance.
async fn twice<T, F>(
    stages: &Stages,
    stage: Stage,
    plugin: &Arc<Plugin>,
    mut call: impl FnMut() -> F,
) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    match call().await {
        Err(CallError::Fault { class, text }) => {
            let (plugin, version) = (&plugin.identity().name, plugin.identity().version());
            warn!(%stage, plugin, version, generation = stages.generation, %class, text, "a plugin failed: once more");
            call().await
        }
        called => called,
    }
}

fn tell_settled(settled: &Settled) {
    if let Settled::Lost(why) = settled {
        warn!(
            why,
            "the source could not be told: the message will come again, and its results keep their ids"
        );
    }
}
