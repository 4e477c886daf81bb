//! Typed readers over a parsed TOML tree that go on after a mistake. Knows no key of `plugins.toml`.
//!
//! serde ends at the first wrong type and the first unknown key. A table here is asked for each key that is
//! declared for it; what is not declared is unknown. So one pass finds every mistake, and the keys are listed once.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use millrace_schema::{Declared, Form, Section};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::diagnostics::{Diagnostic, Span, Warning, did_you_mean, quoted};
use super::environment::{self, ExpandError};
use super::registry::Registry;
use super::values::found;

/// A key that may be missing, or there but wrong.
#[derive(Debug, Clone, Default)]
pub enum Key<T> {
    /// It is not in the file.
    #[default]
    Absent,
    /// It is there, and what is wrong with it was reported.
    Mistaken,
    /// Its value.
    Given(Spanned<T>),
}

/// The findings so far.
pub struct Report<'a> {
    /// The transports that the file may name.
    pub registry: &'static Registry,
    pub text: &'a str,
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    pub diagnostics: Vec<Diagnostic>,
    pub warnings: Vec<Warning>,
    /// Keys that an unknown key probably means, each with its table's place: they are not missing too.
    pub meant: BTreeSet<(usize, &'static str)>,
    /// The key that was asked for, with its section.
    pub(crate) asked: Vec<(&'static str, &'static str)>,
}

/// A table of the file, and the keys that it may have.
#[derive(Clone)]
pub struct Table<'t> {
    table: &'t DeTable<'t>,
    /// The keys that are declared for it.
    section: &'static Section,
    /// How messages call it: `[plugin.decode-image]`.
    title: String,
    span: Span,
    /// Keys that are known and not offered.
    reserved: Vec<&'static str>,
    /// Whether a value could not be read.
    is_invalid: bool,
}

/// A value that can be read from TOML.
pub trait Read<'t>: Sized {
    /// The form of the value, with its article.
    const EXPECTED: &'static str;

    /// Reads a value.
    fn read(value: &'t Spanned<DeValue<'t>>, report: &mut Report<'_>) -> Result<Self, Unreadable>;

    /// Whether it is what a declared form says.
    fn takes(form: &Form) -> bool;
}

/// Why a value could not be read.
pub enum Unreadable {
    /// It is of another type; not yet reported.
    Type { hint: Option<String> },
    /// Something else, and that was reported.
    Reported,
}

impl<T> Key<T> {
    /// The value, where there is one.
    pub fn given(&self) -> Option<&Spanned<T>> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Mistaken => None,
        }
    }

    /// The value, where there is one.
    pub fn into_given(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value.into_inner()),
            Self::Absent | Self::Mistaken => None,
        }
    }

    /// Turns the value into another.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Key<U> {
        match self {
            Self::Absent => Key::Absent,
            Self::Mistaken => Key::Mistaken,
            Self::Given(value) => Key::Given(Spanned::new(value.span(), change(value.into_inner()))),
        }
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<'a> Report<'a> {
    pub fn new(registry: &'static Registry, text: &'a str, variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            registry,
            text,
            variable,
            diagnostics: Vec::new(),
            warnings: Vec::new(),
            meant: BTreeSet::new(),
            asked: Vec::new(),
        }
    }

    pub fn diagnostic(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    pub fn warning(&mut self, warning: Diagnostic) {
        self.warnings.push(Warning(warning));
    }

    /// Fills the environment into a string.
    pub fn expand(&mut self, written: &str, span: &Span) -> Option<String> {
        let errors = match environment::expand(written, self.variable) {
            Ok(expanded) => {
                for reference in expanded.trimmed {
                    let message = format!(
                        "the value of {} ends with a line break, which is left out",
                        quoted(reference)
                    );
                    let warning = Diagnostic::at(self.within(span, reference), message);
                    self.warning(warning.hint("`printf %s` and `echo -n` write a secret without one"));
                }
                return Some(expanded.text);
            }
            Err(errors) => errors,
        };
        for error in errors {
            let part = quoted(error.offending());
            let span = self.within(span, error.offending());
            self.diagnostic(match error {
                ExpandError::Unset(_) => Diagnostic::at(span, format!("the environment variable in {part} is not set"))
                    .hint("set it where the host is started; `$${` stands for a plain `${`"),
                ExpandError::BadName(_) => Diagnostic::at(span, format!("{part} names no environment variable")).hint(
                    "a name has letters, digits and `_`, and there are no defaults; `$${` stands for a plain `${`",
                ),
                ExpandError::Unclosed(_) => Diagnostic::at(span, format!("{part} is not closed"))
                    .hint("add the `}`; `$${` stands for a plain `${`"),
            });
        }
        None
    }

    /// The span of a part of a string, where it is written as it is.
    fn within(&self, span: &Span, part: &str) -> Span {
        let written = self.text.get(span.clone()).unwrap_or_default();
        written
            .find(part)
            .map_or(span.clone(), |at| span.start + at..span.start + at + part.len())
    }
}

