//! `millrace plugin watch`: from a save to new behaviour. Builds, runs the cases, has a running host take the plugin
//! up, and reports the outcome there.

mod deploy;
mod sources;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::build::made;
use super::cargo::{self, CargoArguments};
use super::subject::target_directory;
use super::{component, test};
use crate::cases::{Defaults, FindError, Judged, Runner, Suite};
use crate::cli::control::{End, Followed, News};
use crate::cli::output::{self, plain};
use crate::streams;
use crate::watch::FileWatcher as Files;
use deploy::{Deployment, Given};

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

A version that does not build, or fails a case, is not given to the host. One that the host refuses, or undoes after it served,
is taken away again: the file that plugins.toml names is then the version that serves. Until that is decided, what the host says
of the plugin is shown. Where plugins.toml names the file that cargo writes, the plugin is built in target/watch instead, so that
nothing comes to the host past its cases.";

/// The folder that is built in, in cargo's, where cargo's own place is the host's.
const APART: &str = "watch";

/// The longest line of a host's log that is printed.
const LINE_CHARS: usize = 2000;

/// The crate to build, and the host that gets it.
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
    let mut task = Task {
        cargo: options.cargo,
        deployment,
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Before the first build: what is saved meanwhile is a change.
    let mut files = Files::new(sources::of(&folder), SystemTime::now());
    loop {
        let round = async {
            let mut followed = task.round().await?;
            output::print(format_args!(
                "\nwatching {}: Ctrl-C ends it",
                plain(&folder.display().to_string(), 4096)
            ))?;
            tokio::select! {
                () = files.changed() => {}
                ended = task.follow(&mut followed) => {
                    ended?;
                    files.changed().await;
                    followed = None;
                }
            }
            if let Some(far) = followed.and_then(|followed| followed.far()) {
                output::print(format_args!(
                    "not proven yet ({}): the next version is built",
                    plain(&far, 300)
                ))?;
            }
            // Folders may have come and gone; the next build reads all that is there now.
            files.set(sources::of(&folder), SystemTime::now());
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
    /// Builds, tests, and swaps in; returns what is to be followed then. Problems of the plugin are reported, and are
    /// not an error: the next save may mend it.
    async fn round(&mut self) -> anyhow::Result<Option<Box<Followed>>> {
        let began = Instant::now();
        let (cargo, separate_target) = (self.cargo.clone(), self.separate_target().await);
        let built = tokio::task::spawn_blocking(move || made(&cargo, separate_target.as_deref())).await?;
        let built = match built {
            Ok((built, text)) => {
                output::print(text)?;
                built
            }
            Err(error) => {
                tell(&format!("{error:#}"));
                return Ok(None);
            }
        };
        match run_cases(&self.cargo.folder, &built.path).await? {
            Cases::Passed(text) => output::print(text)?,
            Cases::None => output::Reader::Reads,
            Cases::Failed(text) => {
                output::print(text)?;
                tell("a case failed: not giving this version to a host");
                return Ok(None);
            }
        };
        let Some(deployment) = &mut self.deployment else {
            return Ok(None);
        };
        match deployment.give(&built.path).await {
            Ok(Given::Serves { told, followed }) => {
                let took = began.elapsed().as_secs_f64();
                output::print(format_args!(
                    "{}\nbuilt, tested and given to the host in {took:.1} s",
                    told.trim_end()
                ))?;
                return Ok(Some(followed));
            }
            Ok(Given::NoHost(told)) => {
                output::print(told)?;
            }
            // Its words are harmless, and have colours.
            Ok(Given::Refused(told)) => streams::error(told),
            Err(error) => tell(&format!("{error:#}")),
        }
        Ok(None)
    }

    /// Tells what the host says of what it was given, and what comes of it; ends when that is known.
    async fn follow(&self, followed: &mut Option<Box<Followed>>) -> anyhow::Result<()> {
        let Some(followed) = followed else {
            return std::future::pending().await;
        };
        let end = followed
            .until_it_ends(|news| Ok(output::print(shown(&news)).map(drop)?))
            .await?;
        match end {
            End::Serves { generation, seen: 0 } => {
                output::print(format_args!("generation {generation} serves, without a trial"))?;
            }
            End::Serves { generation, seen } => {
                output::print(format_args!(
                    "generation {generation} serves: proven by {seen} messages"
                ))?;
            }
            End::Undone { told, serves } => {
                streams::error(told.trim_end());
                if let (Some(deployment), Some(serves)) = (&self.deployment, serves) {
                    match deployment.put_back(&serves) {
                        Ok(told) => drop(output::print(told)?),
                        Err(error) => tell(&format!("{error:#}")),
                    }
                }
            }
            End::Replaced(told) => {
                output::print(format_args!("another change took its place\n{}", told.trim_end()))?;
            }
            End::HostLeft => tell("the host no longer answers: the outcome of this version is unknown"),
        }
        Ok(())
    }

    /// Where to build: where cargo always does, unless a host would take it from there before its cases ran.
    async fn separate_target(&self) -> Option<PathBuf> {
        let deployment = self.deployment.as_ref()?;
        let folder = self.cargo.folder.clone();
        let asked = tokio::task::spawn_blocking(move || target_directory(&folder))
            .await
            .ok()?;
        // Cargo says the rest again when it builds.
        let target = asked.ok()?;
        deployment.is_within(&target).then(|| target.join(APART))
    }
}

/// A line about the plugin, made harmless.
fn shown(news: &News) -> String {
    match news {
        News::Trial(text) => component::lines(text),
        News::Missed(n) => format!("  | {n} lines of the host's log came too fast to be shown"),
        News::Line(line) => {
            let id = line
                .message_id
                .as_deref()
                .map(|id| format!("{id}: "))
                .unwrap_or_default();
            let text: String = line.text.chars().take(LINE_CHARS).collect();
            // On one line, whatever it holds.
            let line = format!("{} {id}{text}", line.level).replace('\n', "\\n");
            format!("  | {}", component::lines(&line))
        }
    }
}

fn tell(error: &str) {
    streams::error(component::lines(error));
}

/// The outcome of a crate's cases.
enum Cases {
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
