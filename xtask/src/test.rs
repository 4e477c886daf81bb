//! Everything that a change must pass, in one command, with one closing table.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::chaos;
use crate::guests;
use crate::instructions;
use crate::machine;
use crate::project::{Program, Project, WITHOUT_GPUS};
use crate::step::{self, Outcome, StepCounts};

/// What says whether a dependency may be there: four minutes of one core to build.
const DENY: Tool = Tool {
    package: "cargo-deny",
    version: "0.20.2",
    more: &[],
    building: "build cargo-deny",
};
/// What makes the book's pages. Without its server and its search it is built in a minute and a half of one core.
const MDBOOK: Tool = Tool {
    package: "mdbook",
    version: "0.5.4",
    more: &["--no-default-features"],
    building: "build mdbook",
};
/// The test that compares generated files with what the code makes.
const GENERATED: &str = "schema::generated_files_are_what_the_code_makes";

/// Runs every check, or only the tests whose name contains `filter`.
///
/// The tests come before clippy and the documentation: those check every dependency once more, and a test that fails
/// should not wait for that.
pub(crate) fn run(project: &Project, filter: Option<&str>) -> Result<()> {
    machine::install(machine::NEEDED_BY_TESTS)?;
    machine::add_components()?;
    let mut outcomes = Vec::new();
    if filter.is_none() {
        outcomes.push(step::run("format", &mut project.cargo(["fmt", "--all", "--check"]))?);
    }
    println!("\n=== guests: both wasm targets");
    let guests = guests::build(project)?;
    let host = project.build("millrace-tests", Program::TestedHost)?;
    let mut tests = project.cargo(["test", "--workspace", "--no-fail-fast"]);
    tests.args(filter);
    outcomes.push(step::run("tests", set_up(&mut tests, project, &guests.folder, &host)?)?);
    // The host is selected beside it, as for other builds: the libraries below are then the same.
    let mut tests = project.cargo(["test", "--package", "millrace", "--package", "millrace-models"]);
    tests.args(WITHOUT_GPUS).args(["--test", "models"]).args(filter);
    tests.env("PROPTEST_RNG_SEED", "1");
    outcomes.push(step::run("tests without GPUs", &mut tests)?);
    if filter.is_none() {
        outcomes.push(chaos::short(project, &guests.folder, &host)?);
        outcomes.push(instructions::guard(project, &guests.folder)?);
        let mut clippy = project.cargo(["clippy", "--workspace", "--all-targets"]);
        outcomes.push(step::run("clippy", clippy.args(["--", "--deny", "warnings"]))?);
        let mut clippy = project.cargo(["clippy", "--package", "millrace", "--package", "millrace-models"]);
        clippy
            .args(WITHOUT_GPUS)
            .args(["--all-targets", "--", "--deny", "warnings"]);
        outcomes.push(step::run("clippy without GPUs", &mut clippy)?);
        // What a guest compiles for wasm alone is not seen above.
        let mut clippy = project.cargo(["clippy", "--target", guests::COMPONENT]);
        guests.select(&mut clippy);
        outcomes.push(step::run(
            "clippy of guests",
            clippy.args(["--", "--deny", "warnings"]),
        )?);
        let mut doc = project.cargo(["doc", "--workspace", "--no-deps", "--quiet"]);
        outcomes.push(step::run("documentation", doc.env("RUSTDOCFLAGS", "--deny warnings"))?);
        let (mdbook, built) = MDBOOK.find(project)?;
        outcomes.extend(built);
        let mut book = Command::new(mdbook);
        book.args(["build", "docs", "--dest-dir"])
            .arg(project.target.join("book"));
        outcomes.push(step::run("book", book.current_dir(&project.root))?);
        let (deny, built) = DENY.find(project)?;
        outcomes.extend(built);
        // It looks at what every platform would build, and has no way to the registry.
        step::must_succeed(&mut project.cargo(["fetch", "--locked"]))?;
        let mut deny = Command::new(deny);
        deny.args(["--offline", "check", "bans", "licenses", "sources"]);
        outcomes.push(step::run("dependencies", deny.current_dir(&project.root))?);
    }
    conclude(&outcomes)
}

/// Writes what is made of the code: the test that compares it writes it anew.
///
/// # Errors
/// When that fails.
pub(crate) fn generate(project: &Project) -> Result<()> {
    let mut test = project.cargo(["test", "--workspace", "--test", "it"]);
    test.args(["--", "--exact", GENERATED]);
    step::must_succeed(test.env("UPDATE_GENERATED", "1"))
}

/// What tests find in their environment.
fn set_up<'a>(tests: &'a mut Command, project: &Project, guests: &Path, host: &Path) -> Result<&'a mut Command> {
    tests.env("MILLRACE_GUESTS", guests).env("MILLRACE_HOST", host);
    // The full search for the fastest kernel takes half a minute for each batch size on software Vulkan.
    tests.env("CUBECL_AUTOTUNE_LEVEL", "minimal");
    // What a change must pass draws the same every time; `cargo xtask fuzz` draws what is new.
    tests.env("PROPTEST_RNG_SEED", "1");
    // A failed test says what went wrong in one chain of words; a backtrace of the harness hides it.
    tests.env("RUST_LIB_BACKTRACE", "0");
    project.quiet_vulkan(tests)
}

/// A program that cargo builds from the registry, in the release that the checks were written for.
struct Tool {
    package: &'static str,
    version: &'static str,
    /// More that is said to cargo.
    more: &'static [&'static str],
    /// The name of the step that builds it.
    building: &'static str,
}

impl Tool {
    /// The program among the tools in the target folder, which outlive a checkout, and how it was built where it was not there.
    fn find(&self, project: &Project) -> Result<(PathBuf, Option<Outcome>)> {
        let tools = project.target.join("tools");
        let program = tools.join("bin").join(self.package);
        if machine::says(&program, "--version", self.version) {
            return Ok((program, None));
        }
        // A folder of its own: it has other features of the same crates. It is not worth keeping.
        let build = tools.join("build");
        let mut install = project.cargo([
            "install",
            "--locked",
            "--force",
            "--version",
            self.version,
            self.package,
        ]);
        install.args(self.more).env("CARGO_TARGET_DIR", &build);
        let outcome = step::run(self.building, install.arg("--root").arg(tools))?;
        if build.exists() {
            std::fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))?;
        }
        Ok((program, Some(outcome)))
    }
}

/// Prints the table and, alone on the last line, the count of the tests.
fn conclude(outcomes: &[Outcome]) -> Result<()> {
    let mut total = StepCounts::default();
    println!(
        "\n{:<18}{:>10}  {:<8}{:>8}{:>8}",
        "step", "time", "result", "passed", "failed"
    );
    for outcome in outcomes {
        let Outcome {
            name,
            succeeded,
            took,
            step_counts,
        } = outcome;
        let result = if *succeeded { "ok" } else { "FAILED" };
        println!(
            "{name:<18}{:>10}  {result:<8}{:>8}{:>8}",
            step::shown(*took),
            step_counts.passed,
            step_counts.failed
        );
        total.add(*step_counts);
        if !succeeded && step_counts.failed == 0 {
            // A step without tests, or one whose tests did not even build, must not pass as "0 failed".
            total.failed += 1;
        }
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed > 0 {
        std::process::exit(1);
    }
    if total.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}
