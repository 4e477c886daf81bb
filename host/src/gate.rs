//! The gate of a host: while a suspect runs, nothing else does. Knows no message.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// How long a suspect may keep the others waiting once its plugins and its model are done with it: an answer of the
/// broker takes milliseconds, and a broker that gives none must not stop the host's other pipelines.
const PATIENCE: Duration = Duration::from_secs(5);

/// One for each host, shared by its pipelines. Fair: who waits to be alone is not overtaken for ever.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<RwLock<()>>);

/// Beside others that are not suspect.
#[derive(Debug)]
#[must_use = "it lasts while it lives"]
pub struct Among(#[expect(dead_code, reason = "held, not used")] OwnedRwLockReadGuard<()>);

/// Beside nothing.
#[derive(Debug)]
#[must_use = "it lasts while it lives"]
pub struct Alone(#[expect(dead_code, reason = "held, not used")] OwnedRwLockWriteGuard<()>);

impl Gate {
    /// Waits until no suspect runs. Not to be held while something waits for long, such as a destination.
    pub async fn among(&self) -> Among {
        Among(Arc::clone(&self.0).read_owned().await)
    }

    /// Waits until nothing runs.
    pub async fn alone(&self) -> Alone {
        Alone(Arc::clone(&self.0).write_owned().await)
    }
}

impl Alone {
    /// Stays alone until `finishing` is done, or for as long as others can be kept waiting for it.
    pub async fn until<T>(self, finishing: impl Future<Output = T>) -> T {
        tokio::pin!(finishing);
        let waited = tokio::time::timeout(PATIENCE, &mut finishing).await;
        drop(self);
        match waited {
            Ok(done) => done,
            Err(_) => finishing.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn alone_is_beside_nothing_and_ends_when_others_have_waited_enough() {
        let gate = Gate::default();
        let (first, second) = (gate.among().await, gate.among().await);
        let alone = tokio::spawn({
            let gate = gate.clone();
            async move { gate.alone().await }
        });
        tokio::task::yield_now().await;
        assert!(!alone.is_finished());
        drop((first, second));
        let alone = alone.await.unwrap();
        let finishing = tokio::spawn(alone.until(std::future::pending::<()>()));
        drop(gate.among().await);
        assert!(!finishing.is_finished());
        finishing.abort();
    }
}
