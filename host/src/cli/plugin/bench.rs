//! `millrace plugin bench`: what a plugin's cases cost, and what became worse.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;

use super::benched::{Benched, FORMAT, Figures, compared, shown};
use super::subject::{Subject, read_settings};
use crate::cases::{Defaults, Runner, find};
use crate::cli::output::{harmless, plain, print};
use crate::config::case::Case;
use crate::sandbox::Gauge;
use crate::streams::{self, Severity};

/// Runs before those that count: what is cold is another question.
const WARM_RUNS: usize = 5;

/// This many runs of each case, or this long.
const RUNS_MAX: usize = 1000;
const RUNS_MIN: usize = 10;
const CASE_TIME: Duration = Duration::from_secs(1);

/// The largest baseline that is read.
const BASELINE_MAX_BYTES: u64 = 8 << 20;

/// How much of a text is shown.
const TEXT_CHARS: usize = 1000;

const EXAMPLES: &str = "\
Examples:
  millrace plugin bench                       the crate in this folder, on its cases/
  millrace plugin bench --save before.json
  millrace plugin bench --baseline before.json

Times are medians of many runs in a fresh instance each, and in parentheses where all but the fastest and the slowest tenth
lie. Fuel counts instructions of the plugin: it is the same on every machine, and what a case's [budget] holds.";

/// `millrace plugin bench`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The folder of the plugin's crate, or its .wasm file
    #[arg(value_name = "FOLDER|FILE", default_value = ".")]
    plugin: PathBuf,
    /// The cases, or one case [default: the folder `cases` in the crate, or beside the file]
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Reports what became worse than in this file, which `--save` wrote
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Saves the measurements
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// The plugin's settings for cases without settings: a JSON object, or a .json or .toml file
    #[arg(long)]
    settings: Option<String>,
    /// The model folder for cases without one
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// Prints what `--save` writes
    #[arg(long)]
    json: bool,
}

pub(super) async fn bench(options: Options) -> anyhow::Result<ExitCode> {
    // Before any measurement: a baseline that cannot be read is reported at once.
    let baseline = options.baseline.as_deref().map(read).transpose()?;
    let subject = Subject::of(&options.plugin)?;
    let defaults = Defaults {
        settings: options.settings.as_deref().map(read_settings).transpose()?,
        model: options.model.clone(),
    };
    let folder = find(options.cases.as_deref().unwrap_or(&subject.cases))?;
    let runner = Runner::start()?;
    let time = Gauge::of_time()?;
    let mut benched = Benched {
        format: FORMAT.to_owned(),
        plugin_sha256: String::new(),
        cases: BTreeMap::new(),
    };
    for file in &folder.files {
        let case = match Case::load(file) {
            Ok(case) => case,
            Err(errors) => bail!("{errors}"),
        };
        let Some((digest, figures)) = figures(&subject.wasm, &case, &defaults, &runner, &time).await? else {
            continue;
        };
        if !options.json {
            print(shown(&case.name, &figures))?;
        }
        benched.plugin_sha256 = digest;
        benched.cases.insert(case.name, figures);
    }
    if benched.cases.is_empty() {
        bail!("cannot measure any case");
    }
    let json = harmless(&serde_json::to_string_pretty(&benched)?) + "\n";
    if let Some(path) = &options.save {
        std::fs::write(path, &json).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    if options.json {
        print(json.trim_end())?;
    } else if let Some(baseline) = &baseline {
        let lines = compared(&benched, baseline);
        print(match lines.is_empty() {
            true => "\nnothing became worse".to_owned(),
            false => format!("\n{}", lines.join("\n")),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures one case; reports why it cannot be measured, and goes on.
async fn figures(
    wasm: &Path,
    case: &Case,
    defaults: &Defaults,
    runner: &Runner,
    time: &Gauge,
) -> anyhow::Result<Option<(String, Figures)>> {
    let left_out = |why: &dyn std::fmt::Display| {
        let (name, why) = (plain(&case.name, TEXT_CHARS), plain(&why.to_string(), TEXT_CHARS));
        streams::say(Severity::Warning, format_args!("left out {name}: {why}"));
        Ok(None)
    };
    let loaded = match runner.load(wasm, case, defaults) {
        Ok(loaded) => loaded,
        Err(error) => return left_out(&error.problem),
    };
    let (asked, counted) = match runner.asked(&loaded, case, defaults).await {
        Ok(asked) => (asked, runner.cost(&loaded, case, defaults).await),
        Err(error) => return left_out(&error),
    };
    let counted = match counted {
        Ok(counted) if counted.answered => counted,
        Ok(_) => return left_out(&"it faults, and what a fault costs is its limit"),
        Err(error) => return left_out(&error),
    };
    let measured = time.measure(&loaded.plugin, &loaded.config)?;
    let once = || measured.call(&case.message, &asked).map_err(anyhow::Error::msg);
    for _ in 0..WARM_RUNS {
        once()?;
    }
    let (mut runs, began) = (Vec::new(), Instant::now());
    while runs.len() < RUNS_MIN || (runs.len() < RUNS_MAX && began.elapsed() < CASE_TIME) {
        runs.push(once()?);
    }
    let digest = loaded.plugin.identity().digest.clone();
    Ok(Some((digest, Figures::of(&runs, &counted))))
}

fn read(path: &Path) -> anyhow::Result<Benched> {
    let cannot = || format!("cannot read the baseline `{}`", path.display());
    let length = std::fs::metadata(path).with_context(cannot)?.len();
    if length > BASELINE_MAX_BYTES {
        bail!(
            "the baseline `{}` has {length} bytes, more than any baseline",
            path.display()
        );
    }
    let benched: Benched = serde_json::from_slice(&std::fs::read(path).with_context(cannot)?).with_context(cannot)?;
    if benched.format != FORMAT {
        bail!("the baseline `{}` is not of the format {FORMAT}", path.display());
    }
    Ok(benched)
}
