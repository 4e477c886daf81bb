//! A case: a message and the outcome that a plugin must have for it, as data. Read from `cases/*.toml` and from saved
//! dead letters; knows nothing of how one is run.

mod dead_letter;
mod expect;
mod message;
mod read;
mod values;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::diagnostics::{Diagnostic, SourceText};
use super::{ConfigErrors, ValidParts};
use millrace_types::disposition::{ReasonClass, Stage};
use millrace_types::message::{Element, Message, Tensor, TensorType};

pub use dead_letter::DEAD_LETTER_FILE;

/// The largest body, and the largest file that a case compares with.
pub const BODY_MAX_BYTES: u64 = 64 << 20;

/// How far a number may be off where a case says nothing: written figures have four digits.
pub const TOLERANCE: f64 = 0.001;

/// A case, read and checked; what it names beside its body is not opened.
#[derive(Debug, Clone)]
pub struct Case {
    /// The file's name without its ending, or the name of a saved dead letter's folder.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    pub message: Arc<Message>,
    /// The plugin's settings as a JSON object, where it says any.
    pub settings: Option<String>,
    /// CPU time of a call.
    pub deadline: Duration,
    /// Memories and tables of an instance together.
    pub memory_bytes: usize,
    /// A model folder.
    pub model: Option<PathBuf>,
    /// The input type for a preprocessor, where no model gives it.
    pub wants: Option<TensorType>,
    /// The prediction for a router.
    pub prediction: Option<SaidPrediction>,
    /// The expected result.
    pub expected: Option<Expected>,
    /// Its budget.
    pub budget: Budget,
    /// Its outcome, where it is a saved dead letter.
    pub record: Option<Record>,
}

/// The prediction for a router.
#[derive(Debug, Clone, PartialEq)]
pub struct SaidPrediction {
    /// The model's name.
    pub model: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a prediction comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    Said {
        /// Scores by label.
        scores: Vec<(String, f32)>,
        /// Raw outputs.
        outputs: Vec<Tensor>,
    },
    /// The case's model runs on the tensor of a preprocessor.
    Made {
        /// The preprocessor's file.
        preprocess: PathBuf,
        /// Its settings as a JSON object.
        settings: String,
    },
}

/// The outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A tensor, results or a message.
    Ok,
    /// The plugin says `reject`.
    Reject,
    /// The plugin says `retry`.
    Retry,
    /// The plugin says `skip`.
    Skip,
    /// The plugin refuses its settings.
    Settings,
    /// It breaks a bound, traps, or returns an invalid value.
    Fault(ReasonClass),
}

/// The expected outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedOutcome {
    /// This and nothing else.
    Is(Outcome),
    /// Any answer but a fault.
    NoFault,
    /// The message is dealt with: `ok` or `skip`.
    Processed,
}

/// The expected result. Keys that are left out are not compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// The expected outcome of the call.
    pub outcome: ExpectedOutcome,
    /// Is contained in the text of the refusal or fault.
    pub reason: Option<String>,
    /// A preprocessor's.
    pub tensor: Option<ExpectedTensor>,
    /// The model's best label for the tensor.
    pub label: Option<String>,
    /// A router's: every result.
    pub results: Option<Vec<ExpectedResult>>,
    /// A transformer's.
    pub message: Option<ExpectedBody>,
}

/// A tensor that must come out.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedTensor {
    pub shape: Option<Vec<u32>>,
    pub element: Option<Element>,
    /// Its least element.
    pub min: Option<f64>,
    /// Its largest element.
    pub max: Option<f64>,
    /// The mean of its elements.
    pub mean: Option<f64>,
    /// The digest of its elements.
    pub sha256: Option<String>,
    /// A file with its elements.
    pub file: Option<PathBuf>,
    /// How far a figure or an element may be off.
    pub tolerance: f64,
}

/// A result that must come out.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedResult {
    pub destination: Option<String>,
    /// Its key; empty for none.
    pub key: Option<String>,
    /// The rest.
    pub body: ExpectedBody,
}

/// A body with its content type and headers that must come out.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedBody {
    /// Its content type; empty for none.
    pub content_type: Option<String>,
    /// Headers that it must have.
    pub headers: Vec<(String, String)>,
    /// Values in it by JSON pointer.
    pub json: Vec<(String, Value)>,
    /// The whole of it.
    pub text: Option<String>,
    /// Its digest.
    pub sha256: Option<String>,
    /// A file with the whole of it.
    pub file: Option<PathBuf>,
    /// How far a number may be off.
    pub tolerance: f64,
}

/// The budget of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// Fuel of instantiating, configuring and the call.
    pub fuel: Option<u64>,
    /// Bytes of memories and tables.
    pub memory_bytes: Option<u64>,
}

