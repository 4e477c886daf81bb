//! Every key of `plugins.toml`, put together: the reader takes no other, and the JSON Schema and the tables of the reference
//! are made of this. Reads nothing.

use millrace_schema::{Declared, File, Form, Section, Units, When};

use super::host::HOST;
use super::model::MODEL;
use super::pipeline::{DESTINATION, PIPELINE, SOURCE};
use super::plugin::PLUGIN;
use super::registry::Registry;
use super::units;

/// `plugins.toml`
pub(crate) fn file(registry: &'static Registry) -> File {
    File {
        name: "plugins.toml",
        root: registry.root(),
        takes_environment: true,
    }
}

pub(crate) static DURATION: Units = Units {
    name: "duration",
    pattern: units::duration_pattern,
};
pub(crate) static SIZE: Units = Units {
    name: "size",
    pattern: units::size_pattern,
};

/// Names of models, plugins, pipelines and destinations: what [`super::Name`] takes.
pub(crate) const NAME: &str = "^[a-z][a-z0-9-]{0,62}$";
/// A path; nothing more is seen of it without a disk.
pub const PATH: &str = "^[^\\x00]+$";

/// Patterns, of which none is empty.
pub const PATTERNS: Form = Form::Either(&[Form::Text("."), Form::List(&Form::Text("."), 1, None)]);
/// The name of a connection: where a source or a destination is, if not at the broker of `[broker]`.
pub const CONNECTION: Form = Form::Text(NAME);

/// The whole file.
static FILE: Section = Section {
    id: "file",
    help: "The configuration of a Millrace host: a broker, models, plugins, and the pipelines that join them.",
    keys: &[
        Declared::new("broker", Form::Table(&BROKER), "", "How the broker is reached.").or("no broker"),
        Declared::new(
            "connection",
            Form::Named(&BROKER, NAME),
            "",
            "Further connections, by name: each has the keys of `[broker]`.",
        )
        .or("none"),
        Declared::new("host", Form::Table(&HOST), "", "The process itself.").or("as below"),
        Declared::new("model", Form::Named(&MODEL, NAME), "", "The models, by name.").or("none"),
        Declared::new("plugin", Form::Named(&PLUGIN, NAME), "", "The plugins, by name.").or("none"),
        Declared::new(
            "pipeline",
            Form::Named(&PIPELINE, NAME),
            "",
            "The pipelines, by name; at least one.",
        )
        .required(),
    ],
    ..Section::EMPTY
};

/// `[broker]` and `[connection.NAME]`; their keys are those of the registered kinds.
static BROKER: Section = Section {
    id: "broker",
    title: "[broker]",
    help: "How a broker is reached. Needed as soon as one pipeline has a queue as its source, or an exchange or a reply as \
        a destination.",
    ..Section::EMPTY
};

/// The file, with the keys that the transports declare; made once for a registry.
pub(crate) fn root(registry: &'static Registry) -> &'static Section {
    let broker = with_kinds(&BROKER, registry.connections().map(|kind| (kind.key, kind.keys)));
    let source = with_kinds(&SOURCE, registry.sources().map(|kind| (kind.key, kind.keys)));
    let destination = with_kinds(&DESTINATION, registry.destinations().map(|kind| (kind.key, kind.keys)));
    let pipeline = with_sections(&PIPELINE, &[source, destination]);
    let keys = pipeline.keys.iter().map(|key| match key.name {
        "dead_letter" => dead_letter(key, registry),
        _ => *key,
    });
    let pipeline = leak(pipeline, pipeline.one_of, keys.collect());
    with_sections(&FILE, &[broker, pipeline])
}

/// `dead_letter`, and the sources for which it has no meaning.
fn dead_letter(key: &Declared, registry: &'static Registry) -> Declared {
    let without = || {
        let kinds = registry.sources();
        kinds.filter_map(|kind| Some((kind.key, kind.no_dead_letter_queue?)))
    };
    let whys: Vec<&str> = without().map(|(_, why)| why).collect();
    let help = format!("{}: {}.", key.help.trim_end_matches('.'), whys.join("; "));
    let unless: Vec<When> = without().map(|(key, _)| When::Has("source", key)).collect();
    Declared {
        help: if whys.is_empty() { key.help } else { help.leak() },
        ..key.unless(unless.leak())
    }
}

/// A section with the keys of each kind of it.
fn with_kinds(
    section: &'static Section,
    kinds: impl Iterator<Item = (&'static str, &'static [Declared])>,
) -> &'static Section {
    let (own, keys): (Vec<&str>, Vec<&[Declared]>) = kinds.unzip();
    leak(section, own.leak(), keys.concat())
}

/// A section whose tables are these, each in place of the one of its name.
fn with_sections(section: &'static Section, tables: &[&'static Section]) -> &'static Section {
    let made = |of: &'static Section| tables.iter().find(|made| made.id == of.id).copied().unwrap_or(of);
    let keys = section.keys.iter().map(|key| Declared {
        form: match key.form {
            Form::Table(of) => Form::Table(made(of)),
            Form::Named(of, names) => Form::Named(made(of), names),
            form => form,
        },
        ..*key
    });
    leak(section, section.one_of, keys.collect())
}

/// Sections refer to each other for as long as the process runs.
fn leak(section: &Section, one_of: &'static [&'static str], keys: Vec<Declared>) -> &'static Section {
    Box::leak(Box::new(Section {
        id: section.id,
        title: section.title,
        help: section.help,
        keys: keys.leak(),
        one_of,
        kinds: None,
    }))
}
