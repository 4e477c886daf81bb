//! Queues and exchanges: declared where they are missing, and told apart where they are not as the file says.

use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use super::inspect::Presence;
use super::link::ConnectError;
use super::properties::{TooLong, short};
use crate::config::{QueueSource, QueueType};

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
        "{what} `{name}` may not be used: {broker}; let the user of the broker's URL do it (`rabbitmqctl set_permissions`)"
    )]
    Denied {
        /// `queue` or `exchange`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The broker's words.
        broker: String,
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
            _ => true,
        }
    }
}

/// Where messages of a queue wait that a host may have ended because of.
pub(super) fn suspect_queue(queue: &str) -> String {
    format!("{queue}.suspect")
}

/// Declares the source queue, with a dead-letter exchange that catches what passes the broker's own delivery limit, and
/// the queue of its suspects.
pub(super) async fn declare_source(connection: &Connection, source: &QueueSource) -> Result<(), TopologyError> {
    declare_kept(connection, &source.dead_letter).await?;
    declare_kept(connection, &suspect_queue(&source.queue)).await?;
    let over_limit = OverLimit::To(&source.dead_letter);
    declare_queue(connection, &source.queue, source.declare, over_limit).await
}

/// Makes sure that a queue is there that loses nothing by being looked at; one that exists is taken as it is, because
/// one that was declared before, without a limit, would be another queue to the broker.
pub(super) async fn declare_kept(connection: &Connection, queue: &str) -> Result<(), TopologyError> {
    match declare_queue(connection, queue, QueueType::Passive, OverLimit::Usual).await {
        Err(TopologyError::Missing { .. }) => {
            declare_queue(connection, queue, QueueType::Quorum, OverLimit::Never).await
        }
        declared => declared,
    }
}

/// Messages that are ready in a queue.
pub(super) async fn count(channel: &Channel, queue: &str) -> Result<u32, TopologyError> {
    let (options, arguments) = declaration(QueueType::Passive, OverLimit::Usual);
    let queue = short("queue", queue)?;
    let declared = channel.queue_declare(queue, options, arguments).await;
    Ok(declared.map_err(ConnectError::from)?.message_count())
}

/// Makes sure that a destination's queue is there; one that exists is taken as it is.
pub(super) async fn declare_destination(
    connection: &Connection,
    queue: &str,
    as_type: QueueType,
) -> Result<(), TopologyError> {
    match declare_queue(connection, queue, QueueType::Passive, OverLimit::Usual).await {
        Err(TopologyError::Missing { .. }) if as_type != QueueType::Passive => {
            declare_queue(connection, queue, as_type, OverLimit::Usual).await
        }
        declared => declared,
    }
}

/// Whether a source queue is there as the file says.
///
/// Declaring what was seen a moment before makes the broker compare and changes nothing. Were it deleted in between, it
/// would come back as `millrace run` declares it.
pub(super) async fn inspect_source(connection: &Connection, source: &QueueSource) -> Result<Presence, TopologyError> {
    let presence = inspect(connection, &source.queue, source.declare).await?;
    if presence == Presence::There && source.declare != QueueType::Passive {
        let over_limit = OverLimit::To(&source.dead_letter);
        declare_queue(connection, &source.queue, source.declare, over_limit).await?;
    }
    Ok(presence)
}

/// Whether a queue is there that is taken as it is; `as_type` says how it is declared where it is missing.
pub(super) async fn inspect(
    connection: &Connection,
    queue: &str,
    as_type: QueueType,
) -> Result<Presence, TopologyError> {
    match declare_queue(connection, queue, QueueType::Passive, OverLimit::Usual).await {
        Ok(()) => Ok(Presence::There),
        Err(TopologyError::Missing { .. }) if as_type != QueueType::Passive => Ok(Presence::ToBeDeclared),
        Err(error) => Err(error),
    }
}

/// Makes sure that an exchange is there.
pub(super) async fn expect_exchange(connection: &Connection, exchange: &str) -> Result<(), TopologyError> {
    let name = short("exchange", exchange)?;
    let channel = connection.create_channel().await.map_err(ConnectError::from)?;
    let options = ExchangeDeclareOptions {
        passive: true,
        ..Default::default()
    };
    match channel
        .exchange_declare(name, ExchangeKind::Direct, options, FieldTable::default())
        .await
    {
        Ok(()) => Ok(()),
        Err(error) => Err(refused("exchange", exchange, error)),
    }
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
    connection: &Connection,
    queue: &str,
    as_type: QueueType,
    over_limit: OverLimit<'_>,
) -> Result<(), TopologyError> {
    let name = short("queue", queue)?;
    let channel = connection.create_channel().await.map_err(ConnectError::from)?;
    let (options, arguments) = declaration(as_type, over_limit);
    match channel.queue_declare(name, options, arguments).await {
        Ok(_) => Ok(()),
        Err(error) if soft(&error) == Some(AMQPSoftError::PRECONDITIONFAILED) => {
            let hint = hint(connection, queue).await?;
            Err(TopologyError::Inequivalent {
                queue: queue.to_owned(),
                broker: error.to_string(),
                hint,
            })
        }
        Err(error) => Err(refused("queue", queue, error)),
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
async fn hint(connection: &Connection, queue: &str) -> Result<String, TopologyError> {
    for (durable, lines) in [(false, CLASSIC_TRANSIENT), (true, CLASSIC_DURABLE)] {
        let channel = connection.create_channel().await.map_err(ConnectError::from)?;
        let (options, arguments) = declaration(QueueType::Classic { durable }, OverLimit::Usual);
        if channel
            .queue_declare(short("queue", queue)?, options, arguments)
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

/// What the broker's refusal of an operation on one queue or exchange means.
pub(super) fn refused(what: &'static str, name: &str, error: lapin::Error) -> TopologyError {
    let (name, broker) = (name.to_owned(), error.to_string());
    match soft(&error) {
        Some(AMQPSoftError::NOTFOUND) => TopologyError::Missing { what, name, broker },
        Some(AMQPSoftError::ACCESSREFUSED) => TopologyError::Denied { what, name, broker },
        _ => TopologyError::Connect(error.into()),
    }
}

pub(super) fn soft(error: &lapin::Error) -> Option<AMQPSoftError> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => match error.kind() {
            AMQPErrorKind::Soft(soft) => Some(soft.clone()),
            AMQPErrorKind::Hard(_) => None,
        },
        _ => None,
    }
}
