//! Where a value must lie, what may be chosen, and what holds where the file says nothing. Knows no key, and reads none.

use std::time::Duration;

use millrace_schema::{Bounds, Form, Words};
use serde_json::Value;

use super::keys::{DURATION, SIZE};
use super::table::Read;
use super::units::{show_duration, show_size};
use super::values::Bytes;

/// A number or a quantity within bounds, with a default.
#[derive(Debug, Clone, Copy)]
pub struct Within<T> {
    pub min: T,
    pub max: T,
    pub default: T,
}

/// One that may be left out.
#[derive(Debug, Clone, Copy)]
pub struct Optional<T> {
    pub min: T,
    pub max: T,
}

/// The same, where no file is told of the greatest value: it is never reached.
#[derive(Debug, Clone, Copy)]
pub struct AtLeast<T> {
    pub min: T,
    pub max: T,
}

/// A few words, what each stands for, and which holds where the file says nothing.
#[derive(Debug, Clone, Copy)]
pub struct Choice<T: 'static> {
    pub words: &'static [(&'static str, T)],
    pub default: T,
}

/// A number or a quantity, as a limit of it is declared.
pub trait Scalar: Copy + Sync {
    /// As the file has it.
    type Written: Show + for<'t> Read<'t>;
    /// As the host has it.
    type Value;

    /// The limit, as the file would have it.
    fn written(self) -> Self::Written;

    /// What the file has, as the host has it.
    fn value(written: Self::Written) -> Self::Value;
}

/// A value as the file writes it.
pub trait Show: Copy + PartialOrd {
    fn show(self) -> String;

    /// As JSON: what is written in quotes is a string.
    fn value(self) -> Value {
        self.show().into()
    }
}

/// Messages in flight.
// The range of AMQP's 16 bits; its 0 means no bound, which nothing here may be. 256 is enough to keep batches full
// while results are confirmed.
pub const PREFETCH: Within<u16> = Within {
    min: 1,
    max: 65_535,
    default: 256,
};

/// The forms of keys with such bounds.
macro_rules! forms {
    ($($Kind:ty: $Form:ident($($units:expr)?),)+) => {
        $(impl $Kind {
            pub const fn form(&'static self) -> Form {
                Form::$Form($($units,)? self)
            }
        })+
    };
}

forms! {
    Within<Duration>: Quantity(&DURATION),
    Within<Bytes>: Quantity(&SIZE),
    Within<u16>: Integer(),
    Within<u32>: Integer(),
    Within<usize>: Integer(),
    Within<f64>: Number(),
    Optional<usize>: Integer(),
    AtLeast<Bytes>: Quantity(&SIZE),
}

impl<T: PartialOrd> Within<T> {
    pub(crate) fn contain(&self, value: T) -> bool {
        (&self.min..=&self.max).contains(&&value)
    }
}

impl<T: PartialEq + Sync> Choice<T> {
    pub const fn form(&'static self) -> Form {
        Form::Words(self)
    }

    /// What a word stands for.
    pub fn find(&self, word: &str) -> Option<&'static T> {
        let found = self.words.iter().find(|(own, _)| *own == word);
        found.map(|(_, value)| value)
    }
}

impl<T: Scalar> Bounds for Within<T> {
    fn min(&self) -> Option<Value> {
        Some(self.min.written().value())
    }

    fn max(&self) -> Option<Value> {
        Some(self.max.written().value())
    }

    fn default(&self) -> Option<Value> {
        Some(self.default.written().value())
    }
}

impl<T: Scalar> Bounds for Optional<T> {
    fn min(&self) -> Option<Value> {
        Some(self.min.written().value())
    }

    fn max(&self) -> Option<Value> {
        Some(self.max.written().value())
    }

    fn default(&self) -> Option<Value> {
        None
    }
}

impl<T: Scalar> Bounds for AtLeast<T> {
    fn min(&self) -> Option<Value> {
        Some(self.min.written().value())
    }

    fn max(&self) -> Option<Value> {
        None
    }

    fn default(&self) -> Option<Value> {
        None
    }
}

impl<T: PartialEq + Sync> Words for Choice<T> {
    fn words(&self) -> Vec<&'static str> {
        self.words.iter().map(|(word, _)| *word).collect()
    }

    fn default(&self) -> &'static str {
        let word = self.words.iter().find(|(_, value)| *value == self.default);
        word.map(|(word, _)| *word).unwrap_or_default()
    }
}

/// Integers: as wide as any in the file, and narrow in the host.
macro_rules! integers {
    ($($Integer:ty),+) => {
        $(impl Scalar for $Integer {
            type Written = i128;
            type Value = Self;

            fn written(self) -> i128 {
                // No integer of the host is wider.
                self as i128
            }

            fn value(written: i128) -> Self {
                Self::try_from(written).unwrap_or(Self::MAX)
            }
        })+
    };
}

integers!(u16, u32, usize);

/// Those that the host has as the file has them.
macro_rules! as_written {
    ($($Scalar:ty),+) => {
        $(impl Scalar for $Scalar {
            type Written = Self;
            type Value = Self;

            fn written(self) -> Self {
                self
            }

            fn value(written: Self) -> Self {
                written
            }
        })+
    };
}

as_written!(i128, f64, Duration);

impl Scalar for Bytes {
    type Written = Self;
    type Value = usize;

    fn written(self) -> Self {
        self
    }

    fn value(Self(written): Self) -> usize {
        usize::try_from(written).unwrap_or(usize::MAX)
    }
}

impl Show for i128 {
    fn show(self) -> String {
        self.to_string()
    }

    fn value(self) -> Value {
        i64::try_from(self).map_or(Value::Null, Value::from)
    }
}

impl Show for f64 {
    fn show(self) -> String {
        self.to_string()
    }

    fn value(self) -> Value {
        self.into()
    }
}

impl Show for Duration {
    fn show(self) -> String {
        show_duration(self)
    }
}

impl Show for Bytes {
    fn show(self) -> String {
        show_size(self.0)
    }
}
