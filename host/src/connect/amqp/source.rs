//! A queue as a source: one consumer, made again whenever it ends.

use std::sync::Arc;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use tracing::{error, info, warn};

use super::link::{ConnectError, Link};
use super::properties::{self, ORIGINAL, Purpose, TooLong, short};
use super::publisher::{Publish, Publisher};
use super::topology::{self, TopologyError};
use crate::config::{DestinationConfig, PipelineConfig, QueueSource};
use crate::connect::hold::{GaveUp, Hold, backoff};
use crate::connect::{self, Settled, Suspicion, Taken};
use crate::failpoints::{self, Place};
use crate::message::{Envelope, Message};

/// How far apart the tries to consume again may grow.
const RESUBSCRIBE_CAP: std::time::Duration = std::time::Duration::from_secs(10);

/// A queue that messages are taken from.
#[derive(Debug)]
pub struct Source {
    link: Arc<Link>,
    publisher: Publisher,
    queue: Arc<QueueSource>,
    destinations: Vec<DestinationConfig>,
    max_message_bytes: usize,
    subscription: Option<Subscription>,
}

#[derive(Debug)]
struct Subscription {
    connection: Arc<Connection>,
    // The channel closes when its last handle is dropped, and the consumer with it.
    _channel: Channel,
    consumer: Consumer,
}

/// One delivery in hand: settled exactly once.
#[derive(Debug)]
pub struct Receipt {
    delivery: Delivery,
    publisher: Publisher,
    queue: Arc<QueueSource>,
}

impl Source {
    pub(super) fn new(link: Arc<Link>, publisher: Publisher, queue: QueueSource, pipeline: &PipelineConfig) -> Self {
        let destinations = pipeline.destinations.values().cloned().collect();
        let max_message_bytes = pipeline.max_message_bytes;
        Self {
            link,
            publisher,
            queue: Arc::new(queue),
            destinations,
            max_message_bytes,
            subscription: None,
        }
    }

