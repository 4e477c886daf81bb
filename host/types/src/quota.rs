//! Limits log lines by the second: lines over the limit are counted, and the count is logged. A log that strangers can
//! fill is a disk that they can fill. Knows nothing of what the lines say.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use tracing::warn;

/// A number of lines for each second, spent by many threads.
#[derive(Debug)]
pub struct LineQuota {
    per_second: u32,
    began: Instant,
    // The second that `lines` were logged in.
    second: AtomicU64,
    lines: AtomicU32,
    dropped: AtomicU64,
}

impl LineQuota {
    /// Allows so many lines a second.
    pub fn new(per_second: u32) -> Self {
        let (second, lines, dropped) = (AtomicU64::new(0), AtomicU32::new(0), AtomicU64::new(0));
        Self {
            per_second,
            began: Instant::now(),
            second,
            lines,
            dropped,
        }
    }

    /// Spends a line, if there is one left in this second. Threads that meet at the turn of a second may spend a few
    /// more: it is a bound, not a count.
    pub fn spend(&self) -> bool {
        let now = self.began.elapsed().as_secs();
        if self.second.swap(now, Ordering::Relaxed) != now {
            self.lines.store(0, Ordering::Relaxed);
        }
        self.lines.fetch_add(1, Ordering::Relaxed) < self.per_second
    }

    /// Whether there is room for one more line about a message; lines without room are reported.
    pub fn may_log(&self) -> bool {
        let told = self.spend();
        if let Some(dropped) = self.dropped(u64::from(!told)) {
            warn!(dropped, "dropped log lines about single messages: too many a second");
        }
        told
    }

    /// Counts dropped lines; returns their number when it is time to log it.
    pub fn dropped(&self, lines: u64) -> Option<u64> {
        let before = self.dropped.fetch_add(lines, Ordering::Relaxed);
        if before.saturating_add(lines) == 0 || !self.spend() {
            return None;
        }
        Some(self.dropped.swap(0, Ordering::Relaxed)).filter(|dropped| *dropped > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_quota_is_counted_and_told() {
        let quota = LineQuota::new(256);
        // A test that is stopped for a second between two lines sees two quotas.
        let told = (0..10_000).filter(|_| quota.spend()).count();
        assert!((256..=1024).contains(&told), "told {told}");
        quota.lines.store(quota.per_second, Ordering::Relaxed);
        quota.second.store(quota.began.elapsed().as_secs(), Ordering::Relaxed);
        if quota.dropped(7).is_none() {
            quota.lines.store(0, Ordering::Relaxed);
            assert_eq!(quota.dropped(3), Some(10));
        }
        assert_eq!(quota.dropped(0), None);
    }
}
