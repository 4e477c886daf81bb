//! The checks of single values: limits, words, names, paths, patterns. Knows no key.

use std::path::{Path, PathBuf};

use globset::Glob;
use toml::Spanned;

use super::check::Checker;
use super::diagnostics::{Diagnostic, Span, did_you_mean, quoted, quoted_path};
use super::limits::{Show, Within};
use super::table::{Key, Table};
use super::values::{Patterns, Text};
use super::{Globs, Name};

/// The expected kind of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    File,
    /// A file that is made where it is missing.
    FileToBe,
    Folder,
    /// A folder that is made where it is missing.
    FolderToBe,
}

impl Checker<'_, '_> {
    /// Checks the name that the user gave a table.
    pub fn name(&mut self, table: &Table<'_>, kind: &str) -> Option<Name> {
        let (text, span) = (table.name(), table.span());
        let name = Name::new(text);
        if name.is_none() {
            let kebab: String = text
                .chars()
                .map(|c| {
                    if c.is_ascii_alphanumeric() {
                        c.to_ascii_lowercase()
                    } else {
                        '-'
                    }
                })
                .collect();
            // A value that the message hides stays hidden in the hint.
            let is_shown = quoted(text).contains(text);
            let better = Name::new(kebab.trim_matches('-')).filter(|_| is_shown);
            let example = better.map(|name| format!(", such as `{name}`")).unwrap_or_default();
            let hint = format!("1 to 63 of `a-z`, `0-9` and `-`, beginning with a letter{example}");
            let message = format!("{} cannot be the name of a {kind}", quoted(text));
            self.report.diagnostic(Diagnostic::at(span.clone(), message).hint(hint));
        }
        name
    }

    /// Reports a key that must be there and is not.
    pub fn required<T>(&mut self, key: &Key<T>, name: &'static str, table: &Span, example: &str) {
        if key.is_absent() && !self.report.meant.contains(&(table.start, name)) {
            let message = format!("the key `{name}` is missing");
            self.report
                .diagnostic(Diagnostic::at(table.clone(), message).hint(format!("add {example}")));
        }
    }

    /// Reports a key that has no meaning here.
    pub fn refuse<T>(&mut self, key: &Key<T>, message: &str, hint: &str) {
        if let Key::Given(value) = key {
            self.report.diagnostic(Diagnostic::at(value.span(), message).hint(hint));
        }
    }

    /// A number within its limits.
    pub fn within<T: Show>(&mut self, key: &Key<T>, name: &str, limits: &Within<T>) -> T {
        let Some(value) = key.given() else {
            return limits.default;
        };
        let given = *value.get_ref();
        if limits.contain(given) {
            return given;
        }
        let (min, max) = (limits.min.show(), limits.max.show());
        let message = format!("`{name}` must be from {min} to {max}, found {}", given.show());
        self.report.diagnostic(Diagnostic::at(value.span(), message));
        limits.default
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, key: &Key<Text>, name: &str, words: &[(&str, T)]) -> Option<T> {
        let given = key.given()?;
        let text = given.get_ref();
        let found = words
            .iter()
            .find(|(word, _)| *word == text.value)
            .map(|(_, value)| *value);
        if found.is_none() {
            let meant = did_you_mean(&text.value, words.iter().map(|(word, _)| *word));
            let meant = meant
                .map(|word| format!(", did you mean `{word}`?"))
                .unwrap_or_default();
            let all: Vec<String> = words.iter().map(|(word, _)| format!("`\"{word}\"`")).collect();
            let message = format!("`{name}` cannot be {}{meant}", text.quoted());
            self.report
                .diagnostic(Diagnostic::at(given.span(), message).hint(format!("it is {}", all.join(" or "))));
        }
        found
    }

    /// The path that a key must have.
    pub(crate) fn required_path(
        &mut self,
        table: &Table<'_>,
        name: &'static str,
        expect: Expect,
        example: &str,
    ) -> Option<PathBuf> {
        let key: Key<Text> = table.key(name, self.report);
        self.required(&key, name, table.span(), example);
        self.path(key.given()?, expect)
    }

    /// A path, absolute; `None` where nothing is there.
    pub fn path(&mut self, text: &Spanned<Text>, expect: Expect) -> Option<PathBuf> {
        let written = text.get_ref().quoted();
        if text.get_ref().value.is_empty() || text.get_ref().value.contains('\0') {
            self.report
                .diagnostic(Diagnostic::at(text.span(), format!("{written} is not a path")));
            return None;
        }
        let path = self.base.join(&text.get_ref().value);
        let problem = match (std::fs::metadata(&path), expect) {
            (Ok(found), Expect::File | Expect::FileToBe) if !found.is_file() => format!("{written} is not a file"),
            (Ok(found), Expect::Folder | Expect::FolderToBe) if !found.is_dir() => format!("{written} is not a folder"),
            (Ok(_), _) => return Some(path),
            (Err(error), Expect::FileToBe | Expect::FolderToBe) if error.kind() == std::io::ErrorKind::NotFound => {
                if path.parent().is_some_and(Path::is_dir) {
                    return Some(path);
                }
                format!("{written} cannot be made: the folder above it does not exist")
            }
            (Err(error), _) if error.kind() == std::io::ErrorKind::NotFound => {
                let kind = if expect == Expect::File { "file" } else { "folder" };
                format!("the {kind} {written} does not exist")
            }
            (Err(error), _) => format!("{written} cannot be read: {error}"),
        };
        let diagnostic = Diagnostic::at(text.span(), problem);
        let is_relative = text.get_ref().is_plain() && Path::new(&text.get_ref().value).is_relative();
        self.report.diagnostic(match is_relative {
            true => diagnostic.hint(format!("looked for {}", quoted_path(&path))),
            false => diagnostic,
        });
        None
    }

    /// Patterns, of which there must be one.
    pub fn patterns(&mut self, patterns: &Spanned<Patterns>) -> Globs {
        let mut globs = Vec::new();
        if patterns.get_ref().0.is_empty() {
            self.report
                .diagnostic(Diagnostic::at(patterns.span(), "the list has no pattern"));
        }
        for pattern in &patterns.get_ref().0 {
            let text = pattern.get_ref();
            match Glob::new(&text.value) {
                _ if text.value.is_empty() => {
                    self.report
                        .diagnostic(Diagnostic::at(pattern.span(), "an empty pattern matches nothing"));
                }
                Ok(glob) => {
                    globs.push(glob);
                }
                Err(error) => {
                    let message = match text.is_plain() {
                        true => format!("{} is not a pattern: {}", text.quoted(), error.kind()),
                        false => format!("{} is not a pattern", text.quoted()),
                    };
                    let hint =
                        "`*` stands for anything, `?` for one character, `[ab]` and `{ab,cd}` for one of several";
                    self.report
                        .diagnostic(Diagnostic::at(pattern.span(), message).hint(hint));
                }
            }
        }
        Globs::new(globs).unwrap_or_else(|error| {
            self.report.diagnostic(Diagnostic::at(
                patterns.span(),
                format!("the patterns are too large: {}", error.kind()),
            ));
            Globs::default()
        })
    }
}
