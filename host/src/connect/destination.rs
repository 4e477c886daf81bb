//! Destinations: what a router may address, and how a result gets there. A plugin names a destination; only this
//! room turns the name into an exchange, a queue or a file.

use std::fmt;
use std::path::PathBuf;

use super::amqp::{self, Broker, PublishError, TooLong};
use super::folder::{self, FolderError};
use crate::config::{DestinationConfig, Globs, SourceConfig};
use crate::disposition::ReasonClass;
use crate::message::{Envelope, Message, Outbound};

/// A destination as `plugins.toml` declares it, bound to what it needs.
#[derive(Debug, Clone)]
pub enum Destination {
    /// An exchange.
    Exchange {
        /// Exchange and default key.
        address: amqp::Address,
        /// Keys that a plugin may choose.
        keys: Option<Globs>,
    },
    /// Where the message asked for its answer.
    Reply {
        /// The default exchange, without a key yet.
        address: amqp::Address,
        /// Reply queues that a message may ask for.
        allow: Globs,
        /// The pipeline's own queue: an answer into it would be the next question, for ever.
        own_queue: Option<String>,
    },
    /// A folder.
    Folder {
        /// Where files are written.
        folder: PathBuf,
        /// Whether a message's key is a file's name, which names its results too.
        key_is_name: bool,
    },
}

/// A result that is addressed, checked and enveloped; sent until it is confirmed.
#[derive(Debug)]
pub enum PendingOutput {
    /// For the broker.
    Amqp {
        /// The result.
        pending_output: amqp::PendingPublish,
        /// Whether a queue that is gone is the asker's business: its reply is dropped, by policy.
        droppable: bool,
    },
    /// For a folder.
    Folder {
        /// Where it is written.
        folder: PathBuf,
        /// The file's name.
        name: String,
        /// The result.
        body: Vec<u8>,
        /// Its properties and headers.
        envelope: Box<Envelope>,
    },
    /// The simulator's.
    #[cfg(test)]
    Simulated(crate::simulation::PendingOutput),
}

/// A result that may not go where its plugin, or its message, wants it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The plugin chose a key that the destination does not allow.
    #[error("destination `{destination}` does not allow the key {key:?}: its `keys` say which it allows")]
    Key {
        /// The destination.
        destination: String,
        /// The key, untrusted.
        key: String,
    },
    /// The message asks for no reply.
    #[error(
        "destination `{destination}` sends an answer, and the message does not say where to: its publisher must set the \
         property `reply-to`"
    )]
    NoReplyTo {
        /// The destination.
        destination: String,
    },
    /// The message asks for a reply where none may go.
    #[error(
        "destination `{destination}` does not allow a reply to {reply_to:?}, which the message asks for: its patterns say \
         which queues may be asked for"
    )]
    ReplyTo {
        /// The destination.
        destination: String,
        /// Where the message asked for its answer, untrusted.
        reply_to: String,
    },
    /// The message asks for a reply to a queue with a name that is longer than any.
    #[error("the message asks for a reply where none can go: {0}")]
    LongReplyTo(TooLong),
    /// The key that the plugin chose is longer than any key.
    #[error("{length}")]
    LongKey {
        /// The key, untrusted.
        key: String,
        /// How long it is.
        length: TooLong,
    },
    /// The broker would not take it.
    #[error("the result cannot be published")]
    Unfit(#[from] amqp::Unfit),
}

/// A result may be this many times as large as its message, and its size still be the message's: Base64 makes four bytes
/// of three, and JSON has something around it.
pub const GROWTH_MAX: usize = 2;

impl Denied {
    /// The class of what happened, which says whose choice it was.
    ///
    /// What a publisher chooses must not be charged to a plugin: a few messages in a row could open the pipeline's breaker,
    /// or undo a version on trial. So only what the plugin chose is `denied`:
    ///
    /// | what may not be | chosen by the plugin | chosen by the message |
    /// |---|---|---|
    /// | a reply | never | always (`unanswerable`): the plugin named a destination that the file declares |
    /// | a key | else | where the message says it in so many words (`undeliverable`) |
    /// | a destination that the pipeline does not declare | else | where the message says its name |
    /// | a header of the host's or the broker's | else | where the message has a header of that name |
    /// | a body that the broker does not take | else | where the message is at least half as large |
    /// | a name or a header that no envelope holds | else | where the message says it |
    /// | results of more than a message may have | else | where the message is at least half as large |
    /// | headers that do not fit into a frame | always: it is told how many it may set | never |
    ///
    /// A plugin that fails otherwise (a trap, a deadline) over large or strange messages has failed: it is to refuse them.
    pub fn class(&self, message: &Message) -> ReasonClass {
        let is_said = match self {
            Self::NoReplyTo { .. } | Self::ReplyTo { .. } | Self::LongReplyTo(_) => return ReasonClass::Unanswerable,
            Self::Key { key, .. } | Self::LongKey { key, .. } => message.says(key),
            Self::Unfit(amqp::Unfit::Body { found, .. }) => message.body.len().saturating_mul(GROWTH_MAX) >= *found,
            Self::Unfit(amqp::Unfit::TooLong(_) | amqp::Unfit::Headers { .. }) => false,
        };
        denied_or_undeliverable(is_said)
    }
}

