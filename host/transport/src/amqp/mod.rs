//! RabbitMQ, over AMQP 0-9-1: the only module that knows lapin. Knows nothing of plugins, models or order.
//!
//! Two connections: one consumes, one publishes, because a blocked connection writes nothing, not even
//! acknowledgements. A third is for answers to addresses that the broker looks into, where a pipeline gives answers. All
//! are reconnected without end; nothing survives a connection but the configuration.

mod acks;
mod check;
mod client;
mod config;
mod copies;
mod dead_letters;
mod destination;
mod direct;
mod guard;
mod inspect;
mod keys;
mod kinds;
mod leave;
mod line;
mod link;
mod login;
mod online;
mod properties;
mod publish_channel;
mod publisher;
mod quarantine;
mod refusal;
mod socket;
mod socket_handle;
mod source;
mod status;
mod tls;
mod topology;
mod traffic;
mod url;

#[cfg(test)]
mod fuzz;

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::task::JoinHandle;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

pub use client::{ClientError, Taking, receive, send};
pub use config::{BrokerAccess, BrokerConfig, ExchangeConfig, QUEUE, QueueSourceConfig, QueueType, ReplyConfig};
pub use dead_letters::QueueStore;
pub use line::BrokerCallError;
pub use link::ConnectError;
pub use properties::{TooLong, Unfit};
pub use publisher::PublishError;
pub use tls::TlsError;
use topology::TargetQueue;
pub use topology::TopologyError;

use crate::config::ConnectionName;
use crate::config::PipelineConfig;
use crate::message::Envelope;
use crate::{Connection, ConnectionWatch, OpenError, Registered};
use direct::DirectReplies;
use link::{Link, LinkName};
use properties::{Outgoing, short};
use publisher::{Publish, Publisher};
use source::QueueSource;
use status::ConnectionMonitor;

/// RabbitMQ, registered.
pub const REGISTERED: Registered = Registered {
    transport: &keys::TRANSPORT,
    source: |source| Some(source.as_kind::<QueueSourceConfig>()?),
    destination: |destination| match destination.as_kind::<ExchangeConfig>() {
        Some(exchange) => Some(exchange),
        None => Some(destination.as_kind::<ReplyConfig>()?),
    },
    connection: |connection| Some(connection.as_kind::<BrokerConfig>()?),
    metrics: &status::METRICS,
};

/// The broker: what all pipelines of a host share.
#[derive(Debug)]
pub struct Broker {
    consuming: Arc<Link>,
    publishing: Arc<Link>,
    publisher: Publisher,
    publishing_task: JoinHandle<()>,
    // Made for the first pipeline that gives answers.
    replies: OnceLock<(Arc<DirectReplies>, JoinHandle<()>)>,
    access: BrokerConfig,
    name: ConnectionName,
    host_id: String,
    is_offline: bool,
    max_message_bytes: usize,
}

/// Where on the broker a result goes: checked, not yet sent.
#[derive(Debug, Clone)]
pub struct Address {
    publisher: Publisher,
    exchange: lapin::types::ShortString,
    routing_key: lapin::types::ShortString,
    mandatory: bool,
    max_message_bytes: usize,
    target_queue: Option<TargetQueue>,
    // Set where the message gives the key, which may be a direct reply-to address.
    replies: Option<Arc<DirectReplies>>,
}

/// A result that is ready to be published, again and again until it is confirmed.
#[derive(Debug)]
pub struct Publication {
    publisher: Publisher,
    publish: Arc<Publish>,
    replies: Option<Arc<DirectReplies>>,
}

impl Broker {
    /// Starts the publishing task; connects in the background.
    pub fn start(config: &BrokerConfig, name: &ConnectionName, host_id: &str) -> Self {
        let link = |role| Arc::new(Link::new(config.access(), LinkName::of_host(name, host_id, role)));
        let publishing = link("publishes");
        let (publisher, task) = Publisher::new(Arc::clone(&publishing), host_id.to_owned(), config.confirm_timeout);
        Self {
            consuming: link("consumes"),
            publishing,
            publisher,
            publishing_task: tokio::spawn(task),
            replies: OnceLock::new(),
            access: config.clone(),
            name: name.clone(),
            host_id: host_id.to_owned(),
            is_offline: false,
            max_message_bytes: config.max_message_bytes,
        }
    }

    /// A broker that is never contacted: it makes addresses, and connects nowhere.
    pub fn offline(config: &BrokerConfig) -> Self {
        let host_id = "offline";
        let link = Arc::new(Link::new(config.access(), LinkName::tool("millrace offline")));
        let (publisher, _) = Publisher::new(Arc::clone(&link), host_id.to_owned(), config.confirm_timeout);
        Self {
            consuming: Arc::clone(&link),
            publishing: link,
            publisher,
            publishing_task: tokio::spawn(std::future::ready(())),
            replies: OnceLock::new(),
            access: config.clone(),
            name: ConnectionName::default(),
            host_id: host_id.to_owned(),
            is_offline: true,
            max_message_bytes: config.max_message_bytes,
        }
    }

