//! The checks of RabbitMQ's tables: the broker, a queue as a source, exchanges and replies. Connects nowhere.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::config::{BrokerConfig, ExchangeConfig, QueueSourceConfig, QueueType, ReplyConfig};
use super::keys::{
    ANSWER_TIMEOUT, CONFIRM_TIMEOUT, DEFAULT_EXCHANGE_ONLY, DURABLE, MAX_MESSAGE, QUEUE_TYPE, TRANSPORT,
};
use super::url;
use crate::config::reading::{
    Bytes, Checker, Declaration, Diagnostic, EndpointRole, Expect, Key, LinkedEndpoint, PREFETCH, Patterns, Report,
    Table, Text,
};
use crate::config::{PipelineTables, ReadConnection, ReadDestination, ReadSource};
use crate::config::{Secret, Span};
use crate::{ConnectionConfig, ConnectionName, DestinationConfig, SourceConfig};

/// AMQP's short strings: names of queues and exchanges, routing keys.
const SHORT_STRING_BYTES_MAX: usize = 255;
/// Queues that only the broker may declare.
const RESERVED_PREFIX: &str = "amq.";

/// `[broker]`
pub(super) struct RawBroker {
    /// The broker's URL: `amqp = "${AMQP_URL}"`.
    amqp: Key<Text>,
    /// The authority that vouches for an `amqps` broker, where the system's do not: `ca = "ca.pem"`.
    ca: Key<Text>,
    /// The largest message that the broker takes: `max_message = "16MiB"`.
    max_message: Key<Bytes>,
    /// How long a publish may wait for its confirm: `confirm_timeout = "30s"`.
    confirm_timeout: Key<Duration>,
    /// How long the broker may take to answer anything else: `answer_timeout = "10s"`.
    answer_timeout: Key<Duration>,
}

/// `source = { queue = "image_queue" }`
pub(super) struct RawQueueSource {
    /// An AMQP queue: `queue = "image_queue"`.
    queue: Key<Text>,
    /// Messages in flight: `prefetch = 256`.
    prefetch: Key<i128>,
    /// How a missing queue is declared.
    declare: RawDeclare,
    /// The broker that it is at: `connection = "plant"`.
    connection: Key<Text>,
}

/// How a queue is declared where it is missing.
struct RawDeclare {
    /// `type = "quorum"`, `"classic"` or `"passive"`.
    kind: Key<Text>,
    /// Whether a classic queue survives a restart of the broker: `durable = false`.
    durable: Key<bool>,
}

/// A destination with `exchange = "results"`.
pub(super) struct RawExchange {
    /// An AMQP exchange, `""` for the default exchange: `exchange = "results"`.
    exchange: Key<Text>,
    /// The key where the plugin gives none; on the default exchange a queue: `routing_key = "result_queue"`.
    routing_key: Key<Text>,
    /// Keys that a plugin may choose: `keys = ["label.*"]`.
    keys: Key<Patterns>,
    /// How a missing queue is declared: on the default exchange alone.
    declare: RawDeclare,
    /// The broker that it is at.
    connection: Key<Text>,
}

/// A destination with `reply = ["client.*"]`.
pub(super) struct RawReply {
    /// Reply queues that are allowed: `reply = ["amq.rabbitmq.reply-to.*"]`.
    reply: Key<Patterns>,
    /// The broker that it is at.
    connection: Key<Text>,
}

impl RawBroker {
    pub(super) fn read(table: &mut Table<'_>, report: &mut Report<'_>) -> Box<dyn ReadConnection> {
        Box::new(Self {
            amqp: table.key("amqp", report),
            ca: table.key("ca", report),
            max_message: table.key("max_message", report),
            confirm_timeout: table.key("confirm_timeout", report),
            answer_timeout: table.key("answer_timeout", report),
        })
    }

