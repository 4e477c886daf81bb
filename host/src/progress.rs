//! The summary of a run: a bar while it lasts, a table when it is over. Knows no source and no plugin.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use comfy_table::modifiers::UTF8_ROUND_CORNERS;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::counters::{Counts, PipelineCounters};
use crate::streams::{self, Footer};

/// Rows of labels in a summary, the most frequent first; the others are added up in one.
const LABEL_ROWS_MAX: usize = 20;

/// Longest label in a summary, in characters.
const LABEL_CHARS_MAX: usize = 60;

const TEMPLATE: &str = "{spinner} {bar:32} {pos}/{len} messages, {per_sec}, {eta} left";

/// A run's counts as a table, and its rate.
#[derive(Debug)]
pub struct Summary {
    counts: Counts,
    elapsed: Duration,
}

/// The bar on standard error. Cheap to clone; invisible until it is shown, and drawn by the writer of the log: a
/// terminal that is held (Ctrl-S) holds up nothing else.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    counts: Arc<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    n_finished: AtomicU64,
    n_all: AtomicU64,
}

/// The bar, where the log is written.
struct Bar {
    bar: ProgressBar,
    counts: Arc<Shown>,
}

impl Summary {
    /// The summary of all pipelines of a run of this length.
    pub fn new<'a>(all_counters: impl IntoIterator<Item = &'a Arc<PipelineCounters>>, elapsed: Duration) -> Self {
        let mut counts = Counts::default();
        for counters in all_counters {
            counts.merge(&counters.counts());
        }
        Self { counts, elapsed }
    }

    /// Its noun, and its count.
    fn rows(&self) -> Vec<(String, u64)> {
        let mut labels: Vec<_> = self.counts.labels.iter().collect();
        // The map's order, by name, stays among equals.
        labels.sort_by(|(_, a), (_, b)| b.cmp(a));
        let n_cut: u64 = labels.iter().skip(LABEL_ROWS_MAX).map(|(_, count)| **count).sum();
        let mut rows: Vec<_> = labels
            .into_iter()
            .take(LABEL_ROWS_MAX)
            .map(|(label, count)| (printable(label), *count))
            .collect();
        rows.push(("(other labels)".to_owned(), n_cut + self.counts.n_other_labels));
        rows.push(("(no label)".to_owned(), self.counts.n_unlabelled));
        rows.push(("skipped".to_owned(), self.counts.n_skipped));
        rows.extend(
            self.counts
                .rejected
                .iter()
                .map(|(class, count)| (format!("rejected: {class}"), *count)),
        );
        rows.retain(|(_, count)| *count > 0);
        rows
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n_finished = self.counts.n_finished();
        let mut table = Table::new();
        table
            .load_preset(UTF8_FULL_CONDENSED)
            .apply_modifier(UTF8_ROUND_CORNERS);
        table.set_header(["result", "messages", "share"]);
        for (what, count) in self.rows() {
            let share = 100.0 * count as f64 / n_finished as f64;
            table.add_row([what, count.to_string(), format!("{share:.1} %")]);
        }
        table.add_row(["total".to_owned(), n_finished.to_string(), String::new()]);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "{table}")?;
        let seconds = self.elapsed.as_secs_f64();
        write!(f, "{n_finished} messages in {seconds:.1} s")?;
        if seconds > 0.0 {
            write!(f, ", {:.1} a second", n_finished as f64 / seconds)?;
        }
        for (count, what) in [
            (self.counts.n_retried, "tried again"),
            (self.counts.n_quarantined, "quarantined"),
            (self.counts.n_returned, "returned"),
            (self.counts.n_lost, "will be redelivered"),
        ] {
            if count > 0 {
                write!(f, "; {count} {what}")?;
            }
        }
        Ok(())
    }
}

impl Progress {
    /// A bar that does not show.
    pub fn hidden() -> Self {
        Self::default()
    }

    /// Shows the bar where standard error is a terminal; elsewhere it stays hidden.
    pub fn show(&self) {
        if streams::is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            streams::show(Box::new(Bar::new(bar, &self.counts)));
        }
    }

    /// Moves the bar: messages done with, and messages that wait or are in flight. Cheap enough for every message.
    pub fn update(&self, n_finished: u64, backlog: usize) {
        let n_all = n_finished.saturating_add(u64::try_from(backlog).unwrap_or(u64::MAX));
        self.counts.n_finished.store(n_finished, Ordering::Relaxed);
        self.counts.n_all.store(n_all, Ordering::Relaxed);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        streams::hide();
    }
}

