//! The end of consuming in good order: no message that was not begun is redelivered because of it. Knows no message.
//!
//! A broker hands over messages in advance, and more for each that is acknowledged. If the channel were just closed, all of
//! these would come again marked as redelivered, and the next host would quarantine them. So the consumer is cancelled
//! first, and messages that were handed over before are processed like all others.
//!
//! A quorum queue (seen with RabbitMQ 3.10) takes back, and marks, messages between queue and channel when the consumer is
//! cancelled: 32 at once on a busy disk. So the connection comes to rest first: nothing is acknowledged, so that nothing
//! more is handed over once as many messages are out as the prefetch allows, or the queue is empty.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::Consumer;
use lapin::message::Delivery;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::line::Channel;
use super::properties::short;
use super::topology;

/// How long the connection may take to come to rest.
pub(super) const REST_LIMIT: Duration = Duration::from_secs(2);

/// How long nothing arrives before the host asks whether anything can.
const SILENCE: Duration = Duration::from_millis(20);

/// Messages that still arrive after so long arrive steadily. Then the host asks just after one of them, when the next is as
/// far away as it can be.
const STEADY: Duration = Duration::from_millis(100);

/// How long the broker may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Cancels a consumer, on whose channel so many more deliveries may arrive; returns those that were handed over before, in
/// their order. Where the broker does not answer, the missing ones are redelivered.
pub(super) async fn cancel(channel: &Channel, consumer: &mut Consumer, n_more: usize) -> Vec<Delivery> {
    let mut delivered = Vec::new();
    let (began, queue, mut n_seen) = (Instant::now(), consumer.queue(), 0);
    while delivered.len() < n_more && began.elapsed() < REST_LIMIT {
        match timeout(SILENCE, consumer.next()).await {
            Ok(Some(Ok(delivery))) => delivered.push(delivery),
            Ok(Some(Err(_)) | None) => return delivered, // the channel is gone
            Err(_) => {}
        }
        if delivered.len() > n_seen && began.elapsed() < STEADY {
            n_seen = delivered.len();
            continue;
        }
        // While there is something in the queue, it is on its way.
        match timeout(ANSWER_LIMIT, topology::count(channel, queue.as_str())).await {
            Ok(Ok(n_ready)) if n_ready > 0 => {}
            _ => break,
        }
    }
    match timeout(ANSWER_LIMIT, channel.cancel(consumer.tag())).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "cannot cancel the consumer"),
        Err(_) => debug!("the broker did not confirm that it cancelled the consumer"),
    }
    // The answer comes after the last delivery, and ends the stream. Without one, only deliveries that are there count.
    while let Ok(Some(Ok(delivery))) = timeout(SILENCE, consumer.next()).await {
        delivered.push(delivery);
    }
    delivered
}

/// Waits until the broker has received every acknowledgement of a channel, which is then safe to close.
///
/// A channel of RabbitMQ (up to 4.2 at least) keeps acknowledgements of a quorum queue's messages back while 32 operations are
/// under way, and forgets them when it is closed. A `basic.get` is done after these, and then the rest is sent. It may
/// bring a message, which is settled like every other: alone, its acknowledgement is not kept back.
pub(super) async fn flush(channel: &Channel, queue: &str) -> Option<Delivery> {
    let getting = channel.get(short("queue", queue).ok()?);
    match timeout(ANSWER_LIMIT, getting).await {
        Ok(Ok(got)) => got.map(|got| got.delivery),
        Ok(Err(error)) => {
            debug!(%error, "the broker may not have received every acknowledgement");
            None
        }
        Err(_) => None,
    }
}
