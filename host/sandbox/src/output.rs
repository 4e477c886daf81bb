//! The values that plugins return, checked before anything else sees them: tensors against the model's input, results
//! against what an envelope may hold, texts against what a log may hold.

use millrace_model_types::TensorError;
use millrace_types::disposition::ReasonClass;
use millrace_types::message::{Element, Outbound, Tensor, TensorData, TensorType, Transformed};

use super::bindings::plugin::millrace::pipeline::types;
use super::bindings::route::exports::millrace::pipeline::route;
use super::bindings::transform::exports::millrace::pipeline::transform;
use super::text::{is_unsafe, sanitize, sanitize_to, size};
use super::{CallError, PluginRefusal};

/// Results of one call. A router that splits a message further wants a queue of its own.
const OUTBOUNDS_MAX: usize = 8;

/// Bytes of the bodies of one call's results together: they are in memory until they are confirmed.
pub(super) const RESULT_BODIES_MAX_BYTES: usize = 8 << 20;

/// Bytes of a destination, key, content type or header name: what the broker's short strings hold.
const NAME_MAX_BYTES: usize = 255;

/// Headers of one result.
const HEADERS_MAX: usize = 64;

/// Bytes of one result's headers together; they must fit beside ours in one frame of 128 KiB.
const HEADERS_MAX_BYTES: usize = 64 << 10;

/// The most that a router may hand over at once: bodies, and headers and names beside them.
pub(super) const ROUTE_HANDOVER_BYTES: usize = RESULT_BODIES_MAX_BYTES + OUTBOUNDS_MAX * 2 * HEADERS_MAX_BYTES;

/// The least that a preprocessor may hand over at once, whatever the model takes: its log lines need room, too.
const PREPROCESS_HANDOVER_MIN_BYTES: usize = 1 << 20;

/// A tensor of the wrong type is reported as such, and floats in place of bytes are four times as large.
const WRONG_TYPE_FACTOR: u64 = 4;

/// Axes of a shape that an error names; models have up to five.
const AXES_SHOWN: usize = 8;

/// Elements in the text of an error that say which character was refused.
const NAME_SHOWN_BYTES: usize = 64;

/// Headers of a message that a transformer makes for the next plugin: no broker sees them.
const MESSAGE_HEADERS_MAX: usize = 4096;

/// Bytes of those together: what a message can have come with.
const MESSAGE_HEADERS_MAX_BYTES: usize = 256 << 10;

/// The input of a transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransformOf {
    /// A message, on its way to the preprocessor.
    Message {
        /// Bytes that its body may have.
        max_bytes: usize,
    },
    /// A result, on its way to its destination.
    Result {
        /// Bytes that its body may have.
        max_bytes: usize,
    },
}

impl TransformOf {
    /// The most that the transformer may hand over at once.
    pub(super) fn handover_bytes(self) -> usize {
        match self {
            Self::Message { max_bytes } => max_bytes.saturating_add(2 * MESSAGE_HEADERS_MAX_BYTES),
            Self::Result { .. } => ROUTE_HANDOVER_BYTES,
        }
    }
}

/// The most that a preprocessor may hand over at once.
pub(super) fn preprocess_handover_bytes(input_type: &TensorType) -> usize {
    let element = match input_type.element {
        Element::Byte => size_of::<u8>(),
        Element::Float => size_of::<f32>(),
    };
    let bytes = input_type
        .elements()
        .saturating_mul(element as u64)
        .saturating_mul(WRONG_TYPE_FACTOR);
    usize::try_from(bytes)
        .unwrap_or(usize::MAX)
        .max(PREPROCESS_HANDOVER_MIN_BYTES)
}

/// Takes a tensor that is exactly of the type that the model takes.
pub(super) fn tensor(tensor: types::Tensor, input_type: &TensorType) -> Result<Tensor, CallError> {
    let data = match tensor.data {
        types::TensorData::Bytes(bytes) => TensorData::Bytes(bytes),
        types::TensorData::Floats(floats) => TensorData::Floats(floats),
    };
    if tensor.shape.len() > AXES_SHOWN {
        return Err(bad_tensor(format!(
            "expected {input_type}, found a tensor of {} axes",
            tensor.shape.len()
        )));
    }
    let found = TensorType {
        shape: tensor.shape.clone(),
        element: element(&data),
    };
    if found != *input_type {
        return Err(bad_tensor(format!("expected {input_type}, found {found}")));
    }
    Tensor::new(tensor.shape, data).map_err(|error| match error {
        TensorError::Length { .. } | TensorError::NotFinite { .. } => bad_tensor(error.to_string()),
    })
}

