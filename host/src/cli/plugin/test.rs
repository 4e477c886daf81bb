//! `millrace plugin test`: a plugin's cases, and what is other than they say.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::subject::{Subject, read_settings};
use crate::cases::{CaseVerdict, Defaults, Judged, Runner, Suite, SuiteReport};
use crate::cli::output::{harmless, plain, print};

/// How much of a name or of a text is shown.
const TEXT_CHARS: usize = 1000;

const EXAMPLES: &str = "\
Examples:
  millrace plugin test                    the crate in this folder, on its cases/
  millrace plugin test crop.wasm --cases crop/cases
  millrace plugin test --cases cases/red-square.toml
  millrace plugin test --update           then read what changed: git diff cases
  millrace plugin test --model models/shapes-lenet --cases dead-letters

What a case is: docs/cases.md";

/// `millrace plugin test`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The folder of the plugin's crate, or its .wasm file
    #[arg(value_name = "FOLDER|FILE", default_value = ".")]
    plugin: PathBuf,
    /// The cases, or one case [default: the folder `cases` in the crate, or beside the file]
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Writes what comes out into the cases, for you to read; fails nothing
    #[arg(long)]
    update: bool,
    /// The plugin's settings for cases without settings, such as saved dead letters: a JSON object, or a .json or .toml file
    #[arg(long)]
    settings: Option<String>,
    /// The model folder for cases without one
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// Where pictures of failures are written [default: `cases` in the target folder, or a temporary folder]
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// Prints one JSON object a case
    #[arg(long)]
    json: bool,
}

pub(super) async fn test(options: Options) -> anyhow::Result<ExitCode> {
    let Subject { wasm, cases, pictures } = Subject::of(&options.plugin)?;
    let suite = Suite {
        plugin: wasm,
        cases: options.cases.unwrap_or(cases),
        defaults: Defaults {
            settings: options.settings.as_deref().map(read_settings).transpose()?,
            model: options.model,
        },
        pictures: Some(options.pictures.unwrap_or(pictures)),
    };
    let runner = Runner::start()?;
    if options.update {
        return update(&suite, &runner).await;
    }
    let mut printed = Ok(());
    let each = |judged: &Judged| {
        let text = match options.json {
            true => harmless(&as_json(judged).to_string()),
            false => shown(judged),
        };
        if printed.is_ok() {
            printed = print(text).map(drop);
        }
    };
    let report = suite.run(&runner, each).await?;
    printed?;
    if !options.json {
        print(summary(&report))?;
    }
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn update(suite: &Suite, runner: &Runner) -> anyhow::Result<ExitCode> {
    let (mut printed, mut n_failed) = (Ok(()), 0_usize);
    let each = |file: &Path, updated: Result<(), String>| {
        let file = file.display();
        let text = match updated {
            Ok(()) => format!("wrote    {file}"),
            Err(why) => {
                n_failed += 1;
                format!("FAILED   {file}\n{}", indented(&why))
            }
        };
        if printed.is_ok() {
            printed = print(text).map(drop);
        }
    };
    suite.update(runner, each).await?;
    printed?;
    Ok(if n_failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// One case, for people.
pub(super) fn shown(judged: &Judged) -> String {
    let name = plain(&judged.name, TEXT_CHARS);
    let mut text = match &judged.verdict {
        CaseVerdict::Passed => format!("ok       {name}"),
        CaseVerdict::Skipped(why) => format!("skipped  {name}: {}", plain(why, TEXT_CHARS)),
        CaseVerdict::Failed { .. } | CaseVerdict::Mistaken(_) | CaseVerdict::CannotRun(_) => format!("FAILED   {name}"),
    };
    if let Some(took) = judged.took {
        write!(text, "  {:.3} ms", took.as_secs_f64() * 1e3).unwrap_or_default();
    }
    if let Some(cost) = &judged.cost {
        let memory = crate::memory::shown(cost.memory_bytes);
        write!(text, ", fuel {}, memory {memory}", cost.fuel()).unwrap_or_default();
    }
    match &judged.verdict {
        CaseVerdict::Passed | CaseVerdict::Skipped(_) => {}
        CaseVerdict::Failed { differences, picture } => {
            for difference in differences {
                let (what, expected) = (
                    plain(&difference.what, TEXT_CHARS),
                    plain(&difference.expected, TEXT_CHARS),
                );
                let found = plain(&difference.found, TEXT_CHARS);
                write!(text, "\n  {what}\n    expected  {expected}\n    found     {found}").unwrap_or_default();
            }
            if let Some(picture) = picture {
                let path = plain(&picture.display().to_string(), TEXT_CHARS);
                write!(text, "\n  expected, found, difference: {path}").unwrap_or_default();
            }
        }
        CaseVerdict::Mistaken(errors) => write!(text, "\n{}", indented(&errors.to_string())).unwrap_or_default(),
        CaseVerdict::CannotRun(why) => write!(text, "\n{}", indented(why)).unwrap_or_default(),
    }
    text
}

/// The last line.
pub(super) fn summary(report: &SuiteReport) -> String {
    let (n_passed, n_failed, n_skipped) = (report.n_passed(), report.n_failed(), report.n_skipped());
    let skipped = if n_skipped > 0 {
        format!(", {n_skipped} skipped")
    } else {
        String::new()
    };
    let nothing = if n_passed + n_failed == 0 {
        ": nothing ran, so nothing is known"
    } else {
        ""
    };
    format!("\n{n_passed} passed, {n_failed} failed{skipped}{nothing}")
}

fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| format!("  {}", plain(line, TEXT_CHARS)));
    lines.collect::<Vec<_>>().join("\n")
}

fn as_json(judged: &Judged) -> Value {
    let mut json = json!({
        "case": judged.name,
        "file": judged.path.display().to_string(),
        "took_us": judged.took.map(|took| took.as_micros() as u64),
        "fuel": judged.cost.map(|cost| cost.fuel()),
        "memory_bytes": judged.cost.map(|cost| cost.memory_bytes),
    });
    let verdict = match &judged.verdict {
        CaseVerdict::Passed => json!({ "verdict": "passed" }),
        CaseVerdict::Skipped(why) => json!({ "verdict": "skipped", "text": why }),
        CaseVerdict::Mistaken(errors) => json!({ "verdict": "failed", "text": errors.to_string() }),
        CaseVerdict::CannotRun(why) => json!({ "verdict": "failed", "text": why }),
        CaseVerdict::Failed { differences, picture } => {
            let differences: Vec<Value> = differences
                .iter()
                .map(|one| json!({ "what": one.what, "expected": one.expected, "found": one.found }))
                .collect();
            let picture = picture.as_ref().map(|path| path.display().to_string());
            json!({ "verdict": "failed", "differences": differences, "picture": picture })
        }
    };
    if let (Value::Object(json), Value::Object(verdict)) = (&mut json, verdict) {
        json.extend(verdict);
    }
    json
}