impl Bar {
    fn new(bar: ProgressBar, counts: &Arc<Shown>) -> Self {
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        let counts = Arc::clone(counts);
        Self { bar, counts }
    }
}

impl Footer for Bar {
    fn draw(&mut self) {
        self.bar.set_length(self.counts.n_all.load(Ordering::Relaxed));
        self.bar.set_position(self.counts.n_finished.load(Ordering::Relaxed));
        self.bar.tick();
    }

    fn aside(&mut self, write: &mut dyn FnMut()) {
        self.bar.suspend(write);
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A label as it can be shown: model folders are not trusted to know terminals.
fn printable(label: &str) -> String {
    let mut text: String = label
        .chars()
        .take(LABEL_CHARS_MAX)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if label.chars().nth(LABEL_CHARS_MAX).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{LABELS_MAX, Outcome};
    use crate::disposition::ReasonClass;

    fn summary_of(counters: &Arc<PipelineCounters>) -> String {
        Summary::new([counters], Duration::from_secs(2)).to_string()
    }

    #[test]
    fn a_summary_counts_labels_and_failures() {
        let counters = Arc::new(PipelineCounters::default());
        for label in ["square", "circle", "square", "triangle", "square"] {
            counters.receive().settle(Outcome::Acked(Some(label)));
        }
        for outcome in [
            Outcome::Acked(None),
            Outcome::Skipped,
            Outcome::Rejected(ReasonClass::Refused),
            Outcome::Rejected(ReasonClass::Refused),
            Outcome::Rejected(ReasonClass::Trap),
            Outcome::Retried,
            Outcome::Returned,
            Outcome::Lost,
        ] {
            counters.receive().settle(outcome);
        }
        assert_eq!(counters.n_finished(), 10);
        let expected = "\
╭───────────────────┬──────────┬────────╮
│ result            ┆ messages ┆  share │
╞═══════════════════╪══════════╪════════╡
│ square            ┆        3 ┆ 30.0 % │
│ circle            ┆        1 ┆ 10.0 % │
│ triangle          ┆        1 ┆ 10.0 % │
│ (no label)        ┆        1 ┆ 10.0 % │
│ skipped           ┆        1 ┆ 10.0 % │
│ rejected: refused ┆        2 ┆ 20.0 % │
│ rejected: trap    ┆        1 ┆ 10.0 % │
│ total             ┆       10 ┆        │
╰───────────────────┴──────────┴────────╯
10 messages in 2.0 s, 5.0 a second; 1 tried again; 1 returned; 1 will be redelivered";
        assert_eq!(summary_of(&counters), expected);
    }

    #[test]
    fn a_summary_of_nothing_is_short() {
        let text = Summary::new([], Duration::ZERO).to_string();
        assert!(text.ends_with("\n0 messages in 0.0 s"), "{text}");
        assert!(!text.contains("NaN"), "{text}");
    }

    #[test]
    fn labels_are_bounded_and_harmless() {
        let counters = Arc::new(PipelineCounters::default());
        for index in 0..2 * LABELS_MAX {
            counters
                .receive()
                .settle(Outcome::Acked(Some(&format!("label {index:05}"))));
        }
        for _ in 0..2 {
            counters.receive().settle(Outcome::Acked(Some("label 00000")));
        }
        let text = summary_of(&counters);
        assert_eq!(text.lines().count(), LABEL_ROWS_MAX + 7);
        assert!(text.contains("label 00000 "), "{text}");
        // All but the first twenty labels, of which one was seen three times.
        let n_other = 2 * LABELS_MAX - LABEL_ROWS_MAX;
        let other = text
            .lines()
            .find(|line| line.contains("(other labels)"))
            .expect("a row");
        assert!(other.contains(&format!(" {n_other} ")), "{other}");
        assert!(text.contains(&format!("{} messages in", 2 * LABELS_MAX + 2)), "{text}");

        assert_eq!(printable("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(printable(&"ä".repeat(61)), "ä".repeat(60) + "…");
        assert_eq!(printable(&"ä".repeat(60)), "ä".repeat(60));
    }

    #[test]
    fn a_bar_follows_the_counts() {
        ProgressStyle::with_template(TEMPLATE).expect("a template");
        let progress = Progress::hidden();
        let hidden = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        let mut bar = Bar::new(hidden, &progress.counts);
        progress.update(3, 7);
        bar.draw();
        assert_eq!((bar.bar.position(), bar.bar.length()), (3, Some(10)));
        // More files came than were done.
        progress.update(4, 20);
        bar.draw();
        assert_eq!((bar.bar.position(), bar.bar.length()), (4, Some(24)));
        bar.finish();
    }
}
