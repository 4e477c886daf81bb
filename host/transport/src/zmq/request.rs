//! A message as its client sends it: frames of an id, headers and a body. Everything in it was written by a stranger. Knows no
//! socket and no answer.

use std::time::SystemTime;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::codec::Frames;
use crate::deadline;
use crate::message::Message;

/// The header of the content type.
pub(super) const CONTENT_TYPE: &str = "content-type";
/// The header of what belongs together.
pub(super) const CORRELATION_ID: &str = "correlation-id";
/// The attempt that an answer asked for.
pub(super) const ATTEMPT: &str = "x-millrace-attempt";

/// A text that is an id in other transports, too.
pub(super) const ID_BYTES_MAX: usize = 255;
/// The most of the headers, in bytes.
pub(super) const HEADERS_BYTES_MAX: usize = 64 << 10;
/// The most headers.
const HEADERS_MAX: usize = 64;
/// Attempts that a client may have had.
const ATTEMPT_MAX: u32 = 1_000;

/// What a message may have besides its body: its headers, its other small frames, and what counts for each frame.
pub(super) const BESIDE_BODY_BYTES: usize = HEADERS_BYTES_MAX + (4 << 10);

/// A message as it came, with an id that can be read.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: String,
    /// What it is published under, where its sender says that.
    key: Option<String>,
    headers: Bytes,
    body: Bytes,
    /// Whether an empty frame was before it, and belongs before its answer: a REQ socket asks so.
    pub(super) is_delimited: bool,
}

/// A message that nobody can take, and what its sender is told.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) is_delimited: bool,
    pub(super) why: String,
}

impl Request {
    /// Reads the frames of a message that is answered.
    ///
    /// # Errors
    /// When they are not those of a message.
    pub(super) fn read(mut frames: Frames) -> Result<Self, Unreadable> {
        let is_delimited = frames.len() > 1 && frames.first().is_some_and(Bytes::is_empty);
        if is_delimited {
            frames.remove(0);
        }
        let n_frames = frames.len();
        let Ok([id, headers, body]) = <[Bytes; 3]>::try_from(frames) else {
            return Err(Unreadable {
                is_delimited,
                why: format!(
                    "a message has three frames: an id, headers as a JSON object, and a body; this one has {n_frames}"
                ),
            });
        };
        match text(&id) {
            Some(text) => Ok(Self {
                id: text,
                key: None,
                headers,
                body,
                is_delimited,
            }),
            None => Err(Unreadable {
                is_delimited,
                why: format!("the first frame is the message's id: 1 to {ID_BYTES_MAX} bytes of UTF-8"),
            }),
        }
    }

    /// Reads the frames of a message that is not answered: a body; a key and a body; an id, headers and a body; or a key before
    /// these.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn read_unanswered(frames: Frames) -> Result<Self, String> {
        let n_frames = frames.len();
        let mut frames = frames.into_iter();
        let mut next = || frames.next().unwrap_or_default();
        let (key, id, headers, body) = match n_frames {
            1 => (None, None, Bytes::new(), next()),
            2 => (Some(next()), None, Bytes::new(), next()),
            3 => (None, Some(next()), next(), next()),
            4 => (Some(next()), Some(next()), next(), next()),
            _ => return Err(format!("it has {n_frames} frames, and may have four at the most")),
        };
        let read = |name: &str, frame: Option<Bytes>| match frame {
            None => Ok(None),
            Some(frame) => match text(&frame) {
                Some(text) => Ok(Some(text)),
                None => Err(format!("its {name} is not 1 to {ID_BYTES_MAX} bytes of UTF-8")),
            },
        };
        // An empty topic is one that says nothing.
        let key = read("key", key.filter(|key| !key.is_empty()))?;
        let id = read("id", id)?.unwrap_or_else(|| crate::digest::digest(&body));
        Ok(Self {
            id,
            key,
            headers,
            body,
            is_delimited: false,
        })
    }

    /// What distinguishes it from another message of the same id: its headers and its body.
    pub(super) fn content(&self) -> (&[u8], &[u8]) {
        (&self.headers, &self.body)
    }

    /// The message.
    ///
    /// # Errors
    /// Why no plugin may see it.
    pub(super) fn message(self, source: &str, body_bytes_max: usize) -> Result<Message, String> {
        let n_bytes = self.body.len();
        if n_bytes > body_bytes_max {
            return Err(format!(
                "the body has {n_bytes} bytes, more than the {body_bytes_max} of the pipeline's `max_message`"
            ));
        }
        let mut message = Message {
            source: source.to_owned(),
            key: self.key.unwrap_or_else(|| source.to_owned()),
            id: self.id,
            attempt: 1,
            ..Message::default()
        };
        for (name, text) in headers(&self.headers)? {
            match name.as_str() {
                CONTENT_TYPE => message.content_type = Some(bounded(name, text)?.1),
                CORRELATION_ID => message.correlation_id = Some(bounded(name, text)?.1),
                _ => message.headers.push((name, text)),
            }
        }
        message.attempt = attempt(&message.headers)?;
        message.deadline = deadline_of(&message.headers)?;
        message.body = Vec::from(self.body).into();
        Ok(message)
    }
}

/// An id or a key.
fn text(frame: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(frame).ok()?;
    (1..=ID_BYTES_MAX).contains(&text.len()).then(|| text.to_owned())
}

