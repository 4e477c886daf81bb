//! `millrace dlq requeue`: messages go back where they came from. A dead letter is removed when its message has arrived.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use futures_util::{FutureExt, StreamExt, stream};
use indicatif::ProgressBar;

use super::PlaceArguments;
use super::output::{count, plain, print};
use super::place::{find, shown};
use crate::dead_letter::DeadLetter;
use crate::error_chain::ErrorChain;
use crate::streams::{self, Severity};
use crate::transport::{DeadLetterError, DeadLetterStore, HeldDeadLetter, OpenStore, Requeuer};

/// Dead letters in flight at a time: enough to hide the round trips, and few bodies in memory.
const IN_FLIGHT: usize = 16;

/// The most of a place's name that is shown: all of it.
const PLACE_CHARS: usize = 4096;

/// Failures that are printed one by one; of more, only the number.
const REPORTED_MAX: usize = 100;

/// `millrace dlq requeue`
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    which: Which,
    /// The queue to publish to, instead of the queue that each came from
    #[arg(long, value_name = "QUEUE")]
    to: Option<String>,
    /// Puts back messages whose dead letters lack some of their headers, without these
    #[arg(long)]
    cut_ok: bool,
    #[command(flatten)]
    place: PlaceArguments,
}

/// Selects dead letters.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The id of the message or of the dead letter, or a prefix of it; in a folder also the file's name
    id: Option<String>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// All with this class of reason, such as `refused`
    #[arg(long, value_name = "CLASS")]
    reason: Option<String>,
}

/// The outcome so far.
#[derive(Debug, Default)]
struct Summary {
    /// By where they went.
    put_back: BTreeMap<String, usize>,
    n_failed: usize,
    n_skipped: usize,
}

