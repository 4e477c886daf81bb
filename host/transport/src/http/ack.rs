//! The acknowledgement of a message that came by HTTP: the answer to its request. Knows no socket.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::answer::Answer;
use crate::{AckHandle, Settled, Settlement};

/// A request that waits for its answer.
///
/// Dropped without one (a panic, a source that ended), the request is answered with 503: the client sends it again.
#[derive(Debug)]
pub(super) struct HttpAck {
    answer: oneshot::Sender<Answer>,
    /// Given back when the answer is written.
    slot: OwnedSemaphorePermit,
}

impl HttpAck {
    /// For a message that has a slot, and where its answer comes.
    pub(super) fn new(slot: OwnedSemaphorePermit) -> (Self, oneshot::Receiver<Answer>) {
        let (answer, comes) = oneshot::channel();
        (Self { answer, slot }, comes)
    }
}

impl AckHandle for HttpAck {
    /// Whether the client is gone, or was told that the answer takes too long.
    fn is_void(&self) -> bool {
        self.answer.is_closed()
    }

    fn settle<'a>(self: Box<Self>, settlement: Settlement<'a>) -> BoxFuture<'a, Settled> {
        let (answer, settled) = Answer::of(&settlement);
        let settled = match self.answer.send(answer.holding(self.slot)) {
            Ok(()) => settled,
            Err(_) => Settled::Lost("its client is gone, or waited for longer than `answer_within`".to_owned()),
        };
        ready(settled).boxed()
    }
}
