//! Where in a JSON text a value is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{SettingKind, SettingValue};

/// Where in a JSON text a value is (RFC 6901): `/camera/id` is `7` in `{"camera": {"id": 7}}`, and the empty one is the
/// whole. A type that a setting may have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pointer {
    text: String,
    steps: Vec<String>,
}

impl Pointer {
    /// Reads a pointer.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for the person who wrote it.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        let steps = match text.strip_prefix('/') {
            Some(steps) => steps
                .split('/')
                .map(|step| unescaped(step, &text))
                .collect::<Result<_, _>>()?,
            None if text.is_empty() => Vec::new(),
            None => {
                return Err(format!(
                    "`{text}` is no JSON pointer: it begins with `/`, as in `/{text}`"
                ));
            }
        };
        Ok(Self { text, steps })
    }

    /// To a key of the outermost table, whatever characters it has; for defaults.
    pub fn to(key: &str) -> Self {
        Self {
            text: format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            steps: vec![key.to_owned()],
        }
    }

    /// The name or index at each level.
    pub(crate) fn steps(&self) -> &[String] {
        &self.steps
    }
}

/// `~1` is a slash in a name, and `~0` a tilde.
fn unescaped(step: &str, pointer: &str) -> Result<String, String> {
    let mut parts = step.split('~');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (character, rest) = match (part.strip_prefix('0'), part.strip_prefix('1')) {
            (Some(rest), _) => ('~', rest),
            (_, Some(rest)) => ('/', rest),
            _ => {
                return Err(format!(
                    "`{pointer}` is no JSON pointer: `~` is written `~0`, and `/` in a name `~1`"
                ));
            }
        };
        name.push(character);
        name.push_str(rest);
    }
    Ok(name)
}

impl TryFrom<String> for Pointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(text)
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        pointer.text
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl SettingValue for Pointer {
    const KIND: SettingKind = SettingKind::Text;
}

#[cfg(test)]
mod tests {
    use super::Pointer;

    #[test]
    fn pointers_are_those_of_the_standard() {
        let check = |text: &str, expected: &[&str]| assert_eq!(Pointer::new(text).unwrap().steps(), expected, "{text}");
        check("", &[]);
        check("/", &[""]);
        check("/camera/id", &["camera", "id"]);
        check("/a~1b/~01/0", &["a/b", "~1", "0"]);
        for key in ["image", "a/b", "~", ""] {
            assert_eq!(
                Pointer::new(Pointer::to(key).to_string()),
                Ok(Pointer::to(key)),
                "{key}"
            );
        }
        let check = |text: &str, expected: &str| {
            let error = Pointer::new(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        };
        check(
            "image",
            "`image` is no JSON pointer: it begins with `/`, as in `/image`",
        );
        check("/a~2", "`~` is written `~0`");
        check("/a~", "`~` is written `~0`");
    }
}