/// Takes results that an envelope can hold, with bodies of so many bytes together; whether they may go where they name is
/// their destination's business.
pub(super) fn outbounds(outbounds: Vec<route::Outbound>, max_bytes: usize) -> Result<Vec<Outbound>, CallError> {
    if outbounds.len() > OUTBOUNDS_MAX {
        return Err(too_large(format!(
            "returned {} results, allowed {OUTBOUNDS_MAX}",
            outbounds.len()
        )));
    }
    let bodies = outbounds
        .iter()
        .fold(0_usize, |sum, outbound| sum.saturating_add(outbound.body.len()));
    if bodies > max_bytes {
        return Err(too_large(format!(
            "returned {} of results, allowed {}",
            size(bodies),
            size(max_bytes)
        )));
    }
    let headers: usize = outbounds.iter().map(headers_bytes).sum();
    let outbounds = outbounds.into_iter().map(outbound).collect::<Result<Vec<_>, _>>()?;
    // Headers take as much as bodies may, and at least what one result may have.
    let allowed = result_headers_bytes(max_bytes);
    if headers > allowed {
        let (found, allowed) = (size(headers), size(allowed));
        return Err(too_large(format!(
            "returned results with {found} of headers, allowed {allowed}"
        )));
    }
    Ok(outbounds)
}

/// Takes what the next plugin sees in place of a message or a result.
pub(super) fn transformed(transformed: transform::Transformed, of: TransformOf) -> Result<Transformed, CallError> {
    let (what, allowed) = match of {
        TransformOf::Message { max_bytes } => ("message", max_bytes),
        TransformOf::Result { max_bytes } => ("result", max_bytes),
    };
    if transformed.body.len() > allowed {
        let (found, allowed) = (size(transformed.body.len()), size(allowed));
        return Err(too_large(format!("returned a {what} of {found}, allowed {allowed}")));
    }
    if let Some(content_type) = &transformed.content_type {
        name("content type", content_type)?;
    }
    let headers = match of {
        TransformOf::Message { .. } => message_headers(transformed.headers)?,
        TransformOf::Result { .. } => headers(transformed.headers)?,
    };
    Ok(Transformed {
        body: transformed.body,
        content_type: transformed.content_type,
        headers,
    })
}

/// Takes headers that no broker sees: a message may have come with anything, and a transformer may pass it on.
fn message_headers(headers: Vec<types::Property>) -> Result<Vec<(String, String)>, CallError> {
    let found = headers.len();
    let bytes: usize = headers
        .iter()
        .map(|header| header.name.len() + header.value.len())
        .sum();
    if found > MESSAGE_HEADERS_MAX || bytes > MESSAGE_HEADERS_MAX_BYTES {
        let (found_bytes, allowed) = (size(bytes), size(MESSAGE_HEADERS_MAX_BYTES));
        return Err(too_large(format!(
            "returned a message with {found} headers of {found_bytes}, allowed {MESSAGE_HEADERS_MAX} of {allowed}"
        )));
    }
    Ok(headers.into_iter().map(|header| (header.name, header.value)).collect())
}

/// Takes a refusal, in words that are safe to store.
pub(super) fn refusal(refusal: types::Refusal) -> CallError {
    CallError::Refused(match refusal {
        types::Refusal::Reject(text) => PluginRefusal::Reject(sanitize(&text)),
        types::Refusal::Retry(text) => PluginRefusal::Retry(sanitize(&text)),
        types::Refusal::Skip(text) => PluginRefusal::Skip(sanitize(&text)),
    })
}

/// Bytes of headers that results with bodies of so many bytes may have together.
pub(super) fn result_headers_bytes(max_bytes: usize) -> usize {
    max_bytes.clamp(HEADERS_MAX_BYTES, OUTBOUNDS_MAX * HEADERS_MAX_BYTES)
}

fn headers_bytes(outbound: &route::Outbound) -> usize {
    let headers = outbound.headers.iter();
    headers
        .map(|header| header.name.len().saturating_add(header.value.len()))
        .sum()
}

fn outbound(outbound: route::Outbound) -> Result<Outbound, CallError> {
    name("destination", &outbound.destination)?;
    if let Some(key) = &outbound.key {
        name("key", key)?;
    }
    if let Some(content_type) = &outbound.content_type {
        name("content type", content_type)?;
    }
    let headers = headers(outbound.headers)?;
    Ok(Outbound {
        destination: outbound.destination,
        key: outbound.key,
        body: outbound.body,
        content_type: outbound.content_type,
        headers,
    })
}

