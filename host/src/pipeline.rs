//! The life of one message, top to bottom: received, processed, delivered, settled.
//! The only module that knows the order of the steps; it knows no broker, no sandbox and no device.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::join;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, debug, info, info_span, warn};

use crate::breaker::{Breaker, FailingComponent, FailureVerdict, Ticket};
use crate::config::Name;
use crate::counters::{InFlight, Outcome, PipelineCounters};
use crate::deliver;
use crate::disposition::{Disposition, ReasonClass, Stage};
use crate::failpoints::{self, Failpoint};
use crate::generation::{Current, ServingStages, StageOutcome, Stages};
use crate::isolation::{ExclusiveGuard, IsolationLock};
use crate::log_fields::Escaped;
use crate::message::Message;
use crate::quarantine_log::QuarantineLog;
use crate::quota::LineQuota;
use crate::transport::{
    Delivery, Hold, PendingOutput, Quarantine, QuarantineQueue, Settled, Settlement, Source, SourceError, deadline,
};
use crate::work::{Attempt, Notes, Work, panicked, reject};

/// One pipeline of a running host.
#[derive(Debug)]
pub struct Pipeline<W = Stages> {
    /// Its name in `plugins.toml`.
    pub name: Name,
    /// Names this host in results and dead letters.
    pub host_id: Arc<str>,
    /// The current generation.
    pub current: Current<W>,
    /// Messages that wait while a destination is away.
    pub hold: Hold,
    /// Messages that wait while a plugin or the model fails for everything.
    pub breaker: Breaker,
    /// Lets quarantined messages run alone in this host.
    pub isolation: IsolationLock,
    /// The outcomes of its messages.
    pub counters: Arc<PipelineCounters>,
    /// Log lines about them.
    pub quarantine_log: QuarantineLog,
    /// Lines about single messages that it may write: dead letters tell the whole, too.
    pub lines: LineQuota,
}

/// Lines about single messages that a pipeline writes in a second.
pub const LINES_PER_SECOND: u32 = 256;

/// The longest that a source may take to end, once everything from it is settled.
const CLOSING: Duration = Duration::from_secs(5);

impl<W: Work> Pipeline<W> {
    /// Receives messages until `drain` is cancelled or the source ends; the source's prefetch bounds how many are in flight.
    ///
    /// # Errors
    /// When a source that was to end when it is empty failed before.
    pub async fn run(
        self: Arc<Self>,
        mut source: Box<dyn Source>,
        drain: CancellationToken,
    ) -> Result<(), SourceError> {
        tokio::select! {
            () = source.ready() => info!(pipeline = %self.name, "ready"),
            () = drain.cancelled() => {}
        }
        let mut quarantine_queue = source.quarantine();
        let (in_flight, n_returned_before) = (TaskTracker::new(), self.counters.n_returned());
        let over = drain.child_token();
        let taking = self.take(source.as_mut(), &in_flight, &drain);
        let taking = taking.inspect(|_| over.cancel());
        let (ended, ()) = join(taking, self.run_quarantine(quarantine_queue.as_deref_mut(), &over)).await;
        debug!(pipeline = %self.name, n_in_flight = in_flight.len(), "receives no more messages");
        // The source lives until every message from it is settled: its channel carries the acknowledgements.
        in_flight.close();
        in_flight.wait().await;
        // In a drain that is cut off, too: that is when most acknowledgements come at once. It is bounded by itself.
        if let Some(delivery) = source.last().await {
            let span = self.span(&delivery);
            let (counted, ticket) = (self.counters.receive(), self.breaker.ticket());
            self.process(delivery, None, counted, ticket).instrument(span).await;
        }
        self.empty_quarantine(quarantine_queue.as_deref_mut()).await;
        drop(quarantine_queue);
        if tokio::time::timeout(CLOSING, source.close()).await.is_err() {
            warn!(pipeline = %self.name, "the source did not end in time: what it had to hand back is as after a crash");
        }
        let n_returned = self.counters.n_returned().saturating_sub(n_returned_before);
        if n_returned > 0 {
            info!(pipeline = %self.name, n_returned, "returned messages to their source: this attempt does not count");
        }
        ended
    }

