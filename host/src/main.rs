//! The `millrace` binary: arguments, tracing, config, run, exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;
use millrace::cli::{self, Arguments};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let progress = cli::start_log(&arguments);
    match cli::execute(arguments.verb, &progress) {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("{}: {error:#}", cli::error_label());
            ExitCode::FAILURE
        }
    }
}
