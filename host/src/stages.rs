//! The work of a pipeline's stages on a message: preprocessed, classified, routed, addressed; each plugin's failure
//! knows its disposition. Knows no source and no ack handle.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tracing::{debug, warn};

use crate::breaker::FailingComponent;
use crate::counters::{Call, PipelineCounters};
use crate::disposition::{Disposition, Reason, ReasonClass, Stage};
use crate::envelope::{Facts, PluginFacts};
use crate::error_chain::ErrorChain;
use crate::failpoints::{self, Failpoint};
use crate::generation::Stages;
use crate::inference::{BatchReservation, InferError, Inferred};
use crate::message::{Envelope, Outbound, Prediction, Tensor};
use crate::recall::Recall;
use crate::sandbox::{CallError, Called, Lane, Plugin, PluginRefusal, TransformOf};
use crate::transport::{GROWTH_MAX, PendingOutput, denied_or_undeliverable};
use crate::work::{Attempt, Work, reject};

impl Work for Stages {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn attempts(&self) -> u32 {
        self.attempts
    }

    fn has(&self, stage: Stage, digest: &str) -> bool {
        let is_it = |plugin: &Arc<Plugin>| plugin.identity().digest == digest;
        match stage {
            Stage::Preprocess => self.plugins.preparing().any(is_it),
            Stage::Infer => self.model.digest() == digest,
            Stage::Route => self.plugins.concluding().any(is_it),
            Stage::Receive | Stage::Deliver => false,
        }
    }

    fn recall(&self) -> &Recall {
        &self.recall
    }

    fn failing_component(&self, reason: &Reason) -> Option<FailingComponent> {
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
            | ReasonClass::Unanswerable
            | ReasonClass::Undeliverable
            | ReasonClass::Expired
            | ReasonClass::HostFault => return None,
        };
        Some(FailingComponent {
            stage: reason.stage,
            name: name.to_owned(),
            digest: digest.to_owned(),
        })
    }

    async fn results(&self, attempt: &mut Attempt<'_>) -> Result<Vec<PendingOutput>, Disposition> {
        let reservation = self.model.reserve();
        let tensor = self.preprocess(attempt).await?;
        let prediction = self.infer(attempt, reservation, tensor).await?;
        attempt.notes.prediction = Some(Arc::clone(&prediction));
        let outbounds = self.route(attempt, prediction).await?;
        let pending_outputs = self.address(attempt, outbounds)?;
        // A dead letter would keep it: it need not be in memory while the results are sent.
        attempt.notes.prediction = None;
        Ok(pending_outputs)
    }

    fn dead_letter(&self, attempt: &Attempt<'_>, reason: &Reason) -> Envelope {
        let prediction = attempt.notes.prediction.as_deref();
        self.facts(attempt).dead_letter(&attempt.message, reason, prediction)
    }
}

impl Stages {
    /// The same for calls in another lane, which is not in service yet.
    pub fn in_lane(&self, lane: Lane) -> Self {
        Self {
            generation: self.generation,
            plugins: self.plugins.clone(),
            model: Arc::clone(&self.model),
            lane,
            destinations: self.destinations.clone(),
            attempts: self.attempts,
            max_message_bytes: self.max_message_bytes,
            max_results_bytes: self.max_results_bytes,
            described: OnceLock::new(),
            recall: Recall::default(),
        }
    }

    async fn preprocess(&self, attempt: &mut Attempt<'_>) -> Result<Tensor, Disposition> {
        let _at = attempt.counters.enter(Stage::Preprocess);
        failpoints::pass(Failpoint::Preprocess, &attempt.message.id).await;
        let began = Instant::now();
        let made = self.tensor(attempt).await;
        took(attempt, Stage::Preprocess, began);
        made
    }

