//! A path of an address as a source of messages. Knows no request.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::mpsc;
use tracing::info;

use super::head::Terms;
use super::keys::HttpSourceConfig;
use super::listener::ADDRESSES;
use super::request_queue::RequestQueue;
use super::routes::Routes;
use crate::callers::TokenDigest;
use crate::config::Name;
use crate::shared_address::AddressShare;
use crate::{Delivery, OpenError, QuarantineQueue, Samples, Source, SourceError, SourceHealth};

/// A path that messages are sent to.
#[derive(Debug)]
pub(super) struct HttpSource {
    // Nothing once it has left.
    share: Option<AddressShare<Routes>>,
    requests: Arc<RequestQueue>,
    messages: mpsc::Receiver<Delivery>,
}

/// Why requests cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}")]
struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

impl HttpSource {
    /// Listens. Where the path has a pipeline already, requests go there until this one asks for messages.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub(super) async fn open(
        config: &HttpSourceConfig,
        pipeline: &Name,
        max_message_bytes: usize,
    ) -> Result<Self, OpenError> {
        let address = config.address;
        let share = ADDRESSES.share(address).await.map_err(|source| {
            let is_in_use = source.kind() == io::ErrorKind::AddrInUse;
            let error = ListenError { address, source };
            match is_in_use {
                true => OpenError::passing(error),
                false => OpenError::fatal(error),
            }
        })?;
        info!(pipeline = %pipeline, address = %share.at, path = config.path, "listening for messages");
        let terms = Terms {
            path: config.path.clone(),
            token: config.token.as_ref().map(TokenDigest::of),
            is_loopback: address.ip().to_canonical().is_loopback(),
            body_bytes_max: max_message_bytes,
            answer_within: config.answer_within,
        };
        let (requests, messages) = RequestQueue::new(terms, usize::from(config.prefetch.max(1)));
        share.on.lead_to_unless_open(&requests);
        Ok(Self {
            share: Some(share),
            requests,
            messages,
        })
    }

    /// Where it listens.
    #[cfg(test)]
    pub(super) fn address(&self) -> SocketAddr {
        self.share.as_ref().expect("it has not left").at
    }
}

impl Source for HttpSource {
    fn ready(&mut self) -> BoxFuture<'_, ()> {
        if let Some(share) = &self.share {
            share.on.lead_to(&self.requests);
        }
        ready(()).boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Delivery>, SourceError>> {
        async {
            let _asking = self.requests.asks();
            loop {
                match self.messages.recv().await {
                    // Its client is gone already.
                    Some(delivery) if delivery.ack.is_void() => {}
                    delivery => return Ok(delivery),
                }
            }
        }
        .boxed()
    }

    /// Requests in the queue are processed; new ones are answered with 503.
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
        let share = self.share.take();
        async {
            if let Some(share) = share {
                share.on.leave(&self.requests);
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
        SourceHealth::open()
    }

    fn samples(&self) -> Samples {
        let requests = Arc::clone(&self.requests);
        Arc::new(move || requests.counts.samples())
    }
}
