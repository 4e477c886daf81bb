//! Dead letters in a queue: looked at without taking them, and put back where they came from. Knows no pipeline.
//!
//! Dead letters are fetched one by one (`basic.get`) on one channel and acknowledged only when their message was published
//! and confirmed. The others go back in their order, when the channel is closed or the process ends, however it ends;
//! the broker then marks them as redelivered, and a quorum queue counts that in `x-delivery-count`.

mod original;
mod place;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapin::message::Delivery;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::config::BrokerAccess;
use super::line::{self, BrokerCallError, Channel};
use super::link::{ConnectError, Link, LinkName};
use super::properties::{TooLong, plain, short};
use super::publisher::{Publish, PublishError, Publisher};
use crate::dead_letter::{DeadLetter, ORIGINAL, Sender};
use crate::digest::digest;
use crate::message::Message;

use original::NotOriginal;
pub(super) use original::Original;
pub use place::QueueStore;

/// How deep a header is shown.
const SHOWN_DEPTH: usize = 8;

/// Dead letters that go back at a time. A quorum queue takes 32 from one channel in their order; of those that come
/// before it is done with these it keeps no order.
const GIVEN_BACK: usize = 16;

/// How often the queue is polled until these are back.
const ASKED_EVERY: Duration = Duration::from_millis(2);

/// How many times.
const ASKED_MAX: u32 = 100;

/// Options that inspect a queue and declare none.
const PASSIVE: QueueDeclareOptions = QueueDeclareOptions {
    passive: true,
    durable: false,
    exclusive: false,
    auto_delete: false,
    nowait: false,
};

/// How long a message that is put back may wait for its confirm.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the acknowledgement of its dead letter may take: without one the dead letter stays.
const ACK_LIMIT: Duration = BrokerAccess::ANSWER_TIMEOUT;

/// The dead letters that are in a queue now; those that come later are left alone.
#[derive(Debug)]
pub(super) struct DeadLetters {
    link: Link,
    channel: Channel,
    queue: ShortString,
    n_left: u32,
    unsettled: Unsettled,
}

/// The delivery tags of dead letters that still belong to the queue. std Mutex: held for a step, never over an await.
type Unsettled = Arc<Mutex<BTreeSet<u64>>>;

/// A dead letter that was fetched. Dropped, it still belongs to the queue.
#[derive(Debug)]
pub(super) struct DeadLetterHandle {
    /// Its content.
    pub dead_letter: DeadLetter,
    delivery: Delivery,
    unsettled: Unsettled,
}

/// Puts messages back into queues.
#[derive(Debug)]
pub(super) struct PuttingBack {
    publisher: Publisher,
    task: JoinHandle<()>,
}

/// Why dead letters cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeadLettersError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A name does not fit.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The queue is not there, or the connection broke.
    #[error("cannot read the dead letters in `{queue}`: {why}")]
    Read {
        queue: String,
        /// The broker's words.
        why: String,
    },
}

