//! Text from plugins, made safe to store and print: bounded, and without control characters.

/// The longest text of a plugin's that is kept whole: a refusal, a log line, the text of a panic.
pub(super) const TEXT_MAX_BYTES: usize = 1 << 10;

/// Escapes control characters (a terminal or a log must not obey a plugin) and cuts at [`TEXT_MAX_BYTES`].
pub(super) fn sanitize(text: &str) -> String {
    sanitize_to(text, TEXT_MAX_BYTES)
}

/// Escapes control characters and cuts at a number of bytes; what was cut is marked.
pub(super) fn sanitize_to(text: &str, max_bytes: usize) -> String {
    let mut sanitized = String::with_capacity(text.len().min(max_bytes));
    for character in text.chars() {
        let before = sanitized.len();
        if is_unsafe(character) {
            sanitized.extend(character.escape_default());
        } else {
            sanitized.push(character);
        }
        if sanitized.len() > max_bytes {
            sanitized.truncate(before);
            sanitized.push_str("...");
            break;
        }
    }
    sanitized
}

/// Control characters, and those that turn the direction of text: both make a line say what it does not.
pub(super) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Bytes in a readable unit.
pub(super) fn size(bytes: usize) -> String {
    let (unit, name) = match bytes {
        0..1024 => (1.0, "bytes"),
        1024..0x10_0000 => (1024.0, "KiB"),
        0x10_0000..0x4000_0000 => (1024.0 * 1024.0, "MiB"),
        _ => (1024.0 * 1024.0 * 1024.0, "GiB"),
    };
    let number = format!("{:.2}", bytes as f64 / unit);
    format!("{} {name}", number.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugin_text_is_escaped_and_cut() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(sanitize_to(text, 12), expected);
        }
        check("plain", "plain");
        check("größe", "größe");
        check("a\nb", "a\\nb");
        check("\u{1b}[31m", "\\u{1b}[31m");
        check("a\u{202e}b", "a\\u{202e}b");
        check("123456789012", "123456789012");
        check("1234567890123", "123456789012...");
        check("12345678901\n", "12345678901...");
        check("12345678901ß", "12345678901...");
    }

    #[test]
    fn sizes_read_as_people_say_them() {
        assert_eq!(size(512), "512 bytes");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(64 << 20), "64 MiB");
        assert_eq!(size((64 << 20) + (512 << 10)), "64.5 MiB");
        assert_eq!(size(1 << 30), "1 GiB");
    }
}
