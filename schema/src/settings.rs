//! The settings that a plugin declares, as the JSON Schema of its `settings` table. Knows no plugin.

use serde_json::{Map, Value, json};

/// One setting, as the contract has it.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The key.
    pub name: &'a str,
    /// What it does.
    pub help: &'a str,
    /// What its value may be.
    pub kind: SettingKind,
    /// The texts that may be chosen from; any text where there are none.
    pub choices: &'a [String],
    /// What holds where it is left out.
    pub default: Option<&'a Value>,
    /// Whether it must be there.
    pub required: bool,
}

/// What a setting's value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of TOML")]
pub enum SettingKind {
    Boolean,
    Integer,
    Number,
    Text,
    Array,
    Table,
}

/// The schema of a `settings` table: what is not declared is a mistake.
pub fn settings_schema<'a>(settings: impl IntoIterator<Item = Setting<'a>>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for setting in settings {
        if setting.required {
            required.push(setting.name.to_owned());
        }
        properties.insert(setting.name.to_owned(), schema(&setting));
    }
    let mut table = json!({
        "type": "object",
        "description": "What the plugin declares that it takes.",
        "properties": properties,
        "additionalProperties": false,
    });
    if let Some(table) = table.as_object_mut().filter(|_| !required.is_empty()) {
        table.insert("required".to_owned(), required.into());
    }
    table
}

fn schema(setting: &Setting<'_>) -> Value {
    let mut schema = match setting.kind {
        SettingKind::Boolean => json!({ "type": "boolean" }),
        SettingKind::Integer => json!({ "type": "integer" }),
        SettingKind::Number => json!({ "type": "number" }),
        SettingKind::Text if setting.choices.is_empty() => json!({ "type": "string" }),
        // What the environment holds is not known to an editor.
        SettingKind::Text => {
            json!({ "type": "string", "anyOf": [{ "enum": setting.choices }, { "pattern": r"\$\{" }] })
        }
        SettingKind::Array => json!({ "type": "array" }),
        SettingKind::Table => json!({ "type": "object" }),
    };
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), setting.help.into());
        schema.extend(setting.default.map(|default| ("default".to_owned(), default.clone())));
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_setting_is_a_property_and_nothing_else_is_taken() {
        let choices = ["bilinear".to_owned(), "nearest".to_owned()];
        let bilinear = Value::from("bilinear");
        let setting = |name, kind, choices, default, required| Setting {
            name,
            help: "Help.",
            kind,
            choices,
            default,
            required,
        };
        let schema = settings_schema([
            setting("resize", SettingKind::Text, &choices, Some(&bilinear), false),
            setting("size", SettingKind::Integer, &[], None, true),
            setting("labels", SettingKind::Table, &[], None, false),
        ]);
        let expected = json!({
            "type": "object",
            "description": "What the plugin declares that it takes.",
            "properties": {
                "resize": {
                    "type": "string",
                    "anyOf": [{ "enum": ["bilinear", "nearest"] }, { "pattern": "\\$\\{" }],
                    "description": "Help.",
                    "default": "bilinear",
                },
                "size": { "type": "integer", "description": "Help." },
                "labels": { "type": "object", "description": "Help." },
            },
            "additionalProperties": false,
            "required": ["size"],
        });
        assert_eq!(schema, expected);
    }
}
