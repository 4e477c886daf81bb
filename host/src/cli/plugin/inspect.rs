//! `millrace plugin inspect`: what a file says of itself. Nothing of it runs but the question which settings it takes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::check::settings_table;
use super::component::{self, FileArgument};
use crate::cli::MISTAKEN;
use crate::cli::output::{self, harmless, plain};
use crate::error_chain::ErrorChain;
use crate::sandbox::{Description, Setting};
use crate::streams;

/// `millrace plugin inspect`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    file: FileArgument,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  millrace plugin inspect crop.wasm
  millrace plugin inspect crop.wasm --json | jq -r .wit

It shows any component, whether or not a host would take it into service; `plugin check` says that.";

/// The longest line, and the longest name, that is printed.
const LINE_CHARS: usize = 2000;
const NAME_CHARS: usize = 200;

/// The printed object.
#[derive(Serialize)]
struct Object<'a> {
    #[serde(flatten)]
    description: &'a Description,
    roles: Vec<String>,
    /// None where it cannot be asked.
    settings: Option<Vec<Value>>,
}

pub(super) fn inspect(options: &Options) -> anyhow::Result<ExitCode> {
    let path = &options.file.file;
    let description = match component::describe(path) {
        Ok(description) => description,
        Err(error) => {
            streams::error(component::lines(&ErrorChain(&error).to_string()));
            return Ok(ExitCode::from(MISTAKEN));
        }
    };
    let settings = settings(path, &description)?;
    let text = match options.json {
        true => json(&description, settings.as_ref().ok())?,
        false => text(&description, &settings),
    };
    output::print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// The settings that it takes, or why it does not say.
fn settings(path: &Path, description: &Description) -> anyhow::Result<Result<Vec<Setting>, String>> {
    let Some(role) = description.roles().into_iter().next() else {
        return Ok(Err("it is not a plugin".to_owned()));
    };
    let sandbox = component::sandbox()?;
    let config = component::config(path, "{}".to_owned())?;
    let settings = sandbox.settings_of(&config, role);
    Ok(settings.map_err(|error| error.problem.to_string()))
}

fn json(description: &Description, settings: Option<&Vec<Setting>>) -> anyhow::Result<String> {
    let object = Object {
        description,
        roles: description.roles().iter().map(ToString::to_string).collect(),
        settings: settings.map(|settings| settings.iter().map(setting).collect()),
    };
    Ok(harmless(&serde_json::to_string(&object)?))
}

fn setting(setting: &Setting) -> Value {
    let Setting {
        name,
        help,
        kind,
        choices,
        default,
        required,
        schema,
    } = setting;
    let kind = kind.as_str();
    serde_json::json!({
        "name": name, "help": help, "kind": kind, "choices": choices, "default": default, "required": required,
        "schema": schema,
    })
}

fn text(description: &Description, settings: &Result<Vec<Setting>, String>) -> String {
    let kind = match description.is_component {
        true => "a component",
        false => "a core module with an embedded component type",
    };
    let mut text = format!(
        "{kind}: {}\n{}, sha256 {}\n",
        component::roles_of(description),
        component::size(description.n_bytes),
        description.digest
    );
    for producer in &description.producers {
        let (field, name, version) = (&producer.field, &producer.name, &producer.version);
        let line = format!(
            "{}: {} {}",
            plain(field, NAME_CHARS),
            plain(name, NAME_CHARS),
            plain(version, NAME_CHARS)
        );
        text += &format!("{}\n", line.trim_end());
    }
    for section in &description.sections {
        if let Some(said) = &section.text {
            text += &format!("{}: {}\n", plain(&section.name, NAME_CHARS), plain(said, LINE_CHARS));
        }
    }
    text += &sections(description);
    text += &match settings {
        Ok(settings) => format!("\n{}\n", settings_table(settings)),
        Err(why) => format!("\nits settings are unknown: {}\n", component::lines(why)),
    };
    format!("{text}\n{}", component::lines(&description.wit).trim_end())
}

/// Custom sections by name, with how many there are and how large they are.
fn sections(description: &Description) -> String {
    let mut by_name = BTreeMap::<&str, (usize, usize)>::new();
    for section in &description.sections {
        let (n, n_bytes) = by_name.entry(&section.name).or_default();
        *n += 1;
        *n_bytes = n_bytes.saturating_add(section.n_bytes);
    }
    let mut text = String::new();
    for (name, (n, n_bytes)) in by_name {
        let times = if n == 1 {
            String::new()
        } else {
            format!(" ({n} of them)")
        };
        text += &format!(
            "custom section {}: {}{times}\n",
            plain(name, NAME_CHARS),
            component::size(n_bytes)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{Producer, Section};

    #[test]
    fn what_a_stranger_wrote_is_escaped() {
        let evil = "a\u{1b}[31m\u{202e}";
        let section = |name: &str, text: Option<&str>| Section {
            name: name.to_owned(),
            n_bytes: 1234,
            text: text.map(str::to_owned),
        };
        let description = Description {
            digest: "d".to_owned(),
            n_bytes: 7,
            wit: format!("world root {{\n  /// {evil}\n}}\n"),
            producers: vec![Producer {
                field: "sdk".to_owned(),
                name: evil.to_owned(),
                version: evil.to_owned(),
            }],
            sections: vec![
                section("description", Some(evil)),
                section(evil, None),
                section(evil, None),
            ],
            ..Description::default()
        };
        let text = text(&description, &Err(evil.to_owned()));
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        for part in [
            "sdk: a\\u{1b}[31m",
            "description: a\\u{1b}",
            "2,468 bytes (2 of them)",
            "  /// a\\u{1b}",
        ] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
        let json = json(&description, None).unwrap();
        assert!(!json.contains(['\u{1b}', '\u{202e}']), "{json}");
        let object: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&object["sections"][1]["name"], &object["settings"]),
            (&evil.into(), &Value::Null)
        );
    }
}
