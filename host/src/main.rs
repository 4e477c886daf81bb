//! The `millrace` binary: arguments, tracing, config, run, exit code; nothing else.

use std::process::ExitCode;

use millrace::{cli, streams};

fn main() -> ExitCode {
    let arguments = match cli::arguments() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    // What was said last is written before the process ends, also by a panic.
    let (progress, _at_end) = cli::start_log(&arguments);
    match cli::execute(arguments.verb, &progress) {
        Ok(code) => code,
        Err(error) => {
            streams::error(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
