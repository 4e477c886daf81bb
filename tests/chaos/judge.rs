//! The judge of a run: which message went in, what became of it, what must have. Knows no broker and no fault.

use std::collections::BTreeMap;

use millrace_tests::amqp::Arrival;
use millrace_tests::oracle::Oracle;
use millrace_tests::report::Report;

use crate::stage::{Fate, Order};

/// Violations that are told in full; the rest is counted.
const TOLD: usize = 20;

/// Everything that is known of the messages of a run.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    oracle: Oracle,
    fates: BTreeMap<String, Fate>,
    result_ids: BTreeMap<String, String>,
    wrong: Vec<String>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    /// The counts.
    pub(crate) report: Report,
    /// What must not be; empty for a run that was right.
    pub(crate) violations: Vec<String>,
}

impl Judge {
    /// Notes a publish before it is made.
    pub(crate) fn attempt(&mut self, order: &Order) {
        let id = order.parcel.id.clone().unwrap_or_default();
        self.oracle.attempt(&id);
        self.fates.insert(id, order.fate.clone());
    }

    /// Notes the broker's confirm.
    pub(crate) fn confirm(&mut self, order: &Order) {
        self.oracle.confirm(order.parcel.id.as_deref().unwrap_or_default());
    }

    /// Publishes that were begun, and confirmed ones.
    pub(crate) fn n_published(&self) -> (u64, u64) {
        (
            self.oracle.attempted.values().sum(),
            self.oracle.confirmed.values().sum(),
        )
    }

    /// Notes a result.
    pub(crate) fn result(&mut self, arrival: &Arrival) {
        let id = &arrival.correlation_id;
        self.oracle.result(id);
        let label = arrival
            .json()
            .ok()
            .and_then(|body| Some(body.get("label")?.as_str()?.to_owned()));
        match self.fates.get(id) {
            Some(Fate::Label(expected)) if label.as_ref() == Some(expected) => {}
            // Nobody sent it: the report counts it as unexpected.
            None => {}
            Some(fate) => self
                .wrong
                .push(format!("{id}: expected {fate:?}, found a result of {label:?}")),
        }
        let first = self.result_ids.entry(id.clone()).or_insert_with(|| arrival.id.clone());
        if *first != arrival.id {
            self.wrong
                .push(format!("{id}: two results with the ids {first} and {}", arrival.id));
        }
    }

    /// Notes a dead letter.
    pub(crate) fn dead_letter(&mut self, arrival: &Arrival) {
        let id = &arrival.correlation_id;
        self.oracle.dead_letter(id);
        let reason = arrival.header("x-millrace-reason");
        match self.fates.get(id) {
            Some(Fate::Dead(expected)) if *expected == reason => {}
            None => {}
            Some(fate) => {
                let text = arrival.header("x-millrace-text");
                self.wrong.push(format!(
                    "{id}: expected {fate:?}, found a dead letter: {reason}: {text}"
                ));
            }
        }
    }

    /// Notes a message that still waits when everything is over.
    pub(crate) fn waits(&mut self, id: &str) {
        self.oracle.still_waits(id);
        self.wrong.push(format!("{id}: still waits at the end"));
    }

