//! The keys of RabbitMQ, declared, with their allowed values. Reads none.

use std::time::Duration;

use millrace_schema::{Declared, Form, When};

use super::check::{RawBroker, RawExchange, RawQueueSource, RawReply};
use super::config::{BrokerAccess, NO_BROKER, QUEUE, QueueType};
use super::url;
use crate::config::HIDDEN;
use crate::config::reading::{Bytes, CONNECTION, Choice, DURATION, Limits, PATH, PATTERNS, PREFETCH, SIZE};
use crate::config::{ConnectionKind, DestinationKind, SourceKind, Transport};

/// RabbitMQ, over AMQP 0-9-1.
pub(crate) static TRANSPORT: Transport = Transport {
    name: "amqp",
    sources: &[SourceKind {
        key: "queue",
        place: "for a queue",
        example: "{ queue = \"..\" }",
        keys: SOURCE,
        no_dead_letter_queue: None,
        secrets: &[],
        capabilities: &QUEUE,
        read: RawQueueSource::read,
    }],
    destinations: &[
        DestinationKind {
            key: "exchange",
            example: "`exchange = \"..\"`",
            keys: EXCHANGE,
            misplaced: &[(
                "queue",
                "a destination has no key `queue`",
                "a queue is reached by its name on the default exchange: `exchange = \"\"` and `routing_key`",
            )],
            read: RawExchange::read,
        },
        DestinationKind {
            key: "reply",
            example: "`reply = [\"..\"]`",
            keys: REPLY,
            misplaced: &[],
            read: RawReply::read,
        },
    ],
    connections: &[ConnectionKind {
        key: "amqp",
        keys: BROKER,
        nowhere: NO_BROKER,
        hides: |address| url::redact(address) == HIDDEN,
        read: RawBroker::read,
    }],
};

// RabbitMQ 4's default of `max_message_size`, and the most that any RabbitMQ allows.
pub(super) const MAX_MESSAGE: Limits<Bytes> = Limits {
    key: "max_message",
    min: Bytes(1),
    max: Bytes(512 << 20),
    default: Bytes(16 << 20),
};

// A broker that confirms nothing for ten minutes is as good as gone, and its consumer timeout (30 minutes) is near.
pub(super) const CONFIRM_TIMEOUT: Limits<Duration> = Limits {
    key: "confirm_timeout",
    min: Duration::from_millis(100),
    max: Duration::from_secs(600),
    default: Duration::from_secs(30),
};

// A broker that is alive answers within milliseconds, and one in another part of the world within a second or two; ten
// are for one that is busy.
pub(super) const ANSWER_TIMEOUT: Limits<Duration> = Limits {
    key: "answer_timeout",
    min: Duration::from_millis(100),
    max: Duration::from_secs(600),
    default: BrokerAccess::ANSWER_TIMEOUT,
};

/// How a queue is declared.
pub(super) const QUEUE_TYPE: Choice<QueueType> = Choice {
    words: &[
        ("quorum", QueueType::Quorum),
        ("classic", QueueType::Classic { durable: DURABLE }),
        ("passive", QueueType::Passive),
    ],
    default: QueueType::Quorum,
};

/// A classic queue survives a restart of the broker.
pub(super) const DURABLE: bool = true;

/// Names of queues, exchanges and routing keys: AMQP's short strings. Bytes are counted when the file is read.
const SHORT: &str = r"^[^\x00-\x1f\x7f]{0,255}$";
const QUEUE_NAME: &str = r"^[^\x00-\x1f\x7f]{1,255}$";
/// A queue that is taken as it is.
const PASSIVE: When = When::Matches("type", "^passive$");
/// Not the default exchange. With something from the environment it may be either.
const NAMED_EXCHANGE: When = When::Matches("exchange", r"^[^$]+$");

const DECLARE_HINT: &str = "it says how a queue is declared";
const CONNECTION_HINT: &str = "it names a broker";

