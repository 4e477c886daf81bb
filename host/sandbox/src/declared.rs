//! The settings that a plugin says it takes, and what is wrong with those that it is given. Knows no file.

use millrace_config::did_you_mean;
use serde_json::{Map, Value};

use super::bindings::plugin::exports::millrace::pipeline::plugin;
use super::text::{is_unsafe, sanitize};

/// Settings of one plugin.
const SETTINGS_MAX: usize = 256;

/// Bytes of a setting's name, or of one of its choices.
const NAME_MAX_BYTES: usize = 255;

/// Bytes of a setting's default, or of its schema.
const JSON_MAX_BYTES: usize = 16 << 10;

/// Choices of one setting.
const CHOICES_MAX: usize = 256;

/// One key of a plugin's `settings` table, as the plugin declares it: bounded, and without control characters.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The key.
    pub name: String,
    /// Its meaning, for the author of the file.
    pub help: String,
    /// The allowed values.
    pub kind: SettingKind,
    /// The texts that may be chosen from; any where there are none.
    pub choices: Vec<String>,
    // Invariant: of the kind.
    /// The default, where the key is left out.
    pub default: Option<Value>,
    /// Whether the key must be there.
    pub required: bool,
    // Invariant: an object.
    /// A JSON Schema of the value, for what the kind does not say.
    pub schema: Option<Value>,
}

/// The kind of a setting's value, in the words of TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// A number; a whole one is taken too.
    Number,
    Text,
    /// A list.
    Array,
    Table,
}

/// A mistake in the settings for a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingDiagnostic {
    /// The part of the table that it is about.
    pub about: About,
    /// The problem.
    pub text: String,
    pub hint: Option<String>,
}

/// The part of a `settings` table that a mistake is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// The name of this key.
    Name(String),
    /// The value of this key.
    Value(String),
    /// What is not there.
    Table,
}

/// A destination that a plugin sends to, by its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedDestination {
    /// The setting that names it, and in a table its key: `labels.cat`.
    pub setting: String,
    /// Its name: without control characters.
    pub name: String,
    /// Whether that is the setting's default, and said in no file.
    pub is_default: bool,
}

/// The keyword of a JSON Schema for a text that names a destination.
const DESTINATION: &str = "millrace-destination";

impl SettingKind {
    /// With its article.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Boolean => "`true` or `false`",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Array => "an array",
            Self::Table => "a table",
        }
    }

    /// In the word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Text => "text",
            Self::Array => "array",
            Self::Table => "table",
        }
    }

    fn takes(self, value: &Value) -> bool {
        match self {
            Self::Boolean => value.is_boolean(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Text => value.is_string(),
            Self::Array => value.is_array(),
            Self::Table => value.is_object(),
        }
    }
}

/// Takes what a plugin says of its settings.
///
/// # Errors
/// The unusable part, in words for its author.
pub(super) fn settings(says: Vec<plugin::Setting>) -> Result<Vec<Setting>, String> {
    if says.len() > SETTINGS_MAX {
        return Err(format!("{} settings, allowed {SETTINGS_MAX}", says.len()));
    }
    let mut settings: Vec<Setting> = Vec::new();
    for setting in says {
        let setting = take(setting)?;
        if settings.iter().any(|other| other.name == setting.name) {
            return Err(format!("`{}` is declared twice", setting.name));
        }
        settings.push(setting);
    }
    Ok(settings)
}

fn take(says: plugin::Setting) -> Result<Setting, String> {
    let name = says.name;
    if name.is_empty() || !is_plain(&name) {
        return Err(format!("`{}` is not a name for a setting", sanitize(&name)));
    }
    if says.choices.len() > CHOICES_MAX || !says.choices.iter().all(|choice| is_plain(choice)) {
        return Err(format!("the choices of `{name}` are too many, or not plain texts"));
    }
    let kind = match says.kind {
        plugin::SettingKind::Boolean => SettingKind::Boolean,
        plugin::SettingKind::Integer => SettingKind::Integer,
        plugin::SettingKind::Number => SettingKind::Number,
        plugin::SettingKind::Text => SettingKind::Text,
        plugin::SettingKind::Array => SettingKind::Array,
        plugin::SettingKind::Table => SettingKind::Table,
    };
    let default = json(&name, "default", says.default)?;
    let schema = json(&name, "schema", says.schema)?;
    if schema.as_ref().is_some_and(|schema| !schema.is_object()) {
        return Err(format!("the schema of `{name}` is not a JSON object"));
    }
    if default.as_ref().is_some_and(|default| !kind.takes(default)) {
        return Err(format!("the default of `{name}` is not {}", kind.noun()));
    }
    Ok(Setting {
        help: sanitize(&says.help),
        kind,
        choices: says.choices,
        required: says.required,
        default,
        schema,
        name,
    })
}

