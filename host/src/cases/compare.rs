//! The expected against the actual result. Knows nothing of how it came out.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::statistics::{bytes, numbers};
use super::{Found, Made, Picture, Statistics};
use crate::config::case::{BODY_MAX_BYTES, Expected, ExpectedBody, ExpectedResult, ExpectedTensor};
use crate::message::{Element, Outbound, Tensor};

/// The part of a text that is shown.
const SHOWN_CHARS: usize = 300;

/// Grey levels.
const LEVELS: f64 = 255.0;

/// One thing that is other than expected. Both texts are untrusted, and cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which, as the case names it.
    pub what: String,
    pub expected: String,
    pub found: String,
}

/// The result of a comparison.
#[derive(Debug, Default)]
pub struct Compared {
    /// In the order of the case.
    pub differences: Vec<Difference>,
    /// Expected and found, where they are pictures that differ.
    pub pictures: Option<(Picture, Picture)>,
}

pub fn compare(expected: &Expected, found: &Found) -> Compared {
    let mut compared = Compared::default();
    if !expected.outcome.allows(found.outcome) {
        let told = |outcome: &str, text: &str| match text {
            "" => outcome.to_owned(),
            text => format!("{outcome}: {text}"),
        };
        let reason = expected.reason.as_deref().unwrap_or_default();
        compared.differs(
            "outcome",
            &told(expected.outcome.told(), reason),
            &told(found.outcome.as_str(), &found.text),
        );
        return compared;
    }
    if let Some(reason) = &expected.reason
        && !found.text.contains(reason.as_str())
    {
        compared.differs("reason", reason, &found.text);
    }
    match &found.made {
        Made::Tensor { tensor, .. } => {
            if let Some(expected) = &expected.tensor {
                self::tensor(expected, tensor, &mut compared);
            }
        }
        Made::Results(results) => {
            if let Some(expected) = &expected.results {
                self::results(expected, results, &mut compared);
            }
        }
        Made::Message(made) => {
            if let Some(expected) = &expected.message {
                let seen = Body {
                    body: &made.body,
                    content_type: made.content_type.as_deref(),
                    headers: &made.headers,
                };
                body("message", expected, &seen, &mut compared);
            }
        }
        Made::Nothing => {}
    }
    if let Some(label) = &expected.label
        && found.label() != Some(label)
    {
        let without = "none: the case names no `model`";
        compared.differs("label", label, found.label().unwrap_or(without));
    }
    misplaced(expected, found, &mut compared);
    compared
}

/// The expectation for a plugin that cannot make it.
fn misplaced(expected: &Expected, found: &Found, compared: &mut Compared) {
    let role = format!("a {} makes none", found.role);
    let made = &found.made;
    if matches!(made, Made::Nothing) {
        return;
    }
    if expected.tensor.is_some() && !matches!(made, Made::Tensor { .. }) {
        compared.differs("tensor", "a tensor", &role);
    }
    if expected.results.is_some() && !matches!(made, Made::Results(_)) {
        compared.differs("result", "results", &role);
    }
    if expected.message.is_some() && !matches!(made, Made::Message(_)) {
        compared.differs("message", "a message", &role);
    }
}

fn tensor(expected: &ExpectedTensor, found: &Tensor, compared: &mut Compared) {
    let (found_type, figures) = (found.tensor_type(), Statistics::of(found));
    if let Some(shape) = &expected.shape
        && *shape != found_type.shape
    {
        compared.differs(
            "tensor.shape",
            &format!("{shape:?}"),
            &format!("{:?}", found_type.shape),
        );
    }
    if let Some(element) = expected.element
        && element != found_type.element
    {
        compared.differs("tensor.element", word(element), word(found_type.element));
    }
    for (name, expected_figure, figure) in [
        ("tensor.min", expected.min, figures.min),
        ("tensor.max", expected.max, figures.max),
        ("tensor.mean", expected.mean, figures.mean),
    ] {
        if let Some(number) = expected_figure
            && !is_near(number, figure, expected.tolerance)
        {
            compared.differs(name, &number.to_string(), &figure.to_string());
        }
    }
    if let Some(sha256) = &expected.sha256
        && *sha256 != figures.sha256
    {
        compared.differs("tensor.sha256", sha256, &figures.sha256);
    }
    if let Some(file) = &expected.file {
        elements(file, expected.tolerance, found, compared);
    }
}

