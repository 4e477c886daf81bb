//! Keys of a TOML file, declared once: the reader knows them by it, and its JSON Schema and its reference are made of
//! it. Knows no key of any file, reads none, and does not know what a value means.

mod json;
mod reference;
mod settings;
mod values;

pub use json::json_schema;
pub use reference::{FillError, fill};
use serde_json::Value;
pub use settings::{Setting, SettingKind, settings_schema};
pub use values::json_of;

/// A file that users write.
#[derive(Clone, Copy)]
pub struct File {
    /// Its name: `plugins.toml`.
    pub name: &'static str,
    /// Its top level; `help` says what the file is.
    pub root: &'static Section,
    /// Whether `${NAME}` in a string stands for what the environment holds: such a string may be anything.
    pub takes_environment: bool,
}

/// A table, and every key that it may have.
pub struct Section {
    /// A short name: a definition in the schema, and what the reference's marks call it.
    pub id: &'static str,
    /// What messages call it: `[plugin.NAME]`.
    pub title: &'static str,
    /// What it is, in a sentence.
    pub help: &'static str,
    /// Its keys, in the order in which they are offered.
    pub keys: &'static [Declared],
    /// Keys of which there must be exactly one; no such rule where there are none.
    pub one_of: &'static [&'static str],
    /// Kinds that take further keys, each its own.
    pub kinds: Option<Kinds>,
}

/// A key that says which further keys there are.
pub struct Kinds {
    /// The key.
    pub tag: &'static str,
    /// What the kinds' help is about.
    pub told: &'static str,
    /// What it may be.
    pub of: &'static [Kind],
}

/// One kind of a table.
pub struct Kind {
    /// The tag's value.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// The keys that it takes beside those of every kind.
    pub keys: &'static [Declared],
}

/// A key. One that differs by what is beside it is declared once for each.
#[derive(Clone, Copy)]
pub struct Declared {
    /// Its name.
    pub name: &'static str,
    /// The name that it had before, which still works; empty where it had none.
    pub formerly: &'static str,
    /// What its value may be.
    pub form: Form,
    /// What it does.
    pub help: &'static str,
    /// What holds without it.
    pub absent: Absent,
    /// A value as the file has it.
    pub example: &'static str,
    /// Keys of which one must be beside it; it means nothing without. Any where there are none.
    pub with: &'static [&'static str],
    /// Where it means nothing.
    pub unless: &'static [When],
    /// What is said to who writes it where it means nothing; nothing where it is empty.
    pub why: &'static str,
    /// Whether the reader says that it belongs here, where a file has it elsewhere.
    pub has_home: bool,
}

