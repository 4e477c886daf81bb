//! A socket of ZeroMQ as a source of messages. Knows no frame.

use std::io;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info};

use super::address::Address;
use super::codec::SocketType;
use super::connection;
use super::dial::{Pauses, Target};
use super::endpoint::Endpoint;
use super::keys::{SourceSocket, ZmqSourceConfig};
use super::listener::ADDRESSES;
use super::message_queue::{MessageQueue, Terms};
use super::request::BESIDE_BODY_BYTES;
use super::wire::{Reader, WireError, Writer};
use crate::config::Name;
use crate::error_chain::ErrorChain;
use crate::shared_address::AddressShare;
use crate::{Delivery, OpenError, QuarantineQueue, Samples, Source, SourceError, SourceHealth};

/// A socket that messages come by.
#[derive(Debug)]
pub(super) struct ZmqSource {
    address: Arc<Address>,
    queue: Arc<MessageQueue>,
    messages: mpsc::Receiver<Delivery>,
    health: SourceHealth,
    way: Way,
}

/// How messages come.
#[derive(Debug)]
enum Way {
    /// Clients connect; nothing once it has left.
    Listening(Option<AddressShare<Address>>),
    /// It connects itself.
    Dialing { _task: AbortOnDropHandle<()> },
}

/// Why messages cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {endpoint}")]
struct ListenError {
    endpoint: Endpoint,
    source: io::Error,
}

impl ZmqSource {
    /// Listens, or connects. Where the address has a pipeline already, messages go there until this one asks for some.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub(super) async fn open(
        config: &ZmqSourceConfig,
        pipeline: &Name,
        max_message_bytes: usize,
    ) -> Result<Self, OpenError> {
        let socket = match config.socket {
            SourceSocket::Router => SocketType::Router,
            SourceSocket::Pull => SocketType::Pull,
            SourceSocket::Sub => SocketType::Sub,
        };
        let mut terms = Terms {
            source: config.endpoint.to_string(),
            socket,
            body_bytes_max: max_message_bytes,
            connections_max: config.connections,
        };
        let n_slots = usize::from(config.prefetch.max(1));
        let Some(at) = config.listens_at() else {
            let target = Target {
                endpoint: config.endpoint.clone(),
                socket,
                bytes_max: max_message_bytes.saturating_add(BESIDE_BODY_BYTES),
            };
            let (queue, messages) = MessageQueue::new(terms, n_slots);
            return Ok(Self::dialing(target, config.topics.clone(), queue, messages));
        };
        let share = ADDRESSES.share(at).await.map_err(|source| {
            let is_in_use = source.kind() == io::ErrorKind::AddrInUse;
            let endpoint = config.endpoint.clone();
            let error = ListenError { endpoint, source };
            match is_in_use {
                true => OpenError::passing(error),
                false => OpenError::fatal(error),
            }
        })?;
        let endpoint = config.endpoint.at_port(share.at.port());
        info!(pipeline = %pipeline, %endpoint, "listening for messages");
        terms.source = endpoint.to_string();
        let (queue, messages) = MessageQueue::new(terms, n_slots);
        share.on.lead_to_unless_open(&queue);
        Ok(Self {
            address: Arc::clone(&share.on),
            queue,
            messages,
            health: SourceHealth::open(),
            way: Way::Listening(Some(share)),
        })
    }

    fn dialing(
        target: Target,
        topics: Vec<String>,
        queue: Arc<MessageQueue>,
        messages: mpsc::Receiver<Delivery>,
    ) -> Self {
        let address = Arc::<Address>::default();
        address.lead_to_unless_open(&queue);
        let health = SourceHealth::default();
        let subscribing = subscribe(target, topics, Arc::clone(&address), health.clone());
        Self {
            address,
            queue,
            messages,
            health,
            way: Way::Dialing {
                _task: AbortOnDropHandle::new(tokio::spawn(subscribing)),
            },
        }
    }

    /// Where it listens.
    #[cfg(test)]
    pub(super) fn port(&self) -> u16 {
        match &self.way {
            Way::Listening(Some(share)) => share.at.port(),
            _ => panic!("it does not listen"),
        }
    }
}

impl Source for ZmqSource {
    fn ready(&mut self) -> BoxFuture<'_, ()> {
        self.address.lead_to(&self.queue);
        ready(()).boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Delivery>, SourceError>> {
        async {
            let _asking = self.queue.asks();
            loop {
                match self.messages.recv().await {
                    // Its clients are gone already.
                    Some(delivery) if delivery.ack.is_void() => {}
                    delivery => return Ok(delivery),
                }
            }
        }
        .boxed()
    }

    /// Messages in the queue are processed; new ones are answered with `again`.
    fn stop_consuming(&mut self) -> BoxFuture<'_, Vec<Delivery>> {
        self.messages.close();
        let mut waiting = Vec::new();
        while let Ok(delivery) = self.messages.try_recv() {
            waiting.push(delivery);
        }
        ready(waiting).boxed()
    }

    /// Waits until the answers are written.
    fn last(&mut self) -> BoxFuture<'_, Option<Delivery>> {
        let share = match &mut self.way {
            Way::Listening(share) => share.take(),
            Way::Dialing { .. } => None,
        };
        async {
            if let Some(share) = share {
                share.leave().await;
            }
            None
        }
        .boxed()
    }

    /// A client that sends a message again is not told from one that sends another.
    fn quarantine(&self) -> Option<Box<dyn QuarantineQueue>> {
        None
    }

    fn health(&self) -> SourceHealth {
        self.health.clone()
    }

    fn samples(&self) -> Samples {
        let counts = Arc::clone(&self.queue.counts);
        Arc::new(move || counts.samples())
    }
}

/// Takes what a publisher sends, and connects again whenever the connection is over.
async fn subscribe(target: Target, topics: Vec<String>, address: Arc<Address>, health: SourceHealth) {
    let mut pauses = Pauses::new();
    loop {
        health.doing(format!("connecting to {}", target.endpoint));
        let error = match target.connect().await {
            Ok((reader, writer)) => {
                info!(publisher = %target.endpoint, "subscribed");
                pauses.connected();
                health.nothing();
                health.opened();
                take(reader, writer, &topics, &address).await
            }
            Err(error) => error,
        };
        health.closed();
        let why = ErrorChain(&error).to_string();
        debug!(publisher = %target.endpoint, why, "not connected");
        health.failed(format!("the publisher {} is not connected: {why}", target.endpoint));
        pauses.wait().await;
    }
}

async fn take(reader: Reader, mut writer: Writer, topics: &[String], address: &Arc<Address>) -> WireError {
    for topic in topics {
        if let Err(error) = writer.subscribe(topic.as_bytes()).await {
            return error;
        }
    }
    connection::receive(reader, writer, address, SocketType::Sub).await
}
