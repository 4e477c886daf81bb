//! Holding messages while a destination or the broker is away. A held message is not counted and never dead-lettered.

use std::error::Error;
use std::fmt::Display;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::error_chain::ErrorChain;
use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// The pauses between tries: doubling, jittered, capped, endless.
pub(crate) fn backoff(cap: Duration) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(cap)
        .with_jitter()
        .without_max_times()
        .build()
}

/// The longest pause between two tries for a held message, before jitter.
const RETRY_CAP: Duration = Duration::from_secs(5);

/// How long a message is held before it is returned: a third of RabbitMQ's default consumer timeout of 30 minutes,
/// after which the broker would close the channel under every message in flight.
pub const HOLD_LIMIT: Duration = Duration::from_secs(600);

/// The pause between two lines of the log about messages that are still held.
const REMINDER: Duration = Duration::from_secs(60);

/// The most time of a drain that is reserved for returning unfinished messages: hundreds of copies are confirmed within a
/// second.
const RESERVE_MAX: Duration = Duration::from_secs(3);

/// The least, of however short a drain.
const RESERVE_MIN: Duration = Duration::from_millis(250);

/// One part in so many of the reserve is for sends that were under way when the drain ended, such as a result that waits
/// for its confirm; the rest is for returning messages.
const ON_ITS_WAY_SHARE: u32 = 3;

/// The part of a drain that is reserved for returning messages: its last quarter, and no more than three seconds.
pub fn reserve(drain: Duration) -> Duration {
    (drain / 4).clamp(RESERVE_MIN, RESERVE_MAX)
}

/// One pipeline's held messages: while there are any, the pipeline receives no more.
#[derive(Debug, Clone)]
pub struct Hold(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pipeline: String,
    cut: CancellationToken,
    // The time that is left when a drain is cut off, and when that was.
    reserve: Duration,
    cut_at: OnceLock<Instant>,
    n_held: watch::Sender<usize>,
    // About the first of them; kept while any waits.
    first: Mutex<Option<First>>,
}

#[derive(Debug)]
struct First {
    /// Its target and its last error.
    what: String,
    since: Instant,
    /// The last line of the log about it.
    logged: Instant,
    /// The most messages that were held at once since.
    n_most: usize,
}

/// The messages that a pipeline holds.
#[derive(Debug, Clone)]
pub struct Holding {
    /// Messages that wait.
    pub n_held: usize,
    /// The target of the first of them, and its last error.
    pub what: String,
    /// The duration.
    pub lasts: Duration,
}

/// The hold ended without success: the message is to be returned to its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GaveUp;

impl Hold {
    /// A hold that gives up when `cut` is cancelled: the end of a drain, but for the `reserve` in which unfinished messages
    /// are returned.
    pub fn new(pipeline: &str, cut: CancellationToken, reserve: Duration) -> Self {
        Self(Arc::new(Inner {
            pipeline: pipeline.to_owned(),
            cut,
            reserve,
            cut_at: OnceLock::new(),
            n_held: watch::Sender::new(0),
            first: Mutex::default(),
        }))
    }

    /// The messages that are held now.
    pub fn holding(&self) -> Option<Holding> {
        let first = self.0.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.as_ref().map(|first| Holding {
            n_held: self.n_held(),
            what: first.what.clone(),
            lasts: first.since.elapsed(),
        })
    }

    /// Whether the drain is over.
    pub fn is_cut(&self) -> bool {
        self.0.cut.is_cancelled()
    }