    fn ca(&self, checker: &mut Checker<'_, '_>, amqp: &str) -> Option<PathBuf> {
        if !url::is_tls(amqp) && !amqp.is_empty() {
            checker.refuse(
                &self.ca,
                "`ca` is for a broker that is reached by TLS",
                "write `amqps://` in `amqp`, or leave out `ca`",
            );
            return None;
        }
        checker.path(self.ca.given()?, Expect::File)
    }
}

impl ReadConnection for RawBroker {
    fn check(&self, checker: &mut Checker<'_, '_>, span: &Span) -> Arc<dyn ConnectionConfig> {
        checker.required(&self.amqp, "amqp", span, "`amqp = \"${AMQP_URL}\"`");
        if let Some(amqp) = self.amqp.given()
            && let Err(error) = url::check(&amqp.get_ref().value)
        {
            checker.diagnostic(Diagnostic::at(amqp.span(), error.message).hint(error.hint));
        }
        let amqp = self.amqp.given().map(|amqp| amqp.get_ref().value.clone());
        let amqp = amqp.unwrap_or_default();
        Arc::new(BrokerConfig {
            ca: self.ca(checker, &amqp),
            max_message_bytes: checker.size_bytes(&self.max_message, &MAX_MESSAGE),
            amqp: Secret::new(amqp),
            confirm_timeout: checker.within(&self.confirm_timeout, &CONFIRM_TIMEOUT),
            answer_timeout: checker.within(&self.answer_timeout, &ANSWER_TIMEOUT),
        })
    }
}

impl RawQueueSource {
    pub(super) fn read(table: &mut Table<'_>, report: &mut Report<'_>) -> Box<dyn ReadSource> {
        Box::new(Self {
            queue: table.key("queue", report),
            prefetch: table.key("prefetch", report),
            declare: RawDeclare::read(table, report),
            connection: table.key("connection", report),
        })
    }

    fn dead_letter(
        &self,
        checker: &mut Checker<'_, '_>,
        queue: &Spanned<Text>,
        (tables, at): (&PipelineTables<'_>, Option<&ConnectionName>),
    ) -> Option<String> {
        match tables.dead_letter {
            Key::Mistaken => None,
            Key::Given(given) => {
                link_dead_letters(checker, (tables, at), &given.get_ref().value, given.span());
                // Dead letters are always declared, so a name that cannot be declared is wrong.
                queue_name(checker, given, QueueType::default())
            }
            Key::Absent => {
                let name = format!("{}.dead", queue.get_ref().value);
                let is_declarable = name.len() <= SHORT_STRING_BYTES_MAX && !name.starts_with(RESERVED_PREFIX);
                if !is_declarable && queue.get_ref().value.len() <= SHORT_STRING_BYTES_MAX {
                    let message = "no queue of dead letters can be named after this queue";
                    let hint = "add `dead_letter = \"..\"` to the pipeline";
                    checker.diagnostic(Diagnostic::at(queue.span(), message).hint(hint));
                }
                link_dead_letters(checker, (tables, at), &name, queue.span());
                Some(name)
            }
        }
    }
}

impl ReadSource for RawQueueSource {
    fn check(&self, checker: &mut Checker<'_, '_>, tables: &PipelineTables<'_>) -> Option<Arc<dyn SourceConfig>> {
        let declare = self.declare.check(checker);
        let prefetch = checker.within(&self.prefetch, &PREFETCH);
        let queue = self.queue.given()?;
        let connection = checker.connection(&self.connection, &TRANSPORT, queue.span());
        let name = queue_name(checker, queue, declare);
        if let Some(at) = &connection {
            let endpoint = endpoint(at, &queue.get_ref().value).declared(declaration(declare));
            checker.link(tables.pipeline, EndpointRole::Source, endpoint, queue.span());
        }
        let dead_letter = self.dead_letter(checker, queue, (tables, connection.as_ref()));
        Some(Arc::new(QueueSourceConfig {
            connection: connection?,
            queue: name?,
            prefetch: u16::try_from(prefetch).unwrap_or(u16::MAX),
            declare,
            dead_letter: dead_letter?,
        }))
    }

