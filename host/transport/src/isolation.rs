//! The isolation lock of a host: while a quarantined message runs, nothing else does. Knows no message.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// How long a quarantined message may keep other pipelines waiting once its plugins and its model are done with it: an
/// answer of the broker takes milliseconds, and a broker that gives none must not stop the whole host.
const PATIENCE: Duration = Duration::from_secs(5);

/// One for each pipeline, all of one host with the same lock for the host. Fair: a message that waits to be alone is
/// not overtaken endlessly.
#[derive(Debug, Default)]
pub struct IsolationLock {
    // Always taken in this order, so that no two wait for each other.
    pipeline: Arc<RwLock<()>>,
    host: Arc<RwLock<()>>,
}

/// Shared with other messages that are not quarantined.
#[derive(Debug)]
#[must_use = "it lasts while it lives"]
#[expect(dead_code, reason = "held, not used")]
pub struct SharedGuard(OwnedRwLockReadGuard<()>, OwnedRwLockReadGuard<()>);

/// Beside nothing.
#[derive(Debug)]
#[must_use = "it lasts while it lives"]
pub struct ExclusiveGuard {
    pipeline: OwnedRwLockWriteGuard<()>,
    host: OwnedRwLockWriteGuard<()>,
}

impl IsolationLock {
    /// The lock of another pipeline of the same host.
    pub fn beside(&self) -> Self {
        Self {
            pipeline: Arc::default(),
            host: Arc::clone(&self.host),
        }
    }

    /// Waits until no quarantined message runs. Not to be held while something waits for long, such as a destination.
    pub async fn shared(&self) -> SharedGuard {
        let pipeline = Arc::clone(&self.pipeline).read_owned().await;
        SharedGuard(pipeline, Arc::clone(&self.host).read_owned().await)
    }

    /// Waits until nothing runs.
    pub async fn exclusive(&self) -> ExclusiveGuard {
        ExclusiveGuard {
            pipeline: Arc::clone(&self.pipeline).write_owned().await,
            host: Arc::clone(&self.host).write_owned().await,
        }
    }
}

impl ExclusiveGuard {
    /// Stays alone until `finishing` is done; in the host only for as long as other pipelines can be kept waiting. In its
    /// own pipeline nothing else runs before: a quarantined message that is still in flight would be blamed for a crash
    /// of the host.
    pub async fn until<T>(self, finishing: impl Future<Output = T>) -> T {
        let Self {
            pipeline: _pipeline,
            host,
        } = self;
        tokio::pin!(finishing);
        let waited = tokio::time::timeout(PATIENCE, &mut finishing).await;
        drop(host);
        match waited {
            Ok(done) => done,
            Err(_) => finishing.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn alone_is_beside_nothing_and_lets_other_pipelines_go_on_when_they_have_waited_enough() {
        let isolation = IsolationLock::default();
        let other = isolation.beside();
        let (first, second) = (isolation.shared().await, other.shared().await);
        let mut exclusive = Box::pin(isolation.exclusive());
        assert!(exclusive.as_mut().now_or_never().is_none());
        drop((first, second));
        let exclusive = exclusive.await;
        let finishing = tokio::spawn(exclusive.until(std::future::pending::<()>()));
        drop(other.shared().await);
        assert!(!finishing.is_finished());
        assert!(isolation.shared().now_or_never().is_none());
        finishing.abort();
        drop(isolation.shared().await);
    }
}
