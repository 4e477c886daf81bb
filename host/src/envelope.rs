//! Envelopes of results and dead letters: ids, and the headers that report what happened. Knows no broker.

use std::ffi::OsStr;
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

pub(crate) use millrace_types::digest::digest;
use millrace_types::digest::hex;
use sha2::{Digest, Sha256};

use crate::config;
use crate::disposition::{PluginIdentity, Reason, Stage};
use crate::kept_prediction::KeptPrediction;
use crate::message::{Envelope, Headers, Message, Outbound, Prediction};
use crate::plugins::Plugins;

/// The longest text that goes into one header: reasons are words, not logs.
const TEXT_MAX_BYTES: usize = 2048;

/// The place in the id of a dead letter; no destination has this name, because it is not kebab-case.
const DEAD_LETTER: &str = "DEAD LETTER";

/// The host and the parts that processed a message.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// The host's id.
    pub host_id: &'a str,
    /// The generation that the message was processed with.
    pub generation: u64,
    /// The model's name.
    pub model: &'a str,
    /// The model's digest.
    pub model_digest: &'a str,
    pub plugins: Plugins<PluginFacts<'a>>,
    /// The headers that say all this: the same for every message, they are made once.
    pub described: &'a OnceLock<Headers>,
    /// The time of each stage.
    pub timings: &'a Timings,
}

/// A plugin that processed a message.
#[derive(Debug, Clone, Copy)]
pub struct PluginFacts<'a> {
    /// Which one it is.
    pub identity: &'a PluginIdentity,
    /// Its deadline, and its memory in bytes.
    pub limits: (Duration, usize),
}

/// The time of each stage, in the order in which they ran.
#[derive(Debug, Default)]
pub struct Timings(Vec<(Stage, Duration)>);

/// A plugin's header is the host's or the broker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a plugin may not set the header {0:?}: names that begin with `x-`, `CC` and `BCC` belong to the broker and the host"
)]
pub struct ReservedHeader(String);

impl ReservedHeader {
    /// Its name, untrusted.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Facts<'_> {
    /// The envelope of a result; `index` is its place among the results of its message.
    ///
    /// # Errors
    /// When the plugin set a header that is not its own.
    pub fn result(&self, message: &Message, outbound: &Outbound, index: usize) -> Result<Envelope, ReservedHeader> {
        let mut headers = self.described();
        for (name, value) in &outbound.headers {
            if is_reserved(name) {
                return Err(ReservedHeader(name.clone()));
            }
            headers.insert(name.clone().into(), value.clone());
        }
        for (stage, took) in &self.timings.0 {
            headers.insert(time_header(*stage).into(), took.as_micros().to_string());
        }
        if let Some(file) = &message.file {
            // As it is: who gets the result looks for the file.
            headers.insert("x-millrace-file".into(), file.to_string_lossy().into_owned());
        }
        Ok(Envelope {
            message_id: output_id(self.pipeline, message, &outbound.destination, index),
            correlation_id: message.correlation_id.clone().unwrap_or_else(|| message.id.clone()),
            content_type: outbound.content_type.clone(),
            headers,
        })
    }

    /// The envelope of a dead letter: with the original body it is a complete test case. `prediction` is what the router
    /// was shown.
    pub fn dead_letter(&self, message: &Message, reason: &Reason, prediction: Option<&Prediction>) -> Envelope {
        let mut headers = self.described();
        let mut set = |name: &str, value: String| headers.insert(format!("x-millrace-{name}").into(), value);
        set("stage", reason.stage.to_string());
        set("reason", reason.class.to_string());
        set("text", bounded(&reason.told(self.generation)));
        set("message-id", bounded(&message.id));
        set("attempt", message.attempt.to_string());
        set("time", humantime::format_rfc3339_millis(SystemTime::now()).to_string());
        set("model-digest", self.model_digest.to_owned());
        if let Some(plugin) = &reason.plugin {
            set("plugin", plugin.name.clone());
            set("plugin-digest", plugin.digest.clone());
            let mut plugins = self.plugins.iter();
            if let Some(plugin) = plugins.find(|it| *it.identity == **plugin) {
                let (deadline, memory) = config::limits_shown(plugin.limits);
                set("plugin-deadline", deadline);
                set("plugin-memory", memory);
            }
        }
        let prediction = prediction.filter(|_| reason.stage == Stage::Route);
        if let Some(text) = prediction.and_then(KeptPrediction::text_of) {
            set("prediction", text);
        }
        Envelope {
            message_id: output_id(self.pipeline, message, DEAD_LETTER, 0),
            correlation_id: message.correlation_id.clone().unwrap_or_else(|| message.id.clone()),
            content_type: message.content_type.clone(),
            headers,
        }
    }

    fn described(&self) -> Headers {
        self.described.get_or_init(|| self.describe()).clone()
    }

