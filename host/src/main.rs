//! The `millrace` binary: arguments, tracing, config, run, exit code; nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use millrace::{cli, streams};

fn main() -> ExitCode {
    let arguments = match cli::arguments() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    // The last lines are written before the process ends, also after a panic.
    let (progress, _at_end) = cli::start_log(&arguments);
    // The panic hook has logged a panic. One of a library, for want of files or threads, is a failure like any other.
    match catch_unwind(AssertUnwindSafe(|| cli::execute(arguments.verb, &progress))) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            streams::error(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}
