//! The quarantine queues of a source: messages that were in flight when a host crashed. Knows how they are counted and
//! got, not what is done with them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::copies::{self, CRASH_COUNT, FORMER_CRASH_COUNT};
use super::line::Channel;
use super::link::Link;
use super::properties::short;
use super::source::{ConsumerShared, QueueAck};
use super::topology::{self, TopologyError, Use, former_quarantine_queue_name, quarantine_queue_name};
use crate::isolation::ExclusiveGuard;
use crate::{Delivery, QuarantineQueue};

/// How often the queue is polled for messages that other hosts quarantined; for our own the wait ends at once.
const LOOK: Duration = Duration::from_secs(1);

/// How often the queue of older hosts is looked for while it is missing. An older host that starts later declares it, and
/// empties it while it lives. The broker logs an error for each look at a missing queue, so they are rare.
const FORMER_LOOK: Duration = Duration::from_secs(600);

/// Gets quarantined messages one at a time.
///
/// Gets and does not consume: a broker hands a consumer its next message when it likes, and a host that crashed while
/// that one waited for its turn would have it in flight. So one is in flight only while nothing else runs.
#[derive(Debug)]
pub(super) struct QuarantineQueues {
    shared: Arc<ConsumerShared>,
    current: Getter,
    // Of older hosts: messages that they left, and those that they still put there during a rolling upgrade.
    former: Getter,
    former_presence: Presence,
}

/// Whether the queue of older hosts is there.
#[derive(Debug, Clone, Copy)]
enum Presence {
    There,
    // Not looked for before this.
    MissingUntil(Instant),
}

/// One queue, and the channel on which messages are got from it.
#[derive(Debug)]
struct Getter {
    link: Arc<Link>,
    queue: String,
    // The headers that count crashes there, the first of them first.
    crash_counts: &'static [&'static str],
    // Whether it is declared where it is missing.
    is_declared: bool,
    channel: Option<Channel>,
    // Whether the queue was reached on a channel before this one.
    was_open: bool,
}

impl QuarantineQueues {
    pub(super) fn new(link: Arc<Link>, shared: Arc<ConsumerShared>) -> Self {
        let source = &shared.queue.queue;
        let current = Getter {
            link: Arc::clone(&link),
            queue: quarantine_queue_name(source),
            crash_counts: &[CRASH_COUNT, FORMER_CRASH_COUNT],
            is_declared: true,
            channel: None,
            was_open: false,
        };
        let former = Getter {
            link,
            queue: former_quarantine_queue_name(source),
            crash_counts: &[FORMER_CRASH_COUNT],
            is_declared: false,
            channel: None,
            was_open: false,
        };
        Self {
            shared,
            current,
            former,
            former_presence: Presence::MissingUntil(Instant::now()),
        }
    }

    /// Waits until a message may be there, and its results could be published.
    async fn wait(&mut self) {
        loop {
            self.shared.publisher.open().await;
            let (n_current, n_former) = (self.count_current().await, self.count_former().await);
            if n_current > 0 || n_former > 0 {
                return;
            }
            tokio::select! {
                () = self.shared.newly_quarantined.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn count_current(&mut self) -> u32 {
        let was_up = self.current.channel.as_ref().is_some_and(Channel::is_up);
        match self.current.count(&self.shared).await {
            Ok(n_ready) => {
                if let (false, Presence::MissingUntil(until)) = (was_up, &mut self.former_presence) {
                    // The broker may have been away for long, or be another.
                    *until = Instant::now();
                }
                n_ready
            }
            Err(error) => {
                self.current.lose(&error);
                0
            }
        }
    }

    async fn count_former(&mut self) -> u32 {
        let was_there = match self.former_presence {
            Presence::There => true,
            Presence::MissingUntil(until) if Instant::now() < until => return 0,
            Presence::MissingUntil(_) => false,
        };
        match self.former.count(&self.shared).await {
            Ok(n_ready) => {
                if !was_there {
                    info!(
                        queue = self.former.queue,
                        n_ready,
                        "found the quarantine queue of older hosts: its messages run alone, too; delete it when no older host runs and it is empty"
                    );
                }
                self.former_presence = Presence::There;
                n_ready
            }
            Err(error) => {
                self.lose_former(&error);
                0
            }
        }
    }

    /// Gets the next message, those of older hosts first.
    async fn get(&mut self) -> Option<Delivery> {
        if let Presence::There = self.former_presence {
            match self.former.get(&self.shared).await {
                Ok(Some(delivery)) => return Some(delivery),
                Ok(None) => {}
                Err(error) => self.lose_former(&error),
            }
        }
        match self.current.get(&self.shared).await {
            Ok(delivery) => delivery,
            Err(error) => {
                self.current.lose(&error);
                None
            }
        }
    }

    fn lose_former(&mut self, error: &TopologyError) {
        match error {
            TopologyError::Missing { .. } => {
                (self.former.channel, self.former.was_open) = (None, false);
                self.former_presence = Presence::MissingUntil(Instant::now() + FORMER_LOOK);
            }
            error => self.former.lose(error),
        }
    }
}

impl Getter {
    async fn get(&mut self, shared: &Arc<ConsumerShared>) -> Result<Option<Delivery>, TopologyError> {
        let queue = short("queue", &self.queue)?;
        let got = self.channel(shared).await?.get(queue).await;
        let got = got.map_err(|failure| topology::refused(Use::Read, "queue", &self.queue, failure))?;
        self.was_open = true;
        let Some(got) = got else {
            return Ok(None);
        };
        let delivery = got.delivery;
        let crash_count = copies::crash_count(&delivery, self.crash_counts);
        let quarantine = shared.grace_inside.of_quarantined(delivery.redelivered, crash_count);
        Ok(Some(QueueAck::received(delivery, None, shared, quarantine)))
    }

    async fn count(&mut self, shared: &ConsumerShared) -> Result<u32, TopologyError> {
        let queue = self.queue.clone();
        let channel = self.channel(shared).await?;
        let n_ready = topology::count(channel, &queue).await?;
        self.was_open = true;
        Ok(n_ready)
    }

    async fn channel(&mut self, shared: &ConsumerShared) -> Result<&Channel, TopologyError> {
        if self.channel.as_ref().is_some_and(|channel| !channel.is_up()) {
            self.channel = None;
        }
        let open = match self.channel.take() {
            Some(open) => open,
            None => {
                let line = self.link.line().await?;
                if self.is_declared {
                    // The broker closes the channel when the queue is deleted.
                    topology::declare_kept(&line, &self.queue).await?;
                }
                let channel = topology::open(&line).await?;
                if self.was_open {
                    // A message that was in flight on the channel before comes again, and this host lives.
                    shared.grace_inside.begin();
                }
                channel
            }
        };
        Ok(self.channel.insert(open))
    }

    fn lose(&mut self, error: &TopologyError) {
        match self.channel.take() {
            Some(_) => {
                warn!(queue = self.queue, %error, "lost the channel to the quarantine queue: opening another every second until one works")
            }
            None => debug!(queue = self.queue, %error, "cannot reach the quarantine queue yet"),
        }
    }
}

impl QuarantineQueue for QuarantineQueues {
    fn waiting(&mut self) -> BoxFuture<'_, ()> {
        self.wait().boxed()
    }

    fn take<'a>(&'a mut self, _: &'a ExclusiveGuard) -> BoxFuture<'a, Option<Delivery>> {
        self.get().boxed()
    }
}
