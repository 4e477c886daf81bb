//! Labels in a file's metadata: exporters write them as Python or JSON prints a dictionary or a list.

use std::collections::BTreeMap;

use crate::manifest::MAX_LABELS;

/// Keys that labels go by: Ultralytics' first.
const KEYS: [&str; 5] = ["names", "labels", "classes", "class_names", "id2label"];

/// The labels of a file's metadata, in order; none where there are none that can be read.
pub(super) fn of(metadata: &[(&str, &str)]) -> Vec<String> {
    let entries = KEYS
        .iter()
        .filter_map(|key| metadata.iter().find(|(name, _)| name == key));
    entries.filter_map(|(_, text)| parse(text)).next().unwrap_or_default()
}

/// `{0: 'cat', 1: "dog"}` or `['cat', "dog"]`.
fn parse(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    let list = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let dictionary = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let mut reader = Reader(list.or(dictionary)?.trim());
    let mut labels = BTreeMap::new();
    while !reader.0.is_empty() {
        let place = match dictionary {
            Some(_) => reader.place()?,
            None => labels.len(),
        };
        if place >= MAX_LABELS || labels.insert(place, reader.quoted()?).is_some() {
            return None;
        }
        reader.0 = reader.0.trim_start();
        match reader.0.strip_prefix(',') {
            Some(rest) => reader.0 = rest.trim_start(),
            None if reader.0.is_empty() => {}
            None => return None,
        }
    }
    // One for each class: none is left out.
    let is_whole = labels.keys().copied().eq(0..labels.len());
    (is_whole && !labels.is_empty()).then(|| labels.into_values().collect())
}

/// The rest to read.
struct Reader<'a>(&'a str);

impl Reader<'_> {
    /// `0:` or `"0":`
    fn place(&mut self) -> Option<usize> {
        let (key, rest) = self.0.split_once(':')?;
        self.0 = rest.trim_start();
        key.trim().trim_matches(['"', '\'']).parse().ok()
    }

    /// A text in quotes of either kind, with backslashes before what does not stand for itself.
    fn quoted(&mut self) -> Option<String> {
        let quote = self.0.chars().next().filter(|letter| ['"', '\''].contains(letter))?;
        let mut text = String::new();
        let mut letters = self.0.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => text.push(match letters.next()?.1 {
                    'n' => '\n',
                    't' => '\t',
                    other => other,
                }),
                letter if letter == quote => {
                    self.0 = self.0.get(at + quote.len_utf8()..)?;
                    return Some(text);
                }
                letter => text.push(letter),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn labels_are_read_as_python_and_json_print_them() {
        let check = |key: &str, text: &str, expected: &[&str]| assert_eq!(of(&[(key, text)]), expected, "{text}");
        check(
            "names",
            "{0: 'cat', 1: \"dog's\", 2: 'a, b: c'}",
            &["cat", "dog's", "a, b: c"],
        );
        check("names", "{1: 'dog', 0: 'cat'}", &["cat", "dog"]);
        check("labels", "[\"cat\", \"d\\\"g\",]", &["cat", "d\"g"]);
        check("id2label", "{\"0\": \"cat\", \"1\": \"dog\"}", &["cat", "dog"]);
        for broken in [
            "",
            "cat, dog",
            "{0: 'cat', 2: 'dog'}",
            "{0: 'cat', 0: 'dog'}",
            "['cat' 'dog']",
            "['cat",
            "[cat]",
            "{}",
            "[]",
            "{-1: 'cat'}",
            "{99999999999999999999: 'cat'}",
        ] {
            check("names", broken, &[]);
        }
        assert_eq!(of(&[("author", "x"), ("names", "broken"), ("classes", "['a']")]), ["a"]);
    }
}
