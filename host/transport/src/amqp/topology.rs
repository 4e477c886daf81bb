//! Queues and exchanges: declared where they are missing, and compared with the file where they exist.

use std::sync::Arc;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};

use super::config::{QueueSourceConfig, QueueType};
use super::inspect::Presence;
use super::line::{BrokerCallError, Channel, Line};
use super::link::ConnectError;
use super::properties::{TooLong, short};
use super::refusal::{BrokerRefusal, Meaning};

/// Why a queue or an exchange cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TopologyError {
    /// The broker is away; waiting helps.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A queue exists, but not as the file says.
    #[error("queue `{queue}` exists with other properties ({broker}); {hint}")]
    Inequivalent {
        queue: String,
        /// The broker's words.
        broker: String,
        /// The lines to write into the file.
        hint: String,
    },
    /// A queue or an exchange that others own does not exist.
    #[error("{what} `{name}` is not there: {broker}")]
    Missing {
        /// `queue` or `exchange`.
        what: &'static str,
        name: String,
        /// The broker's words.
        broker: String,
    },
    /// The user lacks a permission.
    #[error(
        "{what} `{name}` may not be used: {broker}; grant the AMQP user {permission} permission on it (`rabbitmqctl set_permissions`)"
    )]
    Denied {
        /// `queue` or `exchange`.
        what: &'static str,
        name: String,
        /// `configure`, `read` or `write`.
        permission: &'static str,
        /// The broker's words.
        broker: String,
    },
    /// It is not available now; waiting helps.
    #[error("{what} `{name}` is not available yet: {broker}")]
    Busy {
        /// `queue` or `exchange`.
        what: &'static str,
        name: String,
        /// The broker's words, and the advice.
        broker: String,
    },
    /// It is refused for another reason; waiting does not help.
    #[error("{what} `{name}` cannot be used: {broker}")]
    Refused {
        /// `queue` or `exchange`.
        what: &'static str,
        name: String,
        /// The broker's words, and the advice.
        broker: String,
    },
    /// A queue of a kind that loses messages here.
    #[error("queue `{queue}` {problem}; {hint}")]
    Unfit {
        queue: String,
        /// Its kind, and the loss.
        problem: String,
        /// The alternative.
        hint: &'static str,
    },
    /// A name does not fit.
    #[error(transparent)]
    TooLong(#[from] TooLong),
}

impl TopologyError {
    /// Whether only a change of the file, or of the broker by its owner, helps.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_permanent(),
            Self::Busy { .. } => false,
            _ => true,
        }
    }
}

/// The quarantine queue of a source: messages that were in flight when a host crashed.
pub(super) fn quarantine_queue_name(queue: &str) -> String {
    format!("{queue}.quarantine")
}

/// The quarantine queue that older hosts declare beside a source. It is emptied and never declared.
pub(super) fn former_quarantine_queue_name(queue: &str) -> String {
    format!("{queue}.suspect")
}

/// Declares the source queue, with a dead-letter exchange that catches what passes the broker's own delivery limit, and
/// its quarantine queue.
pub(super) async fn declare_source(line: &Arc<Line>, source: &QueueSourceConfig) -> Result<(), TopologyError> {
    declare_kept(line, &source.dead_letter).await?;
    declare_kept(line, &quarantine_queue_name(&source.queue)).await?;
    let over_limit = OverLimit::To(&source.dead_letter);
    declare_queue(line, &source.queue, source.declare, over_limit).await
}

/// Makes sure that a queue exists whose messages may be read and returned without limit; one that exists is used as it is,
/// because the broker would take a declaration with other properties for a conflict.
pub(super) async fn declare_kept(line: &Arc<Line>, queue: &str) -> Result<(), TopologyError> {
    match declare_queue(line, queue, QueueType::Passive, OverLimit::Usual).await {
        Err(TopologyError::Missing { .. }) => declare_queue(line, queue, QueueType::Quorum, OverLimit::Never).await,
        declared => declared,
    }
}

/// Messages that are ready in a queue.
pub(super) async fn count(channel: &Channel, queue: &str) -> Result<u32, TopologyError> {
    let (options, arguments) = declaration(QueueType::Passive, OverLimit::Usual);
    let declared = channel.declare(short("queue", queue)?, options, arguments).await;
    declared.map_err(|failure| refused(Use::Configure, "queue", queue, failure))
}

