//! An error with its causes, on one line: for logs and reasons, which have no room for more.

use std::error::Error;
use std::fmt;

/// Displays an error and, after colons, what caused it.
#[derive(Debug)]
pub struct ErrorChain<'a>(pub &'a dyn Error);

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        match self.0.source() {
            Some(cause) => write!(f, ": {}", ErrorChain(cause)),
            None => Ok(()),
        }
    }
}
