//! The gate of a host: while a suspect runs, nothing else does. Knows no message.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// How long a suspect may keep other pipelines waiting once its plugins and its model are done with it: an answer of the
/// broker takes milliseconds, and a broker that gives none must not stop the whole host.
const PATIENCE: Duration = Duration::from_secs(5);

/// One for each pipeline, all of one host behind the same door. Fair: who waits to be alone is not overtaken for ever.
#[derive(Debug, Default)]
pub struct Gate {
    // Always taken in this order, so that no two wait for each other.
    pipeline: Arc<RwLock<()>>,
    host: Arc<RwLock<()>>,
}

/// Beside others that are not suspect.
#[derive(Debug)]
#[must_use = "it lasts while it lives"]
#[expect(dead_code, reason = "held, not used")]
pub struct Among(OwnedRwLockReadGuard<()>, OwnedRwLockReadGuard<()>);

/// Beside nothing.
#[derive(Debug)]
#[must_use = "it lasts while it lives"]
pub struct Alone {
    pipeline: OwnedRwLockWriteGuard<()>,
    host: OwnedRwLockWriteGuard<()>,
}

impl Gate {
    /// A gate for another pipeline of the same host.
    pub fn beside(&self) -> Self {
        Self {
            pipeline: Arc::default(),
            host: Arc::clone(&self.host),
        }
    }

    /// Waits until no suspect runs. Not to be held while something waits for long, such as a destination.
    pub async fn among(&self) -> Among {
        let pipeline = Arc::clone(&self.pipeline).read_owned().await;
        Among(pipeline, Arc::clone(&self.host).read_owned().await)
    }

    /// Waits until nothing runs.
    pub async fn alone(&self) -> Alone {
        Alone {
            pipeline: Arc::clone(&self.pipeline).write_owned().await,
            host: Arc::clone(&self.host).write_owned().await,
        }
    }
}

impl Alone {
    /// Stays alone until `finishing` is done; in the host only for as long as other pipelines can be kept waiting. In its
    /// own pipeline nothing else runs before: a suspect that is still in hand would be blamed for what ends the host.
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
        let gate = Gate::default();
        let other = gate.beside();
        let (first, second) = (gate.among().await, other.among().await);
        let mut alone = Box::pin(gate.alone());
        assert!(alone.as_mut().now_or_never().is_none());
        drop((first, second));
        let alone = alone.await;
        let finishing = tokio::spawn(alone.until(std::future::pending::<()>()));
        drop(other.among().await);
        assert!(!finishing.is_finished());
        assert!(gate.among().now_or_never().is_none());
        finishing.abort();
        drop(gate.among().await);
    }
}
