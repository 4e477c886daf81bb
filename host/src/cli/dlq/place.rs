//! Where dead letters lie: the queue or the folder of a pipeline, or a queue that is named. Knows no output.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use super::super::{BrokerArguments, MISTAKEN};
use super::output::plain;
use crate::config::{Config, Name, PipelineConfig, Rendering};
use crate::dead_letter::DeadLetter;
use crate::streams::{self, Severity};
use crate::transport::amqp::QueueStore;
use crate::transport::{DeadLetterStore, Handle, HeldDeadLetter, REGISTRY, registry};

/// The most of a place's name that is shown: all of it.
const PLACE_CHARS: usize = 4096;

/// Dead letters that are held or listed where an id may mean several.
const SAME_MAX: usize = 16;

/// Where to look.
#[derive(Debug, Args)]
pub(super) struct PlaceArguments {
    /// The file that names the pipeline
    #[arg(long, value_name = "FILE", default_value = "plugins.toml")]
    file: PathBuf,
    /// The pipeline, where the file has several
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// A queue of dead letters, with --amqp or AMQP_URL; then no file is read
    #[arg(long, value_name = "QUEUE", conflicts_with_all = ["file", "pipeline"])]
    queue: Option<String>,
    #[command(flatten)]
    broker: BrokerArguments,
}

impl PlaceArguments {
    /// Finds out where to look; an exit code where the file has mistakes, which were printed.
    pub(super) fn place(&self) -> anyhow::Result<Result<Box<dyn DeadLetterStore>, ExitCode>> {
        if let Some(queue) = &self.queue {
            return Ok(Ok(Box::new(QueueStore::named(self.broker.access(), queue.clone()))));
        }
        let config = match Config::load(&self.file, &REGISTRY) {
            Ok((config, _)) => config,
            Err(errors) => {
                streams::say(Severity::Error, errors.render(Rendering::of_stderr()));
                return Ok(Err(ExitCode::from(MISTAKEN)));
            }
        };
        let pipeline = self.choose(&config)?;
        Ok(Ok(registry::source(pipeline.source.as_ref())?.dead_letters(&config)?))
    }

    fn choose<'a>(&self, config: &'a Config) -> anyhow::Result<&'a PipelineConfig> {
        let names: Vec<&str> = config.pipelines.keys().map(Name::as_str).collect();
        let names = names.join(", ");
        match (&self.pipeline, config.pipelines.values().next()) {
            (Some(name), _) => {
                let pipeline = config.pipelines.get(name.as_str());
                pipeline.with_context(|| format!("no pipeline {name:?} in {}: it has {names}", self.file.display()))
            }
            (None, Some(pipeline)) if config.pipelines.len() == 1 => Ok(pipeline),
            _ => bail!(
                "{} has several pipelines: choose one with --pipeline ({names})",
                self.file.display()
            ),
        }
    }
}

/// The dead letters that a person may mean by `id`: several only where several in a queue have the same id, which nothing
/// else tells apart. In a folder each has its file.
///
/// The whole of an id or of a file's name wins over the beginning of an id.
pub(super) async fn find(place: &dyn DeadLetterStore, id: &str) -> anyhow::Result<Vec<Box<dyn HeldDeadLetter>>> {
    let mut dead_letters = place.open().await?;
    let (mut found, mut n_found, mut is_exact) = (Vec::new(), 0_usize, false);
    while let Some(held) = dead_letters.next().await? {
        let dead_letter = held.dead_letter();
        let exact = dead_letter.is_called_exactly(id);
        if !dead_letter.is_called(id) || (is_exact && !exact) {
            continue;
        }
        if exact && !is_exact {
            (is_exact, n_found) = (true, 0);
            found.clear();
        }
        n_found += 1;
        if found.len() < SAME_MAX {
            found.push(held);
        }
    }
    dead_letters.close().await?;
    let meant: BTreeSet<Handle> = found.iter().map(|held| held.handle()).collect();
    if n_found == 0 {
        bail!("no dead letter {id:?} in the {}", shown(place));
    }
    if meant.len() > 1 {
        let lines = found.iter().map(|held| {
            let dead_letter = held.dead_letter();
            let file = dead_letter
                .file
                .as_ref()
                .map(|file| format!("file {}, ", plain(file, 255)));
            format!(
                "\n  {}dead letter {}, message {}",
                file.unwrap_or_default(),
                plain(&dead_letter.id, 64),
                plain(dead_letter.message_id(), 64)
            )
        });
        let more = match n_found - found.len() {
            0 => String::new(),
            n_more => format!("\n  and {n_more} more"),
        };
        bail!(
            "{id:?} matches {n_found} dead letters:{}{more}",
            lines.collect::<String>()
        );
    }
    Ok(found)
}

/// Where dead letters lie, in words for people.
pub(super) fn shown(place: &dyn DeadLetterStore) -> String {
    plain(&place.shown(), PLACE_CHARS)
}

/// The beginning of a dead letter's body.
pub(super) fn head(held: &dyn HeldDeadLetter, n_bytes: u64) -> anyhow::Result<Vec<u8>> {
    let mut head = Vec::new();
    held.open_body()?.take(n_bytes).read_to_end(&mut head)?;
    Ok(head)
}

/// The extension of a dead letter's file, where it is one that a file name of ours may have.
pub(super) fn extension(dead_letter: &DeadLetter) -> Option<&str> {
    let extension = Path::new(dead_letter.file.as_deref()?).extension()?.to_str()?;
    let is_plain = extension.len() <= 8 && extension.chars().all(|c| c.is_ascii_alphanumeric());
    is_plain.then_some(extension)
}

/// Reads all of something, for its digest.
pub(super) fn digest(mut content: impl Read) -> io::Result<String> {
    use sha2::{Digest as _, Sha256};
    let mut hash = Sha256::new();
    io::copy(&mut content, &mut hash)?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
