//! Prints for a reader that is still there, and nothing that a terminal would obey. Knows no verb.

use std::borrow::Cow;
use std::path::Path;

pub(super) use crate::streams::{Reader, print};

/// Untrusted text on one line: control characters and what turns text around escaped, and cut after so many.
pub(super) fn plain(text: &str, chars_max: usize) -> String {
    let mut shown: String = text.chars().take(chars_max).flat_map(char::escape_debug).collect();
    if text.chars().nth(chars_max).is_some() {
        shown.push('…');
    }
    // Quotes need no escape outside of quotes.
    shown.replace("\\\"", "\"").replace("\\'", "'")
}

/// A path as a word of a shell, so that a command that is printed can be pasted.
pub(super) fn shell(path: &Path) -> String {
    let path = path.to_string_lossy();
    // Only a zero byte cannot be quoted, and no path holds one.
    shlex::try_quote(&path).map_or_else(|_| path.clone().into_owned(), Cow::into_owned)
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

/// A count with its noun.
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
    fn paths_in_commands_are_words_of_a_shell() {
        assert_eq!(shell(Path::new("models/net")), "models/net");
        assert_eq!(shell(Path::new("out dir/mö #x")), "'out dir/mö #x'");
        assert_eq!(shell(Path::new("it's")), "\"it's\"");
    }

    #[test]
    fn hostile_json_is_escaped_and_still_says_the_same() {
        let value = serde_json::json!({ "a\u{7f}": "\u{1b}[31m \u{9b}31m \u{202e} é 猫 \u{e0041}" });
        let text = harmless(&value.to_string());
        assert!(text.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{text}");
        assert!(text.contains("é 猫"), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