impl<'t> Table<'t> {
    pub fn new(table: &'t DeTable<'t>, section: &'static Section, title: String, span: Span) -> Self {
        Self {
            table,
            section,
            title,
            span,
            reserved: Vec::new(),
            is_invalid: false,
        }
    }

    /// Whether a value that was asked for could not be read.
    pub fn is_invalid(&self) -> bool {
        self.is_invalid
    }

    /// The place to name where a key is missing: the table's own name.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Reads a key.
    pub fn key<T: Read<'t>>(&mut self, name: &'static str, report: &mut Report<'_>) -> Key<T> {
        // A mistake in the code, not in a file: every key that is read is declared.
        debug_assert!(
            self.declares::<T>(name),
            "`{name}` of `{}` is not declared as this form",
            self.section.id
        );
        report.asked.push((self.section.id, name));
        let name = self.written(name, report);
        let Some(value) = self.table.get(name) else {
            return Key::Absent;
        };
        let read = T::read(value, report);
        self.is_invalid |= read.is_err();
        match read {
            Ok(read) => Key::Given(Spanned::new(value.span(), read)),
            Err(Unreadable::Reported) => Key::Mistaken,
            Err(Unreadable::Type { hint }) => {
                let message = format!("`{name}` must be {}, found {}", T::EXPECTED, found(value.get_ref()));
                report.diagnostic(Diagnostic {
                    hint,
                    ..Diagnostic::at(value.span(), message)
                });
                Key::Mistaken
            }
        }
    }

    /// Whether a key is there.
    pub fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// Reports the keys that are declared for tables of another kind than these.
    pub fn refuse_others(&self, own: &[Declared], place: &str, report: &mut Report<'_>) {
        for (key, value) in self.table {
            let name = key.get_ref().as_ref();
            let is_own = own.iter().any(|declared| declared.name == name);
            if let Some(declared) = self.section.find(name).filter(|_| !is_own) {
                let message = format!("`{name}` has no meaning {place}");
                let diagnostic = Diagnostic::at(value.span(), message);
                report.diagnostic(match declared.why {
                    "" => diagnostic,
                    why => diagnostic.hint(why),
                });
            }
        }
    }

    /// The value of a key that is read elsewhere; what is wrong with it is reported there.
    pub fn peek<T: Read<'t>>(&self, name: &str, report: &Report<'_>) -> Option<T> {
        T::read(
            self.table.get(name)?,
            &mut Report::new(report.registry, report.text, report.variable),
        )
        .ok()
    }

    /// The table `name`, where there is one.
    pub fn table(&mut self, name: &'static str, report: &mut Report<'_>) -> Key<Table<'t>> {
        let key: Key<&'t DeTable<'t>> = self.key(name, report);
        let span = self.key_span(name).unwrap_or_default();
        let title = join(&self.title, name);
        let section = self.below(name);
        key.map(|table| Table::new(table, section, title, span))
    }

    /// Where a key is that has no meaning yet, or none here: it counts as known, and the caller says why.
    pub fn reserve(&mut self, name: &'static str) -> Option<Span> {
        self.reserved.push(name);
        self.key_span(name)
    }

    /// The tables in table `name`, which the user named.
    pub fn named_tables(&mut self, name: &'static str, report: &mut Report<'_>) -> Vec<(&'t str, Table<'t>)> {
        let Key::Given(outer) = self.table(name, report) else {
            return Vec::new();
        };
        let outer = outer.into_inner();
        let section = self.below(name);
        let mut tables = Vec::new();
        for (key, value) in outer.table {
            let inner = key.get_ref().as_ref();
            let title = join(&outer.title, inner);
            match value.get_ref().as_table() {
                Some(table) => tables.push((inner, Table::new(table, section, title, key.span()))),
                None => {
                    let message = format!("{} must be a table, found {}", quoted(inner), found(value.get_ref()));
                    let hint = format!("write `{}`", join(&outer.title, "NAME"));
                    report.diagnostic(Diagnostic::at(value.span(), message).hint(hint));
                }
            }
        }
        tables
    }

    /// The tables in list `name`, in the order of the file.
    pub fn tables(&mut self, name: &'static str, report: &mut Report<'_>) -> Vec<Table<'t>> {
        let title = format!("[{}]", join(&self.title, name));
        let list: Key<&'t DeArray<'t>> = self.key(name, report);
        let section = self.below(name);
        let mut tables = Vec::new();
        for item in list.into_given().into_iter().flat_map(|list| list.iter()) {
            match item.get_ref().as_table() {
                Some(table) => tables.push(Table::new(table, section, title.clone(), item.span())),
                None => {
                    let message = format!("`{name}` must be a list of tables, found {}", found(item.get_ref()));
                    report.diagnostic(Diagnostic::at(item.span(), message).hint(format!("write `{title}`")));
                }
            }
        }
        tables
    }

    /// The declaration of the tables that a key holds.
    fn below(&self, name: &str) -> &'static Section {
        let declared = self.section.find(name).map(|key| key.form.sections());
        declared
            .and_then(|sections| sections.first().copied())
            .unwrap_or(&Section::EMPTY)
    }

    /// Whether a key is declared, as what it is read as.
    fn declares<T: Read<'t>>(&self, name: &str) -> bool {
        let mut declared = self.section.keys.iter().filter(|key| key.name == name).peekable();
        declared.peek().is_some() && declared.all(|key| T::takes(&key.form))
    }

    /// The name under which a key is written: its former one still works, with a warning.
    fn written(&self, name: &'static str, report: &mut Report<'_>) -> &'static str {
        let former = self.section.find(name).map_or("", |key| key.formerly);
        let Some(span) = self.key_span(former).filter(|_| !former.is_empty()) else {
            return name;
        };
        let message = format!("`{former}` is now called `{name}`");
        if self.table.contains_key(name) {
            let both = Diagnostic::at(span, format!("{message}, and both are written"));
            report.diagnostic(both.hint(format!("write all of it as `{name}`")));
            return name;
        }
        report.warning(Diagnostic::at(span, message).hint("rename it: a later version will not know the former name"));
        former
    }

    /// Where a key's name is written.
    fn key_span(&self, name: &str) -> Option<Span> {
        self.table.get_key_value(name).map(|(key, _)| key.span())
    }

    /// Reports the keys that are not declared. `belongs` says where a key belongs that is known elsewhere.
    pub fn finish(&self, belongs: &dyn Fn(&str) -> Option<&'static str>, report: &mut Report<'_>) {
        let declared = self.section.names();
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            let is_former = || self.section.keys.iter().any(|key| key.formerly == name);
            if declared.contains(&name) || self.reserved.contains(&name) || is_former() {
                continue;
            }
            let unknown = format!("unknown key {}", quoted(name));
            let elsewhere = belongs(name);
            let diagnostic = match (elsewhere, did_you_mean(name, declared.iter().copied())) {
                (Some(place), _) => Diagnostic::at(key.span(), unknown).hint(format!("`{name}` belongs in {place}")),
                (None, Some(meant)) => {
                    report.meant.insert((self.span.start, meant));
                    Diagnostic::at(key.span(), format!("{unknown}, did you mean `{meant}`?"))
                }
                (None, None) => Diagnostic::at(key.span(), unknown).hint(self.known_keys(&declared)),
            };
            report.diagnostic(diagnostic);
        }
    }

    fn known_keys(&self, declared: &[&str]) -> String {
        let mut hint = match self.title.as_str() {
            "" => "the file takes".to_owned(),
            title => format!("{title} takes"),
        };
        for (index, name) in declared.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            // Writing to a string does not fail.
            write!(hint, "{separator} `{name}`").unwrap_or_default();
        }
        hint
    }
}

/// Adds a name to the title of a table.
fn join(title: &str, name: &str) -> String {
    // A name is the user's, and may hold what steers a terminal.
    let name = name.escape_debug();
    match title.strip_suffix(']') {
        Some(title) => format!("{title}.{name}]"),
        None => format!("[{name}]"),
    }
}
