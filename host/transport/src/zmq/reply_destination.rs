//! The answer to a client as a destination: a result waits for the acknowledgement, and goes with it. Knows no socket.

use std::fmt;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use serde_json::{Map, Value};

use super::request::{CONTENT_TYPE, CORRELATION_ID, HEADERS_BYTES_MAX};
use crate::message::{Envelope, Message, Outbound};
use crate::{DeliverError, Denied, Destination, Output, PendingOutput, Unfit};

/// The id of a result.
const RESULT_ID: &str = "x-millrace-result-id";

/// The answer to the client that a message came from.
#[derive(Debug)]
pub(super) struct ReplyDestination;

/// A result that goes with the acknowledgement of its message.
#[derive(Debug)]
pub(super) struct ReplyOutput {
    pub(super) headers: Bytes,
    pub(super) body: Bytes,
}

impl Destination for ReplyDestination {
    fn address(&self, _: &Message, outbound: Outbound, _: usize, envelope: Envelope) -> Result<PendingOutput, Denied> {
        let Outbound {
            destination, key, body, ..
        } = outbound;
        if let Some(key) = key {
            return Err(Denied::Key { destination, key });
        }
        Ok(Box::new(ReplyOutput {
            headers: headers(&envelope)?,
            body: body.into(),
        }))
    }
}

impl Output for ReplyOutput {
    /// It is safe where it is: the client has its answer, or sends the message again.
    fn send(&self) -> BoxFuture<'_, Result<(), DeliverError>> {
        ready(Ok(())).boxed()
    }
}

impl fmt::Display for ReplyOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer")
    }
}

/// The headers of a result as a JSON object: what the plugin and the host set, its id, its content type and what belongs together.
pub(super) fn headers(envelope: &Envelope) -> Result<Bytes, Unfit> {
    let set = envelope
        .headers
        .iter()
        .map(|(name, value)| (name.as_ref(), value.as_str()));
    let own = [
        (RESULT_ID, Some(envelope.message_id.as_str())),
        (CORRELATION_ID, Some(envelope.correlation_id.as_str())),
        (CONTENT_TYPE, envelope.content_type.as_deref()),
    ];
    let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
    // The host's last: no plugin says what they say.
    let object: Map<String, Value> = set
        .chain(own)
        .map(|(name, value)| (name.to_owned(), Value::String(value.to_owned())))
        .collect();
    let written = Value::Object(object).to_string();
    if written.len() > HEADERS_BYTES_MAX {
        let n_bytes = written.len();
        return Err(Unfit::Envelope(format!(
            "the headers have {n_bytes} bytes, more than {HEADERS_BYTES_MAX}"
        )));
    }
    Ok(written.into())
}