/// Makes sure that a destination's queue exists; one that does is used as it is.
pub(super) async fn declare_destination(
    line: &Arc<Line>,
    queue: &str,
    as_type: QueueType,
) -> Result<(), TopologyError> {
    match declare_queue(line, queue, QueueType::Passive, OverLimit::Usual).await {
        Err(TopologyError::Missing { .. }) if as_type != QueueType::Passive => {
            declare_queue(line, queue, as_type, OverLimit::Usual).await
        }
        declared => declared,
    }
}

/// A queue that a result or a copy goes to, and how it is declared where it is missing.
#[derive(Debug, Clone)]
pub(super) enum TargetQueue {
    /// As a destination's.
    Destination(QueueType),
    /// As a queue of the host's own, which keeps its messages.
    Kept,
    Source(Arc<QueueSourceConfig>),
}

impl TargetQueue {
    /// Whether the file lets the host declare it.
    pub(super) fn may_be_declared(&self) -> bool {
        match self {
            Self::Destination(as_type) => *as_type != QueueType::Passive,
            Self::Kept => true,
            Self::Source(source) => source.declare != QueueType::Passive,
        }
    }

    /// Declares it where it was deleted; returns whether it was gone.
    pub(super) async fn declare(&self, line: &Arc<Line>, queue: &str) -> Result<bool, TopologyError> {
        match inspect(line, queue, QueueType::Quorum).await? {
            Presence::There => return Ok(false),
            Presence::ToBeDeclared => {}
        }
        match self {
            Self::Destination(as_type) => declare_destination(line, queue, *as_type).await?,
            Self::Kept => declare_kept(line, queue).await?,
            Self::Source(source) => declare_source(line, source).await?,
        }
        Ok(true)
    }
}

/// Whether a source queue exists as the file says.
///
/// Declaring a queue that was there a moment ago makes the broker compare, and changes nothing. If it was deleted in
/// between, this declares it as `millrace run` would.
pub(super) async fn inspect_source(line: &Arc<Line>, source: &QueueSourceConfig) -> Result<Presence, TopologyError> {
    let presence = inspect(line, &source.queue, source.declare).await?;
    if presence == Presence::There && source.declare != QueueType::Passive {
        let over_limit = OverLimit::To(&source.dead_letter);
        declare_queue(line, &source.queue, source.declare, over_limit).await?;
    }
    Ok(presence)
}

/// Whether a queue exists that is used as it is; `as_type` says how it is declared where it is missing.
pub(super) async fn inspect(line: &Arc<Line>, queue: &str, as_type: QueueType) -> Result<Presence, TopologyError> {
    match declare_queue(line, queue, QueueType::Passive, OverLimit::Usual).await {
        Ok(()) => Ok(Presence::There),
        Err(TopologyError::Missing { .. }) if as_type != QueueType::Passive => Ok(Presence::ToBeDeclared),
        Err(error) => Err(error),
    }
}

/// Makes sure that an exchange exists.
pub(super) async fn expect_exchange(line: &Arc<Line>, exchange: &str) -> Result<(), TopologyError> {
    let name = short("exchange", exchange)?;
    let channel = open(line).await?;
    let looked = channel.expect_exchange(name).await;
    looked.map_err(|failure| refused(Use::Configure, "exchange", exchange, failure))
}

/// The fate of a message that was delivered more often than the queue allows.
#[derive(Debug, Clone, Copy)]
enum OverLimit<'a> {
    /// The broker's default.
    Usual,
    /// It goes to this queue.
    To(&'a str),
    /// It is never over the limit.
    Never,
}

/// A delivery limit that no message reaches. RabbitMQ 4 has one of 20 by default, and takes -1 for none; 3.10 accepts
/// that and does not know that it means none.
const NEVER: i32 = i32::MAX;

