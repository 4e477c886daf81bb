//! The JSON Schema of a file, in draft 7: what editors of TOML understand. It is for editors: what takes more
//! than one table to see is left to the reader, and nothing that the reader takes is refused. Knows no file.

use serde_json::{Map, Value, json};

use crate::{Absent, Declared, File, Form, Section, When, values};

/// What a string with something from the environment in it matches.
const ENVIRONMENT: &str = r"\$\{";

/// The schema of a file.
pub fn json_schema(file: &File) -> Value {
    let writer = Writer {
        takes_environment: file.takes_environment,
    };
    let mut schema = writer.section(file.root);
    let mut definitions = Map::new();
    for section in file.root.all().into_iter().skip(1) {
        definitions.insert(section.id.to_owned(), Value::Object(writer.section(section)));
    }
    schema.insert("$schema".to_owned(), "http://json-schema.org/draft-07/schema#".into());
    schema.insert("title".to_owned(), file.name.into());
    schema.insert("definitions".to_owned(), Value::Object(definitions));
    Value::Object(schema)
}

struct Writer {
    takes_environment: bool,
}

impl Writer {
    fn section(&self, section: &Section) -> Map<String, Value> {
        let mut properties = self.properties(section.keys);
        let mut rules = rules(section.keys);
        if let Some(kinds) = &section.kinds {
            let mut names = Vec::new();
            for kind in kinds.of {
                // Editors offer keys by what is in `properties`; which kind takes them is said below.
                for (name, schema) in self.properties(kind.keys) {
                    properties.entry(name).or_insert(schema);
                }
                names.push(kind.name);
                rules.push(self.kind(kinds.tag, section, kind));
            }
            let help = section.find(kinds.tag).map(|tag| tag.help).unwrap_or_default();
            properties.insert(kinds.tag.to_owned(), json!({ "description": help, "enum": names }));
        }
        let mut schema = Map::new();
        schema.insert("type".to_owned(), "object".into());
        schema.insert("description".to_owned(), section.help.into());
        schema.insert("properties".to_owned(), Value::Object(properties));
        schema.insert("additionalProperties".to_owned(), false.into());
        let mut required = required(section.keys);
        match section.one_of {
            [] => {}
            // Where there is one choice, it is missing, and not one of several.
            [only] => required.push(only),
            several => {
                let each = several.iter().map(|key| json!({ "required": [key] }));
                schema.insert("oneOf".to_owned(), each.collect());
            }
        }
        if !required.is_empty() {
            schema.insert("required".to_owned(), required.into());
        }
        let dependencies = dependencies(section);
        if !dependencies.is_empty() {
            schema.insert("dependencies".to_owned(), Value::Object(dependencies));
        }
        if !rules.is_empty() {
            schema.insert("allOf".to_owned(), rules.into());
        }
        schema
    }

    /// What holds where the tag says that it is this kind.
    fn kind(&self, tag: &str, section: &Section, kind: &crate::Kind) -> Value {
        let mut allowed: Map<String, Value> = self.properties(kind.keys);
        for key in section.keys {
            allowed.entry(key.name).or_insert(true.into());
        }
        json!({
            "if": { "required": [tag], "properties": { tag: { "const": kind.name } } },
            "then": { "properties": allowed, "additionalProperties": false, "required": required(kind.keys) },
        })
    }

    fn properties(&self, keys: &[Declared]) -> Map<String, Value> {
        let mut properties = Map::new();
        for key in keys {
            // A key that is declared once for each neighbour has no default of its own.
            let is_first = !properties.contains_key(key.name);
            let is_alone = keys.iter().filter(|other| other.name == key.name).count() == 1;
            if is_first {
                properties.insert(key.name.to_owned(), self.key(key, is_alone));
            }
            if is_first && !key.formerly.is_empty() {
                properties.insert(key.formerly.to_owned(), self.former_key(key));
            }
        }
        properties
    }

    fn key(&self, key: &Declared, has_default: bool) -> Value {
        let mut schema = self.form(&key.form);
        // What is beside a `$ref` counts for nothing: the section has a description of its own.
        if let Some(schema) = schema.as_object_mut()
            && !schema.contains_key("$ref")
        {
            schema.insert("description".to_owned(), key.told().into());
            if let Some(default) = key.default().filter(|_| has_default) {
                schema.insert("default".to_owned(), default);
            }
            if let Some(example) = values::example(key.example) {
                schema.insert("examples".to_owned(), json!([example]));
            }
        }
        schema
    }

