//! The quarantined rows of a table: one is taken when nothing else runs. Knows how they are taken, not what is done with them.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::ack::Found;
use super::error::SqliteError;
use super::shared::Shared;
use super::taking;
use crate::isolation::ExclusiveGuard;
use crate::{Delivery, QuarantineQueue};

/// The rows whose claim is in quarantine: hosts that share a table share them.
#[derive(Debug)]
pub(super) struct QuarantinedRows {
    shared: Arc<Shared>,
}

impl QuarantinedRows {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn next_row(&self) -> Result<Option<Found>, SqliteError> {
        let shared = &self.shared;
        let (tables, owner) = (Arc::clone(&shared.tables), shared.owner());
        let (max, until_ms) = (shared.max_message_bytes, shared.until_ms());
        let by = Arc::clone(&owner);
        let work = move |connection: &rusqlite::Connection| {
            if !taking::renew(connection, &tables, &by, until_ms)? {
                return Ok(None);
            }
            taking::claim_quarantined(connection, &tables, &by, max)
        };
        let taken = shared.file.write("claim a quarantined message in", work).await?;
        if taken.is_none() {
            shared.state().look.has_quarantined = false;
        }
        Ok(taken.map(|taken| Found::new(shared, &owner, taken, (None, true))))
    }
}

impl QuarantineQueue for QuarantinedRows {
    fn waiting(&mut self) -> BoxFuture<'_, ()> {
        async {
            loop {
                let newly_quarantined = self.shared.newly_quarantined.notified();
                let is_there = {
                    let state = self.shared.state();
                    state.failing.is_none() && state.look.has_quarantined
                };
                if is_there {
                    return;
                }
                newly_quarantined.await;
            }
        }
        .boxed()
    }

    fn take<'a>(&'a mut self, _: &'a ExclusiveGuard) -> BoxFuture<'a, Option<Delivery>> {
        async {
            match self.next_row().await {
                Ok(found) => found.map(Found::delivery),
                Err(error) => {
                    self.shared.failed(&error);
                    None
                }
            }
        }
        .boxed()
    }
}
