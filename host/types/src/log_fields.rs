//! Values as fields of log lines.

use std::fmt;
use std::time::Duration;

/// A time as a field of a log line: the 128 bits that the standard library gives are text in JSON.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A text of a stranger's as a field of a log line: as `str::escape_debug` has it, which most texts need not.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'\\' | b'"' | b'\'');
        match self.0.bytes().all(is_plain) {
            true => f.write_str(self.0),
            false => self.0.escape_debug().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Escaped;

    #[test]
    fn a_text_is_escaped_as_the_standard_library_does() {
        for text in [
            "",
            "m-1 (2)",
            "a\\b",
            "it's",
            "\"x\"",
            "é",
            "\u{1b}[31m",
            "line\n",
            "\u{202e}x",
            "\u{7f}",
        ] {
            assert_eq!(Escaped(text).to_string(), text.escape_debug().to_string());
        }
    }
}
