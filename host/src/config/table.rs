//! Typed readers over a parsed TOML tree that go on after a mistake. Knows no key of `plugins.toml`.
//!
//! serde ends at the first wrong type and the first unknown key. A table here is asked for each key that is
//! declared for it; what is not declared is unknown. So one pass finds every mistake, and the keys are listed once.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use millrace_schema::{Declared, Form, Section};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::environment::{self, ExpandError};
use super::mistakes::{Mistake, Span, Warning, did_you_mean, quoted};
use super::values::found;

/// A key that may be missing, or there but wrong.
#[derive(Debug, Clone, Default)]
pub(crate) enum Key<T> {
    /// It is not in the file.
    #[default]
    Absent,
    /// It is there, and what is wrong with it was reported.
    Mistaken,
    /// Its value.
    Given(Spanned<T>),
}

/// What was found so far.
pub(crate) struct Report<'a> {
    pub(crate) text: &'a str,
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    pub(crate) mistakes: Vec<Mistake>,
    pub(crate) warnings: Vec<Warning>,
    /// Keys that an unknown key probably means, each with its table's place: they are not missing too.
    pub(crate) meant: BTreeSet<(usize, &'static str)>,
    /// What was asked for: the section and the key.
    #[cfg(test)]
    pub(crate) asked: Vec<(&'static str, &'static str)>,
}

/// A table of the file, and the keys that it may have.
pub(crate) struct Table<'t> {
    table: &'t DeTable<'t>,
    /// The keys that are declared for it.
    section: &'static Section,
    /// How messages call it: `[plugin.decode-image]`.
    title: String,
    span: Span,
    /// Keys that are known and not offered.
    reserved: Vec<&'static str>,
    /// Whether a value could not be read.
    is_mistaken: bool,
}

/// A value that can be read from TOML.
pub(crate) trait Read<'t>: Sized {
    /// What the value must be, with its article.
    const EXPECTED: &'static str;

    /// Reads a value.
    fn read(value: &'t Spanned<DeValue<'t>>, report: &mut Report<'_>) -> Result<Self, Unreadable>;

    /// Whether it is what a declared form says.
    fn takes(form: &Form) -> bool;
}

/// Why a value could not be read.
pub(crate) enum Unreadable {
    /// It is of another type; not yet reported.
    Type { hint: Option<String> },
    /// Something else, and that was reported.
    Reported,
}

