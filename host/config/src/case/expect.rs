//! `[expect]`: what must come out.

use std::path::PathBuf;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::DeArray;

use super::values::{self, Headers, Shape};
use super::{Expected, ExpectedBody, ExpectedOutcome, ExpectedResult, ExpectedTensor, Outcome};
use crate::check::Checker;
use crate::diagnostics::{Diagnostic, Span};
use crate::keys_expect::{self, TOLERANCE};
use crate::settings::Settings;
use crate::table::{Key, Table};
use crate::values::Text;
use millrace_types::message::Element;

const SHA256_DIGITS: usize = 64;

/// The elements of tensors by their words.
pub(super) const ELEMENTS: [(&str, Element); 2] = [("byte", Element::Byte), ("float", Element::Float)];

/// Reads the table.
pub(super) fn read(table: Table<'_>, checker: &mut Checker<'_, '_>) -> Expected {
    let report = &mut *checker.report;
    let outcome: Key<Text> = table.key("outcome", report);
    let reason: Key<Text> = table.key("reason", report);
    let tensor = table.table("tensor", report);
    let label: Key<Text> = table.key("label", report);
    let results: Key<&DeArray<'_>> = table.key("result", report);
    let message = table.table("message", report);
    let result_span = results.given().map(Spanned::span);
    let results = values::tables(results, &keys_expect::RESULT, report);
    table.finish(&belongs, report);

    let outcome = checker
        .choice(&outcome, "outcome", &ExpectedOutcome::WORDS)
        .unwrap_or(ExpectedOutcome::Is(Outcome::Ok));
    let is_ok = outcome == ExpectedOutcome::Is(Outcome::Ok);
    if is_ok || matches!(outcome, ExpectedOutcome::NoFault | ExpectedOutcome::Processed) {
        checker.refuse(
            &reason,
            &format!("`reason` has no meaning with the outcome `{}`", outcome.as_str()),
            "say the `outcome` that gives a reason",
        );
    }
    if !is_ok {
        let spans = [
            ("tensor", tensor.given().map(|it| it.get_ref().span().clone())),
            ("label", label.given().map(Spanned::span)),
            ("result", result_span),
            ("message", message.given().map(|it| it.get_ref().span().clone())),
        ];
        for (name, span) in spans.into_iter().filter_map(|(name, span)| Some((name, span?))) {
            let message = format!("`{name}` has no meaning with the outcome `{}`", outcome.as_str());
            checker.report.diagnostic(Diagnostic::at(span, message));
        }
    }
    Expected {
        outcome,
        reason: plain(reason),
        tensor: tensor.into_given().map(|table| self::tensor(table, checker)),
        label: plain(label),
        results: results.map(|results| results.into_iter().map(|table| result(table, checker)).collect()),
        message: message.into_given().map(|table| whole_body(table, checker)),
    }
}

/// Where keys belong that are looked for in the wrong table.
fn belongs(key: &str) -> Option<&'static str> {
    match key {
        "shape" | "element" | "min" | "max" | "mean" | "sha256" => Some("`tensor = { .. }`"),
        "destination" | "json" | "text" | "body_sha256" => Some("`[[expect.result]]`"),
        "fuel" | "memory" => Some("`[budget]`"),
        _ => None,
    }
}

fn tensor(table: Table<'_>, checker: &mut Checker<'_, '_>) -> ExpectedTensor {
    let report = &mut *checker.report;
    let shape: Key<Shape> = table.key("shape", report);
    let element: Key<Text> = table.key("element", report);
    let min: Key<f64> = table.key("min", report);
    let max: Key<f64> = table.key("max", report);
    let mean: Key<f64> = table.key("mean", report);
    let sha256: Key<Text> = table.key("sha256", report);
    let file: Key<Text> = table.key("file", report);
    let tolerance: Key<f64> = table.key("tolerance", report);
    table.finish(&|_| None, report);
    ExpectedTensor {
        shape: shape.into_given().map(|shape| shape.0),
        element: checker.choice(&element, "element", &ELEMENTS),
        min: min.into_given(),
        max: max.into_given(),
        mean: mean.into_given(),
        sha256: digest(&sha256, "sha256", checker),
        file: file_to_be(&file, checker),
        tolerance: checker.within(&tolerance, "tolerance", &TOLERANCE),
    }
}

fn result(table: Table<'_>, checker: &mut Checker<'_, '_>) -> ExpectedResult {
    let destination: Key<Text> = table.key("destination", checker.report);
    let key: Key<Text> = table.key("key", checker.report);
    ExpectedResult {
        destination: plain(destination),
        key: plain(key),
        body: whole_body(table, checker),
    }
}

fn whole_body(table: Table<'_>, checker: &mut Checker<'_, '_>) -> ExpectedBody {
    let report = &mut *checker.report;
    let content_type: Key<Text> = table.key("content_type", report);
    let headers: Key<Headers> = table.key("headers", report);
    let json: Key<Settings> = table.key("json", report);
    let text: Key<Text> = table.key("text", report);
    let sha256: Key<Text> = table.key("body_sha256", report);
    let file: Key<Text> = table.key("file", report);
    let tolerance: Key<f64> = table.key("tolerance", report);
    let span = table.span().clone();
    table.finish(&|_| None, report);
    let json_span = json.given().map_or(span, Spanned::span);
    ExpectedBody {
        content_type: plain(content_type),
        headers: headers.into_given().map(|headers| headers.0).unwrap_or_default(),
        json: pointers(json, &json_span, checker),
        text: plain(text),
        sha256: digest(&sha256, "body_sha256", checker),
        file: file_to_be(&file, checker),
        tolerance: checker.within(&tolerance, "tolerance", &TOLERANCE),
    }
}

fn pointers(json: Key<Settings>, span: &Span, checker: &mut Checker<'_, '_>) -> Vec<(String, Value)> {
    let Some(Settings(text)) = json.into_given() else {
        return Vec::new();
    };
    // It was written as JSON a moment ago.
    let values: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
    for pointer in values
        .keys()
        .filter(|pointer| !pointer.is_empty() && !pointer.starts_with('/'))
    {
        let message = format!("{} is not a JSON pointer", crate::diagnostics::quoted(pointer));
        let hint = "it begins with `/`, such as `\"/top/0/label\"`; `\"\"` is the whole body";
        checker
            .report
            .diagnostic(Diagnostic::at(span.clone(), message).hint(hint));
    }
    values.into_iter().collect()
}

fn digest(key: &Key<Text>, name: &str, checker: &mut Checker<'_, '_>) -> Option<String> {
    let given = key.given()?;
    let digest = given.get_ref().value.to_ascii_lowercase();
    if digest.len() == SHA256_DIGITS && digest.chars().all(|c| c.is_ascii_hexdigit()) {
        return Some(digest);
    }
    let message = format!("`{name}` must be {SHA256_DIGITS} hexadecimal digits");
    checker
        .report
        .diagnostic(Diagnostic::at(given.span(), message).hint("`--update` writes what came out"));
    None
}

/// A file that `--update` makes where it is missing.
fn file_to_be(key: &Key<Text>, checker: &mut Checker<'_, '_>) -> Option<PathBuf> {
    let given = key.given()?;
    let text = &given.get_ref().value;
    if text.is_empty() || text.contains('\0') {
        let message = format!("{} is not a path", given.get_ref().quoted());
        checker.report.diagnostic(Diagnostic::at(given.span(), message));
        return None;
    }
    Some(checker.base.join(text))
}

fn plain(key: Key<Text>) -> Option<String> {
    key.into_given().map(|text| text.value)
}
