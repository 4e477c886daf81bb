//! Answers to addresses of the broker's own making (`amq.rabbitmq.reply-to.…`, "direct reply-to"): on a connection of their
//! own. Knows no queue.
//!
//! The message chose the address, and the broker parses it: for one that is malformed, or names a node of the cluster that
//! is gone, RabbitMQ (seen with 3.10.8) closes the whole connection with an internal error. So this connection carries
//! nothing else, and the answers that were in flight on it are sent once more one by one, which finds the one that does it.

use std::sync::Arc;

use tokio::sync::RwLock;

use super::publisher::{Publish, PublishError, Publisher};

/// The prefix of an address of the broker's own making.
pub(super) const PREFIX: &str = "amq.rabbitmq.reply-to.";

/// The way out for such answers.
#[derive(Debug)]
pub(super) struct DirectReplies {
    publisher: Publisher,
    // Read-locked by publishes that go side by side, write-locked by one that goes alone. tokio's: held over a publish,
    // which is bounded.
    turn: RwLock<()>,
}

impl DirectReplies {
    pub(super) fn new(publisher: Publisher) -> Self {
        Self {
            publisher,
            turn: RwLock::default(),
        }
    }

    /// Publishes and waits for the confirm.
    ///
    /// # Errors
    /// [`PublishError::Nowhere`] where this very answer makes the broker close the connection; otherwise as a publisher's.
    pub(super) async fn publish(&self, publish: &Arc<Publish>) -> Result<(), PublishError> {
        let turn = self.turn.read().await;
        match self.publisher.publish(publish).await {
            Err(PublishError::Broken(_)) => {}
            published => return published,
        }
        drop(turn);
        let _alone = self.turn.write().await;
        match self.publisher.publish(publish).await {
            Err(PublishError::Broken(why)) => Err(PublishError::Nowhere {
                routing_key: publish.routing_key.to_string(),
                why,
            }),
            published => published,
        }
    }
}
