//! The result of a call, in the words of a case. Knows no file.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::{Found, Made, Statistics};
use crate::envelope::digest;
use crate::message::{Element, Outbound, Tensor};

/// Values of a JSON body that are written; a body with more is written as its digest.
const LEAVES_MAX: usize = 32;

/// A body that is text and no longer than this is written as it is.
const TEXT_MAX_BYTES: usize = 2 << 10;

/// Figures have four digits after the point.
const FIGURE: f64 = 10_000.0;

/// The whole of `[expect]`.
pub(super) fn expect(found: &Found) -> String {
    let mut text = format!("[expect]\noutcome = {}\n", quoted(found.outcome.as_str()));
    match &found.made {
        Made::Nothing => line(&mut text, "reason", &quoted(&found.text)),
        Made::Tensor { tensor, .. } => {
            let figures = figures(tensor).map(|(name, value)| (name.to_owned(), value));
            line(&mut text, "tensor", &table(figures));
            if let Some(label) = found.label() {
                line(&mut text, "label", &quoted(label));
            }
        }
        Made::Results(results) if results.is_empty() => line(&mut text, "result", "[]"),
        Made::Message(made) => {
            text += "\n[expect.message]\n";
            body(&mut text, &made.body, made.content_type.as_deref(), &made.headers);
        }
        Made::Results(results) => results.iter().for_each(|one| result(&mut text, one)),
    }
    text
}

fn result(text: &mut String, result: &Outbound) {
    *text += "\n[[expect.result]]\n";
    line(text, "destination", &quoted(&result.destination));
    if let Some(key) = &result.key {
        line(text, "key", &quoted(key));
    }
    body(text, &result.body, result.content_type.as_deref(), &result.headers);
}

/// A body with its content type and headers.
fn body(text: &mut String, body: &[u8], content_type: Option<&str>, headers: &[(String, String)]) {
    if let Some(content_type) = content_type {
        line(text, "content_type", &quoted(content_type));
    }
    if !headers.is_empty() {
        let pairs = headers.iter().map(|(name, value)| array([quoted(name), quoted(value)]));
        line(text, "headers", &array(pairs));
    }
    let whole = serde_json::from_slice::<Json>(body).ok();
    let whole = whole.filter(|json| json.is_object() || json.is_array());
    let mut found = Vec::new();
    if let Some(whole) = &whole {
        leaves(String::new(), whole, &mut found);
    }
    match std::str::from_utf8(body) {
        _ if !found.is_empty() && found.len() <= LEAVES_MAX => line(text, "json", &table(found)),
        Ok(words) if whole.is_none() && words.len() <= TEXT_MAX_BYTES => line(text, "text", &quoted(words)),
        _ => line(text, "body_sha256", &quoted(&digest(body))),
    }
}

/// The figures of a tensor by their keys.
pub(super) fn figures(tensor: &Tensor) -> [(&'static str, String); 6] {
    let figures = Statistics::of(tensor);
    let found_type = tensor.tensor_type();
    let is_bytes = found_type.element == Element::Byte;
    let figure = |number: f64| number_text((number * FIGURE).round() / FIGURE);
    let element = |number: f64| if is_bytes { format!("{number}") } else { figure(number) };
    [
        ("shape", array(found_type.shape.iter().map(ToString::to_string))),
        ("element", quoted(if is_bytes { "byte" } else { "float" })),
        ("min", element(figures.min)),
        ("max", element(figures.max)),
        ("mean", figure(figures.mean)),
        ("sha256", quoted(&figures.sha256)),
    ]
}

/// A text in TOML, on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted += "\\n",
            '\t' => quoted += "\\t",
            c if c.is_control() => write!(quoted, "\\u{:04X}", u32::from(c)).unwrap_or_default(),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A list in TOML.
pub(super) fn array(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(", "))
}

/// A table in TOML, on one line.
fn table(entries: impl IntoIterator<Item = (String, String)>) -> String {
    let entries = entries
        .into_iter()
        .map(|(name, value)| format!("{} = {value}", key(&name)));
    format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
}

/// A JSON value in TOML; none for `null`, and for what has one in it.
pub(super) fn json(value: &Json) -> Option<String> {
    Some(match value {
        Json::Null => return None,
        Json::Bool(value) => value.to_string(),
        Json::String(text) => quoted(text),
        Json::Number(number) if number.is_f64() => number_text(number.as_f64()?),
        Json::Number(number) => number.to_string(),
        Json::Array(items) => array(items.iter().map(json).collect::<Option<Vec<_>>>()?),
        Json::Object(object) => {
            let entries = object.iter().map(|(name, value)| Some((name.clone(), json(value)?)));
            table(entries.collect::<Option<Vec<_>>>()?)
        }
    })
}

/// The values of a JSON body that have no others in them, by pointer.
fn leaves(pointer: String, value: &Json, found: &mut Vec<(String, String)>) {
    let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
    if found.len() > LEAVES_MAX {
        return;
    }
    match value {
        Json::Object(object) if !object.is_empty() => {
            for (name, value) in object {
                leaves(format!("{pointer}/{}", escaped(name)), value, found);
            }
        }
        Json::Array(items) if !items.is_empty() => {
            for (index, value) in items.iter().enumerate() {
                leaves(format!("{pointer}/{index}"), value, found);
            }
        }
        leaf => found.extend(json(leaf).map(|value| (pointer, value))),
    }
}

fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

/// A number that TOML reads as one with a point.
fn number_text(number: f64) -> String {
    let text = number.to_string();
    match text.contains('.') {
        true => text,
        false => text + ".0",
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    writeln!(text, "{name} = {value}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_what_it_was() {
        let value = serde_json::json!({ "a b": [1, 2.5, true, "x\"\\\n\u{7f}\u{1b}é"], "": { "c": 1e30 } });
        let text = format!("v = {}", json(&value).unwrap());
        let read: toml::Table = text.parse().unwrap();
        assert_eq!(serde_json::to_value(&read["v"]).unwrap(), value, "{text}");
        assert_eq!(json(&serde_json::json!([null])), None);
    }

    #[test]
    fn a_json_body_is_written_by_its_leaves_and_a_large_one_by_its_digest() {
        let written = |text: &str| {
            let mut lines = String::new();
            body(&mut lines, text.as_bytes(), None, &[]);
            lines
        };
        assert_eq!(
            written(r#"{"label": "cat", "top": [{"score": 0.5}], "a/b~": 1}"#),
            "json = { \"/a~1b~0\" = 1, \"/label\" = \"cat\", \"/top/0/score\" = 0.5 }\n"
        );
        assert_eq!(written("a cat"), "text = \"a cat\"\n");
        assert!(written(&serde_json::json!(vec![1; 40]).to_string()).starts_with("body_sha256 = "));
        assert!(written(&"x".repeat(3000)).starts_with("body_sha256 = "));
    }
}
