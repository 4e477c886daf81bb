//! Properties and headers: from the wire to plain data, and from our envelopes to the wire. All input is untrusted and is
//! bounded here; nothing of it goes out as a property unless this module says so.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::copies::published_to;
use crate::deadline;
use crate::digest::digest;
use crate::message::{Envelope, Message};

/// The attempt that a copy of a retried message begins.
pub(super) const ATTEMPT: &str = "x-millrace-attempt";

/// Headers that make the broker route a message to more queues; a copy must not repeat that.
pub(super) const STEERING: [&str; 2] = ["CC", "BCC"];

/// A delivery mode that survives a broker restart.
pub(super) const PERSISTENT: u8 = 2;

/// Reads a delivery as plugins see it.
pub(super) fn message(source: &str, delivery: &mut Delivery) -> Message {
    let body = std::mem::take(&mut delivery.data);
    let (_, key) = published_to(delivery);
    let properties = &delivery.properties;
    let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string);
    let headers = properties.headers().as_ref().map(FieldTable::inner);
    let body_digest = OnceLock::new();
    let id = text(properties.message_id())
        .filter(|id| !id.is_empty())
        .unwrap_or_else(|| body_digest.get_or_init(|| digest(&body)).clone());
    let attempt = headers
        .and_then(|headers| headers.get(ATTEMPT))
        .and_then(integer)
        .unwrap_or(1);
    Message {
        id,
        correlation_id: text(properties.correlation_id()),
        reply_to: text(properties.reply_to()),
        source: source.to_owned(),
        key,
        file: None,
        attempt: u32::try_from(attempt).unwrap_or(1).max(1),
        redelivered: delivery.redelivered,
        content_type: text(properties.content_type()),
        deadline: deadline(properties).unwrap_or(None),
        headers: headers
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.to_string(), plain(value)?)))
            .collect(),
        body: Arc::new(body),
        body_digest,
    }
}

/// When a message's answer is of no use any more.
///
/// # Errors
/// When the header cannot be read.
pub(super) fn deadline(properties: &BasicProperties) -> Result<Option<SystemTime>, UnreadableDeadline> {
    let headers = properties.headers().as_ref().map(FieldTable::inner);
    let Some(value) = headers.and_then(|headers| headers.get(deadline::HEADER)) else {
        return Ok(None);
    };
    let read = match value {
        AMQPValue::Timestamp(seconds) => deadline::seconds(*seconds),
        AMQPValue::LongString(_) | AMQPValue::ShortString(_) => plain(value).and_then(|text| deadline::text(&text)),
        other => integer(other).and_then(deadline::milliseconds),
    };
    read.map(Some).ok_or(UnreadableDeadline)
}

/// A deadline is in no form that we read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the header `{}` cannot be read: it takes {}", deadline::HEADER, deadline::FORMS)]
pub(super) struct UnreadableDeadline;

/// The properties of something that we publish. Its headers are apart: a nonce joins them whenever it is sent.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    basic: BasicProperties,
    headers: FieldTable,
}

impl Outgoing {
    /// The properties of a result or a dead letter.
    ///
    /// # Errors
    /// Names the property that does not fit into an AMQP short string (255 bytes).
    pub(super) fn of(envelope: Envelope) -> Result<Self, TooLong> {
        let Envelope {
            message_id,
            correlation_id,
            content_type,
            headers,
        } = envelope;
        let header = |(name, value): (Cow<'static, str>, String)| {
            Ok((short("header name", name)?, AMQPValue::LongString(value.into())))
        };
        let headers = headers.into_iter().map(header).collect::<Result<BTreeMap<_, _>, _>>()?;
        let mut basic = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(short("message id", message_id)?)
            .with_correlation_id(short("correlation id", correlation_id)?)
            .with_app_id("millrace".into());
        if let Some(content_type) = content_type {
            basic = basic.with_content_type(short("content type", content_type)?);
        }
        Ok(Self {
            basic,
            headers: headers.into(),
        })
    }

    /// The properties with one more header.
    pub(super) fn with_header(&self, name: &str, value: String) -> BasicProperties {
        let mut headers = self.headers.clone();
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
        self.basic.clone().with_headers(headers)
    }

