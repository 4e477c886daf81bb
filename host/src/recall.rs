//! Taking messages back from stages: their processing stops at once, and starts again with the stages that serve then.
//! Knows no stage and no message.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// Takes messages back from one set of stages. A message keeps the stages that it began with when others replace them,
/// as long as they do well.
#[derive(Debug, Default)]
pub struct Recall {
    all: CancellationToken,
    is_replaced: AtomicBool,
}

impl Recall {
    /// Takes every message back, now and whenever one begins with these stages: they have left service because they are
    /// bad, or may be.
    pub fn take_back(&self) {
        self.all.cancel();
    }

    /// Others took the place of these stages; what is in their hands they may finish.
    pub fn replaced(&self) {
        self.is_replaced.store(true, Ordering::Relaxed);
    }

    /// A plugin of these stages fails for everything. What is in the hands of stages that were replaced need not wait for
    /// that to be over.
    pub fn mark_failing(&self) {
        if self.is_replaced.load(Ordering::Relaxed) {
            self.take_back();
        }
    }

    /// Waits until messages are taken back.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn is_taken_back(&self) {
        self.all.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn stages_keep_their_messages_until_they_ail_after_they_were_replaced() {
        let recall = Recall::default();
        recall.mark_failing();
        recall.replaced();
        assert!(recall.is_taken_back().now_or_never().is_none());
        recall.mark_failing();
        assert!(recall.is_taken_back().now_or_never().is_some());
    }
}
