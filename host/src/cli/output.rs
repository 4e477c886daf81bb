//! What is printed: to whoever still reads, and nothing that a terminal would obey. Knows no verb.

use std::fmt::Display;
use std::io;

/// Whether anybody reads what is printed: `head` leaves when it has enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Reads,
    Left,
}

/// Prints lines. A reader that left is no error, and no reason to panic.
pub(super) fn print(text: impl Display) -> io::Result<Reader> {
    print_to(&mut anstream::stdout(), text)
}

fn print_to(output: &mut impl io::Write, text: impl Display) -> io::Result<Reader> {
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Ok(()) => Ok(Reader::Reads),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Left),
        Err(error) => Err(error),
    }
}

/// Untrusted text on one line: control characters and what turns text around escaped, and cut after so many.
pub(super) fn plain(text: &str, chars_max: usize) -> String {
    let mut shown: String = text.chars().take(chars_max).flat_map(char::escape_debug).collect();
    if text.chars().nth(chars_max).is_some() {
        shown.push('…');
    }
    // Quotes need no escape outside of quotes.
    shown.replace("\\\"", "\"").replace("\\'", "'")
}

/// A JSON value as text that no terminal obeys. JSON itself lets through what follows DEL, and what turns text around.
pub(super) fn harmless(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        // These occur inside of strings alone, where `\u` may stand for them.
        match c.is_ascii() || c.is_alphanumeric() || c.escape_debug().len() == 1 {
            true if c != '\u{7f}' => text.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    text += &format!("\\u{unit:04x}");
                }
            }
        }
    }
    text
}

/// So many of something.
pub(super) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_escaped_and_cut() {
        assert_eq!(
            plain("a\u{1b}[31m\n\u{202e}\u{9b}'\"", 100),
            "a\\u{1b}[31m\\n\\u{202e}\\u{9b}'\""
        );
        assert_eq!(plain("abc", 2), "ab…");
        assert_eq!(plain("abc", 3), "abc");
    }

    #[test]
    fn hostile_json_is_escaped_and_still_says_the_same() {
        let value = serde_json::json!({ "a\u{7f}": "\u{1b}[31m \u{9b}31m \u{202e} é 猫 \u{e0041}" });
        let text = harmless(&value.to_string());
        assert!(text.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{text}");
        assert!(text.contains("é 猫"), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn a_reader_that_left_is_no_error() {
        let (reader, mut writer) = io::pipe().unwrap();
        assert_eq!(print_to(&mut writer, "read").unwrap(), Reader::Reads);
        drop(reader);
        assert_eq!(print_to(&mut writer, "not read").unwrap(), Reader::Left);
    }
}
