//! Settling: the end of a received message at its source. Knows no kind of source.

use std::fmt;

use futures_util::future::BoxFuture;
use tracing::warn;

use super::commit_order::CommitTurn;
use super::hold::Hold;
use super::output::PendingOutput;
use crate::disposition::{Disposition, Reason};
use crate::message::{Envelope, Message};
use crate::quota::LineQuota;

/// The duty towards a message's source: exactly one `settle`, on every path.
#[must_use = "a message that is not settled stays in flight"]
pub trait AckHandle: fmt::Debug + Send + Sync {
    /// Whether the source has taken the message back already, so that nothing can be acknowledged.
    fn is_void(&self) -> bool {
        false
    }

    /// The turn of its results, where its source keeps those of one key in the order of their messages; given once. A message ends
    /// in its turn, and where one goes back, all behind it in its lane go back, too.
    fn turn(&mut self) -> Option<CommitTurn> {
        None
    }

    /// Carries out the disposition. The original is acknowledged only after whatever replaces it is safe: a copy is
    /// confirmed, a file is synced.
    ///
    /// # Cancellation
    /// A message that was not settled by then comes again.
    fn settle<'a>(self: Box<Self>, settlement: Settlement<'a>) -> BoxFuture<'a, Settled>;
}

/// The disposition of a message, with all that carrying it out needs.
#[derive(Clone, Copy)]
pub struct Settlement<'a> {
    pub disposition: &'a Disposition,
    /// How the message goes back where the disposition cannot be carried out in time.
    pub otherwise: &'a Disposition,
    pub message: &'a Message,
    /// The results that were sent, where it is to be acknowledged: a source may have some go with the acknowledgement.
    pub results: &'a [PendingOutput],
    /// Holds the message while the disposition cannot be carried out, and limits for how long.
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
            results: &[],
            hold,
            dead_letter: &|_| Envelope::default(),
        }
    }
}

/// The outcome of a settlement at the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The source has let go of the message.
    Done,
    /// It went back as it was.
    Returned,
    /// The acknowledgement failed: the message will be redelivered, and its results keep their ids.
    Lost(String),
}

impl Settled {
    /// Logs a failed acknowledgement. Clients that come and go may cause as many as they like.
    pub fn log(&self, lines: &LineQuota) {
        if let Self::Lost(why) = self
            && lines.may_log()
        {
            warn!(
                why,
                "acknowledgement failed: the message comes again from its source or its client, and its results keep their ids"
            );
        }
    }
}
