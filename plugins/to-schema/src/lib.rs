//! Writes each result by a template that the settings give.

mod facts;
mod found;
mod node;
mod placeholder;
mod text;

use std::collections::BTreeMap;

use millrace_plugin::serde_json::{self, Value};
use millrace_plugin::{Destination, LabelPattern, Message, Outbound, Prediction, Refusal, Router, header};

use facts::{Facts, Needs};
use node::Node;
use text::Text;

/// The plugin.
#[derive(Debug)]
pub struct ToSchema {
    destination: LabelPattern,
    content_type: String,
    body: Body,
    key: Option<Text>,
    headers: BTreeMap<String, Text>,
    needs: Needs,
}

millrace_plugin::settings! {
    /// The `settings` table in `plugins.toml`.
    pub struct Settings {
        /// The result as JSON: a table whose texts may have placeholders such as `{label}`; this or `text` must be given.
        pub template: BTreeMap<String, Value> = BTreeMap::new(),
        /// The result as text with placeholders, in place of `template`.
        pub text: Option<String>,
        /// The destination of each result; `{label}` in it is the best label written as a name, `{index}` its index.
        pub destination: Destination<LabelPattern> = Destination(LabelPattern::verbatim("results")),
        /// The routing key, a text with placeholders; the destination's own where it is left out.
        pub key: Option<String>,
        /// Headers of the result: a table from name to a text with placeholders.
        pub headers: BTreeMap<String, String> = BTreeMap::new(),
        /// The content type; by default that of JSON, or of plain text.
        pub content_type: Option<String>,
        /// How many of the best classes `{top}` lists, at least 1.
        pub top_k: u32 = 3,
    }
}

/// What the result is made by.
#[derive(Debug)]
enum Body {
    Json(Node),
    Text(Text),
}

/// What names at the broker hold, a content type too.
const NAME_MAX_BYTES: usize = 255;
/// A header with more is no header but a body.
const HEADER_MAX_BYTES: usize = 4 << 10;
/// As much as the host takes; what is longer is its to tell.
const TEXT_MAX_BYTES: usize = 8 << 20;

impl Router for ToSchema {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        if settings.top_k == 0 {
            return Err("`top_k` is 0: `{top}` lists at least the best class".to_owned());
        }
        let mut needs = Needs::new(settings.top_k);
        let (body, content_type) = match (settings.template.is_empty(), settings.text) {
            (false, Some(_)) => {
                return Err("`template` and `text` are both given: a result is the one or the other".to_owned());
            }
            (true, None) => return Err("neither `template` nor `text` is given: what is a result?".to_owned()),
            (false, None) => {
                let template = Value::Object(settings.template.into_iter().collect());
                (
                    Body::Json(Node::new(&template, "template", &mut needs)?),
                    "application/json",
                )
            }
            (true, Some(text)) => (
                Body::Text(Text::new(&text, "text", &mut needs)?),
                "text/plain; charset=utf-8",
            ),
        };
        let key = settings.key.map(|key| Text::new(&key, "key", &mut needs)).transpose()?;
        let mut headers = BTreeMap::new();
        for (name, text) in settings.headers {
            check_header(&name)?;
            let text = Text::new(&text, &format!("headers.{name}"), &mut needs)?;
            headers.insert(name, text);
        }
        if settings.destination.fixed().is_none() {
            needs.classes(1);
        }
        let content_type = settings.content_type.unwrap_or_else(|| content_type.to_owned());
        if content_type.len() > NAME_MAX_BYTES || !header::is_plain(&content_type) {
            return Err(format!(
                "`content_type`: `{}` is no content type",
                content_type.escape_debug()
            ));
        }
        Ok(Self {
            destination: settings.destination.0,
            content_type,
            body,
            key,
            headers,
            needs,
        })
    }

    fn route(&mut self, message: &Message, prediction: &Prediction) -> Result<Vec<Outbound>, Refusal> {
        let facts = Facts::new(&self.needs, message, prediction)?;
        let body = match &self.body {
            Body::Json(node) => serde_json::to_vec(&node.filled(&facts))
                .map_err(|error| Refusal::reject(format!("the result cannot be written as JSON: {error}")))?,
            Body::Text(text) => text.line(&facts, TEXT_MAX_BYTES).into_bytes(),
        };
        let mut result =
            Outbound::new(facts.destination(&self.destination), body).with_content_type(&self.content_type);
        for (name, text) in &self.headers {
            result = result.with_header(name, text.line(&facts, HEADER_MAX_BYTES));
        }
        if let Some(key) = &self.key {
            result = result.with_key(key.plain(&facts));
        }
        Ok(vec![result])
    }
}

/// Names that the host refuses of a router.
fn check_header(name: &str) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || name.len() > NAME_MAX_BYTES || !header::is_plain(name) {
        return Err(format!("`headers`: `{}` is no name of a header", name.escape_debug()));
    }
    if lower.starts_with("x-") || lower == "cc" || lower == "bcc" {
        return Err(format!(
            "`headers`: `{name}` is the host's or steers the broker; take another name"
        ));
    }
    Ok(())
}

millrace_plugin::export_router!(ToSchema);

#[cfg(test)]
mod tests;
