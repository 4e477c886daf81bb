//! The checks of how a new version is tried: smoke tests before it serves, a trial after. Knows nothing of versions.

use toml::Spanned;

use super::check::Checker;
use super::check_values::Expect;
use super::diagnostics::{Diagnostic, quoted};
use super::limits::{OUTCOME, SLOWER, TRIAL_FAILURES, TRIAL_MESSAGES};
use super::raw::{RawPipeline, RawProbe, RawTrial};
use super::units::show_size;
use super::{ProbeConfig, ProbeOutcome, TrialConfig};

/// Each runs at every change, through plugins and model.
const PROBES_MAX: usize = 64;

impl Checker<'_, '_> {
    /// Checks `[pipeline.NAME.trial]`.
    pub(super) fn trial(&mut self, raw: &RawTrial) -> TrialConfig {
        let default = TrialConfig::default();
        let messages = self.within(&raw.messages, &TRIAL_MESSAGES);
        let failures = self.within(&raw.failures, &TRIAL_FAILURES);
        if messages > 0
            && failures >= messages
            && let Some(span) = raw.failures.given().or(raw.messages.given()).map(Spanned::span)
        {
            let message = format!("a failing version is never undone: `failures` is {failures} of {messages} messages");
            let hint = "`failures` must be less than `messages`; `messages = 0` turns the trial off";
            self.report.warning(Diagnostic::at(span, message).hint(hint));
        }
        TrialConfig {
            messages: u32::try_from(messages).unwrap_or(default.messages),
            failures: u32::try_from(failures).unwrap_or(default.failures),
            slower: self.within(&raw.slower, &SLOWER),
        }
    }

    /// Checks each `[[pipeline.NAME.smoke_test]]`.
    pub(super) fn probes(&mut self, pipeline: &RawPipeline<'_>, max_message_bytes: usize) -> Vec<ProbeConfig> {
        if let Some(excess) = pipeline.probes.get(PROBES_MAX) {
            let message = format!(
                "the pipeline {} has {} smoke tests, more than the {PROBES_MAX} allowed",
                quoted(pipeline.name),
                pipeline.probes.len()
            );
            self.report.diagnostic(Diagnostic::at(excess.span.clone(), message));
        }
        let probes = pipeline.probes.iter().take(PROBES_MAX);
        probes.filter_map(|raw| self.probe(raw, max_message_bytes)).collect()
    }

    fn probe(&mut self, raw: &RawProbe, max_message_bytes: usize) -> Option<ProbeConfig> {
        self.required(
            &raw.file,
            "file",
            &raw.span,
            "`file = \"smoke-tests/..\"`, a message's body",
        );
        let outcome = self.choice(&raw.outcome, "outcome", OUTCOME.words);
        let outcome = outcome.unwrap_or(OUTCOME.default);
        if outcome != ProbeOutcome::Results {
            self.refuse(
                &raw.label,
                "a smoke test without results has no label",
                "leave out `label`, or write `outcome = \"results\"`",
            );
        }
        let label = raw.label.given();
        if let Some(label) = label.filter(|label| label.get_ref().value.is_empty()) {
            let hint = "leave out `label` where any will do";
            self.report
                .diagnostic(Diagnostic::at(label.span(), "no model has an empty label").hint(hint));
        }
        let given = raw.file.given()?;
        let file = self.path(given, Expect::File)?;
        let n_bytes = std::fs::metadata(&file).map_or(0, |found| found.len());
        let max_bytes = u64::try_from(max_message_bytes).unwrap_or(u64::MAX);
        if n_bytes > max_bytes {
            let message = format!(
                "the message {} has {n_bytes} bytes, more than the {} that the pipeline takes",
                given.get_ref().quoted(),
                show_size(max_bytes)
            );
            let hint = "a message of this size becomes a dead letter before a plugin sees it; see `max_message`";
            self.report.diagnostic(Diagnostic::at(given.span(), message).hint(hint));
        }
        Some(ProbeConfig {
            file,
            outcome,
            label: label.map(|label| label.get_ref().value.clone()),
        })
    }
}
