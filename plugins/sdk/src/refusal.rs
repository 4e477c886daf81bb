//! Why a plugin does not answer with a result.

/// Why a plugin does not answer with a result. The text reaches logs and dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// This message can never be processed: it becomes a dead letter.
    Reject(String),
    /// This message may succeed later: it goes back, as often as the pipeline's `attempts` allow.
    Retry(String),
    /// This message needs no result: it is acknowledged and counted.
    Skip(String),
}

impl Refusal {
    /// A [`Refusal::Reject`].
    pub fn reject(text: impl Into<String>) -> Self {
        Self::Reject(text.into())
    }

    /// A [`Refusal::Retry`].
    pub fn retry(text: impl Into<String>) -> Self {
        Self::Retry(text.into())
    }

    /// A [`Refusal::Skip`].
    pub fn skip(text: impl Into<String>) -> Self {
        Self::Skip(text.into())
    }
}