    async fn tensor(&self, attempt: &mut Attempt<'_>) -> Result<Tensor, Disposition> {
        let mut message = Arc::clone(&attempt.message);
        let of = TransformOf::Message {
            max_bytes: self.max_message_bytes,
        };
        for plugin in &self.plugins.before {
            let call = |lane: Lane| {
                let message = &message;
                async move { plugin.transform(&lane, message, of).await }
            };
            let made = self.call(attempt, Stage::Preprocess, plugin, call).await;
            let made = made.map_err(|error| self.failed(attempt, Stage::Preprocess, plugin, error))?;
            passed(attempt, Stage::Preprocess, plugin);
            message = Arc::new(message.with(made));
            if let Some(seen) = &mut attempt.notes.seen {
                seen.messages.push(Arc::clone(&message));
            }
        }
        let (plugin, wants) = (&self.plugins.preprocess, self.model.wants());
        let call = |lane: Lane| {
            let message = &message;
            async move { plugin.preprocess(&lane, message, wants).await }
        };
        let tensor = self.call(attempt, Stage::Preprocess, plugin, call).await;
        let tensor = tensor.map_err(|error| self.failed(attempt, Stage::Preprocess, plugin, error))?;
        passed(attempt, Stage::Preprocess, plugin);
        if let Some(seen) = &mut attempt.notes.seen {
            seen.tensor = Some(tensor.clone());
        }
        Ok(tensor)
    }

    async fn infer(
        &self,
        attempt: &mut Attempt<'_>,
        reservation: BatchReservation,
        tensor: Tensor,
    ) -> Result<Arc<Prediction>, Disposition> {
        let _at = attempt.counters.enter(Stage::Infer);
        let began = Instant::now();
        let (deadline, batch_sharing) = (attempt.message.deadline, attempt.notes.batch_sharing);
        let inferred = self.model.infer_in(reservation, tensor, deadline, batch_sharing).await;
        took(attempt, Stage::Infer, began);
        let Inferred { prediction, device } = inferred.map_err(|error| {
            let class = match error {
                InferError::DeviceLost => return Disposition::Return,
                InferError::NonFinite { .. } => ReasonClass::NonFinite,
                InferError::Failed(_) => ReasonClass::ModelFailed,
                InferError::Expired => ReasonClass::Expired,
            };
            reject(Stage::Infer, class, error.to_string())
        })?;
        attempt.notes.pace.device = device;
        attempt.ticket.passed(Stage::Infer, self.model.digest());
        attempt.notes.label = prediction.top(1).pop().map(|best| best.label);
        let prediction = Arc::new(prediction);
        if let Some(seen) = &mut attempt.notes.seen {
            seen.prediction = Some(Arc::clone(&prediction));
        }
        Ok(prediction)
    }

    async fn route(
        &self,
        attempt: &mut Attempt<'_>,
        prediction: Arc<Prediction>,
    ) -> Result<Vec<Outbound>, Disposition> {
        let _at = attempt.counters.enter(Stage::Route);
        let began = Instant::now();
        let made = self.outbounds(attempt, &prediction).await;
        took(attempt, Stage::Route, began);
        made
    }

    async fn outbounds(
        &self,
        attempt: &mut Attempt<'_>,
        prediction: &Arc<Prediction>,
    ) -> Result<Vec<Outbound>, Disposition> {
        let (message, plugin) = (Arc::clone(&attempt.message), &self.plugins.route);
        let max_bytes = self.max_results_bytes;
        let call = |lane: Lane| {
            let message = &message;
            async move { plugin.route_within(&lane, message, prediction, max_bytes).await }
        };
        let made = self.call(attempt, Stage::Route, plugin, call).await;
        let mut outbounds = made.map_err(|error| self.failed(attempt, Stage::Route, plugin, error))?;
        for plugin in &self.plugins.after {
            outbounds = self.transformed(attempt, plugin, outbounds).await?;
        }
        if let Some(seen) = &mut attempt.notes.seen {
            seen.results = Some(outbounds.clone());
        }
        Ok(outbounds)
    }

