//! A table of the file whose keys are declared in one place each: the field that holds the value, what it does, its bounds,
//! its default, and how it is read. The schema, the reference and the reader are made of this. Knows no key.

use std::marker::PhantomData;

use millrace_schema::{Declared, Form};

use super::check::Checker;
use super::limits::{AtLeast, Choice, Optional, Scalar, Within};
use super::table::{Key, Read, Table};
use super::values::{Bytes, Text};

/// A table whose keys [`section!`](crate::section) declares: the struct is what was checked.
pub trait FromTable: Sized {
    /// All of its keys.
    const KEYS: &'static [Declared];

    /// Reads and checks its keys. Every one is looked at; `None` where one that has nothing to stand in for it is missing
    /// or mistaken, which was reported.
    fn read(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<Self>;

    /// The same, and reports keys that are not declared.
    fn read_all(table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<Self> {
        checker.finish(table);
        Self::read(table, checker)
    }
}

/// What a key holds, and how it is read.
pub trait Reads {
    /// What the host sees of it.
    type Value;

    /// Reads and checks it. After a mistake its default stands in; `None` where nothing can.
    fn read(&self, name: &'static str, table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<Self::Value>;
}

/// `true` or `false`.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    pub default: bool,
}

/// A key with a check of its own, which may peek at the table's other keys and at the tables around it. What is wrong with
/// those is reported where they are declared.
pub struct By<V> {
    pub form: Form,
    pub read: Reader<V>,
}

/// A key that another one's check peeks at. Here its type is checked.
pub struct Beside<T> {
    form: Form,
    of: PhantomData<fn() -> T>,
}

impl Flag {
    pub const fn form(&self) -> Form {
        Form::Flag(self.default)
    }
}

impl<V> By<V> {
    pub const fn form(&self) -> Form {
        self.form
    }
}

impl<T> Beside<T> {
    pub const fn new(form: Form) -> Self {
        Self { form, of: PhantomData }
    }

    pub const fn form(&self) -> Form {
        self.form
    }
}

impl<T: Scalar> Reads for Within<T> {
    type Value = T::Value;

    fn read(&self, name: &'static str, table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<T::Value> {
        let key = table.key(name, checker.report);
        Some(T::value(checker.within(&key, name, &self.written())))
    }
}

impl<T: Scalar> Within<T> {
    /// What it is, for another key's check.
    pub fn peek(&self, name: &'static str, table: &Table<'_>, checker: &Checker<'_, '_>) -> T::Value {
        let limits = self.written();
        let value = table.peek(name, checker.report).into_given();
        T::value(value.filter(|value| limits.contain(*value)).unwrap_or(limits.default))
    }

    fn written(&self) -> Within<T::Written> {
        Within {
            min: self.min.written(),
            max: self.max.written(),
            default: self.default.written(),
        }
    }
}

impl<T: Scalar> Reads for Optional<T> {
    type Value = Option<T::Value>;

    fn read(&self, name: &'static str, table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<Self::Value> {
        let limits = Within {
            min: self.min,
            max: self.max,
            default: self.max,
        };
        let key = table.key(name, checker.report);
        let read = key.given().map(|_| checker.within(&key, name, &limits.written()));
        Some(read.map(T::value))
    }
}

impl Reads for AtLeast<Bytes> {
    type Value = Option<u64>;

    fn read(&self, name: &'static str, table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<Self::Value> {
        let limits = Within {
            min: self.min,
            max: self.max,
            default: self.max,
        };
        let key = table.key(name, checker.report);
        Some(key.given().map(|_| checker.within(&key, name, &limits).0))
    }
}

impl<T: Copy> Reads for Choice<T> {
    type Value = T;

    fn read(&self, name: &'static str, table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<T> {
        let key = table.key(name, checker.report);
        Some(checker.choice(&key, name, self.words).unwrap_or(self.default))
    }
}

impl<T: PartialEq + Copy + Sync> Choice<T> {
    /// What it is, for another key's check; `None` where the file says nothing, or no such word.
    pub fn peek(&self, name: &'static str, table: &Table<'_>, checker: &Checker<'_, '_>) -> Option<T> {
        let key: Key<Text> = table.peek(name, checker.report);
        key.given().and_then(|text| self.find(&text.get_ref().value)).copied()
    }
}

impl Reads for Flag {
    type Value = bool;

    fn read(&self, name: &'static str, table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<bool> {
        let key = table.key(name, checker.report);
        Some(key.into_given().unwrap_or(self.default))
    }
}

impl<V> Reads for By<V> {
    type Value = V;

    fn read(&self, _: &'static str, table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<V> {
        (self.read)(table, checker)
    }
}

impl<T: for<'t> Read<'t>> Reads for Beside<T> {
    type Value = ();

    fn read(&self, name: &'static str, table: &Table<'_>, checker: &mut Checker<'_, '_>) -> Option<()> {
        let key: Key<T> = table.key(name, checker.report);
        key.into_given().map(drop)
    }
}

/// Declares a table: a struct of what was checked, what is known of its keys, and the reader of both ([`FromTable`]).
///
/// ```text
/// section! {
///     /// What the struct is.
///     #[derive(..)]
///     pub struct Config;          // or: = SECTION ("id", "title", "help"), for a table of one kind
///
///     /// What the key does, for the reference and for the field.
///     pub field ("key"): Type = a kind of value (`Reads`), "an example", options of `Declared`;
///
///     /// What the key does; another one's check peeks at it, and it has no field.
///     ("key") = a kind of value, "an example", options of `Declared`;
///
///     /// What the field is: no key has it.
///     pub field: Type = a function of the table and the checker;
/// }
/// ```
#[macro_export]
macro_rules! section {
    (
        $(#[$attribute:meta])*
        pub struct $Config:ident $(= $SECTION:ident ($id:literal, $title:literal, $help:literal))?;
        $($entries:tt)+
    ) => {
        $crate::section! {
            @next [table checker] { $(#[$attribute])* pub struct $Config } fields {} keys {} reads {} values {} $($entries)+
        }

        $(pub(crate) static $SECTION: $crate::reading::Section = $crate::reading::Section {
            id: $id,
            title: $title,
            help: $help,
            keys: <$Config as $crate::reading::FromTable>::KEYS,
            ..$crate::reading::Section::EMPTY
        };)?
    };

    // A key without a field.
    (
        @next [$table:ident $checker:ident] $head:tt
        fields $fields:tt keys { $($keys:tt)* } reads { $($reads:tt)* } values $values:tt
        $(#[doc = $words:literal])+
        ($key:literal) = $kind:expr, $example:literal $(, $option:ident($($said:tt)*))*;
        $($entries:tt)*
    ) => {
        $crate::section! {
            @next [$table $checker] $head
            fields $fields
            keys {
                $($keys)*
                $crate::reading::Declared::new(
                    $key, const { &$kind }.form(), $example, concat!($($words),+).trim_ascii()
                )$(.$option($($said)*))*,
            }
            reads {
                $($reads)*
                $crate::reading::Reads::read(&$kind, $key, $table, $checker);
            }
            values $values
            $($entries)*
        }
    };

    // A key with a field.
    (
        @next [$table:ident $checker:ident] $head:tt
        fields { $($fields:tt)* } keys { $($keys:tt)* } reads { $($reads:tt)* } values { $($values:tt)* }
        $(#[doc = $words:literal])+
        $vis:vis $field:ident ($key:literal): $Value:ty = $kind:expr, $example:literal $(, $option:ident($($said:tt)*))*;
        $($entries:tt)*
    ) => {
        $crate::section! {
            @next [$table $checker] $head
            fields { $($fields)* $(#[doc = $words])+ $vis $field: $Value, }
            keys {
                $($keys)*
                $crate::reading::Declared::new(
                    $key, const { &$kind }.form(), $example, concat!($($words),+).trim_ascii()
                )$(.$option($($said)*))*,
            }
            reads {
                $($reads)*
                let $field: Option<$Value> = $crate::reading::Reads::read(&$kind, $key, $table, $checker);
            }
            values { $($values)* $field: $field?, }
            $($entries)*
        }
    };

    // A field without a key.
    (
        @next [$table:ident $checker:ident] $head:tt
        fields { $($fields:tt)* } keys $keys:tt reads { $($reads:tt)* } values { $($values:tt)* }
        $(#[doc = $words:literal])+
        $vis:vis $field:ident: $Value:ty = $read:expr;
        $($entries:tt)*
    ) => {
        $crate::section! {
            @next [$table $checker] $head
            fields { $($fields)* $(#[doc = $words])+ $vis $field: $Value, }
            keys $keys
            reads {
                $($reads)*
                let read: $crate::reading::Reader<$Value> = $read;
                let $field = read($table, $checker);
            }
            values { $($values)* $field: $field?, }
            $($entries)*
        }
    };

    (
        @next [$table:ident $checker:ident] { $(#[$attribute:meta])* pub struct $Config:ident }
        fields { $($fields:tt)* } keys { $($keys:tt)* } reads { $($reads:tt)* } values { $($values:tt)* }
    ) => {
        $(#[$attribute])*
        pub struct $Config {
            $($fields)*
        }

        impl $crate::reading::FromTable for $Config {
            const KEYS: &'static [$crate::reading::Declared] = &[$($keys)*];

            fn read(
                $table: &$crate::reading::Table<'_>,
                $checker: &mut $crate::reading::Checker<'_, '_>,
            ) -> Option<Self> {
                $($reads)*
                Some(Self { $($values)* })
            }
        }
    };
}

/// Reads something of a table, and checks it.
pub type Reader<V> = fn(&Table<'_>, &mut Checker<'_, '_>) -> Option<V>;
