//! From a file to a `Config`: reads, parses, and runs the stages one after the other. Knows no key but the secret ones.

use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::check::Checker;
use super::links::Links;
use super::mistakes::{Mistake, Source};
use super::raw::RawConfig;
use super::syntax::Syntax;
use super::table::Report;
use super::{Config, ConfigErrors, Sound, Warning};
use crate::machine::scarcity;
use crate::transport::registry;

/// A thousand pipelines fit into this; a file that is larger is not one of ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<String, ConfigErrors> {
    let fail = |text: &str, mistake| Err(alone(Source::new(path, text), mistake));
    let length = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) => return fail("", Mistake::at(None, format!("the file cannot be read: {error}"))),
    };
    if length > FILE_BYTES_MAX {
        return fail(
            "",
            Mistake::at(
                None,
                format!("the file has {length} bytes; at most {FILE_BYTES_MAX} are read"),
            ),
        );
    }
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("the file cannot be read: {error}");
            return match scarcity(&error) {
                Some(advice) => fail("", Mistake::of_machine(message, advice)),
                None => fail("", Mistake::at(None, message)),
            };
        }
    };
    String::from_utf8(bytes).or_else(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        // What comes before is valid, so the offset holds in the repaired text too.
        fail(&text, Mistake::at(valid..valid + 1, "the file is not UTF-8"))
    })
}

/// Parses and checks a text.
pub(super) fn parse(
    text: &str,
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    let mut source = Source::new(path, text);
    let absolute = match std::path::absolute(path) {
        Ok(absolute) => absolute,
        Err(error) => {
            let mistake = Mistake::at(None, format!("the path of the file cannot be used: {error}"));
            return Err(alone(source, mistake));
        }
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    note_places(table.get_ref(), "", &mut source);
    hide_broken_urls(table.get_ref(), &mut source);
    hide_token(table.get_ref(), &mut source);
    let syntax = Syntax::of(text, table.get_ref(), errors);
    if let Some(mistake) = syntax.structure {
        return Err(alone(source, mistake));
    }

    let mut report = Report::new(text, env);
    let raw = RawConfig::read(table.get_ref(), &mut report);
    let base = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    let checked = Checker {
        report: &mut report,
        base: &base,
        links: Links::default(),
        kinds: Default::default(),
    }
    .config(&raw);
    report.mistakes.retain(|mistake| !syntax.explains(text, mistake));
    report.mistakes.extend(syntax.duplicates);
    report.mistakes.extend(syntax.values);

    let source = Arc::new(source);
    if !report.mistakes.is_empty() {
        return Err(ConfigErrors::new(source, checked.sound, report.mistakes));
    }
    let config = Config {
        path: absolute,
        connections: checked.sound.connections,
        host: checked.host,
        models: checked.sound.models,
        plugins: checked.sound.plugins,
        pipelines: checked.pipelines,
        source,
    };
    Ok((config, report.warnings))
}

/// A mistake after which nothing else can be looked at.
fn alone(source: Source, mistake: Mistake) -> ConfigErrors {
    ConfigErrors::new(Arc::new(source), Sound::default(), vec![mistake])
}

/// Remembers where each value is, and of each table where its name is.
fn note_places(table: &DeTable<'_>, prefix: &str, source: &mut Source) {
    for (name, value) in table {
        let key = match prefix {
            "" => name.get_ref().to_string(),
            prefix => format!("{prefix}.{}", name.get_ref()),
        };
        source.name(key.clone(), name.span());
        match value.get_ref() {
            DeValue::Table(table) => {
                note_places(table, &key, source);
                source.place(key, name.span());
            }
            DeValue::Array(items) => {
                // `pipeline.images.probe.0.file`
                for (index, item) in items.iter().enumerate() {
                    if let Some(table) = item.get_ref().as_table() {
                        let key = format!("{key}.{index}");
                        note_places(table, &key, source);
                        source.place(key, item.span());
                    }
                }
                source.place(key, value.span());
            }
            _ => source.place(key, value.span()),
        }
    }
}

/// An address of a connection that cannot be taken apart may have its password anywhere: all of it is hidden.
fn hide_broken_urls(table: &DeTable<'_>, source: &mut Source) {
    let tables = |name: &str| table.get(name).and_then(|table| table.get_ref().as_table());
    let named = tables("connection").into_iter().flat_map(|named| named.values());
    let named = named.filter_map(|table| table.get_ref().as_table());
    for table in tables("broker").into_iter().chain(named) {
        for kind in registry::connections() {
            if let Some(address) = table.get(kind.key)
                && let DeValue::String(text) = address.get_ref()
                && !text.contains("${")
                && (kind.hides)(text)
            {
                source.hide(address.span());
            }
        }
    }
}

/// A token that stands in the file, and not in the environment, is in no message.
fn hide_token(table: &DeTable<'_>, source: &mut Source) {
    let host = table.get("host").and_then(|host| host.get_ref().as_table());
    let Some(token) = host.and_then(|host| host.get("control_token")) else {
        return;
    };
    let is_variable = token
        .get_ref()
        .as_str()
        .is_some_and(|text| text.starts_with("${") && text.find('}') == Some(text.len() - 1));
    if !is_variable {
        source.hide(token.span());
    }
}
