//! What a source, its acknowledgements and its keeper share. Knows no plugin and no pipeline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use super::error::SqliteError;
use super::file::File;
use super::keys::Done;
use super::settling::Ending;
use super::tables::Tables;
use super::taking::Look;
use crate::error_chain::ErrorChain;
use crate::metric::{Metric, counter};
use crate::redelivery_grace::RedeliveryGrace;
use crate::{Sample, SourceHealth};

pub(super) static TAKEN_OVER: Metric = counter(
    "millrace_sqlite_taken_over_total",
    "Rows that were taken over from hosts whose lease was over.",
);

/// The settings of a source, and what its parts tell each other.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) file: File,
    pub(super) tables: Arc<Tables>,
    pub(super) done: Done,
    pub(super) lease: Duration,
    pub(super) poll: Duration,
    pub(super) max_message_bytes: usize,
    pub(super) health: SourceHealth,
    pub(super) grace: RedeliveryGrace,
    // std Mutex and not tokio's: never held over work on the file or an await.
    state: Mutex<State>,
    /// Rows that were taken over from hosts that are gone.
    n_taken_over: AtomicU64,
    /// Told when there may be a row to claim, or nothing any more; the source alone listens.
    pub(super) changed: Notify,
    /// Told when there may be a quarantined row; the quarantine queue alone listens.
    pub(super) newly_quarantined: Notify,
    /// Told when the keeper is to look at once.
    pub(super) nudged: Notify,
    // Held while the lease is renewed, which has a bound.
    pub(super) tending: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
pub(super) struct State {
    /// The name that this host claims by.
    pub(super) owner: Arc<str>,
    /// Whether that has a lease.
    pub(super) is_registered: bool,
    /// What the last look saw.
    pub(super) look: Look,
    /// Claims that no message holds any more, and what is to become of their rows.
    pub(super) releases: Vec<Release>,
    /// When the lease was renewed last.
    pub(super) renewed: Option<Instant>,
    /// Since when the file fails.
    pub(super) failing: Option<Failing>,
    /// Since when it does not, where it has failed.
    healthy_since: Option<Instant>,
}

/// The failure of a file.
#[derive(Debug, Clone)]
pub(super) struct Failing {
    pub(super) error: SqliteError,
}

/// A claim that no message holds any more.
#[derive(Debug, Clone)]
pub(super) struct Release {
    pub(super) seq: i64,
    pub(super) owner: Arc<str>,
    pub(super) ending: Ending,
}

impl Shared {
    pub(super) fn new(file: File, tables: Tables, done: Done, timing: (Duration, Duration), max: usize) -> Self {
        let (lease, poll) = timing;
        Self {
            file,
            tables: Arc::new(tables),
            done,
            lease,
            poll,
            max_message_bytes: max,
            health: SourceHealth::default(),
            grace: RedeliveryGrace::new(&super::config::TABLE),
            state: Mutex::new(State {
                owner: new_owner(),
                is_registered: false,
                look: Look::default(),
                releases: Vec::new(),
                renewed: None,
                failing: None,
                healthy_since: None,
            }),
            n_taken_over: AtomicU64::new(0),
            changed: Notify::new(),
            newly_quarantined: Notify::new(),
            nudged: Notify::new(),
            tending: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Every change of it is one statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name that this host claims by now.
    pub(super) fn owner(&self) -> Arc<str> {
        Arc::clone(&self.state().owner)
    }

    /// When a lease that is renewed now is over.
    pub(super) fn until_ms(&self) -> i64 {
        after_ms(self.lease)
    }

    /// Notes what was seen, and wakes those who wait for it.
    pub(super) fn saw(&self, look: Look) {
        self.state().look = look;
        if look.has_rows || look.is_empty {
            self.changed.notify_one();
        }
        if look.has_quarantined {
            self.newly_quarantined.notify_one();
        }
    }

    /// The file failed: nothing is claimed until the keeper reaches it again.
    pub(super) fn failed(&self, error: &SqliteError) {
        let is_first = {
            let failing = Failing { error: error.clone() };
            self.state().failing.replace(failing).is_none()
        };
        self.health.closed();
        self.health.failed(ErrorChain(error).to_string());
        if is_first {
            warn!(table = %self.tables.rows, error = %ErrorChain(error), "the file fails: trying again until it works");
        }
        self.nudged.notify_one();
        self.changed.notify_one();
    }

    /// The lease is renewed.
    pub(super) fn renewed(&self) {
        let now = Instant::now();
        let (was_failing, lapsed) = {
            let mut state = self.state();
            let before = state.renewed.replace(now);
            let was_failing = state.failing.take().is_some();
            if was_failing {
                state.healthy_since = Some(now);
            }
            (was_failing, before.is_some_and(|before| now - before > self.lease))
        };
        if lapsed {
            // Others could not renew theirs either, and everybody's rows come back.
            self.grace.begin();
        }
        if was_failing {
            info!(table = %self.tables.rows, "the file works again");
        }
        self.health.opened();
        self.health.nothing();
    }

    /// Whether hosts that are heard of no more can be taken to be gone. After an outage of the file they first get the time to
    /// renew their leases.
    pub(super) fn may_take_over(&self) -> bool {
        let state = self.state();
        state.failing.is_none() && state.healthy_since.is_none_or(|since| since.elapsed() > self.lease)
    }

    /// Counts rows that come again.
    pub(super) fn took_over(&self, n: usize) {
        self.n_taken_over.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(super) fn sample(&self) -> Sample {
        Sample {
            metric: &TAKEN_OVER,
            label: None,
            value: self.n_taken_over.load(Ordering::Relaxed),
        }
    }

    /// Ends a claim that no message holds any more, as soon as the file lets it.
    pub(super) fn release(&self, release: Release) {
        self.state().releases.push(release);
        self.nudged.notify_one();
    }
}

/// A name that no other host has.
pub(super) fn new_owner() -> Arc<str> {
    uuid::Uuid::new_v4().to_string().into()
}

/// Milliseconds since 1970: hosts that share a file are on one machine, and have one clock.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The same, later.
pub(super) fn after_ms(delay: Duration) -> i64 {
    now_ms().saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
}
