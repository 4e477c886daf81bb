//! Typed readers over a parsed TOML tree that go on after a mistake. Knows no key of `plugins.toml`.
//!
//! serde ends at the first wrong type and the first unknown key. A table here is asked for each key that is
//! declared for it; what is not declared is unknown. So one pass finds every mistake, and the keys are listed once.

use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::LazyLock;

use millrace_schema::{Declared, Form, Section};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::diagnostics::{Diagnostic, Span, did_you_mean, quoted};
use super::report::Report;
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

/// A table of the file, and the keys that it may have.
#[derive(Clone)]
pub struct Table<'t> {
    table: &'t DeTable<'t>,
    /// The keys that are declared for it.
    section: &'static Section,
    /// The last part of its title: `decode-image`.
    name: &'t str,
    /// How messages call it: `[plugin.decode-image]`.
    title: String,
    span: Span,
    /// The table that it is in. One that holds named tables is none: of `[plugin.decode-image]` it is the file.
    outer: Option<Rc<Table<'t>>>,
    /// Keys that are known and not offered.
    reserved: Vec<&'static str>,
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

impl<'t> Table<'t> {
    pub fn new(table: &'t DeTable<'t>, section: &'static Section, title: String, span: Span) -> Self {
        Self {
            table,
            section,
            name: "",
            title,
            span,
            outer: None,
            reserved: Vec::new(),
        }
    }

    /// What the user called it; for others, the key that holds it.
    pub fn name(&self) -> &'t str {
        self.name
    }

    /// The table that it is in: of a source, a destination or a smoke test its pipeline, of a pipeline the file. Itself where it
    /// is in none.
    pub fn outer(&self) -> &Table<'t> {
        self.outer.as_deref().unwrap_or(self)
    }

    /// The place to name where a key is missing: the table's own name.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Reads a key, and reports what is wrong with its type.
    pub fn key<T: Read<'t>>(&self, name: &'static str, report: &mut Report<'_>) -> Key<T> {
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
        match T::read(value, report) {
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

    /// A key that another one's reader reads; what is wrong with it is reported there.
    pub fn peek<T: Read<'t>>(&self, name: &'static str, report: &Report<'_>) -> Key<T> {
        self.key(name, &mut report.anew())
    }

    /// The same for a table.
    pub fn peek_table(&self, name: &'static str, report: &Report<'_>) -> Option<Table<'t>> {
        self.table(name, &mut report.anew()).into_given()
    }

    /// The table `name`, where there is one.
    pub fn table(&self, name: &'static str, report: &mut Report<'_>) -> Key<Table<'t>> {
        let key: Key<&'t DeTable<'t>> = self.key(name, report);
        key.map(|table| self.inner(name, table))
    }

    /// The table `name`, or one without keys.
    pub(crate) fn table_or_empty(&self, name: &'static str, report: &mut Report<'_>) -> Table<'t> {
        static EMPTY: LazyLock<DeTable<'static>> = LazyLock::new(DeTable::new);
        let table = self.table(name, report).into_given();
        table.unwrap_or_else(|| self.inner(name, &EMPTY))
    }

    fn inner(&self, name: &'static str, table: &'t DeTable<'t>) -> Table<'t> {
        Table {
            name,
            outer: Some(Rc::new(self.clone())),
            ..Table::new(
                table,
                self.below(name),
                join(&self.title, name),
                self.key_span(name).unwrap_or_default(),
            )
        }
    }

    /// Where a key is that has no meaning yet, or none here: it counts as known, and the caller says why.
    pub fn reserve(&mut self, name: &'static str) -> Option<Span> {
        self.reserved.push(name);
        self.key_span(name)
    }

    /// The tables in table `name`, which the user named.
    pub(crate) fn named_tables(&self, name: &'static str, report: &mut Report<'_>) -> Vec<Table<'t>> {
        let Key::Given(named) = self.table(name, report) else {
            return Vec::new();
        };
        let named = named.into_inner();
        let outer = Rc::new(self.clone());
        let mut tables = Vec::new();
        for (key, value) in named.table {
            let inner = key.get_ref().as_ref();
            let title = join(&named.title, inner);
            match value.get_ref().as_table() {
                Some(table) => tables.push(Table {
                    name: inner,
                    outer: Some(Rc::clone(&outer)),
                    ..Table::new(table, named.section, title, key.span())
                }),
                None => {
                    let message = format!("{} must be a table, found {}", quoted(inner), found(value.get_ref()));
                    let hint = format!("write `{}`", join(&named.title, "NAME"));
                    report.diagnostic(Diagnostic::at(value.span(), message).hint(hint));
                }
            }
        }
        tables
    }

    /// The names of these tables, each with its place. What is wrong with one is reported where it is read.
    pub(crate) fn names_in(&self, name: &str) -> Vec<(&'t str, Span)> {
        let named = self.table.get(name).and_then(|named| named.get_ref().as_table());
        let tables = named.into_iter().flatten();
        let tables = tables.filter(|(_, value)| value.get_ref().is_table());
        tables.map(|(key, _)| (key.get_ref().as_ref(), key.span())).collect()
    }

    /// The tables in list `name`, in the order of the file.
    pub(crate) fn tables(&self, name: &'static str, report: &mut Report<'_>) -> Vec<Table<'t>> {
        let title = format!("[{}]", join(&self.title, name));
        let list: Key<&'t DeArray<'t>> = self.key(name, report);
        let outer = Rc::new(self.clone());
        let mut tables = Vec::new();
        for item in list.into_given().into_iter().flat_map(|list| list.iter()) {
            match item.get_ref().as_table() {
                Some(table) => tables.push(Table {
                    name,
                    outer: Some(Rc::clone(&outer)),
                    ..Table::new(table, self.below(name), title.clone(), item.span())
                }),
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

    /// Where a key's value is written.
    pub(crate) fn value_span(&self, name: &str) -> Option<Span> {
        self.table.get(name).map(Spanned::span)
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
