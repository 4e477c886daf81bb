//! Text that a stranger chose, as a header may hold it.

/// Whether the host lets a text into a header, a key or a content type: it has no control characters, and none that turn the
/// direction of text. A content type or key has at most 255 bytes beside.
pub fn is_plain(text: &str) -> bool {
    !text.chars().any(is_unsafe)
}

/// A text with what no header may hold escaped as Rust escapes it, and cut before it is longer than `max_bytes`.
///
/// ```
/// assert_eq!(millrace_plugin::header::escaped("a\nb", 1024), "a\\nb");
/// assert_eq!(millrace_plugin::header::escaped("größe", 4), "grö");
/// ```
pub fn escaped(text: &str, max_bytes: usize) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        let before = escaped.len();
        if is_unsafe(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
        if escaped.len() > max_bytes {
            escaped.truncate(before);
            break;
        }
    }
    escaped
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::{escaped, is_plain};

    #[test]
    fn what_no_header_holds_is_escaped() {
        let check = |text: &str, expected: &str| {
            assert_eq!(escaped(text, 12), expected, "{text:?}");
            assert_eq!(is_plain(text), text == expected, "{text:?}");
        };
        check("plain", "plain");
        check("größe", "größe");
        check("a\r\nb", "a\\r\\nb");
        check("\u{1b}[31m", "\\u{1b}[31m");
        check("a\u{202e}b", "a\\u{202e}b");
        assert_eq!(escaped("123456789012x", 12), "123456789012");
        assert_eq!(escaped("12345678901\n", 12), "12345678901");
        assert_eq!(escaped("12345678901ß", 12), "12345678901");
    }
}
