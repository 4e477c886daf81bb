//! Settling: what becomes of a received message at its source. Knows no kind of source.

use std::fmt;

use futures_util::future::BoxFuture;

use super::hold::Hold;
use crate::disposition::{Disposition, Reason};
use crate::message::{Envelope, Message};

/// What the source of a message is owed: exactly one `settle`, on every path.
#[must_use = "a message that is not settled stays in flight"]
pub trait AckHandle: fmt::Debug + Send + Sync {
    /// Whether its source has taken the message back already, and cannot be told anything about it.
    fn is_void(&self) -> bool {
        false
    }

    /// Does to the message what its disposition says. Nothing is let go of before what takes its place is safe: a copy is
    /// confirmed, a file is synced.
    ///
    /// # Cancellation
    /// A message that was not settled by then comes again.
    fn settle<'a>(self: Box<Self>, settlement: Settlement<'a>) -> BoxFuture<'a, Settled>;
}

/// What is to become of a message.
#[derive(Clone, Copy)]
pub struct Settlement<'a> {
    /// What is to be done.
    pub disposition: &'a Disposition,
    /// How it goes back where that cannot be done in time.
    pub otherwise: &'a Disposition,
    /// The message.
    pub message: &'a Message,
    /// What waits while that cannot be done, and how long that may take.
    pub hold: &'a Hold,
    /// Makes the envelope of a dead letter.
    pub dead_letter: &'a (dyn Fn(&Reason) -> Envelope + Send + Sync),
}

impl<'a> Settlement<'a> {
    /// Gives a message back that was not begun: it cannot become a dead letter.
    pub fn back(disposition: &'a Disposition, message: &'a Message, hold: &'a Hold) -> Self {
        Self {
            disposition,
            otherwise: disposition,
            message,
            hold,
            dead_letter: &|_| Envelope::default(),
        }
    }
}

/// What became of a message at its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The source has let go of it.
    Done,
    /// It went back as it was.
    Returned,
    /// Its acknowledgement failed: it will come again, and its results have the ids they had.
    Lost(String),
}
