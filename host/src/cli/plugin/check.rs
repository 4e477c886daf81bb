//! `millrace plugin check`: whether a host would take a plugin into service, what it needs, and what it costs.

mod yields;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::Value;

use super::component::{self, FileArgument};
use crate::cli::MISTAKEN;
use crate::cli::output::{self, plain};
use crate::sandbox::{Description, Grant, Role, Setting, StartCost};
use crate::streams;

/// `millrace plugin check`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    file: FileArgument,
    /// The plugin's settings: a file in TOML or JSON, or JSON itself
    #[arg(long, value_name = "FILE|JSON")]
    settings: Option<String>,
    /// A model folder: shows the plugin's output for its sample pictures, or its labels
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  millrace plugin check crop.wasm
  millrace plugin check crop.wasm --settings '{\"resize\": \"nearest\"}' --model models/shapes-lenet
  millrace plugin check by-label.wasm --settings by-label.toml

It refuses a plugin for the same reasons, in the same words, as `millrace check` and `millrace run`. A plugin is loaded here with the limits that
hold where plugins.toml says nothing: 1 s of CPU time for a call, 256 MiB of memory.";

/// The longest text of a plugin's that is printed in a cell.
const CELL_CHARS: usize = 300;

pub(super) async fn check(options: Options) -> anyhow::Result<ExitCode> {
    let path = &options.file.file;
    let settings = component::settings(options.settings.as_deref())?;
    let description = match component::describe(path) {
        Ok(description) => description,
        Err(error) => return Ok(refused(&component::explained(&error))),
    };
    output::print(about(path, &description))?;
    let roles = description.roles();
    if roles.is_empty() {
        let roles: Vec<String> = Role::ALL
            .iter()
            .map(|role| format!("a {role} exports `{}`", role.interface()))
            .collect();
        return Ok(refused(&format!(
            "{}: it is not a plugin: {}",
            path.display(),
            roles.join(", ")
        )));
    }
    let sandbox = component::sandbox()?;
    let config = component::config(path, settings)?;
    for role in roles {
        let takes = match sandbox.settings_of(&config, role) {
            Ok(takes) => takes,
            Err(error) => return Ok(refused(&component::explained(&error))),
        };
        // Its settings are reported even where those that it is given are refused.
        output::print(format_args!("\n{}", settings_table(&takes)))?;
        let plugin = match sandbox.load(&config, role) {
            Ok(plugin) => plugin,
            Err(error) => return Ok(refused(&component::explained(&error))),
        };
        let cost = match plugin.start_cost() {
            Ok(cost) => cost,
            Err(error) => return Ok(refused(&format!("{}: it {error}", path.display()))),
        };
        let compiled_in = sandbox.compile_time(&description.digest).unwrap_or_default();
        output::print(format_args!("\n{}", costs(compiled_in, &cost)))?;
        if let Some(folder) = &options.model {
            let yields = yields::told(&sandbox, &plugin, folder).await;
            output::print(format_args!(
                "\n{}",
                yields.with_context(|| format!("--model {}", folder.display()))?
            ))?;
        }
    }
    output::print("\nA host would take it into service.")?;
    Ok(ExitCode::SUCCESS)
}

fn refused(why: &str) -> ExitCode {
    streams::error(component::lines(why));
    ExitCode::from(MISTAKEN)
}

fn about(path: &Path, description: &Description) -> String {
    let kind = match description.is_component {
        true => "a component",
        false => "a core module, which a host makes a component of",
    };
    let mut imports = table(["IMPORT", "WHAT A HOST HAS FOR IT"]);
    for import in &description.imports {
        let grant = match description.grant(import) {
            Grant::Contract => "the contract: granted to every plugin",
            Grant::Inert => "there, but inert: granted to every plugin",
            Grant::Unasked => "there for runtimes, which import it unasked: nothing is behind it",
            Grant::None => "nothing: no plugin is granted it, whatever `grant` says",
        };
        imports.add_row([plain(import, CELL_CHARS).as_str(), grant]);
    }
    let imports = match description.imports.is_empty() {
        true => "imports nothing".to_owned(),
        false => imports.trim_fmt(),
    };
    let exports: Vec<String> = description.exports.iter().map(|name| plain(name, CELL_CHARS)).collect();
    format!(
        "{}: {}, {kind}\n{}, sha256 {}\nexports {}\n\n{imports}",
        plain(&path.display().to_string(), 4096),
        component::roles_of(description),
        component::size(description.n_bytes),
        description.digest,
        exports.join(", "),
    )
}

/// The settings that a plugin takes.
pub(super) fn settings_table(settings: &[Setting]) -> String {
    if settings.is_empty() {
        return "takes no settings".to_owned();
    }
    let mut rows = table(["SETTING", "KIND", "DEFAULT", "MEANING"]);
    for setting in settings {
        rows.add_row([
            plain(&setting.name, CELL_CHARS),
            kind(setting),
            default(setting),
            plain(&setting.help, CELL_CHARS),
        ]);
    }
    rows.trim_fmt()
}

fn kind(setting: &Setting) -> String {
    match setting.choices.is_empty() {
        true => setting.kind.as_str().to_owned(),
        false => {
            let choices: Vec<String> = setting.choices.iter().map(|choice| format!("{choice:?}")).collect();
            plain(&choices.join(" or "), CELL_CHARS)
        }
    }
}

fn default(setting: &Setting) -> String {
    match &setting.default {
        Some(default) => plain(&Value::to_string(default), CELL_CHARS),
        None if setting.required => "required".to_owned(),
        None => "none".to_owned(),
    }
}

fn costs(compiled_in: Duration, cost: &StartCost) -> String {
    let mut rows = table(["COST", "", ""]);
    let StartCost { took, memory_bytes } = cost;
    let millis = format!("{:.0} ms", compiled_in.as_secs_f64() * 1e3);
    rows.add_row(["compiling", &millis, "once, when a host starts or swaps it in"]);
    let micros = format!("{:.0} us", took.as_secs_f64() * 1e6);
    rows.add_row([
        "starting",
        &micros,
        "instantiated and configured: for each message, or once for each worker",
    ]);
    rows.add_row(["memory", &component::size(*memory_bytes), "when it has started"]);
    rows.trim_fmt()
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sandbox::SettingKind;

    #[test]
    fn settings_are_a_table() {
        let setting = |name: &str, kind, choices: &[&str], default: Option<Value>, required| Setting {
            name: name.to_owned(),
            help: "What \u{1b} for.".to_owned(),
            kind,
            choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
            default,
            required,
            schema: None,
        };
        let settings = [
            setting("width", SettingKind::Integer, &[], Some(json!(7)), false),
            setting("side", SettingKind::Text, &["left", "right"], None, false),
            setting("labels", SettingKind::Table, &[], None, true),
        ];
        let text = settings_table(&settings);
        let words: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().take(5).collect())
            .collect();
        assert_eq!(words[0], ["SETTING", "KIND", "DEFAULT", "MEANING"]);
        assert_eq!(words[1], ["width", "integer", "7", "What", "\\u{1b}"]);
        assert_eq!(words[2], ["side", "\"left\"", "or", "\"right\"", "none"]);
        assert_eq!(words[3], ["labels", "table", "required", "What", "\\u{1b}"]);
        assert_eq!(settings_table(&[]), "takes no settings");
    }
}
