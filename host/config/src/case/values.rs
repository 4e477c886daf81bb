//! The values that only cases have, and how each is read from TOML. Knows no key.

use millrace_schema::{Form, Section};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::diagnostics::{Diagnostic, Span, quoted};
use crate::report::Report;
use crate::table::{Key, Read, Table, Unreadable};
use crate::values::{found, wide};

const WRONG_TYPE: Unreadable = Unreadable::Type { hint: None };

/// The most axes of a shape.
const AXES_MAX: usize = 8;

/// Header names and values, in the order of the file.
pub(super) struct Headers(pub(super) Vec<(String, String)>);

/// A number for each name, in the order of the file.
pub(super) struct Scores(pub(super) Vec<(String, f32)>);

/// The axes of a tensor.
pub(super) struct Shape(pub(super) Vec<u32>);

/// A list of numbers.
pub(super) struct Numbers(pub(super) Vec<f32>);

impl<'t> Read<'t> for Headers {
    const EXPECTED: &'static str = "a table of texts or a list of pairs";

    fn read(value: &'t Spanned<DeValue<'t>>, report: &mut Report<'_>) -> Result<Self, Unreadable> {
        let pairs = match value.get_ref() {
            DeValue::Table(table) => {
                let pairs = in_order(table).into_iter();
                let pairs = pairs.map(|(name, value)| Some((name.to_owned(), text(name, value, report)?)));
                pairs.collect::<Vec<_>>()
            }
            DeValue::Array(items) => items.iter().map(|item| pair(item, report)).collect(),
            _ => return Err(WRONG_TYPE),
        };
        let pairs: Option<Vec<_>> = pairs.into_iter().collect();
        pairs.map(Self).ok_or(Unreadable::Reported)
    }

    fn takes(form: &Form) -> bool {
        matches!(
            form,
            Form::Either([
                Form::Map(Form::Text(_)),
                Form::List(Form::List(Form::Text(_), 2, Some(2)), ..)
            ])
        )
    }
}

impl<'t> Read<'t> for Scores {
    const EXPECTED: &'static str = "a table of scores by label";

    fn read(value: &'t Spanned<DeValue<'t>>, report: &mut Report<'_>) -> Result<Self, Unreadable> {
        let table = value.get_ref().as_table().ok_or(WRONG_TYPE)?;
        let scores = in_order(table).into_iter().map(|(label, value)| {
            let score = number(value, report, || format!("the score of {}", quoted(label)))?;
            Some((label.to_owned(), score))
        });
        let scores = scores.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>();
        scores.map(Self).ok_or(Unreadable::Reported)
    }

    fn takes(form: &Form) -> bool {
        matches!(form, Form::Map(Form::Number(_)))
    }
}

impl<'t> Read<'t> for Shape {
    const EXPECTED: &'static str = "a list of axes such as `[3, 32, 32]`";

    fn read(value: &'t Spanned<DeValue<'t>>, report: &mut Report<'_>) -> Result<Self, Unreadable> {
        let items = value.get_ref().as_array().ok_or(WRONG_TYPE)?;
        let axis = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
            DeValue::Integer(number) => wide(number).and_then(|axis| u32::try_from(axis).ok()),
            _ => None,
        };
        let axes: Option<Vec<u32>> = items.iter().map(axis).collect();
        match axes {
            Some(axes) if axes.len() <= AXES_MAX => Ok(Self(axes)),
            _ => {
                let message = format!("a shape has up to {AXES_MAX} axes, each a whole number");
                report.diagnostic(Diagnostic::at(value.span(), message).hint("such as `[3, 32, 32]`"));
                Err(Unreadable::Reported)
            }
        }
    }

    fn takes(form: &Form) -> bool {
        matches!(form, Form::List(Form::Integer(_), _, Some(AXES_MAX)))
    }
}

impl<'t> Read<'t> for Numbers {
    const EXPECTED: &'static str = "a list of numbers";

    fn read(value: &'t Spanned<DeValue<'t>>, report: &mut Report<'_>) -> Result<Self, Unreadable> {
        let items = value.get_ref().as_array().ok_or(WRONG_TYPE)?;
        let numbers: Vec<_> = items
            .iter()
            .map(|item| number(item, report, || "an element of the list".to_owned()))
            .collect();
        let numbers: Option<Vec<f32>> = numbers.into_iter().collect();
        numbers.map(Self).ok_or(Unreadable::Reported)
    }

    fn takes(form: &Form) -> bool {
        matches!(form, Form::List(Form::Number(_), ..))
    }
}

/// The tables in a list that may be empty, which says something else than none.
pub(super) fn tables<'t>(
    list: Key<&'t DeArray<'t>>,
    section: &'static Section,
    report: &mut Report<'_>,
) -> Option<Vec<Table<'t>>> {
    let mut tables = Vec::new();
    for item in list.into_given()?.iter() {
        match item.get_ref().as_table() {
            Some(table) => tables.push(Table::new(table, section, section.title.to_owned(), item.span())),
            None => {
                let message = format!(
                    "{} must be a list of tables, found {}",
                    section.title,
                    found(item.get_ref())
                );
                report.diagnostic(Diagnostic::at(item.span(), message));
            }
        }
    }
    Some(tables)
}

/// The entries of a table in the order of the file, which the parser does not keep.
fn in_order<'t>(table: &'t DeTable<'t>) -> Vec<(&'t str, &'t Spanned<DeValue<'t>>)> {
    let mut entries: Vec<(Span, &str, _)> = table
        .iter()
        .map(|(key, value)| (key.span(), key.get_ref().as_ref(), value))
        .collect();
    entries.sort_by_key(|(span, ..)| span.start);
    entries.into_iter().map(|(_, name, value)| (name, value)).collect()
}

fn text(name: &str, value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<String> {
    let text = value.get_ref().as_str();
    if text.is_none() {
        let (name, found) = (quoted(name), found(value.get_ref()));
        let message = format!("the header {name} must be a string, found {found}");
        report.diagnostic(
            Diagnostic::at(value.span(), message).hint("plugins see every header as text: write it in quotes"),
        );
    }
    text.map(str::to_owned)
}

fn pair(item: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<(String, String)> {
    let pair: Option<Vec<&str>> = item
        .get_ref()
        .as_array()
        .and_then(|pair| pair.iter().map(|part| part.get_ref().as_str()).collect());
    match pair.as_deref() {
        Some([name, value]) => Some(((*name).to_owned(), (*value).to_owned())),
        _ => {
            let message = format!("a header is a name and a value, found {}", found(item.get_ref()));
            report.diagnostic(Diagnostic::at(item.span(), message).hint("such as `[\"camera\", \"7\"]`"));
            None
        }
    }
}

fn number(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>, what: impl Fn() -> String) -> Option<f32> {
    let text = match value.get_ref() {
        DeValue::Float(number) => Some(number.as_str()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str()),
        _ => None,
    };
    let number = text.and_then(|text| text.parse::<f32>().ok());
    let number = number.filter(|number| number.is_finite());
    if number.is_none() {
        let message = format!("{} must be a finite number, found {}", what(), found(value.get_ref()));
        report.diagnostic(Diagnostic::at(value.span(), message));
    }
    number
}
