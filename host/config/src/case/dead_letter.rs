//! A saved dead letter as a case: the `case.json` that `millrace dlq save` writes, with the body beside it. All of it is
//! untrusted.

use std::ffi::OsStr;
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::message::read_bounded;
use super::{Budget, Case, Expected, ExpectedOutcome, Origin, Outcome, Record, SaidPrediction, alone, read};
use crate::diagnostics::{Diagnostic, Span, quoted};
use crate::{ConfigErrors, default_limits, limits_read};
use millrace_types::disposition::Stage;
use millrace_types::kept_prediction::KeptPrediction;
use millrace_types::message::{Message, Tensor, TensorData};

/// The file name of a saved dead letter in its folder.
pub const DEAD_LETTER_FILE: &str = "case.json";

/// The format that `case.json` names.
const FORMAT: &str = "millrace-case/1";

#[derive(Debug, Deserialize)]
struct Saved {
    format: String,
    body: String,
    body_sha256: Option<String>,
    message: SavedMessage,
    limits: Option<SavedLimits>,
    prediction: Option<KeptPrediction>,
    // The alias is the key that older versions wrote.
    #[serde(default, alias = "letter")]
    dead_letter: SavedDeadLetter,
    expect: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct SavedMessage {
    id: String,
    correlation_id: Option<String>,
    reply_to: Option<String>,
    content_type: Option<String>,
    source: String,
    key: String,
    attempt: u32,
    headers: Vec<(String, String)>,
}

/// The limits of the plugin that failed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedLimits {
    deadline: Option<String>,
    memory: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct SavedDeadLetter {
    reason: Option<String>,
    text: Option<String>,
    stage: Option<String>,
    pipeline: Option<String>,
    plugin: Option<String>,
    preprocess: Option<String>,
    route: Option<String>,
}

/// Parses a `case.json` and reads the body that it names.
pub(super) fn parse(text: &str, path: &Path) -> Result<Case, ConfigErrors> {
    let fail = |span: Option<Span>, message: String| Err(alone(path, text, Diagnostic::at(span, message)));
    let saved: Saved = match serde_json::from_str(text) {
        Ok(saved) => saved,
        Err(error) => return fail(place(text, &error), format!("this is not a saved case: {error}")),
    };
    if saved.format != FORMAT {
        return fail(
            None,
            format!(
                "the format is {}, but this version reads {FORMAT:?}",
                quoted(&saved.format)
            ),
        );
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    // A name, not a path: the sender of a dead letter must not choose which file is read.
    let mut parts = Path::new(&saved.body).components();
    let (Some(Component::Normal(name)), None) = (parts.next(), parts.next()) else {
        return fail(
            None,
            format!("the body {} is not a file beside it", quoted(&saved.body)),
        );
    };
    let body = match read_bounded(&folder.join(name)) {
        Ok(body) => body,
        Err(why) => return fail(None, format!("the body {}: {why}", quoted(&saved.body))),
    };
    let digest = format!("{:x}", Sha256::digest(&body));
    if saved.body_sha256.as_ref().is_some_and(|said| *said != digest) {
        return fail(
            None,
            format!("the body {} is not the one that was saved", quoted(&saved.body)),
        );
    }
    let expected = match &saved.expect {
        Some(expect) => Some(expected(expect, path)?),
        None => None,
    };
    let limits = match &saved.limits {
        Some(limits) => match limits_read(limits.deadline.as_deref(), limits.memory.as_deref()) {
            Ok(limits) => Some(limits),
            Err(why) => return fail(None, format!("`limits`: {why}")),
        },
        None => None,
    };
    let prediction = match saved.prediction.map(shown).transpose() {
        Ok(prediction) => prediction.flatten(),
        Err(why) => return fail(None, format!("`prediction`: {why}")),
    };
    let (deadline, memory_bytes) = default_limits();
    let folder_name = std::path::absolute(folder).ok();
    let name = folder_name
        .as_deref()
        .and_then(Path::file_name)
        .unwrap_or(OsStr::new("case"));
    Ok(Case {
        name: name.to_string_lossy().into_owned(),
        path: path.to_owned(),
        message: Arc::new(message(saved.message, body)),
        settings: None,
        deadline,
        memory_bytes,
        model: None,
        wants: None,
        prediction,
        expected,
        budget: Budget::default(),
        record: Some(record(saved.dead_letter, limits)),
    })
}

fn message(saved: SavedMessage, body: Vec<u8>) -> Message {
    Message {
        id: saved.id,
        correlation_id: saved.correlation_id,
        reply_to: saved.reply_to,
        source: saved.source,
        key: saved.key,
        attempt: saved.attempt.max(1),
        content_type: saved.content_type,
        headers: saved.headers,
        body: Arc::new(body),
        ..Message::default()
    }
}

/// The prediction for a router; `None` where nothing is left of it.
fn shown(kept: KeptPrediction) -> Result<Option<SaidPrediction>, String> {
    if kept.scores.is_empty() && kept.outputs.is_empty() {
        return Ok(None);
    }
    if let Some((label, score)) = kept.scores.iter().find(|(_, score)| !score.is_finite()) {
        return Err(format!("the score of {} is {score}", quoted(label)));
    }
    let outputs = kept.outputs.into_iter();
    let outputs = outputs.map(|output| Tensor::new(output.shape, TensorData::Floats(output.values)));
    let outputs = outputs.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    Ok(Some(SaidPrediction {
        model: kept.model,
        origin: Origin::Said {
            scores: kept.scores,
            outputs,
        },
    }))
}

fn record(saved: SavedDeadLetter, limits: Option<(Duration, usize)>) -> Record {
    const STAGES: [Stage; 5] = [
        Stage::Receive,
        Stage::Preprocess,
        Stage::Infer,
        Stage::Route,
        Stage::Deliver,
    ];
    let stage = STAGES
        .into_iter()
        .find(|stage| saved.stage.as_deref() == Some(stage.as_str()));
    // The preprocessor is the last of a plugin chain, and the router the first.
    let names = |list: Option<String>| list.unwrap_or_default();
    let (preprocess, route) = (names(saved.preprocess), names(saved.route));
    let own = match stage {
        Some(Stage::Preprocess) => preprocess.rsplit(", ").next(),
        Some(Stage::Route) => route.split(", ").next(),
        _ => None,
    };
    let own = own.and_then(|own| own.split('@').next()); // behind it is the version
    let is_transformer = own.is_some_and(|own| !own.is_empty() && saved.plugin.as_deref() != Some(own));
    Record {
        limits: limits.filter(|_| !is_transformer),
        stage,
        class: saved.reason.unwrap_or_default(),
        text: saved.text.unwrap_or_default(),
        pipeline: saved.pipeline,
        plugin: saved.plugin,
    }
}

impl Record {
    /// The expectation for a plugin that does `stage` where its case has none: another outcome than the recorded one.
    /// `None` where the message never came to it or the record does not say.
    pub fn expected(&self, stage: Stage) -> Option<Expected> {
        let failed_in = self.stage?;
        let outcome = match failed_in.cmp(&stage) {
            std::cmp::Ordering::Less => return None,
            std::cmp::Ordering::Greater => ExpectedOutcome::Is(Outcome::Ok),
            std::cmp::Ordering::Equal => ExpectedOutcome::against(&self.class),
        };
        Some(Expected {
            outcome,
            reason: None,
            tensor: None,
            label: None,
            results: None,
            message: None,
        })
    }
}

/// Expectations that `dlq save` and `--update` wrote have the form of `[expect]`; its readers are those of TOML.
fn expected(value: &Value, path: &Path) -> Result<Expected, ConfigErrors> {
    let fail = |message: String| alone(path, "", Diagnostic::at(None, message));
    let table: toml::Value =
        serde_json::from_value(value.clone()).map_err(|error| fail(format!("`expect`: {error}")))?;
    let text = toml::to_string(&table).map_err(|error| fail(format!("`expect`: {error}")))?;
    read::expected(&text, path)
}

/// Where an error of the JSON parser is.
fn place(text: &str, error: &serde_json::Error) -> Option<Span> {
    let line = error.line().checked_sub(1)?;
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let at = before.saturating_add(error.column().saturating_sub(1)).min(text.len());
    Some(at..at)
}
