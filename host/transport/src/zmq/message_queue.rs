//! The way to one pipeline: as many messages at once as its `prefetch`, and none while it takes none. Knows no socket and no
//! frame.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::codec::SocketType;
use super::counts::Counts;
use super::reply::Reply;
use crate::Delivery;
use crate::quota::LineQuota;

/// A pipeline that has not asked for a message for so long holds some, or its breaker is open: between two messages it
/// takes microseconds.
const STANDS_STILL: Duration = Duration::from_secs(1);

/// How long a message waits for a slot: meanwhile its connection is not read, so that its client is slowed down.
const SLOT_WAIT: Duration = Duration::from_secs(5);

/// Lines a second about messages that are lost.
const LINES_PER_SECOND: u32 = 16;

/// What connections and messages must fit.
#[derive(Debug)]
pub(super) struct Terms {
    /// Where they come from, as the file says it.
    pub(super) source: String,
    /// The type of our socket.
    pub(super) socket: SocketType,
    /// The largest body.
    pub(super) body_bytes_max: usize,
    /// Connections at once.
    pub(super) connections_max: usize,
}

/// The way to one pipeline.
#[derive(Debug)]
pub(super) struct MessageQueue {
    pub(super) terms: Terms,
    /// How messages ended.
    pub(super) counts: Arc<Counts>,
    /// For the log.
    pub(super) lines: Arc<LineQuota>,
    slots: Arc<Semaphore>,
    queue: mpsc::Sender<Delivery>,
    // std Mutex: never held over an await. Nothing while the pipeline asks for a message.
    idle_since: Mutex<Option<Instant>>,
}

/// The pipeline asks for a message while it lives.
#[derive(Debug)]
pub(super) struct Asking<'a>(&'a MessageQueue);

impl MessageQueue {
    /// A way for `n_slots` messages at once, and where they come out.
    pub(super) fn new(terms: Terms, n_slots: usize) -> (Arc<Self>, mpsc::Receiver<Delivery>) {
        // Each message in the queue has a slot.
        let (queue, messages) = mpsc::channel(n_slots);
        let way = Self {
            terms,
            counts: Arc::default(),
            lines: Arc::new(LineQuota::new(LINES_PER_SECOND)),
            slots: Arc::new(Semaphore::new(n_slots)),
            queue,
            idle_since: Mutex::new(Some(Instant::now())),
        };
        (Arc::new(way), messages)
    }

    /// Whether its pipeline takes messages, or will.
    pub(super) fn is_open(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Notes that the pipeline asks for a message.
    pub(super) fn asks(&self) -> Asking<'_> {
        *self.idle_since() = None;
        Asking(self)
    }

    /// A slot for a message, waited for.
    ///
    /// # Errors
    /// What a client is told that comes at the wrong time.
    ///
    /// # Cancellation
    /// Safe.
    pub(super) async fn slot(&self) -> Result<OwnedSemaphorePermit, Reply> {
        if self.stands_still() {
            return Err(Reply::closed());
        }
        let slot = tokio::time::timeout(SLOT_WAIT, Arc::clone(&self.slots).acquire_owned()).await;
        match slot {
            Ok(Ok(slot)) if self.is_open() => Ok(slot),
            Err(_) if self.is_open() && !self.stands_still() => Err(Reply::busy()),
            _ => Err(Reply::closed()),
        }
    }

    /// A slot for a message that nobody is told about, however long it takes. Nothing where its pipeline is gone.
    ///
    /// # Cancellation
    /// Safe.
    pub(super) async fn patient_slot(&self) -> Option<OwnedSemaphorePermit> {
        let slots = Arc::clone(&self.slots);
        tokio::select! {
            slot = slots.acquire_owned() => slot.ok().filter(|_| self.is_open()),
            () = self.queue.closed() => None,
        }
    }

    /// Hands a message over; gives it back where the pipeline takes no more.
    pub(super) fn submit(&self, delivery: Delivery) -> Option<Delivery> {
        match self.queue.try_send(delivery) {
            Ok(()) => None,
            // It has a slot of its own queue, so that there is room; and one that came from elsewhere is sent again.
            Err(TrySendError::Closed(delivery) | TrySendError::Full(delivery)) => Some(delivery),
        }
    }

    fn stands_still(&self) -> bool {
        !self.is_open() || self.idle_since().is_some_and(|since| since.elapsed() > STANDS_STILL)
    }

    fn idle_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.idle_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        *self.0.idle_since() = Some(Instant::now());
    }
}
