//! The result of a call.

use std::time::Duration;

use crate::config::case::Outcome;
use crate::message::{Outbound, Score, Tensor, Transformed};
use crate::sandbox::{CallError, PluginRefusal, Role};

/// The result of a call.
#[derive(Debug)]
pub struct Found {
    /// The plugin's role.
    pub role: Role,
    pub outcome: Outcome,
    /// The text of a refusal or fault, bounded and escaped.
    pub text: String,
    pub made: Made,
    /// How long the call took.
    pub took: Duration,
}

/// The output of a plugin.
#[derive(Debug)]
pub enum Made {
    /// Nothing: it refused or failed.
    Nothing,
    /// A tensor, and the best labels of the model that it was made for.
    Tensor {
        tensor: Tensor,
        /// Best first; empty without a model.
        labels: Vec<Score>,
    },
    Results(Vec<Outbound>),
    Message(Transformed),
}

impl Found {
    /// The outcome of a call without a result; `None` when the sandbox has stopped, which says nothing about the plugin.
    pub fn of_error(role: Role, error: CallError, took: Duration) -> Option<Self> {
        let (outcome, text) = match error {
            CallError::Refused(PluginRefusal::Reject(text)) => (Outcome::Reject, text),
            CallError::Refused(PluginRefusal::Retry(text)) => (Outcome::Retry, text),
            CallError::Refused(PluginRefusal::Skip(text)) => (Outcome::Skip, text),
            CallError::Fault { class, text } | CallError::BadOutput { class, text, .. } => {
                (Outcome::Fault(class), text)
            }
            CallError::Host { text } => (Outcome::Fault(crate::disposition::ReasonClass::HostFault), text),
            CallError::Stopped => return None,
        };
        Some(Self {
            role,
            outcome,
            text,
            made: Made::Nothing,
            took,
        })
    }

    /// The outcome of a call that succeeded.
    pub fn ok(role: Role, made: Made, took: Duration) -> Self {
        Self {
            role,
            outcome: Outcome::Ok,
            text: String::new(),
            made,
            took,
        }
    }

    /// The best label.
    pub fn label(&self) -> Option<&str> {
        match &self.made {
            Made::Tensor { labels, .. } => labels.first().map(|best| best.label.as_str()),
            _ => None,
        }
    }
}
