//! Queues that others declared: their kind, as far as AMQP shows it, and which of them lose messages here. Changes nothing
//! there, and receives no message.

use std::sync::Arc;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tracing::warn;

use super::line::{BrokerCallError, Line};
use super::properties::short;
use super::refusal::inequivalent;
use super::topology::{self, TopologyError};

/// A type that no queue has: a declaration with it is refused, whether the queue exists or not, and the refusal names the
/// first property that differs.
const NO_TYPE: &str = "none";

/// Properties that a queue may be found to have, one by one.
const PROPERTIES_MAX: usize = 16;

const TYPE: &str = "x-queue-type";

/// A property of a queue that was found, with its value as the broker writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Property(String, String);

/// An objection to a queue that others declared, as a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Objection {
    /// It loses messages whenever this host stops, so that it is refused.
    Refused(String, &'static str),
    /// It loses messages by how its owner declared it.
    Loses(String),
}

/// Refuses a stream: consumed like a queue, it begins with the messages that are sent from now on, and forgets those that
/// were not acknowledged. Needs only the permission to consume.
///
/// # Errors
/// [`TopologyError::Unfit`] for a stream, and whatever the broker says.
pub(super) async fn refuse_streams(line: &Arc<Line>, queue: &str) -> Result<(), TopologyError> {
    let channel = topology::open(line).await?;
    // Should a broker take it, it delivers one message, which goes back with the channel.
    channel.prefetch(1).await.map_err(super::ConnectError::from)?;
    // Every RabbitMQ refuses it, by the type of the value; a stream takes no such argument at all, and names its type.
    let mut arguments = FieldTable::default();
    arguments.insert("x-priority".into(), AMQPValue::LongString(NO_TYPE.into()));
    let refusal = match channel.consume(short("queue", queue)?, arguments).await {
        Ok(_) => return Ok(()),
        Err(BrokerCallError::Answered(error)) => super::refusal::BrokerRefusal::of(&error),
        Err(failure) => return Err(TopologyError::Connect(failure.into())),
    };
    match refusal {
        Some(refusal) if refusal.words.contains("rabbit_stream_queue") => Err(stream(queue)),
        // The consumer that follows reports any other problem.
        _ => Ok(()),
    }
}

fn stream(queue: &str) -> TopologyError {
    TopologyError::Unfit {
        queue: queue.to_owned(),
        problem: STREAM.to_owned(),
        hint: STREAM_HINT,
    }
}

const STREAM: &str = "is a stream: messages that are sent while no host runs, or are in flight when a host ends, would never \
                      be delivered";
const STREAM_HINT: &str = "use a quorum or a classic queue, bound to what the stream is bound to";

/// Whether a queue that others declared may be a source; logs once where its declaration can lose messages.
///
/// # Errors
/// As [`refuse_streams`], for every kind that is refused.
pub(super) async fn accept(line: &Arc<Line>, queue: &str, is_first: bool) -> Result<(), TopologyError> {
    refuse_streams(line, queue).await?;
    if !is_first {
        return Ok(());
    }
    for objection in objections(line, queue).await?.0 {
        match objection {
            Objection::Loses(what) => warn!(
                queue,
                what, "the queue may lose messages, by the way its owner declared it"
            ),
            Objection::Refused(problem, hint) => {
                return Err(TopologyError::Unfit {
                    queue: queue.to_owned(),
                    problem,
                    hint,
                });
            }
        }
    }
    Ok(())
}

/// The objections to a queue that others declared, and whether it is a quorum queue. None where the user may not declare
/// queues: then only [`refuse_streams`] finds something.
///
/// # Errors
/// Whatever the broker says.
pub(super) async fn objections(line: &Arc<Line>, queue: &str) -> Result<(Vec<Objection>, Option<bool>), TopologyError> {
    let found = properties(line, queue).await?;
    let kind = found.iter().find(|Property(name, _)| name == TYPE);
    let is_quorum = kind.map(|Property(_, kind)| kind == "quorum");
    Ok((found.iter().filter_map(object).collect(), is_quorum))
}