/// The class of a name that may not be; `is_said` where the message says it.
pub fn denied_or_undeliverable(is_said: bool) -> ReasonClass {
    if is_said {
        ReasonClass::Undeliverable
    } else {
        ReasonClass::Denied
    }
}

/// Why a result has not arrived yet.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// At the broker.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// In a folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl Destination {
    /// Binds a declared destination; `None` where it needs a broker and there is none.
    ///
    /// # Errors
    /// When a name does not fit.
    pub fn bind(
        config: &DestinationConfig,
        source: &SourceConfig,
        broker: Option<&Broker>,
    ) -> Result<Option<Self>, TooLong> {
        Ok(match (config, broker) {
            (DestinationConfig::Folder { folder }, _) => Some(Self::Folder {
                folder: folder.clone(),
                key_is_name: matches!(source, SourceConfig::Folder(_)),
            }),
            (
                DestinationConfig::Exchange {
                    exchange,
                    routing_key,
                    keys,
                    declare,
                },
                Some(broker),
            ) => Some(Self::Exchange {
                address: broker.address(exchange, routing_key, *declare)?,
                keys: keys.clone(),
            }),
            (DestinationConfig::Reply { allow }, Some(broker)) => Some(Self::Reply {
                address: broker.reply_address(),
                allow: allow.clone(),
                own_queue: match source {
                    SourceConfig::Queue(source) => Some(source.queue.clone()),
                    SourceConfig::Folder(_) => None,
                },
            }),
            _ => None,
        })
    }

    /// Addresses one result: `index` is its place among the results of its message.
    ///
    /// # Errors
    /// When it may not go there.
    pub fn pending_output(
        &self,
        message: &Message,
        outbound: Outbound,
        index: usize,
        envelope: Envelope,
    ) -> Result<PendingOutput, Denied> {
        let Outbound {
            destination, key, body, ..
        } = outbound;
        match (self, key) {
            (Self::Exchange { address, .. }, None) => amqp_output(address.clone(), body, &envelope, false),
            (
                Self::Exchange {
                    address,
                    keys: Some(keys),
                },
                Some(key),
            ) if keys.is_match(&key) => match address.with_key(&key) {
                Ok(address) => amqp_output(address, body, &envelope, false),
                Err(length) => Err(Denied::LongKey { key, length }),
            },
            (_, Some(key)) => Err(Denied::Key { destination, key }),
            (
                Self::Reply {
                    address,
                    allow,
                    own_queue,
                },
                None,
            ) => match &message.reply_to {
                None => Err(Denied::NoReplyTo { destination }),
                Some(reply_to) if allow.is_match(reply_to) && own_queue.as_ref() != Some(reply_to) => amqp_output(
                    address.reply_to(reply_to).map_err(Denied::LongReplyTo)?,
                    body,
                    &envelope,
                    true,
                ),
                Some(reply_to) => Err(Denied::ReplyTo {
                    destination,
                    reply_to: reply_to.clone(),
                }),
            },
            (Self::Folder { folder, key_is_name }, None) => {
                let key = key_is_name.then_some(message.key.as_str());
                let name = folder::result_name(key, index, envelope.content_type.as_deref(), &envelope.message_id);
                Ok(PendingOutput::Folder {
                    folder: folder.clone(),
                    name,
                    body,
                    envelope: Box::new(envelope),
                })
            }
        }
    }
}

fn amqp_output(
    address: amqp::Address,
    body: Vec<u8>,
    envelope: &Envelope,
    droppable: bool,
) -> Result<PendingOutput, Denied> {
    Ok(PendingOutput::Amqp {
        pending_output: address.pending_output(body, envelope)?,
        droppable,
    })
}

impl PendingOutput {
    /// Sends it once and waits until it is confirmed: by the broker, or by the disk.
    ///
    /// # Errors
    /// Whenever it is not known to have arrived; it may have.
    pub async fn send(&self) -> Result<(), DeliverError> {
        match self {
            Self::Amqp {
                pending_output,
                droppable,
            } => match pending_output.publish().await {
                Err(error @ (PublishError::Unroutable { .. } | PublishError::Nowhere { .. })) if *droppable => {
                    tracing::info!(%error, "a reply was dropped: who asked for it is gone");
                    Ok(())
                }
                published => Ok(published?),
            },
            Self::Folder {
                folder,
                name,
                body,
                envelope,
            } => Ok(folder::deliver(folder, name, body, envelope).await?),
            #[cfg(test)]
            Self::Simulated(pending_output) => pending_output.send().await,
        }
    }
}

impl fmt::Display for PendingOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amqp { pending_output, .. } => pending_output.fmt(f),
            Self::Folder { folder, .. } => write!(f, "folder {}", folder.display()),
            #[cfg(test)]
            Self::Simulated(pending_output) => write!(f, "{pending_output:?}"),
        }
    }
}