    /// The correlation id.
    pub(super) fn correlation_id(&self) -> Option<&str> {
        self.basic.correlation_id().as_ref().map(ShortString::as_str)
    }

    /// How many bytes it has on the wire.
    fn encoded_bytes(&self) -> usize {
        encoded_bytes(&self.basic).saturating_add(table_bytes(&self.headers))
    }
}

impl From<BasicProperties> for Outgoing {
    fn from(properties: BasicProperties) -> Self {
        let headers = properties.headers().clone().unwrap_or_default();
        Self {
            basic: properties.with_headers(FieldTable::default()),
            headers,
        }
    }
}

/// The frame size of every connection of ours: a broker that allows less is refused at the login.
pub(super) const FRAME_BYTES: usize = 131_072;

/// The most that properties may have on the wire: the broker wants them in one frame, beside the frame's own 8 bytes and the 12 of
/// class, weight and body size, and closes the connection over more.
const PROPERTIES_BYTES_MAX: usize = FRAME_BYTES - 8 - 12;

/// The bytes that publishing adds: the nonce header, of a name of 16 bytes, and a host id (97) with two numbers (42) as its value.
const NONCE_BYTES: usize = 256;

/// The bytes that a copy of a message adds to its headers: an attempt, a crash count, where it was published to.
const COPY_BYTES: usize = 2 * 1024;

/// The most bytes that the properties of a publish may have.
pub(super) const PUBLISHED_BYTES_MAX: usize = PROPERTIES_BYTES_MAX - NONCE_BYTES;

/// The most bytes that the properties of a message may have, so that a copy of it fits too.
pub(super) const RECEIVED_BYTES_MAX: usize = PUBLISHED_BYTES_MAX - COPY_BYTES;

/// How many bytes properties have on the wire: two of flags, and those that are set.
pub(super) fn encoded_bytes(properties: &BasicProperties) -> usize {
    let texts = [
        properties.content_type(),
        properties.content_encoding(),
        properties.correlation_id(),
        properties.reply_to(),
        properties.expiration(),
        properties.message_id(),
        properties.kind(),
        properties.user_id(),
        properties.app_id(),
        properties.cluster_id(),
    ];
    let texts = texts.into_iter().flatten().map(short_bytes).sum::<usize>();
    let headers = properties.headers().as_ref().map_or(0, table_bytes);
    let numbers = usize::from(properties.delivery_mode().is_some()) + usize::from(properties.priority().is_some());
    let timestamp = properties.timestamp().map_or(0, |_| size_of::<u64>());
    2 + texts + headers + numbers + timestamp
}

fn short_bytes(text: &ShortString) -> usize {
    1 + text.as_str().len()
}

/// The length of a table, and its entries. Of what the broker sends, `guard.rs` bounds the depth.
fn table_bytes(table: &FieldTable) -> usize {
    let entries = table.inner().iter();
    4 + entries
        .map(|(name, value)| short_bytes(name) + value_bytes(value))
        .sum::<usize>()
}

/// The type of a value, and the value.
fn value_bytes(value: &AMQPValue) -> usize {
    1 + match value {
        AMQPValue::Void => 0,
        AMQPValue::Boolean(_) | AMQPValue::ShortShortInt(_) | AMQPValue::ShortShortUInt(_) => 1,
        AMQPValue::ShortInt(_) | AMQPValue::ShortUInt(_) => 2,
        AMQPValue::LongInt(_) | AMQPValue::LongUInt(_) | AMQPValue::Float(_) => 4,
        AMQPValue::DecimalValue(_) => 5,
        AMQPValue::LongLongInt(_) | AMQPValue::Double(_) | AMQPValue::Timestamp(_) => 8,
        AMQPValue::ShortString(text) => short_bytes(text),
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.as_slice().len(),
        AMQPValue::FieldArray(values) => 4 + values.as_slice().iter().map(value_bytes).sum::<usize>(),
        AMQPValue::FieldTable(table) => table_bytes(table),
    }
}

/// A text does not fit where the protocol wants at most 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {what} has {length} bytes, and AMQP takes 255")]
pub struct TooLong {
    what: &'static str,
    length: usize,
}

