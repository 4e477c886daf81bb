//! Writes what came out into a case, for its author to read: what the case says is kept, with its comments and its order.
//!
//! By the places that the parser gives, and not by a crate that edits TOML: it would bring another configuration of the
//! parser, and with it half an hour of building.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::statistics::bytes;
use super::written::{self, array, quoted};
use super::{Found, Made, Picture};
use crate::config::case::{Case, Expected, ExpectedBody, ExpectedOutcome};
use crate::envelope::digest;
use crate::message::Outbound;

/// Why a case was not written.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// A file cannot be read or written.
    #[error("cannot write `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        source: std::io::Error,
    },
    /// The case to be written is not valid.
    #[error("cannot change `{}`: {why}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        why: String,
    },
    /// A PNG cannot hold what came out.
    #[error("cannot write the tensor to `{}`: it is not a greyscale picture", .0.display())]
    NoPicture(PathBuf),
}

/// Texts that take the place of what is written there. Invariant: disjoint.
type Edits = Vec<(Range<usize>, String)>;

/// Writes what came out into the file of a case, and into the files that it compares with.
///
/// # Errors
/// When a file cannot be written; a case is written whole or not at all.
pub fn update(case: &Case, found: &Found) -> Result<(), UpdateError> {
    let path = &case.path;
    let text = std::fs::read_to_string(path).map_err(file_error(path))?;
    let expected = case.expected.as_ref();
    let expected = expected.filter(|expected| expected.outcome.allows(found.outcome));
    if let Some(record) = &case.record {
        let said = case.expected.as_ref().map(|expected| expected.outcome);
        // Written down, the failure would be what the case asks for from now on.
        if !said
            .unwrap_or(ExpectedOutcome::against(&record.class))
            .allows(found.outcome)
        {
            let outcome = found.outcome.as_str();
            return Err(UpdateError::Format {
                path: path.clone(),
                why: format!("its message still fails ({outcome}): not written as the expected outcome"),
            });
        }
    }
    if let Some(expected) = expected {
        write_files(expected, found)?;
    }
    let changed = match case.record.is_some() {
        true => in_json(&text, found),
        false => match expected.and_then(|expected| refreshed(&text, expected, found)) {
            Some(text) => Ok(text),
            None => anew(&text, found),
        },
    };
    let format_error = |why: String| UpdateError::Format {
        path: path.clone(),
        why,
    };
    let changed = changed.map_err(format_error)?;
    // Beside it first: a case is never half there, and one that cannot be read takes no other's place.
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    let fresh = path.with_extension(format!("fresh.{ending}"));
    std::fs::write(&fresh, changed).map_err(file_error(&fresh))?;
    if let Err(errors) = Case::load(&fresh) {
        std::fs::remove_file(&fresh).map_err(file_error(&fresh))?;
        return Err(format_error(format!("the case to be written is not valid:\n{errors}")));
    }
    std::fs::rename(&fresh, path).map_err(file_error(path))
}

fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> UpdateError {
    let path = path.to_owned();
    |source| UpdateError::File { path, source }
}

/// A saved dead letter gets an `expect` of the form of `[expect]`.
fn in_json(text: &str, found: &Found) -> Result<String, String> {
    let mut saved: Map<String, Json> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let written: toml::Table = written::expect(found)
        .parse()
        .map_err(|error: toml::de::Error| error.to_string())?;
    let expect = written.get("expect").map(|expect| json!(expect)).unwrap_or_default();
    saved.insert("expect".to_owned(), expect);
    let text = serde_json::to_string_pretty(&saved).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}

/// Replaces `[expect]` and what belongs to it, or adds it.
fn anew(text: &str, found: &Found) -> Result<String, String> {
    let (mut kept, mut place, mut is_inside) = (String::new(), None, false);
    for line in text.split_inclusive('\n') {
        let begins = line.trim_start();
        if begins.starts_with('[') {
            let name = begins.trim_start_matches('[').trim_start();
            let rest = name.strip_prefix("expect").map(str::trim_start);
            is_inside = rest.is_some_and(|rest| rest.starts_with(['.', ']']));
            if is_inside {
                place.get_or_insert(kept.len());
            }
        }
        if !is_inside {
            kept.push_str(line);
        }
    }
    let expect = written::expect(found);
    match place {
        Some(place) => {
            let rest = kept.split_off(place);
            let gap = if rest.is_empty() { "" } else { "\n" };
            Ok(format!("{kept}{expect}{gap}{rest}"))
        }
        None => Ok(format!("{}\n\n{expect}", kept.trim_end())),
    }
}

