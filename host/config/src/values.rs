//! The values that keys can have, and how each is read from TOML. Knows no key and no table.

use std::time::Duration;

use millrace_schema::Form;
use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeTable, DeValue};

use super::diagnostics::{Diagnostic, quoted};
use super::keys;
use super::report::Report;
use super::table::{Read, Unreadable};
use super::units;

pub(crate) const WRONG_TYPE: Unreadable = Unreadable::Type { hint: None };

/// A string with the environment filled in.
#[derive(Debug, Clone)]
pub struct Text {
    /// The value: may hold secrets, so it is in no message.
    pub value: String,
    /// What the file says.
    written: String,
}

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Bytes(pub u64);

/// One pattern or several.
#[derive(Debug, Clone)]
pub struct Patterns(pub Vec<Spanned<Text>>);

impl Text {
    /// Whether the value is what the file says, so that it may be shown.
    pub fn is_plain(&self) -> bool {
        self.value == self.written
    }

    /// What the file says, in backticks.
    pub fn quoted(&self) -> String {
        quoted(&self.written)
    }
}

impl<'t> Read<'t> for Text {
    const EXPECTED: &'static str = "a string";

    fn read(value: &'t Spanned<DeValue<'t>>, report: &mut Report<'_>) -> Result<Self, Unreadable> {
        let written = value.get_ref().as_str().ok_or(WRONG_TYPE)?;
        let expanded = report.expand(written, &value.span()).ok_or(Unreadable::Reported)?;
        Ok(Self {
            value: expanded,
            written: written.to_owned(),
        })
    }

    fn takes(form: &Form) -> bool {
        matches!(form, Form::Text(_) | Form::Words(_))
    }
}

impl<'t> Read<'t> for bool {
    const EXPECTED: &'static str = "`true` or `false`";

    fn read(value: &'t Spanned<DeValue<'t>>, _: &mut Report<'_>) -> Result<Self, Unreadable> {
        value.get_ref().as_bool().ok_or(WRONG_TYPE)
    }

    fn takes(form: &Form) -> bool {
        matches!(form, Form::Flag(_))
    }
}

impl<'t> Read<'t> for i128 {
    const EXPECTED: &'static str = "an integer";

    fn read(value: &'t Spanned<DeValue<'t>>, _: &mut Report<'_>) -> Result<Self, Unreadable> {
        let hint = match value.get_ref() {
            DeValue::Integer(number) => return wide(number).ok_or(WRONG_TYPE),
            DeValue::String(text) if text.trim().parse::<i128>().is_ok() => Some("leave out the quotes".to_owned()),
            _ => None,
        };
        Err(Unreadable::Type { hint })
    }

    fn takes(form: &Form) -> bool {
        matches!(form, Form::Integer(_))
    }
}

impl<'t> Read<'t> for f64 {
    const EXPECTED: &'static str = "a number";

    fn read(value: &'t Spanned<DeValue<'t>>, _: &mut Report<'_>) -> Result<Self, Unreadable> {
        let text = match value.get_ref() {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            _ => return Err(WRONG_TYPE),
        };
        text.parse().map_err(|_| WRONG_TYPE)
    }

    fn takes(form: &Form) -> bool {
        matches!(form, Form::Number(_))
    }
}

impl<'t> Read<'t> for Duration {
    const EXPECTED: &'static str = "a duration in a string";

    fn read(value: &'t Spanned<DeValue<'t>>, report: &mut Report<'_>) -> Result<Self, Unreadable> {
        read_quantity(value, report, "`\"2ms\"`", units::duration)
    }

    fn takes(form: &Form) -> bool {
        matches!(form, Form::Quantity(units, _) if units.name == keys::DURATION.name)
    }
}

impl<'t> Read<'t> for Bytes {
    const EXPECTED: &'static str = "a size in a string";

    fn read(value: &'t Spanned<DeValue<'t>>, report: &mut Report<'_>) -> Result<Self, Unreadable> {
        read_quantity(value, report, "`\"256MiB\"`", units::size_bytes).map(Self)
    }

    fn takes(form: &Form) -> bool {
        matches!(form, Form::Quantity(units, _) if units.name == keys::SIZE.name)
    }
}

