//! The findings of `millrace check --online`, each at its place in the file. Knows no kind of transport.

use std::error::Error;

use crate::config::{Config, ConfigErrors, Diagnostic, Warning};

/// The findings so far.
pub struct Findings<'c> {
    config: &'c Config,
    pub errors: ConfigErrors,
    pub warnings: Vec<Warning>,
}

/// The broker does not answer, so nothing is known of it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Away(Box<dyn Error + Send + Sync>);

impl Away {
    /// Wraps why it does not answer.
    pub fn new(source: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(source))
    }
}

impl<'c> Findings<'c> {
    /// Nothing yet.
    pub fn new(config: &'c Config) -> Self {
        Self {
            config,
            errors: config.errors(),
            warnings: Vec::new(),
        }
    }

    /// Adds an error about a key, such as `pipeline.images.source.queue`.
    pub fn diagnostic(&mut self, key: &str, text: String) {
        let diagnostic = self.at(key, text);
        self.errors.push(diagnostic);
    }

    /// Adds a warning about a key.
    pub fn warning(&mut self, key: &str, text: String) {
        let warning = Warning(self.at(key, text));
        self.warnings.push(warning);
    }

    /// The first line is the problem, the rest is the advice.
    fn at(&self, key: &str, text: String) -> Diagnostic {
        let span = self.config.locate(key);
        match text.split_once("; ") {
            Some((what, hint)) => Diagnostic::at(span, what).hint(hint),
            None => Diagnostic::at(span, text),
        }
    }
}
