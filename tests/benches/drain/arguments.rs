//! What the bench is asked for, and where its record goes.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use millrace_tests::amqp::QueueKind;
use millrace_tests::figures::{Record, Skipped, page};
use millrace_tests::host::native_binary;
use millrace_tests::samples::root;

use crate::running::NO_NATIVE_HOST;
use crate::subject::{ECHO, IDENTITY, LENET, RESNET18, ROUND, Subject};
use crate::supplies::must_succeed;

/// The record and the page that the documentation has.
const RECORD: &str = "docs/performance.json";
const PAGE: &str = "docs/performance.md";
/// What people write about the page's figures.
pub(crate) const NOTES: &str = "tests/benches/notes.md";

/// What is measured, and how long.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Rounds; each measures every subject, forwards and backwards in turn [default: 4, or 2 with --quick]
    #[arg(long, global = true, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// How long a block is to last, in seconds [default: 6, or 2 with --quick]
    #[arg(long, value_parser = seconds)]
    seconds: Option<f64>,
    /// The type of the queues
    #[arg(long, global = true, value_enum, default_value_t = Queue::Quorum)]
    pub(crate) queue: Queue,
    /// Messages in flight, of Millrace and of the echo
    #[arg(long, global = true, default_value_t = PREFETCH, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) prefetch: u16,
    /// Subjects, separated by commas, such as `echo,lenet,strong`; all where it is left out. `--list` names them
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Parts of the bench, separated by commas; all where it is left out, and the first four with --quick
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS")]
    parts: Vec<Part>,
    /// Edges of the raw pictures of part `size`, in pixels, separated by commas: a message has 3 bytes for each pixel [default: 16,112,224]
    #[arg(long, value_delimiter = ',', value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    edges: Vec<u32>,
    /// A few minutes, for a first look
    #[arg(long)]
    quick: bool,
    /// The Python of the peers, with what `tests/benches/peers/requirements.txt` lists. `cargo xtask bench` makes an environment where it is
    /// left out
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) python: Option<PathBuf>,
    /// Writes the record to this file, as JSON
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Writes docs/performance.json, and docs/performance.md from it
    #[arg(long)]
    write_docs: bool,
    /// Writes docs/performance.md from docs/performance.json once more, and measures nothing
    #[arg(long)]
    pub(crate) page: bool,
    /// Lists the subjects, and measures nothing
    #[arg(long)]
    pub(crate) list: bool,
    /// Says `python` where one is needed, and measures nothing
    #[arg(long, hide = true)]
    pub(crate) needs: bool,
    /// Messages in a block of `neighbour`, `swaps` and `undone`
    #[arg(long, global = true, default_value_t = 10_000)]
    pub(crate) messages: usize,
}

/// The type of the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Queue {
    Quorum,
    Classic,
}

/// A part of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Every subject drains a queue, in turn
    Rounds,
    /// Forward passes and plugin calls without messages
    Alone,
    /// From the start of a process to its first result
    StartUp,
    /// Messages at a steady rate
    Latency,
    /// Messages in flight
    Prefetch,
    /// The largest batch
    Batch,
    /// The size of messages
    Size,
    /// Pipelines of one host on one queue
    Pipelines,
    /// Hosts on one queue
    Hosts,
    /// A million messages in the queue
    Waiting,
    /// A hostile plugin in another pipeline of the host
    Neighbour,
    /// Swaps of plugins
    Swaps,
}

/// Those of a quick run: in them every subject is measured.
const QUICK: [Part; 4] = [Part::Rounds, Part::Alone, Part::StartUp, Part::Latency];

const PREFETCH: u16 = 300;
/// From 768 bytes to 150 KB.
const SIZES: [u32; 3] = [16, 112, 224];

/// What the other parts measure.
pub(crate) const ALWAYS: [Subject; 3] = [ECHO, IDENTITY, LENET];

