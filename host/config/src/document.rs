//! From a file to a `Config`: reads, parses, and runs the stages one after the other. Knows no key but the secret ones.

use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::check::Checker;
use super::diagnostics::{Diagnostic, SourceText};
use super::registry::Registry;
use super::report::Report;
use super::syntax::Syntax;
use super::{Config, ConfigErrors, ValidParts, Warning, secrets};
use millrace_schema::Section;
use millrace_types::scarcity::scarcity;

/// A thousand pipelines fit into this; a file that is larger is not one of ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<String, ConfigErrors> {
    let fail = |text: &str, diagnostic| Err(alone(SourceText::new(path, text), diagnostic));
    let length = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) => return fail("", Diagnostic::at(None, format!("the file cannot be read: {error}"))),
    };
    if length > FILE_BYTES_MAX {
        return fail(
            "",
            Diagnostic::at(
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
                Some(advice) => fail("", Diagnostic::of_machine(message, advice)),
                None => fail("", Diagnostic::at(None, message)),
            };
        }
    };
    String::from_utf8(bytes).or_else(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        // The bytes before it are valid, so the offset holds in the repaired text too.
        fail(&text, Diagnostic::at(valid..valid + 1, "the file is not UTF-8"))
    })
}

/// The key of `[host]` whose value is a secret.
const CONTROL_TOKEN: &str = "control_token";

/// Parses and checks a text.
pub(super) fn parse(
    text: &str,
    path: &Path,
    registry: &'static Registry,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    let mut source = SourceText::new(path, text);
    let absolute = match std::path::absolute(path) {
        Ok(absolute) => absolute,
        Err(error) => {
            let diagnostic = Diagnostic::at(None, format!("the path of the file cannot be used: {error}"));
            return Err(alone(source, diagnostic));
        }
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    note_places(table.get_ref(), "", &mut source);
    hide_broken_urls(table.get_ref(), registry, &mut source);
    hide_secrets(table.get_ref(), registry, &mut source);
    hide_likely_secrets(text, registry, &mut source);
    let syntax = Syntax::of(text, table.get_ref(), errors);
    if let Some(diagnostic) = syntax.structure {
        return Err(alone(source, diagnostic));
    }

    let mut report = Report::new(registry, text, env);
    let base = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    let checked = Checker::new(&mut report, &base).config(table.get_ref());
    report
        .diagnostics
        .retain(|diagnostic| !syntax.explains(text, diagnostic));
    report.diagnostics.extend(syntax.duplicates);
    report.diagnostics.extend(syntax.values);

    let source = Arc::new(source);
    let (Some(host), true) = (checked.host, report.diagnostics.is_empty()) else {
        return Err(ConfigErrors::new(source, checked.valid_parts, report.diagnostics));
    };
    let config = Config {
        path: absolute,
        connections: checked.valid_parts.connections,
        host,
        models: checked.valid_parts.models,
        plugins: checked.valid_parts.plugins,
        pipelines: checked.pipelines,
        source,
    };
    Ok((config, report.warnings))
}

/// A mistake after which nothing else can be looked at.
fn alone(source: SourceText, diagnostic: Diagnostic) -> ConfigErrors {
    ConfigErrors::new(Arc::new(source), ValidParts::default(), vec![diagnostic])
}

/// Remembers where each value is, and of each table where its name is.
fn note_places(table: &DeTable<'_>, prefix: &str, source: &mut SourceText) {
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
                // `pipeline.images.smoke_test.0.file`
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
fn hide_broken_urls(table: &DeTable<'_>, registry: &Registry, source: &mut SourceText) {
    let tables = |name: &str| table.get(name).and_then(|table| table.get_ref().as_table());
    let named = tables("connection").into_iter().flat_map(|named| named.values());
    let named = named.filter_map(|table| table.get_ref().as_table());
    for table in tables("broker").into_iter().chain(named) {
        for kind in registry.connections() {
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

/// A secret that stands in the file, and not in the environment, is in no message.
fn hide_secrets(table: &DeTable<'_>, registry: &Registry, source: &mut SourceText) {
    let host = inner(table, "host").and_then(|host| host.get(CONTROL_TOKEN));
    let pipelines = inner(table, "pipeline").into_iter().flat_map(|named| named.values());
    let sources = pipelines.filter_map(|pipeline| inner(pipeline.get_ref().as_table()?, "source"));
    let of_source = |table| {
        let keys = registry.sources().flat_map(|kind| kind.secrets);
        keys.filter_map(move |secret| DeTable::get(table, secret.key))
    };
    for secret in host.into_iter().chain(sources.flat_map(of_source)) {
        let text = secret.get_ref().as_str();
        let is_variable = text.is_some_and(|text| text.starts_with("${") && text.find('}') == Some(text.len() - 1));
        if !is_variable {
            source.hide(secret.span());
        }
    }
}

/// The same in a text that is no TOML, or whose keys are misspelled.
fn hide_likely_secrets(text: &str, registry: &'static Registry, source: &mut SourceText) {
    let of_sources = registry.sources().flat_map(|kind| kind.secrets);
    let keys: Vec<&str> = of_sources.map(|secret| secret.key).chain([CONTROL_TOKEN]).collect();
    let addresses: Vec<&str> = registry.connections().map(|kind| kind.key).collect();
    let known: Vec<&str> = registry.root().all().into_iter().flat_map(Section::names).collect();
    for secret in secrets::values(text, &keys, &addresses, &known) {
        source.hide(secret);
    }
}

fn inner<'t>(table: &'t DeTable<'t>, name: &str) -> Option<&'t DeTable<'t>> {
    table.get(name).and_then(|inner| inner.get_ref().as_table())
}
