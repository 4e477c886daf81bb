//! `millrace dlq ls`: one line a dead letter, for people or as JSON.

use std::process::ExitCode;

use clap::Args;
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::PlaceArguments;
use super::output::{Reader, count, harmless, plain, print};
use super::place::shown;
use crate::dead_letter::{DeadLetter, Sender};
use crate::streams::{self, Severity};

/// The most of a text that is a cell of the table.
const CELL_CHARS: usize = 48;

/// The most of a file's name in the table: all of it.
const FILE_CHARS: usize = 255;

/// The most of a reason in the table.
const WHY_CHARS: usize = 160;

/// The most of a text in JSON: ours are shorter.
const VALUE_CHARS: usize = 4096;

/// `millrace dlq ls`
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    place: PlaceArguments,
    /// Only dead letters with this class of reason, such as `refused`; `broker` and `unknown` for those that no host wrote
    #[arg(long, value_name = "CLASS")]
    reason: Option<String>,
    /// At most this many; a quorum queue then moves those that were read to its end
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn list(options: Options) -> anyhow::Result<ExitCode> {
    let place = match options.place.place()? {
        Ok(place) => place,
        Err(code) => return Ok(code),
    };
    let mut dead_letters = place.open().await?;
    let mut table = Table::new();
    let has_files = place.are_files();
    let file = has_files.then_some("FILE").into_iter();
    table.load_preset(presets::NOTHING).set_header(file.chain([
        "MESSAGE", "TIME", "PIPELINE", "STAGE", "REASON", "PLUGIN", "ATTEMPT", "SIZE", "TEXT",
    ]));
    let mut n_listed = 0;
    while options.limit.is_none_or(|limit| n_listed < limit)
        && let Some(held) = dead_letters.next().await?
    {
        let dead_letter = held.dead_letter();
        if options
            .reason
            .as_deref()
            .is_some_and(|reason| reason != dead_letter.class())
        {
            continue;
        }
        n_listed += 1;
        if !options.json {
            // Whole: the other verbs name the dead letter by it.
            let file = has_files.then(|| plain(dead_letter.file.as_deref().unwrap_or("-"), FILE_CHARS));
            table.add_row(file.into_iter().chain(cells(dead_letter)));
        } else if print(harmless(&as_json(dead_letter).to_string()))? == Reader::Left {
            break;
        }
    }
    let n_left = dead_letters.n_left();
    dead_letters.close().await?;
    if !options.json {
        match n_listed {
            0 => print(format_args!("no dead letters in the {}", shown(place.as_ref())))?,
            _ => print(table.trim_fmt())?,
        };
    }
    if n_left > 0 {
        let left = count(n_left, "more dead letter");
        streams::say(Severity::Note, format_args!("{left} not looked at: raise --limit"));
    }
    Ok(ExitCode::SUCCESS)
}

fn cells(dead_letter: &DeadLetter) -> [String; 9] {
    let fact = |name: &str| plain(dead_letter.fact(name).unwrap_or("-"), CELL_CHARS);
    // Seconds are enough to find one's way.
    let time = fact("time").chars().take("2026-01-01T00:00:00".len()).collect();
    [
        plain(dead_letter.message_id(), CELL_CHARS),
        time,
        fact("pipeline"),
        fact("stage"),
        plain(dead_letter.class(), CELL_CHARS),
        plain(dead_letter.plugin().as_deref().unwrap_or("-"), CELL_CHARS),
        fact("attempt"),
        dead_letter.n_bytes.to_string(),
        // Last, so that a long one pushes nothing aside; `dlq show` has the whole of it.
        plain(dead_letter.why(), WHY_CHARS),
    ]
}

/// The columns of a dead letter without its headers and its body.
fn as_json(dead_letter: &DeadLetter) -> Value {
    let cut = |text: &str| text.chars().take(VALUE_CHARS).collect::<String>();
    let fact = |name: &str| dead_letter.fact(name).map(cut);
    json!({
        "id": cut(&dead_letter.id),
        "message_id": cut(dead_letter.message_id()),
        "file": dead_letter.file,
        "sender": match dead_letter.sender() {
            Sender::Millrace => "millrace",
            Sender::Broker => "broker",
            Sender::Stranger => "unknown",
        },
        "queue": dead_letter.queue().map(cut),
        "time": fact("time"),
        "pipeline": fact("pipeline"),
        "stage": fact("stage"),
        "reason": cut(dead_letter.class()),
        "text": cut(dead_letter.text()),
        "plugin": fact("plugin"),
        "plugin_digest": fact("plugin-digest"),
        "attempt": dead_letter.fact("attempt").and_then(|attempt| attempt.parse::<u32>().ok()),
        "content_type": dead_letter.content_type.as_deref().map(cut),
        "bytes": dead_letter.n_bytes,
        "cut_headers": dead_letter.n_cut,
    })
}