/// The outcome of a message that was saved as a dead letter. All of it is untrusted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// The stage that it failed in, where that is a stage of ours.
    pub stage: Option<Stage>,
    /// The class of its reason.
    pub class: String,
    /// Its reason in words.
    pub text: String,
    pub pipeline: Option<String>,
    /// The plugin that it failed in.
    pub plugin: Option<String>,
    /// CPU time of a call, and bytes of an instance's memories, that the preprocessor or router had which it failed in.
    pub limits: Option<(Duration, usize)>,
}

impl Case {
    /// CPU time of a call, and bytes of an instance's memories, that a plugin has which does a stage. What is recorded is of
    /// the one that failed.
    pub fn limits(&self, stage: Option<Stage>) -> (Duration, usize) {
        let record = self.record.as_ref().filter(|record| record.stage == stage);
        record
            .and_then(|record| record.limits)
            .unwrap_or((self.deadline, self.memory_bytes))
    }

    /// Reads a case: a `.toml` file, or the `case.json` of a saved dead letter.
    ///
    /// # Errors
    /// Every mistake of the file at once.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let text = super::document::read(path)?;
        match path.extension() {
            Some(ending) if ending == "json" => dead_letter::parse(&text, path),
            _ => read::parse(&text, path),
        }
    }
}

impl Outcome {
    /// Every outcome with its word in a case.
    pub const WORDS: [(&str, Self); 11] = [
        ("ok", Self::Ok),
        ("reject", Self::Reject),
        ("retry", Self::Retry),
        ("skip", Self::Skip),
        ("settings", Self::Settings),
        ("trap", Self::Fault(ReasonClass::Trap)),
        ("deadline", Self::Fault(ReasonClass::Deadline)),
        ("memory", Self::Fault(ReasonClass::Memory)),
        ("output-too-large", Self::Fault(ReasonClass::OutputTooLarge)),
        ("bad-tensor", Self::Fault(ReasonClass::BadTensor)),
        ("denied", Self::Fault(ReasonClass::Denied)),
    ];

    /// Its word in a case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fault(class) => class.as_str(),
            other => Self::WORDS
                .iter()
                .find(|(_, outcome)| *outcome == other)
                .map_or("ok", |(word, _)| word),
        }
    }
}

impl ExpectedOutcome {
    /// Every expectation with its word in a case.
    pub const WORDS: [(&str, Self); 13] = [
        ("ok", Self::Is(Outcome::Ok)),
        ("processed", Self::Processed),
        ("no-fault", Self::NoFault),
        ("reject", Self::Is(Outcome::Reject)),
        ("retry", Self::Is(Outcome::Retry)),
        ("skip", Self::Is(Outcome::Skip)),
        ("settings", Self::Is(Outcome::Settings)),
        ("trap", Self::Is(Outcome::Fault(ReasonClass::Trap))),
        ("deadline", Self::Is(Outcome::Fault(ReasonClass::Deadline))),
        ("memory", Self::Is(Outcome::Fault(ReasonClass::Memory))),
        (
            "output-too-large",
            Self::Is(Outcome::Fault(ReasonClass::OutputTooLarge)),
        ),
        ("bad-tensor", Self::Is(Outcome::Fault(ReasonClass::BadTensor))),
        ("denied", Self::Is(Outcome::Fault(ReasonClass::Denied))),
    ];

    /// The expectation for a message that became a dead letter of this class: that it does not become one again for the
    /// same reason. A message over which a plugin failed may be refused; one that was refused may not.
    pub fn against(class: &str) -> Self {
        let is_refusal = [ReasonClass::Refused, ReasonClass::AttemptsSpent].map(ReasonClass::as_str);
        match is_refusal.contains(&class) {
            true => Self::Processed,
            false => Self::NoFault,
        }
    }

    /// Whether this may come.
    pub fn allows(self, outcome: Outcome) -> bool {
        match self {
            Self::Is(expected) => expected == outcome,
            Self::NoFault => !matches!(outcome, Outcome::Fault(_) | Outcome::Settings),
            Self::Processed => matches!(outcome, Outcome::Ok | Outcome::Skip),
        }
    }

    /// Its word in a case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Is(outcome) => outcome.as_str(),
            Self::NoFault => "no-fault",
            Self::Processed => "processed",
        }
    }

    /// The same for people.
    pub fn told(self) -> &'static str {
        match self {
            Self::Is(outcome) => outcome.as_str(),
            Self::NoFault => "any answer but a fault",
            Self::Processed => "results, or a skip",
        }
    }
}

/// A mistake after which nothing else can be looked at.
fn alone(path: &Path, text: &str, diagnostic: Diagnostic) -> ConfigErrors {
    ConfigErrors::new(
        Arc::new(SourceText::new(path, text)),
        ValidParts::default(),
        vec![diagnostic],
    )
}
