//! Numbers for people: no more digits than mean something.

use super::Spread;

/// The least and the most.
pub(super) fn range(spread: Spread) -> String {
    format!("{} to {}", short(spread.low), short(spread.high))
}

/// Memory.
pub(super) fn mebibytes(bytes: f64) -> String {
    match bytes / f64::from(1 << 20) {
        large if large >= 10_240.0 => format!("{:.0} GiB", large / 1024.0),
        small => format!("{small:.0} MiB"),
    }
}

/// A number with as many digits as mean something.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        one if one >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
