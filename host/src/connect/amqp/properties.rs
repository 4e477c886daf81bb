//! Properties and headers: from the wire to plain data, and from our envelopes to the wire. Everything that comes in
//! was chosen by strangers and is bounded here; nothing of it goes out as a property unless this room says so.

use std::sync::OnceLock;
use std::time::SystemTime;

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde_json::{Map, Value, json};

use super::copies::published_to;
use crate::connect::deadline;
use crate::envelope::digest;
use crate::message::{Envelope, Message};

/// The attempt that a copy of a retried message begins.
pub(super) const ATTEMPT: &str = "x-millrace-attempt";

/// The original properties and headers of a dead letter, as JSON.
pub(super) const ORIGINAL: &str = "x-millrace-original";

/// The most of a message's headers that a dead letter carries: the broker closes the connection at 131 KB.
const ORIGINAL_MAX_BYTES: usize = 32 * 1024;

/// How deep nested header tables are read.
const DEPTH_MAX: usize = 8;

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
        attempt: u32::try_from(attempt).unwrap_or(1).max(1),
        redelivered: delivery.redelivered,
        content_type: text(properties.content_type()),
        deadline: deadline(properties).unwrap_or(None),
        headers: headers
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.to_string(), plain(value)?)))
            .collect(),
        body,
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

/// The properties of something that we publish.
///
/// # Errors
/// Names the property that does not fit into an AMQP short string (255 bytes).
pub(super) fn outgoing(envelope: &Envelope) -> Result<BasicProperties, TooLong> {
    let mut headers = FieldTable::default();
    for (name, value) in &envelope.headers {
        headers.insert(
            short("header name", name)?,
            AMQPValue::LongString(value.as_str().into()),
        );
    }
    let mut properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(short("message id", &envelope.message_id)?)
        .with_correlation_id(short("correlation id", &envelope.correlation_id)?)
        .with_app_id("millrace".into())
        .with_headers(headers);
    if let Some(content_type) = &envelope.content_type {
        properties = properties.with_content_type(short("content type", content_type)?);
    }
    Ok(properties)
}

/// What a message had when it was taken, as JSON for its dead letter; headers that do not fit are left out and counted.
pub(super) fn original(exchange: &str, routing_key: &str, properties: &BasicProperties) -> String {
    let mut known = Map::new();
    let mut keep = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            known.insert(name.to_owned(), value);
        }
    };
    let text = |value: &Option<ShortString>| value.as_ref().map(|value| json!(value.to_string()));
    keep("content_type", text(properties.content_type()));
    keep("content_encoding", text(properties.content_encoding()));
    keep("delivery_mode", properties.delivery_mode().map(Value::from));
    keep("priority", properties.priority().map(Value::from));
    keep("correlation_id", text(properties.correlation_id()));
    keep("reply_to", text(properties.reply_to()));
    keep("expiration", text(properties.expiration()));
    keep("message_id", text(properties.message_id()));
    keep("timestamp", properties.timestamp().map(Value::from));
    keep("type", text(properties.kind()));
    keep("user_id", text(properties.user_id()));
    keep("app_id", text(properties.app_id()));

    let (mut headers, mut n_cut, mut bytes) = (Map::new(), 0, 0);
    for (name, value) in properties.headers().iter().flat_map(|headers| headers.inner()) {
        let value = tree(value, DEPTH_MAX);
        bytes += name.as_str().len() + value.to_string().len();
        if bytes > ORIGINAL_MAX_BYTES {
            n_cut += 1;
        } else {
            headers.insert(name.to_string(), value);
        }
    }
    let mut original = json!({
        "exchange": exchange, "routing_key": routing_key, "properties": known, "headers": headers,
    });
    if let (Some(object), 1..) = (original.as_object_mut(), n_cut) {
        object.insert("cut_headers".to_owned(), n_cut.into());
    }
    original.to_string()
}

/// A text does not fit where the protocol wants at most 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {what} has {length} bytes, and AMQP takes 255")]
pub struct TooLong {
    what: &'static str,
    length: usize,
}

/// Checks the length of a name; lapin's own conversion panics.
pub(super) fn short(what: &'static str, text: &str) -> Result<ShortString, TooLong> {
    ShortString::try_new(text).map_err(|_| TooLong {
        what,
        length: text.len(),
    })
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

fn tree(value: &AMQPValue, depth: usize) -> Value {
    match value {
        AMQPValue::FieldTable(_) | AMQPValue::FieldArray(_) if depth == 0 => json!("(nested too deeply)"),
        AMQPValue::FieldTable(table) => table
            .inner()
            .iter()
            .map(|(name, value)| (name.to_string(), tree(value, depth - 1)))
            .collect::<Map<_, _>>()
            .into(),
        AMQPValue::FieldArray(array) => array
            .as_slice()
            .iter()
            .map(|value| tree(value, depth - 1))
            .collect::<Vec<_>>()
            .into(),
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::Float(value) => json!(value),
        AMQPValue::Double(value) => json!(value),
        AMQPValue::Timestamp(value) => json!(value),
        AMQPValue::ByteArray(bytes) => json!(format!("({} bytes)", bytes.len())),
        AMQPValue::DecimalValue(value) => json!(format!("{}e-{}", value.value, value.scale)),
        AMQPValue::Void => Value::Null,
        AMQPValue::LongString(value) => json!(String::from_utf8_lossy(value.as_bytes())),
        other => integer(other).map_or_else(|| json!(plain(other)), Value::from),
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
    fn the_original_of_a_dead_letter_is_bounded() {
        let mut nested = AMQPValue::Void;
        for _ in 0..100 {
            nested = AMQPValue::FieldArray(vec![nested].into());
        }
        let big = AMQPValue::LongString("x".repeat(40_000).into());
        let text = original("", "images", &with_headers(&[("a-nested", nested), ("b-big", big)]));
        assert!(text.len() < ORIGINAL_MAX_BYTES);
        let original: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(original["cut_headers"], 1);
        assert!(
            original["headers"]["a-nested"]
                .to_string()
                .contains("nested too deeply")
        );
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
    fn a_name_over_255_bytes_is_an_error_and_no_panic() {
        assert!(short("key", &"k".repeat(256)).is_err());
        assert!(short("key", &"k".repeat(255)).is_ok());
    }
}
