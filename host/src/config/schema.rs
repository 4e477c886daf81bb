//! What is made of the declared keys: the JSON Schema that editors read, and the tables of the reference. Knows nothing of
//! how a plugin comes to declare its settings.

use std::collections::BTreeMap;

use millrace_schema::FillError;
use serde_json::{Map, Value};

use super::Name;
use super::{keys, keys_case};

/// The JSON Schema of `plugins.toml`.
pub fn schema() -> Value {
    millrace_schema::json_schema(&keys::file())
}

/// The JSON Schema of a case.
pub fn case_schema() -> Value {
    millrace_schema::json_schema(&keys_case::CASE)
}

/// The JSON Schema of one file: of the plugins that it names, the settings too.
pub fn schema_with_settings(settings: BTreeMap<Name, Value>) -> Value {
    let mut schema = schema();
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

/// The reference of `plugins.toml` with its tables made anew.
///
/// # Errors
/// When the text has not a place for each table.
pub fn reference(text: &str) -> Result<String, FillError> {
    millrace_schema::fill(text, keys::file().root)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use millrace_schema::{Form, Section};
    use toml::de::DeTable;

    use super::super::raw::RawConfig;
    use super::super::table::Report;
    use super::*;

    /// What the reader asks for in every file of the tests: section and key. That each is declared, and as what it is
    /// read as, the reader asserts itself.
    fn asked() -> BTreeSet<(&'static str, &'static str)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/testdata");
        let files = ["good", "bad"].map(|name| std::fs::read_dir(folder.join(name)).unwrap());
        let files = files.into_iter().flatten().map(|entry| entry.unwrap().path());
        let mut asked = BTreeSet::new();
        for path in files.filter(|path: &PathBuf| path.extension().is_some_and(|end| end == "toml")) {
            let text = std::fs::read_to_string(path).unwrap();
            let (table, _) = DeTable::parse_recoverable(&text);
            let mut report = Report::new(&text, &|_| None);
            RawConfig::read(table.get_ref(), &mut report);
            asked.extend(report.asked);
        }
        asked
    }

    #[test]
    fn what_is_declared_is_read_and_nothing_else() {
        let declared: BTreeSet<_> = keys::file()
            .root
            .all()
            .into_iter()
            .flat_map(|section| section.names().into_iter().map(|name| (section.id, name)))
            .collect();
        assert!(declared.len() > 50, "{}", declared.len());
        let asked = asked();
        let (unread, undeclared) = (declared.difference(&asked), asked.difference(&declared));
        let (unread, undeclared): (Vec<_>, Vec<_>) = (unread.collect(), undeclared.collect());
        assert!(unread.is_empty(), "declared, and not read as that: {unread:?}");
        assert!(undeclared.is_empty(), "read, and not declared as that: {undeclared:?}");
    }

    #[test]
    fn keys_are_told_with_words_and_an_example_that_fits() {
        for section in [keys::file(), keys_case::CASE].iter().flat_map(|file| file.root.all()) {
            assert!(section.help.ends_with('.'), "{}", section.id);
            for key in section.keys {
                let place = format!("{}.{}", section.id, key.name);
                assert!(key.help.ends_with('.'), "{place}: {}", key.help);
                if let Form::Words(words) = key.form {
                    let shared = key.help.contains("as for a source");
                    for word in words.words().into_iter().filter(|_| !shared) {
                        assert!(
                            key.help.contains(&format!("`\"{word}\"`")),
                            "{place} does not tell of {word}"
                        );
                    }
                    assert!(words.words().contains(&words.default()), "{place}");
                }
                let is_table = matches!(key.form, Form::Table(_) | Form::Tables(_) | Form::Named(..));
                assert!(is_table || !key.example.is_empty(), "{place}");
            }
        }
    }

    #[test]
    fn a_key_in_the_wrong_table_has_one_home() {
        for section in keys::file().root.all() {
            for key in section.keys.iter().filter(|key| key.has_home) {
                assert_eq!(keys::belongs(key.name), Some(section.title), "{}", key.name);
            }
        }
        assert_eq!(keys::belongs("colour"), None);
        assert_eq!(keys::belongs("path"), None, "models and plugins have one");
        assert_eq!(Section::EMPTY.names(), [""; 0]);
    }

    #[test]
    fn the_settings_of_a_plugin_are_its_own() {
        let settings = serde_json::json!({ "type": "object", "required": ["size"] });
        let name = Name::new("crop").unwrap();
        let schema = schema_with_settings(BTreeMap::from([(name, settings.clone())]));
        let crop = schema.pointer("/properties/plugin/properties/crop").unwrap();
        assert_eq!(crop["properties"]["settings"], settings);
        assert_eq!(crop["required"], serde_json::json!(["path", "settings"]));
        assert_eq!(schema["definitions"], super::schema()["definitions"]);
    }
}
