//! `millrace compile-plugin`, which the host starts by itself: compiles what stdin holds, and ends. Hidden: what it
//! prints is for the host that started it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::sandbox::{self, CompileLimits};

/// `millrace compile-plugin`
#[derive(Debug, Args)]
pub struct Options {
    /// The limit of CPU time
    #[arg(long)]
    cpu_s: u64,
    /// The limit of memory
    #[arg(long)]
    memory_bytes: u64,
    /// Describes the file instead of compiling it
    #[arg(long)]
    describe: bool,
    /// Whether the code counts fuel
    #[arg(long)]
    fuel: bool,
}

pub(super) fn compile(options: &Options) -> anyhow::Result<ExitCode> {
    let limits = CompileLimits {
        cpu: Duration::from_secs(options.cpu_s),
        memory_bytes: options.memory_bytes,
        ..CompileLimits::default()
    };
    match options.describe {
        true => sandbox::describe_in_this_process(&limits)?,
        false => sandbox::compile_in_this_process(&limits, options.fuel)?,
    }
    Ok(ExitCode::SUCCESS)
}
