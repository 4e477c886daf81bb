//! A message as its publisher sent it: kept in a dead letter as JSON that loses no type, and put back from there.
//! Knows no queue. Its input is untrusted.
//!
//! Text is plain JSON text, and so are booleans, arrays and `null`; everything else is an object of one key that names
//! its AMQP type: `{"i32": 5}`, `{"f64": "0.1"}`, `{"timestamp": 1700000000}`, `{"bytes": "00ff"}`,
//! `{"table": {"name": ..}}`, `{"decimal": {"scale": 2, "value": 314}}`, and `{"string": "ff00"}` for a text that is not
//! UTF-8. Floats are written as text, so that no reader rounds them; one that is no number, by its bits.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, DecimalValue, FieldTable, LongString, ShortString};
use serde_json::{Map, Value, json};

use super::super::copies::{self, CRASH_COUNT, EXCHANGE, FORMER_CRASH_COUNT, KEY};
use super::super::properties::{ATTEMPT, STEERING};
use super::super::publish_channel::NONCE;

/// Headers that hosts and queues add to a message on its way, and its publisher did not send.
const ADDED: [&str; 8] = [
    ATTEMPT,
    EXCHANGE,
    KEY,
    CRASH_COUNT,
    FORMER_CRASH_COUNT,
    NONCE,
    "x-delivery-count",
    "x-acquired-count",
];

/// The most of a message's headers that a dead letter carries: the broker closes the connection at 131 KB.
const HEADERS_MAX_BYTES: usize = 32 * 1024;

/// The longest text that is read back: ours have at most that of headers, and thirteen properties.
const TEXT_MAX_BYTES: usize = 64 * 1024;

/// How many names of left-out headers are kept: as many as a person reads.
const CUT_NAMES_MAX: usize = 16;

/// The most of such a name.
const CUT_NAME_CHARS: usize = 64;

/// How deep nested header tables may be: two levels of JSON each, of the 128 that its reader takes.
const DEPTH_MAX: usize = 32;

/// A reply queue of this name is a promise of the channel that publishes it; any other channel is closed over it.
const DIRECT_REPLY: &str = "amq.rabbitmq.reply-to";

/// A message as its publisher sent it, without its body.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Original {
    pub(in super::super) exchange: String,
    pub(in super::super) routing_key: String,
    pub(in super::super) properties: BasicProperties,
    /// Headers that were left out of the dead letter, because they were too large or nested too deeply.
    pub(in super::super) n_cut: u64,
    /// The names of the first of them.
    pub(in super::super) cut_names: Vec<String>,
}

/// The text is not in the form that we write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum NotOriginal {
    /// No JSON, or too much of it.
    #[error("it is no JSON of at most {TEXT_MAX_BYTES} bytes")]
    Json,
    /// A part is missing or is not what it should be.
    #[error("{0:?} is missing, or is nothing that a dead letter holds")]
    Part(String),
}

type Text = (
    &'static str,
    fn(&BasicProperties) -> &Option<ShortString>,
    fn(BasicProperties, ShortString) -> BasicProperties,
);

/// The properties that are text.
const TEXTS: [Text; 10] = [
    (
        "content_type",
        BasicProperties::content_type,
        BasicProperties::with_content_type,
    ),
    (
        "content_encoding",
        BasicProperties::content_encoding,
        BasicProperties::with_content_encoding,
    ),
    (
        "correlation_id",
        BasicProperties::correlation_id,
        BasicProperties::with_correlation_id,
    ),
    ("reply_to", BasicProperties::reply_to, BasicProperties::with_reply_to),
    (
        "expiration",
        BasicProperties::expiration,
        BasicProperties::with_expiration,
    ),
    (
        "message_id",
        BasicProperties::message_id,
        BasicProperties::with_message_id,
    ),
    ("type", BasicProperties::kind, BasicProperties::with_type),
    ("user_id", BasicProperties::user_id, BasicProperties::with_user_id),
    ("app_id", BasicProperties::app_id, BasicProperties::with_app_id),
    (
        "cluster_id",
        BasicProperties::cluster_id,
        BasicProperties::with_cluster_id,
    ),
];