    async fn take(
        self: &Arc<Self>,
        source: &mut dyn Source,
        in_flight: &TaskTracker,
        drain: &CancellationToken,
    ) -> Result<(), SourceError> {
        let ended = loop {
            let next = async {
                self.breaker.admits(|component| self.serves(component)).await;
                source.next().await
            };
            let delivery = tokio::select! {
                biased; // a drain wins over another message
                () = drain.cancelled() => break Ok(()),
                delivery = self.hold.unless_held(next) => delivery,
            };
            match delivery {
                None => {}
                Some(Ok(Some(delivery))) => self.begin(delivery, in_flight),
                Some(Ok(None)) => break Ok(()),
                Some(Err(error)) => break Err(error),
            }
        };
        // A broker that does not answer must not hold up the rest of a drain.
        let leaving = source.stop_consuming().map(Ok::<_, Infallible>);
        if let Ok(Ok(left)) = self.hold.try_once(leaving).await {
            left.into_iter().for_each(|delivery| self.begin(delivery, in_flight));
        }
        ended
    }

    fn begin(self: &Arc<Self>, delivery: Delivery, in_flight: &TaskTracker) {
        let span = self.span(&delivery);
        let (pipeline, counted, ticket) = (Arc::clone(self), self.counters.receive(), self.breaker.ticket());
        in_flight.spawn(async move { pipeline.process(delivery, None, counted, ticket).await }.instrument(span));
    }

