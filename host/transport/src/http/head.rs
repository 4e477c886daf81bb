//! The head of a request: what is taken, and what it says of its message. Knows no body and no socket.

use std::time::{Duration, SystemTime};

use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, header};

use super::answer::Answer;
use crate::callers::{TokenDigest, names_loopback};
use crate::deadline;
use crate::digest::digest;
use crate::message::Message;

/// The message's id.
pub(super) const MESSAGE_ID: &str = "x-message-id";
/// What the client calls what belongs together.
const CORRELATION_ID: &str = "x-correlation-id";
/// The attempt that an answer asked for.
pub(super) const ATTEMPT: &str = "x-millrace-attempt";
/// What begins so is a header of the message; all others are between the client and this host.
const PASSED: &str = "x-";
/// A text that is an id in other transports, too.
const ID_BYTES_MAX: usize = 255;
/// Attempts that a client may have had.
const ATTEMPT_MAX: u32 = 1_000;

/// What requests must fit.
#[derive(Debug)]
pub(super) struct Terms {
    /// The path, which is the source and the key of its messages.
    pub(super) path: String,
    /// What clients must show.
    pub(super) token: Option<TokenDigest>,
    /// Whether only this machine reaches it.
    pub(super) is_loopback: bool,
    /// The largest body.
    pub(super) body_bytes_max: usize,
    /// How long a client waits.
    pub(super) answer_within: Duration,
}

/// A head that is taken.
#[derive(Debug)]
pub(super) struct Head {
    id: Option<String>,
    correlation_id: Option<String>,
    content_type: Option<String>,
    attempt: u32,
    deadline: Option<SystemTime>,
    headers: Vec<(String, String)>,
}

impl Head {
    /// Reads a head.
    ///
    /// # Errors
    /// The answer, where its body need not be read.
    pub(super) fn read(parts: &Parts, terms: &Terms) -> Result<Self, Answer> {
        if parts.method != Method::POST {
            let answer = Answer::refused(StatusCode::METHOD_NOT_ALLOWED, "messages are sent with POST");
            return Err(answer.with(header::ALLOW, HeaderValue::from_static("POST")));
        }
        admit(&parts.headers, terms)?;
        if let Some(length) = parts.headers.get(CONTENT_LENGTH)
            && length
                .to_str()
                .ok()
                .and_then(|length| length.parse().ok())
                .is_none_or(|n_bytes: u64| usize::try_from(n_bytes).is_err() || n_bytes > terms.body_bytes_max as u64)
        {
            return Err(too_large(terms.body_bytes_max));
        }
        let encoding = parts.headers.get(CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            let why = "a body is taken as it is: leave out `Content-Encoding`";
            return Err(Answer::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
        let headers = &parts.headers;
        Ok(Self {
            id: id(headers, MESSAGE_ID)?,
            correlation_id: id(headers, CORRELATION_ID)?,
            content_type: headers.get(CONTENT_TYPE).map(text),
            attempt: attempt(headers)?,
            deadline: deadline_of(headers)?,
            headers: headers
                .iter()
                .filter(|(name, _)| name.as_str().starts_with(PASSED))
                .map(|(name, value)| (name.as_str().to_owned(), text(value)))
                .collect(),
        })
    }

    /// The message; `until` is when its answer is of no use any more.
    pub(super) fn message(self, path: &str, body: Vec<u8>, until: SystemTime) -> Message {
        Message {
            id: self.id.unwrap_or_else(|| digest(&body)),
            correlation_id: self.correlation_id,
            source: path.to_owned(),
            key: path.to_owned(),
            attempt: self.attempt,
            content_type: self.content_type,
            deadline: Some(self.deadline.map_or(until, |deadline| deadline.min(until))),
            headers: self.headers,
            body: body.into(),
            ..Message::default()
        }
    }
}

/// The answer to a body that is larger than a message may be.
pub(super) fn too_large(body_bytes_max: usize) -> Answer {
    let why = format!("the body is larger than {body_bytes_max} bytes, the pipeline's `max_message`");
    Answer::refused(StatusCode::PAYLOAD_TOO_LARGE, &why)
}

/// Lets a client in.
fn admit(headers: &HeaderMap, terms: &Terms) -> Result<(), Answer> {
    let forbid = |why| Err(Answer::refused(StatusCode::FORBIDDEN, why));
    match &terms.token {
        Some(token) if token.is_shown(headers) => Ok(()),
        Some(_) => {
            let why = "`Authorization: Bearer TOKEN` is missing, or another token is needed";
            let answer = Answer::refused(StatusCode::UNAUTHORIZED, why);
            Err(answer.with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
        }
        // Any web page that is opened on this machine could send messages.
        None if headers.contains_key(ORIGIN) => {
            forbid("web pages may send messages only where the source has a `token`")
        }
        None if terms.is_loopback && !names_loopback(headers) => {
            forbid("the header `Host` does not name this machine, and the source has no `token`")
        }
        None => Ok(()),
    }
}

/// An id of the client's choice.
fn id(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, Answer> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(id) if (1..=ID_BYTES_MAX).contains(&id.len()) => Ok(Some(id.to_owned())),
        _ => Err(bad(name, &format!("1 to {ID_BYTES_MAX} ASCII characters"))),
    }
}

fn attempt(headers: &HeaderMap) -> Result<u32, Answer> {
    let Some(value) = headers.get(ATTEMPT) else {
        return Ok(1);
    };
    let number = value.to_str().ok().and_then(|number| number.parse().ok());
    let number = number.filter(|number| (1..=ATTEMPT_MAX).contains(number));
    number.ok_or_else(|| bad(ATTEMPT, &format!("a number from 1 to {ATTEMPT_MAX}")))
}

fn deadline_of(headers: &HeaderMap) -> Result<Option<SystemTime>, Answer> {
    let Some(value) = headers.get(deadline::HEADER) else {
        return Ok(None);
    };
    let read = value.to_str().ok().and_then(deadline::text);
    read.map(Some)
        .ok_or_else(|| bad(deadline::HEADER, "RFC 3339 text, or milliseconds since 1970"))
}

fn bad(name: &str, expected: &str) -> Answer {
    let why = format!("the header `{name}` cannot be read: it takes {expected}");
    Answer::refused(StatusCode::BAD_REQUEST, &why)
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}