impl Original {
    /// A delivered message as it was published: a copy says where that was to.
    pub(in super::super) fn of(delivery: &Delivery) -> Self {
        let (exchange, routing_key) = copies::published_to(delivery);
        Self {
            exchange,
            routing_key,
            properties: without(&delivery.properties, |name| ADDED.contains(&name)),
            n_cut: 0,
            cut_names: Vec::new(),
        }
    }

    /// Removes the headers that the broker wrote when it dead-lettered the message by itself.
    pub(super) fn without_broker_headers(mut self) -> Self {
        let is_brokers =
            |name: &str| name == "x-death" || name.starts_with("x-first-death-") || name.starts_with("x-last-death-");
        self.properties = without(&self.properties, is_brokers);
        self
    }

    /// As JSON; headers that do not fit are left out whole and counted.
    pub(in super::super) fn to_json(&self) -> String {
        let mut properties = Map::new();
        for (name, get, _) in TEXTS {
            if let Some(text) = get(&self.properties) {
                properties.insert(name.to_owned(), json!(text.as_str()));
            }
        }
        let numbers = [
            ("delivery_mode", self.properties.delivery_mode().map(Value::from)),
            ("priority", self.properties.priority().map(Value::from)),
            ("timestamp", self.properties.timestamp().map(Value::from)),
        ];
        for (name, number) in numbers {
            properties.extend(number.map(|number| (name.to_owned(), number)));
        }
        let mut object = Map::new();
        object.insert("exchange".to_owned(), json!(self.exchange));
        object.insert("routing_key".to_owned(), json!(self.routing_key));
        object.insert("properties".to_owned(), properties.into());
        let (mut n_cut, mut cut_names) = (self.n_cut, self.cut_names.clone());
        if let Some(table) = self.properties.headers() {
            let (headers, cut) = fitting(table);
            n_cut += cut.len() as u64;
            cut_names.extend(cut);
            cut_names.truncate(CUT_NAMES_MAX);
            object.insert("headers".to_owned(), headers.into());
        }
        if n_cut > 0 {
            object.insert("cut_headers".to_owned(), n_cut.into());
            object.insert("cut_names".to_owned(), cut_names.into());
        }
        Value::from(object).to_string()
    }

    /// Reads what [`Original::to_json`] wrote.
    ///
    /// # Errors
    /// At the first part that it would not have written.
    pub(in super::super) fn parse(text: &str) -> Result<Self, NotOriginal> {
        let object: Map<String, Value> = match text.len() <= TEXT_MAX_BYTES {
            true => serde_json::from_str(text).map_err(|_| NotOriginal::Json)?,
            false => return Err(NotOriginal::Json),
        };
        let part = |name: &'static str| move || NotOriginal::Part(name.to_owned());
        let text = |name: &'static str| {
            let text = object.get(name).and_then(Value::as_str).filter(|it| it.len() <= 255);
            text.map(str::to_owned).ok_or_else(part(name))
        };
        let known = object.get("properties").and_then(Value::as_object);
        let mut properties = read_properties(known.ok_or_else(part("properties"))?)?;
        if let Some(headers) = object.get("headers") {
            let headers = headers.as_object().and_then(|headers| to_table(headers, DEPTH_MAX));
            properties = properties.with_headers(headers.ok_or_else(part("headers"))?);
        }
        let n_cut = object
            .get("cut_headers")
            .map(|n| n.as_u64().ok_or_else(part("cut_headers")));
        let cut_names = object.get("cut_names").and_then(Value::as_array).into_iter().flatten();
        let cut_names = cut_names.map(|name| name.as_str().map(str::to_owned));
        Ok(Self {
            cut_names: cut_names.collect::<Option<_>>().ok_or_else(part("cut_names"))?,
            exchange: text("exchange")?,
            routing_key: text("routing_key")?,
            properties,
            n_cut: n_cut.transpose()?.unwrap_or(0),
        })
    }

    /// The properties with which it is put back into a queue: all that it had, without those that steer the broker or
    /// would close the channel, and with the exchange and key that it was published with, where these are not the queue's own.
    pub(super) fn put_back(&self, queue: &str) -> BasicProperties {
        let kept = &self.properties;
        let mut copy = TEXTS
            .iter()
            .fold(BasicProperties::default(), |copy, (name, get, with)| {
                let is_safe = |text: &&ShortString| match *name {
                    // The broker holds it against the connection's.
                    "user_id" => false,
                    "expiration" => text.as_str().parse::<u32>().is_ok(),
                    "reply_to" => text.as_str() != DIRECT_REPLY,
                    _ => true,
                };
                match get(kept).as_ref().filter(is_safe) {
                    Some(text) => with(copy, text.clone()),
                    None => copy,
                }
            });
        if let Some(mode) = kept.delivery_mode() {
            copy = copy.with_delivery_mode(*mode);
        }
        if let Some(priority) = kept.priority() {
            copy = copy.with_priority(*priority);
        }
        if let Some(timestamp) = kept.timestamp() {
            copy = copy.with_timestamp(*timestamp);
        }
        let is_dropped = |name: &str| STEERING.contains(&name) || ADDED.contains(&name);
        let mut headers = without(kept, is_dropped).headers().clone();
        if (self.exchange.as_str(), self.routing_key.as_str()) != ("", queue) {
            let headers = headers.get_or_insert_default();
            headers.insert(EXCHANGE.into(), AMQPValue::LongString(self.exchange.as_str().into()));
            headers.insert(KEY.into(), AMQPValue::LongString(self.routing_key.as_str().into()));
        }
        match headers {
            Some(headers) => copy.with_headers(headers),
            None => copy,
        }
    }
}

