//! How a new version is tried: smoke tests before it serves, a trial after. Knows nothing of versions.

use std::path::PathBuf;

use millrace_schema::{Form, When};

use super::check::Checker;
use super::check_values::Expect;
use super::diagnostics::{Diagnostic, quoted};
use super::keys::PATH;
use super::limits::{Choice, Within};
use super::pipeline::MAX_MESSAGE;
use super::section::{By, FromTable};
use super::table::{Key, Table};
use super::units::show_size;
use super::values::Text;
use crate::section;

section! {
    /// `[pipeline.NAME.trial]`: how a new version is watched at first, beside the one that it replaced.
    #[derive(Debug, Clone, Copy, PartialEq)]
    pub struct TrialConfig = TRIAL (
        "trial",
        "[pipeline.NAME.trial]",
        "How a new version is watched at first, beside the one that it replaced."
    );

    /// Messages that a trial sees; with `0` there is none.
    pub messages ("messages"): u32 = Within::<u32> {
        min: 0,
        // A trial of more messages than this never ends, and until it ends both versions are in memory.
        max: 100_000,
        default: 100,
    }, "100", at_home();

    /// Messages that may fail although the previous ones can process them; one more, and the change is undone.
    pub failures ("failures"): u32 = Within::<u32> {
        min: 0,
        max: 100_000,
        default: 2,
    }, "2", at_home();

    /// How many times as much as before a message may cost: CPU time of the plugins, time of the device of the model.
    pub slower ("slower"): f64 = Within {
        // A version that must not be slower at all would be undone by chance, one time in two.
        min: 1.1,
        max: 1_000.0,
        default: 5.0,
    }, "5.0", at_home();
}

section! {
    /// `[[pipeline.NAME.smoke_test]]`: a message, and its expected outcome.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SmokeTestConfig = SMOKE_TEST (
        "smoke_test",
        "[[pipeline.NAME.smoke_test]]",
        "A message that a new version must process before it serves, and the expected outcome."
    );

    /// The file with the message's body, at most `max_message`.
    pub file ("file"): PathBuf = By {
        form: Form::Text(PATH),
        read: |table, checker| checker.probe_file(table),
    }, "\"smoke-tests/arrow.png\"", required(), at_home();

    /// The best label that it must have; with `"results"` alone.
    pub label ("label"): Option<String> = By {
        form: Form::Text("."),
        read: |table, checker| Some(checker.probe_label(table)),
    }, "\"arrow\"", or("any"), unless(&[When::Matches("outcome", "^(skip|reject)$")]), at_home();

    /// The expected outcome: `"results"`, `"skip"` or `"reject"`.
    pub outcome ("outcome"): SmokeTestOutcome = OUTCOME, "\"results\"", at_home();
}

const OUTCOME: Choice<SmokeTestOutcome> = Choice {
    words: &[
        ("results", SmokeTestOutcome::Results),
        ("skip", SmokeTestOutcome::Skip),
        ("reject", SmokeTestOutcome::Reject),
    ],
    default: SmokeTestOutcome::Results,
};

/// Each runs at every change, through plugins and model.
const SMOKE_TESTS_MAX: usize = 64;

/// The expected outcome of a smoke test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SmokeTestOutcome {
    /// Results, whatever they are.
    #[default]
    Results,
    /// A plugin skips it.
    Skip,
    /// A plugin rejects it.
    Reject,
}

impl Checker<'_, '_> {
    /// The trial of a pipeline.
    pub(super) fn trial(&mut self, pipeline: &Table<'_>) -> Option<TrialConfig> {
        let table = pipeline.table_or_empty("trial", self.report);
        let trial = TrialConfig::read_all(&table, self)?;
        let TrialConfig { messages, failures, .. } = trial;
        let written = ["failures", "messages"]
            .into_iter()
            .find_map(|key| table.value_span(key));
        if messages > 0
            && failures >= messages
            && let Some(span) = written
        {
            let message = format!("a failing version is never undone: `failures` is {failures} of {messages} messages");
            let hint = "`failures` must be less than `messages`; `messages = 0` turns the trial off";
            self.report.warning(Diagnostic::at(span, message).hint(hint));
        }
        Some(trial)
    }

    /// The smoke tests of a pipeline.
    pub(super) fn smoke_tests(&mut self, pipeline: &Table<'_>) -> Vec<SmokeTestConfig> {
        let tables = pipeline.tables("smoke_test", self.report);
        if let Some(excess) = tables.get(SMOKE_TESTS_MAX) {
            let message = format!(
                "the pipeline {} has {} smoke tests, more than the {SMOKE_TESTS_MAX} allowed",
                quoted(pipeline.name()),
                tables.len()
            );
            self.report.diagnostic(Diagnostic::at(excess.span().clone(), message));
        }
        let smoke_tests = tables.iter().take(SMOKE_TESTS_MAX);
        smoke_tests
            .filter_map(|table| SmokeTestConfig::read_all(table, self))
            .collect()
    }

    fn probe_file(&mut self, table: &Table<'_>) -> Option<PathBuf> {
        let example = "`file = \"smoke-tests/..\"`, a message's body";
        let file = self.required_path(table, "file", Expect::File, example)?;
        let n_bytes = std::fs::metadata(&file).map_or(0, |found| found.len());
        let max_bytes = MAX_MESSAGE.peek("max_message", table.outer(), self);
        let max_bytes = u64::try_from(max_bytes).unwrap_or(u64::MAX);
        if n_bytes > max_bytes {
            let given: Key<Text> = table.peek("file", self.report);
            let message = format!(
                "the message {} has {n_bytes} bytes, more than the {} that the pipeline takes",
                given.given().map(|given| given.get_ref().quoted()).unwrap_or_default(),
                show_size(max_bytes)
            );
            let hint = "a message of this size becomes a dead letter before a plugin sees it; see `max_message`";
            let place = table.value_span("file");
            self.report.diagnostic(Diagnostic::at(place, message).hint(hint));
        }
        Some(file)
    }

    fn probe_label(&mut self, table: &Table<'_>) -> Option<String> {
        let key: Key<Text> = table.key("label", self.report);
        if OUTCOME
            .peek("outcome", table, self)
            .is_some_and(|outcome| outcome != SmokeTestOutcome::Results)
        {
            self.refuse(
                &key,
                "a smoke test without results has no label",
                "leave out `label`, or write `outcome = \"results\"`",
            );
        }
        let label = key.given()?;
        if label.get_ref().value.is_empty() {
            let hint = "leave out `label` where any will do";
            self.report
                .diagnostic(Diagnostic::at(label.span(), "no model has an empty label").hint(hint));
        }
        Some(label.get_ref().value.clone())
    }
}
