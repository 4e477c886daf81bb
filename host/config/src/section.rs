//! A table of the file whose keys are declared in one place each: the field that holds the value, what it does, its bounds,
//! its default, and how it is read. The schema, the reference and the reader are made of this. Knows no key.

use std::time::Duration;

use millrace_schema::{Bounds, Form};
use serde_json::Value;

use super::check::Checker;
use super::keys::{DURATION, SIZE};
use super::limits::{Limits, Show};
use super::table::Table;
use super::values::Bytes;

/// What a key holds, and how it is read.
pub(super) trait Reads {
    /// What the host sees of it.
    type Value;

    /// Reads it; after a mistake something stands in.
    fn read(&self, name: &'static str, table: &mut Table<'_>, checker: &mut Checker<'_, '_>) -> Self::Value;
}

/// A quantity within bounds, with a default.
pub(super) struct Within<T> {
    pub(super) min: T,
    pub(super) max: T,
    pub(super) default: T,
}

/// A quantity that may be left out. No file is told of its greatest value, which nobody reaches.
pub(super) struct Optional<T> {
    pub(super) min: T,
    pub(super) max: T,
}

/// `true` or `false`.
pub(super) struct Flag {
    pub(super) default: bool,
}

/// A key with a check of its own, which may look at the table's other keys.
pub(super) struct By<V> {
    pub(super) form: Form,
    pub(super) read: fn(&mut Checker<'_, '_>, &mut Table<'_>) -> V,
}

/// A key that another one's check reads.
pub(super) struct Beside {
    pub(super) form: Form,
}

/// Stands where a key is whose value is a part of another one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Elsewhere;

impl Within<Duration> {
    pub(super) const fn form(&'static self) -> Form {
        Form::Quantity(&DURATION, self)
    }
}

impl Within<Bytes> {
    pub(super) const fn form(&'static self) -> Form {
        Form::Quantity(&SIZE, self)
    }
}

impl Optional<Bytes> {
    pub(super) const fn form(&'static self) -> Form {
        Form::Quantity(&SIZE, self)
    }
}

impl Flag {
    pub(super) const fn form(&'static self) -> Form {
        Form::Flag(self.default)
    }
}

impl<V> By<V> {
    pub(super) const fn form(&'static self) -> Form {
        self.form
    }
}

impl Beside {
    pub(super) const fn form(&'static self) -> Form {
        self.form
    }
}

impl<T: Copy> Within<T> {
    fn limits(&self, key: &'static str) -> Limits<T> {
        Limits {
            key,
            min: self.min,
            max: self.max,
            default: self.default,
        }
    }
}

impl Reads for Within<Duration> {
    type Value = Duration;

    fn read(&self, name: &'static str, table: &mut Table<'_>, checker: &mut Checker<'_, '_>) -> Duration {
        let key = table.key(name, checker.report);
        checker.within(&key, &self.limits(name))
    }
}

impl Reads for Within<Bytes> {
    type Value = usize;

    fn read(&self, name: &'static str, table: &mut Table<'_>, checker: &mut Checker<'_, '_>) -> usize {
        let key = table.key(name, checker.report);
        checker.size_bytes(&key, &self.limits(name))
    }
}

impl Reads for Optional<Bytes> {
    type Value = Option<u64>;

    fn read(&self, name: &'static str, table: &mut Table<'_>, checker: &mut Checker<'_, '_>) -> Option<u64> {
        let key = table.key(name, checker.report);
        let limits = Limits {
            key: name,
            min: self.min,
            max: self.max,
            default: self.max,
        };
        key.given().map(|_| checker.within(&key, &limits).0)
    }
}

impl Reads for Flag {
    type Value = bool;

    fn read(&self, name: &'static str, table: &mut Table<'_>, checker: &mut Checker<'_, '_>) -> bool {
        let key = table.key::<bool>(name, checker.report);
        key.given().map_or(self.default, |flag| *flag.get_ref())
    }
}

impl<V> Reads for By<V> {
    type Value = V;

    fn read(&self, _: &'static str, table: &mut Table<'_>, checker: &mut Checker<'_, '_>) -> V {
        (self.read)(checker, table)
    }
}

impl Reads for Beside {
    type Value = Elsewhere;

    fn read(&self, _: &'static str, _: &mut Table<'_>, _: &mut Checker<'_, '_>) -> Elsewhere {
        Elsewhere
    }
}

impl<T: Show + Sync> Bounds for Within<T> {
    fn min(&self) -> Option<Value> {
        Some(self.min.value())
    }

    fn max(&self) -> Option<Value> {
        Some(self.max.value())
    }

    fn default(&self) -> Option<Value> {
        Some(self.default.value())
    }
}

impl<T: Show + Sync> Bounds for Optional<T> {
    fn min(&self) -> Option<Value> {
        Some(self.min.value())
    }

    fn max(&self) -> Option<Value> {
        None
    }

    fn default(&self) -> Option<Value> {
        None
    }
}

/// Declares a table: a struct with a field for each key, what is known of the keys, and the reader. A key is
///
/// ```text
/// /// What it does, for the reference and for the field.
/// pub field ("key"): Type = Kind { bounds, default }, "an example", options of `Declared`;
/// ```
macro_rules! section {
    (
        $(#[$attribute:meta])*
        pub struct $Config:ident = $SECTION:ident ($id:literal, $title:literal, $help:literal);
        $(
            $(#[doc = $words:literal])+
            $vis:vis $field:ident ($key:literal): $Value:ty
                = $Kind:ident $(<$Of:ty>)? { $($body:tt)* }, $example:literal $(, $option:ident($($said:literal)?))*;
        )+
    ) => {
        $(#[$attribute])*
        pub struct $Config {
            $(
                $(#[doc = $words])+
                $vis $field: $Value,
            )+
        }

        pub(super) static $SECTION: millrace_schema::Section = millrace_schema::Section {
            id: $id,
            title: $title,
            help: $help,
            keys: &[
                $({
                    const KIND: &$Kind $(<$Of>)? = &$Kind $(::<$Of>)? { $($body)* };
                    let words = concat!($($words),+).trim_ascii();
                    millrace_schema::Declared::new($key, KIND.form(), $example, words)
                        $(.$option($($said)?))*
                }),+
            ],
            ..millrace_schema::Section::EMPTY
        };

        impl $Config {
            /// Reads and checks the table.
            pub(super) fn read(
                mut table: crate::table::Table<'_>,
                checker: &mut crate::check::Checker<'_, '_>,
            ) -> Self {
                table.finish(&checker.report.registry.home(), checker.report);
                Self {
                    $(
                        $field: crate::section::Reads::read(
                            &$Kind $(::<$Of>)? { $($body)* },
                            $key,
                            &mut table,
                            checker,
                        ),
                    )+
                }
            }
        }
    };
}

pub(super) use section;
