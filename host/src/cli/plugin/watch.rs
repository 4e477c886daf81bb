//! `millrace plugin watch`: from a save to new behaviour. Builds, runs the cases, and has a running host take the plugin up.

mod deploy;
mod sources;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::build::made;
use super::cargo::{self, CargoArguments};
use super::{component, test};
use crate::cases::{Defaults, FindError, Judged, Runner, Suite};
use crate::cli::output::{self, plain};
use crate::streams;
use crate::watch::Watch as Files;
use deploy::Deployment;

/// `millrace plugin watch`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    #[command(flatten)]
    cargo: CargoArguments,
    /// A plugins.toml that names the plugin: where a host runs it, the host is given each version that builds and passes its
    /// cases [default: plugins.toml here or in DIR, where there is one]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The plugin's name in that file [default: the crate's]
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  millrace plugin watch                   builds and runs the cases at every save, until Ctrl-C
  millrace plugin watch crop --file mill/plugins.toml
  millrace plugin watch --debug           builds sooner; the plugin is slower

A version that does not build, or fails a case, is not given to the host. One that the host refuses is taken away again: the
file that plugins.toml names is then as it was.";

/// What is built, and for whom.
struct Task {
    cargo: CargoArguments,
    deployment: Option<Deployment>,
}

pub(super) async fn watch(options: Options) -> anyhow::Result<ExitCode> {
    let name = cargo::plugin_name(&options.cargo.folder)?;
    let folder = options.cargo.folder.clone();
    let plugin = options.plugin.unwrap_or(name);
    let deployment = options
        .file
        .or_else(|| near(&folder))
        .map(|file| Deployment::new(file, plugin))
        .transpose()?;
    let task = Task {
        cargo: options.cargo,
        deployment,
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Before the first build: what is saved meanwhile is a change.
    let mut files = Files::new(sources::of(&folder));
    loop {
        let round = async {
            task.round().await?;
            output::print(format_args!(
                "\nwatching {}: Ctrl-C ends it",
                plain(&folder.display().to_string(), 4096)
            ))?;
            files.changed().await;
            // Folders may have come and gone.
            files.set(sources::of(&folder));
            anyhow::Ok(())
        };
        tokio::select! {
            done = round => done?,
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// The `plugins.toml` that is meant where none is named.
fn near(folder: &Path) -> Option<PathBuf> {
    const FILE: &str = "plugins.toml";
    [PathBuf::from(FILE), folder.join(FILE)]
        .into_iter()
        .find(|path| path.is_file())
}

impl Task {
    /// Builds, tests, and swaps in. What goes wrong with the plugin is told, and no error: the next save may mend it.
    async fn round(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        let cargo = self.cargo.clone();
        let built = tokio::task::spawn_blocking(move || made(&cargo)).await?;
        let built = match built {
            Ok((built, text)) => {
                output::print(text)?;
                built
            }
            Err(error) => {
                tell(&format!("{error:#}"));
                return Ok(());
            }
        };
        match run_cases(&self.cargo.folder, &built.path).await? {
            Cases::Passed(text) => output::print(text)?,
            Cases::None => output::Reader::Reads,
            Cases::Failed(text) => {
                output::print(text)?;
                tell("a case failed: no host is given this version");
                return Ok(());
            }
        };
        if let Some(deployment) = &self.deployment {
            match deployment.give(&built.path).await {
                Ok(told) => {
                    let took = began.elapsed().as_secs_f64();
                    output::print(format_args!(
                        "{}\nbuilt, tested and given to the host in {took:.1} s",
                        told.trim_end()
                    ))?;
                }
                Err(error) => tell(&format!("{error:#}")),
            }
        }
        Ok(())
    }
}

fn tell(error: &str) {
    streams::error(component::lines(error));
}

/// What came of a crate's cases.
enum Cases {
    /// There are none.
    None,
    /// All are as expected.
    Passed(String),
    /// At least one is not.
    Failed(String),
}

/// Runs the cases of a crate with what was just built of it.
async fn run_cases(folder: &Path, wasm: &Path) -> anyhow::Result<Cases> {
    let cases = folder.join("cases");
    if !cases.is_dir() {
        return Ok(Cases::None);
    }
    let suite = Suite {
        plugin: wasm.to_owned(),
        cases,
        defaults: Defaults::default(),
        pictures: None,
    };
    let mut text = String::new();
    let each = |judged: &Judged| text.extend([test::shown(judged).as_str(), "\n"]);
    let report = match suite.run(&Runner::start()?, each).await {
        Ok(report) => report,
        Err(FindError::None(_)) => return Ok(Cases::None),
        Err(error) => return Err(error.into()),
    };
    text += test::summary(&report).trim_start();
    Ok(match report.n_failed() {
        0 => Cases::Passed(text),
        _ => Cases::Failed(text),
    })
}
