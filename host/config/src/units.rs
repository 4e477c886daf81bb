//! Durations and sizes as text: one number and one unit. Knows nothing of keys.
//!
//! One small parser for both, and not a crate for each: it takes one spelling a unit, so that files look alike,
//! it says which spelling was meant, and it cannot overflow.

use std::time::Duration;

use super::diagnostics::quoted;

/// Units of time, in nanoseconds.
const TIME: &[(&str, u64)] = &[
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Units of size, in bytes.
const SIZE: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Other spellings, and which unit they mean.
const SPELLINGS: &[(&str, &str)] = &[
    ("µs", "us"),
    ("msec", "ms"),
    ("millis", "ms"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("m", "min"),
    ("mins", "min"),
    ("minute", "min"),
    ("minutes", "min"),
    ("hour", "h"),
    ("hours", "h"),
    ("byte", "B"),
    ("bytes", "B"),
    ("k", "KiB"),
    ("m", "MiB"),
    ("g", "GiB"),
    ("ki", "KiB"),
    ("mi", "MiB"),
    ("gi", "GiB"),
];

/// Digits after the point that are read; more than any unit can use.
const FRACTION_DIGITS_MAX: usize = 9;

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnitError {
    pub(super) message: String,
    pub(super) hint: String,
}

/// A kind of quantity.
struct Kind {
    name: &'static str,
    /// How nothing of it is written.
    zero: &'static str,
    units: &'static [(&'static str, u64)],
}

const DURATION: Kind = Kind {
    name: "duration",
    zero: "0s",
    units: TIME,
};
const BYTES: Kind = Kind {
    name: "size",
    zero: "0B",
    units: SIZE,
};

/// Reads a duration such as `2ms`, `1.5s` or `10min`.
pub(super) fn duration(text: &str) -> Result<Duration, UnitError> {
    DURATION.parse(text).map(Duration::from_nanos)
}

/// Reads a size such as `256MiB`, in bytes.
pub(super) fn size_bytes(text: &str) -> Result<u64, UnitError> {
    BYTES.parse(text)
}

/// The pattern of a duration, as a regular expression.
pub(super) fn duration_pattern() -> String {
    DURATION.pattern()
}

/// The pattern of a size, as a regular expression.
pub(super) fn size_pattern() -> String {
    BYTES.pattern()
}

