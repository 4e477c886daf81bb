//! Why a change was refused, and in which step. Knows nothing of how steps are done.

use crate::config::Name;
use crate::reload::{ServeError, SmokeTestError};
use crate::transport::OpenError;

/// Why a change was refused: everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The file, or something that it names, is wrong; in full, as `check` would say it.
    #[error("{0}")]
    InvalidConfig(String),
    /// The file changes what only a restart can change.
    #[error("{0}: restart the host to change it; nothing was changed")]
    Fixed(String),
    /// A model cannot be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A smoke test failed.
    #[error("pipeline `{pipeline}`")]
    SmokeTest { pipeline: Name, source: SmokeTestError },
    /// A broker refuses the connection.
    #[error("{address}")]
    Connection {
        /// Its address, without a password.
        address: String,
        source: OpenError,
    },
    /// A source or a destination cannot be used as the file says.
    #[error("pipeline `{pipeline}`")]
    Open { pipeline: Name, source: OpenError },
    /// A run that ends by itself would wait forever.
    #[error("{0}: replace it with another version")]
    Undone(String),
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
}

impl ChangeError {
    /// The step that failed, for the history and for metrics: a constant.
    pub fn step(&self) -> &'static str {
        match self {
            Self::InvalidConfig(_) => "check",
            Self::Fixed(_) | Self::Undone(_) => "compare",
            Self::Serve(_) => "warm-up",
            Self::SmokeTest { .. } => "smoke-test",
            Self::Connection { .. } | Self::Open { .. } => "connect",
            Self::Stopping => "stop",
        }
    }
}
