//! Runs other programs and says what they did: how long it took, how many tests passed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What the tests of one or more programs came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StepCounts {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
}

/// What one step came to.
pub(crate) struct Outcome {
    /// Its name in the closing table.
    pub(crate) name: &'static str,
    /// Whether the program exited with 0.
    pub(crate) succeeded: bool,
    /// How long it took.
    pub(crate) took: Duration,
    /// Its tests; zero where it has none.
    pub(crate) step_counts: StepCounts,
}

/// Runs a program on this terminal.
///
/// # Errors
/// When it cannot be started or fails.
pub(crate) fn must_succeed(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", program(command)))?;
    if !status.success() {
        bail!("`{}` failed with {status}", line(command));
    }
    Ok(())
}

/// Runs a step, shows its output as it comes and counts the tests in it.
///
/// # Errors
/// When it cannot be started; a step that fails is an outcome.
pub(crate) fn run(name: &'static str, command: &mut Command) -> Result<Outcome> {
    println!("\n=== {name}: {}", line(command));
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program(command)))?;
    let mut step_counts = StepCounts::default();
    let mut stdout = std::io::stdout().lock();
    if let Some(output) = child.stdout.take() {
        let mut output = BufReader::new(output);
        let mut text = Vec::new();
        // Bytes and not `lines()`: a test may print what is not UTF-8.
        while output.read_until(b'\n', &mut text)? > 0 {
            stdout.write_all(&text)?;
            stdout.flush()?;
            step_counts.add(StepCounts::of_line(&String::from_utf8_lossy(&text)));
            text.clear();
        }
    }
    let succeeded = child.wait()?.success();
    Ok(Outcome {
        name,
        succeeded,
        took: started.elapsed(),
        step_counts,
    })
}

impl StepCounts {
    /// Adds another.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// Reads a `test result: ok. 3 passed; 0 failed; ...` line; zero for any other.
    fn of_line(line: &str) -> Self {
        let mut step_counts = Self::default();
        let Some(counts) = line
            .trim()
            .strip_prefix("test result:")
            .and_then(|rest| rest.split_once(". "))
        else {
            return step_counts;
        };
        for count in counts.1.split(';') {
            match count.trim().split_once(' ') {
                Some((number, "passed")) => step_counts.passed = number.parse().unwrap_or(0),
                Some((number, "failed")) => step_counts.failed = number.parse().unwrap_or(0),
                _ => {}
            }
        }
        step_counts
    }
}

/// Minutes and seconds.
pub(crate) fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}m {:02}s", seconds / 60, seconds % 60)
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn line(command: &Command) -> String {
    let name = std::path::Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::StepCounts;

    #[test]
    fn a_tally_is_read_from_result_lines_alone() {
        let rows = [
            (
                "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s",
                (12, 0),
            ),
            ("test result: FAILED. 1 passed; 2 failed; 0 ignored", (1, 2)),
            ("test tests::result ... ok", (0, 0)),
            ("running 12 tests", (0, 0)),
            ("it says `test result: ok. 9 passed; 0 failed`", (0, 0)),
        ];
        for (line, (passed, failed)) in rows {
            assert_eq!(StepCounts::of_line(line), StepCounts { passed, failed }, "{line}");
        }
    }
}
