//! The life of one message, top to bottom: taken, worked on, delivered, settled.
//! The only room that knows the order; it knows no broker, no sandbox and no device.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::FutureExt;
use futures_util::future::{join, try_join_all};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, debug, info, info_span, warn};

use crate::aside::Aside;
use crate::breaker::{Breaker, Culprit, Ticket, Verdict};
use crate::chain::Chain;
use crate::config::Name;
use crate::disposition::{Disposition, ReasonClass, Stage};
use crate::failpoints::{self, Place};
use crate::gate::{Alone, Gate};
use crate::generation::{Current, Made, Serving, Stages};
use crate::message::{Envelope, Message};
use crate::quota::LineQuota;
use crate::tally::{InHand, Outcome, Tally};
use crate::transport::{
    AckHandle, Delivery, GaveUp, Hold, PendingOutput, Quarantine, QuarantineQueue, Settled, Settlement, Source,
    SourceError, deadline,
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
    /// What waits while a destination is away.
    pub hold: Hold,
    /// What waits while a plugin or the model fails for everything.
    pub breaker: Breaker,
    /// Lets suspects run alone in this host.
    pub gate: Gate,
    /// What became of its messages.
    pub tally: Arc<Tally>,
    /// What is said about those that are set apart.
    pub aside: Aside,
    /// Lines about single messages that it may write: each is told in full by its dead letter, too.
    pub lines: LineQuota,
}

/// Lines about single messages that a pipeline writes in a second.
pub const LINES_PER_SECOND: u32 = 256;

