//! The keys of SQLite: declared, read and checked. Opens no file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::config::TABLE;
use super::file::real;
use crate::config::reading::{
    By, Checker, Choice, Diagnostic, EndpointRole, Expect, Form, FromTable, Key, LinkedEndpoint, PATH, PREFETCH, Table,
    Text, Within, destination, section, source,
};
use crate::config::{DestinationKind, SourceKind, Transport};

/// SQLite.
pub(crate) static TRANSPORT: Transport = Transport {
    name: "sqlite",
    title: "SQLite",
    page: "sqlite.md",
    sources: &[SourceKind {
        key: KEY,
        place: "for SQLite",
        example: "{ sqlite = \"..\", table = \"..\" }",
        keys: TableSourceConfig::KEYS,
        no_dead_letter_queue: Some("the dead letters of a table are in the table that `dead` of its source names"),
        secrets: &[],
        capabilities: &TABLE,
        read: source::<TableSourceConfig>,
    }],
    destinations: &[DestinationKind {
        key: KEY,
        example: "`sqlite = \"..\"`",
        keys: TableDestinationConfig::KEYS,
        misplaced: &[],
        read: destination::<TableDestinationConfig>,
    }],
    connections: &[],
};

const KEY: &str = "sqlite";

/// Names that need no quotes in SQL. SQLite keeps those that begin with `sqlite_` for itself.
const NAME_FORM: &str = "^[A-Za-z_][A-Za-z0-9_]{0,59}$";
const NAME_BYTES_MAX: usize = 60;

/// What becomes of a row whose results are confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It is deleted.
    Delete,
    /// It stays, and is marked.
    Keep,
}

const DONE: Choice<Done> = Choice {
    words: &[("delete", Done::Delete), ("keep", Done::Keep)],
    default: Done::Delete,
};

section! {
    /// `source = { sqlite = ".." }`
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct TableSourceConfig;

    /// The SQLite file, which must be there; an empty one will do.
    pub file ("sqlite"): PathBuf = By { form: Form::Text(PATH), read: |table, checker| {
        let file = path(table, checker, Expect::File)?;
        link(table, checker, &file, "table", EndpointRole::Source);
        link(table, checker, &file, "dead", EndpointRole::DeadLetter);
        Some(file)
    } }, "\"jobs.db\"";

    /// The table whose rows are messages, made where it is missing: a letter, then up to 59 letters, digits and `_`.
    pub table ("table"): String = By { form: Form::Text(NAME_FORM), read: |table, checker| name(table, checker, "table") },
        "\"images\"", required_with(KEY), with(&[KEY]);

    /// The table of dead letters, made where it is missing.
    pub dead ("dead"): Option<String> = By { form: Form::Text(NAME_FORM), read: |table, checker| {
        Some(name(table, checker, "dead"))
    } }, "\"images_dead\"", or("the name of `table` and `_dead`"), with(&[KEY]), why("it names a table of dead letters"), at_home();

    /// What becomes of a row whose results are confirmed: `"delete"`, or `"keep"`: it stays, and its claim says `done`.
    pub done ("done"): Done = DONE, "\"delete\"", with(&[KEY]), why("it says what becomes of a row"), at_home();

    /// Messages in flight.
    pub prefetch ("prefetch"): u16 = Within::<u16> {
        // A file is near: less is needed in flight than of a broker.
        default: 64,
        ..PREFETCH
    }, "64", with(&[KEY]);

    /// How long the claims of a host hold that is heard of no more: then its rows come back, marked as redelivered. A host that
    /// lives renews them three times as often.
    pub lease ("lease"): Duration = Within {
        // Three renewals, each of which may wait for a lock.
        min: Duration::from_secs(2),
        max: Duration::from_secs(3_600),
        default: Duration::from_secs(30),
    }, "\"30s\"", with(&[KEY]), why("it says how long the claim of a row holds"), at_home();

    /// How often the table is looked at for new rows while none is known.
    pub poll ("poll"): Duration = Within {
        min: Duration::from_millis(10),
        max: Duration::from_secs(60),
        // A look is a few reads of pages that are in memory.
        default: Duration::from_millis(200),
    }, "\"200ms\"", with(&[KEY]), why("it says how often a table is looked at"), at_home();
}

section! {
    /// A destination with `sqlite = ".."`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct TableDestinationConfig;

    /// The SQLite file, made where it is missing.
    pub file ("sqlite"): PathBuf = By { form: Form::Text(PATH), read: |table, checker| {
        let file = path(table, checker, Expect::FileToBe)?;
        link(table, checker, &file, "table", EndpointRole::Destination);
        Some(file)
    } }, "\"results.db\"";

    /// The table that results are put into, made where it is missing.
    pub table ("table"): String = By { form: Form::Text(NAME_FORM), read: |table, checker| name(table, checker, "table") },
        "\"results\"", required_with(KEY), with(&[KEY]);
}

impl TableSourceConfig {
    /// The table of dead letters.
    pub(super) fn dead(&self) -> String {
        self.dead.clone().unwrap_or_else(|| dead_of(&self.table))
    }
}

fn dead_of(table: &str) -> String {
    format!("{table}_dead")
}

fn path(table: &Table<'_>, checker: &mut Checker<'_, '_>, expect: Expect) -> Option<PathBuf> {
    let key: Key<Text> = table.key(KEY, checker.report);
    checker.path(key.given()?, expect)
}

/// Notes a table, so that another pipeline that names it is found.
fn link(table: &Table<'_>, checker: &mut Checker<'_, '_>, file: &Path, key: &'static str, role: EndpointRole) {
    let peek = |key: &'static str, checker: &Checker<'_, '_>| {
        let peeked: Key<Text> = table.peek(key, checker.report);
        let span = peeked.given().map(|given| given.span());
        peeked.into_given().map(|text| text.value).zip(span)
    };
    let found = match peek(key, checker) {
        None if role == EndpointRole::DeadLetter => {
            peek("table", checker).map(|(source, span)| (dead_of(&source), span))
        }
        found => found,
    };
    if let Some((name, span)) = found {
        let place = format!("{:?} {}", real(file), name.to_ascii_lowercase());
        checker.link(table, role, LinkedEndpoint::shared("table", place), span);
    }
}

fn name(table: &Table<'_>, checker: &mut Checker<'_, '_>, key: &'static str) -> Option<String> {
    let given: Key<Text> = table.key(key, checker.report);
    if key == "table" {
        checker.required(
            &given,
            "table",
            table.span(),
            "`table = \"..\"`: the name of a table in that file",
        );
    }
    let given = given.given()?;
    let text = given.get_ref();
    if is_name(&text.value) {
        return Some(text.value.clone());
    }
    let message = format!("{} is not the name of a table", text.quoted());
    let hint = "a letter or `_`, then letters, digits and `_`, 60 in all; `sqlite_` does not begin one";
    checker.diagnostic(Diagnostic::at(given.span(), message).hint(hint));
    None
}

fn is_name(text: &str) -> bool {
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    begins_well && is_plain && text.len() <= NAME_BYTES_MAX && !text.to_ascii_lowercase().starts_with("sqlite_")
}
