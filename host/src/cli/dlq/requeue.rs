//! `millrace dlq requeue`: messages go back where they came from. A dead letter is removed when its message has arrived.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use futures_util::{FutureExt, StreamExt, stream};
use indicatif::ProgressBar;

use super::output::{count, plain, print};
use super::place::{DeadLetterPlace, DeadLetters, FoundDeadLetter, PlaceArguments};
use crate::config::BrokerAccess;
use crate::connect::amqp::PuttingBack;
use crate::dead_letter::DeadLetter;
use crate::error_chain::ErrorChain;
use crate::streams::{self, Severity};

/// Dead letters in flight at a time: enough to hide the round trips, and few bodies in memory.
const IN_HAND: usize = 16;

/// Failures that are listed one by one; of more, only the number.
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
    if options.to.is_some() && matches!(place, DeadLetterPlace::Folder { .. }) {
        bail!(
            "--to names a queue, but these dead letters are in a folder: requeue moves their files back into that folder"
        );
    }
    let mut chosen = Vec::new();
    if let Some(id) = &options.which.id {
        chosen = place.find(id).await?.iter().map(FoundDeadLetter::handle).collect();
    }
    let is_chosen = |held: &FoundDeadLetter| match (&options.which.id, &options.which.reason) {
        (Some(_), _) => chosen.contains(&held.handle()),
        (None, Some(reason)) => held.dead_letter().class() == reason,
        (None, None) => true,
    };
    let dead_letters = DeadLetters::open(&place).await?;
    let bar = ProgressBar::new(dead_letters.n_left() as u64);
    let mut summary = Summary::default();
    let ended = match (&place, dead_letters) {
        (DeadLetterPlace::Queue { access, .. }, dead_letters @ DeadLetters::Queue(_)) => {
            let target = |dead_letter: &DeadLetter| target(dead_letter, &place, &options);
            publish(access, dead_letters, is_chosen, target, &mut summary, &bar).await
        }
        (_, dead_letters) => rename(dead_letters, is_chosen, &mut summary, &bar).await,
    };
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
            format_args!("stopped: the remaining dead letters are still in the {}", place.shown()),
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
fn target(dead_letter: &DeadLetter, place: &DeadLetterPlace, options: &Options) -> Result<String, String> {
    if dead_letter.n_cut > 0 && !options.cut_ok {
        let names: Vec<String> = dead_letter.cut_names.iter().map(|name| plain(name, 64)).collect();
        return Err(format!(
            "its dead letter lacks some of its headers ({} cut: {}): --cut-ok puts it back without them",
            dead_letter.n_cut,
            names.join(", ")
        ));
    }
    if let Some(to) = &options.to {
        return Ok(to.clone());
    }
    let Some(queue) = dead_letter.queue() else {
        return Err("it does not name the queue that it came from: name one with --to".to_owned());
    };
    let DeadLetterPlace::Queue {
        sources: Some(sources), ..
    } = place
    else {
        return Ok(queue.to_owned());
    };
    // A dead letter is not believed: it must not choose any queue that this user may publish to.
    match sources.contains(queue) {
        true => Ok(queue.to_owned()),
        false => Err(format!(
            "it came from `{}`, which is not a source in the file: name a queue with --to",
            plain(queue, 255)
        )),
    }
}

/// Through the broker, several at a time; Ctrl-C stops reading, and dead letters in flight are finished. A second
/// Ctrl-C ends it all: dead letters in flight then may come twice.
async fn publish(
    access: &BrokerAccess,
    dead_letters: DeadLetters,
    is_chosen: impl Fn(&FoundDeadLetter) -> bool,
    target: impl Fn(&DeadLetter) -> Result<String, String>,
    summary: &mut Summary,
    bar: &ProgressBar,
) -> anyhow::Result<Ended> {
    let putting_back = PuttingBack::start(access);
    let interrupted = tokio::signal::ctrl_c().map(drop).shared();
    tokio::select! {
        () = putting_back.open() => {}
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
                        let target = is_chosen(&held).then(|| target(held.dead_letter()));
                        (held, target)
                    });
                    one(&putting_back, work)
                })
                .buffer_unordered(IN_HAND)
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
    putting_back.close().await;
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

type Work = anyhow::Result<(FoundDeadLetter, Option<Result<String, String>>)>;

async fn one(putting_back: &PuttingBack, work: Work) -> anyhow::Result<Done> {
    let (held, target) = work?;
    let name = held.dead_letter().message_id().to_owned();
    Ok(match (held, target) {
        (_, None) | (FoundDeadLetter::Folder(_), _) => Done::Skipped,
        (_, Some(Err(why))) => Done::Failed { name, why },
        (FoundDeadLetter::Queue(held), Some(Ok(to))) => match putting_back.put_back(*held, &to).await {
            Ok(()) => Done::PutBack(format!("queue `{}`", plain(&to, 255))),
            Err(error) => Done::Failed {
                name,
                why: ErrorChain(&error).to_string(),
            },
        },
    })
}

/// By renames, one after the other; a kill between two loses nothing.
async fn rename(
    mut dead_letters: DeadLetters,
    is_chosen: impl Fn(&FoundDeadLetter) -> bool,
    summary: &mut Summary,
    bar: &ProgressBar,
) -> anyhow::Result<Ended> {
    while let Some(held) = dead_letters.next().await? {
        let done = match (&dead_letters, &held) {
            (DeadLetters::Folder(dead_letters), FoundDeadLetter::Folder(found)) if is_chosen(&held) => {
                match dead_letters.put_back(found) {
                    Ok(()) => Done::PutBack("the inbox".to_owned()),
                    Err(error) => Done::Failed {
                        name: found.dead_letter.file.clone().unwrap_or_default(),
                        why: ErrorChain(&error).to_string(),
                    },
                }
            }
            _ => Done::Skipped,
        };
        summary.note(done, bar);
    }
    Ok(Ended::Whole)
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
