//! Exchanges and reply queues as destinations: a plugin's text becomes a routing key only where `keys` allows it. Knows no
//! connection.

use std::fmt;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::properties::Unfit;
use super::publisher::PublishError;
use super::{Address, Publication};
use crate::config::Globs;
use crate::message::{Envelope, Message, Outbound};
use crate::{DeliverError, Denied, Destination, Output, PendingOutput};

/// An exchange.
#[derive(Debug)]
pub(super) struct ExchangeDestination {
    /// Exchange and default key.
    pub(super) address: Address,
    /// Keys that a plugin may choose.
    pub(super) keys: Option<Globs>,
}

/// Where the message asked for its answer.
#[derive(Debug)]
pub(super) struct ReplyDestination {
    /// The default exchange, without a key yet.
    pub(super) address: Address,
    /// Reply queues that a message may ask for.
    pub(super) allow: Globs,
    /// The pipeline's own queue: an answer into it would be the next question, without end.
    pub(super) own_queue: Option<String>,
}

/// A result for the broker.
#[derive(Debug)]
struct Published {
    publication: Publication,
    /// Whether the client asked for it: where its queue is gone, the reply is dropped, by policy.
    droppable: bool,
}

impl Destination for ExchangeDestination {
    fn address(&self, _: &Message, outbound: Outbound, _: usize, envelope: Envelope) -> Result<PendingOutput, Denied> {
        let Outbound {
            destination, key, body, ..
        } = outbound;
        match (&self.keys, key) {
            (_, None) => published(self.address.clone(), body, envelope, false),
            (Some(keys), Some(key)) if keys.is_match(&key) => match self.address.with_key(&key) {
                Ok(address) => published(address, body, envelope, false),
                Err(length) => Err(Denied::UnfitKey {
                    key,
                    why: length.to_string(),
                }),
            },
            (_, Some(key)) => Err(Denied::Key { destination, key }),
        }
    }
}

impl Destination for ReplyDestination {
    fn address(
        &self,
        message: &Message,
        outbound: Outbound,
        _: usize,
        envelope: Envelope,
    ) -> Result<PendingOutput, Denied> {
        let Outbound {
            destination, key, body, ..
        } = outbound;
        if let Some(key) = key {
            return Err(Denied::Key { destination, key });
        }
        match &message.reply_to {
            None => Err(Denied::NoReplyTo { destination }),
            Some(reply_to) if self.allow.is_match(reply_to) && self.own_queue.as_ref() != Some(reply_to) => {
                let address = self.address.reply_to(reply_to);
                let address = address.map_err(|length| Denied::UnfitReplyTo(length.to_string()))?;
                published(address, body, envelope, true)
            }
            Some(reply_to) => Err(Denied::ReplyTo {
                destination,
                reply_to: reply_to.clone(),
            }),
        }
    }
}

fn published(address: Address, body: Vec<u8>, envelope: Envelope, droppable: bool) -> Result<PendingOutput, Denied> {
    let publication = address.publication(body, envelope).map_err(crate::Unfit::from)?;
    Ok(Box::new(Published { publication, droppable }))
}

impl Output for Published {
    fn send(&self) -> BoxFuture<'_, Result<(), DeliverError>> {
        async {
            match self.publication.publish().await {
                Err(error @ (PublishError::Unroutable { .. } | PublishError::Nowhere { .. })) if self.droppable => {
                    tracing::info!(%error, "dropped a reply: the client that asked for it is gone");
                    Ok(())
                }
                published => published.map_err(DeliverError::new),
            }
        }
        .boxed()
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.publication.fmt(f)
    }
}

impl From<Unfit> for crate::Unfit {
    fn from(unfit: Unfit) -> Self {
        let why = unfit.to_string();
        match unfit {
            Unfit::Body { found, .. } => Self::Body { found, why },
            Unfit::TooLong(_) | Unfit::Headers { .. } => Self::Envelope(why),
        }
    }
}
