//! A table as a source of messages. Knows no plugin.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::ack::Found;
use super::error::SqliteError;
use super::file::File;
use super::keeper;
use super::keys::TableSourceConfig;
use super::quarantine::QuarantinedRows;
use super::shared::{Shared, now_ms};
use super::tables::Tables;
use super::taking;
use crate::config::Name;
use crate::error_chain::ErrorChain;
use crate::{Backlog, Delivery, OpenError, QuarantineQueue, Samples, Source, SourceError, SourceHealth, Until};

/// Rows that are claimed in one transaction: more makes it no faster, and their bodies are in memory.
const CLAIMED_MAX: u32 = 32;

/// A table that messages are taken from.
#[derive(Debug)]
pub(super) struct TableSource {
    shared: Arc<Shared>,
    until: Until,
    slots: Arc<Semaphore>,
    /// Claimed and not handed out.
    waiting: VecDeque<Found>,
    /// The claim in progress. Kept here and not in [`TableSource::next_row`], which may be cancelled.
    claim: Option<JoinHandle<Result<Vec<Found>, SqliteError>>>,
    keeper: AbortOnDropHandle<()>,
    /// Whether it has ended its lease.
    has_left: bool,
}

impl TableSource {
    /// Opens the table, and makes it where it is missing. A file that is locked is waited for.
    ///
    /// # Errors
    /// When waiting would not help.
    pub(super) async fn open(
        config: &TableSourceConfig,
        pipeline: &Name,
        max_message_bytes: usize,
        until: Until,
    ) -> Result<Self, OpenError> {
        let file = File::of(&config.file).map_err(OpenError::passing)?;
        let tables = Tables::new(&config.table, &config.dead());
        let timing = (config.lease, config.poll);
        let shared = Arc::new(Shared::new(file, tables, config.done, timing, max_message_bytes));
        let opened = async {
            keeper::check(&shared).await?;
            keeper::tend(&shared).await
        };
        match opened.await {
            Ok(()) => {}
            Err(error) if error.is_outage() => shared.failed(&error),
            Err(error) => return Err(OpenError::fatal(error)),
        }
        info!(pipeline = %pipeline, file = %shared.file.path().display(), table = config.table, "taking rows as messages");
        let keeper = tokio::spawn(keeper::keep(Arc::clone(&shared)));
        Ok(Self {
            shared,
            until,
            slots: Arc::new(Semaphore::new(usize::from(config.prefetch.max(1)))),
            waiting: VecDeque::new(),
            claim: None,
            keeper: AbortOnDropHandle::new(keeper),
            has_left: false,
        })
    }

    /// Renews its lease no more, as a host that hangs.
    #[cfg(test)]
    pub(super) fn stop_keeping(&self) {
        self.keeper.abort();
    }

    /// The next row that is not in quarantine.
    ///
    /// # Cancellation
    /// Nothing is lost: rows that were claimed meanwhile are what the next call returns, or go back.
    async fn next_row(&mut self) -> Result<Option<Found>, SqliteError> {
        loop {
            if let Some(found) = self.waiting.pop_front() {
                return Ok(Some(found));
            }
            if self.claim.is_none() {
                if !self.may_claim()? {
                    if self.is_over() {
                        return Ok(None);
                    }
                    self.shared.changed.notified().await;
                    continue;
                }
                let slots = self.slots().await;
                self.claim = Some(tokio::spawn(claim(Arc::clone(&self.shared), slots)));
            }
            let Some(claim) = &mut self.claim else { continue };
            let claimed = claim.await;
            self.claim = None;
            match claimed {
                Ok(Ok(found)) => self.waiting.extend(found),
                Ok(Err(error)) => self.shared.failed(&error),
                Err(error) => warn!(%error, "a claim ended: the process is stopping, or it is our bug"),
            }
        }
    }

    /// Whether there are rows to be claimed, as far as is known.
    ///
    /// # Errors
    /// A run that is to end fails where waiting does not help.
    fn may_claim(&self) -> Result<bool, SqliteError> {
        let state = self.shared.state();
        match &state.failing {
            Some(failing) if self.until == Until::Empty && !failing.error.is_outage() => Err(failing.error.clone()),
            Some(_) => Ok(false),
            None => Ok(state.is_registered && state.look.has_rows),
        }
    }

    fn is_over(&self) -> bool {
        let state = self.shared.state();
        self.until == Until::Empty && state.failing.is_none() && state.look.is_empty && state.releases.is_empty()
    }

    /// Waits until one more message may be in flight, and takes as many places as are free.
    async fn slots(&self) -> Vec<OwnedSemaphorePermit> {
        let mut slots = Vec::new();
        // Never closed, so there always is one.
        slots.extend(Arc::clone(&self.slots).acquire_owned().await.ok());
        while slots.len() < CLAIMED_MAX as usize
            && let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned()
        {
            slots.push(slot);
        }
        slots
    }

