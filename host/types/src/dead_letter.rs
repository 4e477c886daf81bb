//! A dead letter as plain data: its own account, wherever it lies. All of it is untrusted. Knows no broker and no
//! folder.

use std::collections::BTreeMap;

use serde_json::Value;

/// Begins the names of headers that hosts write.
const PREFIX: &str = "x-millrace-";

/// The header that has the original properties and headers, as JSON.
pub const ORIGINAL: &str = "x-millrace-original";

/// The header that names the queue which a message was taken from.
pub const QUEUE: &str = "x-millrace-queue";

/// A dead letter without its body.
#[derive(Debug, Clone, Default)]
pub struct DeadLetter {
    /// Its own id: its message id, or the digest of its body where it has none.
    pub id: String,
    /// The content type that it claims for its body.
    pub content_type: Option<String>,
    pub correlation_id: Option<String>,
    /// The file that it is, where it lies in a folder.
    pub file: Option<String>,
    /// Its headers in their usual notation.
    pub headers: BTreeMap<String, String>,
    /// The original message, as far as it can be read.
    pub original: Option<Value>,
    /// Headers of the original that are not in the dead letter, because they were too large or nested too deeply.
    pub n_cut: u64,
    /// The names of the first of them.
    pub cut_names: Vec<String>,
    /// The queue that the broker dead-lettered it from, where the broker did that by itself.
    pub broker_queue: Option<String>,
    /// Why the broker did, such as `delivery_limit`.
    pub broker_reason: Option<String>,
    /// The size of its body in bytes.
    pub n_bytes: u64,
}

/// The sender of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A host.
    Millrace,
    /// The broker, over a limit of its own.
    Broker,
    /// Neither: it has no header of ours or of the broker's.
    Stranger,
}

/// The name of the header that a host writes a fact into.
pub fn header(fact: &str) -> String {
    format!("{PREFIX}{fact}")
}

/// The fact that a host writes into a header of this name.
pub fn fact_of(header: &str) -> Option<&str> {
    header.strip_prefix(PREFIX)
}

impl DeadLetter {
    /// Its sender, by its own account.
    pub fn sender(&self) -> Sender {
        match (self.fact("reason"), &self.broker_queue) {
            (Some(_), _) => Sender::Millrace,
            (None, Some(_)) => Sender::Broker,
            (None, None) => Sender::Stranger,
        }
    }

    /// The value of `x-millrace-NAME`.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.headers.get(&header(name)).map(String::as_str)
    }

    /// The id of the message that it was.
    pub fn message_id(&self) -> &str {
        self.fact("message-id").unwrap_or(&self.id)
    }

    /// The class of its reason, for filtering; what the broker and strangers sent has classes of its own.
    pub fn class(&self) -> &str {
        match self.sender() {
            Sender::Millrace => self.fact("reason").unwrap_or_default(),
            Sender::Broker => "broker",
            Sender::Stranger => "unknown",
        }
    }

    /// Why it is here, in words.
    pub fn text(&self) -> &str {
        match self.sender() {
            Sender::Millrace => self.fact("text").unwrap_or_default(),
            Sender::Broker => self.broker_reason.as_deref().unwrap_or_default(),
            Sender::Stranger => "not a dead letter of Millrace or of the broker",
        }
    }

    /// Why it is here, without the plugin that the words begin with: for where that is named already.
    pub fn why(&self) -> &str {
        let text = self.text();
        let why = self.fact("plugin").and_then(|plugin| {
            let rest = text
                .strip_prefix("plugin `")?
                .strip_prefix(plugin)?
                .strip_prefix("` (")?;
            Some(rest.split_once("): ")?.1)
        });
        why.unwrap_or(text)
    }

    /// The attempt that was its last.
    pub fn attempt(&self) -> u32 {
        self.fact("attempt")
            .and_then(|attempt| attempt.parse().ok())
            .unwrap_or(1)
    }

    /// The plugin that it failed in, and which build of it.
    pub fn plugin(&self) -> Option<String> {
        let digest = self.fact("plugin-digest").unwrap_or_default();
        let version = digest.get(..12).unwrap_or(digest);
        self.fact("plugin").map(|plugin| format!("{plugin}@{version}"))
    }

    /// The queue that the message came from, by the dead letter's account.
    pub fn queue(&self) -> Option<&str> {
        let original = |part: &str| self.original.as_ref()?.get(part)?.as_str();
        let by_key = || original("routing_key").filter(|_| original("exchange") == Some(""));
        match self.sender() {
            Sender::Millrace => self.fact("queue").or_else(by_key),
            Sender::Broker => self.broker_queue.as_deref(),
            Sender::Stranger => None,
        }
    }

    /// Whether `id` may mean it: a prefix of its own id or of the message's, or its file's name.
    pub fn is_called(&self, id: &str) -> bool {
        !id.is_empty()
            && (self.id.starts_with(id) || self.message_id().starts_with(id) || self.file.as_deref() == Some(id))
    }

    /// Whether that is the whole of one of its names.
    pub fn is_called_exactly(&self, id: &str) -> bool {
        self.id == id || self.message_id() == id || self.file.as_deref() == Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead_letter(headers: &[(&str, &str)]) -> DeadLetter {
        DeadLetter {
            id: "0123abcd".to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            ..DeadLetter::default()
        }
    }

    #[test]
    fn a_letter_is_called_by_the_beginning_of_either_id() {
        let mut dead_letter = dead_letter(&[("x-millrace-message-id", "order-7"), ("x-millrace-reason", "trap")]);
        dead_letter.file = Some("cat.png".to_owned());
        for (id, expected) in [
            ("0123", true),
            ("order", true),
            ("cat.png", true),
            ("cat", false),
            ("123", false),
            ("", false),
        ] {
            assert_eq!(dead_letter.is_called(id), expected, "{id:?}");
        }
        assert!(dead_letter.is_called_exactly("order-7") && !dead_letter.is_called_exactly("order"));
    }

    #[test]
    fn the_reason_of_a_letter_does_not_begin_with_its_plugin() {
        #[track_caller]
        fn check(plugin: Option<&str>, text: &str, expected: &str) {
            let mut dead_letter = dead_letter(&[("x-millrace-reason", "refused"), ("x-millrace-text", text)]);
            if let Some(plugin) = plugin {
                dead_letter
                    .headers
                    .insert("x-millrace-plugin".to_owned(), plugin.to_owned());
            }
            assert_eq!(dead_letter.why(), expected);
        }
        let text = "plugin `crop` (9f86d081884c, generation 3): no picture (of any kind): empty";
        check(Some("crop"), text, "no picture (of any kind): empty");
        check(Some("other"), text, text);
        check(None, text, text);
        check(Some("crop"), "plugin `crop` (9f86", "plugin `crop` (9f86");
    }

    #[test]
    fn who_sent_a_letter_is_told_by_what_it_has() {
        let mut dead_letter = dead_letter(&[]);
        assert_eq!(
            (dead_letter.sender(), dead_letter.class()),
            (Sender::Stranger, "unknown")
        );
        dead_letter.broker_queue = Some("images".to_owned());
        assert_eq!((dead_letter.sender(), dead_letter.class()), (Sender::Broker, "broker"));
        dead_letter
            .headers
            .insert("x-millrace-reason".to_owned(), "trap".to_owned());
        assert_eq!((dead_letter.sender(), dead_letter.class()), (Sender::Millrace, "trap"));
    }
}
