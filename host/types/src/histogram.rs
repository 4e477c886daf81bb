//! How many values fell into which range: plain data, added to under its owner's lock. Knows no metric.

use std::time::Duration;

/// The ranges of a histogram: upper bounds, and how many of their unit make one of the page's unit.
#[derive(Debug, PartialEq, Eq)]
pub struct Ranges {
    bounds: &'static [u64],
    per_unit: u32,
}

/// Times in nanoseconds, shown in seconds: from a call into an existing instance to a deadline.
pub static TIMES: Ranges = Ranges {
    bounds: &[
        10_000,
        25_000,
        50_000,
        100_000,
        250_000,
        500_000,
        1_000_000,
        2_500_000,
        5_000_000,
        10_000_000,
        25_000_000,
        50_000_000,
        100_000_000,
        250_000_000,
        500_000_000,
        1_000_000_000,
        2_500_000_000,
        10_000_000_000,
        60_000_000_000,
    ],
    per_unit: 1_000_000_000,
};

/// Numbers of things.
pub static SIZES: Ranges = Ranges {
    bounds: &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
    per_unit: 1,
};

/// Values by range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    ranges: &'static Ranges,
    // Invariant: one for each bound, and one for what is above them all.
    counts: Vec<u64>,
    sum: u64,
}

impl Histogram {
    /// An empty one.
    pub fn new(ranges: &'static Ranges) -> Self {
        Self {
            ranges,
            counts: vec![0; ranges.bounds.len() + 1],
            sum: 0,
        }
    }

    /// Adds a value, in the unit of the bounds.
    pub fn add(&mut self, value: u64) {
        let range = self.ranges.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(range) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(value);
    }

    pub fn add_time(&mut self, took: Duration) {
        self.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds every value of another one of the same ranges.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many values there were.
    pub fn n(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All values together, in the unit of the page.
    pub fn sum(&self) -> f64 {
        self.told(self.sum)
    }

    /// Each bound, in the unit of the page, and how many values do not exceed it.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut n_below = 0;
        self.ranges.bounds.iter().zip(&self.counts).map(move |(bound, count)| {
            n_below += count;
            (self.told(*bound), n_below)
        })
    }

    fn told(&self, value: u64) -> f64 {
        value as f64 / f64::from(self.ranges.per_unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_for_every_bound_that_it_does_not_exceed() {
        let mut sizes = Histogram::new(&SIZES);
        for size in [1, 2, 3, 512, 513] {
            sizes.add(size);
        }
        let counts: Vec<_> = sizes.cumulative().collect();
        assert_eq!(counts[..4], [(1.0, 1), (2.0, 2), (4.0, 3), (8.0, 3)]);
        assert_eq!(counts.last(), Some(&(512.0, 4)));
        assert_eq!((sizes.n(), sizes.sum()), (5, 1031.0));
        let mut twice = sizes.clone();
        twice.merge(&sizes);
        assert_eq!((twice.n(), twice.sum()), (10, 2062.0));
    }

    #[test]
    fn times_are_told_in_seconds() {
        let mut times = Histogram::new(&TIMES);
        times.add_time(Duration::from_micros(10));
        times.add_time(Duration::MAX);
        assert_eq!(times.cumulative().next(), Some((1e-5, 1)));
        assert_eq!(times.cumulative().last(), Some((60.0, 1)));
        assert_eq!(times.n(), 2);
    }
}
