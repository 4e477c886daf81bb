//! Holding: what waits while a destination or the broker is away. Nothing held is counted or dead-lettered.

use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::chain::Chain;
use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// The pauses between tries: doubling, jittered, capped, for ever.
pub(crate) fn backoff(cap: Duration) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(cap)
        .with_jitter()
        .without_max_times()
        .build()
}

/// How far apart the tries for a held message may grow.
const RETRY_CAP: Duration = Duration::from_secs(5);

/// How long a message is held before it is returned: a third of RabbitMQ's default consumer timeout of 30 minutes,
/// after which the broker would close the channel under every message in flight.
const HOLD_LIMIT: Duration = Duration::from_secs(600);

/// One pipeline's held messages: while there are any, the pipeline takes no more.
#[derive(Debug, Clone)]
pub struct Hold(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pipeline: String,
    cut: CancellationToken,
    n_held: AtomicUsize,
    released: Notify,
}

/// The hold ended without success: the message is to be returned to its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GaveUp;

impl Hold {
    /// A hold that gives up when `cut` is cancelled: the end of a drain.
    pub fn new(pipeline: &str, cut: CancellationToken) -> Self {
        let (n_held, released) = (AtomicUsize::new(0), Notify::new());
        Self(Arc::new(Inner {
            pipeline: pipeline.to_owned(),
            cut,
            n_held,
            released,
        }))
    }

    /// Waits until nothing is held.
    pub async fn released(&self) {
        loop {
            let released = self.0.released.notified();
            if self.0.n_held.load(Ordering::SeqCst) == 0 {
                return;
            }
            released.await;
        }
    }

    /// Tries until it succeeds, with backoff; `what` names the thing waited for, for the log.
    ///
    /// # Errors
    /// [`GaveUp`] when the drain is over or the message was held too long.
    pub async fn until_done<T, E, F>(&self, what: impl Display, mut attempt: impl FnMut() -> F) -> Result<T, GaveUp>
    where
        E: Error,
        F: Future<Output = Result<T, E>>,
    {
        let first = tokio::select! {
            done = attempt() => done,
            () = self.0.cut.cancelled() => return Err(GaveUp),
        };
        let error = match first {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let _held = Held::begin(&self.0, &what, &error);
        let since = Instant::now();
        for pause in backoff(RETRY_CAP) {
            let again = async {
                tokio::time::sleep(pause).await;
                attempt().await
            };
            let done = tokio::select! {
                done = again => done,
                () = self.0.cut.cancelled() => return Err(GaveUp),
            };
            match done {
                Ok(done) => return Ok(done),
                Err(error) => debug!(%what, error = %Chain(&error), "still holding"),
            }
            if since.elapsed() > HOLD_LIMIT {
                warn!(%what, held_s = since.elapsed().as_secs(), "held too long: returning the message");
                return Err(GaveUp);
            }
        }
        Err(GaveUp)
    }
}

/// Counts one held message while it lives.
struct Held<'a>(&'a Inner);

impl<'a> Held<'a> {
    fn begin(inner: &'a Inner, what: &impl Display, error: &impl Error) -> Self {
        if inner.n_held.fetch_add(1, Ordering::SeqCst) == 0 {
            warn!(pipeline = inner.pipeline, %what, error = %Chain(error), "holding: taking nothing until it succeeds");
        } else {
            debug!(%what, error = %Chain(error), "holding");
        }
        Self(inner)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.0.n_held.fetch_sub(1, Ordering::SeqCst) == 1 {
            info!(pipeline = self.0.pipeline, "nothing is held any more");
            self.0.released.notify_waiters();
        }
    }
}