    /// Lets a transformer turn each result into another. One that it skips is left out; when none is left, it skipped the
    /// message.
    async fn transformed(
        &self,
        attempt: &mut Attempt<'_>,
        plugin: &Arc<Plugin>,
        outbounds: Vec<Outbound>,
    ) -> Result<Vec<Outbound>, Disposition> {
        let (mut finished, mut skipped, mut n_bytes) = (Vec::new(), None, 0_usize);
        let max_bytes = self.max_results_bytes;
        for outbound in outbounds {
            let (destination, key) = (outbound.destination.clone(), outbound.key.clone());
            let seen = Arc::new(outbound.seen(&attempt.message));
            let call = |lane: Lane| {
                let seen = &seen;
                async move { plugin.transform(&lane, seen, TransformOf::Result { max_bytes }).await }
            };
            match self.call(attempt, Stage::Route, plugin, call).await {
                Ok(made) => {
                    n_bytes = n_bytes.saturating_add(made.body.len());
                    if n_bytes > max_bytes {
                        let text = format!("made {n_bytes} bytes of results, allowed {max_bytes}");
                        return Err(blame(plugin, Stage::Route, ReasonClass::OutputTooLarge, text));
                    }
                    finished.push(Outbound {
                        destination,
                        key,
                        body: made.body,
                        content_type: made.content_type,
                        headers: made.headers,
                    });
                }
                Err(CallError::Refused(PluginRefusal::Skip(text))) => skipped = Some(text),
                Err(error) => return Err(self.failed(attempt, Stage::Route, plugin, error)),
            }
        }
        match skipped {
            Some(text) if finished.is_empty() => Err(self.failed(
                attempt,
                Stage::Route,
                plugin,
                CallError::Refused(PluginRefusal::Skip(text)),
            )),
            _ => Ok(finished),
        }
    }

    fn address(&self, attempt: &mut Attempt<'_>, outbounds: Vec<Outbound>) -> Result<Vec<PendingOutput>, Disposition> {
        let (facts, message) = (self.facts(attempt), &attempt.message);
        // The router chose where each goes; its headers are those of the plugin that made it last.
        let router = &self.plugins.route;
        let last = self.plugins.after.last().unwrap_or(router);
        let pending_outputs = outbounds.into_iter().enumerate().map(|(index, outbound)| {
            let Some(destination) = self.destinations.get(outbound.destination.as_str()) else {
                let (destination, pipeline) = (outbound.destination, attempt.pipeline);
                let class = denied_or_undeliverable(message.says(&destination));
                return Err((
                    router,
                    class,
                    format!("no destination {destination:?} in pipeline `{pipeline}`"),
                ));
            };
            let envelope = facts.result(message, &outbound, index).map_err(|error| {
                let class = denied_or_undeliverable(message.headers.iter().any(|(name, _)| name == error.name()));
                (last, class, error.to_string())
            })?;
            let pending_output = destination.address(message, outbound, index, envelope);
            pending_output.map_err(|denied| (router, denied.class(message), ErrorChain(&denied).to_string()))
        });
        let pending_outputs = match pending_outputs.collect::<Result<_, _>>() {
            Ok(pending_outputs) => Ok(pending_outputs),
            Err((plugin, ReasonClass::Denied, text)) => {
                return Err(blame(plugin, Stage::Route, ReasonClass::Denied, text));
            }
            // The message's own choice: what the plugins made of it can be used.
            Err((_, class, text)) => Err(reject(Stage::Route, class, text)),
        };
        for plugin in self.plugins.concluding() {
            passed(attempt, Stage::Route, plugin);
        }
        pending_outputs
    }

    /// The disposition for a call's failure: every failure knows its own.
    fn failed(&self, attempt: &mut Attempt<'_>, stage: Stage, plugin: &Arc<Plugin>, error: CallError) -> Disposition {
        match error {
            CallError::Refused(refusal) => {
                passed(attempt, stage, plugin);
                self.refused(attempt, stage, plugin, refusal)
            }
            CallError::BadOutput { class, text, chosen } => {
                let message = &attempt.message;
                let is_said = chosen.is_some_and(|chosen| message.says(&chosen));
                let is_large = message.body.len().saturating_mul(GROWTH_MAX) >= self.max_results_bytes;
                if is_said || (stage == Stage::Route && class == ReasonClass::OutputTooLarge && is_large) {
                    passed(attempt, stage, plugin);
                    let name = &plugin.identity().name;
                    let text = format!("plugin `{name}` {text}, which is as the message has it");
                    return reject(stage, ReasonClass::Undeliverable, text);
                }
                blame(plugin, stage, class, text)
            }
            CallError::Fault { class, text } => blame(plugin, stage, class, text),
            CallError::Host { text } => {
                let name = &plugin.identity().name;
                let text = format!("the host failed in a call of plugin `{name}`: {text}");
                reject(stage, ReasonClass::HostFault, text)
            }
            CallError::Stopped => Disposition::Return,
        }
    }

