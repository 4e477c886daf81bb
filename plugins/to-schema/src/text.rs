//! A text with placeholders.

use millrace_plugin::header;

use crate::facts::{Facts, Needs};
use crate::placeholder::Placeholder;

/// A text with placeholders: `{label}` stands for what the model saw, `{{` and `}}` for braces.
#[derive(Debug)]
pub(crate) struct Text {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    /// The number of the placeholder among those that are needed.
    Placeholder(usize),
}

impl Text {
    /// Reads a text; `place` is where in the settings it stands.
    pub(crate) fn new(text: &str, place: &str, needs: &mut Needs) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            let here = |what: String| {
                let n_characters = text.chars().count() - from.chars().count() + 1;
                format!("`{place}`, character {n_characters}: {what}")
            };
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                plain.extend(from.chars().next());
                rest = after;
                continue;
            }
            let Some(inner) = from.strip_prefix('{') else {
                return Err(here("a `}` without a `{`; a brace itself is written `}}`".to_owned()));
            };
            let Some((inner, after)) = inner.split_once('}') else {
                return Err(here("a `{` without a `}`; a brace itself is written `{{`".to_owned()));
            };
            let placeholder = Placeholder::new(inner).map_err(here)?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Placeholder(needs.number_of(placeholder)));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self { pieces })
    }

    /// The one placeholder that is all of the text.
    pub(crate) fn only_placeholder(&self) -> Option<usize> {
        match self.pieces.as_slice() {
            [Piece::Placeholder(number)] => Some(*number),
            _ => None,
        }
    }

    /// The text with what the placeholders stand for.
    pub(crate) fn plain(&self, facts: &Facts) -> String {
        self.filled(facts, |text| text)
    }

    /// As [`Text::plain`], but what is filled in stays within a line: control characters in it are escaped.
    pub(crate) fn line(&self, facts: &Facts, max_bytes: usize) -> String {
        self.filled(facts, |text| header::escaped(&text, max_bytes))
    }

    fn filled(&self, facts: &Facts, escape: impl Fn(String) -> String) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Placeholder(number) => escape(facts.found(*number).text()),
            })
            .collect()
    }
}
