//! Values as fields of log lines.

use std::time::Duration;

/// A time as a field of a log line: the 128 bits that the standard library gives are text in JSON.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
