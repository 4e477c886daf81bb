//! A result on its way to a destination that may be away.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::fakes::Host;
use crate::transport::{self, DeliverError};

/// A result.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) host: Arc<Host>,
    pub(super) tag: u64,
    pub(super) id: usize,
    pub(super) index: usize,
}

impl transport::Output for Output {
    fn send(&self) -> BoxFuture<'_, Result<(), DeliverError>> {
        self.try_send().map(|sent| sent.map_err(DeliverError::new)).boxed()
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Output {
    async fn try_send(&self) -> Result<(), Lost> {
        self.host.step(3).await;
        let takes = {
            let mut state = self.host.world.state();
            let takes = state.takes_results && !state.random.chance(3);
            if takes {
                *state.results.entry(self.id).or_default().entry(self.index).or_default() += 1;
            }
            takes
        };
        self.host.step(3).await;
        let mut state = self.host.world.state();
        if !takes || state.random.chance(3) {
            return Err(Lost);
        }
        if let Some(unacked) = state.unacked.get_mut(&self.tag) {
            unacked.n_confirmed += 1;
        }
        Ok(())
    }
}

/// It is not known to have arrived.
#[derive(Debug, thiserror::Error)]
#[error("the confirm was lost")]
pub(super) struct Lost;
