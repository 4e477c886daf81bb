//! A plugin's file as the author's verbs see it: what it is in words, and how a host would load it. Knows no table.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use crate::cli::output::plain;
use crate::config::{Isolation, Name, PluginConfig};
use crate::error_chain::ErrorChain;
use crate::sandbox::{Compiler, Description, LoadError, Sandbox, SandboxError};

/// The longest name of an import that is printed.
const NAME_CHARS: usize = 200;

/// The longest line that is printed.
const LINE_CHARS: usize = 4000;

/// As a plugin has it whose file says nothing else; see docs/plugins-toml.md.
const DEADLINE: Duration = Duration::from_secs(1);
const MEMORY_BYTES: usize = 256 << 20;

/// The largest file of settings.
const SETTINGS_MAX_BYTES: u64 = 1 << 20;

/// The compiler of every verb: strangers' files are theirs alone, and what was compiled once is found the next time.
pub(super) fn compiler() -> Compiler {
    Compiler::of_author()
}

/// An engine for one caller.
pub(super) fn sandbox() -> Result<Sandbox, SandboxError> {
    Sandbox::start(1, compiler())
}

/// The description of a file.
///
/// # Errors
/// In the words of `millrace check`.
pub(super) fn describe(path: &Path) -> Result<Description, LoadError> {
    crate::sandbox::describe(&compiler(), path).map_err(|problem| LoadError {
        name: name(path),
        path: path.to_owned(),
        problem,
    })
}

/// Why a plugin cannot be loaded, and what to do about it.
pub(super) fn explained(error: &LoadError) -> String {
    let hint = error.problem.hint().map(|hint| format!("\n{hint}"));
    format!("{}{}", ErrorChain(error), hint.unwrap_or_default())
}

/// The name that a plugin would have in `plugins.toml`.
fn name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let kebab = stem.to_ascii_lowercase().replace('_', "-");
    match Name::new(&kebab) {
        Some(_) => kebab,
        None => "plugin".to_owned(),
    }
}

/// A plugin as a `plugins.toml` would have it that says nothing but its path and its settings.
pub(super) fn config(path: &Path, settings: String) -> anyhow::Result<PluginConfig> {
    Ok(PluginConfig {
        name: Name::new(&name(path)).context("it has no name")?,
        path: path.to_owned(),
        sha256: None,
        deadline: DEADLINE,
        memory_bytes: MEMORY_BYTES,
        isolation: Isolation::default(),
        settings,
    })
}

/// Settings as a plugin is given them: of a file in TOML or JSON, or of JSON itself.
pub(super) fn settings(given: Option<&str>) -> anyhow::Result<String> {
    let Some(given) = given else {
        return Ok("{}".to_owned());
    };
    let settings = match given.trim_start().starts_with('{') {
        true => serde_json::from_str(given).context("--settings")?,
        false => settings_of(Path::new(given)).with_context(|| format!("--settings {given}"))?,
    };
    Ok(Value::Object(settings).to_string())
}

fn settings_of(path: &Path) -> anyhow::Result<Map<String, Value>> {
    let text = read(path)?;
    if path.extension().is_some_and(|extension| extension == "json") {
        return Ok(serde_json::from_str(&text)?);
    }
    let table: toml::Table = text.parse()?;
    table.into_iter().map(|(key, value)| Ok((key, json(value)?))).collect()
}

fn read(path: &Path) -> anyhow::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(SETTINGS_MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > SETTINGS_MAX_BYTES {
        bail!("it is larger than 1 MiB");
    }
    Ok(text)
}

/// As `plugins.toml` gives settings to plugins: dates and times become strings.
fn json(value: toml::Value) -> anyhow::Result<Value> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => {
            let number = serde_json::Number::from_f64(number);
            Value::Number(number.context("settings cannot hold infinities or NaN")?)
        }
        toml::Value::Boolean(value) => Value::Bool(value),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => Value::Array(items.into_iter().map(json).collect::<anyhow::Result<_>>()?),
        toml::Value::Table(table) => {
            let members = table.into_iter().map(|(key, value)| Ok((key, json(value)?)));
            Value::Object(members.collect::<anyhow::Result<_>>()?)
        }
    })
}

/// Its kind, in words.
pub(super) fn roles_of(description: &Description) -> String {
    let roles: Vec<String> = description.roles().iter().map(|role| format!("a {role}")).collect();
    match roles.is_empty() {
        true => "not a plugin: it exports no role of the contract".to_owned(),
        false => roles.join(" and "),
    }
}

/// Its imports, in a line.
pub(super) fn imports_of(description: &Description) -> String {
    let imports: Vec<String> = description.imports.iter().map(|name| plain(name, NAME_CHARS)).collect();
    match imports.is_empty() {
        true => "nothing".to_owned(),
        false => imports.join(", "),
    }
}

/// Lines for a terminal: what it would obey is escaped. For text that may be escaped already, which [`plain`] would escape
/// once more.
pub(super) fn lines(text: &str) -> String {
    let line = |line: &str| -> String { line.chars().take(LINE_CHARS).flat_map(escaped).collect() };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn escaped(c: char) -> impl Iterator<Item = char> {
    let is_harmless = matches!(c, '\\' | '"' | '\'') || c.escape_debug().len() == 1;
    let (as_it_is, escape) = match is_harmless {
        true => (Some(c), None),
        false => (None, Some(c.escape_debug())),
    };
    as_it_is.into_iter().chain(escape.into_iter().flatten())
}

/// Bytes for people.
pub(super) fn size(n_bytes: usize) -> String {
    let digits = n_bytes.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} bytes")
}

/// A file that was named on the command line.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct FileArgument {
    /// The plugin: a component, or a core module with an embedded component type
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_taken_from_toml_and_json() {
        let folder = tempfile::tempdir().unwrap();
        let toml = folder.path().join("settings.toml");
        std::fs::write(&toml, "a = 1\nb = [1.5, true]\nc = { d = 2026-01-01 }").unwrap();
        let json = folder.path().join("settings.json");
        std::fs::write(&json, "{\"a\": \"x\"}").unwrap();
        let check = |given: Option<&str>, expected: &str| assert_eq!(settings(given).unwrap(), expected);
        check(None, "{}");
        check(Some("{\"a\": 1}"), "{\"a\":1}");
        check(toml.to_str(), "{\"a\":1,\"b\":[1.5,true],\"c\":{\"d\":\"2026-01-01\"}}");
        check(json.to_str(), "{\"a\":\"x\"}");
        std::fs::write(&toml, "a = nan").unwrap();
        assert!(settings(toml.to_str()).is_err());
        assert!(settings(Some("{")).is_err());
        assert!(settings(Some("no/such/file.toml")).is_err());
    }

    #[test]
    fn a_file_has_the_name_that_it_would_have_in_plugins_toml() {
        for (path, expected) in [
            ("a/dark_first.wasm", "dark-first"),
            ("x/9.wasm", "plugin"),
            ("", "plugin"),
        ] {
            assert_eq!(name(Path::new(path)), expected);
        }
    }

    #[test]
    fn what_is_escaped_is_not_escaped_again() {
        assert_eq!(
            lines("a \\n \"b\" 'c'\nd\u{1b}[31m\u{202e} ü\n"),
            "a \\n \"b\" 'c'\nd\\u{1b}[31m\\u{202e} ü"
        );
    }

    #[test]
    fn sizes_are_grouped() {
        for (n, expected) in [(7, "7 bytes"), (1234, "1,234 bytes"), (1_234_567, "1,234,567 bytes")] {
            assert_eq!(size(n), expected);
        }
    }
}
