//! Names made of a label.

use serde::{Deserialize, Serialize};

use crate::{Score, SettingKind, SettingValue};

/// A name that a class's label is put into, as a type that a setting may have: `class-{label}` is `class-t-shirt-top` for the label
/// `T-shirt/top`, and `{index}` is the class's index.
///
/// The label is written as names of destinations are: small letters of ASCII and digits, with one `-` in place of everything
/// between them and nothing in place of what is before and after; one that has none of them is `class-` and its index.
/// A routing key may have letters of every script: `é` stays `é` in it ([`LabelPattern::fill_key`]).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelPattern {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Label,
    Index,
}

impl LabelPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for the person who wrote it.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        if text.is_empty() {
            return Err("a name is empty".to_owned());
        }
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| format!("`{text}`: a `{{` is not closed"))?;
            pieces.push(match name {
                "label" => Piece::Label,
                "index" => Piece::Index,
                _ => {
                    return Err(format!(
                        "`{text}`: there is no `{{{name}}}` here, only `{{label}}` and `{{index}}`"
                    ));
                }
            });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { text, pieces })
    }

    /// The name that is the same for every class, braces and all; for defaults.
    pub fn verbatim(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            pieces: vec![Piece::Text(text.clone())],
            text,
        }
    }

    /// The name where it is the same for every class.
    pub fn fixed(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [Piece::Text(name)] => Some(name),
            _ => None,
        }
    }

    /// The name of a destination for one class.
    pub fn fill(&self, class: &Score) -> String {
        self.filled(class, |character| character.is_ascii_alphanumeric())
    }

    /// The routing key for one class: what is a letter or a digit in any script stays in it.
    pub fn fill_key(&self, class: &Score) -> String {
        self.filled(class, char::is_alphanumeric)
    }

    fn filled(&self, class: &Score, is_kept: fn(char) -> bool) -> String {
        let mut name = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Label => push_label(&mut name, class, is_kept),
                Piece::Index => push_index(&mut name, class),
            }
        }
        name
    }
}

fn push_label(name: &mut String, class: &Score, is_kept: fn(char) -> bool) {
    let words: Vec<&str> = class
        .label
        .split(|character: char| !is_kept(character))
        .filter(|word| !word.is_empty())
        .collect();
    if words.is_empty() {
        name.push_str("class-");
        push_index(name, class);
    } else {
        name.push_str(&words.join("-").to_lowercase());
    }
}

fn push_index(name: &mut String, class: &Score) {
    name.push_str(&class.index.to_string());
}

impl TryFrom<String> for LabelPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(text)
    }
}

impl From<LabelPattern> for String {
    fn from(pattern: LabelPattern) -> Self {
        pattern.text
    }
}

impl SettingValue for LabelPattern {
    const KIND: SettingKind = SettingKind::Text;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_becomes_a_name() {
        let check = |pattern: &str, label: &str, expected: &str| {
            let class = Score {
                index: 7,
                label: label.to_owned(),
                score: 0.5,
            };
            let is_fixed = LabelPattern::new(pattern).unwrap().fixed().is_some();
            assert_eq!(is_fixed, !pattern.contains('{'), "{pattern}");
            assert_eq!(
                LabelPattern::new(pattern).unwrap().fill(&class),
                expected,
                "{pattern} of {label}"
            );
        };
        check("results", "cat", "results");
        check("{label}", "cat", "cat");
        check("class-{label}-{index}", "T-shirt/top", "class-t-shirt-top-7");
        check("{label}s", " Maine  Coon. ", "maine-coons");
        check("{label}", "猫", "class-7");
        check("{label}", "", "class-7");
        check("{label}", "Žluťásek", "lu-sek");
        let check = |label: &str, expected: &str| {
            let class = Score {
                index: 7,
                label: label.to_owned(),
                score: 0.5,
            };
            let key = LabelPattern::new("label.{label}").unwrap().fill_key(&class);
            assert_eq!(key, expected, "{label}");
        };
        check("T-shirt/top", "label.t-shirt-top");
        check("Žluťásek", "label.žluťásek");
        check("猫 2", "label.猫-2");
        check("★", "label.class-7");
        let check = |pattern: &str, expected: &str| {
            let error = LabelPattern::new(pattern).unwrap_err();
            assert!(error.contains(expected), "{pattern}: {error}");
        };
        check("", "a name is empty");
        check("a-{label", "`a-{label`: a `{` is not closed");
        check("{lable}", "there is no `{lable}` here, only `{label}` and `{index}`");
    }
}