/// Why a message was not put back; its dead letter is still in its queue.
#[derive(Debug, thiserror::Error)]
pub(super) enum PutBackError {
    /// The dead letter does not hold its original message in a readable form.
    #[error("what the message had cannot be read from `{ORIGINAL}`")]
    Original(#[from] NotOriginal),
    /// The queue's name does not fit.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// It is not known to have arrived.
    #[error("it was not put back")]
    Publish(#[from] PublishError),
    /// It arrived, and the dead letter could not be acknowledged.
    #[error("it was put back, but its dead letter stays, so it may be delivered twice: {0}")]
    Stays(String),
}

impl DeadLetters {
    /// Looks into a queue.
    ///
    /// # Errors
    /// No connection, or no such queue.
    pub(super) async fn open(access: &BrokerAccess, queue: &str) -> Result<Self, DeadLettersError> {
        let name = short("queue", queue)?;
        let link = Link::new(access.clone(), LinkName::tool("millrace dlq"));
        let failed = |failure: BrokerCallError| DeadLettersError::read(queue, &failure);
        let channel = link.line().await?.channel().await.map_err(failed)?;
        let declared = channel.declare(name.clone(), PASSIVE, FieldTable::default()).await;
        let n_left = declared.map_err(failed)?;
        Ok(Self {
            link,
            channel,
            queue: name,
            n_left,
            unsettled: Unsettled::default(),
        })
    }

    /// How many dead letters have not been read.
    pub(super) fn n_left(&self) -> u32 {
        self.n_left
    }

    /// The next dead letter; none at the end of those that were there at first.
    ///
    /// # Errors
    /// The connection broke.
    pub(super) async fn next(&mut self) -> Result<Option<DeadLetterHandle>, DeadLettersError> {
        let Some(n_left) = self.n_left.checked_sub(1) else {
            return Ok(None);
        };
        self.n_left = n_left;
        let got = self.channel.get(self.queue.clone()).await;
        let Some(message) = got.map_err(|error| DeadLettersError::read(self.queue.as_str(), &error))? else {
            return Ok(None);
        };
        let delivery = message.delivery;
        lock(&self.unsettled).insert(delivery.delivery_tag);
        Ok(Some(DeadLetterHandle {
            dead_letter: read(&delivery),
            delivery,
            unsettled: Arc::clone(&self.unsettled),
        }))
    }

    /// Gives back every dead letter that was not put back, in their order.
    ///
    /// # Errors
    /// The connection broke: then the broker takes them back by itself.
    pub(super) async fn close(self) -> Result<(), DeadLettersError> {
        let tags: Vec<u64> = lock(&self.unsettled).iter().copied().collect();
        let (mut n_ready, mut in_order) = (self.n_ready().await?, true);
        for some in tags.chunks(GIVEN_BACK) {
            let Some(last) = some.last() else { continue };
            let given_back = self.channel.give_back_up_to(*last).await;
            given_back.map_err(|error| DeadLettersError::read(self.queue.as_str(), &error))?;
            n_ready = n_ready.saturating_add(u32::try_from(some.len()).unwrap_or(u32::MAX));
            // A consumer that takes dead letters meanwhile must not keep this waiting: then their order does not matter.
            in_order = in_order && self.wait_ready(n_ready).await?;
        }
        let closed = self.channel.close().await;
        closed.map_err(|error| DeadLettersError::read(self.queue.as_str(), &error))?;
        self.link.close().await;
        Ok(())
    }

    /// Waits until the queue has this many dead letters again; returns whether it has.
    async fn wait_ready(&self, n_dead_letters: u32) -> Result<bool, DeadLettersError> {
        for _ in 0..ASKED_MAX {
            if self.n_ready().await? >= n_dead_letters {
                return Ok(true);
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
        Ok(false)
    }

    async fn n_ready(&self) -> Result<u32, DeadLettersError> {
        let declared = self.channel.declare(self.queue.clone(), PASSIVE, FieldTable::default());
        let declared = declared.await;
        declared.map_err(|error| DeadLettersError::read(self.queue.as_str(), &error))
    }
}

fn lock(unsettled: &Unsettled) -> MutexGuard<'_, BTreeSet<u64>> {
    // A set of numbers is whole even after a panic.
    unsettled.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DeadLettersError {
    fn read(queue: &str, error: &BrokerCallError) -> Self {
        Self::Read {
            queue: queue.to_owned(),
            why: error.to_string(),
        }
    }
}

impl DeadLetterHandle {
    pub(super) fn body(&self) -> &[u8] {
        &self.delivery.data
    }

    /// The original message as plugins saw it, without its body.
    ///
    /// # Errors
    /// The dead letter does not hold it in a readable form.
    pub(super) fn message(&self) -> Result<Message, NotOriginal> {
        let Original {
            routing_key,
            properties,
            ..
        } = self.original()?;
        let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string);
        let headers = properties.headers().iter().flat_map(|headers| headers.inner());
        Ok(Message {
            id: text(properties.message_id())
                .filter(|id| !id.is_empty())
                .unwrap_or_else(|| digest(self.body())),
            correlation_id: text(properties.correlation_id()),
            reply_to: text(properties.reply_to()),
            source: self.dead_letter.queue().unwrap_or_default().to_owned(),
            key: routing_key,
            attempt: self.dead_letter.attempt(),
            content_type: text(properties.content_type()),
            headers: headers
                .filter_map(|(name, value)| Some((name.to_string(), plain(value)?)))
                .collect(),
            ..Message::default()
        })
    }

    /// The original message.
    fn original(&self) -> Result<Original, NotOriginal> {
        let found = || Original::of(&self.delivery);
        match self.dead_letter.sender() {
            Sender::Millrace => Original::parse(self.dead_letter.headers.get(ORIGINAL).map_or("", String::as_str)),
            Sender::Broker => Ok(found().without_broker_headers()),
            Sender::Stranger => Ok(found()),
        }
    }
}

impl PuttingBack {
    /// Connects in the background, and again whenever the connection is gone.
    pub(super) fn start(access: &BrokerAccess) -> Self {
        let link = Arc::new(Link::new(access.clone(), LinkName::tool("millrace dlq puts back")));
        let (publisher, task) = Publisher::new(link, uuid::Uuid::new_v4().to_string(), CONFIRM_TIMEOUT);
        Self {
            publisher,
            task: tokio::spawn(task),
        }
    }

    /// Waits until the broker takes messages.
    pub(super) async fn open(&self) {
        self.publisher.open().await;
    }

    /// Publishes the message of a dead letter to a queue; when that is confirmed, the dead letter is acknowledged.
    ///
    /// # Errors
    /// The dead letter stays, and only [`PutBackError::Stays`] and an unconfirmed publish may have put the message back.
    ///
    /// # Cancellation
    /// Loses nothing: at worst the message is in both queues.
    pub(super) async fn put_back(&self, held: DeadLetterHandle, queue: &str) -> Result<(), PutBackError> {
        let properties = held.original()?.put_back(queue);
        let DeadLetterHandle {
            mut delivery,
            unsettled,
            ..
        } = held;
        let publish = Arc::new(Publish {
            exchange: "".into(),
            routing_key: short("queue", queue)?,
            mandatory: true,
            body: Arc::new(std::mem::take(&mut delivery.data)),
            properties: properties.into(),
            target_queue: None,
        });
        self.publisher.publish(&publish).await?;
        match line::ack(&delivery, ACK_LIMIT).await {
            Ok(true) => {
                lock(&unsettled).remove(&delivery.delivery_tag);
                Ok(())
            }
            Ok(false) => Err(PutBackError::Stays(
                "the channel that delivered it is closed".to_owned(),
            )),
            Err(error) => Err(PutBackError::Stays(error.to_string())),
        }
    }

    /// Closes the connection in good order.
    pub(super) async fn close(self) {
        let Self { publisher, task } = self;
        drop(publisher);
        if let Err(error) = task.await {
            tracing::error!(%error, "the publishing task panicked: a bug of Millrace, please report it");
        }
    }
}

/// Reads a dead letter. Nothing in it is trusted: a header that is not as we write it is shown as it is.
fn read(delivery: &Delivery) -> DeadLetter {
    let properties = &delivery.properties;
    let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string);
    let table = properties.headers().as_ref().map(FieldTable::inner);
    let headers = table.into_iter().flatten();
    let headers = headers.map(|(name, value)| (name.to_string(), shown(value))).collect();
    let mut dead_letter = DeadLetter {
        id: text(properties.message_id())
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| digest(&delivery.data)),
        content_type: text(properties.content_type()),
        correlation_id: text(properties.correlation_id()),
        headers,
        n_bytes: delivery.data.len() as u64,
        ..DeadLetter::default()
    };
    let original = dead_letter.headers.get(ORIGINAL);
    dead_letter.original = original.and_then(|text| serde_json::from_str(text).ok());
    if let Some(original) = &dead_letter.original {
        dead_letter.n_cut = original.get("cut_headers").and_then(Value::as_u64).unwrap_or(0);
        let names = original
            .get("cut_names")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        dead_letter.cut_names = names.filter_map(Value::as_str).map(str::to_owned).collect();
    }
    // The latest entry of several is the first.
    if let Some(AMQPValue::FieldArray(entries)) = table.and_then(|headers| headers.get("x-death"))
        && let Some(AMQPValue::FieldTable(entry)) = entries.as_slice().first()
    {
        let said = |name: &str| entry.inner().get(name).and_then(plain);
        (dead_letter.broker_queue, dead_letter.broker_reason) = (said("queue"), said("reason"));
    }
    dead_letter
}

fn shown(value: &AMQPValue) -> String {
    plain(value).unwrap_or_else(|| match original::to_tree(value, SHOWN_DEPTH) {
        Some(tree) => tree.to_string(),
        None => "(nested too deeply)".to_owned(),
    })
}
