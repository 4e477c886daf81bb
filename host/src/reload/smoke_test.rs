//! Smoke tests: messages that new stages must process before they serve. Their results are not sent.

use std::sync::Arc;

use super::replay::{Replayed, replay};
use crate::config::{PipelineConfig, SmokeTestConfig, SmokeTestOutcome};
use crate::disposition::{Disposition, ReasonClass};
use crate::generation::Stages;
use crate::message::Message;
use crate::transport::PendingOutput;
use crate::work::Notes;

/// Why a smoke test failed.
#[derive(Debug, thiserror::Error)]
pub enum SmokeTestError {
    /// Its file cannot be read.
    #[error("cannot read the message {file} of a smoke test")]
    Read { file: String, source: std::io::Error },
    /// Its result is another.
    #[error("the smoke test {file} expects {expected}, but the result is {found}")]
    Unexpected {
        file: String,
        expected: String,
        found: String,
    },
}

/// Lets stages process the message of every smoke test of their pipeline.
///
/// # Errors
/// The first that fails.
pub async fn smoke_test(pipeline: &PipelineConfig, stages: &Stages, host_id: &str) -> Result<(), SmokeTestError> {
    for test in &pipeline.smoke_tests {
        let shown = test.file.display().to_string();
        let body = tokio::fs::read(&test.file)
            .await
            .map_err(|source| SmokeTestError::Read {
                file: shown.clone(),
                source,
            })?;
        let message = Message {
            id: format!(
                "smoke test {}",
                test.file.file_name().unwrap_or_default().to_string_lossy()
            ),
            source: "smoke-test".to_owned(),
            attempt: 1,
            body: Arc::new(body),
            content_type: mime_guess::from_path(&test.file).first_raw().map(str::to_owned),
            ..Message::default()
        };
        let Replayed { made, notes } = replay(pipeline.name.as_str(), stages, message, host_id, None).await;
        if let Err(found) = judge(test, &made, &notes) {
            return Err(SmokeTestError::Unexpected {
                file: shown,
                expected: expected(test),
                found,
            });
        }
    }
    Ok(())
}

fn judge(test: &SmokeTestConfig, made: &Result<Vec<PendingOutput>, Disposition>, notes: &Notes) -> Result<(), String> {
    let label = notes.label.as_deref();
    let (outcome, found) = match made {
        Ok(pending_outputs) => {
            let label = label.map(|label| format!(", label `{}`", label.escape_debug()));
            let found = format!("{} results{}", pending_outputs.len(), label.unwrap_or_default());
            (Some(SmokeTestOutcome::Results), found)
        }
        Err(Disposition::Ack) => (Some(SmokeTestOutcome::Skip), "a skip".to_owned()),
        Err(Disposition::Reject(reason)) => {
            let is_refusal = reason.class == ReasonClass::Refused;
            let found = format!("a failure in {} ({}): {}", reason.stage, reason.class, reason.text);
            (is_refusal.then_some(SmokeTestOutcome::Reject), found)
        }
        Err(Disposition::Retry(reason)) => (None, format!("a retry in {}: {}", reason.stage, reason.text)),
        Err(Disposition::Return | Disposition::Quarantine { .. }) => (None, "nothing: the host is stopping".to_owned()),
    };
    let is_label = test.label.as_deref().is_none_or(|wanted| label == Some(wanted));
    if outcome == Some(test.outcome) && is_label {
        Ok(())
    } else {
        Err(found)
    }
}

fn expected(test: &SmokeTestConfig) -> String {
    match (test.outcome, &test.label) {
        (SmokeTestOutcome::Results, Some(label)) => format!("the label `{}`", label.escape_debug()),
        (SmokeTestOutcome::Results, None) => "results".to_owned(),
        (SmokeTestOutcome::Skip, _) => "a skip".to_owned(),
        (SmokeTestOutcome::Reject, _) => "a refusal".to_owned(),
    }
}
