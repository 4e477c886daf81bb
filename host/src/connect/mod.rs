//! Where messages come from and go to. `amqp` is the only room that knows lapin; `folder` needs no broker.

pub(crate) mod acquittal;
pub mod amqp;
pub(crate) mod deadline;
mod destination;
pub mod folder;
mod hold;
pub(crate) mod settle;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::chain::Chain;
use crate::disposition::{Disposition, Reason};
use crate::gate::Alone;
use crate::message::{Envelope, Message};

pub use destination::{DeliverError, Denied, Destination, GROWTH_MAX, Parcel, denied_or_undeliverable};
pub use hold::{GaveUp, Hold, Holding};
pub(crate) use hold::{HOLD_LIMIT, reserve};

/// Where a pipeline's messages come from.
#[derive(Debug)]
pub enum Source {
    /// A queue.
    Amqp(Box<amqp::Source>),
    /// A folder.
    Folder(folder::Source),
    /// The simulator's.
    #[cfg(test)]
    Simulated(crate::simulation::Source),
}

/// Where suspects of a source wait when they are apart from its other messages.
#[derive(Debug)]
pub enum Suspects {
    /// A queue of their own.
    Amqp(Box<amqp::Suspects>),
    /// The simulator's.
    #[cfg(test)]
    Simulated(crate::simulation::Suspects),
}

/// What a source took and no plugin may see: too large, or its envelope cannot be read.
#[derive(Debug, Clone)]
pub struct Malformed {
    // Invariant: the body is empty; what is too large was never read.
    /// What is known of it: ids, key, source, attempt.
    pub message: Message,
    /// What is wrong with it, in words.
    pub text: String,
}

/// Counts messages that wait or are in hand.
pub type Backlog = Box<dyn Fn() -> usize + Send + Sync>;

/// Says what somebody should look at.
pub type Attention = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// A message that was taken, and what its source is owed.
#[derive(Debug)]
pub struct Taken {
    /// The message; without its body where that is too large to be read.
    pub message: Message,
    /// Why no plugin may see it.
    pub malformed: Option<String>,
    /// Whether a host may have ended because of it.
    pub suspicion: Suspicion,
    /// Settled exactly once.
    pub receipt: Receipt,
}

/// Whether a host may have ended because of a message. Only the source can know; only the pipeline acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Suspicion {
    /// Nothing speaks against it.
    #[default]
    None,
    /// A host ended with it in hand: it is set apart, with this count made durable, before it runs.
    Raised {
        /// Hosts that ended with it in hand.
        deaths: u32,
    },
    /// It was set apart: it runs alone.
    Apart {
        /// Hosts that ended with it in hand.
        deaths: u32,
    },
}

/// What the source of a message is owed: exactly one `settle`, on every path.
#[derive(Debug)]
#[must_use = "a message that is not settled stays in flight"]
pub enum Receipt {
    /// A delivery.
    Amqp(Box<amqp::Receipt>),
    /// A claimed file.
    Folder(folder::Receipt),
    /// The simulator's.
    #[cfg(test)]
    Simulated(crate::simulation::Receipt),
}

/// What became of a message at its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The source has let go of it.
    Done,
    /// It went back as it was.
    Returned,
    /// The source could not be told: it will come again, and its results have the ids they had.
    Lost(String),
}

impl Suspicion {
    /// Whether a death while the message was alone in hand proves that it causes them.
    pub fn is_proven(self) -> bool {
        matches!(self, Self::Raised { deaths } | Self::Apart { deaths } if deaths >= 2)
    }

    /// The attempt that this delivery is, for a message whose own count says `attempt`. A death in company alone costs
    /// none; once another proves it, both count.
    pub fn attempt(self, attempt: u32) -> u32 {
        match self {
            Self::Raised { deaths } | Self::Apart { deaths } if self.is_proven() => attempt.saturating_add(deaths),
            _ => attempt,
        }
    }
}

