//! What the tables of a file that are RabbitMQ's open, once they are checked. Reads none.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::dead_letters::QueueStore;
use super::destination::{ExchangeDestination, ReplyDestination};
pub use super::keys::{BrokerConfig, ExchangeConfig, QueueSourceConfig, ReplyConfig};
use super::publisher::UNCONFIRMED_MAX_BYTES;
use super::url::{self, BrokerEndpoint};
use super::{Broker, online, tls};
use crate::config::{Config, Secret};
use crate::{
    Away, BindDestination, Capabilities, Connect, Connection, ConnectionConfig, ConnectionName, Connections,
    DeadLetterStore, Destination, DestinationConfig, Findings, OpenError, OpenSource, Opening, Redelivery, Source,
    SourceConfig, connection_as,
};

/// The capabilities of a queue.
pub static QUEUE: Capabilities = Capabilities {
    gives_back: true,
    redelivery: Redelivery::Ambiguous, // a restart of the broker marks what was in flight, too
    ends: false,
    hands_over_ahead: true,
    names_files: false,
    takes_replies: true,
};

/// Questions to the broker that a message may wait for, one after the other: the connection, a channel, its confirms, a
/// queue that is declared again.
const ANSWERS: u32 = 4;

/// A broker that is never contacted: results are addressed as in service, and stay here.
pub(crate) const NO_BROKER: &str = "amqp://127.0.0.1:1";

/// What it takes to reach a broker.
#[derive(Debug, Clone)]
pub struct BrokerAccess {
    /// `amqp://user:password@host:port/vhost`, or `amqps://..`.
    pub amqp: Secret,
    /// The file with the authority that vouches for it; the system's where there is none.
    pub ca: Option<PathBuf>,
    /// How long it may take to answer.
    pub answer_timeout: Duration,
}

/// How a queue is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueType {
    /// Durable and replicated.
    #[default]
    Quorum,
    Classic {
        /// Whether it survives a broker restart.
        durable: bool,
    },
    /// Owned by others: it must be there, and nothing is said about its type.
    Passive,
}

impl BrokerAccess {
    /// How long a broker may take to answer where nothing is said.
    pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

    /// Where the broker listens.
    ///
    /// # Errors
    /// Says why the URL cannot be used; holds nothing secret.
    pub(super) fn endpoint(&self) -> Result<BrokerEndpoint, String> {
        url::endpoint(self.amqp.expose())
    }
}

impl BrokerConfig {
    /// What it takes to reach the broker.
    pub fn access(&self) -> BrokerAccess {
        BrokerAccess {
            amqp: self.amqp.clone(),
            ca: self.ca.clone(),
            answer_timeout: self.answer_timeout,
        }
    }
}

impl ConnectionConfig for BrokerConfig {
    /// The broker's URL with `***` for its password.
    fn shown(&self) -> String {
        url::redact(self.amqp.expose())
    }

    fn server(&self) -> String {
        url::server(self.amqp.expose())
    }

    fn body_bytes_max(&self) -> usize {
        self.max_message_bytes
    }

    fn with_body_bytes_max(&self, bytes: usize) -> Arc<dyn ConnectionConfig> {
        Arc::new(Self {
            max_message_bytes: bytes,
            ..self.clone()
        })
    }

    fn publishing_bytes(&self) -> u64 {
        u64::from(UNCONFIRMED_MAX_BYTES).max(self.max_message_bytes as u64)
    }

    fn settling_limit(&self) -> Duration {
        self.confirm_timeout + self.answer_timeout * ANSWERS
    }
}

impl Connect for BrokerConfig {
    fn start(&self, name: &ConnectionName, host_id: &str) -> Box<dyn Connection> {
        Box::new(Broker::start(self, name, host_id))
    }

    fn offline(&self) -> Box<dyn Connection> {
        Box::new(Broker::offline(&Self {
            amqp: Secret::new(NO_BROKER.to_owned()),
            ..self.clone()
        }))
    }

    fn check_files(&self) -> Result<(), (&'static str, String, &'static str)> {
        const HINT: &str = "it must be PEM, and the certificate of the authority that signed the broker's";
        let authorities = self.ca.as_deref().map(tls::authorities).transpose();
        authorities.map(drop).map_err(|error| ("ca", error.to_string(), HINT))
    }

    fn look<'a>(
        &'a self,
        name: &'a ConnectionName,
        config: &'a Config,
        findings: &'a mut Findings<'_>,
    ) -> BoxFuture<'a, Result<(), Away>> {
        online::look(self, name, config, findings).boxed()
    }
}

impl SourceConfig for QueueSourceConfig {
    fn capabilities(&self) -> &'static Capabilities {
        &QUEUE
    }

    fn prefetch(&self) -> u16 {
        self.prefetch
    }

    fn connection(&self) -> Option<&ConnectionName> {
        Some(&self.connection)
    }

    /// A broker hands over what it lets through, before the pipeline's own limit is looked at.
    fn body_bytes_max(&self, max_message_bytes: usize, connection: Option<&dyn ConnectionConfig>) -> usize {
        connection.map_or(max_message_bytes, ConnectionConfig::body_bytes_max)
    }

    fn address(&self) -> Option<&str> {
        Some(&self.queue)
    }
}

impl OpenSource for QueueSourceConfig {
    fn open<'a>(&'a self, opening: Opening<'a>) -> BoxFuture<'a, Result<Option<Box<dyn Source>>, OpenError>> {
        async move {
            let Some(broker) = connection_as::<Broker>(opening.connections, &self.connection) else {
                return Ok(None);
            };
            let mut source = broker.source(self, opening.pipeline);
            match source.subscribe().await {
                Err(error) if error.is_permanent() => Err(OpenError::fatal(error)),
                // `next` goes on trying; the reason is reported there.
                _ => Ok(Some(Box::new(source) as Box<dyn Source>)),
            }
        }
        .boxed()
    }

    fn dead_letters(&self, config: &Config) -> Result<Box<dyn DeadLetterStore>, OpenError> {
        QueueStore::of(self, config).map(|dead_letters| Box::new(dead_letters) as Box<dyn DeadLetterStore>)
    }
}

impl DestinationConfig for ExchangeConfig {
    fn connection(&self) -> Option<&ConnectionName> {
        Some(&self.connection)
    }
}

impl BindDestination for ExchangeConfig {
    fn bind(&self, _: &dyn SourceConfig, connections: &Connections) -> Result<Option<Arc<dyn Destination>>, OpenError> {
        let Some(broker) = connection_as::<Broker>(connections, &self.connection) else {
            return Ok(None);
        };
        let address = broker.address(&self.exchange, &self.routing_key, self.declare);
        let address = address.map_err(OpenError::fatal)?;
        Ok(Some(Arc::new(ExchangeDestination {
            address,
            keys: self.keys.clone(),
        })))
    }
}

impl DestinationConfig for ReplyConfig {
    fn connection(&self) -> Option<&ConnectionName> {
        Some(&self.connection)
    }
}

impl BindDestination for ReplyConfig {
    fn bind(
        &self,
        source: &dyn SourceConfig,
        connections: &Connections,
    ) -> Result<Option<Arc<dyn Destination>>, OpenError> {
        let Some(broker) = connection_as::<Broker>(connections, &self.connection) else {
            return Ok(None);
        };
        Ok(Some(Arc::new(ReplyDestination {
            address: broker.reply_address(),
            allow: self.allow.clone(),
            own_queue: source.address().map(str::to_owned),
        })))
    }
}