/// The headers that fit into a dead letter, as JSON, and the names of those that do not.
fn fitting(table: &FieldTable) -> (Map<String, Value>, Vec<String>) {
    let (mut headers, mut cut, mut bytes) = (Map::new(), Vec::new(), 0);
    for (name, value) in table.inner() {
        // Quotes, colon and comma.
        let size = |value: &Value| json!(name.as_str()).to_string().len() + value.to_string().len() + 2;
        match to_tree(value, DEPTH_MAX) {
            Some(value) if bytes + size(&value) <= HEADERS_MAX_BYTES => {
                bytes += size(&value);
                headers.insert(name.to_string(), value);
            }
            _ => cut.push(name.as_str().chars().take(CUT_NAME_CHARS).collect()),
        }
    }
    (headers, cut)
}

fn without(properties: &BasicProperties, is_dropped: impl Fn(&str) -> bool) -> BasicProperties {
    let Some(headers) = properties.headers() else {
        return properties.clone();
    };
    let mut kept = FieldTable::default();
    for (name, value) in headers.inner() {
        if !is_dropped(name.as_str()) {
            kept.insert(name.clone(), value.clone());
        }
    }
    properties.clone().with_headers(kept)
}

fn read_properties(known: &Map<String, Value>) -> Result<BasicProperties, NotOriginal> {
    let mut properties = BasicProperties::default();
    for (name, value) in known {
        let read = match name.as_str() {
            "delivery_mode" => small(value).map(|mode| properties.clone().with_delivery_mode(mode)),
            "priority" => small(value).map(|priority| properties.clone().with_priority(priority)),
            "timestamp" => value.as_u64().map(|at| properties.clone().with_timestamp(at)),
            _ => TEXTS.iter().find(|(text, ..)| text == name).and_then(|(_, _, with)| {
                let text = ShortString::try_new(value.as_str()?).ok()?;
                Some(with(properties.clone(), text))
            }),
        };
        properties = read.ok_or_else(|| NotOriginal::Part(name.clone()))?;
    }
    Ok(properties)
}

fn small(value: &Value) -> Option<u8> {
    u8::try_from(value.as_u64()?).ok()
}

