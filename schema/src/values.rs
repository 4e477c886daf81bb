//! Values of TOML as JSON: what a validator of JSON Schema is given. Knows no schema.

use serde_json::Value;

/// A value as JSON. Dates and times are strings, and so are numbers that JSON does not have.
pub fn json_of(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) if number.is_finite() => (*number).into(),
        toml::Value::Float(number) => number.to_string().into(),
        toml::Value::Boolean(flag) => (*flag).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.iter().map(json_of).collect(),
        toml::Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), json_of(value))).collect(),
    }
}

/// An example as the file has it.
pub(crate) fn example(text: &str) -> Option<Value> {
    let table: toml::Table = toml::from_str(&format!("example = {text}")).ok()?;
    table.get("example").map(json_of)
}