    fn refused(
        &self,
        attempt: &mut Attempt<'_>,
        stage: Stage,
        plugin: &Arc<Plugin>,
        refusal: PluginRefusal,
    ) -> Disposition {
        let (number, attempts) = (attempt.message.attempt, self.attempts);
        match refusal {
            PluginRefusal::Skip(text) => {
                debug!(%stage, text, "skipped");
                attempt.notes.skipped = true;
                Disposition::Ack
            }
            PluginRefusal::Reject(text) => blame(plugin, stage, ReasonClass::Refused, text),
            PluginRefusal::Retry(text) if number < attempts => Disposition::Retry(Reason {
                stage,
                class: ReasonClass::Retried,
                text,
                plugin: Some(Arc::clone(plugin.identity())),
            }),
            PluginRefusal::Retry(text) => {
                let text = format!("{number} of {attempts} attempts are spent: {text}");
                blame(plugin, stage, ReasonClass::AttemptsSpent, text)
            }
        }
    }

    /// Calls a plugin; after a fault once more, in a fresh instance, and before all that have not begun.
    async fn call<T, F>(
        &self,
        attempt: &mut Attempt<'_>,
        stage: Stage,
        plugin: &Plugin,
        mut call: impl FnMut(Lane) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Called<T>>,
    {
        let counters = attempt.counters;
        let counted = |call| self.counted(counters, stage, plugin, call);
        let lane = match attempt.notes.comes_first {
            true => self.lane.first(),
            false => self.lane.clone(),
        };
        let first = counted(call(lane)).await;
        attempt.notes.pace.plugins += first.cpu;
        match first.answer {
            Err(CallError::Fault { class, text }) => {
                if attempt.lines.may_log() {
                    let (name, version) = (&plugin.identity().name, plugin.identity().version());
                    let generation = self.generation;
                    warn!(%stage, plugin = name, version, generation, %class, text, "a plugin failed: calling it once more");
                }
                if plugin.mark_failing() {
                    self.recall.mark_failing();
                }
                attempt.notes.comes_first = true;
                // Boxed: it is rare.
                let second = Box::pin(counted(call(self.lane.first()))).await;
                attempt.notes.pace.plugins += second.cpu;
                second.answer
            }
            answer => answer,
        }
    }

    async fn counted<T>(
        &self,
        counters: &PipelineCounters,
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
        counters.called(call, outcome, began.elapsed());
        called
    }

    fn facts<'b>(&'b self, attempt: &'b Attempt<'_>) -> Facts<'b> {
        Facts {
            pipeline: attempt.pipeline,
            host_id: attempt.host_id,
            generation: self.generation,
            model: self.model.name(),
            model_digest: self.model.digest(),
            plugins: self.plugins.map(|plugin| PluginFacts {
                identity: plugin.identity(),
                limits: plugin.limits(),
            }),
            described: &self.described,
            timings: &attempt.notes.timings,
        }
    }
}

/// Tells that a plugin works: it answered, and what it answered can be used.
fn passed(attempt: &mut Attempt<'_>, stage: Stage, plugin: &Plugin) {
    attempt.ticket.passed(stage, &plugin.identity().digest);
}

/// Ends a stage that began then.
fn took(attempt: &mut Attempt<'_>, stage: Stage, began: Instant) {
    let took = began.elapsed();
    attempt.notes.timings.record(stage, took);
    attempt.counters.took(stage, took);
}

fn blame(plugin: &Arc<Plugin>, stage: Stage, class: ReasonClass, text: String) -> Disposition {
    Disposition::Reject(Reason {
        stage,
        class,
        text,
        plugin: Some(Arc::clone(plugin.identity())),
    })
}
