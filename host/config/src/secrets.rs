//! Where secrets stand in the text of a file, also in one that cannot be parsed or whose keys are misspelled. Knows no
//! table.

use super::diagnostics::{HIDDEN, Span};

/// Words in the name of a key whose value is taken for a secret, whatever the key is.
const WORDS: [&str; 5] = ["pass", "pwd", "secret", "token", "credential"];

/// How alike a name must be to that of a secret key (Jaro-Winkler): a typing mistake away.
const SIMILAR: f64 = 0.85;

/// Shorter secrets are not looked for in messages: they would be found in words.
const LOOKED_FOR_CHARS_MIN: usize = 6;

/// So much of a secret is recognised in a message that cuts it off.
const BEGINNING_CHARS: usize = 16;

/// The values of everything that looks like a key of a secret: one of `keys`, or of a name that is like one; and of one
/// of `addresses`, where it has a user in it and is no URL, whose password is found by itself.
/// A name in `known` is no misspelling.
pub(crate) fn values(text: &str, keys: &[&str], addresses: &[&str], known: &[&str]) -> Vec<Span> {
    let mut found: Vec<Span> = Vec::new();
    for (at, _) in text.match_indices('=') {
        // Within a value that is hidden already.
        if found.last().is_some_and(|last| at < last.end) {
            continue;
        }
        let before = text.get(..at).unwrap_or_default();
        let before = before.trim_end_matches([' ', '\t', '"', '\'']);
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let name = before.rsplit(|c| !is_of_name(c)).next().unwrap_or_default();
        let span = value(text, at + 1);
        let value = text.get(span.clone()).unwrap_or_default();
        let has_user = value.contains('@') && !value.contains("://");
        let is_like = |keys: &[&str]| keys.contains(&name) || (!known.contains(&name) && is_like(name, keys));
        let is_hidden = has_word(name) || is_like(keys) || (has_user && is_like(addresses));
        if is_hidden && !is_variable(value) {
            found.push(span);
        }
    }
    found
}

fn has_word(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

fn is_like(name: &str, keys: &[&str]) -> bool {
    // A single letter is like every word that begins with it.
    name.len() > 2 && keys.iter().any(|key| strsim::jaro_winkler(name, key) > SIMILAR)
}

/// The value that begins after an equals sign: up to its closing quotes, and where these are missing to the end of the
/// line, or of the text for a string of several lines.
fn value(text: &str, from: usize) -> Span {
    let rest = text.get(from..).unwrap_or_default();
    let start = from + (rest.len() - rest.trim_start_matches([' ', '\t']).len());
    let rest = text.get(start..).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    for quotes in ["\"\"\"", "'''"] {
        if let Some(inner) = rest.strip_prefix(quotes) {
            let length = inner.find(quotes).map_or(rest.len(), |end| end + 2 * quotes.len());
            return start..start + length;
        }
    }
    let length = match line.chars().next() {
        Some(quote @ ('"' | '\'')) => closing(line, quote).unwrap_or(line.len()),
        _ => {
            let bare = line.find([',', '}', ']', '#']).unwrap_or(line.len());
            line.get(..bare).unwrap_or_default().trim_end().len()
        }
    };
    start..start + length
}

/// Where a string ends that begins with a quote.
fn closing(line: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    for (at, c) in line.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if quote == '"' => is_escaped = true,
            _ if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

/// Whether a value is one variable of the environment, whose name is no secret.
fn is_variable(value: &str) -> bool {
    let value = value.trim_matches(['"', '\'']);
    value.is_empty() || (value.starts_with("${") && value.find('}') == Some(value.len() - 1))
}

/// A message without secrets that it quotes, whole or cut off.
pub(crate) fn without(message: &str, secrets: &[&str]) -> String {
    let mut shown = message.to_owned();
    for secret in secrets {
        let secret = secret.trim_matches(['"', '\'']);
        if secret.chars().count() < LOOKED_FOR_CHARS_MIN {
            continue;
        }
        let beginning: String = secret.chars().take(BEGINNING_CHARS).collect();
        while let Some(start) = shown.find(&beginning) {
            let rest = shown.get(start..).unwrap_or_default();
            let same = rest.chars().zip(secret.chars()).take_while(|(a, b)| a == b);
            let length: usize = same.map(|(c, _)| c.len_utf8()).sum();
            shown.replace_range(start..start + length, HIDDEN);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found = values(text, &["token", "control_token"], &["amqp"], &["control"]);
        let found: Vec<&str> = found.into_iter().filter_map(|span| text.get(span)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_secret_is_found_in_a_text_that_is_no_toml() {
        check("token = \"abcdef\"", &["\"abcdef\""]);
        check(
            "a = { http = \"x\", token = \"abc, prefetch = 3 }\nb = 1",
            &["\"abc, prefetch = 3 }"],
        );
        check("token = \"abc\" path = \"/a\"", &["\"abc\""]);
        check("token = abc-def # why\n", &["abc-def"]);
        check("{ token = abc, path = 1 }", &["abc"]);
        check("tokn = \"abc\"\ncontrol_tokn = 'def'", &["\"abc\"", "'def'"]);
        check("\"token\" = \"a\\\"b\"", &["\"a\\\"b\""]);
        check("password = \"\"\"a\nb\"\"\"\nc = 1", &["\"\"\"a\nb\"\"\""]);
        check("password = \"\"\"a\nb", &["\"\"\"a\nb"]);
        check("token = \"a\"\ntoken = \"b\"", &["\"a\"", "\"b\""]);
        check(
            "amqps = \"me:pw@host\"\namqp = \"amqp://me:pw@host\"",
            &["\"me:pw@host\""],
        );
        check("control = \"here\"", &[]);
        check("token =", &[]);
        check("token = \"${TOKEN}\"", &[]);
        check("token = \"x${TOKEN}\"", &["\"x${TOKEN}\""]);
        check("path = \"/a=b\"\nqueue = \"t\"\n= \"x\"\nt = 1", &[]);
    }

    #[test]
    fn a_message_shows_no_secret_that_it_quotes() {
        assert_eq!(
            without("unquoted `s3cr3t-s3cr3t`", &["\"s3cr3t-s3cr3t\""]),
            "unquoted `***`"
        );
        assert_eq!(
            without("`0123456789abcdefgh..`", &["0123456789abcdefghijkl"]),
            "`***..`"
        );
        assert_eq!(without("the key `abc`", &["abc"]), "the key `abc`");
    }
}
