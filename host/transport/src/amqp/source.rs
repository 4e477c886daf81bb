//! A queue as a source: one consumer, made again whenever it ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use lapin::Consumer;
use lapin::message::Delivery;
use lapin::types::FieldTable;
use tokio::sync::{Notify, RwLock};
use tracing::{debug, error, info, warn};

use super::acks::{Acking, Acks};
use super::config::{self, ExchangeConfig, QueueSourceConfig, QueueType};
use super::copies;
use super::dead_letters::Original;
use super::kinds;
use super::leave;
use super::line::{self, BrokerCallError, Channel};
use super::link::{ConnectError, Link};
use super::properties::{self, Outgoing, TooLong, short};
use super::publisher::{Publish, PublishError, Publisher};
use super::quarantine::QuarantineQueues;
use super::topology::{self, TargetQueue, TopologyError, Use, quarantine_queue_name};
use crate::config::PipelineConfig;
use crate::dead_letter::{ORIGINAL, QUEUE};
use crate::hold::backoff;
use crate::message::{Envelope, Message};
use crate::redelivery_grace::RedeliveryGrace;
use crate::settle::{Delivered, Purpose, settle};
use crate::{
    AckHandle, Capabilities, Quarantine, QuarantineQueue, Settled, Settlement, Source, SourceError, SourceHealth,
};

/// The longest pause between tries to consume again.
const RESUBSCRIBE_CAP: Duration = Duration::from_secs(5);

/// How often a source without deliveries checks that the broker still answers on its channel: a heartbeat proves a
/// connection, and no consumer.
const LOOK: Duration = Duration::from_secs(15);

/// A queue as a source.
#[derive(Debug)]
pub struct QueueSource {
    link: Arc<Link>,
    shared: Arc<ConsumerShared>,
    // Those of the pipeline on the same broker.
    destinations: Vec<ExchangeConfig>,
    subscription: Option<Subscription>,
    was_subscribed: bool,
    health: SourceHealth,
}

/// The state that all acknowledgements of a queue share.
#[derive(Debug)]
pub(super) struct ConsumerShared {
    pub(super) publisher: Publisher,
    pub(super) queue: Arc<QueueSourceConfig>,
    /// The limit of sending an acknowledgement.
    ack_limit: Duration,
    max_message_bytes: usize,
    pub(super) grace: RedeliveryGrace,
    pub(super) grace_inside: RedeliveryGrace,
    pub(super) newly_quarantined: Notify,
    // Counts messages that are out: each of their acknowledgements has one.
    out: Arc<()>,
    // Read-locked to settle, write-locked to stop consuming. tokio's: held over awaits that are bounded.
    settling: RwLock<()>,
}

#[derive(Debug)]
struct Subscription {
    channel: Channel,
    consumer: Consumer,
    acks: Acks,
    _acking: Acking,
}

/// A copy of a message, ready to be published.
#[derive(Debug)]
pub(crate) struct Copy {
    queue: String,
    is_quarantined: bool,
    publish: Arc<Publish>,
}

/// One delivery in flight: settled exactly once.
#[derive(Debug)]
pub(super) struct QueueAck {
    delivery: Delivery,
    // Of its consumer; what was got alone is acknowledged alone.
    acks: Option<Acks>,
    shared: Arc<ConsumerShared>,
    is_in_quarantine: bool,
    _out: Arc<()>,
}

impl QueueSource {
    pub(super) fn new(
        link: Arc<Link>,
        publisher: Publisher,
        queue: QueueSourceConfig,
        pipeline: &PipelineConfig,
    ) -> Self {
        let destinations = pipeline.destinations.values();
        let destinations = destinations.filter_map(|destination| destination.as_kind::<ExchangeConfig>());
        let destinations = destinations.filter(|destination| destination.connection == queue.connection);
        let destinations = destinations.cloned().collect();
        let shared = ConsumerShared {
            publisher,
            queue: Arc::new(queue),
            ack_limit: link.limit(),
            max_message_bytes: pipeline.max_message_bytes,
            grace: RedeliveryGrace::new(&config::QUEUE),
            grace_inside: RedeliveryGrace::new(&config::QUEUE),
            newly_quarantined: Notify::new(),
            out: Arc::default(),
            settling: RwLock::default(),
        };
        Self {
            link,
            shared: Arc::new(shared),
            destinations,
            subscription: None,
            was_subscribed: false,
            health: SourceHealth::default(),
        }
    }

