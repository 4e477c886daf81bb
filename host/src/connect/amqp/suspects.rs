//! The suspects of a queue: messages that a host may have ended because of, in a queue of their own. Knows how they are
//! counted and taken, not what is done with them.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::BasicGetOptions;
use lapin::{Channel, Connection};
use tracing::{debug, warn};

use super::copies;
use super::link::{ConnectError, Link};
use super::properties::short;
use super::source::{Owed, Receipt};
use super::topology::{self, TopologyError, suspect_queue};
use crate::connect::Taken;

/// How often the queue is looked at for suspects of other hosts; our own are told at once.
const LOOK: Duration = Duration::from_secs(1);

/// Takes suspects one at a time.
///
/// Gets and does not consume: a consumer is given its next message when the broker likes, and a host that ended while
/// a suspect waited for its turn would have ended with it in hand. So one is in hand only while nothing else runs.
#[derive(Debug)]
pub struct Suspects {
    link: Arc<Link>,
    owed: Arc<Owed>,
    queue: String,
    channel: Option<(Arc<Connection>, Channel)>,
    was_open: bool,
}

impl Suspects {
    pub(super) fn new(link: Arc<Link>, owed: Arc<Owed>) -> Self {
        Self {
            link,
            queue: suspect_queue(&owed.queue.queue),
            owed,
            channel: None,
            was_open: false,
        }
    }

    /// Waits until there may be a suspect, and its results could be published.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn waiting(&mut self) {
        loop {
            self.owed.publisher.open().await;
            match self.count().await {
                Ok(0) => {}
                Ok(_) => return,
                Err(error) => self.lose(&error).await,
            }
            tokio::select! {
                () = self.owed.new_suspect.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Takes a suspect, if there is one now; to be called when nothing else runs.
    pub async fn take(&mut self) -> Option<Taken> {
        match self.get().await {
            Ok(taken) => taken,
            Err(error) => {
                self.lose(&error).await;
                None
            }
        }
    }

    async fn get(&mut self) -> Result<Option<Taken>, TopologyError> {
        let queue = short("queue", &self.queue)?;
        let got = self.channel().await?.basic_get(queue, BasicGetOptions::default()).await;
        let Some(got) = got.map_err(ConnectError::from)? else {
            return Ok(None);
        };
        let delivery = got.delivery;
        let suspicion = self
            .owed
            .acquittal_apart
            .of_suspect(delivery.redelivered, copies::deaths(&delivery));
        Ok(Some(Receipt::take(delivery, &self.owed, suspicion)))
    }

    async fn count(&mut self) -> Result<u32, TopologyError> {
        let queue = self.queue.clone();
        let channel = self.channel().await?;
        topology::count(channel, &queue).await
    }

    async fn channel(&mut self) -> Result<&Channel, TopologyError> {
        if self
            .channel
            .as_ref()
            .is_some_and(|(_, channel)| !channel.status().connected())
        {
            self.channel = None;
        }
        let open = match self.channel.take() {
            Some(open) => open,
            None => {
                let connection = self.link.connection().await?;
                // Whoever deleted the queue closed the channel that looked for it.
                topology::declare_kept(&connection, &self.queue).await?;
                let channel = connection.create_channel().await.map_err(ConnectError::from)?;
                if std::mem::replace(&mut self.was_open, true) {
                    self.owed.acquittal_apart.begin();
                }
                (connection, channel)
            }
        };
        Ok(&self.channel.insert(open).1)
    }

    async fn lose(&mut self, error: &TopologyError) {
        match &self.channel {
            Some(_) => warn!(queue = self.queue, %error, "suspects cannot be taken"),
            None => debug!(queue = self.queue, %error, "suspects cannot be taken yet"),
        }
        if let Some((connection, _)) = self.channel.take()
            && !connection.status().connected()
        {
            self.link.abandon(&connection).await;
        }
    }
}
