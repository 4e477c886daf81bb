//! What a client is answered: the outcome of its message, or why there is none yet. Knows no socket and no pipeline.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::codec::Frames;
use super::reply_destination::ReplyOutput;
use crate::disposition::{Disposition, Reason};
use crate::message::Message;
use crate::{Settled, Settlement};

/// The prefix of a dead letter's headers.
const OWN: &str = "x-millrace-";
/// The words of a reason, which every answer but `done` has under `error`.
const TEXT: &str = "text";
/// When a client may come again, where the host has no better guess: a message takes milliseconds.
const SOON_MS: u64 = 200;
/// The same where a pipeline takes nothing: what it waits for is tried again every few seconds.
const LATER_MS: u64 = 2_000;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Every result is confirmed: it need not be sent again.
    Done,
    /// It is rejected: it would be rejected again.
    Dead,
    /// It is to be sent again.
    Again,
}

impl Status {
    /// As the answer says it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Again => "again",
        }
    }

    /// The status of this name.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        [Self::Done, Self::Dead, Self::Again]
            .into_iter()
            .find(|status| status.as_str().as_bytes() == name)
    }
}

/// An answer; its copies share what they hold.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: Status,
    fields: Bytes,
    /// Headers and body of each result.
    results: Arc<[Bytes]>,
    /// Given back when every copy is written.
    slot: Option<Arc<OwnedSemaphorePermit>>,
}

impl Reply {
    /// The answer that a settlement is, and what became of the message by it.
    pub(super) fn of(settlement: &Settlement<'_>) -> (Self, Settled) {
        match settlement.disposition {
            Disposition::Ack => (Self::done(settlement), Settled::Done),
            Disposition::Reject(reason) => (Self::rejected(settlement, reason), Settled::Done),
            Disposition::Retry(reason) => (Self::retried(settlement.message, reason), Settled::Done),
            // No message of this source is ever quarantined.
            Disposition::Return | Disposition::Quarantine { .. } => (Self::returned(), Settled::Returned),
        }
    }

    /// To a message that nobody can read.
    pub(super) fn malformed(why: &str) -> Self {
        Self::new(
            Status::Dead,
            &json!({ "error": why, "reason": "malformed", "stage": "receive" }),
        )
    }

    /// Where no pipeline takes messages.
    pub(super) fn closed() -> Self {
        let why = "the pipeline takes no messages now: it is starting or stopping, or waits for something that fails";
        Self::later(why, LATER_MS)
    }

    /// Where as many messages are in flight as may be, and none of them ends.
    pub(super) fn busy() -> Self {
        Self::later(
            "as many messages are in flight as the pipeline takes (`prefetch`)",
            SOON_MS,
        )
    }

    /// Where a message of the same id and of other content is in flight.
    pub(super) fn taken() -> Self {
        Self::later(
            "another message of this id is in flight: an id names one message",
            SOON_MS,
        )
    }

    /// Where the host could not finish.
    pub(super) fn returned() -> Self {
        let why = "the host could not finish this message now: send it again. Results may have been sent; with the same id and \
                   body they have the same ids";
        Self::later(why, SOON_MS)
    }

    /// Keeps a slot until it is written.
    pub(super) fn holding(mut self, slot: OwnedSemaphorePermit) -> Self {
        self.slot = Some(Arc::new(slot));
        self
    }

    /// Its frames, and what must live until they are written.
    pub(super) fn frames(self, id: Bytes, is_delimited: bool) -> (Frames, Option<Arc<OwnedSemaphorePermit>>) {
        let mut frames = Frames::with_capacity(4 + self.results.len());
        if is_delimited {
            frames.push(Bytes::new());
        }
        frames.push(id);
        frames.push(Bytes::from_static(self.status.as_str().as_bytes()));
        frames.push(self.fields);
        frames.extend(self.results.iter().cloned());
        (frames, self.slot)
    }

    /// Every result is confirmed, or goes with it.
    fn done(settlement: &Settlement<'_>) -> Self {
        let results = settlement.results.iter().map(|result| -> &dyn Any { result.as_ref() });
        let own = results.filter_map(|result| result.downcast_ref::<ReplyOutput>());
        let results: Vec<Bytes> = own
            .flat_map(|output| [output.headers.clone(), output.body.clone()])
            .collect();
        let fields = json!({ "results": settlement.results.len() });
        Self {
            results: results.into(),
            ..Self::new(Status::Done, &fields)
        }
    }

    /// With what a dead letter would say.
    fn rejected(settlement: &Settlement<'_>, reason: &Reason) -> Self {
        let envelope = (settlement.dead_letter)(reason);
        let fields = envelope.headers.into_iter().filter_map(|(name, value)| {
            let name = match name.strip_prefix(OWN)? {
                TEXT => "error",
                name => name,
            };
            Some((name.to_owned(), Value::String(value)))
        });
        let fields: Map<String, Value> = fields.collect();
        Self::new(Status::Dead, &Value::Object(fields))
    }

    /// A plugin wants to see it later.
    fn retried(message: &Message, reason: &Reason) -> Self {
        let fields = json!({
            "error": reason.to_string(),
            "reason": reason.class.as_str(),
            "stage": reason.stage.as_str(),
            "attempt": message.attempt.saturating_add(1),
            "after_ms": SOON_MS,
        });
        Self::new(Status::Again, &fields)
    }

    fn later(why: &str, after_ms: u64) -> Self {
        Self::new(Status::Again, &json!({ "error": why, "after_ms": after_ms }))
    }

    fn new(status: Status, fields: &Value) -> Self {
        Self {
            status,
            fields: fields.to_string().into(),
            results: Arc::from([]),
            slot: None,
        }
    }
}