fn json(name: &str, what: &str, text: Option<String>) -> Result<Option<Value>, String> {
    let Some(text) = text else { return Ok(None) };
    if text.len() > JSON_MAX_BYTES {
        return Err(format!(
            "the {what} of `{name}` has {} bytes, allowed {JSON_MAX_BYTES}",
            text.len()
        ));
    }
    let value = serde_json::from_str(&text);
    value
        .map(Some)
        .map_err(|error| format!("the {what} of `{name}` is not JSON: {error}"))
}

/// The destinations that a plugin's settings name, where it says which of them do: by the schema of a text, or of what is in
/// a list or a table. A text with a brace is a pattern of the plugin's, and no name.
pub(super) fn destinations(takes: &[Setting], given: &str) -> Vec<NamedDestination> {
    let given: Map<String, Value> = serde_json::from_str(given).unwrap_or_default();
    let mut named = Vec::new();
    for setting in takes {
        let (is_default, value) = match (given.get(&setting.name), &setting.default) {
            (Some(value), _) => (false, value),
            (None, Some(default)) => (true, default),
            (None, None) => continue,
        };
        let is_marked =
            |schema: Option<&Value>| schema.and_then(|schema| schema.get("format")?.as_str()) == Some(DESTINATION);
        let of_items = |key: &str| is_marked(setting.schema.as_ref().and_then(|schema| schema.get(key)));
        let places: Vec<(String, &Value)> = match value {
            Value::String(_) if is_marked(setting.schema.as_ref()) => vec![(setting.name.clone(), value)],
            Value::Array(items) if of_items("items") => items.iter().map(|item| (setting.name.clone(), item)).collect(),
            Value::Object(fields) if of_items("additionalProperties") => {
                let place = |key: &String| format!("{}.{key}", setting.name);
                fields.iter().map(|(key, value)| (place(key), value)).collect()
            }
            _ => continue,
        };
        let names = places
            .into_iter()
            .filter_map(|(place, value)| Some((place, value.as_str()?)))
            .filter(|(_, name)| !name.contains('{'));
        named.extend(names.map(|(setting, name)| NamedDestination {
            setting,
            name: sanitize(name),
            is_default,
        }));
    }
    named
}

/// The mistakes in the settings for a plugin, all at once: keys that it does not take, values of another kind, keys
/// that are missing.
pub(super) fn diagnostics(takes: &[Setting], given: &str) -> Vec<SettingDiagnostic> {
    let given: Map<String, Value> = serde_json::from_str(given).unwrap_or_default();
    let mut diagnostics = Vec::new();
    for (key, value) in &given {
        match takes.iter().find(|setting| setting.name == *key) {
            None => diagnostics.push(unknown(takes, key)),
            Some(setting) if !setting.kind.takes(value) => diagnostics.push(SettingDiagnostic {
                about: About::Value(key.clone()),
                text: format!(
                    "the setting `{key}` must be {}, found {}",
                    setting.kind.noun(),
                    found(value)
                ),
                hint: Some(setting.help.clone()).filter(|help| !help.is_empty()),
            }),
            Some(Setting { choices, .. }) if !is_choice(choices, value) => {
                let meant = value
                    .as_str()
                    .and_then(|text| did_you_mean(text, choices.iter().map(String::as_str)));
                let meant = meant
                    .map(|meant| format!(", did you mean `{meant}`?"))
                    .unwrap_or_default();
                diagnostics.push(SettingDiagnostic {
                    about: About::Value(key.clone()),
                    text: format!("the setting `{key}` has no such choice{meant}"),
                    hint: Some(format!("it is one of {}", quoted(choices.iter()))),
                });
            }
            Some(_) => {}
        }
    }
    for setting in takes
        .iter()
        .filter(|setting| setting.required && !given.contains_key(&setting.name))
    {
        diagnostics.push(SettingDiagnostic {
            about: About::Table,
            text: format!("the setting `{}` is missing", setting.name),
            hint: Some(format!("it must be {}: {}", setting.kind.noun(), setting.help)),
        });
    }
    diagnostics
}

fn unknown(takes: &[Setting], key: &str) -> SettingDiagnostic {
    let names = || takes.iter().map(|setting| &setting.name);
    let shown = sanitize(key);
    let (meant, hint) = match did_you_mean(key, names().map(String::as_str)) {
        Some(meant) => (format!(", did you mean `{meant}`?"), None),
        None if takes.is_empty() => (String::new(), Some("it takes no settings".to_owned())),
        None => (String::new(), Some(format!("it takes {}", quoted(names())))),
    };
    SettingDiagnostic {
        about: About::Name(key.to_owned()),
        text: format!("the plugin has no setting `{shown}`{meant}"),
        hint,
    }
}

fn is_choice(choices: &[String], value: &Value) -> bool {
    choices.is_empty()
        || value
            .as_str()
            .is_none_or(|text| choices.iter().any(|choice| choice == text))
}

/// The kind of a value; the value is not shown, since it may have come from the environment.
fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "a table",
    }
}

