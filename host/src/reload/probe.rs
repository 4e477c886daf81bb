//! Probes: messages that new stages must process before they serve. Nothing of what they make is sent.

use std::sync::Arc;

use super::replay::{Replayed, replay};
use crate::config::{PipelineConfig, ProbeConfig, ProbeOutcome};
use crate::disposition::{Disposition, ReasonClass};
use crate::generation::Stages;
use crate::message::Message;
use crate::transport::PendingOutput;
use crate::work::Notes;

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Its file cannot be read.
    #[error("cannot read the probe {file}")]
    Read { file: String, source: std::io::Error },
    /// Something else came of it.
    #[error("the probe {file} expects {expected}, but the result is {found}")]
    Unexpected {
        file: String,
        expected: String,
        found: String,
    },
}

/// Lets stages process every probe of their pipeline.
///
/// # Errors
/// The first that does not come out as it should.
pub async fn probe(pipeline: &PipelineConfig, stages: &Stages, host_id: &str) -> Result<(), ProbeError> {
    for probe in &pipeline.probes {
        let shown = probe.file.display().to_string();
        let body = tokio::fs::read(&probe.file).await.map_err(|source| ProbeError::Read {
            file: shown.clone(),
            source,
        })?;
        let message = Message {
            id: format!("probe {}", probe.file.file_name().unwrap_or_default().to_string_lossy()),
            source: "probe".to_owned(),
            attempt: 1,
            body: Arc::new(body),
            content_type: mime_guess::from_path(&probe.file).first_raw().map(str::to_owned),
            ..Message::default()
        };
        let Replayed { made, notes } = replay(pipeline.name.as_str(), stages, message, host_id, None).await;
        if let Err(found) = judge(probe, &made, &notes) {
            return Err(ProbeError::Unexpected {
                file: shown,
                expected: expected(probe),
                found,
            });
        }
    }
    Ok(())
}

fn judge(probe: &ProbeConfig, made: &Result<Vec<PendingOutput>, Disposition>, notes: &Notes) -> Result<(), String> {
    let label = notes.label.as_deref();
    let (outcome, found) = match made {
        Ok(pending_outputs) => {
            let label = label.map(|label| format!(", label `{}`", label.escape_debug()));
            let found = format!("{} results{}", pending_outputs.len(), label.unwrap_or_default());
            (Some(ProbeOutcome::Results), found)
        }
        Err(Disposition::Ack) => (Some(ProbeOutcome::Skip), "a skip".to_owned()),
        Err(Disposition::Reject(reason)) => {
            let is_refusal = reason.class == ReasonClass::Refused;
            let found = format!("a failure in {} ({}): {}", reason.stage, reason.class, reason.text);
            (is_refusal.then_some(ProbeOutcome::Reject), found)
        }
        Err(Disposition::Retry(reason)) => (None, format!("a retry in {}: {}", reason.stage, reason.text)),
        Err(Disposition::Return | Disposition::Quarantine { .. }) => (None, "nothing: the host is stopping".to_owned()),
    };
    let is_label = probe.label.as_deref().is_none_or(|wanted| label == Some(wanted));
    if outcome == Some(probe.outcome) && is_label {
        Ok(())
    } else {
        Err(found)
    }
}

fn expected(probe: &ProbeConfig) -> String {
    match (probe.outcome, &probe.label) {
        (ProbeOutcome::Results, Some(label)) => format!("the label `{}`", label.escape_debug()),
        (ProbeOutcome::Results, None) => "results".to_owned(),
        (ProbeOutcome::Skip, _) => "a skip".to_owned(),
        (ProbeOutcome::Reject, _) => "a refusal".to_owned(),
    }
}
