//! The requests for one pipeline: as many at once as its `prefetch`, and none while it takes none. Knows no socket and no
//! head.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tracing::warn;

use super::answer::{Answer, SOON_S};
use super::counts::Counts;
use super::head::Terms;
use crate::Delivery;

/// A pipeline that has not asked for a message for so long holds some, or its breaker is open: between two messages it
/// takes microseconds.
const STANDS_STILL: Duration = Duration::from_secs(1);

/// The pause between two lines of the log about requests that find no slot.
const REMINDER: Duration = Duration::from_secs(60);

/// When a client may come again where the pipeline takes nothing: what it waits for is tried again every few seconds.
const LATER_S: u64 = 5;

/// The way to one pipeline.
#[derive(Debug)]
pub(super) struct RequestQueue {
    /// What requests must fit.
    pub(super) terms: Terms,
    /// How they were answered.
    pub(super) counts: Counts,
    slots: Arc<Semaphore>,
    n_slots: usize,
    queue: mpsc::Sender<Delivery>,
    // std Mutex: never held over an await. Nothing while the pipeline asks for a message.
    idle_since: Mutex<Option<Instant>>,
    // For the log. std Mutex: never held over an await.
    refused: Mutex<Refused>,
}

/// Requests that came while every slot was taken, since the last line of the log about them.
#[derive(Debug, Default)]
struct Refused {
    n: u64,
    logged: Option<Instant>,
}

/// The pipeline asks for a message while it lives.
#[derive(Debug)]
pub(super) struct Asking<'a>(&'a RequestQueue);

impl RequestQueue {
    /// A way for `n_slots` messages at once, and where they come out.
    pub(super) fn new(terms: Terms, n_slots: usize) -> (Arc<Self>, mpsc::Receiver<Delivery>) {
        // Each message in the queue has a slot.
        let (queue, messages) = mpsc::channel(n_slots);
        let requests = Self {
            terms,
            counts: Counts::default(),
            slots: Arc::new(Semaphore::new(n_slots)),
            n_slots,
            queue,
            idle_since: Mutex::new(Some(Instant::now())),
            refused: Mutex::default(),
        };
        (Arc::new(requests), messages)
    }

    /// Whether its pipeline takes messages, or will.
    pub(super) fn is_open(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Messages at once.
    pub(super) fn n_slots(&self) -> usize {
        self.n_slots
    }

    /// Notes that the pipeline asks for a message.
    pub(super) fn asks(&self) -> Asking<'_> {
        *self.idle_since() = None;
        Asking(self)
    }

    /// A slot for a message.
    ///
    /// # Errors
    /// The answer to a client that comes too early.
    pub(super) fn slot(&self) -> Result<OwnedSemaphorePermit, Answer> {
        if !self.is_open() || self.idle_since().is_some_and(|since| since.elapsed() > STANDS_STILL) {
            return Err(closed());
        }
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        slot.map_err(|_| {
            self.note_refused();
            busy()
        })
    }

    /// Counts a request that finds no slot; says so once a minute.
    fn note_refused(&self) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.n += 1;
        if refused.logged.is_none_or(|at| at.elapsed() >= REMINDER) {
            let (path, prefetch, n_refused) = (&self.terms.path, self.n_slots, std::mem::take(&mut refused.n));
            refused.logged = Some(Instant::now());
            warn!(
                path,
                prefetch,
                n_refused,
                "refusing requests with 429: as many messages are in flight as `prefetch` allows; clients that keep to \
                 `Retry-After` lose nothing"
            );
        }
    }

    /// Hands a message over; gives it back where the pipeline takes no more.
    ///
    /// # Errors
    /// The answer where another message of the queue has its place.
    pub(super) fn submit(&self, delivery: Delivery) -> Result<Option<Delivery>, Answer> {
        match self.queue.try_send(delivery) {
            Ok(()) => Ok(None),
            Err(TrySendError::Closed(delivery)) => Ok(Some(delivery)),
            Err(TrySendError::Full(_)) => Err(busy()),
        }
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

/// The answer where no pipeline takes messages.
pub(super) fn closed() -> Answer {
    let why = "the pipeline takes no messages now: it is starting or stopping, or waits for something that fails";
    Answer::later(StatusCode::SERVICE_UNAVAILABLE, why, LATER_S)
}

fn busy() -> Answer {
    let why = "as many messages are in flight as the pipeline takes (`prefetch`)";
    Answer::later(StatusCode::TOO_MANY_REQUESTS, why, SOON_S)
}