/// What holds where a key is not there.
#[derive(Clone, Copy)]
pub enum Absent {
    /// It must be there.
    Required,
    /// It must be there beside another key.
    RequiredWith(&'static str),
    /// The default of its form.
    Default,
    /// What these words say.
    Told(&'static str),
}

/// What is beside a key.
#[derive(Clone, Copy)]
pub enum When {
    /// A key whose text matches a regular expression.
    Matches(&'static str, &'static str),
    /// A key with a table that has this key.
    Has(&'static str, &'static str),
}

/// What a value may be.
#[derive(Clone, Copy)]
pub enum Form {
    /// A string that matches a regular expression; any where it is empty.
    Text(&'static str),
    /// One of a few words.
    Words(&'static dyn Words),
    /// A boolean, and its default.
    Flag(bool),
    /// A whole number.
    Integer(&'static dyn Bounds),
    /// A number.
    Number(&'static dyn Bounds),
    /// A number and a unit in a string.
    Quantity(&'static Units, &'static dyn Bounds),
    /// A list of so many, at least and at most.
    List(&'static Form, usize, Option<usize>),
    /// One of several forms.
    Either(&'static [Form]),
    /// A table that is given on as it is.
    Any,
    /// A table of values that the user names.
    Map(&'static Form),
    /// A table: `[name]`.
    Table(&'static Section),
    /// A list of tables: `[[name]]`.
    Tables(&'static Section),
    /// Tables that the user names: `[name.NAME]`. With the regular expression for names.
    Named(&'static Section, &'static str),
}

/// The words of a choice, and its default.
pub trait Words: Sync {
    /// All of them.
    fn words(&self) -> Vec<&'static str>;
    /// What holds where the key is not there.
    fn default(&self) -> &'static str;
}

/// Where a number or a quantity must lie, each as the file has it.
pub trait Bounds: Sync {
    /// The least; not told where there is none.
    fn min(&self) -> Option<Value>;
    /// The most; not told where there is none.
    fn max(&self) -> Option<Value>;
    /// What holds where the key is not there.
    fn default(&self) -> Option<Value>;
}

/// A kind of quantity.
pub struct Units {
    /// `duration`
    pub name: &'static str,
    /// A regular expression for one.
    pub pattern: fn() -> String,
}

impl Section {
    /// Nothing is taken.
    pub const EMPTY: Section = Section {
        id: "",
        title: "",
        help: "",
        keys: &[],
        one_of: &[],
        kinds: None,
    };

    /// The names of its keys, each once, without those of its kinds.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for key in self.keys {
            if !names.contains(&key.name) {
                names.push(key.name);
            }
        }
        names
    }

    /// The first declaration of a key.
    pub fn find(&self, name: &str) -> Option<&'static Declared> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// It and every section below it, each once.
    pub fn all(&'static self) -> Vec<&'static Section> {
        let mut found: Vec<&'static Section> = Vec::new();
        let mut open = vec![self];
        while let Some(section) = open.pop() {
            if found.iter().any(|known| known.id == section.id) {
                continue;
            }
            found.push(section);
            let kinds = section.kinds.iter().flat_map(|kinds| kinds.of);
            let keys = section.keys.iter().chain(kinds.flat_map(|kind| kind.keys));
            let mut below: Vec<_> = keys.flat_map(|key| key.form.sections()).collect();
            below.reverse();
            open.extend(below);
        }
        found
    }
}

impl Declared {
    /// A key that may be left out.
    pub const fn new(name: &'static str, form: Form, example: &'static str, help: &'static str) -> Self {
        Self {
            name,
            formerly: "",
            form,
            help,
            absent: Absent::Default,
            example,
            with: &[],
            unless: &[],
            why: "",
            has_home: false,
        }
    }

    /// It must be there.
    pub const fn required(mut self) -> Self {
        self.absent = Absent::Required;
        self
    }

    /// It must be there where another key is.
    pub const fn required_with(mut self, key: &'static str) -> Self {
        self.absent = Absent::RequiredWith(key);
        self
    }

    /// It had another name before.
    pub const fn formerly(mut self, name: &'static str) -> Self {
        self.formerly = name;
        self
    }

    /// What holds without it, where that is no value.
    pub const fn or(mut self, told: &'static str) -> Self {
        self.absent = Absent::Told(told);
        self
    }

    /// It goes with one of these keys.
    pub const fn with(mut self, keys: &'static [&'static str]) -> Self {
        self.with = keys;
        self
    }

    /// It means nothing where one of these holds.
    pub const fn unless(mut self, cases: &'static [When]) -> Self {
        self.unless = cases;
        self
    }

    /// What is said to who writes it where it means nothing.
    pub const fn why(mut self, why: &'static str) -> Self {
        self.why = why;
        self
    }

    /// Who writes it elsewhere is told that it belongs here.
    pub const fn at_home(mut self) -> Self {
        self.has_home = true;
        self
    }

    /// What its default is, as a value.
    pub fn default(&self) -> Option<Value> {
        match self.absent {
            Absent::Default => self.form.default(),
            Absent::Required | Absent::RequiredWith(_) | Absent::Told(_) => None,
        }
    }
}

impl Form {
    fn default(&self) -> Option<Value> {
        match self {
            Self::Words(words) => Some(words.default().into()),
            Self::Flag(default) => Some((*default).into()),
            Self::Integer(bounds) | Self::Number(bounds) | Self::Quantity(_, bounds) => bounds.default(),
            Self::Either(forms) => forms.iter().find_map(Self::default),
            Self::Any => Some(Value::Object(serde_json::Map::new())),
            Self::Text(_) | Self::List(..) | Self::Map(_) | Self::Table(_) | Self::Tables(_) | Self::Named(..) => None,
        }
    }

    /// The tables that it names.
    pub fn sections(&self) -> Vec<&'static Section> {
        match self {
            Self::Table(section) | Self::Tables(section) | Self::Named(section, _) => vec![section],
            Self::Either(forms) => forms.iter().flat_map(Self::sections).collect(),
            Self::List(form, ..) => form.sections(),
            _ => Vec::new(),
        }
    }
}