    /// Declares what is missing and begins to consume, once.
    ///
    /// # Errors
    /// Whatever the broker says; see [`TopologyError::is_permanent`].
    pub async fn subscribe(&mut self) -> Result<(), TopologyError> {
        let queue = &self.shared.queue.queue;
        self.health.doing(format!("opening queue `{queue}`"));
        let subscribed = self.try_subscribe().await;
        match &subscribed {
            Ok(_) => self.health.nothing(),
            Err(error) => self.health.failed(error.to_string()),
        }
        let subscription = subscribed?;
        info!(queue, prefetch = self.shared.queue.prefetch, "consuming");
        self.health.opened();
        if std::mem::replace(&mut self.was_subscribed, true) {
            self.shared.grace.begin();
        }
        self.subscription = Some(subscription);
        Ok(())
    }

    async fn try_subscribe(&self) -> Result<Subscription, TopologyError> {
        let line = self.link.line().await?;
        let QueueSourceConfig { queue, prefetch, .. } = &*self.shared.queue;
        topology::declare_source(&line, &self.shared.queue).await?;
        if self.shared.queue.declare == QueueType::Passive {
            kinds::accept(&line, queue, !self.was_subscribed).await?;
        }
        for destination in &self.destinations {
            let ExchangeConfig {
                exchange,
                routing_key,
                declare,
                ..
            } = destination;
            if exchange.is_empty() {
                topology::declare_destination(&line, routing_key, *declare).await?;
            } else {
                topology::expect_exchange(&line, exchange).await?;
            }
        }
        let channel = topology::open(&line).await?;
        channel.prefetch(*prefetch).await.map_err(ConnectError::from)?;
        let consumer = channel.consume(short("queue", queue)?, FieldTable::default()).await;
        let consumer = consumer.map_err(|failure| topology::refused(Use::Read, "queue", queue, failure))?;
        let (acks, acking) = Acks::new(channel.clone(), self.shared.ack_limit);
        Ok(Subscription {
            channel,
            consumer,
            acks,
            _acking: acking,
        })
    }