    fn address(&self) -> Option<&Spanned<Text>> {
        self.queue.given()
    }
}

impl RawDeclare {
    fn read(table: &mut Table<'_>, report: &mut Report<'_>) -> Self {
        Self {
            kind: table.key("type", report),
            durable: table.key("durable", report),
        }
    }

    /// How a queue is declared.
    fn check(&self, checker: &mut Checker<'_, '_>) -> QueueType {
        let kind = checker.choice(&self.kind, "type", QUEUE_TYPE.words);
        let durable = self.durable.given();
        match (kind, durable.map(|durable| *durable.get_ref())) {
            (Some(QueueType::Classic { .. }), durable) => QueueType::Classic {
                durable: durable.unwrap_or(DURABLE),
            },
            (Some(QueueType::Passive), _) => {
                let hint = "a passive queue is taken as it is; leave out `durable`";
                checker.refuse(&self.durable, "`durable` has no meaning for a passive queue", hint);
                QueueType::Passive
            }
            // A `type` that is wrong says nothing about `durable`.
            (None, _) if !self.kind.is_absent() => QueueType::default(),
            (Some(QueueType::Quorum) | None, Some(false)) => {
                let hint = "add `type = \"classic\"` beside `durable = false`";
                checker.refuse(&self.durable, "a quorum queue is always durable", hint);
                QueueType::Quorum
            }
            (Some(QueueType::Quorum) | None, _) => QueueType::Quorum,
        }
    }

