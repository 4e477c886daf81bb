//! Whether a redelivery means that a host crashed. Knows no broker: only that it marks redeliveries.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Capabilities, Quarantine, Redelivery};

/// How long after a host lost its own channel redeliveries do not count as crashes.
const GRACE: Duration = Duration::from_secs(60);

/// Whether redeliveries are this host's own doing: it lost its channel, and still lives. Only where the source cannot tell
/// them from those of a crash.
#[derive(Debug)]
pub struct RedeliveryGrace {
    redelivery: Redelivery,
    // std Mutex: never held over an await.
    until: Mutex<Option<Instant>>,
}

impl RedeliveryGrace {
    /// For a source that can do so much.
    pub fn new(capabilities: &Capabilities) -> Self {
        Self {
            redelivery: capabilities.redelivery,
            until: Mutex::default(),
        }
    }

    /// Begins when a lost channel is open again.
    pub fn begin(&self) {
        *self.lock() = Some(Instant::now() + GRACE);
    }

    /// The quarantine of a delivery from the main queue.
    pub fn of_ordinary(&self, redelivered: bool) -> Quarantine {
        Quarantine::of_ordinary(self.is_crash(redelivered))
    }

    /// The quarantine of a delivery from a quarantine queue, after this many crashes. It was alone in flight, so no other
    /// message can have been the cause.
    pub fn of_quarantined(&self, redelivered: bool, crash_count: u32) -> Quarantine {
        Quarantine::of_quarantined(self.is_crash(redelivered), crash_count)
    }

    fn is_crash(&self, redelivered: bool) -> bool {
        redelivered
            && match self.redelivery {
                Redelivery::Untold => false,
                Redelivery::Ambiguous => !self.holds(),
                Redelivery::Certain => true,
            }
    }

    fn holds(&self) -> bool {
        self.lock().is_some_and(|until| Instant::now() < until)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::QUEUE;

    fn of(redelivery: Redelivery) -> RedeliveryGrace {
        RedeliveryGrace::new(&Capabilities { redelivery, ..QUEUE })
    }

    #[test]
    fn who_knows_better_needs_no_grace_and_who_tells_nothing_is_not_believed() {
        for (redelivery, ordinary, quarantined) in [
            (
                Redelivery::Untold,
                Quarantine::None,
                Quarantine::Inside { crash_count: 2 },
            ),
            (
                Redelivery::Certain,
                Quarantine::Due { crash_count: 1 },
                Quarantine::Due { crash_count: 3 },
            ),
        ] {
            let grace = of(redelivery);
            for _ in 0..2 {
                assert_eq!(grace.of_ordinary(true), ordinary, "{redelivery:?}");
                assert_eq!(grace.of_quarantined(true, 2), quarantined, "{redelivery:?}");
                grace.begin();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_redelivery_is_put_down_to_the_broker_for_a_minute_after_the_hosts_own_loss() {
        let grace = of(Redelivery::Ambiguous);
        let seen = |grace: &RedeliveryGrace| (grace.of_ordinary(true), grace.of_quarantined(true, 2));
        let raised = (Quarantine::Due { crash_count: 1 }, Quarantine::Due { crash_count: 3 });
        assert_eq!(seen(&grace), raised);
        grace.begin();
        assert_eq!(seen(&grace), (Quarantine::None, Quarantine::Inside { crash_count: 2 }));
        tokio::time::advance(GRACE).await;
        assert_eq!(seen(&grace), raised);
        assert_eq!(grace.of_ordinary(false), Quarantine::None);
        assert_eq!(grace.of_quarantined(false, 2), Quarantine::Inside { crash_count: 2 });
    }
}