/// Shows a duration the way it is written in the file.
pub(super) fn show_duration(duration: Duration) -> String {
    DURATION.show(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// Shows a size the way it is written in the file.
pub(super) fn show_size(bytes: u64) -> String {
    BYTES.show(bytes)
}

impl Kind {
    fn parse(&self, text: &str) -> Result<u64, UnitError> {
        let Self { name, units, .. } = self;
        let trimmed = text.trim();
        let digits = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let unit = unit.trim_start();
        if number.is_empty() {
            let message = format!("{} is not a {name}", quoted(text));
            return Err(UnitError {
                message,
                hint: format!("write a number and one of the units {}", self.names()),
            });
        }
        if unit.is_empty() {
            let message = format!("the {name} {} has no unit", quoted(text));
            return Err(UnitError {
                message,
                hint: format!("add one of {}", self.names()),
            });
        }
        let Some((_, factor)) = units.iter().find(|(known, _)| *known == unit) else {
            let meant = self
                .meant(unit)
                .map(|meant| format!(", did you mean `{number}{meant}`?"))
                .unwrap_or_default();
            let message = format!("unknown unit in the {name} {}{meant}", quoted(text));
            return Err(UnitError {
                message,
                hint: format!("the units are {}", self.names()),
            });
        };
        scaled(number, *factor).ok_or_else(|| UnitError {
            message: format!("{} is not a {name}", quoted(text)),
            hint: "write one number that is not too large, such as `64` or `1.5`, and the unit".to_owned(),
        })
    }

    /// The unit that another spelling stands for.
    fn meant(&self, unit: &str) -> Option<&'static str> {
        let lower = unit.to_lowercase();
        let mut spelled = SPELLINGS
            .iter()
            .filter(|(other, _)| *other == lower)
            .map(|(_, meant)| *meant);
        let known = |meant: &&str| self.units.iter().any(|(name, _)| name == meant);
        let alike = self
            .units
            .iter()
            .map(|(name, _)| *name)
            .find(|name| name.to_lowercase() == lower);
        alike.or_else(|| spelled.find(known))
    }

    fn pattern(&self) -> String {
        let names: Vec<&str> = self.units.iter().map(|(unit, _)| *unit).collect();
        format!(
            r"^[ \t\r\n]*[0-9]+(\.[0-9]+)?[ \t\r\n]*({})[ \t\r\n]*$",
            names.join("|")
        )
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.units.iter().map(|(unit, _)| *unit).collect();
        names.join(", ")
    }

    fn show(&self, value: u64) -> String {
        let divides = |(_, factor): &&(&str, u64)| value != 0 && value.is_multiple_of(*factor);
        match self.units.iter().filter(divides).max_by_key(|(_, factor)| *factor) {
            Some((unit, factor)) => format!("{}{unit}", value / factor),
            None => self.zero.to_owned(),
        }
    }
}

/// `number` times `factor`, cut to whole numbers.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, fraction)) => (whole, fraction),
        None => (number, ""),
    };
    let fraction = fraction.get(..FRACTION_DIGITS_MAX).unwrap_or(fraction);
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let parts = match fraction {
        "" => 0,
        digits => u128::from(digits.parse::<u64>().ok()?) * u128::from(factor) / scale,
    };
    let whole = u128::from(whole.parse::<u64>().ok()?) * u128::from(factor);
    u64::try_from(whole.checked_add(parts)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_one_number_and_one_unit() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(size_bytes(text).ok(), expected, "{text}");
        check("0B", Some(0));
        check("256MiB", Some(256 << 20));
        check("256 MiB", Some(256 << 20));
        check("1.5kB", Some(1_500));
        check("1.5KiB", Some(1_536));
        check("18446744073709551615B", Some(u64::MAX));
        for bad in [
            "",
            "MiB",
            "12",
            "1.MiB",
            ".5MiB",
            "1.2.3MiB",
            "-1MiB",
            "1MiB 1KiB",
            "18446744073709551616B",
            "1e3B",
            "99999999999999GiB",
            "256mib",
        ] {
            check(bad, None);
        }
        assert_eq!(duration("2ms"), Ok(Duration::from_millis(2)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1_500)));
        assert_eq!(duration("10min"), Ok(Duration::from_secs(600)));
    }

    #[test]
    fn a_wrong_unit_names_the_right_one() {
        let check = |message: Option<String>, meant: &str| {
            let message = message.unwrap();
            assert!(message.ends_with(&format!("did you mean `{meant}`?")), "{message}");
        };
        let time = |text| duration(text).err().map(|error| error.message);
        let size = |text| size_bytes(text).err().map(|error| error.message);
        check(time("2msec"), "2ms");
        check(time("3 Seconds"), "3s");
        check(time("5m"), "5min");
        check(size("256mib"), "256MiB");
        check(size("256M"), "256MiB");
        check(size("64Mi"), "64MiB");
        check(size("1kb"), "1kB");
        assert_eq!(size("3 apples").unwrap(), "unknown unit in the size `3 apples`");
    }

    #[test]
    fn quantities_are_shown_as_they_are_written() {
        assert_eq!(show_size(256 << 20), "256MiB");
        assert_eq!(show_size(65_536), "64KiB");
        assert_eq!(show_size(1_500), "1500B");
        assert_eq!(show_size(0), "0B");
        assert_eq!(show_duration(Duration::ZERO), "0s");
        assert_eq!(show_duration(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(show_duration(Duration::from_secs(600)), "10min");
    }
}
