//! What reading and checking a file found so far, and what it was read with: the transports, its text, the environment. Knows
//! no key.

use std::collections::BTreeSet;

use super::diagnostics::{Diagnostic, Span, Warning, quoted};
use super::environment::{self, ExpandError};
use super::registry::Registry;

/// The findings so far.
pub struct Report<'a> {
    /// The transports that the file may name.
    pub registry: &'static Registry,
    pub text: &'a str,
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    pub diagnostics: Vec<Diagnostic>,
    pub warnings: Vec<Warning>,
    /// Keys that an unknown key probably means, each with its table's place: they are not missing too.
    pub meant: BTreeSet<(usize, &'static str)>,
    /// The key that was asked for, with its section.
    pub(crate) asked: Vec<(&'static str, &'static str)>,
}

impl<'a> Report<'a> {
    pub fn new(registry: &'static Registry, text: &'a str, variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            registry,
            text,
            variable,
            diagnostics: Vec::new(),
            warnings: Vec::new(),
            meant: BTreeSet::new(),
            asked: Vec::new(),
        }
    }

    /// Another one for the same file, without the findings.
    pub(crate) fn anew(&self) -> Self {
        Self::new(self.registry, self.text, self.variable)
    }

    pub fn diagnostic(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    pub fn warning(&mut self, warning: Diagnostic) {
        self.warnings.push(Warning(warning));
    }

    /// Fills the environment into a string.
    pub fn expand(&mut self, written: &str, span: &Span) -> Option<String> {
        let errors = match environment::expand(written, self.variable) {
            Ok(expanded) => {
                for reference in expanded.trimmed {
                    let message = format!(
                        "the value of {} ends with a line break, which is left out",
                        quoted(reference)
                    );
                    let warning = Diagnostic::at(self.within(span, reference), message);
                    self.warning(warning.hint("`printf %s` and `echo -n` write a secret without one"));
                }
                return Some(expanded.text);
            }
            Err(errors) => errors,
        };
        for error in errors {
            let part = quoted(error.offending());
            let span = self.within(span, error.offending());
            self.diagnostic(match error {
                ExpandError::Unset(_) => Diagnostic::at(span, format!("the environment variable in {part} is not set"))
                    .hint("set it where the host is started; `$${` stands for a plain `${`"),
                ExpandError::BadName(_) => Diagnostic::at(span, format!("{part} names no environment variable")).hint(
                    "a name has letters, digits and `_`, and there are no defaults; `$${` stands for a plain `${`",
                ),
                ExpandError::Unclosed(_) => Diagnostic::at(span, format!("{part} is not closed"))
                    .hint("add the `}`; `$${` stands for a plain `${`"),
            });
        }
        None
    }

    /// The span of a part of a string, where it is written as it is.
    fn within(&self, span: &Span, part: &str) -> Span {
        let written = self.text.get(span.clone()).unwrap_or_default();
        written
            .find(part)
            .map_or(span.clone(), |at| span.start + at..span.start + at + part.len())
    }
}