impl Source {
    /// Waits until messages can be taken: a broker may be away.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn ready(&mut self) {
        match self {
            Self::Amqp(source) => source.ready().await,
            Self::Folder(_) => {}
            #[cfg(test)]
            Self::Simulated(_) => {}
        }
    }

    /// Puts the redeliveries that come soon down to this process: it gave back what it had prefetched, and lives.
    pub fn acquit(&self) {
        match self {
            Self::Amqp(source) => source.acquit(),
            Self::Folder(_) => {}
            #[cfg(test)]
            Self::Simulated(_) => {}
        }
    }

    /// Where its suspects wait; `None` where [`Self::next`] hands them out among the others.
    pub fn suspects(&self) -> Option<Suspects> {
        match self {
            Self::Amqp(source) => Some(Suspects::Amqp(Box::new(source.suspects()))),
            Self::Folder(_) => None,
            #[cfg(test)]
            Self::Simulated(source) => Some(Suspects::Simulated(source.suspects())),
        }
    }

    /// The next message; `None` when the source has ended.
    ///
    /// # Errors
    /// Only a source that is to end when it is empty fails; any other is waited for.
    ///
    /// # Cancellation
    /// Safe: what was not handed out is still the source's.
    pub async fn next(&mut self) -> Result<Option<Taken>, folder::FolderError> {
        match self {
            Self::Amqp(source) => Ok(Some(source.next().await)),
            #[cfg(test)]
            Self::Simulated(source) => Ok(Some(source.next().await)),
            Self::Folder(source) => Ok(source.next().await?.map(|(message, receipt)| {
                let (message, malformed) = match message {
                    Ok(message) => (message, None),
                    Err(Malformed { message, text }) => (message, Some(text)),
                };
                Taken {
                    message,
                    malformed,
                    suspicion: receipt.suspicion(),
                    receipt: Receipt::Folder(receipt),
                }
            })),
        }
    }

    /// Asks for no more, and gives what the source has handed over already: it is in flight as everything else that was
    /// taken.
    pub async fn leave(&mut self) -> Vec<Taken> {
        match self {
            Self::Amqp(source) => source.leave().await,
            // What was claimed and not handed out goes back when the source is dropped.
            Self::Folder(_) => Vec::new(),
            #[cfg(test)]
            Self::Simulated(source) => source.leave().await,
        }
    }

    /// Makes sure that the source has heard of everything that was settled. It may bring one more message, which is in hand
    /// as every other.
    pub async fn last(&mut self) -> Option<Taken> {
        match self {
            Self::Amqp(source) => source.last().await,
            Self::Folder(_) => None,
            #[cfg(test)]
            Self::Simulated(source) => source.last().await,
        }
    }

    /// Whether it hands out messages; goes on telling while the source runs.
    pub fn is_open(&self) -> Arc<AtomicBool> {
        match self {
            Self::Amqp(source) => source.is_open(),
            Self::Folder(_) => Arc::new(AtomicBool::new(true)),
            #[cfg(test)]
            Self::Simulated(_) => Arc::new(AtomicBool::new(true)),
        }
    }

    /// What it waits for while it is not open; goes on telling while the source runs.
    pub fn told(&self) -> amqp::Told {
        match self {
            Self::Amqp(source) => source.told(),
            Self::Folder(_) => amqp::Told::default(),
            #[cfg(test)]
            Self::Simulated(_) => amqp::Told::default(),
        }
    }

    /// Says what somebody should look at, where the source knows of something: a folder. Goes on while the source runs.
    pub fn attention(&self) -> Attention {
        match self {
            Self::Amqp(_) => Arc::new(|| None),
            #[cfg(test)]
            Self::Simulated(_) => Arc::new(|| None),
            Self::Folder(source) => Arc::new(source.attention()),
        }
    }

    /// Counts what waits or is in hand, where the source can tell: a folder. Goes on counting while the source runs.
    pub fn backlog(&self) -> Backlog {
        match self {
            Self::Amqp(_) => Box::new(|| 0),
            #[cfg(test)]
            Self::Simulated(_) => Box::new(|| 0),
            Self::Folder(source) => Box::new(source.backlog_counter()),
        }
    }
}

impl Suspects {
    /// Waits until there may be a suspect.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn waiting(&mut self) {
        match self {
            Self::Amqp(suspects) => suspects.waiting().await,
            #[cfg(test)]
            Self::Simulated(suspects) => suspects.waiting().await,
        }
    }

    /// Takes a suspect, if there is one now. Only where nothing else runs: what is in hand beside others could be
    /// blamed for what they do.
    pub async fn take(&mut self, _alone: &Alone) -> Option<Taken> {
        match self {
            Self::Amqp(suspects) => suspects.take().await,
            #[cfg(test)]
            Self::Simulated(suspects) => suspects.take(),
        }
    }
}

impl Receipt {
    /// Whether its source has taken the message back already, and cannot be told anything about it.
    pub fn is_void(&self) -> bool {
        match self {
            Self::Amqp(receipt) => receipt.is_void(),
            Self::Folder(_) => false,
            #[cfg(test)]
            Self::Simulated(_) => false,
        }
    }

    /// Does to the message what its disposition says, or `otherwise` where that cannot be done in time; `letter` makes the
    /// envelope of a dead letter.
    pub async fn settle(
        self,
        (disposition, otherwise): (&Disposition, &Disposition),
        message: &Message,
        hold: &Hold,
        letter: impl FnOnce(&Reason) -> Envelope,
    ) -> Settled {
        match self {
            Self::Amqp(receipt) => settle::settle(*receipt, (disposition, otherwise), message, hold, letter).await,
            #[cfg(test)]
            Self::Simulated(receipt) => settle::settle(receipt, (disposition, otherwise), message, hold, letter).await,
            Self::Folder(receipt) => {
                let letter = match disposition {
                    Disposition::Reject(reason) => Some(letter(reason)),
                    _ => None,
                };
                let settled = receipt.settle(disposition, letter.as_ref(), hold).await;
                settled.unwrap_or_else(|error| Settled::Lost(Chain(&error).to_string()))
            }
        }
    }
}
