//! Where messages come from, as a pipeline sees it. Knows no kind of source.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::ack::AckHandle;
use super::connection::Sample;
use super::health::SourceHealth;
use crate::isolation::ExclusiveGuard;
use crate::message::Message;

/// Where a pipeline's messages come from.
pub trait Source: fmt::Debug + Send {
    /// Waits until messages can be received: a broker may be away.
    ///
    /// # Cancellation
    /// Safe.
    fn ready(&mut self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    /// The next message that is not in quarantine; `None` when the source has ended: nothing waits, is in flight or is in
    /// quarantine.
    ///
    /// # Errors
    /// Only a source that is to end when it is empty fails; any other is waited for.
    ///
    /// # Cancellation
    /// Safe: a message that was not handed out still belongs to the source.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Delivery>, SourceError>>;

    /// Asks for no more, and returns the messages that were handed over already, which are in flight like all others.
    /// Messages that the source has not handed over go back when it is dropped.
    fn stop_consuming(&mut self) -> BoxFuture<'_, Vec<Delivery>> {
        ready(Vec::new()).boxed()
    }

    /// Makes sure that every acknowledgement so far has arrived; those of the quarantine come later, before [`Source::close`]. It may
    /// bring one more message, which is in flight like all others.
    fn last(&mut self) -> BoxFuture<'_, Option<Delivery>> {
        ready(None).boxed()
    }

    /// Ends it in good order: after the last settlement, those of the quarantine included, and never before. What it hands back to
    /// its store or its peers goes out here, where it can be awaited.
    ///
    /// # Cancellation
    /// What was not handed back by then is as after a crash.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }

    /// Where its quarantined messages wait; `None` where nothing is ever quarantined, since it tells no redelivery
    /// ([`Redelivery::Untold`](crate::Redelivery)).
    fn quarantine(&self) -> Option<Box<dyn QuarantineQueue>>;

    /// For a while redeliveries do not count as crashes: this process gave back its prefetched messages, and lives. Does nothing
    /// where returned messages are not marked.
    fn grant_grace(&self) {}

    /// Whether it hands out messages, and what it waits for while it does not; up to date while the source runs.
    fn health(&self) -> SourceHealth;

    /// Counts messages that wait or are in flight, where the source can count them; up to date while the source runs.
    fn backlog(&self) -> Backlog {
        Arc::new(|| 0)
    }

    /// What it counts of itself. Goes on counting while the source runs.
    fn samples(&self) -> Samples {
        Arc::new(Vec::new)
    }

    /// A problem that needs attention, where the source has one; up to date while the source runs.
    fn attention(&self) -> Attention {
        Arc::new(|| None)
    }
}

/// Where the quarantined messages of a source wait, away from the others.
pub trait QuarantineQueue: fmt::Debug + Send {
    /// Waits until there may be one.
    ///
    /// # Cancellation
    /// Safe.
    fn waiting(&mut self) -> BoxFuture<'_, ()>;

    /// Takes one, if there is one now. Only where nothing else runs: what is in flight beside others could be blamed for what
    /// they do. Its crash count was made durable before.
    fn take<'a>(&'a mut self, alone: &'a ExclusiveGuard) -> BoxFuture<'a, Option<Delivery>>;
}

/// A message that was received, and the way to settle it.
#[derive(Debug)]
pub struct Delivery {
    /// The message; without its body where that is too large to be read.
    pub message: Message,
    /// Why no plugin may see it.
    pub malformed: Option<String>,
    /// Whether it may have crashed a host.
    pub quarantine: Quarantine,
    /// Settled exactly once.
    pub ack: Box<dyn AckHandle>,
}

/// A message that no plugin may see: too large, or with an envelope that cannot be read.
#[derive(Debug, Clone)]
pub struct Malformed {
    // Invariant: the body is empty; one that is too large was never read.
    /// Its known parts: ids, key, source, attempt.
    pub message: Message,
    /// The problem, in words.
    pub text: String,
}

/// Whether a message may have crashed a host. Only the source can know; only the pipeline acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quarantine {
    /// No host crashed with it in flight.
    #[default]
    None,
    /// A host crashed with it in flight: it is quarantined, with this count made durable, before it runs.
    Due {
        /// Hosts that crashed with it in flight.
        crash_count: u32,
    },
    /// It is quarantined: it runs alone. Only a [`QuarantineQueue`] hands it out.
    Inside {
        /// Hosts that crashed with it in flight.
        crash_count: u32,
    },
}

/// Counts messages that wait or are in flight.
pub type Backlog = Arc<dyn Fn() -> usize + Send + Sync>;

/// The numbers that a source counts.
pub type Samples = Arc<dyn Fn() -> Vec<Sample> + Send + Sync>;

/// A problem that needs attention, in words.
pub type Attention = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Whether a source ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// When it is empty (`--once`).
    Empty,
    /// When the host stops: it is watched.
    Stopped,
}

/// Why a source ended before it was empty.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SourceError(Box<dyn Error + Send + Sync>);

impl SourceError {
    /// Wraps the error of a kind of source.
    pub fn new(source: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(source))
    }
}

impl Quarantine {
    /// Of an ordinary message, with which a host may have crashed. Others were in flight beside it.
    pub fn of_ordinary(is_crash: bool) -> Self {
        match is_crash {
            true => Self::Due { crash_count: 1 },
            false => Self::None,
        }
    }

    /// Of a quarantined message after so many crashes, and perhaps another. It was alone in flight: nothing else can have
    /// caused that.
    pub fn of_quarantined(is_crash: bool, crash_count: u32) -> Self {
        match is_crash {
            true => Self::Due {
                crash_count: crash_count.saturating_add(1),
            },
            false => Self::Inside { crash_count },
        }
    }

    /// Whether a host crashed again while only this message ran: it is the cause.
    pub fn is_proven_cause(self) -> bool {
        matches!(self, Self::Due { crash_count } | Self::Inside { crash_count } if crash_count >= 2)
    }

    /// The attempt that this delivery is, for a message whose own count says `attempt`. A crash while other messages ran too costs
    /// none; once a crash while it ran alone proves it, both count.
    pub fn attempt(self, attempt: u32) -> u32 {
        match self {
            Self::Due { crash_count } | Self::Inside { crash_count } if self.is_proven_cause() => {
                attempt.saturating_add(crash_count)
            }
            _ => attempt,
        }
    }
}
