//! The end of consuming in good order: nothing that was not begun is delivered again for it. Knows no message.
//!
//! A broker hands over messages in advance, and more for each that is acknowledged. Were the channel just closed, all of
//! these would come again marked as redelivered, and the next host would take each for one that a host ended over. So the
//! consumer is cancelled first, and what was handed over before is worked on as everything else.
//!
//! A quorum queue (seen with RabbitMQ 3.10) takes back, and marks, what is between queue and channel when the consumer is
//! cancelled. So the line is let come to rest first: nothing is acknowledged, so that nothing more is handed over once as
//! many messages are out as the prefetch allows.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::Consumer;
use lapin::message::Delivery;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::line::Channel;

/// How long the line may take to come to rest, where the prefetch is not used up.
pub(super) const REST_LIMIT: Duration = Duration::from_millis(100);

/// A line that brought nothing for so long is at rest.
const SILENCE: Duration = Duration::from_millis(20);

/// How long the broker may take to answer.
const CANCEL_LIMIT: Duration = Duration::from_secs(2);

/// Cancels a consumer, on whose channel so many more deliveries may come; gives those that were handed over before, in their
/// order. Where the broker does not answer, what is missing comes again.
pub(super) async fn cancel(channel: &Channel, consumer: &mut Consumer, n_more: usize) -> Vec<Delivery> {
    let mut delivered = Vec::new();
    let rest = Instant::now() + REST_LIMIT;
    while delivered.len() < n_more {
        match timeout(SILENCE, consumer.next()).await {
            Ok(Some(Ok(delivery))) => delivered.push(delivery),
            Ok(Some(Err(_)) | None) => return delivered, // the channel is gone
            Err(_) => break,
        }
        if Instant::now() > rest {
            break; // just after one of those that come steadily, the next is as far away as it can be
        }
    }
    match timeout(CANCEL_LIMIT, channel.cancel(consumer.tag())).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "the consumer cannot be cancelled"),
        Err(_) => debug!("no answer to the cancelling of the consumer"),
    }
    // The answer comes after the last delivery, and ends the stream. Where none came, only what is there is taken.
    while let Ok(Some(Ok(delivery))) = timeout(SILENCE, consumer.next()).await {
        delivered.push(delivery);
    }
    delivered
}