fn headers(headers: Vec<types::Property>) -> Result<Vec<(String, String)>, CallError> {
    if headers.len() > HEADERS_MAX {
        return Err(too_large(format!(
            "returned a result with {} headers, allowed {HEADERS_MAX}",
            headers.len()
        )));
    }
    let mut bytes = 0_usize;
    for header in &headers {
        name("header", &header.name)?;
        if header.name.is_empty() {
            return Err(denied("returned a header without a name".to_owned()));
        }
        if let Some(character) = header.value.chars().find(|character| is_unsafe(*character)) {
            let (name, character) = (sanitize_to(&header.name, NAME_SHOWN_BYTES), character.escape_default());
            let text = format!("returned the header `{name}` with the character `{character}` in its value");
            return Err(denied(text).about(&header.value));
        }
        bytes = bytes
            .saturating_add(header.name.len())
            .saturating_add(header.value.len());
    }
    if bytes > HEADERS_MAX_BYTES {
        let (found, allowed) = (size(bytes), size(HEADERS_MAX_BYTES));
        let error = too_large(format!("returned a result with {found} of headers, allowed {allowed}"));
        let largest = headers.iter().max_by_key(|header| header.value.len());
        return Err(match largest {
            Some(header) => error.about(&header.value),
            None => error,
        });
    }
    Ok(headers.into_iter().map(|header| (header.name, header.value)).collect())
}

/// Checks what becomes a short string of the broker's.
fn name(what: &str, name: &str) -> Result<(), CallError> {
    let text = if name.len() > NAME_MAX_BYTES {
        format!("returned a {what} of {} bytes, allowed {NAME_MAX_BYTES}", name.len())
    } else if name.chars().any(is_unsafe) {
        let shown = sanitize_to(name, NAME_SHOWN_BYTES);
        format!("returned the {what} `{shown}`, which has characters that a name may not have")
    } else {
        return Ok(());
    };
    Err(denied(text).about(name))
}

fn element(data: &TensorData) -> Element {
    match data {
        TensorData::Bytes(_) => Element::Byte,
        TensorData::Floats(_) => Element::Float,
    }
}

fn bad_tensor(text: String) -> CallError {
    CallError::BadOutput {
        class: ReasonClass::BadTensor,
        text: format!("returned a tensor the model does not take: {text}"),
        chosen: None,
    }
}

fn too_large(text: String) -> CallError {
    CallError::BadOutput {
        class: ReasonClass::OutputTooLarge,
        text,
        chosen: None,
    }
}

fn denied(text: String) -> CallError {
    CallError::BadOutput {
        class: ReasonClass::Denied,
        text,
        chosen: None,
    }
}