impl<W: Work> Pipeline<W> {
    /// Takes messages until `drain` is cancelled or the source ends; the source's prefetch bounds how many are in hand.
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
        let mut suspects = source.quarantine();
        let (in_hand, n_returned_before) = (TaskTracker::new(), self.tally.n_returned());
        let taking = self.take(source.as_mut(), &in_hand, &drain);
        let (ended, ()) = join(taking, self.run_suspects(&mut suspects, &drain)).await;
        debug!(pipeline = %self.name, n_in_hand = in_hand.len(), "takes no more");
        // The source lives until everything taken from it is settled: its channel carries the acknowledgements.
        in_hand.close();
        in_hand.wait().await;
        // In a drain that is cut off, too: that is when most acknowledgements come at once. It is bounded by itself.
        if let Some(taken) = source.last().await {
            let span = self.span(&taken);
            let (counted, ticket) = (self.tally.take(), self.breaker.ticket());
            self.process(taken, None, counted, ticket).instrument(span).await;
        }
        self.leave_no_suspects(&mut suspects).await;
        let n_returned = self.tally.n_returned().saturating_sub(n_returned_before);
        if n_returned > 0 {
            info!(pipeline = %self.name, n_returned, "went back to their source, uncounted");
        }
        ended
    }

    async fn take(
        self: &Arc<Self>,
        source: &mut dyn Source,
        in_hand: &TaskTracker,
        drain: &CancellationToken,
    ) -> Result<(), SourceError> {
        let ended = loop {
            let next = async {
                self.breaker.admits(|culprit| self.serves(culprit)).await;
                source.next().await
            };
            let taken = tokio::select! {
                biased; // a drain wins over another message
                () = drain.cancelled() => break Ok(()),
                taken = self.hold.unless_held(next) => taken,
            };
            match taken {
                None => {}
                Some(Ok(Some(taken))) => self.begin(taken, in_hand),
                Some(Ok(None)) => break Ok(()),
                Some(Err(error)) => break Err(error),
            }
        };
        // A broker that does not answer must not hold up what is left of a drain.
        if let Ok(Ok(left)) = self
            .hold
            .try_once(source.stop_consuming().map(Ok::<_, Infallible>))
            .await
        {
            left.into_iter().for_each(|taken| self.begin(taken, in_hand));
        }
        ended
    }

    fn begin(self: &Arc<Self>, taken: Delivery, in_hand: &TaskTracker) {
        let span = self.span(&taken);
        let (pipeline, counted, ticket) = (Arc::clone(self), self.tally.take(), self.breaker.ticket());
        in_hand.spawn(async move { pipeline.process(taken, None, counted, ticket).await }.instrument(span));
    }

    /// Runs suspects one at a time, alone in this host, until the drain.
    async fn run_suspects(&self, suspects: &mut Option<Box<dyn QuarantineQueue>>, drain: &CancellationToken) {
        let Some(suspects) = suspects else { return };
        loop {
            let waiting = async {
                self.breaker.closed().await;
                suspects.waiting().await
            };
            let waiting = tokio::select! {
                biased; // a drain wins over another message
                () = drain.cancelled() => return,
                waiting = self.hold.unless_held(waiting) => waiting,
            };
            if waiting.is_some() {
                self.run_suspect(suspects.as_mut()).await;
            }
        }
    }

    /// At a drain, suspects are still taken while there are any and they can be finished: a host that leaves in good
    /// order leaves none behind that it set apart.
    async fn leave_no_suspects(&self, suspects: &mut Option<Box<dyn QuarantineQueue>>) {
        let Some(suspects) = suspects else { return };
        while !self.hold.is_cut() && self.run_suspect(suspects.as_mut()).await == Some(Settled::Done) {}
    }

    /// Runs the next suspect to its end, if there is one.
    async fn run_suspect(&self, suspects: &mut dyn QuarantineQueue) -> Option<Settled> {
        let alone = tokio::select! {
            alone = self.gate.alone() => alone,
            () = self.hold.cut() => return None,
        };
        if self.hold.n_held() > 0 || self.breaker.opened().is_some() {
            return None; // something came to be held while others finished
        }
        // Taken only when it can run: what waits in hand beside others is blamed for what they do.
        let taken = suspects.take(&alone).await?;
        let span = self.span(&taken);
        let (counted, ticket) = (self.tally.take(), self.breaker.ticket_of_suspect());
        Some(self.process(taken, Some(alone), counted, ticket).instrument(span).await)
    }

    async fn process(&self, taken: Delivery, mut alone: Option<Alone>, counted: InHand, ticket: Ticket) -> Settled {
        let Delivery {
            mut message,
            malformed,
            quarantine: suspicion,
            ack,
        } = taken;
        failpoints::pass(Place::Delivered, &message.id).await;
        let mut otherwise = unfinished(suspicion);
        let Some(serving) = self.serving() else {
            debug!("the pipeline is gone: the message goes back");
            let settlement = Settlement {
                disposition: &otherwise,
                otherwise: &otherwise,
                message: &message,
                hold: &self.hold,
                dead_letter: &|_| Envelope::default(),
            };
            let settled = ack.settle(settlement).await;
            tell_settled(&settled);
            counted.settle(Outcome::Returned);
            return as_returned(settled);
        };
        message.attempt = suspicion.attempt(message.attempt);
        let mut work = serving.stages;
        let fate = fate(&message, malformed, suspicion, work.attempts());
        let mut attempt = Attempt {
            pipeline: self.name.as_str(),
            host_id: &self.host_id,
            message: Arc::new(message),
            tally: &self.tally,
            lines: &self.lines,
            ticket,
            notes: Notes::default(),
        };
        let made = match fate {
            Some(disposition) => Err(disposition),
            None => {
                let made = tokio::select! {
                    biased; // what was made is kept
                    made = self.work_until_it_stands(&mut work, &mut attempt, &mut alone, suspicion) => made,
                    () = self.hold.cut() => Err(unfinished(suspicion)),
                };
                if !matches!(made, Err(Disposition::Quarantine { .. })) {
                    // The host outlived it, so that it is innocent.
                    otherwise = Disposition::Return;
                }
                made
            }
        };
        let is_alone = alone.is_some();
        let finishing = async {
            let disposition = match made {
                Ok(parcels) if is_alone => self.deliver_once(parcels).await,
                Ok(parcels) => {
                    self.tally
                        .timed(Stage::Deliver, self.deliver(parcels, ack.as_ref()))
                        .await
                }
                Err(disposition) => disposition,
            };
            if let (Quarantine::Due { .. }, Disposition::Quarantine { deaths }) = (suspicion, &disposition) {
                self.aside.set_apart(attempt.pipeline, &attempt.message.id, *deaths);
            }
            tell(work.generation(), &attempt, &disposition);
            if matches!(disposition, Disposition::Ack) {
                failpoints::pass(Place::Confirmed, &attempt.message.id).await;
            }
            let settlement = Settlement {
                disposition: &disposition,
                otherwise: &otherwise,
                message: &attempt.message,
                hold: &self.hold,
                dead_letter: &|reason| work.dead_letter(&attempt, reason),
            };
            let settled = ack.settle(settlement).await;
            failpoints::pass(Place::Settled, &attempt.message.id).await;
            match (suspicion, &disposition) {
                (Quarantine::Inside { .. }, Disposition::Quarantine { .. }) => (disposition, as_returned(settled)),
                _ => (disposition, settled),
            }
        };
        let finishing = AssertUnwindSafe(finishing).catch_unwind();
        let finished = match alone {
            Some(alone) => alone.until(finishing).await,
            None => finishing.await,
        };
        let (outcome, settled) = match finished {
            Ok((disposition, settled)) => (outcome(&attempt, &disposition, &settled), settled),
            // Our bug: nothing was let go of, so that the message comes again.
            Err(_) => (Outcome::Lost, Settled::Lost("the host panicked over it".to_owned())),
        };
        tell_settled(&settled);
        counted.settle(outcome);
        if let Quarantine::Inside { .. } = suspicion {
            self.aside.ran(attempt.pipeline);
        }
        settled
    }

    /// What serves this pipeline now.
    fn serving(&self) -> Option<Serving<W>> {
        self.current.load().pipelines.get(&self.name).cloned()
    }

    fn serves(&self, culprit: &Culprit) -> bool {
        self.serving()
            .is_some_and(|serving| serving.has(culprit.stage, &culprit.digest))
    }

    /// Whether a culprit was replaced: its failures say nothing about what serves, and it is not to cost a message.
    fn is_replaced(&self, culprit: &Culprit) -> bool {
        self.serving()
            .is_some_and(|serving| !serving.may_use(culprit.stage, &culprit.digest))
    }

    /// Makes the results, until what comes of it stands: what the breaker keeps, or what was taken back from a version that
    /// left, begins anew, with what then serves.
    /// `work` becomes what made them.
    async fn work_until_it_stands(
        &self,
        work: &mut Arc<W>,
        attempt: &mut Attempt<'_>,
        alone: &mut Option<Alone>,
        suspicion: Quarantine,
    ) -> Result<Vec<PendingOutput>, Disposition> {
        let is_suspect = matches!(suspicion, Quarantine::Inside { .. });
        loop {
            // Before it is alone: others must not wait for a breaker.
            let turn = attempt.ticket.turn(|culprit| self.serves(culprit)).await;
            let Some(serving) = self.serving().filter(|_| turn.is_ok()) else {
                return Err(unfinished(suspicion));
            };
            if is_suspect && alone.is_none() {
                // A source that hands out its suspects among the others.
                *alone = Some(self.gate.alone().await);
            }
            let Some((by, made)) = self.work(&serving, attempt, alone.is_some()).await else {
                if alone.is_none() {
                    attempt.ticket.begins_anew();
                } else if self.breaker.opened().is_some() {
                    return Err(unfinished(suspicion));
                }
                continue;
            };
            *work = by;
            match self.judge(work.as_ref(), attempt, made) {
                Some(made) => return made,
                // The host outlived it, so that it is innocent.
                None if alone.is_some() => return Err(Disposition::Return),
                None => attempt.notes = Notes::default(),
            }
        }
    }

    /// Makes the results. A panic is our bug, and must cost one message and not the receipt: the dead letter keeps it as
    /// a test case.
    async fn work(&self, serving: &Serving<W>, attempt: &mut Attempt<'_>, is_alone: bool) -> Option<Made<W>> {
        let among = match is_alone {
            true => None,
            false => Some(self.gate.among().await),
        };
        let made = AssertUnwindSafe(serving.results(attempt)).catch_unwind().await;
        drop(among);
        made.unwrap_or_else(|_| Some((Arc::clone(&serving.stages), Err(panicked()))))
    }

    /// What the breaker makes of what came of the work; nothing where the message begins anew.
    fn judge(
        &self,
        work: &W,
        attempt: &mut Attempt<'_>,
        made: Result<Vec<PendingOutput>, Disposition>,
    ) -> Option<Result<Vec<PendingOutput>, Disposition>> {
        let Err(Disposition::Reject(reason)) = made else {
            return Some(made);
        };
        let Some(culprit) = work.culprit(&reason) else {
            return Some(Err(Disposition::Reject(reason)));
        };
        if self.is_replaced(&culprit) {
            attempt.ticket.begins_anew();
            return None;
        }
        let cost = attempt.notes.pace.plugins;
        match attempt.ticket.failed(culprit, work.generation(), &reason, cost) {
            Verdict::Kept => None,
            Verdict::ProbeFailed if attempt.message.attempt < work.attempts() => Some(Err(Disposition::Retry(reason))),
            Verdict::Stands | Verdict::ProbeFailed => Some(Err(Disposition::Reject(reason))),
        }
    }

    /// Sends every result until it is confirmed. All or nothing: one that does not arrive holds the message.
    async fn deliver(&self, parcels: Vec<PendingOutput>, ack: &dyn AckHandle) -> Disposition {
        let sending = parcels.iter().map(|parcel| async move {
            // With its channel gone it comes again whatever is sent now: one more try would only be one more copy.
            let hold = &self.hold;
            hold.until_done_unless(parcel, || parcel.send(), || ack.is_void()).await
        });
        match try_join_all(sending).await {
            Ok(_) => Disposition::Ack,
            Err(GaveUp) => Disposition::Return,
        }
    }

    /// Sends the results of a suspect once. One that does not arrive is not held: that the suspect came so far shows that
    /// it is innocent, and others are waiting for it to be done.
    async fn deliver_once(&self, parcels: Vec<PendingOutput>) -> Disposition {
        let sent = self
            .hold
            .try_once(try_join_all(parcels.iter().map(|output| output.send())));
        match sent.await {
            Ok(Ok(_)) => return Disposition::Ack,
            Ok(Err(error)) => {
                info!(error = %Chain(&error), "a suspect's result did not arrive: it goes back to the others")
            }
            Err(GaveUp) => {
                debug!("the drain ended before a suspect's result was confirmed: it goes back to the others")
            }
        }
        Disposition::Return
    }

    fn span(&self, taken: &Delivery) -> Span {
        let Message { id, attempt, .. } = &taken.message;
        info_span!("message", pipeline = %self.name, id = %id.escape_debug(), attempt)
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

/// What becomes of a message without any work on it; `None` where it is to be worked on.
fn fate(message: &Message, malformed: Option<String>, suspicion: Quarantine, attempts: u32) -> Option<Disposition> {
    if let Some(text) = malformed {
        return Some(reject(Stage::Receive, ReasonClass::Malformed, text));
    }
    if message.is_expired(SystemTime::now()) {
        let hint = message.deadline.and_then(deadline::hint);
        let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        let text = format!("its deadline passed before its processing began{hint}");
        return Some(reject(Stage::Receive, ReasonClass::Expired, text));
    }
    match suspicion {
        Quarantine::Due { deaths } | Quarantine::Inside { deaths }
            if suspicion.is_proven() && message.attempt > attempts =>
        {
            let text = format!(
                "{attempts} attempts are spent: a host ended {deaths} times while it had this message in hand, the last times alone"
            );
            Some(reject(Stage::Receive, ReasonClass::AttemptsSpent, text))
        }
        Quarantine::Due { deaths } => Some(Disposition::Quarantine { deaths }),
        Quarantine::None | Quarantine::Inside { .. } => None,
    }
}

/// What becomes of a message whose work did not come to its end, or was not begun. A suspect has shown nothing by that: it
/// stays apart, with the deaths that it had.
fn unfinished(suspicion: Quarantine) -> Disposition {
    match suspicion {
        Quarantine::Inside { deaths } | Quarantine::Due { deaths } => Disposition::Quarantine { deaths },
        Quarantine::None => Disposition::Return,
    }
}

/// One line a message at debug; what went wrong is told once, fully.
fn tell(generation: u64, attempt: &Attempt<'_>, disposition: &Disposition) {
    match disposition {
        Disposition::Ack => debug!(generation, label = attempt.notes.label, timings = %attempt.notes.timings, "done"),
        // Who counts them tells of them.
        Disposition::Quarantine { deaths } => debug!(generation, deaths, "set apart"),
        _ if !attempt.lines.may_tell() => {}
        // Told together when all have.
        Disposition::Return => debug!(generation, "goes back to its source, uncounted"),
        Disposition::Retry(reason) => {
            let (told, plugin) = (reason.told(generation), reason.plugin_name());
            info!(generation, stage = %reason.stage, plugin, reason = told, "goes back to its source for another attempt");
        }
        Disposition::Reject(reason) => {
            let (told, plugin) = (reason.told(generation), reason.plugin_name());
            let (stage, class) = (reason.stage, reason.class);
            warn!(generation, %stage, plugin, %class, reason = told, "becomes a dead letter");
        }
    }
}

/// Of a suspect that goes apart again: whoever looks for suspects that can be finished finds none in it.
fn as_returned(settled: Settled) -> Settled {
    match settled {
        Settled::Done => Settled::Returned,
        settled => settled,
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
