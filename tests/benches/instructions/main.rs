//! Counts the instructions and allocations of one message through the host, and of one call of each shipped plugin, and
//! compares them with the baseline in the repository: the guard of `cargo xtask test`.

mod figures;
mod host;
mod messages;
mod meter;
mod plugins;
mod valgrind;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, Subcommand};

use figures::{Baseline, Change, Figures};
use millrace_tests::samples::root;

/// Where the baseline lies.
const BASELINE: &str = "tests/benches/instructions/baseline.toml";

/// Counts what one message costs, and one call of each shipped plugin, and fails where that rose
#[derive(Parser)]
#[command(name = "cargo xtask instructions")]
struct Arguments {
    /// Writes what rose or fell as the new baseline
    #[arg(long)]
    update: bool,
    /// Why figures rose: kept beside them in the baseline
    #[arg(long, value_name = "WHY", requires = "update")]
    because: Option<String>,
    /// Keeps callgrind's files there, one for each thread: `callgrind_annotate` and kcachegrind read them
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    #[command(subcommand)]
    inner: Option<Inner>,
}

/// What runs under valgrind.
#[derive(Subcommand)]
enum Inner {
    /// The host
    #[command(hide = true)]
    InHost { file: PathBuf },
    /// The plugins
    #[command(hide = true)]
    InPlugins,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match &arguments.inner {
        Some(Inner::InHost { file }) => host::run(file).map(|()| ExitCode::SUCCESS),
        Some(Inner::InPlugins) => plugins::run().map(|()| ExitCode::SUCCESS),
        None => guard(&arguments),
    }
}

fn guard(arguments: &Arguments) -> Result<ExitCode> {
    if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        println!("skipped: the baseline is for Linux on x86-64");
        return Ok(ExitCode::SUCCESS);
    }
    let file = root().join(BASELINE);
    let baseline = match std::fs::read_to_string(&file) {
        Ok(text) => Baseline::parse(&text).with_context(|| file.display().to_string())?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Baseline::default(),
        Err(error) => return Err(error).with_context(|| file.display().to_string()),
    };
    let tools = valgrind::tools()?;
    let mut counted = match &arguments.keep {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            count(&folder.canonicalize()?)?
        }
        None => count_alone()?,
    };
    if !arguments.update && baseline.changes(&counted).iter().any(Change::is_rise) {
        println!("Something rose: counting once more. What rose did so twice.\n");
        figures::lower(&mut counted, &count_alone()?);
    }
    print!("{}", baseline.shown(&counted));
    if arguments.update {
        let updated = baseline.updated(&tools, &counted, arguments.because.as_deref());
        let updated = updated.map_err(|rises| anyhow!("say why by `--because`: these rose\n{}", lines(&rises)))?;
        std::fs::write(&file, updated.to_string())?;
        println!("wrote {BASELINE}");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(judge(&baseline, &tools, &counted))
}

/// Counts everything, and keeps no files. A machine that stands still for seconds breaks connections: it gets another try.
fn count_alone() -> Result<Figures> {
    let counted = count(tempfile::tempdir()?.path());
    counted.or_else(|error| {
        println!("Counting once more: {error:#}\n");
        count(tempfile::tempdir()?.path())
    })
}

/// Counts everything: both at once, on two cores.
fn count(folder: &Path) -> Result<Figures> {
    thread::scope(|scope| {
        let plugins = scope.spawn(|| plugins::count(folder));
        let mut figures = messages::count(folder)?;
        let plugins = plugins.join().map_err(|_| anyhow!("a panic"))?;
        figures.extend(plugins?);
        Ok(figures)
    })
}

/// Says what is not as it was. A rise fails, and so does a baseline without a subject or with one that is gone.
fn judge(baseline: &Baseline, tools: &str, counted: &Figures) -> ExitCode {
    let (mut told, mut changes) = (Vec::new(), baseline.changes(counted));
    if !baseline.is_of(tools) {
        println!(
            "\nThe instructions are not judged: the baseline is of {}, and these are of {tools}.",
            baseline.tools()
        );
        (told, changes) = changes.into_iter().partition(Change::depends_on_tools);
    }
    let (falls, faults): (Vec<_>, Vec<_>) = changes.into_iter().partition(Change::is_fall);
    if !told.is_empty() {
        println!("They differ:\n{}", lines(&told));
    }
    if !falls.is_empty() {
        println!(
            "\nThese fell. `cargo xtask instructions --update` lowers the baseline, so that they stay there:\n{}",
            lines(&falls)
        );
    }
    if faults.is_empty() {
        println!("\nNothing rose by more than 3 %.");
        return ExitCode::SUCCESS;
    }
    println!(
        "\nThe baseline in {BASELINE} says otherwise:\n{}\nSee where with `cargo xtask instructions --keep FOLDER` and \
         `callgrind_annotate --inclusive=yes FOLDER/host.callgrind.1-01`. If it has to be, state it in the commit: \
         `cargo xtask instructions --update --because \"WHY\"`.",
        lines(&faults)
    );
    ExitCode::FAILURE
}

fn lines(changes: &[Change]) -> String {
    changes.iter().map(|change| format!("    {change}\n")).collect()
}
