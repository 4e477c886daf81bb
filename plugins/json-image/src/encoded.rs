//! Base64 as people send it: either alphabet, padded or not, in lines or not, and as a `data:` URL.

use std::borrow::Cow;

use base64::alphabet::{self, Alphabet};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine};
use millrace_plugin::json::{Picked, Pointer};

use crate::signature;

/// A picture as it stands in the JSON.
#[derive(Debug)]
pub(crate) struct Encoded<'json> {
    text: Cow<'json, str>,
    /// Where in the text the base64 begins.
    begin: usize,
    /// What a `data:` URL says.
    pub(crate) content_type: Option<String>,
}

const STANDARD: GeneralPurpose = engine(&alphabet::STANDARD);
const URL_SAFE: GeneralPurpose = engine(&alphabet::URL_SAFE);
/// The longest beginning of a `data:` URL that is looked for.
const HEAD_MAX_BYTES: usize = 255;

const fn engine(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config)
}

impl<'json> Encoded<'json> {
    /// Takes what is at the place.
    pub(crate) fn new(found: Option<Picked<'json>>, place: &Pointer) -> Result<Self, String> {
        let what = match found {
            Some(Picked::Text(text)) => {
                let (begin, content_type) = data_url(&text, place)?;
                return Ok(Self {
                    text,
                    begin,
                    content_type,
                });
            }
            None => return Err(format!("there is no `{place}` in the JSON")),
            Some(Picked::Null) => "null",
            Some(Picked::Boolean(_)) => "a boolean",
            Some(Picked::Number(_)) => "a number",
            Some(Picked::List) => "a list",
            Some(Picked::Table) => "a table",
        };
        Err(format!("`{place}` is {what}, not a text in base64"))
    }

    /// The picture, which is not empty.
    pub(crate) fn decode(&self, place: &Pointer) -> Result<Vec<u8>, String> {
        let text = self.text.as_bytes().get(self.begin..).unwrap_or_default();
        // Python's `base64.encodebytes` and MIME write lines.
        let text: Cow<[u8]> = if text.iter().any(u8::is_ascii_whitespace) {
            text.iter()
                .copied()
                .filter(|byte| !byte.is_ascii_whitespace())
                .collect()
        } else {
            text.into()
        };
        let is_url_safe = text.iter().any(|byte| matches!(byte, b'-' | b'_'));
        let engine = if is_url_safe { URL_SAFE } else { STANDARD };
        let picture = engine
            .decode(&*text)
            .map_err(|error| format!("the text at `{place}` is not base64: {}", reason(&text, &error)))?;
        if picture.is_empty() {
            return Err(format!("the picture at `{place}` is empty"));
        }
        match signature::pickle(&picture) {
            Some(pickle) => Err(format!("what is at `{place}` {pickle}")),
            None => Ok(picture),
        }
    }
}

/// Where the base64 begins, and the content type before it.
fn data_url(text: &str, place: &Pointer) -> Result<(usize, Option<String>), String> {
    let is_url = text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    if !is_url {
        return Ok((0, None));
    }
    let no_base64 = || format!("the `data:` URL at `{place}` is not in base64");
    let end = text
        .bytes()
        .take(HEAD_MAX_BYTES)
        .position(|byte| byte == b',')
        .ok_or_else(no_base64)?;
    let head = text.get(5..end).unwrap_or_default();
    let (kind, encoding) = head.rsplit_once(';').ok_or_else(no_base64)?;
    if !encoding.trim().eq_ignore_ascii_case("base64") {
        return Err(no_base64());
    }
    let kind = kind.trim();
    let is_plain = !kind.is_empty() && !kind.chars().any(char::is_control);
    Ok((end + 1, is_plain.then(|| kind.to_owned())))
}

fn reason(text: &[u8], error: &DecodeError) -> String {
    if text.starts_with(b"b'") || text.starts_with(b"b\"") {
        return "it is Python's `str(bytes)`: send `base64.b64encode(picture).decode()`".to_owned();
    }
    match error {
        DecodeError::InvalidByte(_, b'=') => "it goes on after its padding".to_owned(),
        DecodeError::InvalidByte(_, byte) if byte.is_ascii_graphic() => {
            format!("it has the character `{}`", char::from(*byte))
        }
        DecodeError::InvalidByte(_, byte) => format!("it has the byte {byte:#04x}"),
        DecodeError::InvalidLength(_) => "it ends in the middle of a byte".to_owned(),
        DecodeError::InvalidLastSymbol { .. } | DecodeError::InvalidPadding => "its end is damaged".to_owned(),
    }
}
