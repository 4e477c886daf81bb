//! The judge: what went in, what came out, what is missing. Knows no broker.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The ids of a run, gathered by the test, judged when everything is at rest.
#[derive(Debug, Default, Clone)]
pub struct Oracle {
    /// How often each id was published: more than once where a confirm never came.
    pub attempted: BTreeMap<String, u64>,
    /// How often the broker confirmed each id.
    pub confirmed: BTreeMap<String, u64>,
    /// How often each id has a result.
    pub results: BTreeMap<String, u64>,
    /// How often each id has a dead letter.
    pub dead: BTreeMap<String, u64>,
    /// Ids that still wait in the input queue.
    pub waiting: BTreeSet<String>,
}

/// What the judge found; the default is a clean run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Confirmed ids that are nowhere.
    pub lost: BTreeSet<String>,
    /// Ids that came out and were never put in.
    pub unexpected: BTreeSet<String>,
    /// Results and dead letters beyond the first of each id, or beyond as many as were published.
    pub duplicated: u64,
}

impl Oracle {
    /// Notes a publish before it is made.
    pub fn attempt(&mut self, id: &str) {
        *self.attempted.entry(id.to_owned()).or_default() += 1;
    }

    /// Notes the broker's confirm.
    pub fn confirm(&mut self, id: &str) {
        *self.confirmed.entry(id.to_owned()).or_default() += 1;
    }

    /// Notes a result.
    pub fn result(&mut self, id: &str) {
        *self.results.entry(id.to_owned()).or_default() += 1;
    }

    /// Notes a dead letter.
    pub fn dead_letter(&mut self, id: &str) {
        *self.dead.entry(id.to_owned()).or_default() += 1;
    }

    /// Notes a message that is still in the input queue.
    pub fn still_waits(&mut self, id: &str) {
        self.waiting.insert(id.to_owned());
    }

    /// Judges the run: only when the host has stopped or drained.
    pub fn judge(&self) -> Verdict {
        let seen =
            |id: &String| self.results.contains_key(id) || self.dead.contains_key(id) || self.waiting.contains(id);
        let came_out = self.results.keys().chain(self.dead.keys()).chain(&self.waiting);
        let mut copies: BTreeMap<&String, u64> = BTreeMap::new();
        for (id, n) in self.results.iter().chain(&self.dead) {
            *copies.entry(id).or_default() += n;
        }
        let allowed = |id: &String| self.attempted.get(id).copied().unwrap_or_default().max(1);
        Verdict {
            lost: self.confirmed.keys().filter(|id| !seen(id)).cloned().collect(),
            unexpected: came_out
                .filter(|id| !self.attempted.contains_key(*id))
                .cloned()
                .collect(),
            duplicated: copies.into_iter().map(|(id, n)| n.saturating_sub(allowed(id))).sum(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lost,
            unexpected,
            duplicated,
        } = self;
        write!(
            f,
            "lost {}: {lost:?}; unexpected {}: {unexpected:?}; duplicated {duplicated}",
            lost.len(),
            unexpected.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Oracle, Verdict};

    /// Ids in, by letter: attempted, confirmed, results, dead letters, waiting; then lost, unexpected, duplicated.
    fn check(given: [&str; 5], lost: &str, unexpected: &str, duplicated: u64) {
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
        let set = |ids: &str| ids.chars().map(String::from).collect();
        let expected = Verdict {
            lost: set(lost),
            unexpected: set(unexpected),
            duplicated,
        };
        assert_eq!(oracle.judge(), expected, "{given:?}");
    }

    #[test]
    fn what_is_nowhere_is_lost_and_what_nobody_sent_is_unexpected() {
        check(["abc", "abc", "abc", "", ""], "", "", 0);
        check(["abc", "abc", "a", "b", "c"], "", "", 0);
        check(["abc", "abc", "a", "b", ""], "c", "", 0);
        check(["abc", "ab", "a", "b", ""], "", "", 0);
        check(["abc", "ab", "abc", "", ""], "", "", 0);
        check(["ab", "ab", "abx", "", ""], "", "x", 0);
        check(["ab", "ab", "ab", "y", "z"], "", "yz", 0);
    }

    #[test]
    fn every_copy_beyond_the_first_is_a_duplicate() {
        check(["ab", "ab", "aab", "", ""], "", "", 1);
        check(["ab", "ab", "ab", "a", ""], "", "", 1);
        check(["ab", "ab", "aaabb", "b", ""], "", "", 4);
        // Published twice because a confirm never came.
        check(["aab", "ab", "aab", "", ""], "", "", 0);
        // Delivered again after its result was confirmed and before its acknowledgement arrived: not a second output.
        check(["ab", "ab", "ab", "", "a"], "", "", 0);
    }
}
