//! Acknowledging the deliveries of one channel: as many with one frame as their order allows. Knows no message.
//!
//! An acknowledgement can stand for every delivery before it, too. That is safe where all of these are settled already, or
//! are acknowledged with it: so the task that sends the acknowledgements remembers which deliveries are settled. It never
//! names one that is settled already: the broker would close the channel over it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use lapin::message::Delivery;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::line::{self, BrokerCallError, Channel};

/// Acknowledgements that are sent together at most; more wait for the next time.
const TOGETHER_MAX: usize = 1024;

/// Acknowledges the deliveries of a channel.
#[derive(Debug, Clone)]
pub(super) struct Acks {
    requests: mpsc::UnboundedSender<Request>,
    limit: Duration,
}

/// Held by whoever consumes from the channel: afterwards nothing more is acknowledged on it.
#[derive(Debug)]
pub(super) struct Acking {
    _over: DropGuard,
}

// Bounded by the messages in flight: each is settled once.
#[derive(Debug)]
enum Request {
    Ack {
        delivery_tag: u64,
        reply: oneshot::Sender<Result<(), BrokerCallError>>,
    },
    /// It was given back, after which others may stand for it.
    GivenBack { delivery_tag: u64 },
}

/// Delivery tags that are settled, as ranges from the first to the last: few, whatever waits long between them.
#[derive(Debug, Default)]
struct SettledTags(BTreeMap<u64, u64>);

impl Acks {
    /// Acknowledges on `channel`, each within `limit`, while what is returned beside it is held.
    pub(super) fn new(channel: Channel, limit: Duration) -> (Self, Acking) {
        let (requests, receiver) = mpsc::unbounded_channel();
        let over = CancellationToken::new();
        let acking = Acking {
            _over: over.clone().drop_guard(),
        };
        tokio::spawn(async move {
            over.run_until_cancelled_owned(serve(channel, limit, receiver)).await;
        });
        (Self { requests, limit }, acking)
    }

    /// Acknowledges a delivery of the channel; `false` where that is gone.
    ///
    /// # Errors
    /// Without an answer within the limit: an acknowledgement that lapin takes while its connection ends may have none.
    pub(super) async fn ack(&self, delivery: &Delivery) -> Result<bool, BrokerCallError> {
        if !delivery.acker.usable() {
            return Ok(false);
        }
        let (reply, answer) = oneshot::channel();
        let delivery_tag = delivery.delivery_tag;
        if self.requests.send(Request::Ack { delivery_tag, reply }).is_err() {
            return Ok(false);
        }
        match answer.await {
            Ok(sent) => sent.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Gives a delivery back; as [`Acks::ack`].
    pub(super) async fn give_back(&self, delivery: &Delivery) -> Result<bool, BrokerCallError> {
        let given_back = line::give_back(delivery, self.limit).await;
        if let (Ok(true), delivery_tag) = (&given_back, delivery.delivery_tag) {
            // Where the task has ended, nothing stands for it.
            self.requests.send(Request::GivenBack { delivery_tag }).ok();
        }
        given_back
    }
}

/// Sends what is asked for until the last handle is gone.
async fn serve(channel: Channel, limit: Duration, mut requests: mpsc::UnboundedReceiver<Request>) {
    let (mut settled, mut taken) = (SettledTags::default(), Vec::new());
    while requests.recv_many(&mut taken, TOGETHER_MAX).await > 0 {
        let mut waiting = Vec::with_capacity(taken.len());
        for request in taken.drain(..) {
            match request {
                Request::Ack { delivery_tag, reply } => {
                    settled.add(delivery_tag);
                    waiting.push((delivery_tag, reply));
                }
                Request::GivenBack { delivery_tag } => settled.add(delivery_tag),
            }
        }
        let all_before = settled.all_before();
        let (together, alone): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(tag, _)| *tag <= all_before);
        let last = together.iter().map(|(tag, _)| *tag).max();
        let sending_together = async {
            if let Some(last) = last {
                let sent = channel.ack(last, together.len() > 1, limit).await;
                together.into_iter().for_each(|(_, reply)| answer(reply, sent.clone()));
            }
        };
        let sending_alone = alone.into_iter().map(|(delivery_tag, reply)| {
            let sending = channel.ack(delivery_tag, false, limit);
            async move { answer(reply, sending.await) }
        });
        // Frames are written in the order in which they are first polled.
        futures_util::future::join(sending_together, join_all(sending_alone)).await;
    }
}

fn answer(reply: oneshot::Sender<Result<(), BrokerCallError>>, sent: Result<(), BrokerCallError>) {
    // Who no longer listens was cut off at the end of a drain.
    reply.send(sent).ok();
}

impl SettledTags {
    fn add(&mut self, tag: u64) {
        let before = self.0.range(..tag).next_back();
        let first = match before {
            Some((first, last)) if last.saturating_add(1) >= tag => *first,
            _ => tag,
        };
        let last = self.0.remove(&tag.saturating_add(1)).unwrap_or(tag);
        let last = self.0.get(&first).map_or(last, |known| last.max(*known));
        self.0.insert(first, last);
    }

    /// The last tag up to which all are settled. A broker counts the deliveries of a channel from 1.
    fn all_before(&self) -> u64 {
        self.0.get(&1).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(tags: &[u64], all_before: u64, n_ranges: usize) {
        let mut settled = SettledTags::default();
        tags.iter().for_each(|tag| settled.add(*tag));
        assert_eq!(
            (settled.all_before(), settled.0.len()),
            (all_before, n_ranges),
            "{tags:?}"
        );
    }

    #[test]
    fn an_acknowledgement_stands_for_those_before_it_once_all_of_them_are_settled() {
        check(&[], 0, 0);
        check(&[2, 3, 4], 0, 1);
        check(&[2, 3, 4, 1], 4, 1);
        check(&[1, 2, 4, 6], 2, 3);
        check(&[1, 2, 4, 6, 5], 2, 2);
        check(&[6, 5, 4, 2, 1, 3], 6, 1);
        check(&[1, 1, 2, 2], 2, 1);
    }
}