impl Arguments {
    /// Rounds.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.map_or(if self.quick { 2 } else { 4 }, usize::from)
    }

    /// Rounds of what takes longer or matters less.
    pub(crate) fn few(&self) -> usize {
        self.rounds().div_ceil(2)
    }

    /// Seconds of a block.
    pub(crate) fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 2.0 } else { 6.0 })
    }

    /// Whether a part is measured.
    pub(crate) fn has(&self, part: Part) -> bool {
        match (self.parts.is_empty(), self.quick) {
            (false, _) => self.parts.contains(&part),
            (true, true) => QUICK.contains(&part),
            (true, false) => true,
        }
    }

    /// Edges of the pictures of part `size`.
    pub(crate) fn edges(&self) -> &[u32] {
        match self.edges.as_slice() {
            [] => &SIZES,
            edges => edges,
        }
    }

    /// How queues are declared.
    pub(crate) fn kind(&self) -> QueueKind {
        match self.queue {
            Queue::Quorum => QueueKind::Quorum,
            Queue::Classic => QueueKind::Classic,
        }
    }

    /// The subjects in the order of a round, and those that cannot be measured here.
    ///
    /// # Errors
    /// When a name is none.
    pub(crate) fn subjects(&self) -> Result<(Vec<Subject>, Vec<Skipped>)> {
        for name in &self.only {
            if Subject::named(name).is_none() {
                let names: Vec<&str> = ROUND.iter().map(|subject| subject.name).collect();
                bail!("no subject is called `{name}`: {}", names.join(", "));
            }
        }
        let is_compared = QUICK.into_iter().any(|part| self.has(part));
        let is_wanted = |subject: &Subject| match self.only.as_slice() {
            [] => is_compared || ALWAYS.contains(subject) || (self.has(Part::Hosts) && *subject == RESNET18),
            only => only.iter().any(|name| name == subject.name),
        };
        let (mut subjects, mut skipped) = (Vec::new(), Vec::new());
        for subject in ROUND.into_iter().filter(is_wanted) {
            match self.why_not(&subject) {
                None => subjects.push(subject),
                Some(why) => {
                    skipped.push(Skipped {
                        subject: subject.name.to_owned(),
                        why,
                    });
                }
            }
        }
        Ok((subjects, skipped))
    }

    /// Whether a subject that is asked for is made by Python, and none is given.
    ///
    /// # Errors
    /// When a name is none.
    pub(crate) fn wants_python(&self) -> Result<bool> {
        let (_, skipped) = self.subjects()?;
        let mut skipped = skipped.iter().filter_map(|one| Subject::named(&one.subject));
        Ok(self.python.is_none() && skipped.any(|subject| subject.needs_python()))
    }

    /// Whether a subject that is asked for needs the host that preprocesses natively, and none is given.
    ///
    /// # Errors
    /// When a name is none.
    pub(crate) fn wants_native_host(&self) -> Result<bool> {
        let (_, skipped) = self.subjects()?;
        let mut skipped = skipped.iter().filter_map(|one| Subject::named(&one.subject));
        Ok(skipped.any(|subject| subject.needs_native_host() && native_binary().is_none()))
    }

    fn why_not(&self, subject: &Subject) -> Option<String> {
        if subject.needs_native_host() && native_binary().is_none() {
            return Some(NO_NATIVE_HOST.to_owned());
        }
        if !subject.needs_python() {
            return None;
        }
        let Some(python) = &self.python else {
            return Some("there is no Python with its packages".to_owned());
        };
        let module = subject.python_module();
        let found = must_succeed(Command::new(python).args(["-c", &format!("import {module}")]));
        found
            .is_err()
            .then(|| format!("{} has no `{module}`", python.display()))
    }

    /// The command that makes such a run: what differs from the defaults.
    pub(crate) fn command(&self) -> String {
        let mut command = "cargo xtask bench".to_owned();
        if self.quick {
            command += " --quick";
        }
        if let Some(rounds) = self.rounds {
            command += &format!(" --rounds {rounds}");
        }
        if let Some(seconds) = self.seconds {
            command += &format!(" --seconds {seconds}");
        }
        if self.prefetch != PREFETCH {
            command += &format!(" --prefetch {}", self.prefetch);
        }
        if self.queue != Queue::Quorum {
            command += &format!(" --queue {}", self.queue);
        }
        if !self.only.is_empty() {
            command += &format!(" --only {}", self.only.join(","));
        }
        if !self.parts.is_empty() {
            let parts = self.parts.iter().filter_map(Part::to_possible_value);
            let parts: Vec<String> = parts.map(|part| part.get_name().to_owned()).collect();
            command += &format!(" --parts {}", parts.join(","));
        }
        if !self.edges.is_empty() {
            let edges: Vec<String> = self.edges.iter().map(u32::to_string).collect();
            command += &format!(" --edges {}", edges.join(","));
        }
        command
    }

    /// Finds out whether the record can be written, before anything is measured for it.
    ///
    /// # Errors
    /// When it cannot.
    pub(crate) fn must_be_writable(&self) -> Result<()> {
        let Some(path) = &self.out else { return Ok(()) };
        let tried = tempfile::NamedTempFile::new_in(folder_of(path));
        tried.with_context(|| format!("cannot write `--out {}`", path.display()))?;
        Ok(())
    }

    /// Writes the record to the file that was asked for.
    ///
    /// # Errors
    /// When it cannot be written; then what was there is there still.
    pub(crate) fn keep(&self, record: &Record) -> Result<()> {
        match &self.out {
            Some(path) => replace(path, &json(record)?),
            None => Ok(()),
        }
    }

    /// Writes record and page into the documentation where it is asked for, else prints the page.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(&self, record: &Record) -> Result<()> {
        if !self.write_docs {
            // The notes are about the figures of the documentation.
            println!("\n{}", page(record, ""));
            return Ok(());
        }
        let text = page(record, &notes()?);
        replace(&root().join(RECORD), &json(record)?)?;
        replace(&root().join(PAGE), &text)?;
        println!("wrote {RECORD} and {PAGE}");
        Ok(())
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Writes a file beside its place and moves it there: whole, or not at all.
fn replace(path: &Path, text: &str) -> Result<()> {
    let written = || -> Result<()> {
        if path.exists() && !path.is_file() {
            // A pipe, a terminal.
            return Ok(fs::write(path, text)?);
        }
        let mut new = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(folder_of(path))?;
        new.write_all(text.as_bytes())?;
        new.persist(path)?;
        Ok(())
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

/// Seconds of a block.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number from 0.1 to 600".to_owned()),
    }
}

fn json(record: &Record) -> Result<String> {
    Ok(serde_json::to_string_pretty(record)? + "\n")
}

/// Writes the page from the record that is there.
///
/// # Errors
/// When it is of another format.
pub(crate) fn rewrite_page() -> Result<()> {
    let record: Record = serde_json::from_slice(&fs::read(root().join(RECORD))?).context(RECORD)?;
    Ok(fs::write(root().join(PAGE), page(&record, &notes()?))?)
}

fn notes() -> Result<String> {
    fs::read_to_string(root().join(NOTES)).context(NOTES)
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quorum => "quorum",
            Self::Classic => "classic",
        })
    }
}