    /// Waits until messages can be received and their results published.
    ///
    /// # Cancellation
    /// Safe.
    async fn open_again(&mut self) {
        let mut pauses = backoff(RESUBSCRIBE_CAP);
        loop {
            self.shared.publisher.open().await;
            if self.subscription.is_some() {
                return;
            }
            if let Err(error) = self.subscribe().await {
                let pause = pauses.next().unwrap_or(RESUBSCRIBE_CAP);
                let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                match error.is_permanent() {
                    true => {
                        error!(queue = self.shared.queue.queue, %error, retry_ms, "cannot consume from the queue: correct the cause, the host goes on trying")
                    }
                    false => {
                        warn!(queue = self.shared.queue.queue, %error, retry_ms, "cannot consume from the queue yet: trying again")
                    }
                }
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// The next message, whatever happens to the broker meanwhile. Nothing is received while results cannot be published.
    async fn next_delivery(&mut self) -> crate::Delivery {
        loop {
            self.open_again().await;
            let Some(subscription) = &mut self.subscription else {
                continue;
            };
            let why = tokio::select! {
                biased; // a delivery that is there needs no timer
                delivery = subscription.consumer.next() => match delivery {
                    Some(Ok(delivery)) => {
                        let quarantine = self.shared.grace.of_ordinary(delivery.redelivered);
                        return QueueAck::received(delivery, Some(&subscription.acks), &self.shared, quarantine);
                    }
                    Some(Err(error)) => BrokerCallError::Answered(error).to_string(),
                    None => "the broker cancelled the consumer".to_owned(),
                },
                () = subscription.channel.line().over() => "the connection is gone".to_owned(),
                () = tokio::time::sleep(LOOK) => {
                    match topology::count(&subscription.channel, &self.shared.queue.queue).await {
                        Ok(_) => continue,
                        Err(error) => error.to_string(),
                    }
                }
            };
            warn!(
                queue = self.shared.queue.queue,
                why, "lost the consumer: the broker will redeliver the messages in flight"
            );
            self.health.failed(why);
            self.subscription = None;
            self.health.closed();
        }
    }

    /// Cancels the consumer, and returns the messages that were handed over before. Its channel stays open for their
    /// acknowledgements.
    async fn cancel(&mut self) -> Vec<crate::Delivery> {
        self.health.closed();
        let Some(subscription) = &mut self.subscription else {
            return Vec::new();
        };
        let Subscription { channel, consumer, .. } = subscription;
        // Every acknowledgement makes the broker hand over more, so nothing is settled meanwhile.
        let quiet = tokio::time::timeout(leave::REST_LIMIT, self.shared.settling.write()).await;
        let n_out = Arc::strong_count(&self.shared.out).saturating_sub(1);
        let n_more = usize::from(self.shared.queue.prefetch).saturating_sub(n_out);
        let delivered = leave::cancel(channel, consumer, n_more).await;
        drop(quiet);
        debug!(
            queue = self.shared.queue.queue,
            n_out,
            n_delivered = delivered.len(),
            "stopped consuming"
        );
        let acks = subscription.acks.clone();
        delivered
            .into_iter()
            .map(|delivery| self.received(delivery, &acks))
            .collect()
    }

    /// Makes sure that no acknowledgement is lost when the channel closes; a message that this brings is in flight.
    async fn flush(&mut self) -> Option<crate::Delivery> {
        let Subscription { channel, acks, .. } = self.subscription.as_ref()?;
        let delivery = leave::flush(channel, &self.shared.queue.queue).await?;
        Some(self.received(delivery, acks))
    }

    fn received(&self, delivery: Delivery, acks: &Acks) -> crate::Delivery {
        let quarantine = self.shared.grace.of_ordinary(delivery.redelivered);
        QueueAck::received(delivery, Some(acks), &self.shared, quarantine)
    }
}

impl Source for QueueSource {
    fn ready(&mut self) -> BoxFuture<'_, ()> {
        self.open_again().boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<crate::Delivery>, SourceError>> {
        self.next_delivery().map(|delivery| Ok(Some(delivery))).boxed()
    }

    fn stop_consuming(&mut self) -> BoxFuture<'_, Vec<crate::Delivery>> {
        self.cancel().boxed()
    }

    fn last(&mut self) -> BoxFuture<'_, Option<crate::Delivery>> {
        self.flush().boxed()
    }

    fn quarantine(&self) -> Option<Box<dyn QuarantineQueue>> {
        let queues = QuarantineQueues::new(Arc::clone(&self.link), Arc::clone(&self.shared));
        Some(Box::new(queues))
    }

    fn grant_grace(&self) {
        self.shared.grace.begin();
        self.shared.grace_inside.begin();
    }

    fn health(&self) -> SourceHealth {
        self.health.clone()
    }
}

impl QueueAck {
    pub(super) fn received(
        mut delivery: Delivery,
        acks: Option<&Acks>,
        shared: &Arc<ConsumerShared>,
        quarantine: Quarantine,
    ) -> crate::Delivery {
        let n_properties = properties::encoded_bytes(&delivery.properties);
        let message = properties::message(&shared.queue.queue, &mut delivery);
        let (found, allowed) = (message.body.len(), shared.max_message_bytes);
        let malformed = match properties::deadline(&delivery.properties) {
            _ if found > allowed => Some(format!(
                "the message has {found} bytes, and `max_message` allows {allowed}"
            )),
            _ if n_properties > properties::RECEIVED_BYTES_MAX => Some(format!(
                "the message's headers have {n_properties} bytes, and {} leave room for a copy",
                properties::RECEIVED_BYTES_MAX
            )),
            Err(error) => Some(error.to_string()),
            Ok(_) => None,
        };
        let ack = Self {
            delivery,
            acks: acks.cloned(),
            shared: Arc::clone(shared),
            is_in_quarantine: matches!(quarantine, Quarantine::Inside { .. }),
            _out: Arc::clone(&shared.out),
        };
        crate::Delivery {
            message,
            malformed,
            quarantine,
            ack: Box::new(ack),
        }
    }

