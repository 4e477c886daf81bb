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

/// The page about the tables that every file has.
const MAIN_PAGE: &str = "plugins-toml.md";

/// Where the main page shows the transports.
const TRANSPORTS: &str = "<!-- transports -->\n";
const END_OF_TRANSPORTS: &str = "<!-- end of transports -->";

/// The pages of the reference of `plugins.toml`, by their names in `docs/`: the first about the tables that every file has,
/// then one for each transport.
pub fn reference_pages(registry: &Registry) -> Vec<&'static str> {
    let own = registry.transports().iter().map(|transport| transport.page);
    std::iter::once(MAIN_PAGE).chain(own).collect()
}

/// These pages with their tables filled in again.
///
/// # Errors
/// When the texts have not a place for each table.
pub fn reference(registry: &'static Registry, pages: &[&str]) -> Result<Vec<String>, FillError> {
    let mut pages = millrace_schema::fill(pages, registry.root())?;
    let missing = || FillError::Missing(vec![TRANSPORTS.trim_end().to_owned()]);
    let main = pages.first_mut().ok_or_else(missing)?;
    let (before, rest) = main.split_once(TRANSPORTS).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END_OF_TRANSPORTS).ok_or_else(missing)?;
    *main = format!(
        "{before}{TRANSPORTS}{}{END_OF_TRANSPORTS}{after}",
        transports_table(registry)
    );
    Ok(pages)
}

/// The transports, and by which keys a file names their kinds.
fn transports_table(registry: &Registry) -> String {
    let mut table = "| transport | source | destination | connection |\n|---|---|---|---|\n".to_owned();
    let keys = |keys: Vec<&str>| {
        let keys: Vec<String> = keys.into_iter().map(|key| format!("`{key}`")).collect();
        keys.join(", ")
    };
    for transport in registry.transports() {
        let sources = keys(transport.sources.iter().map(|kind| kind.key).collect());
        let destinations = keys(transport.destinations.iter().map(|kind| kind.key).collect());
        let connections = keys(transport.connections.iter().map(|kind| kind.key).collect());
        let (title, page) = (transport.title, transport.page);
        table.push_str(&format!(
            "| [{title}]({page}) | {sources} | {destinations} | {connections} |\n"
        ));
    }
    table
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
