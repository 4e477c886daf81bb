//! `[message]`: where the body comes from, and what plugins see beside it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use toml::Spanned;

use super::BODY_MAX_BYTES;
use super::values::Headers;
use crate::check::Checker;
use crate::check_values::Expect;
use crate::diagnostics::{Diagnostic, Span};
use crate::keys_case;
use crate::table::{Key, Table};
use crate::values::Text;
use millrace_types::message::Message;

/// The source that plugins see.
const SOURCE: &str = "cases";

/// Reads the table, or says that it is missing.
pub(super) fn read(table: Key<Table<'_>>, checker: &mut Checker<'_, '_>) -> Message {
    let Some(table) = table.into_given() else {
        return Message::default();
    };
    let report = &mut *checker.report;
    let file: Key<Text> = table.key("file", report);
    let text: Key<Text> = table.key("text", report);
    let base64: Key<Text> = table.key("base64", report);
    let id: Key<Text> = table.key("id", report);
    let correlation_id: Key<Text> = table.key("correlation_id", report);
    let reply_to: Key<Text> = table.key("reply_to", report);
    let source: Key<Text> = table.key("source", report);
    let key: Key<Text> = table.key("key", report);
    let content_type: Key<Text> = table.key("content_type", report);
    let attempt: Key<i128> = table.key("attempt", report);
    let redelivered: Key<bool> = table.key("redelivered", report);
    let headers: Key<Headers> = table.key("headers", report);
    let span = table.span().clone();
    table.finish(&|_| None, report);

    let attempt = checker.within(&attempt, "attempt", &keys_case::ATTEMPT);
    let name = file.given().map(|file| file.get_ref().value.clone());
    let body = body(&file, &text, &base64, &span, checker);
    let value = |key: Key<Text>| key.into_given().map(|text| text.value);
    let of_name = |name: &String| mime_guess::from_path(name).first_raw().map(str::to_owned);
    let content_type = match value(content_type) {
        Some(said) => Some(said).filter(|said| !said.is_empty()),
        None => name.as_ref().and_then(of_name),
    };
    let file_name = || Some(Path::new(name.as_ref()?).file_name()?.to_string_lossy().into_owned());
    Message {
        id: value(id).unwrap_or_else(|| format!("{:x}", Sha256::digest(&body))),
        correlation_id: value(correlation_id),
        reply_to: value(reply_to),
        source: value(source).unwrap_or_else(|| SOURCE.to_owned()),
        key: value(key).or_else(file_name).unwrap_or_default(),
        attempt: u32::try_from(attempt).unwrap_or(1),
        redelivered: redelivered.into_given().unwrap_or_default(),
        content_type,
        headers: headers.into_given().map(|headers| headers.0).unwrap_or_default(),
        body: Arc::new(body),
        ..Message::default()
    }
}

/// Takes the body from where it is said to be.
fn body(
    file: &Key<Text>,
    text: &Key<Text>,
    base64: &Key<Text>,
    table: &Span,
    checker: &mut Checker<'_, '_>,
) -> Vec<u8> {
    let said: Vec<&Spanned<Text>> = [file, text, base64].into_iter().filter_map(Key::given).collect();
    if let [_, second, ..] = said.as_slice() {
        let diagnostic = Diagnostic::at(second.span(), "the body is set twice");
        checker
            .report
            .diagnostic(diagnostic.hint("set one of `file`, `text` and `base64`"));
        return Vec::new();
    }
    if let Some(text) = text.given() {
        return text.get_ref().value.clone().into_bytes();
    }
    if let Some(encoded) = base64.given() {
        let written: String = encoded.get_ref().value.split_whitespace().collect();
        return STANDARD.decode(written).unwrap_or_else(|error| {
            checker
                .report
                .diagnostic(Diagnostic::at(encoded.span(), format!("this is not Base64: {error}")));
            Vec::new()
        });
    }
    if let Some(named) = file.given() {
        let Some(path) = checker.path(named, Expect::File) else {
            return Vec::new();
        };
        return read_bounded(&path).unwrap_or_else(|text| {
            checker.report.diagnostic(Diagnostic::at(named.span(), text));
            Vec::new()
        });
    }
    if [file, text, base64].into_iter().all(Key::is_absent) {
        checker.required(
            file,
            "file",
            table,
            "`file = \"picture.png\"`, `text = \"..\"` or `base64 = \"..\"`",
        );
    }
    Vec::new()
}

/// Reads a file that is no larger than a body may be.
pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BODY_MAX_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(format!("it cannot be read: {error}")),
        Ok(_) if bytes.len() as u64 > BODY_MAX_BYTES => Err(format!("it is larger than {} MiB", BODY_MAX_BYTES >> 20)),
        Ok(_) => Ok(bytes),
    }
}
