//! The model of a verb: reads it, and reports what is wrong with it. Knows no verb.

use std::path::Path;
use std::process::ExitCode;

use millrace_models::{Model, ModelError};

use crate::cli::MISTAKEN;
use crate::cli::output::plain;
use crate::error_chain::ErrorChain;
use crate::streams;

/// How much of a line of an error is shown.
const LINE_CHARS: usize = 2000;

/// Reads a model folder, or an .onnx file. Reports everything that is wrong with it and ends the verb.
pub(super) fn load(path: &Path) -> Result<Model, ExitCode> {
    Model::load(path).map_err(|error| {
        for line in diagnostics(error) {
            streams::error(line);
        }
        ExitCode::from(MISTAKEN)
    })
}

/// The faults of a model, a line each.
pub(super) fn diagnostics(error: ModelError) -> Vec<String> {
    let each = error.each().into_iter();
    each.map(|error| lines(&ErrorChain(&error).to_string())).collect()
}

/// A text that comes from a file in part, harmless and still on its lines.
pub(super) fn lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| plain(line, LINE_CHARS)).collect();
    lines.join("\n")
}
