//! The errors of the TOML parser, sorted by what they spoil. Knows no key.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::diagnostics::{Diagnostic, Span, quoted};

/// The parser's errors for a key or a table that is written twice.
const DUPLICATE: &str = "duplicate key";

/// The parser's errors. It recovers from each, but not equally well.
pub(super) struct Syntax {
    /// The first bracket, comma or quote that is missing: what follows cannot be trusted, so it stands alone.
    pub(super) structure: Option<Diagnostic>,
    /// Values that cannot be read: everything else in the file can.
    pub(super) values: Vec<Diagnostic>,
    /// Keys and tables that are there twice.
    pub(super) duplicates: Vec<Diagnostic>,
}

impl Syntax {
    /// Sorts the errors of a file.
    pub(super) fn of(text: &str, table: &DeTable<'_>, errors: Vec<Error>) -> Self {
        let mut scalars = Vec::new();
        table.values().for_each(|value| note_scalars(text, value, &mut scalars));
        let (mut structure, mut values, mut twice) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for error in errors {
            let span = error.span().unwrap_or_default();
            let scalar = scalars
                .iter()
                .find(|scalar| scalar.start <= span.start && span.end <= scalar.end);
            // The first of several in one place is the one that the others follow from.
            if error.message() == DUPLICATE {
                twice.insert((span.start, span.end));
            } else if let Some(scalar) = scalar {
                values
                    .entry(scalar.start)
                    .or_insert_with(|| value_diagnostic(text, scalar, &error));
            } else {
                structure
                    .entry(span.start)
                    .or_insert_with(|| structure_diagnostic(text, &error));
            }
        }
        Self {
            structure: structure.into_values().next(),
            values: values.into_values().collect(),
            duplicates: duplicates(text, twice),
        }
    }

    /// Whether another mistake only follows from a value that could not be read: it is in the same line.
    pub(super) fn explains(&self, text: &str, other: &Diagnostic) -> bool {
        let Some(other) = &other.span else {
            return false;
        };
        let line_start = |at: usize| {
            text.get(..at)
                .and_then(|before| before.rfind('\n'))
                .map_or(0, |newline| newline + 1)
        };
        let mut spans = self.values.iter().filter_map(|diagnostic| diagnostic.span.as_ref());
        spans.any(|span| line_start(span.start) == line_start(other.start))
    }
}

/// Where the values of one line are. One of several lines may have swallowed what was meant to follow it.
fn note_scalars(text: &str, value: &Spanned<DeValue<'_>>, spans: &mut Vec<Span>) {
    match value.get_ref() {
        DeValue::Array(items) => items.iter().for_each(|item| note_scalars(text, item, spans)),
        DeValue::Table(table) => table.values().for_each(|value| note_scalars(text, value, spans)),
        _ if text.get(value.span()).is_some_and(|value| !value.contains('\n')) => spans.push(value.span()),
        _ => {}
    }
}

/// Keys and tables that are there twice. What is in a table's second copy is not counted again.
fn duplicates(text: &str, spans: BTreeSet<(usize, usize)>) -> Vec<Diagnostic> {
    let mut table_end = 0;
    let mut diagnostics = Vec::new();
    for (start, end) in spans {
        if start < table_end {
            continue;
        }
        let before = text.get(..start).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        let key = quoted(text.get(start..end).unwrap_or_default());
        if line.trim_start().starts_with('[') {
            table_end = text
                .get(end..)
                .and_then(|rest| rest.find("\n["))
                .map_or(text.len(), |at| end + at);
            let diagnostic = Diagnostic::at(start..end, format!("the table {key} is defined twice"));
            diagnostics.push(diagnostic.hint("give one of them another name, or make them one"));
        } else {
            diagnostics.push(Diagnostic::at(start..end, format!("the key {key} is defined twice")));
        }
    }
    diagnostics
}

/// A value that is none, mostly for want of quotes: the parser guesses at a number or a boolean then.
fn value_diagnostic(text: &str, value: &Span, error: &Error) -> Diagnostic {
    let written = text.get(value.clone()).unwrap_or_default();
    let is_quoted = written.starts_with(['"', '\'']);
    if is_quoted || !written.contains(|c: char| c.is_alphabetic() || c == '/') {
        return structure_diagnostic(text, error);
    }
    let hint = format!("a text is written in quotes: {}", quoted(&format!("\"{written}\"")));
    Diagnostic::at(value.clone(), format!("{} is not a value", quoted(written))).hint(hint)
}

/// The parser's error, without a span at a line's end or beyond.
fn structure_diagnostic(text: &str, error: &Error) -> Diagnostic {
    let shown = error.span().map(|span| {
        let is_blank = text.get(span.clone()).is_none_or(|part| part.trim().is_empty());
        if is_blank { span.start..span.start } else { span }
    });
    Diagnostic::at(shown, error.message())
}
