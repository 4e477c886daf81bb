//! The time line of a trial as text and as JSON, and its verdict.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::fleet::History;
use crate::load::Account;
use crate::rule::Rule;

/// Looks that share a line of the text.
const LOOKS_A_LINE: usize = 5;
/// Columns of the longest bar.
const BAR: f64 = 30.0;

/// A look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) at: Duration,
    /// The load, as a part of what one host does.
    pub(crate) part: f64,
    pub(crate) n_waiting: f64,
    pub(crate) arrivals_per_second: f64,
    /// After the controller's decision.
    pub(crate) n_hosts: usize,
    pub(crate) n_done: usize,
    pub(crate) oldest_wait: Duration,
}

/// What a trial came to.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) rule: Rule,
    pub(crate) prefetch: u16,
    pub(crate) rows: Vec<Row>,
    pub(crate) history: History,
    pub(crate) account: Account,
    pub(crate) n_left: u32,
    pub(crate) n_dead: u32,
    pub(crate) n_quarantined: u32,
}

impl Report {
    /// Everything, for other programs.
    pub(crate) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "at_seconds": row.at.as_secs_f64(),
                "load": row.part,
                "waiting": row.n_waiting,
                "arrivals_per_second": row.arrivals_per_second,
                "hosts": row.n_hosts,
                "done": row.n_done,
                "oldest_wait_seconds": row.oldest_wait.as_secs_f64(),
            })
        });
        let seconds = |durations: &[Duration]| durations.iter().map(Duration::as_secs_f64).collect::<Vec<_>>();
        json!({
            "prefetch": self.prefetch,
            "rule": {
                "rate_per_host": self.rule.rate_per_host,
                "drain_seconds": self.rule.drain_seconds,
                "hosts_min": self.rule.hosts_min,
                "hosts_max": self.rule.hosts_max,
                "spare": self.rule.spare,
                "calm_seconds": self.rule.calm.as_secs_f64(),
                "cooldown_seconds": self.rule.cooldown.as_secs_f64(),
            },
            "sent": self.account.n_sent,
            "with_result": self.account.n_done,
            "lost": self.n_lost(),
            "duplicates": self.account.n_duplicates,
            "foreign": self.account.n_foreign,
            "dead_letters": self.n_dead,
            "quarantined": self.n_quarantined,
            "still_waiting": self.n_left,
            "host_seconds": self.host_seconds(),
            "start_seconds": seconds(&self.history.starts),
            "drain_seconds": seconds(&self.history.drains),
            "peak_bytes": self.history.peaks_bytes,
            "looks": rows.collect::<Vec<_>>(),
        })
    }

    /// Demands one result for each message.
    ///
    /// # Errors
    /// When one is lost, or in a place where none should be.
    pub(crate) fn judge(&self) -> Result<()> {
        ensure!(self.n_lost() == 0, "{} messages are lost", self.n_lost());
        let n_astray = self.n_left + self.n_dead + self.n_quarantined;
        ensure!(
            n_astray == 0 && self.account.n_foreign == 0,
            "messages where there should be none"
        );
        let n_most = self.rows.iter().map(|row| row.n_hosts).max().unwrap_or(0);
        ensure!(
            n_most > self.rule.hosts_min,
            "no host was ever added: nothing was tried"
        );
        let n_last = self.rows.last().map_or(0, |row| row.n_hosts);
        ensure!(n_last < n_most, "no host was ever stopped: nothing was tried");
        Ok(())
    }

    fn n_lost(&self) -> usize {
        self.account.n_sent - self.account.n_done
    }

    /// What the hosts cost.
    fn host_seconds(&self) -> f64 {
        let pairs = self.rows.iter().zip(self.rows.iter().skip(1));
        pairs
            .map(|(row, next)| row.n_hosts as f64 * (next.at - row.at).as_secs_f64())
            .sum()
    }

    fn time_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "   time   load  waiting  arrive/s  done/s  oldest  hosts")?;
        let longest = self.rows.iter().map(|row| row.n_waiting).fold(1.0, f64::max);
        let mut before = self.rows.first().copied();
        for row in self.rows.iter().skip(LOOKS_A_LINE - 1).step_by(LOOKS_A_LINE) {
            let done = before.map_or(0.0, |before| {
                (row.n_done - before.n_done) as f64 / (row.at - before.at).as_secs_f64()
            });
            writeln!(
                f,
                "{:>5.0} s {:>4.0} % {:>8.0} {:>9.0} {:>7.0} {:>5.1} s  {:<5}  {}",
                row.at.as_secs_f64(),
                row.part * 100.0,
                row.n_waiting,
                row.arrivals_per_second,
                done,
                row.oldest_wait.as_secs_f64(),
                "#".repeat(row.n_hosts),
                "=".repeat((row.n_waiting / longest * BAR).round() as usize),
            )?;
            before = Some(*row);
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.time_line(f)?;
        let seconds = |durations: &[Duration]| {
            let shown = durations
                .iter()
                .map(|duration| format!("{:.1}", duration.as_secs_f64()));
            shown.collect::<Vec<_>>().join(", ")
        };
        let Account {
            n_sent, n_duplicates, ..
        } = self.account;
        let longest = self.rows.iter().map(|row| row.oldest_wait).max().unwrap_or_default();
        let most = self.rows.iter().map(|row| row.n_waiting).fold(0.0, f64::max);
        writeln!(
            f,
            "\n{n_sent} messages sent, {} lost, {n_duplicates} duplicates, {} dead letters, {} in quarantine",
            self.n_lost(),
            self.n_dead,
            self.n_quarantined
        )?;
        writeln!(
            f,
            "longest queue {most:.0}, longest wait {:.1} s, {:.0} host-seconds",
            longest.as_secs_f64(),
            self.host_seconds()
        )?;
        writeln!(f, "starts until ready: {} s", seconds(&self.history.starts))?;
        writeln!(f, "drains after SIGTERM: {} s", seconds(&self.history.drains))?;
        let peak = self.history.peaks_bytes.iter().max().copied().unwrap_or(0);
        write!(f, "the most memory of a host: {} MiB", peak >> 20)
    }
}
