//! The quarantined files of a folder: one is taken when nothing else runs. Knows how they are taken, not what is done with
//! them.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tracing::{debug, warn};

use super::shared::Shared;
use super::{FolderError, Found, delivery, take};
use crate::error_chain::ErrorChain;
use crate::isolation::ExclusiveGuard;
use crate::{Delivery, QuarantineQueue};

/// The files of this host in `apart.*.*`.
#[derive(Debug)]
pub(super) struct ApartFiles {
    shared: Arc<Shared>,
    /// Whether the last try failed, which was told.
    is_failing: bool,
}

impl ApartFiles {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            is_failing: false,
        }
    }

    /// Waits until the delay of one is over.
    async fn wait(&self) {
        loop {
            let newly_quarantined = self.shared.newly_quarantined.notified();
            let due = self.shared.state().quarantine_due();
            match due {
                None => newly_quarantined.await,
                Some(due) => tokio::select! {
                    () = newly_quarantined => {}
                    () = tokio::time::sleep_until(due.into()) => return,
                },
            }
        }
    }

    /// Moves one to `alone.*.*` and reads it.
    pub(super) async fn next_file(&self) -> Result<Option<Found>, FolderError> {
        let shared = Arc::clone(&self.shared);
        let found = tokio::task::spawn_blocking(move || take_next(&shared)).await;
        let found = found.map_err(FolderError::Stopped)??;
        Ok(found.map(|(message, mut ack)| {
            ack.is_handed_out = true;
            (message, ack)
        }))
    }
}

impl QuarantineQueue for ApartFiles {
    fn waiting(&mut self) -> BoxFuture<'_, ()> {
        self.wait().boxed()
    }

    fn take<'a>(&'a mut self, _: &'a ExclusiveGuard) -> BoxFuture<'a, Option<Delivery>> {
        async {
            match self.next_file().await {
                Ok(found) => {
                    self.is_failing = false;
                    found.map(delivery)
                }
                Err(error) => {
                    let (folder, error) = (self.shared.folder.display(), ErrorChain(&error));
                    match std::mem::replace(&mut self.is_failing, true) {
                        true => debug!(%folder, %error, "quarantined files still cannot be taken"),
                        false => warn!(%folder, %error, "quarantined files cannot be taken yet"),
                    }
                    None
                }
            }
        }
        .boxed()
    }
}

/// The first that is due and can be read. Blocks.
pub(super) fn take_next(shared: &Arc<Shared>) -> Result<Option<Found>, FolderError> {
    loop {
        let claim = shared.state().pop_quarantined();
        let Some(claim) = claim else { return Ok(None) };
        if let Some(claim) = take::take_up(shared, claim)?
            && let Some(found) = take::read(shared, claim)?
        {
            return Ok(Some(found));
        }
    }
}