impl<T> Key<T> {
    /// The value, where there is one.
    pub(crate) fn given(&self) -> Option<&Spanned<T>> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Mistaken => None,
        }
    }

    /// The value, where there is one.
    pub(crate) fn into_given(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value.into_inner()),
            Self::Absent | Self::Mistaken => None,
        }
    }

    /// Turns the value into another.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Key<U> {
        match self {
            Self::Absent => Key::Absent,
            Self::Mistaken => Key::Mistaken,
            Self::Given(value) => Key::Given(Spanned::new(value.span(), change(value.into_inner()))),
        }
    }

    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<'a> Report<'a> {
    pub(crate) fn new(text: &'a str, variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            text,
            variable,
            mistakes: Vec::new(),
            warnings: Vec::new(),
            meant: BTreeSet::new(),
            #[cfg(test)]
            asked: Vec::new(),
        }
    }

    pub(crate) fn mistake(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    pub(crate) fn warning(&mut self, warning: Mistake) {
        self.warnings.push(Warning(warning));
    }

    /// Fills the environment into a string.
    pub(crate) fn expand(&mut self, written: &str, span: &Span) -> Option<String> {
        let errors = match environment::expand(written, self.variable) {
            Ok(expanded) => {
                for reference in expanded.trimmed {
                    let message = format!(
                        "the value of {} ends with a line break, which is left out",
                        quoted(reference)
                    );
                    let warning = Mistake::at(self.within(span, reference), message);
                    self.warning(warning.hint("`printf %s` and `echo -n` write a secret without one"));
                }
                return Some(expanded.text);
            }
            Err(errors) => errors,
        };
        for error in errors {
            let part = quoted(error.offending());
            let span = self.within(span, error.offending());
            self.mistake(match error {
                ExpandError::Unset(_) => Mistake::at(span, format!("the environment variable in {part} is not set"))
                    .hint("set it where the host is started; `$${` stands for a plain `${`"),
                ExpandError::BadName(_) => Mistake::at(span, format!("{part} names no environment variable")).hint(
                    "a name has letters, digits and `_`, and there are no defaults; `$${` stands for a plain `${`",
                ),
                ExpandError::Unclosed(_) => Mistake::at(span, format!("{part} is not closed"))
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
    pub(crate) fn new(table: &'t DeTable<'t>, section: &'static Section, title: String, span: Span) -> Self {
        Self {
            table,
            section,
            title,
            span,
            reserved: Vec::new(),
            is_mistaken: false,
        }
    }

    /// Whether a value that was asked for could not be read.
    pub(crate) fn is_mistaken(&self) -> bool {
        self.is_mistaken
    }

    /// The place to name where a key is missing: the table's own name.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Reads a key.
    pub(crate) fn key<T: Read<'t>>(&mut self, name: &'static str, report: &mut Report<'_>) -> Key<T> {
        // Of the code, and not of any file: what is read is what is declared.
        debug_assert!(
            self.declares::<T>(name),
            "`{name}` of `{}` is not declared as this",
            self.section.id
        );
        #[cfg(test)]
        report.asked.push((self.section.id, name));
        let Some(value) = self.table.get(name) else {
            return Key::Absent;
        };
        let read = T::read(value, report);
        self.is_mistaken |= read.is_err();
        match read {
            Ok(read) => Key::Given(Spanned::new(value.span(), read)),
            Err(Unreadable::Reported) => Key::Mistaken,
            Err(Unreadable::Type { hint }) => {
                let message = format!("`{name}` must be {}, found {}", T::EXPECTED, found(value.get_ref()));
                report.mistake(Mistake {
                    hint,
                    ..Mistake::at(value.span(), message)
                });
                Key::Mistaken
            }
        }
    }

    /// Whether a key is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// Reports the keys that are declared for tables of another kind than these.
    pub(crate) fn refuse_others(&self, own: &[Declared], place: &str, report: &mut Report<'_>) {
        for (key, value) in self.table {
            let name = key.get_ref().as_ref();
            let is_own = own.iter().any(|declared| declared.name == name);
            if let Some(declared) = self.section.find(name).filter(|_| !is_own) {
                let message = format!("`{name}` has no meaning {place}");
                let mistake = Mistake::at(value.span(), message);
                report.mistake(match declared.why {
                    "" => mistake,
                    why => mistake.hint(why),
                });
            }
        }
    }

    /// The table `name`, where there is one.
    pub(crate) fn table(&mut self, name: &'static str, report: &mut Report<'_>) -> Key<Table<'t>> {
        let key: Key<&'t DeTable<'t>> = self.key(name, report);
        let span = self.key_span(name).unwrap_or_default();
        let title = join(&self.title, name);
        let section = self.below(name);
        key.map(|table| Table::new(table, section, title, span))
    }

    /// Where a key is that has no meaning yet, or none here: it counts as known, and the caller says why.
    pub(crate) fn reserve(&mut self, name: &'static str) -> Option<Span> {
        self.reserved.push(name);
        self.key_span(name)
    }

    /// The tables in table `name`, which the user named.
    pub(crate) fn named_tables(&mut self, name: &'static str, report: &mut Report<'_>) -> Vec<(&'t str, Table<'t>)> {
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
                    let message = format!("`{inner}` must be a table, found {}", found(value.get_ref()));
                    let hint = format!("write `{}`", join(&outer.title, "NAME"));
                    report.mistake(Mistake::at(value.span(), message).hint(hint));
                }
            }
        }
        tables
    }

    /// The tables in list `name`, in the order of the file.
    pub(crate) fn tables(&mut self, name: &'static str, report: &mut Report<'_>) -> Vec<Table<'t>> {
        let title = format!("[{}]", join(&self.title, name));
        let list: Key<&'t DeArray<'t>> = self.key(name, report);
        let section = self.below(name);
        let mut tables = Vec::new();
        for item in list.into_given().into_iter().flat_map(|list| list.iter()) {
            match item.get_ref().as_table() {
                Some(table) => tables.push(Table::new(table, section, title.clone(), item.span())),
                None => {
                    let message = format!("`{name}` must be a list of tables, found {}", found(item.get_ref()));
                    report.mistake(Mistake::at(item.span(), message).hint(format!("write `{title}`")));
                }
            }
        }
        tables
    }

    /// What is declared for the tables that a key holds.
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

    /// Where a key's name is written.
    fn key_span(&self, name: &str) -> Option<Span> {
        self.table.get_key_value(name).map(|(key, _)| key.span())
    }

    /// Reports the keys that are not declared. `belongs` says where a key belongs that is known elsewhere.
    pub(crate) fn finish(self, belongs: &dyn Fn(&str) -> Option<&'static str>, report: &mut Report<'_>) {
        let declared = self.section.names();
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if declared.contains(&name) || self.reserved.contains(&name) {
                continue;
            }
            let unknown = format!("unknown key {}", quoted(name));
            let elsewhere = belongs(name);
            let mistake = match (elsewhere, did_you_mean(name, declared.iter().copied())) {
                (Some(place), _) => Mistake::at(key.span(), unknown).hint(format!("`{name}` belongs in {place}")),
                (None, Some(meant)) => {
                    report.meant.insert((self.span.start, meant));
                    Mistake::at(key.span(), format!("{unknown}, did you mean `{meant}`?"))
                }
                (None, None) => Mistake::at(key.span(), unknown).hint(self.known_keys(&declared)),
            };
            report.mistake(mistake);
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
    match title.strip_suffix(']') {
        Some(title) => format!("{title}.{name}]"),
        None => format!("[{name}]"),
    }
}