fn elements(file: &Path, tolerance: f64, found: &Tensor, compared: &mut Compared) {
    let what = "tensor.file";
    let shown = file.display().to_string();
    let content = match read(file) {
        Ok(content) => content,
        Err(error) => return compared.differs(what, &shown, &error),
    };
    if file.extension().is_some_and(|ending| ending == "png") {
        let Some(picture) = Picture::of(found).filter(|_| Picture::is_exact(found)) else {
            return compared.differs(what, &shown, "a tensor that is not a greyscale picture");
        };
        let wanted = match Picture::read(&content) {
            Ok(wanted) => wanted,
            Err(error) => return compared.differs(what, &shown, &error.to_string()),
        };
        // Floats were rounded to grey levels when they were written.
        let allowed = match found.tensor_type().element {
            Element::Byte => tolerance,
            Element::Float => tolerance * LEVELS + 0.5,
        };
        if wanted.size() != picture.size() {
            let ((width, height), (has_width, has_height)) = (wanted.size(), picture.size());
            compared.differs(
                what,
                &format!("{width}x{height} pixels"),
                &format!("{has_width}x{has_height} pixels"),
            );
        } else if let Some(text) = off(wanted.pixels(), picture.pixels(), allowed, "grey levels") {
            compared.differs(what, &shown, &text);
        } else {
            return;
        }
        compared.pictures = Some((wanted, picture));
        return;
    }
    let text = match found.tensor_type().element {
        Element::Byte => off(&content, &bytes(found), tolerance, "values"),
        Element::Float => {
            let wanted = content.as_chunks::<4>().0.iter();
            let wanted: Vec<f64> = wanted.map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect();
            off_numbers(&wanted, &numbers(found), tolerance, "values")
        }
    };
    if let Some(text) = text {
        compared.differs(what, &shown, &text);
    }
}

fn off(expected: &[u8], found: &[u8], tolerance: f64, unit: &str) -> Option<String> {
    let numbers = |bytes: &[u8]| bytes.iter().map(|byte| f64::from(*byte)).collect::<Vec<_>>();
    off_numbers(&numbers(expected), &numbers(found), tolerance, unit)
}

/// How far numbers are off, where any is by more than allowed.
fn off_numbers(expected: &[f64], found: &[f64], tolerance: f64, unit: &str) -> Option<String> {
    if expected.len() != found.len() {
        return Some(format!("{} elements in place of {}", found.len(), expected.len()));
    }
    let differences = expected.iter().zip(found).map(|(a, b)| (a - b).abs());
    let (mut n_off, mut largest) = (0_usize, 0.0_f64);
    for difference in differences.filter(|difference| !is_near(*difference, 0.0, tolerance)) {
        n_off += 1;
        largest = largest.max(difference);
    }
    (n_off > 0).then(|| format!("{n_off} of {} elements are off, by up to {largest} {unit}", found.len()))
}

fn results(expected: &[ExpectedResult], found: &[Outbound], compared: &mut Compared) {
    if expected.len() != found.len() {
        let destinations: Vec<&str> = found.iter().map(|result| result.destination.as_str()).collect();
        let found = format!("{} results: {}", found.len(), destinations.join(", "));
        return compared.differs("result", &format!("{} results", expected.len()), &found);
    }
    for (place, (expected, found)) in expected.iter().zip(found).enumerate() {
        let what = format!("result {}", place + 1);
        if let Some(destination) = &expected.destination
            && *destination != found.destination
        {
            compared.differs(&format!("{what}: destination"), destination, &found.destination);
        }
        optional(
            &format!("{what}: key"),
            expected.key.as_deref(),
            found.key.as_deref(),
            compared,
        );
        let seen = Body {
            body: &found.body,
            content_type: found.content_type.as_deref(),
            headers: &found.headers,
        };
        body(&what, &expected.body, &seen, compared);
    }
}