    fn dead_letter(&self, mut envelope: Envelope) -> Result<Outgoing, TooLong> {
        let original = Original::of(&self.delivery).to_json();
        envelope.headers.insert(ORIGINAL.into(), original);
        envelope.headers.insert(QUEUE.into(), self.shared.queue.queue.clone());
        Outgoing::of(envelope)
    }
}

impl AckHandle for QueueAck {
    fn is_void(&self) -> bool {
        Delivered::is_void(self)
    }

    fn settle<'a>(self: Box<Self>, settlement: Settlement<'a>) -> BoxFuture<'a, Settled> {
        settle(*self, settlement).boxed()
    }
}

impl Delivered for QueueAck {
    type Copy = Copy;
    type Error = PublishError;

    fn capabilities(&self) -> &'static Capabilities {
        &config::QUEUE
    }

    fn is_in_quarantine(&self) -> bool {
        self.is_in_quarantine
    }

    fn is_void(&self) -> bool {
        // Its channel is gone, and the delivery with it.
        !self.delivery.acker.usable()
    }

    fn copy(&self, message: &Message, purpose: Purpose) -> Option<Copy> {
        let QueueSourceConfig { queue, dead_letter, .. } = &*self.shared.queue;
        let is_dead_letter = matches!(purpose, Purpose::DeadLetter(_));
        if !is_dead_letter && properties::encoded_bytes(&self.delivery.properties) > properties::RECEIVED_BYTES_MAX {
            return None; // with the headers of a copy they would fit into no frame
        }
        let (queue, target_queue, is_quarantined) = match &purpose {
            Purpose::DeadLetter(_) => (dead_letter.clone(), TargetQueue::Kept, false),
            Purpose::Quarantine { .. } => (quarantine_queue_name(queue), TargetQueue::Kept, true),
            Purpose::Retry { .. } | Purpose::PutBack => (
                queue.clone(),
                TargetQueue::Source(Arc::clone(&self.shared.queue)),
                false,
            ),
        };
        let properties = match purpose {
            Purpose::DeadLetter(envelope) => self.dead_letter(envelope),
            purpose => Ok(copies::copied(&self.delivery, &purpose).into()),
        };
        let publish = properties.and_then(|properties| {
            Ok(Arc::new(Publish {
                exchange: "".into(),
                routing_key: short("queue", queue.as_str())?,
                mandatory: true,
                body: Arc::clone(&message.body),
                properties,
                target_queue: Some(target_queue),
            }))
        });
        let publish = publish
            .inspect_err(|error| error!(%error, queue, "cannot copy the message: returning it to its queue"))
            .ok()?;
        Some(Copy {
            queue,
            is_quarantined,
            publish,
        })
    }

    async fn publish(&self, copy: &Copy) -> Result<(), PublishError> {
        self.shared.publisher.publish(&copy.publish).await?;
        if copy.is_quarantined {
            self.shared.newly_quarantined.notify_one();
        }
        Ok(())
    }

    async fn ack(self) -> Settled {
        let _turn = self.shared.settling.read().await;
        let answer = match &self.acks {
            Some(acks) => acks.ack(&self.delivery).await,
            None => line::ack(&self.delivery, self.shared.ack_limit).await,
        };
        settled(answer, Settled::Done)
    }

    async fn nack(self) -> Settled {
        if self.is_in_quarantine {
            // This host gave it back, and lives.
            self.shared.grace_inside.begin();
        }
        let _turn = self.shared.settling.read().await;
        let answer = match &self.acks {
            Some(acks) => acks.give_back(&self.delivery).await,
            None => line::give_back(&self.delivery, self.shared.ack_limit).await,
        };
        settled(answer, Settled::Returned)
    }
}

impl fmt::Display for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "queue `{}`", self.queue)
    }
}

/// The outcome of an acknowledgement.
fn settled(answer: Result<bool, BrokerCallError>, settled: Settled) -> Settled {
    match answer {
        Ok(true) => settled,
        Ok(false) => Settled::Lost("the channel that delivered it is closed".to_owned()),
        Err(failure) => Settled::Lost(failure.to_string()),
    }
}