/// A message that the broker would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A name is too long.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The body is too large.
    #[error("it has {found} bytes, and `max_message` of its connection says that the broker takes {allowed}")]
    Body {
        /// Its bytes.
        found: usize,
        /// The limit.
        allowed: usize,
    },
    /// The headers are too large.
    #[error("its headers have {found} bytes, and AMQP takes {allowed} in one frame")]
    Headers {
        /// Their bytes.
        found: usize,
        /// The limit.
        allowed: usize,
    },
}

/// Checks a plugin's result before it is published.
pub(super) fn check_fit(body: &[u8], properties: &Outgoing, max_message_bytes: usize) -> Result<(), Unfit> {
    let (found, allowed) = (body.len(), max_message_bytes);
    if found > allowed {
        return Err(Unfit::Body { found, allowed });
    }
    let (found, allowed) = (properties.encoded_bytes(), PUBLISHED_BYTES_MAX);
    if found > allowed {
        return Err(Unfit::Headers { found, allowed });
    }
    Ok(())
}

/// Checks the length of a name; lapin's own conversion panics.
pub(super) fn short(what: &'static str, text: impl Into<String>) -> Result<ShortString, TooLong> {
    let text = text.into();
    let length = text.len();
    ShortString::try_new(text).map_err(|_| TooLong { what, length })
}

pub(super) fn integer(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(value) => Some(i64::from(*value)),
        AMQPValue::ShortShortUInt(value) => Some(i64::from(*value)),
        AMQPValue::ShortInt(value) => Some(i64::from(*value)),
        AMQPValue::ShortUInt(value) => Some(i64::from(*value)),
        AMQPValue::LongInt(value) => Some(i64::from(*value)),
        AMQPValue::LongUInt(value) => Some(i64::from(*value)),
        AMQPValue::LongLongInt(value) => Some(*value),
        AMQPValue::LongString(value) => std::str::from_utf8(value.as_bytes()).ok()?.parse().ok(),
        AMQPValue::ShortString(value) => value.as_str().parse().ok(),
        _ => None,
    }
}

/// A header in its usual notation; nested tables and arrays are none.
pub(super) fn plain(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(value) => Some(String::from_utf8_lossy(value.as_bytes()).into_owned()),
        AMQPValue::ShortString(value) => Some(value.to_string()),
        AMQPValue::Boolean(value) => Some(value.to_string()),
        AMQPValue::Float(value) => Some(value.to_string()),
        AMQPValue::Double(value) => Some(value.to_string()),
        AMQPValue::Timestamp(value) => Some(value.to_string()),
        other => integer(other).map(|value| value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_headers(headers: &[(&str, AMQPValue)]) -> BasicProperties {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), value.clone());
        }
        BasicProperties::default().with_headers(table)
    }

    #[test]
    fn an_attempt_is_read_from_any_integer_and_never_below_one() {
        for (value, expect) in [
            (AMQPValue::LongInt(3), 3),
            (AMQPValue::LongString("4".into()), 4),
            (AMQPValue::LongLongInt(-7), 1),
            (AMQPValue::LongLongInt(i64::MAX), 1),
            (AMQPValue::LongString("many".into()), 1),
        ] {
            let mut delivery = Delivery::mock(1, "".into(), "k".into(), false, b"body".to_vec());
            delivery.properties = with_headers(&[(ATTEMPT, value.clone())]);
            assert_eq!(message("q", &mut delivery).attempt, expect, "{value:?}");
        }
    }

    #[test]
    fn the_size_of_properties_is_that_of_the_wire() {
        // Two bytes of flags; four of the table's length, and name, type, length and text of its one entry.
        let one = with_headers(&[("colour", AMQPValue::LongString("red".into()))]);
        assert_eq!(encoded_bytes(&BasicProperties::default()), 2);
        assert_eq!(encoded_bytes(&one), 2 + 4 + (1 + 6) + 1 + 4 + 3);
        assert_eq!(
            encoded_bytes(&one.with_priority(1).with_message_id("id".into())),
            2 + 4 + 15 + 1 + 3
        );
    }

    #[test]
    fn a_name_over_255_bytes_is_an_error_and_no_panic() {
        assert!(short("key", "k".repeat(256)).is_err());
        assert!(short("key", "k".repeat(255)).is_ok());
    }
}
