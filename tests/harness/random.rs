//! Seeded random numbers, the same on every machine: what a run drew can be drawn again. Knows nothing of what is drawn.

use std::time::Duration;

/// A SplitMix64 generator: small, and random enough to choose faults and bytes with.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator of its own for each `stream` of one seed.
    pub fn stream(seed: u64, stream: u64) -> Self {
        let mut random = Self {
            state: seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95),
        };
        random.draw();
        random
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `count`; 0 where `count` is 0.
    pub fn below(&mut self, count: usize) -> usize {
        // What the remainder prefers among so many is far below what a run could show.
        let count = u64::try_from(count).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.draw() % count).unwrap_or_default()
    }

    /// Between two durations, to the millisecond.
    pub fn between_ms(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(low + self.draw() % high.saturating_sub(low).max(1))
    }

    /// Puts things in another order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for end in (1..things.len()).rev() {
            things.swap(end, self.below(end + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn a_seed_draws_the_same_again_and_streams_differ() {
        let draw = |seed, stream| {
            let mut random = Random::stream(seed, stream);
            let mut order = [0, 1, 2, 3, 4, 5, 6, 7];
            random.shuffle(&mut order);
            (order, random.draw())
        };
        assert_eq!(draw(7, 0), draw(7, 0));
        assert_ne!(draw(7, 0), draw(7, 1));
        assert_ne!(draw(7, 0), draw(8, 0));
    }
}
