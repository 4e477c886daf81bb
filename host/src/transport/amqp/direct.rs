//! Answers to addresses of the broker's own making (`amq.rabbitmq.reply-to.…`, "direct reply-to"): on a connection of their
//! own. Knows no queue.
//!
//! The message chose the address, and the broker looks into it: over one that is crooked, or names a node of the cluster that
//! is gone, RabbitMQ (seen with 3.10.8) ends the whole connection with an internal error, and with it whatever else is on it.
//! So nothing else is on it; and what was in flight then is sent once more alone, so that the one answer that does it is found.

use std::sync::Arc;

use tokio::sync::RwLock;

use super::publisher::{Publish, PublishError, Publisher};

/// What an address of the broker's own making begins with.
pub(super) const PREFIX: &str = "amq.rabbitmq.reply-to.";

/// The way out for such answers.
#[derive(Debug)]
pub(super) struct DirectReplies {
    publisher: Publisher,
    // Read by those that go side by side, written by the one that goes alone. tokio's: held over a publish, which is bounded.
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
    /// [`PublishError::Nowhere`] where the broker breaks down over this very answer; otherwise as a publisher's.
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