/// A header's value as JSON; none where it is nested too deeply.
pub(super) fn to_tree(value: &AMQPValue, depth: usize) -> Option<Value> {
    let deeper = depth.checked_sub(1);
    Some(match value {
        AMQPValue::LongString(text) => match std::str::from_utf8(text.as_bytes()) {
            Ok(text) => json!(text),
            Err(_) => json!({ "string": to_hex(text.as_bytes()) }),
        },
        // Never on the wire, where it has no type: a text like any other.
        AMQPValue::ShortString(text) => json!(text.as_str()),
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::Void => Value::Null,
        AMQPValue::ShortShortInt(value) => json!({ "i8": value }),
        AMQPValue::ShortShortUInt(value) => json!({ "u8": value }),
        AMQPValue::ShortInt(value) => json!({ "i16": value }),
        AMQPValue::ShortUInt(value) => json!({ "u16": value }),
        AMQPValue::LongInt(value) => json!({ "i32": value }),
        AMQPValue::LongUInt(value) => json!({ "u32": value }),
        AMQPValue::LongLongInt(value) => json!({ "i64": value }),
        AMQPValue::Float(value) if value.is_nan() => json!({ "f32": format!("{:#x}", value.to_bits()) }),
        AMQPValue::Float(value) => json!({ "f32": format!("{value:?}") }),
        AMQPValue::Double(value) if value.is_nan() => json!({ "f64": format!("{:#x}", value.to_bits()) }),
        AMQPValue::Double(value) => json!({ "f64": format!("{value:?}") }),
        AMQPValue::Timestamp(value) => json!({ "timestamp": value }),
        AMQPValue::ByteArray(bytes) => json!({ "bytes": to_hex(bytes.as_slice()) }),
        AMQPValue::DecimalValue(value) => json!({ "decimal": { "scale": value.scale, "value": value.value } }),
        AMQPValue::FieldArray(array) => {
            let values = array.as_slice().iter().map(|value| to_tree(value, deeper?));
            Value::Array(values.collect::<Option<_>>()?)
        }
        AMQPValue::FieldTable(table) => {
            let entries = table.inner().iter();
            let entries = entries.map(|(name, value)| Some((name.to_string(), to_tree(value, deeper?)?)));
            json!({ "table": Value::Object(entries.collect::<Option<_>>()?) })
        }
    })
}

fn to_table(entries: &Map<String, Value>, depth: usize) -> Option<FieldTable> {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(ShortString::try_new(name.as_str()).ok()?, to_value(value, depth)?);
    }
    Some(table)
}

fn to_value(tree: &Value, depth: usize) -> Option<AMQPValue> {
    let deeper = depth.checked_sub(1);
    Some(match tree {
        Value::String(text) => AMQPValue::LongString(text.as_str().into()),
        Value::Bool(value) => AMQPValue::Boolean(*value),
        Value::Null => AMQPValue::Void,
        Value::Array(values) => {
            let values = values.iter().map(|value| to_value(value, deeper?));
            AMQPValue::FieldArray(values.collect::<Option<Vec<_>>>()?.into())
        }
        Value::Object(tagged) => {
            let mut entries = tagged.iter();
            let ((tag, value), None) = (entries.next()?, entries.next()) else {
                return None;
            };
            match tag.as_str() {
                "table" => AMQPValue::FieldTable(to_table(value.as_object()?, deeper?)?),
                _ => scalar(tag, value)?,
            }
        }
        Value::Number(_) => return None,
    })
}

fn scalar(tag: &str, value: &Value) -> Option<AMQPValue> {
    let bits = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    Some(match tag {
        "i8" => AMQPValue::ShortShortInt(value.as_i64()?.try_into().ok()?),
        "u8" => AMQPValue::ShortShortUInt(small(value)?),
        "i16" => AMQPValue::ShortInt(value.as_i64()?.try_into().ok()?),
        "u16" => AMQPValue::ShortUInt(value.as_u64()?.try_into().ok()?),
        "i32" => AMQPValue::LongInt(value.as_i64()?.try_into().ok()?),
        "u32" => AMQPValue::LongUInt(value.as_u64()?.try_into().ok()?),
        "i64" => AMQPValue::LongLongInt(value.as_i64()?),
        "f32" => AMQPValue::Float(match bits(value.as_str()?) {
            Some(bits) => f32::from_bits(u32::try_from(bits).ok()?),
            None => value.as_str()?.parse().ok()?,
        }),
        "f64" => AMQPValue::Double(match bits(value.as_str()?) {
            Some(bits) => f64::from_bits(bits),
            None => value.as_str()?.parse().ok()?,
        }),
        "timestamp" => AMQPValue::Timestamp(value.as_u64()?),
        "bytes" => AMQPValue::ByteArray(from_hex(value.as_str()?)?.into()),
        "string" => AMQPValue::LongString(LongString::from(from_hex(value.as_str()?)?)),
        "decimal" => AMQPValue::DecimalValue(DecimalValue {
            scale: small(value.get("scale")?)?,
            value: value.get("value")?.as_u64()?.try_into().ok()?,
        }),
        _ => return None,
    })
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text.chars().map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|[high, low]| u8::try_from(high * 16 + low).ok())
        .collect()
}

#[cfg(test)]
mod tests;