    /// A queue as a source, not yet subscribed.
    pub fn source(&self, queue: &QueueSourceConfig, pipeline: &PipelineConfig) -> QueueSource {
        QueueSource::new(
            Arc::clone(&self.consuming),
            self.publisher.clone(),
            queue.clone(),
            pipeline,
        )
    }

    /// An exchange and a key as an address; on the default exchange `declare` says how the queue that the key names is
    /// declared when it is gone.
    ///
    /// # Errors
    /// When one of them does not fit into 255 bytes.
    pub fn address(&self, exchange: &str, routing_key: &str, declare: QueueType) -> Result<Address, TooLong> {
        let target_queue = exchange.is_empty().then_some(TargetQueue::Destination(declare));
        let (exchange, routing_key) = (short("exchange", exchange)?, short("routing key", routing_key)?);
        Ok(Address {
            publisher: self.publisher.clone(),
            exchange,
            routing_key,
            mandatory: true,
            max_message_bytes: self.max_message_bytes,
            target_queue,
            replies: None,
        })
    }

    /// The default exchange, for answers: the message says the key.
    pub fn reply_address(&self) -> Address {
        let (replies, _) = self.replies.get_or_init(|| {
            let name = LinkName::of_host(&self.name, &self.host_id, "replies");
            let link = Link::new(self.access.access(), name);
            let nonces = format!("{}-replies", self.host_id);
            let (publisher, task) = Publisher::new(Arc::new(link), nonces, self.access.confirm_timeout);
            let task = match self.is_offline {
                true => tokio::spawn(std::future::ready(())),
                false => tokio::spawn(task),
            };
            (Arc::new(DirectReplies::new(publisher)), task)
        });
        Address {
            publisher: self.publisher.clone(),
            exchange: "".into(),
            routing_key: "".into(),
            mandatory: true,
            max_message_bytes: self.max_message_bytes,
            target_queue: None,
            replies: Some(Arc::clone(replies)),
        }
    }
}

impl Connection for Broker {
    fn watch(&self) -> Arc<dyn ConnectionWatch> {
        Arc::new(ConnectionMonitor {
            consuming: Arc::clone(&self.consuming),
            publishing: Arc::clone(&self.publishing),
            state: self.publisher.state(),
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), OpenError>> {
        async {
            self.publishing
                .line()
                .await
                .map(drop)
                .map_err(|error| match error.is_permanent() {
                    true => OpenError::fatal(error),
                    false => OpenError::passing(error),
                })
        }
        .boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        let Self {
            consuming,
            publisher,
            publishing_task,
            replies,
            ..
        } = *self;
        async move {
            consuming.close().await;
            drop(publisher);
            let replies_task = replies.into_inner().map(|(_, task)| task);
            for task in std::iter::once(publishing_task).chain(replies_task) {
                if let Err(error) = task.await {
                    tracing::error!(%error, "a publishing task panicked: a bug of Millrace, please report it with this log");
                }
            }
        }
        .boxed()
    }
}

impl Address {
    /// The same exchange with another key.
    ///
    /// # Errors
    /// When the key does not fit into 255 bytes.
    pub fn with_key(&self, routing_key: &str) -> Result<Self, TooLong> {
        Ok(Self {
            routing_key: short("routing key", routing_key)?,
            // A key that a plugin or a client chose is no queue of the file.
            target_queue: None,
            ..self.clone()
        })
    }

    /// A reply queue. A direct reply is published without `mandatory`: the broker returns one even when it delivers it.
    ///
    /// # Errors
    /// When it does not fit into 255 bytes.
    pub fn reply_to(&self, reply_to: &str) -> Result<Self, TooLong> {
        let is_direct = reply_to.starts_with(direct::PREFIX);
        Ok(Self {
            mandatory: !is_direct,
            replies: self.replies.clone().filter(|_| is_direct),
            ..self.with_key(reply_to)?
        })
    }

    /// Puts a result into its envelope.
    ///
    /// # Errors
    /// When the body, the headers or a name do not fit: the broker would close the channel, or the connection, over them.
    pub fn publication(self, body: Vec<u8>, envelope: Envelope) -> Result<Publication, Unfit> {
        let Self {
            publisher,
            exchange,
            routing_key,
            mandatory,
            max_message_bytes,
            target_queue,
            replies,
        } = self;
        let properties = Outgoing::of(envelope)?;
        properties::check_fit(&body, &properties, max_message_bytes)?;
        Ok(Publication {
            publisher,
            publish: Arc::new(Publish {
                exchange,
                routing_key,
                mandatory,
                body: Arc::new(body),
                properties,
                target_queue,
            }),
            replies,
        })
    }
}

impl Publication {
    /// Publishes it and waits for the confirm.
    ///
    /// # Errors
    /// Whenever it is not known to have arrived; it may have.
    pub async fn publish(&self) -> Result<(), PublishError> {
        match &self.replies {
            Some(replies) => replies.publish(&self.publish).await,
            None => self.publisher.publish(&self.publish).await,
        }
    }
}

impl fmt::Display for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (exchange, key) = (&self.publish.exchange, self.publish.routing_key.as_str());
        match exchange.as_str() {
            "" => write!(f, "queue `{}`", key.escape_debug()),
            exchange => write!(f, "exchange `{}`, key {key:?}", exchange.escape_debug()),
        }
    }
}
