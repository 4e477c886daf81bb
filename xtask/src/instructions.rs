//! `cargo xtask instructions`: what one message costs in instructions and allocations, against the baseline in the repository.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::guests;
use crate::machine;
use crate::project::{Program, Project};
use crate::step::{self, Outcome, StepCounts};

/// Runs it with what the user asks for.
///
/// # Errors
/// When something rose.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<()> {
    machine::install(machine::NEEDED_BY_INSTRUCTIONS)?;
    let guests = guests::build(project)?;
    step::must_succeed(command(project, &guests.folder)?.args(arguments))
}

/// Runs it as a step that counts as one test.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn guard(project: &Project, guests: &Path) -> Result<Outcome> {
    let outcome = step::run("instructions", &mut command(project, guests)?)?;
    let step_counts = StepCounts {
        passed: u64::from(outcome.succeeded),
        failed: u64::from(!outcome.succeeded),
    };
    Ok(Outcome { step_counts, ..outcome })
}

fn command(project: &Project, guests: &Path) -> Result<Command> {
    let instructions = project.build("millrace-tests", Program::Example("instructions"))?;
    let mut instructions = Command::new(instructions);
    instructions
        .env("MILLRACE_GUESTS", guests)
        .env("RUST_LIB_BACKTRACE", "0")
        .current_dir(&project.root);
    Ok(instructions)
}
