//! The waits of a source or a connection, for health and status. Changes nothing.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The cause, in words.
    pub what: String,
    /// Its duration, where that is of interest.
    pub lasts: Option<Duration>,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lasts {
            Some(lasts) => write!(f, "{} for {} s", self.what, lasts.as_secs()),
            None => f.write_str(&self.what),
        }
    }
}

/// Whether a source hands out messages, and what it waits for while it does not. Every clone sees the same.
#[derive(Debug, Clone, Default)]
pub struct SourceHealth(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_open: AtomicBool,
    // std Mutex: never held over an await.
    doing: Mutex<Option<Doing>>,
}

/// What, and since when where it is being done.
type Doing = (String, Option<Instant>);

impl SourceHealth {
    /// That of a source which is open from the beginning.
    pub fn open() -> Self {
        let health = Self::default();
        health.opened();
        health
    }

    /// Whether the source hands out messages.
    pub fn is_open(&self) -> bool {
        self.0.is_open.load(Ordering::Relaxed)
    }

    /// A wait.
    pub fn waiting(&self) -> Option<Waiting> {
        self.lock().as_ref().map(|(what, since)| Waiting {
            what: what.clone(),
            lasts: since.map(|since| since.elapsed()),
        })
    }

    /// It hands out messages.
    pub(super) fn opened(&self) {
        self.0.is_open.store(true, Ordering::Relaxed);
    }

    /// It hands out no more messages.
    pub(super) fn closed(&self) {
        self.0.is_open.store(false, Ordering::Relaxed);
    }

    /// It tries something.
    pub(super) fn doing(&self, what: String) {
        let mut doing = self.lock();
        // The error before says more than that the host tries again.
        match &*doing {
            Some((_, None)) => {}
            _ => *doing = Some((what, Some(Instant::now()))),
        }
    }

    /// Its attempt failed.
    pub(super) fn failed(&self, why: String) {
        *self.lock() = Some((why, None));
    }

    /// It waits for nothing.
    pub(super) fn nothing(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Doing>> {
        self.0.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
