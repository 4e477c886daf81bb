//! What a run came to, in the words of Jepsen's queue checker. Knows no broker.

use std::collections::BTreeMap;
use std::fmt;

use crate::oracle::Oracle;

/// Counts of messages, as `total-queue` of Jepsen defines them over multisets of what was enqueued and dequeued
/// (jepsen/src/jepsen/checker.clj, "What goes in *must* come out"). A publish that is repeated because its confirm
/// never came is another attempt at the same id, so a copy that the publisher made is none of the host's duplicates.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Publishes that were begun.
    pub attempts: u64,
    /// Publishes that the broker confirmed (`:acknowledged-count`, "enqueues").
    pub acknowledged: u64,
    /// What came out and was attempted, as often as it was attempted (dequeues ∩ attempts).
    pub ok: u64,
    /// What was confirmed and never came out (enqueues − dequeues); of a message confirmed twice one copy is enough,
    /// because a copy with the same id is what the host may drop.
    pub lost: u64,
    /// What came out and was never attempted.
    pub unexpected: u64,
    /// What came out more often than it was attempted (dequeues − attempts − unexpected).
    pub duplicated: u64,
    /// What came out although nobody knows whether its publish succeeded (ok − enqueues).
    pub recovered: u64,
}

impl Report {
    /// Counts a run; only when everything is at rest.
    pub fn of(oracle: &Oracle) -> Self {
        let mut dequeues: BTreeMap<&str, u64> = BTreeMap::new();
        for (id, copies) in oracle.results.iter().chain(&oracle.dead) {
            *dequeues.entry(id).or_default() += copies;
        }
        for id in &oracle.waiting {
            dequeues.entry(id).or_insert(1);
        }
        let count = |of: &BTreeMap<String, u64>, id: &str| of.get(id).copied().unwrap_or_default();
        let mut report = Self {
            attempts: oracle.attempted.values().sum(),
            acknowledged: oracle.confirmed.values().sum(),
            lost: oracle
                .confirmed
                .keys()
                .filter(|id| !dequeues.contains_key(id.as_str()))
                .count() as u64,
            ..Self::default()
        };
        for (id, copies) in dequeues {
            let (attempts, enqueues) = (count(&oracle.attempted, id), count(&oracle.confirmed, id));
            let ok = copies.min(attempts);
            report.ok += ok;
            report.recovered += ok.saturating_sub(enqueues);
            match attempts {
                0 => report.unexpected += copies,
                _ => report.duplicated += copies - ok,
            }
        }
        report
    }

    /// The words and their counts, in the order in which they are printed.
    pub fn rows(&self) -> [(&'static str, u64); 7] {
        [
            ("attempts", self.attempts),
            ("acknowledged", self.acknowledged),
            ("ok", self.ok),
            ("lost", self.lost),
            ("unexpected", self.unexpected),
            ("duplicated", self.duplicated),
            ("recovered", self.recovered),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, count) in self.rows() {
            writeln!(f, "{word:<14}{count:>9}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Report;
    use crate::oracle::Oracle;

    /// Ids by letter, as often as they are written: attempted, confirmed, results, dead letters, waiting.
    #[track_caller]
    fn check(given: [&str; 5], expected: [u64; 7]) {
        let mut oracle = Oracle::default();
        let notes = [
            Oracle::attempt,
            Oracle::confirm,
            Oracle::result,
            Oracle::dead_letter,
            Oracle::still_waits,
        ];
        for (ids, note) in given.into_iter().zip(notes) {
            ids.chars().for_each(|id| note(&mut oracle, &id.to_string()));
        }
        assert_eq!(
            Report::of(&oracle).rows().map(|(_, count)| count),
            expected,
            "{given:?}"
        );
    }

    #[test]
    fn the_counts_are_those_of_the_queue_checker() {
        // attempts, acknowledged, ok, lost, unexpected, duplicated, recovered
        check(["ab", "ab", "a", "b", ""], [2, 2, 2, 0, 0, 0, 0]);
        check(["ab", "ab", "a", "", "b"], [2, 2, 2, 0, 0, 0, 0]);
        check(["ab", "ab", "a", "", ""], [2, 2, 1, 1, 0, 0, 0]);
        check(["ab", "a", "ab", "", ""], [2, 1, 2, 0, 0, 0, 1]);
        check(["ab", "a", "a", "", ""], [2, 1, 1, 0, 0, 0, 0]);
        check(["a", "a", "ax", "", ""], [1, 1, 1, 0, 1, 0, 0]);
        check(["a", "a", "aa", "a", ""], [1, 1, 1, 0, 0, 2, 0]);
        check(["a", "a", "a", "", "a"], [1, 1, 1, 0, 0, 0, 0]);
        // Published again because the first confirm never came: the second copy is the publisher's.
        check(["aa", "a", "aa", "", ""], [2, 1, 2, 0, 0, 0, 1]);
        check(["aa", "a", "aaa", "", ""], [2, 1, 2, 0, 0, 1, 1]);
    }
}
