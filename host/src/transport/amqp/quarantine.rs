//! The suspects of a queue: messages that a host may have ended because of, in a queue of their own. Knows how they are
//! counted and taken, not what is done with them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tracing::{debug, warn};

use super::copies;
use super::line::Channel;
use super::link::Link;
use super::properties::short;
use super::source::{ConsumerShared, QueueAck};
use super::topology::{self, TopologyError, Use, quarantine_queue_name};
use crate::isolation::ExclusiveGuard;
use crate::transport::{Delivery, QuarantineQueue};

/// How often the queue is looked at for suspects of other hosts; our own are told at once.
const LOOK: Duration = Duration::from_secs(1);

/// Takes suspects one at a time.
///
/// Gets and does not consume: a consumer is given its next message when the broker likes, and a host that ended while
/// a suspect waited for its turn would have ended with it in hand. So one is in hand only while nothing else runs.
#[derive(Debug)]
pub(super) struct SeparateQueue {
    link: Arc<Link>,
    shared: Arc<ConsumerShared>,
    queue: String,
    channel: Option<Channel>,
    was_open: bool,
}

impl SeparateQueue {
    pub(super) fn new(link: Arc<Link>, shared: Arc<ConsumerShared>) -> Self {
        Self {
            link,
            queue: quarantine_queue_name(&shared.queue.queue),
            shared,
            channel: None,
            was_open: false,
        }
    }

    /// Waits until there may be one, and its results could be published.
    async fn wait(&mut self) {
        loop {
            self.shared.publisher.open().await;
            match self.count().await {
                Ok(0) => {}
                Ok(_) => return,
                Err(error) => self.lose(&error),
            }
            tokio::select! {
                () = self.shared.newly_quarantined.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn get(&mut self) -> Result<Option<Delivery>, TopologyError> {
        let queue = short("queue", &self.queue)?;
        let got = self.channel().await?.get(queue).await;
        let got = got.map_err(|failure| topology::refused(Use::Read, "queue", &self.queue, failure))?;
        let Some(got) = got else {
            return Ok(None);
        };
        let delivery = got.delivery;
        let quarantine = self
            .shared
            .grace_inside
            .of_quarantined(delivery.redelivered, copies::crash_count(&delivery));
        Ok(Some(QueueAck::received(delivery, &self.shared, quarantine)))
    }

    async fn count(&mut self) -> Result<u32, TopologyError> {
        let queue = self.queue.clone();
        let channel = self.channel().await?;
        topology::count(channel, &queue).await
    }

    async fn channel(&mut self) -> Result<&Channel, TopologyError> {
        if self.channel.as_ref().is_some_and(|channel| !channel.is_up()) {
            self.channel = None;
        }
        let open = match self.channel.take() {
            Some(open) => open,
            None => {
                let line = self.link.line().await?;
                // Whoever deleted the queue closed the channel that looked for it.
                topology::declare_kept(&line, &self.queue).await?;
                let channel = topology::open(&line).await?;
                if std::mem::replace(&mut self.was_open, true) {
                    self.shared.grace_inside.begin();
                }
                channel
            }
        };
        Ok(self.channel.insert(open))
    }

    fn lose(&mut self, error: &TopologyError) {
        match self.channel.take() {
            Some(_) => warn!(queue = self.queue, %error, "suspects cannot be taken"),
            None => debug!(queue = self.queue, %error, "suspects cannot be taken yet"),
        }
    }
}

impl QuarantineQueue for SeparateQueue {
    fn waiting(&mut self) -> BoxFuture<'_, ()> {
        self.wait().boxed()
    }

    fn take<'a>(&'a mut self, _: &'a ExclusiveGuard) -> BoxFuture<'a, Option<Delivery>> {
        async {
            match self.get().await {
                Ok(delivery) => delivery,
                Err(error) => {
                    self.lose(&error);
                    None
                }
            }
        }
        .boxed()
    }
}
