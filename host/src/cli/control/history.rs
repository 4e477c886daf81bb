//! `millrace history`: what was changed, when, by whom, and what came of it.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::bail;
use clap::Args;

use super::HostArguments;
use super::change::{told, word};
use super::status::headline;
use super::table::{ago, shown, table};
use crate::cli::output::{Reader, plain, print};
use crate::control::ChangeRecord;

/// Changes that fit on a screen.
const LISTED: usize = 20;

/// The most of one line of the table.
const CELL_CHARS: usize = 100;

/// Lines of one change in the table.
const CHANGES_SHOWN: usize = 4;

/// `millrace history`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// A change by its number, in full; the list has the numbers
    #[arg(value_name = "NUMBER")]
    number: Option<u64>,
    /// How many of the last changes; a host remembers 256
    #[arg(short = 'n', long, value_name = "N", default_value_t = LISTED, conflicts_with = "number")]
    last: usize,
    #[command(flatten)]
    host: HostArguments,
}

const EXAMPLES: &str = "\
Examples:
  millrace history                        the last 20 changes, the newest at the end
  millrace history 12                     everything about one, such as why it was refused
  millrace history --json | jq 'select(.outcome == \"undone\")'";

pub(in crate::cli) async fn history(options: Options) -> anyhow::Result<ExitCode> {
    let host = options.host.host()?;
    let mut changes = host.client.history().await.map_err(|error| host.explain(error))?;
    match options.number {
        Some(number) => {
            changes.retain(|change| change.number == number);
            if changes.is_empty() {
                bail!("no change {number}: the host remembers the last 256 since it began");
            }
        }
        None => drop(changes.drain(..changes.len().saturating_sub(options.last))),
    }
    let now = SystemTime::now();
    if options.host.json {
        for change in &changes {
            if print(super::json_line(change)?)? == Reader::Left {
                break;
            }
        }
    } else if let (Some(_), Some(change)) = (options.number, changes.first()) {
        print(format_args!("{}\n{}", headline(change, now), told(change).trim_end()))?;
    } else {
        print(listed(&changes, now).trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn listed(changes: &[ChangeRecord], now: SystemTime) -> String {
    let mut rows = table(["CHANGE", "OUTCOME", "GENERATION", "WHEN", "BY", "WHAT"]);
    for change in changes {
        rows.add_row([
            change.number.to_string(),
            word(change.outcome).to_owned(),
            change.generation.to_string(),
            ago(&change.at, now),
            plain(&change.by, 64),
            what(change),
        ]);
    }
    shown(&rows, "OUTCOME")
}

/// The changes, and the beginning of the reason where it failed.
fn what(change: &ChangeRecord) -> String {
    let mut lines: Vec<String> = change.changes.iter().map(|text| plain(text, CELL_CHARS)).collect();
    if lines.len() > CHANGES_SHOWN {
        let n_more = lines.len() - CHANGES_SHOWN;
        lines.truncate(CHANGES_SHOWN);
        lines.push(format!("and {n_more} more"));
    }
    let reason = change.reason.as_deref().and_then(|reason| reason.lines().next());
    match (change.step.as_deref(), reason) {
        (Some(step), Some(reason)) => lines.push(format!("{}: {}", plain(step, 64), plain(reason, CELL_CHARS))),
        (None, Some(text)) | (Some(text), None) => lines.push(plain(text, CELL_CHARS)),
        (None, None) => {}
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ChangeOutcome;

    #[test]
    fn a_history_reads_like_this() {
        let change = |number, outcome, changes: &[&str], step: Option<&str>, reason: Option<&str>| ChangeRecord {
            number,
            at: "2026-01-01T23:57:00.000Z".to_owned(),
            by: if number == 1 { "start" } else { "control (uid 1000)" }.to_owned(),
            changes: changes.iter().map(ToString::to_string).collect(),
            outcome,
            generation: 7,
            step: step.map(str::to_owned),
            reason: reason.map(str::to_owned),
            took_ms: 420,
        };
        let many: Vec<String> = (0..7).map(|n| format!("plugin p{n}: added")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let changes = [
            change(1, ChangeOutcome::Done, &many, None, None),
            change(9, ChangeOutcome::Unchanged, &[], None, None),
            change(
                10,
                ChangeOutcome::Refused,
                &["plugin crop: 1a2b3c4d5e6f -> 7a8b9c0d1e2f"],
                Some("smoke-test"),
                Some("expected `arrow`\nfound `star`"),
            ),
        ];
        let now = humantime::parse_rfc3339("2026-01-02T00:00:00Z").unwrap();
        let text = listed(&changes, now);
        let expected = "
 CHANGE  OUTCOME    GENERATION  WHEN       BY                  WHAT
 1       done       7           3 min ago  start               plugin p0: added
                                                               plugin p1: added
                                                               plugin p2: added
                                                               plugin p3: added
                                                               and 3 more
 9       unchanged  7           3 min ago  control (uid 1000)
 10      refused    7           3 min ago  control (uid 1000)  plugin crop: 1a2b3c4d5e6f -> 7a8b9c0d1e2f
                                                               smoke-test: expected `arrow`
";
        assert_eq!(format!("\n{}", anstream::adapter::strip_str(&text)), expected);
        assert!(text.contains("\u{1b}[31mrefused\u{1b}[0m"), "{text:?}");
    }
}