fn quoted<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn is_plain(text: &str) -> bool {
    text.len() <= NAME_MAX_BYTES && !text.chars().any(is_unsafe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, kind: plugin::SettingKind) -> plugin::Setting {
        plugin::Setting {
            name: name.to_owned(),
            help: "Help.".to_owned(),
            kind,
            choices: Vec::new(),
            default: None,
            required: false,
            schema: None,
        }
    }

    fn takes() -> Vec<Setting> {
        let resize = plugin::Setting {
            choices: vec!["nearest".to_owned(), "bilinear".to_owned()],
            default: Some("\"bilinear\"".to_owned()),
            ..setting("resize", plugin::SettingKind::Text)
        };
        let field = plugin::Setting {
            required: true,
            ..setting("field", plugin::SettingKind::Text)
        };
        let rate = setting("rate", plugin::SettingKind::Number);
        let n = setting("n", plugin::SettingKind::Integer);
        settings(vec![resize, field, rate, n]).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_told_all_at_once() {
        #[track_caller]
        fn check(given: &str, expected: &[&str]) {
            let texts: Vec<String> = diagnostics(&takes(), given)
                .into_iter()
                .map(|diagnostic| diagnostic.text)
                .collect();
            assert_eq!(texts, expected, "{given}");
        }
        check(r#"{"field": "/image", "rate": 1, "n": 2, "resize": "nearest"}"#, &[]);
        check("{}", &["the setting `field` is missing"]);
        check(
            r#"{"feild": "x", "n": 1.5, "resize": "linear", "zzz": 1}"#,
            &[
                "the plugin has no setting `feild`, did you mean `field`?",
                "the setting `n` must be an integer, found a number",
                "the setting `resize` has no such choice, did you mean `bilinear`?",
                "the plugin has no setting `zzz`",
                "the setting `field` is missing",
            ],
        );
        check(
            r#"{"field": true, "rate": "x"}"#,
            &[
                "the setting `field` must be a string, found a boolean",
                "the setting `rate` must be a number, found a string",
            ],
        );
    }

    #[test]
    fn destinations_are_found_where_the_plugin_says_that_they_are() {
        let marked = |name: &str, kind, schema: &str, default: Option<&str>| plugin::Setting {
            schema: Some(schema.to_owned()),
            default: default.map(str::to_owned),
            ..setting(name, kind)
        };
        let format = r#"{"format":"millrace-destination"}"#;
        let takes = settings(vec![
            marked("results", plugin::SettingKind::Text, format, Some("\"results\"")),
            marked("unsure", plugin::SettingKind::Text, format, None),
            marked(
                "copies",
                plugin::SettingKind::Array,
                &format!(r#"{{"items":{format}}}"#),
                None,
            ),
            marked(
                "labels",
                plugin::SettingKind::Table,
                &format!(r#"{{"additionalProperties":{format}}}"#),
                Some("{}"),
            ),
            setting("key", plugin::SettingKind::Text),
        ])
        .unwrap();
        let check = |given: &str, expected: &[(&str, &str, bool)]| {
            let named = destinations(&takes, given);
            let named: Vec<(&str, &str, bool)> = named
                .iter()
                .map(|one| (one.setting.as_str(), one.name.as_str(), one.is_default))
                .collect();
            assert_eq!(named, expected, "{given}");
        };
        check("{}", &[("results", "results", true)]);
        check(
            r#"{"results": "of-{label}", "unsure": "people", "key": "no-destination"}"#,
            &[("unsure", "people", false)],
        );
        check(
            r#"{"results": "a\u001b", "copies": ["b", 3], "labels": {"cat": "cats"}}"#,
            &[
                ("results", "a\\u{1b}", false),
                ("copies", "b", false),
                ("labels.cat", "cats", false),
            ],
        );
    }

    #[test]
    fn a_plugin_cannot_say_what_it_likes() {
        #[track_caller]
        fn check(says: Vec<plugin::Setting>, expected: &str) {
            assert_eq!(settings(says).unwrap_err(), expected);
        }
        let text = |name: &str| setting(name, plugin::SettingKind::Text);
        check(vec![text("a"); 257], "257 settings, allowed 256");
        check(vec![text("a"), text("a")], "`a` is declared twice");
        check(vec![text("")], "`` is not a name for a setting");
        check(vec![text("a\u{1b}")], "`a\\u{1b}` is not a name for a setting");
        check(
            vec![text(&"a".repeat(256))],
            &format!("`{}` is not a name for a setting", "a".repeat(256)),
        );
        let broken = plugin::Setting {
            default: Some("3".to_owned()),
            ..text("a")
        };
        check(vec![broken], "the default of `a` is not a string");
        let broken = plugin::Setting {
            schema: Some("[]".to_owned()),
            ..text("a")
        };
        check(vec![broken], "the schema of `a` is not a JSON object");
        let broken = plugin::Setting {
            choices: vec!["\n".to_owned()],
            ..text("a")
        };
        check(vec![broken], "the choices of `a` are too many, or not plain texts");
    }
}