/// Headers as pairs: an object of texts, numbers and truth values. An empty frame is an object without headers.
fn headers(frame: &[u8]) -> Result<Vec<(String, String)>, String> {
    if frame.is_empty() {
        return Ok(Vec::new());
    }
    if frame.len() > HEADERS_BYTES_MAX {
        let n_bytes = frame.len();
        return Err(format!(
            "the headers have {n_bytes} bytes, more than {HEADERS_BYTES_MAX}"
        ));
    }
    let object: Map<String, Value> =
        serde_json::from_slice(frame).map_err(|error| format!("the headers are no JSON object: {error}"))?;
    if object.len() > HEADERS_MAX {
        return Err(format!("there are {} headers, more than {HEADERS_MAX}", object.len()));
    }
    let pairs = object.into_iter().map(|(name, value)| match value {
        Value::String(text) => Ok((name, text)),
        Value::Number(_) | Value::Bool(_) => Ok((name, value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(format!("the header {name:?} is no text, no number and no truth value"))
        }
    });
    pairs.collect()
}

fn bounded(name: String, text: String) -> Result<(String, String), String> {
    match text.len() <= ID_BYTES_MAX {
        true => Ok((name, text)),
        false => Err(format!("the header `{name}` has more than {ID_BYTES_MAX} bytes")),
    }
}

fn attempt(headers: &[(String, String)]) -> Result<u32, String> {
    let Some(written) = value(headers, ATTEMPT) else {
        return Ok(1);
    };
    let number = written.parse().ok().filter(|number| (1..=ATTEMPT_MAX).contains(number));
    number.ok_or_else(|| format!("the header `{ATTEMPT}` is no number from 1 to {ATTEMPT_MAX}"))
}

fn deadline_of(headers: &[(String, String)]) -> Result<Option<SystemTime>, String> {
    let Some(written) = value(headers, deadline::HEADER) else {
        return Ok(None);
    };
    let read = deadline::text(written).map(Some);
    read.ok_or_else(|| {
        let (name, forms) = (deadline::HEADER, deadline::FORMS);
        format!("the header `{name}` is no deadline: it takes {forms}")
    })
}

fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(own, _)| own == name);
    found.map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(parts: &[&str]) -> Frames {
        parts
            .iter()
            .map(|part| Bytes::copy_from_slice(part.as_bytes()))
            .collect()
    }

    fn message(parts: &[&str]) -> Result<Message, String> {
        let request = Request::read(frames(parts)).map_err(|unreadable| unreadable.why)?;
        request.message("tcp://127.0.0.1:5555", 10)
    }

    #[test]
    fn a_message_is_an_id_headers_and_a_body() {
        let headers = r#"{"content-type": "image/png", "correlation-id": "c", "n": 5, "x-millrace-attempt": 2}"#;
        let made = message(&["m1", headers, "body"]).unwrap();
        assert_eq!((made.id.as_str(), made.body.as_slice()), ("m1", b"body".as_slice()));
        assert_eq!(made.content_type.as_deref(), Some("image/png"));
        assert_eq!(made.correlation_id.as_deref(), Some("c"));
        assert_eq!(made.attempt, 2);
        let n = ("n".to_owned(), "5".to_owned());
        assert!(made.headers.contains(&n), "{:?}", made.headers);

        let delimited = Request::read(frames(&["", "m1", "{}", ""])).unwrap();
        assert!(delimited.is_delimited);
        assert!(message(&["", "m1", "", ""]).unwrap().headers.is_empty());
    }

    #[test]
    fn what_is_no_message_is_told() {
        let long = "i".repeat(256);
        let many = format!(
            "{{{}}}",
            (0..65).map(|n| format!("\"{n}\": 1")).collect::<Vec<_>>().join(",")
        );
        for (parts, expected) in [
            (&["m1"][..], "three frames"),
            (&["m1", "{}"], "three frames"),
            (&["m1", "{}", "body", "more"], "three frames"),
            (&[""], "three frames"),
            (&["", "", "{}", "body"], "the message's id"),
            (&[&long, "{}", "body"], "the message's id"),
            (&["m1", "[]", "body"], "no JSON object"),
            (&["m1", "{\"a\": {}}", "body"], "\"a\""),
            (&["m1", &many, "body"], "65 headers"),
            (&["m1", "{\"x-millrace-attempt\": -1}", "body"], "x-millrace-attempt"),
            (
                &["m1", "{\"x-millrace-deadline\": \"soon\"}", "body"],
                "x-millrace-deadline",
            ),
            (&["m1", "{}", "more than ten"], "13 bytes"),
        ] {
            let why = message(parts).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
        assert!(Request::read(vec![Bytes::from_static(b"\xff"), Bytes::new(), Bytes::new()]).is_err());
    }

    #[test]
    fn a_message_that_is_not_answered_may_be_a_body() {
        let read =
            |parts: &[&str]| Request::read_unanswered(frames(parts)).and_then(|request| request.message("here", 10));
        let alone = read(&["body"]).unwrap();
        assert_eq!((alone.id.len(), alone.key.as_str()), (64, "here"));
        assert_eq!(read(&["cats", "body"]).unwrap().key, "cats");
        assert_eq!(read(&["", "body"]).unwrap().key, "here");
        let whole = read(&["cats", "m1", "{\"n\": 1}", "body"]).unwrap();
        assert_eq!((whole.id.as_str(), whole.key.as_str()), ("m1", "cats"));
        assert_eq!(read(&["m1", "", "body"]).unwrap().key, "here");
        assert!(read(&["a", "b", "c", "d", "e"]).is_err());
        assert!(Request::read_unanswered(Vec::new()).is_err());
    }
}