/// Declares one queue on a channel of its own, because the broker closes the channel of a declaration that it refuses.
async fn declare_queue(
    line: &Arc<Line>,
    queue: &str,
    as_type: QueueType,
    over_limit: OverLimit<'_>,
) -> Result<(), TopologyError> {
    let name = short("queue", queue)?;
    let channel = open(line).await?;
    let (options, arguments) = declaration(as_type, over_limit);
    let Err(failure) = channel.declare(name, options, arguments).await else {
        return Ok(());
    };
    match failure.refusal() {
        Some(BrokerRefusal {
            meaning: Meaning::Inequivalent,
            words,
            ..
        }) => Err(TopologyError::Inequivalent {
            queue: queue.to_owned(),
            broker: words,
            hint: hint(line, queue).await?,
        }),
        _ => Err(refused(Use::Configure, "queue", queue, failure)),
    }
}

fn declaration(as_type: QueueType, over_limit: OverLimit<'_>) -> (QueueDeclareOptions, FieldTable) {
    let mut arguments = FieldTable::default();
    let text = |value: &str| AMQPValue::LongString(value.into());
    let mut set = |name: &str, value| {
        arguments.insert(name.into(), value);
    };
    let options = match as_type {
        QueueType::Passive => QueueDeclareOptions {
            passive: true,
            ..Default::default()
        },
        QueueType::Classic { durable } => QueueDeclareOptions {
            durable,
            ..Default::default()
        },
        QueueType::Quorum => {
            set("x-queue-type", text("quorum"));
            match over_limit {
                OverLimit::Usual => {}
                OverLimit::Never => set("x-delivery-limit", AMQPValue::LongInt(NEVER)),
                OverLimit::To(dead_letter) => {
                    // At-least-once dead-lettering needs the overflow behaviour; without both, a message over the
                    // delivery limit can vanish on its way.
                    set("x-dead-letter-exchange", text(""));
                    set("x-dead-letter-routing-key", text(dead_letter));
                    set("x-dead-letter-strategy", text("at-least-once"));
                    set("x-overflow", text("reject-publish"));
                }
            }
            QueueDeclareOptions {
                durable: true,
                ..Default::default()
            }
        }
    };
    (options, arguments)
}

/// Finds out how a queue was declared, by declaring it in the usual ways: the broker accepts the one that it has.
async fn hint(line: &Arc<Line>, queue: &str) -> Result<String, TopologyError> {
    for (durable, lines) in [(false, CLASSIC_TRANSIENT), (true, CLASSIC_DURABLE)] {
        let channel = open(line).await?;
        let (options, arguments) = declaration(QueueType::Classic { durable }, OverLimit::Usual);
        if channel
            .declare(short("queue", queue)?, options, arguments)
            .await
            .is_ok()
        {
            return Ok(lines.to_owned());
        }
    }
    Ok(PASSIVE.to_owned())
}

const CLASSIC_TRANSIENT: &str = "write into its table:\n    type = \"classic\"\n    durable = false";
const CLASSIC_DURABLE: &str = "write into its table:\n    type = \"classic\"\n    durable = true";
const PASSIVE: &str = "to use it as it is, write into its table:\n    type = \"passive\"";

/// The use of a queue or an exchange, which decides on the permission.
#[derive(Debug, Clone, Copy)]
pub(super) enum Use {
    /// Declaring it.
    Configure,
    /// Consuming it.
    Read,
}

/// The broker's refusal of an operation on one queue or exchange, as an error.
pub(super) fn refused(usage: Use, what: &'static str, name: &str, failure: BrokerCallError) -> TopologyError {
    let Some(refusal) = failure.refusal() else {
        return TopologyError::Connect(failure.into());
    };
    let (name, broker) = (name.to_owned(), refusal.described());
    match refusal.meaning {
        Meaning::Missing => TopologyError::Missing { what, name, broker },
        Meaning::Denied => TopologyError::Denied {
            what,
            name,
            permission: match usage {
                Use::Configure => "configure",
                Use::Read => "read",
            },
            broker,
        },
        Meaning::Passes => TopologyError::Busy { what, name, broker },
        Meaning::Inequivalent | Meaning::Stands => TopologyError::Refused { what, name, broker },
    }
}

pub(super) async fn open(line: &Arc<Line>) -> Result<Channel, ConnectError> {
    Ok(line.channel().await?)
}
