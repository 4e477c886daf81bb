//! Takes the picture out of a JSON message, where it is written in base64.

mod encoded;
mod signature;

use std::collections::BTreeMap;

use millrace_plugin::json::{Picked, Pointer, pick};
use millrace_plugin::{Message, Property, Refusal, Transformed, Transformer};

use encoded::Encoded;

/// The plugin.
#[derive(Debug)]
pub struct JsonImage {
    settings: Settings,
}

millrace_plugin::settings! {
    /// The `settings` table in `plugins.toml`.
    pub struct Settings {
        /// Where in the JSON the picture is, as a JSON pointer: a text in base64, or a `data:` URL.
        pub image: Pointer = Pointer::to("image"),
        /// Where its content type is; else a `data:` URL says it, or the picture's first bytes.
        pub content_type: Option<Pointer>,
        /// What becomes a header for the next in the chain: a table from header to the JSON pointer of a text, number or boolean.
        pub headers: BTreeMap<String, Pointer> = BTreeMap::new(),
    }
}

/// What names at the broker hold, a content type too.
const NAME_MAX_BYTES: usize = 255;
/// More is no header but a body.
const HEADER_MAX_BYTES: usize = 4 << 10;

impl Transformer for JsonImage {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        for name in settings.headers.keys() {
            if name.is_empty() || name.len() > NAME_MAX_BYTES || name.chars().any(char::is_control) {
                return Err(format!("`headers`: `{}` is no name of a header", name.escape_debug()));
            }
        }
        Ok(Self { settings })
    }

    fn transform(&mut self, message: &Message) -> Result<Transformed, Refusal> {
        self.picture(message).map_err(Refusal::Reject)
    }
}

impl JsonImage {
    fn picture(&self, message: &Message) -> Result<Transformed, String> {
        let body = message.body();
        let mut places = vec![&self.settings.image];
        places.extend(&self.settings.content_type);
        places.extend(self.settings.headers.values());
        let mut found = pick(without_mark(&body), &places)
            .map_err(|error| not_json(&body, &error))?
            .into_iter();
        let encoded = Encoded::new(found.next().flatten(), &self.settings.image)?;
        let told = match &self.settings.content_type {
            Some(place) => text(found.next().flatten(), place, NAME_MAX_BYTES)?,
            None => None,
        };
        let mut headers = self.other_headers(message);
        for ((name, place), found) in self.settings.headers.iter().zip(found) {
            if let Some(value) = text(found, place, HEADER_MAX_BYTES)? {
                headers.push(Property {
                    name: name.clone(),
                    value,
                });
            }
        }
        let picture = encoded.decode(&self.settings.image)?;
        Ok(Transformed {
            content_type: told
                .or(encoded.content_type)
                .or_else(|| signature::content_type(&picture).map(str::to_owned)),
            body: picture,
            headers,
        })
    }

    /// The message's own headers, but for those that the JSON has the word on.
    fn other_headers(&self, message: &Message) -> Vec<Property> {
        let mut headers = message.headers();
        headers.retain(|header| !self.settings.headers.contains_key(&header.name));
        headers
    }
}

/// Some write a byte order mark in front of JSON.
fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// A value as a header says it; nothing where there is none.
fn text(found: Option<Picked>, place: &Pointer, max_bytes: usize) -> Result<Option<String>, String> {
    let text = match found {
        None | Some(Picked::Null) => return Ok(None),
        Some(Picked::Text(text)) => text.into_owned(),
        Some(Picked::Number(number)) => number.to_string(),
        Some(Picked::Boolean(boolean)) => boolean.to_string(),
        Some(Picked::List) => return Err(format!("`{place}` is a list, a header is a text, number or boolean")),
        Some(Picked::Table) => return Err(format!("`{place}` is a table, a header is a text, number or boolean")),
    };
    if text.len() > max_bytes {
        return Err(format!(
            "the text at `{place}` has {} bytes, the limit is {max_bytes}",
            text.len()
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(format!(
            "the text at `{place}` has control characters, a header has none"
        ));
    }
    Ok(Some(text))
}

fn not_json(body: &[u8], error: &millrace_plugin::serde_json::Error) -> String {
    match signature::of(body) {
        Some(found) => format!("the body is not JSON: {found}"),
        None => format!("the body is not JSON: {error}"),
    }
}

millrace_plugin::export_transformer!(JsonImage);

#[cfg(test)]
mod tests;
