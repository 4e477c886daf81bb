//! What a client is answered: the outcome of its message, or why it is none. Knows no socket and no pipeline.

use std::any::Any;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::destination::AnswerOutput;
use super::head::{ATTEMPT, MESSAGE_ID};
use crate::disposition::{Disposition, Reason, ReasonClass};
use crate::message::Message;
use crate::{Settled, Settlement};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const ANSWERED_ID: HeaderName = HeaderName::from_static("x-millrace-message-id");
const STAGE: HeaderName = HeaderName::from_static("x-millrace-stage");
const REASON: HeaderName = HeaderName::from_static("x-millrace-reason");

/// The prefix of a dead letter's headers.
const OWN: &str = "x-millrace-";
/// The words of a reason, which every refusal has under `error`.
const TEXT: &str = "text";

/// When a client may come again, where the host has no better guess: a message takes milliseconds.
pub(super) const SOON_S: u64 = 1;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    // Boxed, so that an answer can be an error.
    pub(super) headers: Box<HeaderMap>,
    body: Bytes,
    slot: Option<OwnedSemaphorePermit>,
}

/// A body, and the slot of its message: in memory until it is written.
struct Written {
    body: Bytes,
    _slot: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Written {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Answer {
    /// The answer that a settlement is, and what became of the message by it.
    pub(super) fn of(settlement: &Settlement<'_>) -> (Self, Settled) {
        let message = settlement.message;
        let (answer, settled) = match settlement.disposition {
            Disposition::Ack => (Self::done(settlement), Settled::Done),
            Disposition::Reject(reason) => (Self::rejected(settlement, reason), Settled::Done),
            Disposition::Retry(reason) => (Self::again(message, reason), Settled::Done),
            // No message of this source is ever quarantined.
            Disposition::Return | Disposition::Quarantine { .. } => (Self::returned(), Settled::Returned),
        };
        (answer.about(&message.id), settled)
    }

    /// Why there is no other answer.
    pub(super) fn refused(status: StatusCode, why: &str) -> Self {
        Self::json(status, &json!({ "error": why }))
    }

    /// The same, for a client that is to come again.
    pub(super) fn later(status: StatusCode, why: &str, seconds: u64) -> Self {
        let mut answer = Self::refused(status, why);
        answer.headers.insert(RETRY_AFTER, seconds.into());
        answer
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Names the message that it is about.
    pub(super) fn about(self, id: &str) -> Self {
        // An id is a header of the request, or digits.
        match HeaderValue::from_str(id) {
            Ok(id) => self.with(ANSWERED_ID, id),
            Err(_) => self,
        }
    }

    /// Keeps a slot until it is written.
    pub(super) fn holding(mut self, slot: OwnedSemaphorePermit) -> Self {
        self.slot = Some(slot);
        self
    }

    /// What is sent.
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let body = match self.slot {
            Some(slot) if !self.body.is_empty() => Bytes::from_owner(Written {
                body: self.body,
                _slot: slot,
            }),
            _ => self.body,
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = self.status;
        *response.headers_mut() = *self.headers;
        response
    }

    /// Every result is confirmed, or there is none.
    fn done(settlement: &Settlement<'_>) -> Self {
        let results = settlement.results.iter().map(|result| -> &dyn Any { result.as_ref() });
        let answers: Vec<&AnswerOutput> = results.filter_map(|result| result.downcast_ref()).collect();
        match (answers.as_slice(), settlement.results) {
            ([], []) => Self::new(StatusCode::NO_CONTENT, HeaderMap::new(), Bytes::new()),
            ([], _) => Self::json(StatusCode::ACCEPTED, &json!({ "message_id": settlement.message.id })),
            ([one], _) => Self::new(StatusCode::OK, one.headers.clone(), one.body.clone()),
            (several, _) => Self::parts(several),
        }
    }

    /// Several results in one body.
    fn parts(results: &[&AnswerOutput]) -> Self {
        let mut boundary = "millrace".to_owned();
        while results.iter().any(|result| contains(&result.body, boundary.as_bytes())) {
            boundary.push_str("-x");
        }
        let n_bytes: usize = results.iter().map(|result| result.body.len()).sum();
        let mut body = Vec::with_capacity(n_bytes + 1024 * results.len());
        for result in results {
            body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
            for (name, value) in &result.headers {
                body.extend_from_slice(format!("{name}: ").as_bytes());
                body.extend_from_slice(value.as_bytes());
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"\r\n");
            body.extend_from_slice(&result.body);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        let mut headers = HeaderMap::new();
        // A word and dashes: always a header's value.
        if let Ok(kind) = HeaderValue::try_from(format!("multipart/mixed; boundary={boundary}")) {
            headers.insert(CONTENT_TYPE, kind);
        }
        Self::new(StatusCode::OK, headers, body.into())
    }

    /// With what a dead letter would say.
    fn rejected(settlement: &Settlement<'_>, reason: &Reason) -> Self {
        let envelope = (settlement.dead_letter)(reason);
        let fields = envelope.headers.into_iter().filter_map(|(name, value)| {
            let name = match name.strip_prefix(OWN)? {
                TEXT => "error",
                name => name,
            };
            Some((name.to_owned(), Value::String(value)))
        });
        let fields: Map<String, Value> = fields.collect();
        let answer = Self::json(status_of(reason.class), &Value::Object(fields));
        answer
            .with(STAGE, HeaderValue::from_static(reason.stage.as_str()))
            .with(REASON, HeaderValue::from_static(reason.class.as_str()))
    }

    /// A plugin wants to see it later.
    fn again(message: &Message, reason: &Reason) -> Self {
        let attempt = message.attempt.saturating_add(1);
        let fields = json!({
            "error": reason.to_string(),
            "reason": reason.class.as_str(),
            "stage": reason.stage.as_str(),
            "attempt": attempt,
        });
        let mut answer = Self::json(StatusCode::SERVICE_UNAVAILABLE, &fields);
        answer.headers.insert(RETRY_AFTER, SOON_S.into());
        answer
            .with(HeaderName::from_static(ATTEMPT), attempt.into())
            .with(STAGE, HeaderValue::from_static(reason.stage.as_str()))
            .with(REASON, HeaderValue::from_static(reason.class.as_str()))
    }

    fn returned() -> Self {
        let why = format!(
            "the host could not finish this message now: send it again. Results may have been sent; with the same \
             `{MESSAGE_ID}` and body they have the same ids"
        );
        Self::later(StatusCode::SERVICE_UNAVAILABLE, &why, SOON_S)
    }

    fn json(status: StatusCode, fields: &Value) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, JSON);
        Self::new(status, headers, format!("{fields}\n").into())
    }

    fn new(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        Self {
            status,
            headers: Box::new(headers),
            body,
            slot: None,
        }
    }
}

/// Whose fault it is: the message's, which would fail again; or that of a plugin, the model or the host.
fn status_of(class: ReasonClass) -> StatusCode {
    match class {
        ReasonClass::Refused
        | ReasonClass::Retried
        | ReasonClass::AttemptsSpent
        | ReasonClass::Unanswerable
        | ReasonClass::Undeliverable
        | ReasonClass::Malformed => StatusCode::UNPROCESSABLE_ENTITY,
        ReasonClass::Expired => StatusCode::GATEWAY_TIMEOUT,
        ReasonClass::Trap
        | ReasonClass::Deadline
        | ReasonClass::Memory
        | ReasonClass::OutputTooLarge
        | ReasonClass::BadTensor
        | ReasonClass::NonFinite
        | ReasonClass::ModelFailed
        | ReasonClass::Denied
        | ReasonClass::HostFault => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}
