//! What `millrace check --online` finds, each at its place in the file. Knows no kind of transport.

use std::error::Error;

use crate::config::{Config, ConfigErrors, Diagnostic, Warning};

/// What was found so far.
pub struct Findings<'c> {
    config: &'c Config,
    /// What is wrong.
    pub errors: ConfigErrors,
    /// What a person should know.
    pub warnings: Vec<Warning>,
}

/// What is looked at does not answer: nothing can be said of it.
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

    /// Adds what is wrong with a key, such as `pipeline.images.source.queue`.
    pub fn diagnostic(&mut self, key: &str, text: String) {
        let diagnostic = self.at(key, text);
        self.errors.push(diagnostic);
    }

    /// Adds what a person should know of a key.
    pub fn warning(&mut self, key: &str, text: String) {
        let warning = Warning(self.at(key, text));
        self.warnings.push(warning);
    }

    /// The first line is what is wrong, the rest is what to do.
    fn at(&self, key: &str, text: String) -> Diagnostic {
        let span = self.config.locate(key);
        match text.split_once("; ") {
            Some((what, hint)) => Diagnostic::at(span, what).hint(hint),
            None => Diagnostic::at(span, text),
        }
    }
}
