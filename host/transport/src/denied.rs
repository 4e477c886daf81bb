//! Results that may not go out, and whether the plugin or the message chose so. Knows no kind of destination.

use crate::disposition::ReasonClass;
use crate::message::Message;

/// A result that may not go where its plugin or its message addressed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The plugin chose a key that the destination does not allow.
    #[error("destination `{destination}` does not allow the key {key:?}: its `keys` say which it allows")]
    Key {
        destination: String,
        /// The key, untrusted.
        key: String,
    },
    /// The message asks for no reply.
    #[error(
        "destination `{destination}` sends an answer, and the message does not say where to: its publisher must set the \
         property `reply-to`"
    )]
    NoReplyTo { destination: String },
    /// The message asks for a reply where none may go.
    #[error(
        "destination `{destination}` does not allow a reply to {reply_to:?}, which the message asks for: its patterns say \
         which queues may be asked for"
    )]
    ReplyTo {
        destination: String,
        /// Where the message asked for its answer, untrusted.
        reply_to: String,
    },
    /// The message asks for a reply where none can be sent, such as a queue whose name is longer than AMQP allows.
    #[error("the message asks for a reply where none can go: {0}")]
    UnfitReplyTo(String),
    /// The plugin chose an impossible key, such as one that is longer than AMQP allows.
    #[error("{why}")]
    UnfitKey {
        /// The key, untrusted.
        key: String,
        /// The problem.
        why: String,
    },
    /// The destination would refuse it.
    #[error("the result cannot be published")]
    Unfit(#[from] Unfit),
}

/// A result that a destination would refuse, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The body is too large.
    #[error("{why}")]
    Body {
        /// Its bytes.
        found: usize,
        /// How much it may have, in words.
        why: String,
    },
    /// A name or a header fits into no envelope.
    #[error("{0}")]
    Envelope(String),
}

/// A result may be this many times as large as its message, and its size still be the message's: Base64 makes four bytes
/// of three, and JSON has something around it.
pub const GROWTH_MAX: usize = 2;

impl Denied {
    /// The class of the failure, by whose choice it was.
    ///
    /// A publisher's choice must not be charged to a plugin: a few messages in a row could open the pipeline's breaker, or
    /// undo a version on trial. So only a choice of the plugin is `denied`:
    ///
    /// | refused | chosen by the plugin | chosen by the message |
    /// |---|---|---|
    /// | a reply | never | always (`unanswerable`): the plugin named a destination that the file declares |
    /// | a key | else | where the message says it in so many words (`undeliverable`) |
    /// | a destination that the pipeline does not declare | else | where the message says its name |
    /// | a header of the host's or the broker's | else | where the message has a header of that name |
    /// | a body that the broker does not take | else | where the message is at least half as large |
    /// | a name or a header that no envelope holds | else | where the message says it |
    /// | results of more than a message may have | else | where the message is at least half as large |
    /// | headers that do not fit into a frame | always: the contract says how many it may set | never |
    ///
    /// A plugin that fails otherwise (a trap, a deadline) over large or strange messages has failed: it is to refuse them.
    pub fn class(&self, message: &Message) -> ReasonClass {
        let is_said = match self {
            Self::NoReplyTo { .. } | Self::ReplyTo { .. } | Self::UnfitReplyTo(_) => return ReasonClass::Unanswerable,
            Self::Key { key, .. } | Self::UnfitKey { key, .. } => message.says(key),
            Self::Unfit(Unfit::Body { found, .. }) => message.body.len().saturating_mul(GROWTH_MAX) >= *found,
            Self::Unfit(Unfit::Envelope(_)) => false,
        };
        denied_or_undeliverable(is_said)
    }
}

/// The class of a name that is not allowed; `is_said` where the message says it.
pub fn denied_or_undeliverable(is_said: bool) -> ReasonClass {
    if is_said {
        ReasonClass::Undeliverable
    } else {
        ReasonClass::Denied
    }
}
