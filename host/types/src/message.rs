//! Messages, predictions and results as plain data. Knows no library: not where they come from, not what runs them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

pub use millrace_model_types::{Element, Tensor, TensorData, TensorType};

/// A message as plugins see it. Everything in it was chosen by its publisher: untrusted.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// The publisher's message id, else the SHA-256 of the body in lower-case hexadecimal.
    pub id: String,
    /// The publisher's correlation id.
    pub correlation_id: Option<String>,
    /// Where the publisher asked for the answer.
    pub reply_to: Option<String>,
    /// The queue or folder it was taken from.
    pub source: String,
    /// The routing key it was published with, or its file name.
    pub key: String,
    /// The file that it was, byte for byte, where it was taken from a folder: no plugin sees it.
    pub file: Option<OsString>,
    /// 1 at the first attempt.
    pub attempt: u32,
    /// Whether the broker has delivered it before.
    pub redelivered: bool,
    /// The content type its publisher claims.
    pub content_type: Option<String>,
    /// When its answer is of no use any more.
    pub deadline: Option<SystemTime>,
    /// Text headers, in the order of the message.
    pub headers: Vec<(String, String)>,
    /// The body: shared, so that a copy of the message for its queue or its dead letters does not double it in memory.
    pub body: Arc<Vec<u8>>,
    /// SHA-256 of the body in lower-case hexadecimal, once `envelope` needed it.
    pub body_digest: OnceLock<String>,
}

/// The output of a transformer: the input of the next in place of a message or a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transformed {
    pub body: Vec<u8>,
    /// Such as `image/png`.
    pub content_type: Option<String>,
    /// The headers, in their order.
    pub headers: Vec<(String, String)>,
}

impl Message {
    /// The same message with what a transformer made of it.
    pub fn with(&self, made: Transformed) -> Self {
        Self {
            id: self.id.clone(),
            correlation_id: self.correlation_id.clone(),
            reply_to: self.reply_to.clone(),
            source: self.source.clone(),
            key: self.key.clone(),
            file: self.file.clone(),
            attempt: self.attempt,
            redelivered: self.redelivered,
            deadline: self.deadline,
            content_type: made.content_type,
            headers: made.headers,
            body: Arc::new(made.body),
            body_digest: OnceLock::new(),
        }
    }

    /// Whether it says a text in so many words: as a property, as a header, or as a JSON string in its body. What a plugin
    /// passes on as the message has it was chosen by the message's publisher.
    pub fn says(&self, text: &str) -> bool {
        let properties = [&self.correlation_id, &self.reply_to, &self.content_type];
        let mut texts = properties.into_iter().flatten().chain([&self.id, &self.key]);
        let mut headers = self.headers.iter().flat_map(|(name, value)| [name, value]);
        !text.is_empty()
            && (texts.any(|said| said == text)
                || headers.any(|said| said == text)
                || contains(&self.body, format!("\"{text}\"").as_bytes()))
    }

    /// Whether its deadline has passed.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// Whether bytes are somewhere in a body, as far as it is looked at.
fn contains(body: &[u8], bytes: &[u8]) -> bool {
    /// Longer than any JSON that says where to send something.
    const LOOKED_AT_MAX_BYTES: usize = 1 << 20;
    let body = body.get(..LOOKED_AT_MAX_BYTES).unwrap_or(body);
    body.windows(bytes.len()).any(|part| part == bytes)
}

/// One class of a classifier with its score.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Index in the model's first output.
    pub index: u32,
    /// The model folder's label, or the index in decimal digits.
    pub label: String,
    /// By the activation that `model.toml` names.
    pub score: f32,
}

/// The model's output for one message.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// The model's name in `plugins.toml`.
    pub model: Arc<str>,
    /// Labels of the classes, shared with the model.
    pub labels: Arc<[String]>,
    // Invariant: finite.
    /// Scores by class; empty for models that are not classifiers.
    pub scores: Vec<f32>,
    // Invariant: finite.
    /// Raw outputs, without the batch axis.
    pub outputs: Vec<Tensor>,
}

impl Prediction {
    /// The `k` best classes, best first, equal scores by index; fewer where there are fewer.
    pub fn top(&self, k: usize) -> Vec<Score> {
        let mut order: Vec<(usize, f32)> = self.scores.iter().copied().enumerate().collect();
        order.sort_by(|(a, x), (b, y)| y.total_cmp(x).then(a.cmp(b)));
        order.truncate(k);
        order
            .into_iter()
            .map(|(index, score)| Score {
                index: u32::try_from(index).unwrap_or(u32::MAX),
                label: self.labels.get(index).cloned().unwrap_or_else(|| index.to_string()),
                score,
            })
            .collect()
    }
}

/// One result as a router made it; its destination is a name in `plugins.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Outbound {
    /// The name of a destination that the pipeline declares.
    pub destination: String,
    /// A routing key of the plugin's choice.
    pub key: Option<String>,
    /// The result.
    pub body: Vec<u8>,
    /// Such as `application/json`.
    pub content_type: Option<String>,
    /// The plugin's headers.
    pub headers: Vec<(String, String)>,
}

impl Outbound {
    /// The result as a transformer sees it: its key is the name of the destination, and what a result has not is that of
    /// the message that caused it.
    pub fn seen(self, cause: &Message) -> Message {
        let made = Transformed {
            body: self.body,
            content_type: self.content_type,
            headers: self.headers,
        };
        Message {
            key: self.destination,
            ..cause.with(made)
        }
    }
}

/// An envelope that the host puts around a result or a dead letter: ours, checked, safe to publish.
#[derive(Debug, Clone, Default)]
pub struct Envelope {
    /// The id of the result or dead letter: the same when the same message is processed again.
    pub message_id: String,
    /// The input's correlation id, else its message id.
    pub correlation_id: String,
    /// Such as `application/json`.
    pub content_type: Option<String>,
    /// `x-millrace-*` headers and, for results, the plugin's.
    pub headers: Headers,
}

/// Headers that the host writes: most names are constants.
pub type Headers = BTreeMap<Cow<'static, str>, String>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_is_in_it_in_so_many_words() {
        let message = Message {
            id: "order-7".to_owned(),
            correlation_id: Some("call-1".to_owned()),
            key: "orders.eu".to_owned(),
            headers: vec![("x-to".to_owned(), "customer.42".to_owned())],
            body: Arc::new(br#"{"to": "cats", "n": 5}"#.to_vec()),
            ..Message::default()
        };
        let check = |text: &str, expected: bool| assert_eq!(message.says(text), expected, "{text:?}");
        for said in ["order-7", "call-1", "orders.eu", "x-to", "customer.42", "cats", "to"] {
            check(said, true);
        }
        for not_said in ["", "order", "customer", "cat", "5", "dogs"] {
            check(not_said, false);
        }
    }
}