impl<'t> Read<'t> for Patterns {
    const EXPECTED: &'static str = "a pattern or a list of patterns";

    fn read(value: &'t Spanned<DeValue<'t>>, report: &mut Report<'_>) -> Result<Self, Unreadable> {
        texts(value, "a pattern", report).map(Self)
    }

    fn takes(form: &Form) -> bool {
        takes_texts(form)
    }
}

/// Whether a declared form is one string, or a list of them.
pub(crate) fn takes_texts(form: &Form) -> bool {
    matches!(form, Form::Either([Form::Text(_), Form::List(Form::Text(_), ..)]))
}

/// Reads one string, or a list of them; `what` is one of them, with its article.
pub(crate) fn texts<'t>(
    value: &'t Spanned<DeValue<'t>>,
    what: &str,
    report: &mut Report<'_>,
) -> Result<Vec<Spanned<Text>>, Unreadable> {
    let items: Vec<&Spanned<DeValue<'t>>> = match value.get_ref() {
        DeValue::String(_) => vec![value],
        DeValue::Array(array) => array.iter().collect(),
        _ => return Err(WRONG_TYPE),
    };
    let mut read = Vec::new();
    let mut failed = false;
    for item in items {
        match Text::read(item, report) {
            Ok(text) => read.push(Spanned::new(item.span(), text)),
            Err(Unreadable::Reported) => failed = true,
            Err(Unreadable::Type { .. }) => {
                failed = true;
                let message = format!("{what} must be a string, found {}", found(item.get_ref()));
                report.diagnostic(Diagnostic::at(item.span(), message));
            }
        }
    }
    if failed { Err(Unreadable::Reported) } else { Ok(read) }
}

impl<'t> Read<'t> for &'t DeTable<'t> {
    const EXPECTED: &'static str = "a table";

    fn read(value: &'t Spanned<DeValue<'t>>, _: &mut Report<'_>) -> Result<Self, Unreadable> {
        let is_list = value
            .get_ref()
            .as_array()
            .is_some_and(|array| array.iter().any(|item| item.get_ref().is_table()));
        let hint = is_list.then(|| "a table is written `[NAME]`, with one pair of brackets".to_owned());
        value.get_ref().as_table().ok_or(Unreadable::Type { hint })
    }

    fn takes(form: &Form) -> bool {
        matches!(form, Form::Table(_) | Form::Named(..))
    }
}

impl<'t> Read<'t> for &'t DeArray<'t> {
    const EXPECTED: &'static str = "a list of tables";

    fn read(value: &'t Spanned<DeValue<'t>>, _: &mut Report<'_>) -> Result<Self, Unreadable> {
        let hint = value.get_ref().is_table();
        let hint = hint.then(|| "a list of tables is written `[[NAME]]`, with two pairs of brackets".to_owned());
        value.get_ref().as_array().ok_or(Unreadable::Type { hint })
    }

    fn takes(form: &Form) -> bool {
        matches!(form, Form::Tables(_))
    }
}

fn read_quantity<'t, T>(
    value: &'t Spanned<DeValue<'t>>,
    report: &mut Report<'_>,
    example: &str,
    parse: fn(&str) -> Result<T, units::UnitError>,
) -> Result<T, Unreadable> {
    if !value.get_ref().is_str() {
        return Err(Unreadable::Type {
            hint: Some(format!("write it with its unit, such as {example}")),
        });
    }
    let text = Text::read(value, report)?;
    parse(&text.value).map_err(|error| {
        // The value of an environment variable is not shown.
        let message = if text.is_plain() {
            error.message
        } else {
            format!("{} is not a quantity", text.quoted())
        };
        report.diagnostic(Diagnostic::at(value.span(), message).hint(error.hint));
        Unreadable::Reported
    })
}

/// An integer of any width.
pub(crate) fn wide(number: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A value as messages name it.
pub(crate) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {}", quoted(text)),
        DeValue::Integer(number) => format!("the integer {}", quoted(&number.to_string())),
        DeValue::Float(number) => format!("the number {}", quoted(number.as_str())),
        DeValue::Boolean(value) => format!("`{value}`"),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
