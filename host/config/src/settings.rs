//! A plugin's `settings` table as a JSON object. Knows nothing of what plugins do with it.

use millrace_schema::Form;
use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeFloat, DeInteger, DeTable, DeValue};

use super::diagnostics::Diagnostic;
use super::report::Report;
use super::table::{Read, Unreadable};
use super::values::wide;

/// The text of a JSON object. May hold secrets from the environment.
pub(super) struct Settings(pub(super) String);

impl<'t> Read<'t> for Settings {
    const EXPECTED: &'static str = "a table";

    fn read(value: &'t Spanned<DeValue<'t>>, report: &mut Report<'_>) -> Result<Self, Unreadable> {
        let table = value.get_ref().as_table().ok_or(Unreadable::Type { hint: None })?;
        let object = json_object(table, report).ok_or(Unreadable::Reported)?;
        Ok(Self(Value::Object(object).to_string()))
    }

    fn takes(form: &Form) -> bool {
        matches!(form, Form::Any)
    }
}

/// `None` where something was reported; everything in it is looked at all the same.
fn json_object(table: &DeTable<'_>, report: &mut Report<'_>) -> Option<Map<String, Value>> {
    let values: Vec<Option<(String, Value)>> = table
        .iter()
        .map(|(key, value)| json_value(value, report).map(|value| (key.get_ref().to_string(), value)))
        .collect();
    values.into_iter().collect()
}

// The depth is bounded: the parser refuses what is nested deeper than 80 levels.
fn json_value(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Value> {
    let mut refuse = |message: String| {
        report.diagnostic(Diagnostic::at(value.span(), message).hint("settings reach the plugin as JSON"));
        None
    };
    match value.get_ref() {
        DeValue::String(text) => report.expand(text, &value.span()).map(Value::String),
        DeValue::Integer(number) => match json_integer(number) {
            Some(number) => Some(Value::Number(number)),
            None => refuse(format!("the integer `{number}` does not fit in 64 bits")),
        },
        DeValue::Float(number) => match json_float(number) {
            Some(number) => Some(Value::Number(number)),
            None => refuse(format!("`{}` is not a number that JSON can hold", number.as_str())),
        },
        DeValue::Boolean(value) => Some(Value::Bool(*value)),
        DeValue::Datetime(time) => Some(Value::String(time.to_string())),
        DeValue::Array(items) => {
            let items: Vec<Option<Value>> = items.iter().map(|item| json_value(item, report)).collect();
            items.into_iter().collect::<Option<Vec<Value>>>().map(Value::Array)
        }
        DeValue::Table(table) => json_object(table, report).map(Value::Object),
    }
}

fn json_integer(number: &DeInteger<'_>) -> Option<Number> {
    let number = wide(number)?;
    let signed = i64::try_from(number).ok().map(Number::from);
    signed.or_else(|| u64::try_from(number).ok().map(Number::from))
}

/// `None` for infinities and NaN.
fn json_float(number: &DeFloat<'_>) -> Option<Number> {
    number.as_str().parse::<f64>().ok().and_then(Number::from_f64)
}
