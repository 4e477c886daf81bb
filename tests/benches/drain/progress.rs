//! How far a run is, and how long it will last. Knows blocks by what they are expected to take.

use std::time::{Duration, Instant};

/// A run of blocks.
pub(crate) struct Progress {
    began: Instant,
    /// What all blocks are expected to take, and those that are done, in seconds.
    expected: f64,
    done: f64,
}

impl Progress {
    /// A run that is expected to take so many seconds.
    pub(crate) fn new(expected: f64) -> Self {
        Self {
            began: Instant::now(),
            expected,
            done: 0.0,
        }
    }

    /// Reports a block that was expected to take so long.
    pub(crate) fn report(&mut self, expected: f64, what: &str) {
        self.done += expected;
        let elapsed = self.began.elapsed();
        // Blocks take more or less than expected, by a factor that is seen by and by.
        let left = elapsed.as_secs_f64() / self.done * (self.expected - self.done).max(0.0);
        println!(
            "[{}, {} left] {what}",
            shown(elapsed),
            shown(Duration::from_secs_f64(left))
        );
    }
}

/// Minutes and seconds.
fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}