impl CallError {
    /// Says what it is about.
    fn about(mut self, text: &str) -> Self {
        if let Self::BadOutput { chosen, .. } = &mut self {
            *chosen = Some(text.to_owned());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(shape: &[u32], element: Element) -> TensorType {
        TensorType {
            shape: shape.to_vec(),
            element,
        }
    }

    #[test]
    fn only_the_tensor_that_the_model_takes_passes() {
        #[track_caller]
        fn check(shape: &[u32], data: types::TensorData, expected: &str) {
            let found = tensor(
                types::Tensor {
                    shape: shape.to_vec(),
                    data,
                },
                &takes(&[2, 2], Element::Byte),
            );
            match found {
                Ok(_) => assert_eq!(expected, "ok"),
                Err(CallError::BadOutput {
                    class: ReasonClass::BadTensor,
                    text,
                    ..
                }) => {
                    assert!(text.contains(expected), "{text}");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        let bytes = types::TensorData::Bytes;
        check(&[2, 2], bytes(vec![0; 4]), "ok");
        check(&[2, 2], bytes(vec![0; 5]), "has 4 elements, found 5");
        check(&[4], bytes(vec![0; 4]), "expected byte [2, 2], found byte [4]");
        check(
            &[2, 2],
            types::TensorData::Floats(vec![0.0; 4]),
            "expected byte [2, 2], found float [2, 2]",
        );
        check(&[1; 1000], bytes(vec![0]), "found a tensor of 1000 axes");
        check(&[], bytes(vec![]), "found byte []");
        check(&[u32::MAX, u32::MAX], bytes(vec![]), "expected byte [2, 2]");
    }

    #[test]
    fn floats_that_are_not_finite_are_refused() {
        let data = types::TensorData::Floats(vec![0.0, f32::NAN]);
        let error = tensor(types::Tensor { shape: vec![2], data }, &takes(&[2], Element::Float)).unwrap_err();
        assert!(
            error.to_string().ends_with("element 1 is not a finite number"),
            "{error}"
        );
    }

    fn result(destination: &str, headers: &[(&str, &str)]) -> route::Outbound {
        let headers = headers.iter().map(|(name, value)| types::Property {
            name: (*name).into(),
            value: (*value).into(),
        });
        route::Outbound {
            destination: destination.to_owned(),
            key: None,
            body: b"{}".to_vec(),
            content_type: None,
            headers: headers.collect(),
        }
    }

    const OF_RESULT: TransformOf = TransformOf::Result {
        max_bytes: RESULT_BODIES_MAX_BYTES,
    };

    #[test]
    fn what_a_transformer_makes_is_bounded() {
        #[track_caller]
        fn check(of: TransformOf, n_bytes: usize, headers: &[(&str, &str)], expected: &str) {
            let made = transform::Transformed {
                body: vec![0; n_bytes],
                content_type: None,
                headers: result("r", headers).headers,
            };
            match transformed(made, of) {
                Ok(_) => assert_eq!(expected, "ok"),
                Err(error) => assert_eq!(error.to_string(), expected),
            }
        }
        let message = TransformOf::Message { max_bytes: 1024 };
        check(message, 1024, &[("a", "b\nc")], "ok");
        check(message, 1025, &[], "returned a message of 1 KiB, allowed 1 KiB");
        check(
            message,
            0,
            &[("a", "b"); 4097],
            "returned a message with 4097 headers of 8 KiB, allowed 4096 of 256 KiB",
        );
        let value = "v".repeat(256 << 10);
        check(
            message,
            0,
            &[("a", &value)],
            "returned a message with 1 headers of 256 KiB, allowed 4096 of 256 KiB",
        );
        check(OF_RESULT, 1025, &[("a", "b")], "ok");
        check(
            OF_RESULT,
            RESULT_BODIES_MAX_BYTES + 1,
            &[],
            "returned a result of 8 MiB, allowed 8 MiB",
        );
        let text = "returned the header `a` with the character `\\n` in its value";
        check(OF_RESULT, 0, &[("a", "b\nc")], text);
    }

    #[test]
    fn results_are_bounded_and_clean() {
        #[track_caller]
        fn check(results: Vec<route::Outbound>, class: ReasonClass, expected: &str) {
            match outbounds(results, RESULT_BODIES_MAX_BYTES) {
                Err(CallError::BadOutput { class: found, text, .. }) => {
                    assert_eq!((found, text.as_str()), (class, expected));
                }
                other => panic!("{other:?}"),
            }
        }
        use ReasonClass::{Denied, OutputTooLarge};
        assert!(
            outbounds(
                vec![result("results", &[("trace", "größe")]); 8],
                RESULT_BODIES_MAX_BYTES
            )
            .is_ok()
        );
        check(
            vec![result("r", &[]); 9],
            OutputTooLarge,
            "returned 9 results, allowed 8",
        );
        let mut large = result("r", &[]);
        large.body = vec![0; RESULT_BODIES_MAX_BYTES / 2 + 1];
        check(
            vec![large.clone(), large],
            OutputTooLarge,
            "returned 8 MiB of results, allowed 8 MiB",
        );
        // A pipeline may allow less; headers then take as much, and at least what one result may have.
        let mut small = result("r", &[]);
        small.body = vec![0; 600];
        let allowed = |results, max_bytes| outbounds(results, max_bytes).map_err(|error| error.to_string());
        assert!(allowed(vec![small.clone()], 1024).is_ok());
        let two = allowed(vec![small.clone(), small], 1024).unwrap_err();
        assert_eq!(two, "returned 1.17 KiB of results, allowed 1 KiB");
        let value = "v".repeat(40 << 10);
        let headed = || result("r", &[("a", &value)]);
        assert!(allowed(vec![headed()], 1024).is_ok());
        assert!(allowed(vec![headed(), headed()], 128 << 10).is_ok());
        let two = allowed(vec![headed(), headed()], 1024).unwrap_err();
        assert_eq!(two, "returned results with 80 KiB of headers, allowed 64 KiB");
        check(
            vec![result(&"n".repeat(256), &[])],
            Denied,
            "returned a destination of 256 bytes, allowed 255",
        );
        check(
            vec![result("r", &[("a", "b"); 65])],
            OutputTooLarge,
            "returned a result with 65 headers, allowed 64",
        );
        let value = "v".repeat(65 << 10);
        check(
            vec![result("r", &[("a", &value)])],
            OutputTooLarge,
            "returned a result with 65 KiB of headers, allowed 64 KiB",
        );
        let text = "returned the destination `r\\u{0}`, which has characters that a name may not have";
        check(vec![result("r\0", &[])], Denied, text);
        check(
            vec![result("r", &[("", "b")])],
            Denied,
            "returned a header without a name",
        );
        let text = "returned the header `a` with the character `\\n` in its value";
        check(vec![result("r", &[("a", "b\nc")])], Denied, text);
    }
}