    fn refuse(&self, checker: &mut Checker<'_, '_>) {
        checker.refuse(&self.kind, "`type` has no meaning here", DEFAULT_EXCHANGE_ONLY);
        checker.refuse(&self.durable, "`durable` has no meaning here", DEFAULT_EXCHANGE_ONLY);
    }
}

impl RawExchange {
    pub(super) fn read(table: &mut Table<'_>, report: &mut Report<'_>) -> Box<dyn ReadDestination> {
        Box::new(Self {
            exchange: table.key("exchange", report),
            routing_key: table.key("routing_key", report),
            keys: table.key("keys", report),
            declare: RawDeclare::read(table, report),
            connection: table.key("connection", report),
        })
    }
}

impl ReadDestination for RawExchange {
    fn check(&self, checker: &mut Checker<'_, '_>, tables: &PipelineTables<'_>) -> Option<Arc<dyn DestinationConfig>> {
        checker.required(
            &self.routing_key,
            "routing_key",
            tables.span,
            "`routing_key = \"..\"`: a queue on the default exchange, else what the exchange routes by (may be empty)",
        );
        let keys = self.keys.given().map(|keys| checker.patterns(keys));
        let exchange = self.exchange.given()?;
        let connection = checker.connection(&self.connection, &TRANSPORT, exchange.span());
        let routing_key = self.routing_key.given();
        let declare = if exchange.get_ref().value.is_empty() {
            checker.refuse(
                &self.keys,
                "a plugin cannot choose the key on the default exchange: it would reach every queue",
                "leave out `keys`, or name an exchange",
            );
            let declare = self.declare.check(checker);
            let queue = routing_key?;
            if let Some(at) = &connection {
                let endpoint = endpoint(at, &queue.get_ref().value).declared(declaration(declare));
                checker.link(tables.pipeline, EndpointRole::Destination, endpoint, queue.span());
            }
            queue_name(checker, queue, declare)?;
            declare
        } else {
            self.declare.refuse(checker);
            short_string(checker, exchange, "exchange")?;
            short_string(checker, routing_key?, "routing key")?;
            QueueType::Passive
        };
        Some(Arc::new(ExchangeConfig {
            connection: connection?,
            exchange: exchange.get_ref().value.clone(),
            routing_key: routing_key?.get_ref().value.clone(),
            keys,
            declare,
        }))
    }
}

impl RawReply {
    pub(super) fn read(table: &mut Table<'_>, report: &mut Report<'_>) -> Box<dyn ReadDestination> {
        Box::new(Self {
            reply: table.key("reply", report),
            connection: table.key("connection", report),
        })
    }
}

impl ReadDestination for RawReply {
    fn check(&self, checker: &mut Checker<'_, '_>, tables: &PipelineTables<'_>) -> Option<Arc<dyn DestinationConfig>> {
        let patterns = self.reply.given()?;
        let allow = checker.patterns(patterns);
        let connection = checker.connection(&self.connection, &TRANSPORT, patterns.span());
        if tables.source.is_some_and(|(kind, _)| !kind.capabilities.takes_replies) {
            let diagnostic = Diagnostic::at(
                patterns.span(),
                "the messages of this source have no address to reply to",
            );
            checker.diagnostic(diagnostic.hint("`reply` needs a queue as the pipeline's source"));
        }
        let queue = tables.source.and_then(|(_, source)| source.address());
        if let Some(queue) = queue.filter(|queue| allow.is_match(&queue.get_ref().value)) {
            let message = "whoever sends a message can have its reply sent into the pipeline's own queue";
            let warning = Diagnostic::at(patterns.span(), message).hint("allow only the queues that clients listen to");
            checker.warning(warning.context(queue.span(), "which the patterns match"));
        }
        Some(Arc::new(ReplyConfig {
            connection: connection?,
            allow,
        }))
    }
}

/// Records where dead letters go, where the broker is known.
fn link_dead_letters(
    checker: &mut Checker<'_, '_>,
    (tables, at): (&PipelineTables<'_>, Option<&ConnectionName>),
    queue: &str,
    span: Span,
) {
    if let Some(at) = at {
        checker.link(tables.pipeline, EndpointRole::DeadLetter, endpoint(at, queue), span);
    }
}

/// A queue, as others of the file may name it too.
fn endpoint(at: &ConnectionName, queue: &str) -> LinkedEndpoint {
    LinkedEndpoint::shared("queue", format!("{at} {queue}"))
}

/// How the file declares a queue, where it does.
fn declaration(declare: QueueType) -> Option<Declaration> {
    (declare != QueueType::Passive).then(|| Declaration {
        how: format!("{declare:?}"),
        keys: &["type", "durable"],
    })
}

fn queue_name(checker: &mut Checker<'_, '_>, text: &Spanned<Text>, declare: QueueType) -> Option<String> {
    let name = &text.get_ref().value;
    if name.is_empty() {
        checker.diagnostic(Diagnostic::at(text.span(), "a queue must have a name"));
        return None;
    }
    short_string(checker, text, "queue")?;
    if name.starts_with(RESERVED_PREFIX) && declare != QueueType::Passive {
        let message = format!(
            "the queue {} cannot be declared: `amq.` is the broker's own",
            text.get_ref().quoted()
        );
        let hint = "choose another name, or take a queue that is there with `type = \"passive\"`";
        checker.diagnostic(Diagnostic::at(text.span(), message).hint(hint));
        return None;
    }
    Some(name.clone())
}

/// A text that AMQP can carry as a name.
fn short_string(checker: &mut Checker<'_, '_>, text: &Spanned<Text>, kind: &str) -> Option<()> {
    let value = &text.get_ref().value;
    let problem = if value.len() > SHORT_STRING_BYTES_MAX {
        format!(
            "the name of this {kind} has {} bytes, and AMQP allows {SHORT_STRING_BYTES_MAX}",
            value.len()
        )
    } else if value.contains(char::is_control) {
        format!("the name of this {kind} holds a control character")
    } else {
        return Some(());
    };
    checker.diagnostic(Diagnostic::at(text.span(), problem));
    None
}