    /// Runs quarantined messages one at a time, alone in this host, until no others are taken either.
    async fn run_quarantine(&self, queue: Option<&mut (dyn QuarantineQueue + 'static)>, over: &CancellationToken) {
        let Some(queue) = queue else {
            return;
        };
        loop {
            let waiting = async {
                self.breaker.closed().await;
                queue.waiting().await
            };
            let waiting = tokio::select! {
                biased; // a drain wins over another message
                () = over.cancelled() => return,
                waiting = self.hold.unless_held(waiting) => waiting,
            };
            if waiting.is_some() {
                self.run_next_quarantined(queue).await;
            }
        }
    }

    /// At a drain, quarantined messages are still received while they can be finished: a host that stops in good order leaves
    /// none behind.
    async fn empty_quarantine(&self, queue: Option<&mut (dyn QuarantineQueue + 'static)>) {
        let Some(queue) = queue else {
            return;
        };
        while !self.hold.is_cut() && self.run_next_quarantined(queue).await == Some(Settled::Done) {}
    }

    /// Runs the next quarantined message to its end, if there is one.
    async fn run_next_quarantined(&self, queue: &mut dyn QuarantineQueue) -> Option<Settled> {
        let exclusive = tokio::select! {
            exclusive = self.isolation.exclusive() => exclusive,
            () = self.hold.cut() => return None,
        };
        if self.hold.n_held() > 0 || self.breaker.opened().is_some() {
            return None; // a message came to be held while others finished
        }
        // Received only when it can run: a message that waits in flight beside others is blamed for their crashes.
        let delivery = queue.take(&exclusive).await?;
        let span = self.span(&delivery);
        let (counted, ticket) = (self.counters.receive(), self.breaker.quarantined_ticket());
        let process = self.process(delivery, Some(exclusive), counted, ticket);
        Some(process.instrument(span).await)
    }

    async fn process(
        &self,
        delivery: Delivery,
        exclusive: Option<ExclusiveGuard>,
        counted: InFlight,
        ticket: Ticket,
    ) -> Settled {
        let Delivery {
            mut message,
            malformed,
            quarantine,
            mut ack,
        } = delivery;
        failpoints::pass(Failpoint::Delivered, &message.id).await;
        let mut otherwise = unfinished(quarantine);
        let Some(serving) = self.serving() else {
            debug!("the pipeline is gone: the message goes back");
            let settled = ack.settle(Settlement::back(&otherwise, &message, &self.hold)).await;
            settled.log(&self.lines);
            counted.settle(Outcome::Returned);
            return as_returned(settled);
        };
        // Proven crashes count as attempts: before `early_disposition`, which compares.
        message.attempt = quarantine.attempt(message.attempt);
        let (mut work, is_exclusive) = (serving.stages, exclusive.is_some());
        let early_disposition = early_disposition(&mut message, malformed, quarantine, work.attempts());
        let mut attempt = Attempt {
            pipeline: self.name.as_str(),
            host_id: &self.host_id,
            message: Arc::new(message),
            counters: &self.counters,
            lines: &self.lines,
            ticket,
            notes: Notes::default(),
        };
        let made = match early_disposition {
            Some(disposition) => Err(disposition),
            // What is left of a drain is for returning messages: another one, which may just have been returned, is not begun.
            None if self.hold.is_cut() => Err(unfinished(quarantine)),
            None => {
                let made = tokio::select! {
                    biased; // finished results are kept
                    made = self.work_until_it_stands(&mut work, &mut attempt, is_exclusive, quarantine) => made,
                    () = self.hold.cut() => Err(unfinished(quarantine)),
                };
                if !matches!(made, Err(Disposition::Quarantine { .. })) {
                    // The host outlived it, so that it is innocent.
                    otherwise = Disposition::Return;
                }
                made
            }
        };
        attempt.ticket.ends();
        let (made, turn) = match ack.turn() {
            None => (made, None),
            // Boxed, as all that is rare.
            Some(turn) => Box::pin(deliver::in_turn(&self.hold, made, turn)).await,
        };
        let finishing = async {
            let (disposition, results) = match made {
                Ok(results) if is_exclusive => (Box::pin(deliver::once(&self.hold, &results)).await, results),
                Ok(results) => {
                    let delivering = deliver::all(&self.hold, &results, ack.as_ref());
                    (self.counters.timed(Stage::Deliver, delivering).await, results)
                }
                Err(disposition) => (disposition, Vec::new()),
            };
            if let Some(turn) = turn.filter(|_| !matches!(disposition, Disposition::Return)) {
                turn.pass();
            }
            if let (Quarantine::Due { .. }, Disposition::Quarantine { crash_count }) = (quarantine, &disposition) {
                self.quarantine_log
                    .entered(attempt.pipeline, &attempt.message.id, *crash_count);
            }
            log_disposition(work.generation(), &attempt, &disposition);
            if matches!(disposition, Disposition::Ack) {
                failpoints::pass(Failpoint::Confirmed, &attempt.message.id).await;
            }
            let settlement = Settlement {
                disposition: &disposition,
                otherwise: &otherwise,
                message: &attempt.message,
                results: &results,
                hold: &self.hold,
                dead_letter: &|reason| work.dead_letter(&attempt, reason),
            };
            let settled = ack.settle(settlement).await;
            failpoints::pass(Failpoint::Settled, &attempt.message.id).await;
            match (quarantine, &disposition) {
                (Quarantine::Inside { .. }, Disposition::Quarantine { .. }) => (disposition, as_returned(settled)),
                _ => (disposition, settled),
            }
        };
        let finishing = AssertUnwindSafe(finishing).catch_unwind();
        let finished = match exclusive {
            // Boxed, as all that is rare: every message in flight would have the room for it.
            Some(exclusive) => Box::pin(exclusive.until(finishing)).await,
            None => finishing.await,
        };
        let (outcome, settled) = match finished {
            Ok((disposition, settled)) => (outcome(&attempt, &disposition, &settled), settled),
            // Our bug: nothing was acknowledged, so that the message is redelivered.
            Err(_) => (
                Outcome::Lost,
                Settled::Lost(
                    "the host panicked while settling it: a bug of Millrace, please report it with this log".to_owned(),
                ),
            ),
        };
        settled.log(&self.lines);
        counted.settle(outcome);
        if let Quarantine::Inside { .. } = quarantine {
            self.quarantine_log.ran(attempt.pipeline);
        }
        settled
    }

    /// The stages that serve this pipeline now.
    fn serving(&self) -> Option<ServingStages<W>> {
        self.current.load().pipelines.get(&self.name).cloned()
    }

    fn serves(&self, component: &FailingComponent) -> bool {
        self.serving()
            .is_some_and(|serving| serving.has(component.stage, &component.digest))
    }

    /// Whether a failing component was replaced: its failures say nothing about its successor, and must not cost a message.
    fn is_replaced(&self, component: &FailingComponent) -> bool {
        self.serving()
            .is_some_and(|serving| !serving.may_use(component.stage, &component.digest))
    }

    /// Makes the results, until their outcome stands: a message that the breaker keeps, or that was recalled from a version
    /// that left, starts again with the stages that then serve. `work` becomes the stages that made them.
    async fn work_until_it_stands(
        &self,
        work: &mut Arc<W>,
        attempt: &mut Attempt<'_>,
        is_exclusive: bool,
        quarantine: Quarantine,
    ) -> Result<Vec<PendingOutput>, Disposition> {
        loop {
            let turn = attempt.ticket.turn(|component| self.serves(component)).await;
            let Some(serving) = self.serving().filter(|_| turn.is_ok()) else {
                return Err(unfinished(quarantine));
            };
            let Some((by, made)) = self.work(&serving, attempt, is_exclusive).await else {
                if !is_exclusive {
                    attempt.ticket.begins_anew();
                } else if self.breaker.opened().is_some() {
                    return Err(unfinished(quarantine));
                }
                continue;
            };
            *work = by;
            match self.judge(work.as_ref(), attempt, made) {
                Some(made) => return made,
                // The host outlived it, so that it is innocent.
                None if is_exclusive => return Err(Disposition::Return),
                None => attempt.notes = Notes::default(),
            }
        }
    }

    /// Makes the results. A panic is our bug, and must cost one message and not its acknowledgement: the dead letter keeps
    /// it as a test case.
    async fn work(
        &self,
        serving: &ServingStages<W>,
        attempt: &mut Attempt<'_>,
        is_exclusive: bool,
    ) -> Option<StageOutcome<W>> {
        let shared = match is_exclusive {
            true => None,
            false => Some(self.isolation.shared().await),
        };
        let made = AssertUnwindSafe(serving.results(attempt)).catch_unwind().await;
        drop(shared);
        made.unwrap_or_else(|_| Some((Arc::clone(&serving.stages), Err(panicked()))))
    }

    /// The breaker's verdict on the outcome of the work; none where the message starts again.
    fn judge(
        &self,
        work: &W,
        attempt: &mut Attempt<'_>,
        made: Result<Vec<PendingOutput>, Disposition>,
    ) -> Option<Result<Vec<PendingOutput>, Disposition>> {
        let Err(Disposition::Reject(reason)) = made else {
            return Some(made);
        };
        let Some(component) = work.failing_component(&reason) else {
            return Some(Err(Disposition::Reject(reason)));
        };
        if self.is_replaced(&component) {
            attempt.ticket.begins_anew();
            return None;
        }
        let cost = attempt.notes.pace.plugins;
        match attempt.ticket.failed(component, work.generation(), &reason, cost) {
            FailureVerdict::Kept => None,
            FailureVerdict::HalfOpenFailed if attempt.message.attempt < work.attempts() => {
                Some(Err(Disposition::Retry(reason)))
            }
            FailureVerdict::Stands | FailureVerdict::HalfOpenFailed => Some(Err(Disposition::Reject(reason))),
        }
    }

    fn span(&self, delivery: &Delivery) -> Span {
        let Message { id, attempt, .. } = &delivery.message;
        info_span!("message", pipeline = %self.name, id = %Escaped(id), attempt)
    }
}

fn outcome<'a>(attempt: &'a Attempt<'_>, disposition: &Disposition, settled: &Settled) -> Outcome<'a> {
    match (disposition, settled) {
        (_, Settled::Lost(_)) => Outcome::Lost,
        (_, Settled::Returned) | (Disposition::Return, _) => Outcome::Returned,
        (Disposition::Ack, _) if attempt.notes.skipped => Outcome::Skipped,
        (Disposition::Ack, _) => Outcome::Acked(attempt.notes.label.as_deref()),
        (Disposition::Retry(_), _) => Outcome::Retried,
        (Disposition::Quarantine { .. }, _) => Outcome::Quarantined,
        (Disposition::Reject(reason), _) => Outcome::Rejected(reason.class),
    }
}

/// The disposition of a message that needs no work; `None` where it needs some. Where the attempts are spent, this
/// delivery is none: the message's attempt becomes the last one that was made.
fn early_disposition(
    message: &mut Message,
    malformed: Option<String>,
    quarantine: Quarantine,
    attempts: u32,
) -> Option<Disposition> {
    if let Some(text) = malformed {
        return Some(reject(Stage::Receive, ReasonClass::Malformed, text));
    }
    if message.is_expired(SystemTime::now()) {
        let hint = message.deadline.and_then(deadline::hint);
        let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        let text = format!("its deadline passed before its processing began{hint}");
        return Some(reject(Stage::Receive, ReasonClass::Expired, text));
    }
    match quarantine {
        Quarantine::Due { crash_count } | Quarantine::Inside { crash_count }
            if quarantine.is_proven_cause() && message.attempt > attempts =>
        {
            message.attempt = message.attempt.saturating_sub(1);
            let text = format!(
                "{} attempts were made, and {attempts} are allowed: a host crashed {crash_count} times with this message in flight, the last times alone",
                message.attempt
            );
            Some(reject(Stage::Receive, ReasonClass::AttemptsSpent, text))
        }
        Quarantine::Due { crash_count } => Some(Disposition::Quarantine { crash_count }),
        Quarantine::None | Quarantine::Inside { .. } => None,
    }
}

/// The disposition of an unfinished message: a quarantined one has proved nothing, and stays, with its crash count.
fn unfinished(quarantine: Quarantine) -> Disposition {
    match quarantine {
        Quarantine::Inside { crash_count } | Quarantine::Due { crash_count } => Disposition::Quarantine { crash_count },
        Quarantine::None => Disposition::Return,
    }
}

/// One line a message at debug; a failure is logged once, in full.
fn log_disposition(generation: u64, attempt: &Attempt<'_>, disposition: &Disposition) {
    match disposition {
        Disposition::Ack => debug!(generation, label = attempt.notes.label, timings = %attempt.notes.timings, "done"),
        // The quarantine log reports them together.
        Disposition::Quarantine { crash_count } => debug!(generation, crash_count, "quarantined"),
        _ if !attempt.lines.may_log() => {}
        // Reported together at the end.
        Disposition::Return => debug!(generation, "returning the message to its source, uncounted"),
        Disposition::Retry(reason) => {
            let (told, plugin) = (reason.told(generation), reason.plugin_name());
            info!(generation, stage = %reason.stage, plugin, reason = told, "returning the message to its source for another attempt");
        }
        Disposition::Reject(reason) => {
            let (told, plugin) = (reason.told(generation), reason.plugin_name());
            let (stage, class) = (reason.stage, reason.class);
            warn!(generation, %stage, plugin, %class, reason = told, "rejected: it becomes a dead letter where its source keeps them");
        }
    }
}

/// A message that stays in quarantine could not be finished: the loop that empties the quarantine ends.
fn as_returned(settled: Settled) -> Settled {
    match settled {
        Settled::Done => Settled::Returned,
        settled => settled,
    }
}
