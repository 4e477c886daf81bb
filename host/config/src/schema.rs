//! The products of the declared keys: the JSON Schema that editors read, and the tables of the reference. Knows nothing
//! of how a plugin comes to declare its settings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use millrace_schema::{File, FillError};
use serde_json::{Map, Value};
use toml::de::DeTable;

use super::Name;
use super::check::Checker;
use super::keys_case;
use super::registry::Registry;
use super::report::Report;

/// The JSON Schema of `plugins.toml`.
pub fn schema(registry: &'static Registry) -> Value {
    millrace_schema::json_schema(&registry.file())
}

/// The keys that reading a text of `plugins.toml` asks for: section and key. For the check that each declared key is
/// read.
pub fn keys_asked(text: &str, base: &Path, registry: &'static Registry) -> BTreeSet<(&'static str, &'static str)> {
    let (table, _) = DeTable::parse_recoverable(text);
    let mut report = Report::new(registry, text, &|_| None);
    Checker::new(&mut report, base).config(table.get_ref());
    report.asked.into_iter().collect()
}

/// The declared keys of a case.
pub fn case_file() -> File {
    keys_case::CASE
}

/// The JSON Schema of a case.
pub fn case_schema() -> Value {
    millrace_schema::json_schema(&keys_case::CASE)
}

/// The JSON Schema of one file: of the plugins that it names, the settings too.
pub fn schema_with_settings(registry: &'static Registry, settings: BTreeMap<Name, Value>) -> Value {
    let mut schema = schema(registry);
    let plugin = schema.pointer("/definitions/plugin").cloned().unwrap_or_default();
    let own: Map<String, Value> = settings
        .into_iter()
        .map(|(name, settings)| (name.as_str().to_owned(), with_settings(plugin.clone(), settings)))
        .collect();
    if let Some(plugins) = schema.pointer_mut("/properties/plugin").and_then(Value::as_object_mut) {
        plugins.insert("properties".to_owned(), Value::Object(own));
    }
    schema
}

/// The reference of `plugins.toml` with its tables filled in again.
///
/// # Errors
/// When the text has not a place for each table.
pub fn reference(registry: &'static Registry, text: &str) -> Result<String, FillError> {
    millrace_schema::fill(text, registry.root())
}

/// The schema of a plugin's table, for the settings of one plugin. A required one makes the whole table required.
fn with_settings(mut plugin: Value, settings: Value) -> Value {
    let is_required = settings.get("required").is_some();
    if let Some(required) = plugin.pointer_mut("/required").and_then(Value::as_array_mut)
        && is_required
    {
        required.push("settings".into());
    }
    if let Some(place) = plugin.pointer_mut("/properties/settings") {
        *place = settings;
    }
    plugin
}