    /// Waits until the drain is over.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn cut(&self) {
        self.0.cut.cancelled().await;
    }

    /// Waits until so much of the reserve is spent.
    async fn spent(&self, of_reserve: Duration) {
        self.cut().await;
        let cut_at = *self.0.cut_at.get_or_init(Instant::now);
        tokio::time::sleep_until(cut_at + of_reserve).await;
    }

    /// Tries once. A try that is under way when the drain ends is given a moment, because its result would be sent twice.
    ///
    /// # Errors
    /// [`GaveUp`] when that moment is over.
    pub async fn try_once<T, E>(&self, attempt: impl Future<Output = Result<T, E>>) -> Result<Result<T, E>, GaveUp> {
        tokio::select! {
            biased; // a finished try counts
            done = attempt => Ok(done),
            () = self.spent(self.0.reserve / ON_ITS_WAY_SHARE) => Err(GaveUp),
        }
    }

    /// Waits until nothing is held, and then for `next`; `None` when something came to be held meanwhile. `next` must be
    /// safe to cancel.
    pub async fn unless_held<T>(&self, next: impl Future<Output = T>) -> Option<T> {
        self.until(|n_held| n_held == 0).await;
        tokio::select! {
            biased; // a held message wins over another one
            () = self.until(|n_held| n_held > 0) => None,
            next = next => Some(next),
        }
    }

    /// How many messages are held.
    pub fn n_held(&self) -> usize {
        *self.0.n_held.borrow()
    }

    async fn until(&self, is_so: impl Fn(usize) -> bool) {
        // The sender lives as long as `self`, so that there is always an answer.
        if self
            .0
            .n_held
            .subscribe()
            .wait_for(|n_held| is_so(*n_held))
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }

    /// Tries until it succeeds, with backoff; `what` names the target, for the log.
    ///
    /// # Errors
    /// [`GaveUp`] when the drain is over or the message was held too long, also where a try never returns.
    pub async fn until_done<T, E, F>(&self, what: impl Display, attempt: impl FnMut() -> F) -> Result<T, GaveUp>
    where
        E: Error,
        F: Future<Output = Result<T, E>>,
    {
        self.until_done_unless(what, attempt, || false).await
    }

    /// The same, until `is_void`: a message that the source took back is redelivered anyway.
    ///
    /// # Errors
    /// [`GaveUp`] when `is_void` says so after a try, and as [`Hold::until_done`].
    pub async fn until_done_unless<T, E, F>(
        &self,
        what: impl Display,
        mut attempt: impl FnMut() -> F,
        is_void: impl Fn() -> bool,
    ) -> Result<T, GaveUp>
    where
        E: Error,
        F: Future<Output = Result<T, E>>,
    {
        let since = Instant::now();
        match self.within(&what, since, attempt()).await? {
            Ok(done) => Ok(done),
            // Boxed: most messages never wait.
            Err(error) => Box::pin(self.try_again(what, (since, error), attempt, is_void)).await,
        }
    }

    async fn try_again<T, E, F>(
        &self,
        what: impl Display,
        (since, error): (Instant, E),
        mut attempt: impl FnMut() -> F,
        is_void: impl Fn() -> bool,
    ) -> Result<T, GaveUp>
    where
        E: Error,
        F: Future<Output = Result<T, E>>,
    {
        let mut held = HeldGuard::begin(&self.0, &what, &error);
        for pause in backoff(RETRY_CAP) {
            tokio::select! {
                biased; // no try begins after the drain
                () = self.cut() => return Err(GaveUp),
                slept = self.within(&what, since, tokio::time::sleep(pause)) => slept?,
            }
            match self.within(&what, since, attempt()).await? {
                Ok(done) => {
                    held.is_done = true;
                    return Ok(done);
                }
                Err(error) => {
                    debug!(target = %what, error = %ErrorChain(&error), "still holding");
                    held.show(&what, &error);
                }
            }
            if is_void() {
                debug!(target = %what, "the source takes the message back: it will be redelivered");
                return Err(GaveUp);
            }
        }
        Err(GaveUp)
    }

    /// Awaits a try until a moment after the drain is over, or until the message was held too long: a try that never returns
    /// holds it no longer than one that fails again and again.
    async fn within<T>(
        &self,
        what: &impl Display,
        since: Instant,
        attempt: impl Future<Output = T>,
    ) -> Result<T, GaveUp> {
        tokio::select! {
            biased; // a finished try counts
            done = attempt => Ok(done),
            () = self.spent(self.0.reserve / ON_ITS_WAY_SHARE) => Err(GaveUp),
            () = tokio::time::sleep_until(since + HOLD_LIMIT) => {
                warn!(target = %what, held_s = since.elapsed().as_secs(), "held too long: returning the message");
                Err(GaveUp)
            }
        }
    }
}

