//! The checks of what is written of RabbitMQ: the broker, a queue as a source, exchanges and replies. Each reads one key, and
//! peeks at others. Connects nowhere.

use std::path::PathBuf;

use toml::Spanned;

use super::config::QueueType;
use super::keys::{DEFAULT_EXCHANGE_ONLY, DURABLE, QUEUE_TYPE, TRANSPORT};
use super::url as address;
use crate::ConnectionName;
use crate::config::reading::{
    Checker, Declaration, Diagnostic, EndpointRole, Expect, Key, LinkedEndpoint, Patterns, Table, Text,
};
use crate::config::{Globs, Secret, Span};

/// AMQP's short strings: names of queues and exchanges, routing keys.
const SHORT_STRING_BYTES_MAX: usize = 255;
/// Queues that only the broker may declare.
const RESERVED_PREFIX: &str = "amq.";

/// The broker's URL; an empty one stands in where there is none.
pub(super) fn url(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<Secret> {
    let key: Key<Text> = table.key("amqp", checker.report);
    checker.required(&key, "amqp", table.span(), "`amqp = \"${AMQP_URL}\"`");
    if let Some(amqp) = key.given()
        && let Err(error) = address::check(&amqp.get_ref().value)
    {
        checker.diagnostic(Diagnostic::at(amqp.span(), error.message).hint(error.hint));
    }
    let amqp = key.into_given().map(|amqp| amqp.value);
    Some(Secret::new(amqp.unwrap_or_default()))
}

pub(super) fn ca(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<Option<PathBuf>> {
    let key: Key<Text> = table.key("ca", checker.report);
    let amqp: Key<Text> = table.peek("amqp", checker.report);
    let amqp = amqp.into_given().map(|amqp| amqp.value).unwrap_or_default();
    if !address::is_tls(&amqp) && !amqp.is_empty() {
        checker.refuse(
            &key,
            "`ca` is for a broker that is reached by TLS",
            "write `amqps://` in `amqp`, or leave out `ca`",
        );
        return Some(None);
    }
    Some(key.given().and_then(|ca| checker.path(ca, Expect::File)))
}

/// The queue of a source.
pub(super) fn source_queue(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<String> {
    let key: Key<Text> = table.key("queue", checker.report);
    let queue = key.given()?;
    let declare = declared(table, checker);
    link_queue(table, checker, EndpointRole::Source, queue);
    queue_name(checker, queue, declare)
}

/// The queue of dead letters that the pipeline names, or else one that is named after the source's queue.
pub(super) fn dead_letter(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<String> {
    let queue: Key<Text> = table.peek("queue", checker.report);
    let queue = queue.given()?;
    match table.outer().peek::<Text>("dead_letter", checker.report) {
        Key::Mistaken => None,
        Key::Given(given) => {
            link_dead_letters(table, checker, &given.get_ref().value, given.span());
            // Dead letters are always declared, so a name that cannot be declared is wrong.
            queue_name(checker, &given, QueueType::default())
        }
        Key::Absent => {
            let name = format!("{}.dead", queue.get_ref().value);
            let is_declarable = name.len() <= SHORT_STRING_BYTES_MAX && !name.starts_with(RESERVED_PREFIX);
            if !is_declarable && queue.get_ref().value.len() <= SHORT_STRING_BYTES_MAX {
                let message = "no queue of dead letters can be named after this queue";
                let hint = "add `dead_letter = \"..\"` to the pipeline";
                checker.diagnostic(Diagnostic::at(queue.span(), message).hint(hint));
            }
            link_dead_letters(table, checker, &name, queue.span());
            Some(name)
        }
    }
}

/// How a queue is declared.
pub(super) fn declare(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<QueueType> {
    let key: Key<Text> = table.key("type", checker.report);
    let durable: Key<bool> = table.peek("durable", checker.report);
    match checker.choice(&key, "type", QUEUE_TYPE.words) {
        Some(QueueType::Classic { .. }) => {}
        Some(QueueType::Passive) => {
            let hint = "a passive queue is taken as it is; leave out `durable`";
            checker.refuse(&durable, "`durable` has no meaning for a passive queue", hint);
        }
        // A `type` that is mistaken says nothing about `durable`.
        None if !key.is_absent() => {}
        Some(QueueType::Quorum) | None => {
            if durable.given().is_some_and(|durable| !durable.get_ref()) {
                let hint = "add `type = \"classic\"` beside `durable = false`";
                checker.refuse(&durable, "a quorum queue is always durable", hint);
            }
        }
    }
    Some(declared(table, checker))
}

/// The same, for another key's check.
fn declared(table: &Table<'_>, checker: &Checker<'_, '_>) -> QueueType {
    let durable: Key<bool> = table.peek("durable", checker.report);
    match QUEUE_TYPE.peek("type", table, checker) {
        Some(QueueType::Classic { .. }) => QueueType::Classic {
            durable: durable.into_given().unwrap_or(DURABLE),
        },
        other => other.unwrap_or_default(),
    }
}

/// How the queue that a routing key names is declared.
pub(super) fn declare_routed(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<QueueType> {
    let is_default = is_default_exchange(table, checker);
    if is_default == Some(true) {
        return declare(table, checker);
    }
    let key: Key<Text> = table.key("type", checker.report);
    let durable: Key<bool> = table.peek("durable", checker.report);
    is_default?;
    checker.refuse(&key, "`type` has no meaning here", DEFAULT_EXCHANGE_ONLY);
    checker.refuse(&durable, "`durable` has no meaning here", DEFAULT_EXCHANGE_ONLY);
    Some(QueueType::Passive)
}

pub(super) fn exchange(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<String> {
    let key: Key<Text> = table.key("exchange", checker.report);
    let exchange = key.given()?;
    short_string(checker, exchange, "exchange")?;
    Some(exchange.get_ref().value.clone())
}

/// A queue on the default exchange, and any text elsewhere.
pub(super) fn routing_key(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<String> {
    let key: Key<Text> = table.key("routing_key", checker.report);
    checker.required(
        &key,
        "routing_key",
        table.span(),
        "`routing_key = \"..\"`: a queue on the default exchange, else what the exchange routes by (may be empty)",
    );
    let routing_key = key.given()?;
    if is_default_exchange(table, checker)? {
        link_queue(table, checker, EndpointRole::Destination, routing_key);
        let declare = declared(table, checker);
        return queue_name(checker, routing_key, declare);
    }
    short_string(checker, routing_key, "routing key")?;
    Some(routing_key.get_ref().value.clone())
}

pub(super) fn keys(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<Option<Globs>> {
    let key: Key<Patterns> = table.key("keys", checker.report);
    let keys = key.given().map(|keys| checker.patterns(keys));
    if is_default_exchange(table, checker)? {
        checker.refuse(
            &key,
            "a plugin cannot choose the key on the default exchange: it would reach every queue",
            "leave out `keys`, or name an exchange",
        );
    }
    Some(keys)
}

/// `None` where that cannot be read.
fn is_default_exchange(table: &Table<'_>, checker: &Checker<'_, '_>) -> Option<bool> {
    let exchange: Key<Text> = table.peek("exchange", checker.report);
    exchange.into_given().map(|exchange| exchange.value.is_empty())
}

/// The queues that a reply may go to.
pub(super) fn reply(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<Globs> {
    let key: Key<Patterns> = table.key("reply", checker.report);
    let patterns = key.given()?;
    let allow = checker.patterns(patterns);
    let Some((kind, source)) = checker.source_of(table.outer()) else {
        return Some(allow);
    };
    if !kind.capabilities.takes_replies {
        let diagnostic = Diagnostic::at(
            patterns.span(),
            "the messages of this source have no address to reply to",
        );
        checker.diagnostic(diagnostic.hint("`reply` needs a queue as the pipeline's source"));
    }
    if let Some(queue) = source.peek::<Text>("queue", checker.report).given()
        && allow.is_match(&queue.get_ref().value)
    {
        let message = "the sender of a message can have its reply sent into the pipeline's own queue";
        let warning = Diagnostic::at(patterns.span(), message).hint("allow only the queues that clients listen to");
        checker.warning(warning.context(queue.span(), "which the patterns match"));
    }
    Some(allow)
}

/// The connection of replies is the source's: an address to reply to means something at the broker that the message came
/// from.
pub(super) fn reply_connection(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<ConnectionName> {
    match checker.source_of(table.outer()) {
        Some((kind, source)) if kind.capabilities.takes_replies => checker.connection_of(&source, &TRANSPORT),
        // Its mistake is reported.
        _ => Some(ConnectionName::default()),
    }
}

/// Notes a queue that a source or a destination names, where the broker is known.
fn link_queue(table: &Table<'_>, checker: &mut Checker<'_, '_>, role: EndpointRole, queue: &Spanned<Text>) {
    if let Some(at) = checker.connection_of(table, &TRANSPORT) {
        let server = checker.server_of(&at);
        let endpoint = endpoint(&server, &queue.get_ref().value).declared(declaration(declared(table, checker)));
        checker.link(table, role, endpoint, queue.span());
    }
}

/// Notes where dead letters go, where the broker is known.
fn link_dead_letters(table: &Table<'_>, checker: &mut Checker<'_, '_>, queue: &str, span: Span) {
    if let Some(at) = checker.connection_of(table, &TRANSPORT) {
        let server = checker.server_of(&at);
        checker.link(table, EndpointRole::DeadLetter, endpoint(&server, queue), span);
    }
}

/// A queue, as others of the file may name it too.
fn endpoint(server: &str, queue: &str) -> LinkedEndpoint {
    LinkedEndpoint::shared("queue", format!("{server} {queue}"))
}

/// How the file declares a queue, where it does.
fn declaration(declare: QueueType) -> Option<Declaration> {
    (declare != QueueType::Passive).then(|| Declaration {
        how: format!("{declare:?}"),
        keys: &["type", "durable"],
    })
}

/// The name of a queue.
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
