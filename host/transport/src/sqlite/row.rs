//! A row as a message. Everything in it was written by a stranger: nothing is read before its size is known. Knows no claim.

use std::time::SystemTime;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value};

use super::tables::Tables;
use crate::deadline;
use crate::message::Message;

/// The longest id, correlation id or content type, in bytes: those of other transports are bounded so.
const TEXT_BYTES_MAX: usize = 255;
/// The most of a row's headers, in bytes.
const HEADERS_BYTES_MAX: usize = 64 << 10;
/// The most headers.
const HEADERS_MAX: usize = 64;

/// A row as it was found.
struct Found {
    id: Text,
    content_type: Text,
    correlation_id: Text,
    headers: Text,
    body: Option<Vec<u8>>,
    body_bytes: Option<i64>,
}

/// A text that may be missing, too long, or none.
enum Text {
    None,
    Some(String),
    Unfit(&'static str),
}

/// Reads a row, and says why no plugin may see it; nothing where it is gone, since it was deleted.
pub(super) fn read(
    connection: &Connection,
    tables: &Tables,
    seq: i64,
    max_message_bytes: usize,
) -> rusqlite::Result<Option<(Message, Option<String>)>> {
    let sql = format!(
        "SELECT {}, {}, {}, {}, octet_length(body), CASE WHEN octet_length(body) <= ?2 THEN CAST(body AS BLOB) END \
         FROM {} WHERE seq = ?1",
        bounded("id", TEXT_BYTES_MAX),
        bounded("content_type", TEXT_BYTES_MAX),
        bounded("correlation_id", TEXT_BYTES_MAX),
        bounded("headers", HEADERS_BYTES_MAX),
        tables.rows,
    );
    let max = i64::try_from(max_message_bytes).unwrap_or(i64::MAX);
    let found = connection.query_row(&sql, params![seq, max], found).optional()?;
    Ok(found.map(|found| message(found, &tables.rows, seq, max_message_bytes)))
}

/// A text of a message that is longer than this is not read; how long it is says so.
fn bounded(column: &str, max: usize) -> String {
    format!("octet_length({column}) > {max}, CASE WHEN octet_length({column}) <= {max} THEN {column} END")
}

fn found(row: &Row<'_>) -> rusqlite::Result<Found> {
    Ok(Found {
        id: text(row, 0)?,
        content_type: text(row, 2)?,
        correlation_id: text(row, 4)?,
        headers: text(row, 6)?,
        body_bytes: row.get(8)?,
        body: row.get(9)?,
    })
}

fn text(row: &Row<'_>, at: usize) -> rusqlite::Result<Text> {
    if row.get::<_, Option<bool>>(at)?.unwrap_or_default() {
        return Ok(Text::Unfit("is too long"));
    }
    Ok(match row.get_ref(at + 1)? {
        ValueRef::Null => Text::None,
        ValueRef::Integer(number) => Text::Some(number.to_string()),
        ValueRef::Real(number) => Text::Some(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => match std::str::from_utf8(bytes) {
            Ok("") => Text::None,
            Ok(text) => Text::Some(text.to_owned()),
            Err(_) => Text::Unfit("is not UTF-8"),
        },
    })
}

fn message(found: Found, table: &str, seq: i64, max_message_bytes: usize) -> (Message, Option<String>) {
    let mut problems = Problems::default();
    let id = problems.text("id", found.id);
    let mut message = Message {
        correlation_id: problems.text("correlation_id", found.correlation_id),
        content_type: problems.text("content_type", found.content_type),
        source: table.to_owned(),
        key: table.to_owned(),
        attempt: 1,
        ..Message::default()
    };
    match problems.text("headers", found.headers).map(|text| headers(&text)) {
        None => {}
        Some(Ok(headers)) => message.headers = headers,
        Some(Err(why)) => problems.add(format!("the column `headers` {why}")),
    }
    match deadline_of(&message.headers) {
        Ok(deadline) => message.deadline = deadline,
        Err(why) => problems.add(why),
    }
    match (found.body_bytes, found.body) {
        (Some(_), Some(body)) => message.body = body.into(),
        (Some(n_bytes), None) => problems.add(format!(
            "the body has {n_bytes} bytes, more than the {max_message_bytes} that are allowed"
        )),
        (None, _) => problems.add("the row has no body".to_owned()),
    }
    // Not the digest of its body: rows of equal content are messages of their own, and have results of their own.
    message.id = id.unwrap_or_else(|| format!("{table}-{seq}"));
    if problems.0.is_some() {
        message.body = Vec::new().into();
    }
    (message, problems.0)
}

/// The first thing that is wrong with a row.
#[derive(Default)]
struct Problems(Option<String>);

impl Problems {
    fn add(&mut self, problem: String) {
        self.0.get_or_insert(problem);
    }

    fn text(&mut self, column: &str, text: Text) -> Option<String> {
        match text {
            Text::None => None,
            Text::Some(text) => Some(text),
            Text::Unfit(why) => {
                self.add(format!("the column `{column}` {why}"));
                None
            }
        }
    }
}

/// Headers as pairs: an object of texts, numbers and truth values. Others have no text, and are left out.
pub(super) fn headers(text: &str) -> Result<Vec<(String, String)>, String> {
    let object: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("is no JSON object: {error}"))?;
    if object.len() > HEADERS_MAX {
        return Err(format!("has {} headers, more than {HEADERS_MAX}", object.len()));
    }
    let pairs = object.into_iter().filter_map(|(name, value)| {
        let text = match value {
            Value::String(text) => text,
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        Some((name, text))
    });
    Ok(pairs.collect())
}

fn deadline_of(headers: &[(String, String)]) -> Result<Option<SystemTime>, String> {
    let Some((_, text)) = headers.iter().find(|(name, _)| name == deadline::HEADER) else {
        return Ok(None);
    };
    match deadline::text(text) {
        Some(deadline) => Ok(Some(deadline)),
        None => Err(format!(
            "the header `{}` is no deadline: it takes {}",
            deadline::HEADER,
            deadline::FORMS
        )),
    }
}
