//! Where dead letters lie: the queue or the folder of a pipeline, or a queue that is named. Knows no output.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use super::super::{BrokerArguments, MISTAKEN};
use super::output::plain;
use crate::config::{BrokerAccess, Config, Name, PipelineConfig, Rendering, SourceConfig};
use crate::connect::{amqp, folder};
use crate::dead_letter::DeadLetter;
use crate::message::Message;
use crate::streams::{self, Severity};

/// Letters that are held or listed where an id may mean several.
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

/// Where dead letters lie.
#[derive(Debug)]
pub(super) enum DeadLetterPlace {
    Queue {
        access: BrokerAccess,
        queue: String,
        /// The source queues of the file; none where no file was read.
        sources: Option<BTreeSet<String>>,
    },
    Folder {
        inbox: PathBuf,
    },
}

/// The dead letters that are there now.
pub(super) enum DeadLetters {
    Queue(Box<amqp::DeadLetters>),
    Folder(folder::DeadLetters),
}

/// A dead letter that was looked at; it stays where it is.
#[derive(Debug)]
pub(super) enum FoundDeadLetter {
    Queue(Box<amqp::DeadLetterHandle>),
    Folder(Box<folder::Found>),
}

/// The key of a dead letter among the others in its place, as unique as can be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DeadLetterKey {
    /// Its own id, in a queue: several may have it.
    Id(String),
    /// Its file, in a folder.
    File(PathBuf),
}

impl PlaceArguments {
    /// Finds out where to look; an exit code where the file has mistakes, which were printed.
    pub(super) fn place(&self) -> anyhow::Result<Result<DeadLetterPlace, ExitCode>> {
        if let Some(queue) = &self.queue {
            return Ok(Ok(DeadLetterPlace::Queue {
                access: self.broker.access(),
                queue: queue.clone(),
                sources: None,
            }));
        }
        let config = match Config::load(&self.file) {
            Ok((config, _)) => config,
            Err(errors) => {
                streams::say(Severity::Error, errors.render(Rendering::of_stderr()));
                return Ok(Err(ExitCode::from(MISTAKEN)));
            }
        };
        let pipeline = self.choose(&config)?;
        Ok(Ok(match &pipeline.source {
            SourceConfig::Folder(folder) => DeadLetterPlace::Folder {
                inbox: folder.folder.clone(),
            },
            SourceConfig::Queue(queue) => DeadLetterPlace::Queue {
                access: config.broker.as_ref().context("the file has no [broker]")?.access(),
                queue: queue.dead_letter.clone(),
                sources: Some(sources(&config)),
            },
        }))
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

fn sources(config: &Config) -> BTreeSet<String> {
    let queues = config.pipelines.values().filter_map(|pipeline| match &pipeline.source {
        SourceConfig::Queue(queue) => Some(queue.queue.clone()),
        SourceConfig::Folder(_) => None,
    });
    queues.collect()
}

impl DeadLetterPlace {
    /// In words, for people.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Queue { queue, .. } => format!("queue `{}`", plain(queue, 255)),
            Self::Folder { inbox } => format!("folder `{}`", inbox.join("dead").display()),
        }
    }

    /// The dead letters that `id` may mean: several only where several in a queue have the same id, which nothing
    /// else distinguishes. In a folder each has its file.
    ///
    /// The whole of an id or of a file's name wins over the beginning of an id.
    pub(super) async fn find(&self, id: &str) -> anyhow::Result<Vec<FoundDeadLetter>> {
        let mut dead_letters = DeadLetters::open(self).await?;
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
        let meant: BTreeSet<DeadLetterKey> = found.iter().map(FoundDeadLetter::handle).collect();
        if n_found == 0 {
            bail!("no dead letter {id:?} in the {}", self.shown());
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
}

impl DeadLetters {
    pub(super) async fn open(place: &DeadLetterPlace) -> anyhow::Result<Self> {
        Ok(match place {
            DeadLetterPlace::Queue { access, queue, .. } => {
                Self::Queue(Box::new(amqp::DeadLetters::open(access, queue).await?))
            }
            DeadLetterPlace::Folder { inbox } => Self::Folder(folder::DeadLetters::open(inbox)?),
        })
    }

    pub(super) fn n_left(&self) -> usize {
        match self {
            Self::Queue(dead_letters) => usize::try_from(dead_letters.n_left()).unwrap_or(usize::MAX),
            Self::Folder(dead_letters) => dead_letters.n_left(),
        }
    }

    pub(super) async fn next(&mut self) -> anyhow::Result<Option<FoundDeadLetter>> {
        Ok(match self {
            Self::Queue(dead_letters) => dead_letters
                .next()
                .await?
                .map(|held| FoundDeadLetter::Queue(Box::new(held))),
            Self::Folder(dead_letters) => dead_letters
                .look_at_next()
                .map(|found| FoundDeadLetter::Folder(Box::new(found))),
        })
    }

    pub(super) async fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Queue(dead_letters) => Ok(dead_letters.close().await?),
            Self::Folder(_) => Ok(()),
        }
    }
}

impl FoundDeadLetter {
    pub(super) fn dead_letter(&self) -> &DeadLetter {
        match self {
            Self::Queue(held) => &held.dead_letter,
            Self::Folder(found) => &found.dead_letter,
        }
    }

    /// Its key.
    pub(super) fn handle(&self) -> DeadLetterKey {
        match self {
            Self::Queue(held) => DeadLetterKey::Id(held.dead_letter.id.clone()),
            Self::Folder(found) => DeadLetterKey::File(found.path().to_owned()),
        }
    }

    /// The message that it was, without its body.
    pub(super) fn message(&self) -> anyhow::Result<Message> {
        match self {
            Self::Queue(held) => held
                .message()
                .context("cannot read the original message from its dead letter"),
            Self::Folder(found) => Ok(found.message()),
        }
    }

    pub(super) fn open_body(&self) -> anyhow::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Self::Queue(held) => Box::new(held.body()),
            Self::Folder(found) => Box::new(found.open_body()?),
        })
    }

    /// The beginning of the body.
    pub(super) fn head(&self, n_bytes: u64) -> anyhow::Result<Vec<u8>> {
        let mut head = Vec::new();
        self.open_body()?.take(n_bytes).read_to_end(&mut head)?;
        Ok(head)
    }

    /// The extension of its file, where it is one that a file name of ours may have.
    pub(super) fn extension(&self) -> Option<&str> {
        let extension = Path::new(self.dead_letter().file.as_deref()?).extension()?.to_str()?;
        let is_plain = extension.len() <= 8 && extension.chars().all(|c| c.is_ascii_alphanumeric());
        is_plain.then_some(extension)
    }
}

/// Reads all of something, for its digest.
pub(super) fn digest(mut content: impl Read) -> io::Result<String> {
    use sha2::{Digest as _, Sha256};
    let mut hash = Sha256::new();
    io::copy(&mut content, &mut hash)?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
