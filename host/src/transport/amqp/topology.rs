//! Queues and exchanges: declared where they are missing, and told apart where they are not as the file says.

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
    /// A queue is there, but not as the file says.
    #[error("queue `{queue}` exists with other properties ({broker}); {hint}")]
    Inequivalent {
        /// The queue.
        queue: String,
        /// The broker's words.
        broker: String,
        /// What to write into the file.
        hint: String,
    },
    /// A queue or an exchange that others own is not there.
    #[error("{what} `{name}` is not there: {broker}")]
    Missing {
        /// `queue` or `exchange`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The broker's words.
        broker: String,
    },
    /// The user may not do what must be done.
    #[error(
        "{what} `{name}` may not be used: {broker}; grant the AMQP user {permission} permission on it (`rabbitmqctl set_permissions`)"
    )]
    Denied {
        /// `queue` or `exchange`.
        what: &'static str,
        /// Its name.
        name: String,
        /// `configure`, `read` or `write`.
        permission: &'static str,
        /// The broker's words.
        broker: String,
    },
    /// It cannot be had now; waiting helps.
    #[error("{what} `{name}` cannot be had yet: {broker}")]
    Busy {
        /// `queue` or `exchange`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The broker's words, and what to do about them.
        broker: String,
    },
    /// It cannot be had for another reason; waiting does not help.
    #[error("{what} `{name}` cannot be used: {broker}")]
    Refused {
        /// `queue` or `exchange`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The broker's words, and what to do about them.
        broker: String,
    },
    /// A queue of a kind that loses messages here.
    #[error("queue `{queue}` {problem}; {hint}")]
    Unfit {
        /// The queue.
        queue: String,
        /// What it is, and what would be lost.
        problem: String,
        /// What to use instead.
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

/// Where messages of a queue wait that a host may have ended because of.
pub(super) fn quarantine_queue_name(queue: &str) -> String {
    format!("{queue}.suspect")
}

/// Declares the source queue, with a dead-letter exchange that catches what passes the broker's own delivery limit, and
/// the queue of its suspects.
pub(super) async fn declare_source(line: &Arc<Line>, source: &QueueSourceConfig) -> Result<(), TopologyError> {
    declare_kept(line, &source.dead_letter).await?;
    declare_kept(line, &quarantine_queue_name(&source.queue)).await?;
    let over_limit = OverLimit::To(&source.dead_letter);
    declare_queue(line, &source.queue, source.declare, over_limit).await
}

/// Makes sure that a queue is there that loses nothing by being looked at; one that exists is taken as it is, because
/// one that was declared before, without a limit, would be another queue to the broker.
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

/// Makes sure that a destination's queue is there; one that exists is taken as it is.
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
    /// As a queue of the host's own, which keeps what it has.
    Kept,
    /// As the source.
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

    /// Declares it where somebody deleted it; whether it was gone.
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

/// Whether a source queue is there as the file says.
///
/// Declaring what was seen a moment before makes the broker compare and changes nothing. Were it deleted in between, it
/// would come back as `millrace run` declares it.
pub(super) async fn inspect_source(line: &Arc<Line>, source: &QueueSourceConfig) -> Result<Presence, TopologyError> {
    let presence = inspect(line, &source.queue, source.declare).await?;
    if presence == Presence::There && source.declare != QueueType::Passive {
        let over_limit = OverLimit::To(&source.dead_letter);
        declare_queue(line, &source.queue, source.declare, over_limit).await?;
    }
    Ok(presence)
}

/// Whether a queue is there that is taken as it is; `as_type` says how it is declared where it is missing.
pub(super) async fn inspect(line: &Arc<Line>, queue: &str, as_type: QueueType) -> Result<Presence, TopologyError> {
    match declare_queue(line, queue, QueueType::Passive, OverLimit::Usual).await {
        Ok(()) => Ok(Presence::There),
        Err(TopologyError::Missing { .. }) if as_type != QueueType::Passive => Ok(Presence::ToBeDeclared),
        Err(error) => Err(error),
    }
}

/// Makes sure that an exchange is there.
pub(super) async fn expect_exchange(line: &Arc<Line>, exchange: &str) -> Result<(), TopologyError> {
    let name = short("exchange", exchange)?;
    let channel = open(line).await?;
    let looked = channel.expect_exchange(name).await;
    looked.map_err(|failure| refused(Use::Configure, "exchange", exchange, failure))
}

/// What becomes of a message that was delivered more often than the queue allows.
#[derive(Debug, Clone, Copy)]
enum OverLimit<'a> {
    /// What the broker does with it by default.
    Usual,
    /// It goes to this queue.
    To(&'a str),
    /// It is never over the limit.
    Never,
}

/// A delivery limit that no message reaches. RabbitMQ 4 has one of 20 where nothing is said, and takes -1 for none; 3.10
/// accepts that and does not know that it means none.
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

/// Finds out how a queue was declared, by declaring it as others do: the broker agrees to what it already has.
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

/// What is done with a queue or an exchange, for the permission that it takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Use {
    /// Declaring it.
    Configure,
    /// Consuming it.
    Read,
}

/// What the broker's refusal of an operation on one queue or exchange means.
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
