//! The answer to a request as a destination: a result waits for the acknowledgement, and goes with it. Knows no request.

use std::fmt;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::message::{Envelope, Message, Outbound};
use crate::{DeliverError, Denied, Destination, Output, PendingOutput, Unfit};

/// The id of a result.
const RESULT_ID: &str = "x-millrace-result-id";
/// What belongs together.
const CORRELATION_ID: &str = "x-millrace-correlation-id";
/// Headers of the host's own.
const OWN: &str = "x-millrace-";

/// The answer to the request that a message came by.
#[derive(Debug)]
pub(super) struct AnswerDestination;

/// A result that goes with the acknowledgement of its message.
#[derive(Debug)]
pub(super) struct AnswerOutput {
    /// The result.
    pub(super) body: Bytes,
    /// Its content type, its ids, and the headers of the host and the plugin.
    pub(super) headers: HeaderMap,
}

impl Destination for AnswerDestination {
    fn address(&self, _: &Message, outbound: Outbound, _: usize, envelope: Envelope) -> Result<PendingOutput, Denied> {
        let Outbound {
            destination, key, body, ..
        } = outbound;
        if let Some(key) = key {
            return Err(Denied::Key { destination, key });
        }
        Ok(Box::new(AnswerOutput {
            body: body.into(),
            headers: headers(&envelope)?,
        }))
    }
}

impl Output for AnswerOutput {
    /// It is safe where it is: the client has its answer, or sends the message again.
    fn send(&self) -> BoxFuture<'_, Result<(), DeliverError>> {
        ready(Ok(())).boxed()
    }
}

impl fmt::Display for AnswerOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer")
    }
}

/// The headers of an answer. A plugin's header is sent with `x-` before it, as a message's headers are those that begin so:
/// no plugin ends a body early, sets a cookie or says where a browser goes.
fn headers(envelope: &Envelope) -> Result<HeaderMap, Unfit> {
    let ids = [
        (RESULT_ID, envelope.message_id.as_str()),
        (CORRELATION_ID, envelope.correlation_id.as_str()),
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in ids {
        headers.insert(HeaderName::from_static(name), header_value(name, value)?);
    }
    if let Some(content_type) = &envelope.content_type {
        headers.insert(CONTENT_TYPE, header_value("content-type", content_type)?);
    }
    for (name, value) in &envelope.headers {
        let is_own = name.starts_with(OWN);
        let written = match is_own {
            true => name.clone(),
            false => format!("x-{name}").into(),
        };
        let header = HeaderName::try_from(&*written);
        let header = header.map_err(|_| Unfit::Envelope(format!("HTTP has no header of the name {name:?}")))?;
        if !is_own && header.as_str().starts_with(OWN) {
            let why = format!("the header {name:?} would be `{header}`, and these are the host's");
            return Err(Unfit::Envelope(why));
        }
        headers.append(header, header_value(name, value)?);
    }
    Ok(headers)
}

fn header_value(name: &str, value: &str) -> Result<HeaderValue, Unfit> {
    let unfit = |_| {
        Unfit::Envelope(format!(
            "HTTP cannot carry the value of `{}`: a control character",
            name.escape_debug()
        ))
    };
    HeaderValue::from_bytes(value.as_bytes()).map_err(unfit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(headers: &[(&str, &str)]) -> Envelope {
        Envelope {
            message_id: "r1".to_owned(),
            correlation_id: "m1".to_owned(),
            content_type: Some("application/json".to_owned()),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned().into(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn a_plugins_header_cannot_be_one_that_steers_the_connection() {
        let made = headers(&envelope(&[
            ("content-length", "5"),
            ("colour", "grün"),
            ("x-millrace-model", "shapes"),
        ]))
        .unwrap();
        let text = |name: &str| {
            made.get(name)
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        assert_eq!(text("content-length"), None);
        assert_eq!(text("x-content-length").as_deref(), Some("5"));
        assert_eq!(text("x-colour").as_deref(), Some("grün"));
        assert_eq!(text("x-millrace-model").as_deref(), Some("shapes"));
        assert_eq!(text(RESULT_ID).as_deref(), Some("r1"));
        assert_eq!(text("content-type").as_deref(), Some("application/json"));
    }

    #[test]
    fn what_http_cannot_carry_is_the_plugins_fault() {
        for row in [
            ("a b", "x"),
            ("", "x\ny"),
            ("colour", "red\r\nset-cookie: a"),
            ("Millrace-Host", "x"),
        ] {
            assert!(headers(&envelope(&[row])).is_err(), "{row:?}");
        }
        let mut long = envelope(&[]);
        long.content_type = Some("text/plain\r\nx: y".to_owned());
        assert!(headers(&long).is_err());
    }
}
