//! Where results go, as a pipeline sees it: a name becomes an address, and an addressed result is sent until it is
//! confirmed. Knows no kind of destination.

use std::any::Any;
use std::error::Error;
use std::fmt;

use futures_util::future::BoxFuture;

use super::denied::Denied;
use crate::message::{Envelope, Message, Outbound};

/// A destination as `plugins.toml` declares it, bound to its connection. A plugin names it; only the destination turns the name
/// into an exchange, a queue, a file or a row.
pub trait Destination: fmt::Debug + Send + Sync {
    /// Addresses one result: `index` is its place among the results of its message. Sends nothing: where one result is
    /// refused, none of them goes out.
    ///
    /// # Errors
    /// When it may not go there.
    fn address(
        &self,
        message: &Message,
        outbound: Outbound,
        index: usize,
        envelope: Envelope,
    ) -> Result<PendingOutput, Denied>;
}

/// A result that is addressed, checked and enveloped.
pub trait Output: Any + fmt::Debug + fmt::Display + Send + Sync {
    /// Sends it once and waits until it is confirmed: by a broker, or by the disk.
    ///
    /// # Errors
    /// Whenever it is not known to have arrived; it may have. A refusal is certain: it has not, and never will.
    fn send(&self) -> BoxFuture<'_, Result<(), DeliverError>>;
}

/// A result that is sent until it is confirmed.
pub type PendingOutput = Box<dyn Output>;

/// Why a result has not arrived.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// It is not known to have arrived: it is held, and sent again.
    #[error(transparent)]
    Unconfirmed(Box<dyn Error + Send + Sync>),
    /// The destination refuses this result, takes others, and would refuse it again: a row that breaks a rule of its table. Its
    /// message becomes a dead letter, once its other results have ended.
    #[error(transparent)]
    Refused(Box<dyn Error + Send + Sync>),
}

impl DeliverError {
    /// Wraps the error of a kind of destination that may take the result later.
    pub fn new(source: impl Error + Send + Sync + 'static) -> Self {
        Self::Unconfirmed(Box::new(source))
    }

    /// Wraps the error of a kind of destination that will never take the result.
    pub fn refused(source: impl Error + Send + Sync + 'static) -> Self {
        Self::Refused(Box::new(source))
    }
}