/// Expectations that a case has are written as they came out; others stay left out. `None` where that needs other keys.
fn refreshed(text: &str, expected: &Expected, found: &Found) -> Option<String> {
    let document = DeTable::parse(text).ok()?;
    let expect = document.get_ref().get("expect")?.get_ref().as_table()?;
    let mut edits = Edits::new();
    if let Some(reason) = &expected.reason
        && !found.text.contains(reason.as_str())
    {
        replace(expect, "reason", quoted(&found.text), &mut edits);
    }
    if let Some(label) = found.label() {
        replace(expect, "label", quoted(label), &mut edits);
    }
    match &found.made {
        Made::Tensor { tensor, .. } => {
            if let Some(table) = expect.get("tensor").and_then(|table| table.get_ref().as_table()) {
                for (name, value) in written::figures(tensor) {
                    replace(table, name, value, &mut edits);
                }
            }
        }
        Made::Results(results) => {
            if let Some(said) = expect.get("result").and_then(|list| list.get_ref().as_array()) {
                let tables: Option<Vec<_>> = said.iter().map(|item| item.get_ref().as_table()).collect();
                let tables = tables.filter(|tables| tables.len() == results.len())?;
                for (table, result) in tables.into_iter().zip(results) {
                    refresh_result(table, result, &mut edits)?;
                }
            }
        }
        Made::Message(made) => {
            if let Some(table) = expect.get("message").and_then(|table| table.get_ref().as_table()) {
                refresh_body(
                    table,
                    &made.body,
                    made.content_type.as_deref(),
                    &made.headers,
                    &mut edits,
                )?;
            }
        }
        Made::Nothing => {}
    }
    edits.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
    let mut text = text.to_owned();
    for (place, value) in edits {
        text.get(place.clone())?;
        text.replace_range(place, &value);
    }
    Some(text)
}

fn refresh_result(table: &DeTable<'_>, result: &Outbound, edits: &mut Edits) -> Option<()> {
    replace(table, "destination", quoted(&result.destination), edits);
    replace(table, "key", quoted(result.key.as_deref().unwrap_or_default()), edits);
    refresh_body(
        table,
        &result.body,
        result.content_type.as_deref(),
        &result.headers,
        edits,
    )
}

fn refresh_body(
    table: &DeTable<'_>,
    body: &[u8],
    content_type: Option<&str>,
    found_headers: &[(String, String)],
    edits: &mut Edits,
) -> Option<()> {
    replace(table, "content_type", quoted(content_type.unwrap_or_default()), edits);
    replace(table, "text", quoted(&String::from_utf8_lossy(body)), edits);
    replace(table, "body_sha256", quoted(&digest(body)), edits);
    if let Some(headers) = table.get("headers") {
        match headers.get_ref() {
            DeValue::Table(headers) => {
                for name in headers.keys().map(|name| name.get_ref().as_ref()) {
                    let (_, value) = found_headers.iter().find(|(header, _)| header == name)?;
                    replace(headers, name, quoted(value), edits);
                }
            }
            _ => {
                let pairs = found_headers
                    .iter()
                    .map(|(name, value)| array([quoted(name), quoted(value)]));
                edits.push((headers.span(), array(pairs)));
            }
        }
    }
    if let Some(json) = table.get("json").and_then(|json| json.get_ref().as_table()) {
        let seen: Json = serde_json::from_slice(body).unwrap_or_default();
        for pointer in json.keys().map(|pointer| pointer.get_ref().as_ref()) {
            let value = written::json(seen.pointer(pointer)?)?;
            replace(json, pointer, value, edits);
        }
    }
    Some(())
}

/// Puts a value in the place of another, where there is one.
fn replace(table: &DeTable<'_>, key: &str, value: String, edits: &mut Edits) {
    if let Some(place) = table.get(key).map(Spanned::span) {
        edits.push((place, value));
    }
}

/// The files that a case compares with.
fn write_files(expected: &Expected, found: &Found) -> Result<(), UpdateError> {
    match &found.made {
        Made::Tensor { tensor, .. } => {
            let Some(file) = expected.tensor.as_ref().and_then(|tensor| tensor.file.as_ref()) else {
                return Ok(());
            };
            let content = match file.extension().is_some_and(|ending| ending == "png") {
                true => {
                    let picture = Picture::of(tensor).filter(|_| Picture::is_exact(tensor));
                    let png = picture.and_then(|picture| picture.png().ok());
                    png.ok_or_else(|| UpdateError::NoPicture(file.clone()))?
                }
                false => bytes(tensor),
            };
            std::fs::write(file, content).map_err(file_error(file))
        }
        Made::Results(results) => {
            for (expected, result) in expected.results.iter().flatten().zip(results) {
                write_body(&expected.body, &result.body)?;
            }
            Ok(())
        }
        Made::Message(made) => match &expected.message {
            Some(expected) => write_body(expected, &made.body),
            None => Ok(()),
        },
        Made::Nothing => Ok(()),
    }
}

fn write_body(expected: &ExpectedBody, body: &[u8]) -> Result<(), UpdateError> {
    match &expected.file {
        Some(file) => std::fs::write(file, body).map_err(file_error(file)),
        None => Ok(()),
    }
}
