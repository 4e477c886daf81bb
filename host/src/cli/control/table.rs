//! The common parts of a host's tables: colours of states, versions, times. Knows no table.

use std::time::{Duration, SystemTime};

use anstyle::{AnsiColor, Style};
use comfy_table::{Table, presets};

/// A table without lines.
pub(super) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table
}

/// The first digits of a digest: enough to distinguish builds in results and dead letters.
pub(super) fn version(digest: &str) -> String {
    digest.chars().take(12).collect()
}

/// How good it is that something is called so.
pub(super) fn style_of(word: &str) -> Style {
    match word {
        "running" | "done" => AnsiColor::Green.on_default(),
        "starting" | "paused" | "draining" => AnsiColor::Yellow.on_default(),
        "holding" | "breaker-open" | "disconnected" | "stalled" | "refused" | "undone" => AnsiColor::Red.on_default(),
        _ => Style::new(),
    }
}

/// A word in its colour.
pub(super) fn coloured(word: &str) -> String {
    let style = style_of(word);
    format!("{style}{word}{style:#}")
}

/// A table as text, with the words of one column in their colours. What stands before that column must be ASCII.
///
/// comfy-table counts the bytes of a colour as width, so it never sees one.
pub(super) fn shown(table: &Table, column: &str) -> String {
    let text = table.trim_fmt();
    let at = text.lines().next().and_then(|header| header.find(column));
    let mut lines = Vec::new();
    for line in text.lines() {
        let cell = at.and_then(|at| line.split_at_checked(at));
        lines.push(match cell {
            Some((before, rest)) => {
                let word: String = rest.chars().take_while(|c| !c.is_whitespace()).collect();
                let after = rest.get(word.len()..).unwrap_or_default();
                format!("{before}{}{after}", coloured(&word))
            }
            None => line.to_owned(),
        });
    }
    lines.join("\n") + "\n"
}

/// How long ago a time was, for people; a time that cannot be read is shown as it is.
pub(super) fn ago(at: &str, now: SystemTime) -> String {
    match humantime::parse_rfc3339(at) {
        // The clocks of two machines may differ.
        Ok(at) => match now.duration_since(at) {
            Ok(passed) if passed >= Duration::from_secs(1) => format!("{} ago", lasting(passed.as_secs())),
            _ => "just now".to_owned(),
        },
        Err(_) => super::output::plain(at, 32),
    }
}

/// Seconds in a readable unit.
pub(super) fn lasting(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        // Two days are easier to place than a single one.
        HOUR..172_800 => format!("{} h", seconds / HOUR),
        _ => format!("{} d", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_say_them() {
        let now = humantime::parse_rfc3339("2026-01-02T00:00:00Z").unwrap();
        for (at, expected) in [
            ("2026-01-02T00:00:00.000Z", "just now"),
            ("2026-01-02T00:00:07Z", "just now"),
            ("2026-01-01T23:59:48.100Z", "11 s ago"),
            ("2026-01-01T23:56:10.000Z", "3 min ago"),
            ("2026-01-01T00:00:00.000Z", "24 h ago"),
            ("2025-12-24T00:00:00.000Z", "9 d ago"),
            ("yester\u{1b}day", "yester\\u{1b}day"),
        ] {
            assert_eq!(ago(at, now), expected, "{at}");
        }
    }

    #[test]
    fn only_the_words_of_one_column_have_colours() {
        let mut table = table(["NAME", "STATE", "N"]);
        table.add_row(["running", "paused", "1"]);
        table.add_row(["paused-running", "running", "2"]);
        table.add_row(["b", "", "3"]);
        assert_eq!(
            shown(&table, "STATE"),
            " NAME            STATE    N\n running         \u{1b}[33mpaused\u{1b}[0m   1\n paused-running  \
             \u{1b}[32mrunning\u{1b}[0m  2\n b                        3\n"
        );
    }
}
