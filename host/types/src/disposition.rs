//! The disposition of a message. Every failure knows its own; only `pipeline.rs` acts on it.

use std::fmt;
use std::sync::Arc;

/// The settlement of a message at its source: exactly once, on every path.
#[derive(Debug)]
pub enum Disposition {
    /// Every output was confirmed, or the plugin said `skip`.
    Ack,
    /// It can never be processed: a dead letter with the reason is published, then it is acknowledged.
    Reject(Reason),
    /// It may succeed later: a copy with its attempt raised goes back to the source, then it is acknowledged.
    Retry(Reason),
    /// It goes back as it was, uncounted: drain, shutdown, a destination that stays away.
    Return,
    /// A host crashed while the message was in flight: a durable copy is quarantined, with this crash count, before it
    /// may run again, alone; then the original is acknowledged.
    Quarantine {
        /// Hosts that crashed while it was in flight, this time included.
        crash_count: u32,
    },
}

/// The stage of a message's life that something happened in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Taking it from its source and reading its envelope.
    Receive,
    Preprocess,
    /// The model.
    Infer,
    Route,
    /// Publishing its results.
    Deliver,
}

/// The class of a reason: a short constant for counting and filtering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReasonClass {
    /// A plugin said `reject`.
    Refused,
    /// A plugin said `retry`.
    Retried,
    /// No attempts are left: a plugin said `retry`, or hosts ended over it, too often.
    AttemptsSpent,
    /// A plugin trapped or panicked.
    Trap,
    /// A plugin ran past its deadline.
    Deadline,
    /// A plugin asked for more memory than it may have.
    Memory,
    /// A plugin returned more than it may.
    OutputTooLarge,
    /// A plugin returned a tensor that the model does not take.
    BadTensor,
    /// The model's output is not a finite number.
    NonFinite,
    /// The model failed for this message alone.
    ModelFailed,
    /// A plugin addressed what it may not: destination, key or header.
    Denied,
    /// The message asks for its answer nowhere, or where none may go.
    Unanswerable,
    /// A result cannot go out because of what the message says: a key, a destination, its own size.
    Undeliverable,
    /// Its deadline passed before it reached the device.
    Expired,
    /// The message is larger than the source allows, or its envelope cannot be read.
    Malformed,
    /// The host itself failed over this message: our bug.
    HostFault,
}

/// The reason for rejecting or retrying a message: reported once, in full.
#[derive(Debug, Clone)]
pub struct Reason {
    /// Where it happened.
    pub stage: Stage,
    /// The class of the event.
    pub class: ReasonClass,
    /// The event, in words; may hold text from plugins, bounded and escaped.
    pub text: String,
    /// The plugin that it happened in, if any.
    pub plugin: Option<Arc<PluginIdentity>>,
}

/// Which plugin, which build of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginIdentity {
    /// Its name in `plugins.toml`.
    pub name: String,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub digest: String,
}

impl Stage {
    /// The name in headers, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Preprocess => "preprocess",
            Self::Infer => "infer",
            Self::Route => "route",
            Self::Deliver => "deliver",
        }
    }
}

impl ReasonClass {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Refused,
        Self::Retried,
        Self::AttemptsSpent,
        Self::Trap,
        Self::Deadline,
        Self::Memory,
        Self::OutputTooLarge,
        Self::BadTensor,
        Self::NonFinite,
        Self::ModelFailed,
        Self::Denied,
        Self::Unanswerable,
        Self::Undeliverable,
        Self::Expired,
        Self::Malformed,
        Self::HostFault,
    ];

    /// The name in headers, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Retried => "retried",
            Self::AttemptsSpent => "attempts-spent",
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::OutputTooLarge => "output-too-large",
            Self::BadTensor => "bad-tensor",
            Self::NonFinite => "non-finite",
            Self::ModelFailed => "model-failed",
            Self::Denied => "denied",
            Self::Unanswerable => "unanswerable",
            Self::Undeliverable => "undeliverable",
            Self::Expired => "expired",
            Self::Malformed => "malformed",
            Self::HostFault => "host-fault",
        }
    }
}

impl Reason {
    /// The plugin that it happened in, if any.
    pub fn plugin_name(&self) -> Option<&str> {
        self.plugin.as_ref().map(|plugin| plugin.name.as_str())
    }

    /// The whole of it in one sentence: which plugin in which version and generation, and what happened.
    pub fn told(&self, generation: u64) -> String {
        match &self.plugin {
            Some(plugin) => {
                let (name, version) = (&plugin.name, plugin.version());
                format!("plugin `{name}` ({version}, generation {generation}): {}", self.text)
            }
            None => self.text.clone(),
        }
    }
}

impl PluginIdentity {
    /// The first twelve digits of the digest: enough to distinguish builds in a log.
    pub fn version(&self) -> &str {
        self.digest.get(..12).unwrap_or(&self.digest)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ReasonClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(plugin) = &self.plugin {
            write!(f, "plugin `{}` ({}): ", plugin.name, plugin.version())?;
        }
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not a dead letter's: a message that a plugin wants to try again goes back to its queue.
    const NO_LETTER: ReasonClass = ReasonClass::Retried;

    #[test]
    fn every_class_of_dead_letters_is_in_the_documentation_and_no_other() {
        assert_eq!(ReasonClass::ALL.len(), ReasonClass::HostFault as usize + 1);
        let page = include_str!("../../../docs/dead-letters.md");
        let (_, table) = page
            .split_once("| class | what happened |\n|---|---|\n")
            .expect("a table of classes");
        let rows = table.lines().take_while(|line| line.starts_with('|'));
        let documented = rows.map(|row| row.split('`').nth(1).expect("a class").to_owned());
        let classes = ReasonClass::ALL.iter().filter(|class| **class != NO_LETTER);
        let classes = classes.map(|class| class.as_str().to_owned());
        assert_eq!(documented.collect::<Vec<_>>(), classes.collect::<Vec<_>>());
    }
}