/// A body as it came out.
pub(super) struct Body<'a> {
    pub(super) body: &'a [u8],
    pub(super) content_type: Option<&'a str>,
    pub(super) headers: &'a [(String, String)],
}

pub(super) fn body(what: &str, expected: &ExpectedBody, found: &Body<'_>, compared: &mut Compared) {
    optional(
        &format!("{what}: content_type"),
        expected.content_type.as_deref(),
        found.content_type,
        compared,
    );
    for (name, value) in &expected.headers {
        let mut values = found
            .headers
            .iter()
            .filter(|(header, _)| header == name)
            .map(|(_, value)| value);
        if !values.clone().any(|found| found == value) {
            let found = values.next().map_or("no such header", String::as_str);
            compared.differs(&format!("{what}: header {name}"), value, found);
        }
    }
    if !expected.json.is_empty() {
        match serde_json::from_slice::<Value>(found.body) {
            Err(error) => compared.differs(&format!("{what}: json"), "a JSON body", &format!("none: {error}")),
            Ok(json) => {
                for (pointer, value) in &expected.json {
                    let found = json.pointer(pointer);
                    if !found.is_some_and(|found| is_same(value, found, expected.tolerance)) {
                        let found = found.map_or_else(|| "nothing".to_owned(), Value::to_string);
                        compared.differs(&format!("{what}: json {pointer}"), &value.to_string(), &found);
                    }
                }
            }
        }
    }
    if let Some(text) = &expected.text
        && text.as_bytes() != found.body
    {
        compared.differs(&format!("{what}: text"), text, &String::from_utf8_lossy(found.body));
    }
    let digest = || format!("{:x}", Sha256::digest(found.body));
    if let Some(sha256) = &expected.sha256
        && *sha256 != digest()
    {
        compared.differs(&format!("{what}: body_sha256"), sha256, &digest());
    }
    if let Some(file) = &expected.file {
        let shown = file.display().to_string();
        match read(file) {
            Err(error) => compared.differs(&format!("{what}: file"), &shown, &error),
            Ok(content) if content != found.body => {
                let found = format!("{} other bytes", found.body.len());
                compared.differs(&format!("{what}: file"), &shown, &found);
            }
            Ok(_) => {}
        }
    }
}

/// An empty text expects that there is none.
fn optional(what: &str, expected: Option<&str>, found: Option<&str>, compared: &mut Compared) {
    if let Some(expected) = expected
        && expected != found.unwrap_or_default()
    {
        let told = |text: &str| {
            if text.is_empty() {
                "none".to_owned()
            } else {
                text.to_owned()
            }
        };
        compared.differs(what, &told(expected), &told(found.unwrap_or_default()));
    }
}

/// The same JSON, where numbers may be off.
fn is_same(expected: &Value, found: &Value, tolerance: f64) -> bool {
    match (expected, found) {
        (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => is_near(a, b, tolerance),
            _ => a == b,
        },
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b, tolerance))
        }
        (Value::Object(a), Value::Object(b)) => {
            let is_there = |(name, value): (&String, &Value)| b.get(name).is_some_and(|b| is_same(value, b, tolerance));
            a.len() == b.len() && a.iter().all(is_there)
        }
        (a, b) => a == b,
    }
}

/// Whether a number is as far off as it may be, or less; a little more than nothing is what arithmetic adds.
fn is_near(expected: f64, found: f64, tolerance: f64) -> bool {
    (expected - found).abs() <= tolerance + f64::EPSILON * expected.abs()
}

fn word(element: Element) -> &'static str {
    match element {
        Element::Byte => "byte",
        Element::Float => "float",
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let length = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    if length > BODY_MAX_BYTES {
        return Err(format!("a file of {length} bytes, more than are read"));
    }
    std::fs::read(file).map_err(|error| error.to_string())
}

impl Compared {
    pub(super) fn differs(&mut self, what: &str, expected: &str, found: &str) {
        let cut = |text: &str| {
            let mut cut: String = text.chars().take(SHOWN_CHARS).collect();
            if cut.len() < text.len() {
                cut.push('…');
            }
            cut
        };
        self.differences.push(Difference {
            what: cut(what),
            expected: cut(expected),
            found: cut(found),
        });
    }
}