const BROKER: &[Declared] = &[
    Declared::new(
        "amqp",
        Form::Text("^amqps?://"),
        "\"${AMQP_URL}\"",
        "The broker's URL: `amqp://user:password@host:port/vhost`, or `amqps://..` for TLS. Left out: user and password \
        `guest`, port 5672 (TLS: 5671), vhost `/`.",
    )
    .at_home(),
    Declared::new(
        "ca",
        Form::Text(PATH),
        "\"ca.pem\"",
        "With `amqps`: a PEM file with the authority that signed the broker's certificate; the host then trusts no other.",
    )
    .or("the authorities that the system trusts")
    .with(&["amqp"])
    .at_home(),
    Declared::new(
        "max_message",
        Form::Quantity(&SIZE, &MAX_MESSAGE),
        "\"16MiB\"",
        "The largest message that the broker takes (its `max_message_size`): nothing larger is published, because the \
        broker would close the channel over it. RabbitMQ 4 takes 16 MiB by default, RabbitMQ 3 took 128 MiB.",
    )
    .with(&["amqp"]),
    Declared::new(
        "confirm_timeout",
        Form::Quantity(&DURATION, &CONFIRM_TIMEOUT),
        "\"30s\"",
        "How long a publish may wait for its confirm before it counts as failed.",
    )
    .with(&["amqp"])
    .at_home(),
    Declared::new(
        "answer_timeout",
        Form::Quantity(&DURATION, &ANSWER_TIMEOUT),
        "\"10s\"",
        "How long the broker may take to answer anything else: a login, a channel, a declaration. After that the \
        connection is given up and made again, unless other bytes come meanwhile: then it has thirty times as long.",
    )
    .with(&["amqp"])
    .at_home(),
];

const SOURCE: &[Declared] = &[
    Declared::new(
        "queue",
        Form::Text(QUEUE_NAME),
        "\"image_queue\"",
        "The queue's name; at most 255 bytes.",
    )
    .at_home(),
    Declared::new("prefetch", Form::Integer(&PREFETCH), "256", "Messages in flight.")
        .with(&["queue"])
        .at_home(),
    Declared::new("type", Form::Words(&QUEUE_TYPE), "\"quorum\"", TYPE)
        .with(&["queue"])
        .why(DECLARE_HINT),
    Declared::new("durable", Form::Flag(DURABLE), "true", DURABLE_HELP)
        .with(&["queue"])
        .unless(&[PASSIVE])
        .why(DECLARE_HINT),
    CONNECTION.with(&["queue"]).why(CONNECTION_HINT),
];

const TYPE: &str = "How the queue is declared where it is missing: `\"quorum\"` (durable and replicated), `\"classic\"`, or \
    `\"passive\"` (not at all: it belongs to others and must be there).";
const DURABLE_HELP: &str = "Whether a classic queue survives a restart of the broker. A quorum queue always does.";

/// Why `type` and `durable` are refused for a destination that is no queue.
pub(super) const DEFAULT_EXCHANGE_ONLY: &str = "only a queue on the default exchange (`exchange = \"\"`) is declared";
const EXCHANGE_ONLY: &str = "it goes with `exchange`";

const EXCHANGE: &[Declared] = &[
    Declared::new(
        "exchange",
        Form::Text(SHORT),
        "\"\"",
        "The exchange, which must be there; `\"\"` is the default exchange.",
    )
    .at_home(),
    Declared::new(
        "routing_key",
        Form::Text(SHORT),
        "\"result_queue\"",
        "The routing key where the plugin gives none. On the default exchange it is a queue's name. May be empty where \
        the exchange does not look at it.",
    )
    .required_with("exchange")
    .with(&["exchange"])
    .why(EXCHANGE_ONLY)
    .at_home(),
    Declared::new(
        "keys",
        PATTERNS,
        "[\"label.*\"]",
        "Routing keys that the plugin may choose: a pattern or a list. Never on the default exchange, where a key is a \
        queue.",
    )
    .or("none")
    .with(&["exchange"])
    .unless(&[When::Matches("exchange", "^$")])
    .why(EXCHANGE_ONLY)
    .at_home(),
    Declared::new(
        "type",
        Form::Words(&QUEUE_TYPE),
        "\"quorum\"",
        "How the queue is declared where it is missing, as for a source. On the default exchange alone.",
    )
    .with(&["exchange"])
    .unless(&[NAMED_EXCHANGE])
    .why(DEFAULT_EXCHANGE_ONLY),
    Declared::new(
        "durable",
        Form::Flag(DURABLE),
        "true",
        "As for a source. On the default exchange alone.",
    )
    .with(&["exchange"])
    .unless(&[NAMED_EXCHANGE, PASSIVE])
    .why(DEFAULT_EXCHANGE_ONLY),
    CONNECTION.with(&["exchange"]).why(CONNECTION_HINT),
];

const REPLY: &[Declared] = &[
    Declared::new(
        "reply",
        PATTERNS,
        "[\"amq.rabbitmq.reply-to.*\"]",
        "Allowed reply queues: a pattern or a list.",
    )
    .at_home(),
    CONNECTION.with(&["reply"]).why(CONNECTION_HINT),
];
