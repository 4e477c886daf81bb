//! Where messages come from and go to. `amqp` is the only room that knows lapin; `folder` needs no broker.

pub mod amqp;
pub(crate) mod deadline;
mod destination;
pub mod folder;
mod hold;
pub(crate) mod redelivery_grace;
pub(crate) mod settle;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::disposition::{Disposition, Reason};
use crate::error_chain::ErrorChain;
use crate::isolation::ExclusiveGuard;
use crate::message::{Envelope, Message};

pub use destination::{DeliverError, Denied, Destination, GROWTH_MAX, PendingOutput, denied_or_undeliverable};
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
pub enum QuarantineQueue {
    /// A queue of their own.
    Amqp(Box<amqp::QuarantineQueue>),
    /// The simulator's.
    #[cfg(test)]
    Simulated(crate::simulation::QuarantineQueue),
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
pub struct Delivery {
    /// The message; without its body where that is too large to be read.
    pub message: Message,
    /// Why no plugin may see it.
    pub malformed: Option<String>,
    /// Whether a host may have ended because of it.
    pub quarantine: Quarantine,
    /// Settled exactly once.
    pub ack_handle: AckHandle,
}

/// Whether a host may have ended because of a message. Only the source can know; only the pipeline acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quarantine {
    /// Nothing speaks against it.
    #[default]
    None,
    /// A host ended with it in hand: it is set apart, with this count made durable, before it runs.
    Due {
        /// Hosts that ended with it in hand.
        crash_count: u32,
    },
    /// It was set apart: it runs alone.
    Inside {
        /// Hosts that ended with it in hand.
        crash_count: u32,
    },
}

/// What the source of a message is owed: exactly one `settle`, on every path.
#[derive(Debug)]
#[must_use = "a message that is not settled stays in flight"]
pub enum AckHandle {
    /// A delivery.
    Amqp(Box<amqp::AckHandle>),
    /// A claimed file.
    Folder(folder::AckHandle),
    /// The simulator's.
    #[cfg(test)]
    Simulated(crate::simulation::AckHandle),
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

impl Quarantine {
    /// Whether a death while the message was alone in hand proves that it causes them.
    pub fn is_proven(self) -> bool {
        matches!(self, Self::Due { crash_count } | Self::Inside { crash_count } if crash_count >= 2)
    }

    /// The attempt that this delivery is, for a message whose own count says `attempt`. A death in company alone costs
    /// none; once another proves it, both count.
    pub fn attempt(self, attempt: u32) -> u32 {
        match self {
            Self::Due { crash_count } | Self::Inside { crash_count } if self.is_proven() => {
                attempt.saturating_add(crash_count)
            }
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
    pub fn grant_grace(&self) {
        match self {
            Self::Amqp(source) => source.grant_grace(),
            Self::Folder(_) => {}
            #[cfg(test)]
            Self::Simulated(_) => {}
        }
    }

    /// Where its suspects wait; `None` where [`Self::next`] hands them out among the others.
    pub fn quarantine_queue(&self) -> Option<QuarantineQueue> {
        match self {
            Self::Amqp(source) => Some(QuarantineQueue::Amqp(Box::new(source.quarantine_queue()))),
            Self::Folder(_) => None,
            #[cfg(test)]
            Self::Simulated(source) => Some(QuarantineQueue::Simulated(source.quarantine_queue())),
        }
    }

    /// The next message; `None` when the source has ended.
    ///
    /// # Errors
    /// Only a source that is to end when it is empty fails; any other is waited for.
    ///
    /// # Cancellation
    /// Safe: what was not handed out is still the source's.
    pub async fn next(&mut self) -> Result<Option<Delivery>, folder::FolderError> {
        match self {
            Self::Amqp(source) => Ok(Some(source.next().await)),
            #[cfg(test)]
            Self::Simulated(source) => Ok(Some(source.next().await)),
            Self::Folder(source) => Ok(source.next().await?.map(|(message, ack_handle)| {
                let (message, malformed) = match message {
                    Ok(message) => (message, None),
                    Err(Malformed { message, text }) => (message, Some(text)),
                };
                Delivery {
                    message,
                    malformed,
                    quarantine: ack_handle.quarantine(),
                    ack_handle: AckHandle::Folder(ack_handle),
                }
            })),
        }
    }

    /// Asks for no more, and gives what the source has handed over already: it is in flight as everything else that was
    /// taken.
    pub async fn leave(&mut self) -> Vec<Delivery> {
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
    pub async fn last(&mut self) -> Option<Delivery> {
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
    pub fn wait_reason(&self) -> amqp::WaitReason {
        match self {
            Self::Amqp(source) => source.wait_reason(),
            Self::Folder(_) => amqp::WaitReason::default(),
            #[cfg(test)]
            Self::Simulated(_) => amqp::WaitReason::default(),
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

impl QuarantineQueue {
    /// Waits until there may be a suspect.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn waiting(&mut self) {
        match self {
            Self::Amqp(quarantine_queue) => quarantine_queue.waiting().await,
            #[cfg(test)]
            Self::Simulated(quarantine_queue) => quarantine_queue.waiting().await,
        }
    }

    /// Takes a suspect, if there is one now. Only where nothing else runs: what is in hand beside others could be
    /// blamed for what they do.
    pub async fn take(&mut self, _alone: &ExclusiveGuard) -> Option<Delivery> {
        match self {
            Self::Amqp(quarantine_queue) => quarantine_queue.take().await,
            #[cfg(test)]
            Self::Simulated(quarantine_queue) => quarantine_queue.take(),
        }
    }
}

impl AckHandle {
    /// Whether its source has taken the message back already, and cannot be told anything about it.
    pub fn is_void(&self) -> bool {
        match self {
            Self::Amqp(ack_handle) => ack_handle.is_void(),
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
        dead_letter: impl FnOnce(&Reason) -> Envelope,
    ) -> Settled {
        match self {
            Self::Amqp(ack_handle) => {
                settle::settle(*ack_handle, (disposition, otherwise), message, hold, dead_letter).await
            }
            #[cfg(test)]
            Self::Simulated(ack_handle) => {
                settle::settle(ack_handle, (disposition, otherwise), message, hold, dead_letter).await
            }
            Self::Folder(ack_handle) => {
                let dead_letter = match disposition {
                    Disposition::Reject(reason) => Some(dead_letter(reason)),
                    _ => None,
                };
                let settled = ack_handle.settle(disposition, dead_letter.as_ref(), hold).await;
                settled.unwrap_or_else(|error| Settled::Lost(ErrorChain(&error).to_string()))
            }
        }
    }
}