pub(super) async fn requeue(options: Options) -> anyhow::Result<ExitCode> {
    let place = match options.place.place()? {
        Ok(place) => place,
        Err(code) => return Ok(code),
    };
    if let Some(why) = place.refuses_target().filter(|_| options.to.is_some()) {
        bail!("{why}");
    }
    let mut chosen = Vec::new();
    if let Some(id) = &options.which.id {
        let found = find(place.as_ref(), id).await?;
        chosen = found.iter().map(|held| held.handle()).collect();
    }
    let is_chosen = |held: &dyn HeldDeadLetter| match (&options.which.id, &options.which.reason) {
        (Some(_), _) => chosen.contains(&held.handle()),
        (None, Some(reason)) => held.dead_letter().class() == reason,
        (None, None) => true,
    };
    let dead_letters = place.open().await?;
    let bar = ProgressBar::new(dead_letters.n_left() as u64);
    let mut summary = Summary::default();
    let target = |dead_letter: &DeadLetter| target(dead_letter, place.as_ref(), &options);
    let ended = put_back(place.requeuer(), dead_letters, is_chosen, target, &mut summary, &bar).await;
    bar.finish_and_clear();
    for (to, n) in &summary.put_back {
        print(format_args!("{} put back into {to}", count(*n, "message")))?;
    }
    if summary.n_skipped > 0 {
        print(format_args!(
            "{} left as they were",
            count(summary.n_skipped, "dead letter")
        ))?;
    }
    if summary.n_failed > 0 {
        print(format_args!(
            "{} could not be put back",
            count(summary.n_failed, "dead letter")
        ))?;
    }
    let is_whole = ended? == Ended::Whole;
    if !is_whole {
        streams::say(
            Severity::Note,
            format_args!(
                "stopped: the remaining dead letters are still in the {}",
                shown(place.as_ref())
            ),
        );
    }
    let is_success = is_whole && summary.n_failed == 0;
    Ok(if is_success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether all dead letters were dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Whole,
    /// By Ctrl-C, after the dead letters in flight were finished.
    Stopped,
}

/// Where a message goes, or why nowhere.
fn target(dead_letter: &DeadLetter, place: &dyn DeadLetterStore, options: &Options) -> Result<String, String> {
    if dead_letter.n_cut > 0 && !options.cut_ok {
        let names: Vec<String> = dead_letter.cut_names.iter().map(|name| plain(name, 64)).collect();
        return Err(format!(
            "its dead letter lacks some of its headers ({} cut: {}): --cut-ok puts it back without them",
            dead_letter.n_cut,
            names.join(", ")
        ));
    }
    place.target(dead_letter, options.to.as_deref())
}

/// Some at a time; Ctrl-C ends the taking, and what is in flight is finished. A second Ctrl-C ends it
/// all: what is in flight then may come twice.
async fn put_back(
    requeuer: Box<dyn Requeuer>,
    dead_letters: Box<dyn OpenStore>,
    is_chosen: impl Fn(&dyn HeldDeadLetter) -> bool,
    target: impl Fn(&DeadLetter) -> Result<String, String>,
    summary: &mut Summary,
    bar: &ProgressBar,
) -> anyhow::Result<Ended> {
    let interrupted = tokio::signal::ctrl_c().map(drop).shared();
    tokio::select! {
        () = requeuer.open() => {}
        () = interrupted.clone() => return Ok(Ended::Stopped),
    }
    let mut failure = None;
    let mut dead_letters = dead_letters;
    {
        let fetched = stream::unfold(&mut dead_letters, |dead_letters| async {
            let next = dead_letters.next().await.transpose()?;
            Some((next, dead_letters))
        });
        let mut work = std::pin::pin!(
            fetched
                .take_until(interrupted.clone())
                .map(|held| {
                    let work = held.map(|held| {
                        let target = is_chosen(held.as_ref()).then(|| target(held.dead_letter()));
                        (held, target)
                    });
                    one(requeuer.as_ref(), work)
                })
                .buffer_unordered(IN_FLIGHT)
        );
        let mut again = std::pin::pin!(async {
            interrupted.clone().await;
            tokio::signal::ctrl_c().await.ok();
        });
        loop {
            let done = tokio::select! {
                done = work.next() => done,
                () = &mut again => return Ok(Ended::Stopped),
            };
            match done {
                None => break,
                Some(Ok(done)) => summary.note(done, bar),
                Some(Err(error)) => {
                    failure = Some(error);
                    break;
                }
            }
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    dead_letters.close().await?;
    requeuer.close().await;
    Ok(match interrupted.peek() {
        Some(()) => Ended::Stopped,
        None => Ended::Whole,
    })
}

/// The outcome for one dead letter.
enum Done {
    Skipped,
    PutBack(String),
    Failed { name: String, why: String },
}

type Work = Result<(Box<dyn HeldDeadLetter>, Option<Result<String, String>>), DeadLetterError>;

async fn one(requeuer: &dyn Requeuer, work: Work) -> anyhow::Result<Done> {
    let (held, target) = work?;
    let dead_letter = held.dead_letter();
    let name = dead_letter
        .file
        .clone()
        .unwrap_or_else(|| dead_letter.message_id().to_owned());
    Ok(match target {
        None => Done::Skipped,
        Some(Err(why)) => Done::Failed { name, why },
        Some(Ok(to)) => match requeuer.put_back(held, to).await {
            Ok(to) => Done::PutBack(plain(&to, PLACE_CHARS)),
            Err(error) => Done::Failed {
                name,
                why: ErrorChain(&error).to_string(),
            },
        },
    })
}

impl Summary {
    fn note(&mut self, done: Done, bar: &ProgressBar) {
        bar.inc(1);
        match done {
            Done::Skipped => self.n_skipped += 1,
            Done::PutBack(to) => *self.put_back.entry(to).or_default() += 1,
            Done::Failed { name, why } => {
                self.n_failed += 1;
                if self.n_failed <= REPORTED_MAX {
                    let text = format!("{}: {}", plain(&name, 64), plain(&why, 2000));
                    bar.suspend(|| streams::say(Severity::Error, text));
                }
            }
        }
    }
}
