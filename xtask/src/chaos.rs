//! `cargo xtask chaos`: random faults against competing hosts, and the oracle's report.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::guests;
use crate::machine;
use crate::project::{Program, Project};
use crate::step::{self, Outcome, StepCounts};

/// What every change must pass: every kind of fault comes at least once, on two cores.
const SHORT: [&str; 4] = ["--minutes", "2", "--seed", "3"];

/// Runs it with what the user asks for.
///
/// # Errors
/// When something was lost, or anything else was found.
pub(crate) fn run(project: &Project, arguments: &[String]) -> Result<()> {
    machine::install(machine::NEEDED_BY_TESTS)?;
    let guests = guests::build(project)?;
    let host = project.build("millrace-tests", Program::TestedHost)?;
    step::must_succeed(command(project, &guests.folder, &host)?.args(arguments))
}

/// Runs the short one as a step that counts as one test.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn short(project: &Project, guests: &Path, host: &Path) -> Result<Outcome> {
    let outcome = step::run("chaos", command(project, guests, host)?.args(SHORT))?;
    let step_counts = StepCounts {
        passed: u64::from(outcome.succeeded),
        failed: u64::from(!outcome.succeeded),
    };
    Ok(Outcome { step_counts, ..outcome })
}

fn command(project: &Project, guests: &Path, host: &Path) -> Result<Command> {
    let chaos = project.build("millrace-tests", Program::Example("chaos"))?;
    let mut chaos = Command::new(chaos);
    chaos
        .env("MILLRACE_GUESTS", guests)
        .env("MILLRACE_HOST", host)
        .current_dir(&project.root)
        .arg("--keep")
        .arg(project.target.join("chaos"));
    Ok(chaos)
}
