//! What a run came to, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use millrace_tests::report::Report;
use serde_json::{Map, Value, json};

/// The end of a run.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) seed: u64,
    pub(crate) n_hosts: usize,
    pub(crate) seconds: f64,
    pub(crate) report: Report,
    pub(crate) faults: BTreeMap<String, u64>,
    /// Results and dead letters that came while faults happened.
    pub(crate) n_done_under_faults: u64,
    pub(crate) n_reconnects: usize,
    pub(crate) in_flight_at_faults: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) artefacts: PathBuf,
}

impl Verdict {
    pub(crate) fn json(&self) -> Value {
        let rows = self
            .report
            .rows()
            .map(|(word, count)| (word.to_owned(), Value::from(count)));
        json!({
            "seed": self.seed,
            "hosts": self.n_hosts,
            "seconds": self.seconds,
            "report": rows.into_iter().collect::<Map<_, _>>(),
            "faults": self.faults,
            "done_under_faults": self.n_done_under_faults,
            "reconnects": self.n_reconnects,
            "in_flight_at_faults": self.in_flight_at_faults,
            "violations": self.violations,
            "artefacts": self.artefacts,
            "valid": self.violations.is_empty(),
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: u64 = self.faults.values().sum();
        writeln!(
            f,
            "\nseed {}, {} hosts, {:.0} s, {faults} faults:",
            self.seed, self.n_hosts, self.seconds
        )?;
        for (kind, count) in &self.faults {
            writeln!(f, "  {kind:<16}{count:>5}")?;
        }
        writeln!(
            f,
            "{} messages were done while faults happened, hosts connected again {} times,\nat most {} messages were in flight when hosts were cut off\n",
            self.n_done_under_faults, self.n_reconnects, self.in_flight_at_faults
        )?;
        write!(f, "{}", self.report)?;
        for violation in &self.violations {
            writeln!(f, "VIOLATION: {violation}")?;
        }
        let verdict = if self.violations.is_empty() {
            "valid"
        } else {
            "NOT VALID"
        };
        write!(f, "\n{verdict}; logs and schedule are in {}", self.artefacts.display())
    }
}