    /// Judges; `in_flight_at_faults` is how many messages were in flight, at most, whenever hosts were cut off.
    pub(crate) fn judge(&self, in_flight_at_faults: u64) -> Judgement {
        let (report, verdict) = (Report::of(&self.oracle), self.oracle.judge());
        let mut violations: Vec<String> = self.wrong.clone();
        violations.extend(verdict.lost.iter().map(|id| format!("{id}: lost")));
        violations.extend(verdict.unexpected.iter().map(|id| format!("{id}: unexpected")));
        if report.duplicated > in_flight_at_faults {
            violations.push(format!(
                "{} duplicates, and no more than {in_flight_at_faults} were in flight when hosts were cut off",
                report.duplicated
            ));
        }
        if violations.len() > TOLD {
            let n_more = violations.len() - TOLD;
            violations.truncate(TOLD);
            violations.push(format!("and {n_more} more"));
        }
        Judgement { report, violations }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use millrace_tests::amqp::{Arrival, Parcel};

    use super::Judge;
    use crate::stage::{Fate, Order, Pipeline};

    fn order(id: &str, fate: Fate) -> Order {
        Order {
            pipeline: Pipeline::Images,
            parcel: Parcel::new(id, "body"),
            fate,
        }
    }

    fn arrival(id: &str, of: &str, reason: &str, label: &str) -> Arrival {
        Arrival {
            id: id.to_owned(),
            correlation_id: of.to_owned(),
            content_type: String::new(),
            persistent: true,
            headers: BTreeMap::from([("x-millrace-reason".to_owned(), reason.to_owned())]),
            body: format!("{{\"label\":\"{label}\"}}").into_bytes(),
        }
    }

    /// A circle and a poison go in; `plant` says what comes out, and the violations must be those.
    #[track_caller]
    fn check(plant: impl FnOnce(&mut Judge), expected: &[&str]) {
        let mut judge = Judge::default();
        for order in [
            order("picture", Fate::Label("circle".to_owned())),
            order("poison", Fate::Dead("refused")),
        ] {
            judge.attempt(&order);
            judge.confirm(&order);
        }
        plant(&mut judge);
        let found = judge.judge(1).violations;
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for expected in expected {
            assert!(
                found.iter().any(|found| found.contains(expected)),
                "{expected}: {found:?}"
            );
        }
    }

    fn right(judge: &mut Judge) {
        judge.result(&arrival("r", "picture", "", "circle"));
        judge.dead_letter(&arrival("d", "poison", "refused", ""));
    }

    #[test]
    fn a_run_that_is_right_has_no_violation() {
        check(right, &[]);
        let once_more = |judge: &mut Judge| {
            right(judge);
            judge.result(&arrival("r", "picture", "", "circle"));
        };
        check(once_more, &[]);
    }

    #[test]
    fn every_planted_violation_is_found() {
        check(
            |judge| judge.result(&arrival("r", "picture", "", "circle")),
            &["poison: lost"],
        );
        check(
            |judge| judge.dead_letter(&arrival("d", "poison", "refused", "")),
            &["picture: lost"],
        );
        let twice_more = |judge: &mut Judge| {
            right(judge);
            judge.result(&arrival("r", "picture", "", "circle"));
            judge.dead_letter(&arrival("d", "poison", "refused", ""));
        };
        check(twice_more, &["2 duplicates, and no more than 1"]);
        let other_id = |judge: &mut Judge| {
            right(judge);
            judge.result(&arrival("s", "picture", "", "circle"));
        };
        check(other_id, &["two results with the ids r and s"]);
        let stranger = |judge: &mut Judge| {
            right(judge);
            judge.result(&arrival("r", "stranger", "", "circle"));
        };
        check(stranger, &["stranger: unexpected"]);
        let wrong_label = |judge: &mut Judge| {
            judge.result(&arrival("r", "picture", "", "square"));
            judge.dead_letter(&arrival("d", "poison", "refused", ""));
        };
        check(wrong_label, &["found a result of Some(\"square\")"]);
        let innocent = |judge: &mut Judge| {
            judge.dead_letter(&arrival("d", "picture", "attempts-spent", ""));
            judge.dead_letter(&arrival("d", "poison", "refused", ""));
        };
        check(
            innocent,
            &["picture: expected Label(\"circle\"), found a dead letter: attempts-spent"],
        );
        let classified = |judge: &mut Judge| {
            right(judge);
            judge.dead_letter(&arrival("d", "picture", "refused", ""));
        };
        check(classified, &["picture: expected Label(\"circle\")"]);
        let answered = |judge: &mut Judge| {
            judge.result(&arrival("r", "picture", "", "circle"));
            judge.result(&arrival("p", "poison", "", "circle"));
        };
        check(answered, &["poison: expected Dead(\"refused\"), found a result"]);
        let waits = |judge: &mut Judge| {
            judge.result(&arrival("r", "picture", "", "circle"));
            judge.waits("poison");
        };
        check(waits, &["poison: still waits"]);
    }
}