    fn describe(&self) -> Headers {
        let plugins = self
            .plugins
            .map(|PluginFacts { identity, .. }| format!("{}@{}", identity.name, identity.version()));
        let names = |plugins: Vec<&String>| plugins.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let facts = [
            ("x-millrace-pipeline", self.pipeline.to_owned()),
            ("x-millrace-host", self.host_id.to_owned()),
            ("x-millrace-generation", self.generation.to_string()),
            (
                "x-millrace-model",
                format!("{}@{}", self.model, short(self.model_digest)),
            ),
            // In the order in which they were called.
            ("x-millrace-preprocess", names(plugins.preparing().collect())),
            ("x-millrace-route", names(plugins.concluding().collect())),
        ];
        facts.map(|(name, value)| (name.into(), value)).into()
    }
}

impl Timings {
    /// Adds what a stage took.
    pub fn record(&mut self, stage: Stage, took: Duration) {
        self.0.push((stage, took));
    }

    /// Adds the time of a stage.
    pub fn of(&self, stage: Stage) -> Option<Duration> {
        self.0.iter().find(|(of, _)| *of == stage).map(|(_, took)| *took)
    }
}

impl fmt::Display for Timings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (stage, took)) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            write!(f, "{separator}{stage} {} us", took.as_micros())?;
        }
        Ok(())
    }
}

/// The same for the same message, destination and place, whatever version made it: consumers can drop duplicates. The
/// body is part of it, because nothing keeps publishers from using a message id twice; and the file, because files of
/// equal content are messages of their own. Every part is preceded by its length, so that no two lists of parts read alike.
fn output_id(pipeline: &str, message: &Message, destination: &str, index: usize) -> String {
    let index = index.to_string();
    let body = message.body_digest.get_or_init(|| digest(&message.body));
    let mut hash = Sha256::new();
    let file = message.file.as_deref().map(OsStr::as_encoded_bytes);
    let parts = [pipeline, &message.id, body, destination, &index].map(str::as_bytes);
    for part in parts.into_iter().chain(file) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    // 128 bits: short enough to read, long enough never to meet.
    hex(hash.finalize().iter().take(16))
}

/// The header of a result that says what a stage took.
fn time_header(stage: Stage) -> &'static str {
    match stage {
        Stage::Receive => "x-millrace-time-receive-us",
        Stage::Preprocess => "x-millrace-time-preprocess-us",
        Stage::Infer => "x-millrace-time-infer-us",
        Stage::Route => "x-millrace-time-route-us",
        Stage::Deliver => "x-millrace-time-deliver-us",
    }
}

pub(crate) fn is_reserved(header: &str) -> bool {
    let header = header.to_ascii_lowercase();
    header.starts_with("x-") || header == "cc" || header == "bcc"
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn bounded(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_MAX_BYTES.min(text.len()));
    text.get(..end).unwrap_or_default().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::ffi::OsStrExt as _;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn headers_that_steer_the_broker_are_reserved_in_any_case() {
        for name in ["CC", "bcc", "x-death", "X-Millrace-Pipeline"] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["colour", "ccc", "xx-y"] {
            assert!(!is_reserved(name), "{name}");
        }
    }

    #[test]
    fn two_messages_with_one_id_or_none_have_results_of_their_own() {
        let message = |id: &str, body: &str| Message {
            id: id.to_owned(),
            body: Arc::new(body.into()),
            ..Message::default()
        };
        let id = |message: &Message| output_id("images", message, "results", 0);
        assert_eq!(id(&message("a", "cat")), id(&message("a", "cat")));
        assert_ne!(id(&message("a", "cat")), id(&message("a", "dog")));
        assert_ne!(id(&message("a", "cat")), id(&message("b", "cat")));
        let nameless = |body: &str| message(&digest(body.as_bytes()), body);
        assert_eq!(id(&nameless("cat")), id(&nameless("cat")));
        assert_ne!(id(&nameless("cat")), id(&nameless("dog")));
        let file = |name: &[u8]| Message {
            file: Some(OsStr::from_bytes(name).to_owned()),
            ..nameless("cat")
        };
        assert_eq!(id(&file(b"a.png")), id(&file(b"a.png")));
        let files = [&b"a.png"[..], b"b.png", b"", b"\xff.png", b"\xfe.png"].map(|name| id(&file(name)));
        let ids = files
            .iter()
            .chain([&id(&nameless("cat"))])
            .collect::<BTreeSet<_>>()
            .len();
        assert_eq!(ids, files.len() + 1);
        let cat = message("a", "cat");
        let ids = [
            ("images", "results", 0),
            ("images", "results", 1),
            ("images", "other", 0),
            ("other", "results", 0),
        ]
        .map(|(pipeline, destination, index)| output_id(pipeline, &cat, destination, index));
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    }

    #[test]
    fn a_text_is_cut_at_a_character_and_escaped() {
        let text = bounded(&format!("\u{1b}[31m{}", "é".repeat(TEXT_MAX_BYTES)));
        assert!(text.starts_with("\\u{1b}[31m"));
        assert!(text.len() <= TEXT_MAX_BYTES + 16);
    }
}
