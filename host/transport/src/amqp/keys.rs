//! The keys of RabbitMQ: declared, and what may be written there. How a key is checked that is more than a number is in
//! `check.rs`.

use std::path::PathBuf;
use std::time::Duration;

use super::check;
use super::config::{BrokerAccess, NO_BROKER, QUEUE, QueueType};
use super::url;
use crate::ConnectionName;
use crate::config::reading::{
    Beside, By, Bytes, CONNECTION, Choice, Form, FromTable, PATH, PATTERNS, PREFETCH, When, Within, connection,
    destination, section, source,
};
use crate::config::{ConnectionKind, DestinationKind, Globs, HIDDEN, Secret, SourceKind, Transport};

/// RabbitMQ, over AMQP 0-9-1.
pub(crate) static TRANSPORT: Transport = Transport {
    name: "amqp",
    title: "RabbitMQ",
    page: "rabbitmq.md",
    sources: &[SourceKind {
        key: "queue",
        place: "for a queue",
        example: "{ queue = \"..\" }",
        keys: QueueSourceConfig::KEYS,
        no_dead_letter_queue: None,
        secrets: &[],
        capabilities: &QUEUE,
        read: source::<QueueSourceConfig>,
    }],
    destinations: &[
        DestinationKind {
            key: "exchange",
            example: "`exchange = \"..\"`",
            keys: ExchangeConfig::KEYS,
            misplaced: &[(
                "queue",
                "a destination has no key `queue`",
                "a queue is reached by its name on the default exchange: `exchange = \"\"` and `routing_key`",
            )],
            read: destination::<ExchangeConfig>,
        },
        DestinationKind {
            key: "reply",
            example: "`reply = [\"..\"]`",
            keys: ReplyConfig::KEYS,
            misplaced: &[],
            read: destination::<ReplyConfig>,
        },
    ],
    connections: &[ConnectionKind {
        key: "amqp",
        keys: BrokerConfig::KEYS,
        nowhere: NO_BROKER,
        hides: |address| url::redact(address) == HIDDEN,
        read: connection::<BrokerConfig>,
    }],
};

section! {
    /// `[broker]`, or a connection of the same kind.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct BrokerConfig;

    /// The broker's URL: `amqp://user:password@host:port/vhost`, or `amqps://..` for TLS. Left out: user and password
    /// `guest`, port 5672 (TLS: 5671), vhost `/`.
    pub amqp ("amqp"): Secret = By { form: Form::Text("^amqps?://"), read: check::url }, "\"${AMQP_URL}\"", at_home();

    /// With `amqps`: a PEM file with the authority that signed the broker's certificate; the host then trusts no other.
    pub ca ("ca"): Option<PathBuf> = By { form: Form::Text(PATH), read: check::ca }, "\"ca.pem\"",
        or("the authorities that the system trusts"), with(&["amqp"]), at_home();

    /// The largest message that the broker takes (its `max_message_size`): nothing larger is published, because the broker
    /// would close the channel over it. RabbitMQ 4 takes 16 MiB by default, RabbitMQ 3 took 128 MiB.
    pub max_message_bytes ("max_message"): usize = Within {
        min: Bytes(1),
        // What any RabbitMQ takes at most.
        max: Bytes(512 << 20),
        default: Bytes(16 << 20),
    }, "\"16MiB\"", with(&["amqp"]);

    /// How long a publish may wait for its confirm before it counts as failed.
    pub confirm_timeout ("confirm_timeout"): Duration = Within {
        min: Duration::from_millis(100),
        // A broker that confirms nothing for ten minutes is as good as gone, and its consumer timeout (30 minutes) is near.
        max: Duration::from_secs(600),
        default: Duration::from_secs(30),
    }, "\"30s\"", with(&["amqp"]), at_home();

    /// How long the broker may take to answer anything else: a login, a channel, a declaration. After that the connection is
    /// given up and made again, unless other bytes come meanwhile: then it has thirty times as long.
    pub answer_timeout ("answer_timeout"): Duration = Within {
        min: Duration::from_millis(100),
        max: Duration::from_secs(600),
        // A broker that is alive answers within milliseconds, and one in another part of the world within a second or
        // two; ten are for one that is busy.
        default: BrokerAccess::ANSWER_TIMEOUT,
    }, "\"10s\"", with(&["amqp"]), at_home();
}