    /// Gives back what is claimed and was not handed out, and everything that was dropped.
    async fn give_back(&mut self) {
        if let Some(claim) = self.claim.take()
            && let Ok(Ok(found)) = claim.await
        {
            self.waiting.extend(found);
        }
        self.waiting.clear();
        let has_releases = !self.shared.state().releases.is_empty();
        if has_releases && let Err(error) = keeper::tend(&self.shared).await {
            warn!(error = %ErrorChain(&error), "cannot give back claimed rows: they come again when the lease is over");
        }
    }
}

/// Claims as many rows as there are places.
async fn claim(shared: Arc<Shared>, slots: Vec<OwnedSemaphorePermit>) -> Result<Vec<Found>, SqliteError> {
    let (tables, owner) = (Arc::clone(&shared.tables), shared.owner());
    let (max, until_ms) = (shared.max_message_bytes, shared.until_ms());
    let n = u32::try_from(slots.len()).unwrap_or(CLAIMED_MAX);
    let by = Arc::clone(&owner);
    let work = move |connection: &rusqlite::Connection| {
        if !taking::renew(connection, &tables, &by, until_ms)? {
            return Ok(None);
        }
        taking::claim(connection, &tables, &by, (n, now_ms()), max).map(Some)
    };
    let taken = shared.file.write_to_the_end("claim messages in", work).await?;
    let Some(taken) = taken else {
        // The keeper finds out, and begins another lease.
        shared.state().look.has_rows = false;
        shared.nudged.notify_one();
        return Ok(Vec::new());
    };
    if taken.len() < slots.len() {
        shared.state().look.has_rows = false;
    }
    let found = taken
        .into_iter()
        .zip(slots)
        .map(|(taken, slot)| Found::new(&shared, &owner, taken, (Some(slot), false)));
    Ok(found.collect())
}

impl Source for TableSource {
    fn ready(&mut self) -> BoxFuture<'_, ()> {
        async {
            loop {
                let changed = self.shared.changed.notified();
                if self.shared.health.is_open() {
                    // The next that waits is to look, too.
                    self.shared.changed.notify_one();
                    return;
                }
                tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep(self.shared.poll) => {}
                }
            }
        }
        .boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Delivery>, SourceError>> {
        async {
            let found = self.next_row().await.map_err(SourceError::new)?;
            Ok(found.map(Found::delivery))
        }
        .boxed()
    }

    fn stop_consuming(&mut self) -> BoxFuture<'_, Vec<Delivery>> {
        async {
            self.give_back().await;
            Vec::new()
        }
        .boxed()
    }

    fn last(&mut self) -> BoxFuture<'_, Option<Delivery>> {
        async {
            self.give_back().await;
            None
        }
        .boxed()
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            if let Some(leave) = self.leave()
                && let Err(error) = self.shared.file.write("leave", leave).await
            {
                warn!(error = %ErrorChain(&error), "cannot end the lease: it ends by itself, and nothing is claimed by it");
            }
        }
        .boxed()
    }

    fn quarantine(&self) -> Option<Box<dyn QuarantineQueue>> {
        Some(Box::new(QuarantinedRows::new(Arc::clone(&self.shared))))
    }

    fn health(&self) -> SourceHealth {
        self.shared.health.clone()
    }

    fn samples(&self) -> Samples {
        let shared = Arc::downgrade(&self.shared);
        Arc::new(move || shared.upgrade().map(|shared| shared.sample()).into_iter().collect())
    }

    /// The rows that wait or are claimed, by any host.
    fn backlog(&self) -> Backlog {
        let shared = Arc::downgrade(&self.shared);
        Arc::new(move || shared.upgrade().map_or(0, |shared| shared.state().look.n_open as usize))
    }
}

impl TableSource {
    /// The last work on the file: ends what no message holds any more, and the lease with it. Done once.
    fn leave(&mut self) -> Option<impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<()> + Send + use<>> {
        if std::mem::replace(&mut self.has_left, true) {
            return None;
        }
        self.keeper.abort();
        self.shared.health.closed();
        self.waiting.clear();
        let (tables, owner) = (Arc::clone(&self.shared.tables), self.shared.owner());
        let releases = std::mem::take(&mut self.shared.state().releases);
        Some(move |connection: &rusqlite::Connection| {
            for release in &releases {
                let claim = (release.seq, release.owner.as_ref());
                super::settling::end(connection, &tables, claim, &release.ending)?;
            }
            taking::leave(connection, &tables, &owner)
        })
    }
}

impl Drop for TableSource {
    fn drop(&mut self) {
        if let Some(leave) = self.leave() {
            self.shared.file.write_later("leave", leave);
        }
    }
}