impl Hold {
    /// Tries to return a message, with backoff, for as long as `patience` and, when the drain is over, until its reserve is
    /// spent. One try is not given up for another: both could arrive.
    ///
    /// # Errors
    /// [`GaveUp`] when it did not succeed in time, or the source took the message back.
    pub async fn until_back<E, F>(
        &self,
        what: impl Display,
        mut attempt: impl FnMut() -> F,
        is_void: impl Fn() -> bool,
        patience: Duration,
    ) -> Result<(), GaveUp>
    where
        E: Error,
        F: Future<Output = Result<(), E>>,
    {
        let trying = async {
            let (mut held, mut pauses, mut was_cut) = (None, backoff(RETRY_CAP), self.is_cut());
            while let Some(pause) = pauses.next() {
                match attempt().await {
                    Ok(()) => {
                        held.iter_mut().for_each(|held: &mut HeldGuard<'_>| held.is_done = true);
                        return Ok(());
                    }
                    Err(_) if is_void() => break,
                    Err(error) if held.is_none() => held = Some(HeldGuard::begin(&self.0, &what, &error)),
                    Err(error) => debug!(target = %what, error = %ErrorChain(&error), "still holding"),
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    // The target may be back, and there is no time for long pauses.
                    () = self.cut(), if !was_cut => (was_cut, pauses) = (true, backoff(RETRY_CAP)),
                }
            }
            Err(GaveUp)
        };
        tokio::select! {
            biased; // a returned message counts
            tried = trying => tried,
            () = tokio::time::sleep(patience) => Err(GaveUp),
            () = self.spent(self.0.reserve) => Err(GaveUp),
        }
    }
}

/// Counts one held message while it lives.
struct HeldGuard<'a> {
    inner: &'a Inner,
    // Whether its error is the one that is shown.
    is_first: bool,
    // Whether the last try succeeded.
    is_done: bool,
}

impl<'a> HeldGuard<'a> {
    fn begin(inner: &'a Inner, what: &impl Display, error: &impl Error) -> Self {
        let mut first = inner.first.lock().unwrap_or_else(PoisonError::into_inner);
        let mut n_held = 0;
        inner.n_held.send_modify(|count| {
            *count += 1;
            n_held = *count;
        });
        if let Some(first) = first.as_mut() {
            first.n_most = first.n_most.max(n_held);
        }
        if n_held == 1 {
            let now = Instant::now();
            *first = Some(First {
                what: format!("{what}: {}", ErrorChain(error)),
                since: now,
                logged: now,
                n_most: n_held,
            });
            warn!(pipeline = inner.pipeline, target = %what, error = %ErrorChain(error), "holding: the pipeline receives no messages until this succeeds");
        } else {
            debug!(target = %what, error = %ErrorChain(error), "holding");
        }
        Self {
            inner,
            is_first: n_held == 1,
            is_done: false,
        }
    }

    /// Shows the error of the last try, which may differ from the first; once a minute in the log, too.
    fn show(&self, what: &impl Display, error: &impl Error) {
        let mut first = self.inner.first.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = first.as_mut() else { return };
        if self.is_first {
            first.what = format!("{what}: {}", ErrorChain(error));
        }
        if first.logged.elapsed() >= REMINDER {
            first.logged = Instant::now();
            let (n_held, held_s) = (*self.inner.n_held.borrow(), first.since.elapsed().as_secs());
            warn!(pipeline = self.inner.pipeline, n_held, held_s, target = %what, error = %ErrorChain(error), "still holding");
        }
    }
}

impl Drop for HeldGuard<'_> {
    fn drop(&mut self) {
        let mut first = self.inner.first.lock().unwrap_or_else(PoisonError::into_inner);
        let mut n_held = 0;
        self.inner.n_held.send_modify(|count| {
            *count -= 1;
            n_held = *count;
        });
        if n_held == 0
            && let Some(First { since, n_most, .. }) = first.take()
        {
            let (pipeline, held_s) = (&self.inner.pipeline, since.elapsed().as_secs());
            match self.is_done {
                true => info!(pipeline, n_most, held_s, "no message is held any more"),
                false => warn!(
                    pipeline,
                    n_most,
                    held_s,
                    "stopped holding without success: the messages go back to their source, or come again from it"
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests;