    /// Declares what is missing and begins to consume, once.
    ///
    /// # Errors
    /// Whatever the broker says; see [`TopologyError::is_permanent`].
    pub async fn subscribe(&mut self) -> Result<(), TopologyError> {
        let connection = self.link.connection().await?;
        topology::declare_source(&connection, &self.queue).await?;
        for destination in &self.destinations {
            if let DestinationConfig::Exchange {
                exchange,
                routing_key,
                declare,
                ..
            } = destination
            {
                if exchange.is_empty() {
                    topology::declare_destination(&connection, routing_key, *declare).await?;
                } else {
                    topology::expect_exchange(&connection, exchange).await?;
                }
            }
        }
        let queue = short("queue", &self.queue.queue)?;
        let channel = connection.create_channel().await.map_err(ConnectError::from)?;
        channel
            .basic_qos(self.queue.prefetch, BasicQosOptions::default())
            .await
            .map_err(ConnectError::from)?;
        let consumer = channel
            .basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default())
            .await
            .map_err(ConnectError::from)?;
        info!(queue = self.queue.queue, prefetch = self.queue.prefetch, "consuming");
        self.subscription = Some(Subscription {
            connection,
            _channel: channel,
            consumer,
        });
        Ok(())
    }

    /// Waits until messages can be taken and their results published.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn ready(&mut self) {
        let mut pauses = backoff(RESUBSCRIBE_CAP);
        loop {
            self.publisher.open().await;
            if self.subscription.is_some() {
                return;
            }
            if let Err(error) = self.subscribe().await {
                let pause = pauses.next().unwrap_or(RESUBSCRIBE_CAP);
                let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                match error.is_permanent() {
                    true => error!(queue = self.queue.queue, %error, retry_ms, "cannot consume"),
                    false => warn!(queue = self.queue.queue, %error, retry_ms, "cannot consume yet"),
                }
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// The next message, whatever happens to the broker meanwhile. Nothing is taken while results cannot be published.
    ///
    /// # Cancellation
    /// Safe: a delivery that was not handed out is the broker's.
    pub async fn next(&mut self) -> Taken {
        loop {
            self.ready().await;
            let Some(subscription) = &mut self.subscription else {
                continue;
            };
            let why = match subscription.consumer.next().await {
                Some(Ok(mut delivery)) => {
                    let message = properties::message(&self.queue.queue, &mut delivery);
                    let (publisher, queue) = (self.publisher.clone(), Arc::clone(&self.queue));
                    let receipt = connect::Receipt::Amqp(Box::new(Receipt {
                        delivery,
                        publisher,
                        queue,
                    }));
                    let malformed = self.oversize(&message);
                    return Taken {
                        message,
                        malformed,
                        suspicion: Suspicion::None,
                        receipt,
                    };
                }
                Some(Err(error)) => error.to_string(),
                None => "the broker cancelled the consumer".to_owned(),
            };
            warn!(
                queue = self.queue.queue,
                why, "consuming ended: what is in flight will be delivered again"
            );
            if !subscription.connection.status().connected() {
                let connection = Arc::clone(&subscription.connection);
                self.link.abandon(&connection).await;
            }
            self.subscription = None;
        }
    }

    fn oversize(&self, message: &Message) -> Option<String> {
        let (found, allowed) = (message.body.len(), self.max_message_bytes);
        (found > allowed).then(|| format!("the message has {found} bytes, and `max_message` allows {allowed}"))
    }
}

impl Receipt {
    /// Tells the broker that the message is dealt with.
    pub async fn ack(self) -> Settled {
        match self.delivery.acker.ack(BasicAckOptions::default()).await {
            Ok(true) => Settled::Done,
            Ok(false) => Settled::Lost("its channel is gone".to_owned()),
            Err(error) => Settled::Lost(error.to_string()),
        }
    }

    /// Gives the message back as it was.
    pub async fn give_back(self) -> Settled {
        match self
            .delivery
            .acker
            .nack(BasicNackOptions {
                requeue: true,
                multiple: false,
            })
            .await
        {
            Ok(true) => Settled::Returned,
            Ok(false) => Settled::Lost("its channel is gone".to_owned()),
            Err(error) => Settled::Lost(error.to_string()),
        }
    }

    /// Publishes the dead letter, then acknowledges.
    pub async fn reject(self, message: &Message, mut envelope: Envelope, hold: &Hold) -> Settled {
        let routing_key = self.delivery.routing_key.as_str();
        let original = properties::original(self.delivery.exchange.as_str(), routing_key, &self.delivery.properties);
        envelope.headers.insert(ORIGINAL.to_owned(), original);
        let properties = properties::outgoing(&envelope);
        let queue = self.queue.dead_letter.clone();
        self.move_to(queue, message, properties, hold).await
    }

    /// Publishes a copy with its attempt raised, then acknowledges.
    pub async fn retry(self, message: &Message, hold: &Hold) -> Settled {
        let attempt = message.attempt.saturating_add(1);
        let properties = Ok(properties::copied(&self.delivery, Purpose::Retry { attempt }));
        let queue = self.queue.queue.clone();
        self.move_to(queue, message, properties, hold).await
    }

    /// Publishes a copy to where suspects wait, then acknowledges.
    pub async fn quarantine(self, message: &Message, deaths: u32, hold: &Hold) -> Settled {
        let properties = Ok(properties::copied(&self.delivery, Purpose::Quarantine { deaths }));
        let queue = topology::suspect_queue(&self.queue.queue);
        self.move_to(queue, message, properties, hold).await
    }

    async fn move_to(
        self,
        queue: String,
        message: &Message,
        properties: Result<lapin::BasicProperties, TooLong>,
        hold: &Hold,
    ) -> Settled {
        let publish = properties.and_then(|properties| {
            let routing_key = short("queue", &queue)?;
            let body = message.body.clone();
            Ok(Arc::new(Publish {
                exchange: "".into(),
                routing_key,
                mandatory: true,
                body,
                properties,
            }))
        });
        let publish = match publish {
            Ok(publish) => publish,
            Err(error) => {
                error!(%error, queue, "a copy cannot be published: the message goes back");
                return self.give_back().await;
            }
        };
        failpoints::pass(Place::Copy, &message.id).await;
        match hold
            .until_done(format!("queue `{queue}`"), || self.publisher.publish(&publish))
            .await
        {
            Ok(()) => {
                failpoints::pass(Place::Copied, &message.id).await;
                self.ack().await
            }
            Err(GaveUp) => self.give_back().await,
        }
    }
}