section! {
    /// `source = { queue = ".." }`
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct QueueSourceConfig;

    /// The queue's name; at most 255 bytes.
    pub queue ("queue"): String = By { form: Form::Text(QUEUE_NAME), read: check::source_queue },
        "\"image_queue\"", at_home();

    /// Messages in flight.
    pub prefetch ("prefetch"): u16 = PREFETCH, "256", with(&["queue"]), at_home();

    /// How the queue is declared where it is missing: `"quorum"` (durable and replicated), `"classic"`, or `"passive"` (not
    /// at all: it belongs to others and must be there).
    pub declare ("type"): QueueType = By { form: QUEUE_TYPE.form(), read: check::declare }, "\"quorum\"",
        with(&["queue"]), why(DECLARE_HINT);

    /// Whether a classic queue survives a restart of the broker. A quorum queue always does.
    ("durable") = Beside::<bool>::new(Form::Flag(DURABLE)), "true",
        with(&["queue"]), unless(&[PASSIVE]), why(DECLARE_HINT);

    /// The connection that it goes by: the name of a `[connection.NAME]`.
    pub connection ("connection"): ConnectionName = By {
        form: CONNECTION,
        read: |table, checker| checker.connection(table, &TRANSPORT, "queue"),
    }, "\"plant\"", or("`[broker]`"), with(&["queue"]), why(CONNECTION_HINT);

    /// The queue of dead letters, always declared durable where it is missing.
    pub dead_letter: String = check::dead_letter;
}

section! {
    /// A destination with `exchange = ".."`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ExchangeConfig;

    /// The exchange, which must be there; `""` is the default exchange.
    pub exchange ("exchange"): String = By { form: Form::Text(SHORT), read: check::exchange }, "\"\"", at_home();

    /// The routing key where the plugin gives none. On the default exchange it is a queue's name. May be empty where the
    /// exchange does not look at it.
    pub routing_key ("routing_key"): String = By { form: Form::Text(SHORT), read: check::routing_key },
        "\"result_queue\"", required_with("exchange"), with(&["exchange"]), why(EXCHANGE_ONLY), at_home();

    /// Routing keys that the plugin may choose: a pattern or a list. Never on the default exchange, where a key is a queue.
    pub keys ("keys"): Option<Globs> = By { form: PATTERNS, read: check::keys }, "[\"label.*\"]",
        or("none"), with(&["exchange"]), unless(&[When::Matches("exchange", "^$")]), why(EXCHANGE_ONLY), at_home();

    /// How the queue is declared where it is missing, as for a source. On the default exchange alone.
    pub declare ("type"): QueueType = By { form: QUEUE_TYPE.form(), read: check::declare_routed }, "\"quorum\"",
        with(&["exchange"]), unless(&[NAMED_EXCHANGE]), why(DEFAULT_EXCHANGE_ONLY);

    /// As for a source. On the default exchange alone.
    ("durable") = Beside::<bool>::new(Form::Flag(DURABLE)), "true",
        with(&["exchange"]), unless(&[NAMED_EXCHANGE, PASSIVE]), why(DEFAULT_EXCHANGE_ONLY);

    /// The connection that it goes by: the name of a `[connection.NAME]`.
    pub connection ("connection"): ConnectionName = By {
        form: CONNECTION,
        read: |table, checker| checker.connection(table, &TRANSPORT, "exchange"),
    }, "\"plant\"", or("`[broker]`"), with(&["exchange"]), why(CONNECTION_HINT);
}

section! {
    /// A destination with `reply = [..]`: the input's reply-to, where one of these patterns matches it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ReplyConfig;

    /// Allowed reply queues: a pattern or a list.
    pub allow ("reply"): Globs = By { form: PATTERNS, read: check::reply }, "[\"amq.rabbitmq.reply-to.*\"]", at_home();

    /// The source's: an address to reply to means something at the broker that the message came from.
    pub connection: ConnectionName = check::reply_connection;
}

/// How a queue is declared, in the source and in a destination.
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
const EXCHANGE_ONLY: &str = "it goes with `exchange`";
/// Why `type` and `durable` are refused for a destination that is no queue.
pub(super) const DEFAULT_EXCHANGE_ONLY: &str = "only a queue on the default exchange (`exchange = \"\"`) is declared";
