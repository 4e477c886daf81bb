//! The acknowledgement of a message that came by ZeroMQ: the answer to those who sent it, or nothing where none is given. Knows no
//! socket.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::OwnedSemaphorePermit;
use tracing::warn;

use super::counts::Counts;
use super::in_flight::Claim;
use super::reply::Reply;
use crate::disposition::Disposition;
use crate::message::Message;
use crate::quota::LineQuota;
use crate::{AckHandle, Settled, Settlement};

/// Clients that wait for their answer.
///
/// Dropped without one (a panic, a source that ended), they are told to send the message again.
#[derive(Debug)]
pub(super) struct ReplyAck {
    claim: Claim,
    counts: Arc<Counts>,
    /// Given back when the answer is written.
    slot: OwnedSemaphorePermit,
}

/// Nobody waits: what is not done is lost.
#[derive(Debug)]
pub(super) struct NoAck {
    lines: Arc<LineQuota>,
    _slot: OwnedSemaphorePermit,
}

impl ReplyAck {
    /// For a message that has a slot.
    pub(super) fn new(claim: Claim, counts: Arc<Counts>, slot: OwnedSemaphorePermit) -> Self {
        Self { claim, counts, slot }
    }
}

impl NoAck {
    /// For a message that has a slot; `lines` bounds the log.
    pub(super) fn new(lines: &Arc<LineQuota>, slot: OwnedSemaphorePermit) -> Self {
        let lines = Arc::clone(lines);
        Self { lines, _slot: slot }
    }

    fn lost(&self, message: &Message, why: &str) {
        if self.lines.may_log() {
            let id = &message.id;
            warn!(
                id,
                why, "message lost: its source promises at most once, and nobody has it any more"
            );
        }
    }
}

impl AckHandle for ReplyAck {
    /// Whether every client is gone. One that comes back sends the message again, and then waits for this one.
    fn is_void(&self) -> bool {
        self.claim.is_void()
    }

    fn settle<'a>(self: Box<Self>, settlement: Settlement<'a>) -> BoxFuture<'a, Settled> {
        let (reply, settled) = Reply::of(&settlement);
        let Self { claim, counts, slot } = *self;
        counts.answered(reply.status);
        let settled = match claim.answer(reply.holding(slot)) {
            0 => Settled::Lost("its client is gone".to_owned()),
            _ => settled,
        };
        ready(settled).boxed()
    }
}

impl AckHandle for NoAck {
    fn settle<'a>(self: Box<Self>, settlement: Settlement<'a>) -> BoxFuture<'a, Settled> {
        let settled = match settlement.disposition {
            Disposition::Ack => Settled::Done,
            Disposition::Reject(reason) | Disposition::Retry(reason) => {
                self.lost(settlement.message, &reason.to_string());
                Settled::Done
            }
            Disposition::Return | Disposition::Quarantine { .. } => {
                self.lost(settlement.message, "the host could not finish it");
                Settled::Returned
            }
        };
        ready(settled).boxed()
    }
}