    /// A key under its former name, which editors show as deprecated.
    fn former_key(&self, key: &Declared) -> Value {
        let mut schema = self.form(&key.form);
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), format!("Now called `{}`.", key.name).into());
            schema.insert("deprecated".to_owned(), true.into());
        }
        schema
    }

    fn form(&self, form: &Form) -> Value {
        match form {
            Form::Text("") => json!({ "type": "string" }),
            Form::Text(pattern) => json!({ "type": "string", "pattern": self.pattern(pattern) }),
            Form::Words(words) => {
                let words = words.words();
                match self.takes_environment {
                    true => json!({ "type": "string", "anyOf": [{ "enum": words }, { "pattern": ENVIRONMENT }] }),
                    false => json!({ "enum": words }),
                }
            }
            Form::Flag(_) => json!({ "type": "boolean" }),
            Form::Integer(bounds) => within("integer", bounds.min(), bounds.max()),
            Form::Number(bounds) => within("number", bounds.min(), bounds.max()),
            Form::Quantity(units, _) => json!({ "type": "string", "pattern": self.pattern(&(units.pattern)()) }),
            Form::List(item, min, max) => {
                let mut list = json!({ "type": "array", "items": self.form(item), "minItems": min });
                if let (Some(max), Some(list)) = (max, list.as_object_mut()) {
                    list.insert("maxItems".to_owned(), (*max).into());
                }
                list
            }
            Form::Either(forms) => {
                json!({ "anyOf": forms.iter().map(|form| self.form(form)).collect::<Vec<_>>() })
            }
            Form::Map(value) => json!({ "type": "object", "additionalProperties": self.form(value) }),
            Form::Any => json!({ "type": "object" }),
            Form::Table(section) => reference(section),
            Form::Tables(section) => json!({ "type": "array", "items": reference(section) }),
            Form::Named(section, names) => json!({
                "type": "object",
                "propertyNames": { "pattern": names },
                "additionalProperties": reference(section),
            }),
        }
    }

    fn pattern(&self, pattern: &str) -> String {
        match self.takes_environment {
            true => format!("{pattern}|{ENVIRONMENT}"),
            false => pattern.to_owned(),
        }
    }
}

fn reference(section: &Section) -> Value {
    json!({ "$ref": format!("#/definitions/{}", section.id) })
}

fn within(kind: &str, min: Option<Value>, max: Option<Value>) -> Value {
    let mut schema = json!({ "type": kind });
    if let Some(schema) = schema.as_object_mut() {
        schema.extend(min.map(|min| ("minimum".to_owned(), min)));
        schema.extend(max.map(|max| ("maximum".to_owned(), max)));
    }
    schema
}

fn required(keys: &[Declared]) -> Vec<&'static str> {
    let required = keys.iter().filter(|key| matches!(key.absent, Absent::Required));
    required.map(|key| key.name).collect()
}

/// What must be beside a key that is there.
fn dependencies(section: &Section) -> Map<String, Value> {
    let keys = section.keys;
    let mut dependencies = Map::new();
    for key in keys {
        // Declared again for another neighbour: it goes with either.
        let with: Vec<&str> = keys
            .iter()
            .filter(|other| other.name == key.name)
            .flat_map(|other| other.with.iter().copied())
            .collect();
        match with.as_slice() {
            [] => {}
            // One of them is there in any case.
            all if !section.one_of.is_empty() && section.one_of.iter().all(|choice| all.contains(choice)) => {}
            [one] => dependencies.extend([(key.name.to_owned(), json!([one]))]),
            several => {
                let any: Vec<Value> = several.iter().map(|one| json!({ "required": [one] })).collect();
                dependencies.extend([(key.name.to_owned(), json!({ "anyOf": any }))]);
            }
        }
    }
    for key in keys {
        if let Absent::RequiredWith(other) = key.absent {
            dependencies.insert(other.to_owned(), json!([key.name]));
        }
    }
    dependencies
}

/// What a key excludes, so that the mistake is at the key that is too much.
fn rules(keys: &[Declared]) -> Vec<Value> {
    let mut rules = Vec::new();
    for key in keys {
        if !key.formerly.is_empty() {
            rules.push(json!({ "not": { "required": [key.name, key.formerly] } }));
        }
        for when in key.unless {
            let (other, holds) = match when {
                When::Matches(other, pattern) => (other, json!({ "type": "string", "pattern": pattern })),
                When::Has(other, inner) => (other, json!({ "type": "object", "required": [inner] })),
            };
            rules.push(json!({
                "if": { "required": [other], "properties": { *other: holds } },
                "then": { "properties": { key.name: false } },
            }));
        }
    }
    rules
}