/// Finds out how a queue was declared: each refused declaration names one property that differs, which the next one has.
async fn properties(line: &Arc<Line>, queue: &str) -> Result<Vec<Property>, TopologyError> {
    let mut found: Vec<Property> = Vec::new();
    for _ in 0..PROPERTIES_MAX {
        let channel = topology::open(line).await?;
        let (options, arguments) = guess(&found);
        let refusal = match channel.declare(short("queue", queue)?, options, arguments).await {
            Ok(_) => break,
            Err(BrokerCallError::Answered(error)) => super::refusal::BrokerRefusal::of(&error),
            Err(failure) => return Err(TopologyError::Connect(failure.into())),
        };
        let Some(refusal) = refusal else { break };
        let Some((name, value)) = inequivalent(&refusal.words) else {
            break;
        };
        let is_known = found.iter().any(|Property(known, _)| known == name);
        found.push(Property(name.to_owned(), value.to_owned()));
        // With the type that was found, the declaration could create a queue that was deleted in between.
        if is_known || name == TYPE {
            break;
        }
    }
    Ok(found)
}

/// A declaration with the properties that were found, and a type that does not exist.
fn guess(found: &[Property]) -> (QueueDeclareOptions, FieldTable) {
    let mut options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let mut arguments = FieldTable::default();
    arguments.insert(TYPE.into(), AMQPValue::LongString(NO_TYPE.into()));
    for Property(name, value) in found {
        match name.as_str() {
            "durable" => options.durable = value == "true",
            "auto_delete" => options.auto_delete = value == "true",
            "exclusive" => options.exclusive = value == "true",
            _ => {
                let value = match (value.parse(), value.as_str()) {
                    (Ok(number), _) => AMQPValue::LongLongInt(number),
                    (_, "true") => AMQPValue::Boolean(true),
                    (_, "false") => AMQPValue::Boolean(false),
                    (_, text) => AMQPValue::LongString(text.into()),
                };
                if let Ok(name) = ShortString::try_new(name.clone()) {
                    arguments.insert(name, value);
                }
            }
        }
    }
    (options, arguments)
}

fn object(Property(name, value): &Property) -> Option<Objection> {
    let loses = |what: &str| Some(Objection::Loses(what.to_owned()));
    match (name.as_str(), value.as_str()) {
        (TYPE, "stream") => Some(Objection::Refused(STREAM.to_owned(), STREAM_HINT)),
        ("auto_delete", "true") => Some(Objection::Refused(
            "is deleted, with every message in it, when its last consumer leaves: whenever this host stops or reconnects"
                .to_owned(),
            "declare it without `auto-delete`",
        )),
        ("durable", "false") => loses("is not durable: a restart of the broker deletes it with the messages in it"),
        ("x-expires", _) => Some(Objection::Loses(format!(
            "is deleted with the messages in it when it has no consumer for {value} ms (`x-expires`): this host may be away \
             for no longer"
        ))),
        ("x-message-ttl", _) => Some(Objection::Loses(format!(
            "drops messages that wait for more than {value} ms (`x-message-ttl`), unless it has a dead-letter exchange"
        ))),
        ("x-max-length" | "x-max-length-bytes", _) => Some(Objection::Loses(format!(
            "holds no more than {value} ({name}): unless it says `reject-publish` as its `x-overflow`, the oldest \
             messages are dropped"
        ))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_that_lose_messages_are_objected_to() {
        let rows = [
            ("x-queue-type", "stream", Some((true, "is a stream"))),
            ("x-queue-type", "quorum", None),
            ("x-queue-type", "none", None),
            ("auto_delete", "true", Some((true, "last consumer"))),
            ("auto_delete", "false", None),
            ("durable", "false", Some((false, "not durable"))),
            ("x-expires", "600000", Some((false, "600000 ms"))),
            ("x-message-ttl", "5", Some((false, "5 ms"))),
            ("x-max-length", "10", Some((false, "reject-publish"))),
            ("x-max-length-bytes", "10", Some((false, "reject-publish"))),
            ("x-max-priority", "5", None),
            ("x-queue-mode", "lazy", None),
            ("x-single-active-consumer", "true", None),
        ];
        for (name, value, expected) in rows {
            let found = object(&Property(name.to_owned(), value.to_owned()));
            let found = found.map(|objection| match objection {
                Objection::Refused(what, _) => (true, what),
                Objection::Loses(what) => (false, what),
            });
            match (found, expected) {
                (None, None) => {}
                (Some((refused, what)), Some((expected, part))) => {
                    assert!(refused == expected && what.contains(part), "{name}: {what}");
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }
}
