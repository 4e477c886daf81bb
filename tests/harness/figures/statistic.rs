//! Medians, quantiles and how far values lie apart. Knows nothing of what they are values of.

use serde::{Deserialize, Serialize};

/// The middle of some values, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// How many there are: at least one.
    pub n: usize,
    /// The least.
    pub low: f64,
    /// A quarter is less.
    pub q1: f64,
    /// Half is less.
    pub median: f64,
    /// A quarter is more.
    pub q3: f64,
    /// The most.
    pub high: f64,
}

impl Spread {
    /// Of some values; nothing of none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let at = |part| between(&values, part);
        Some(Self {
            n: values.len(),
            low,
            q1: at(0.25),
            median: at(0.5),
            q3: at(0.75),
            high,
        })
    }
}

/// The median; not a number where there are no values.
pub fn median(values: Vec<f64>) -> f64 {
    Spread::of(values).map_or(f64::NAN, |spread| spread.median)
}

/// The value that this part of sorted values does not exceed: one of them, and none in between.
pub fn quantile<T: Copy + Default>(sorted: &[T], part: f64) -> T {
    let index = (sorted.len() as f64 * part).ceil() as usize;
    let index = index.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or_default()
}

/// A quantile of sorted values, between two of them where it falls there.
fn between(sorted: &[f64], part: f64) -> f64 {
    let at = part * sorted.len().saturating_sub(1) as f64;
    let value = |index: f64| sorted.get(index as usize).copied().unwrap_or(f64::NAN);
    let (below, above) = (value(at.floor()), value(at.ceil()));
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::{Spread, median, quantile};

    #[test]
    fn medians_and_quantiles_of_small_rows() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
        let spread = Spread::of(vec![5.0, 1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((spread.low, spread.q1, spread.q3, spread.high), (1.0, 2.0, 4.0, 5.0));
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!(quantile(&hundred, 0.5), 50);
        assert_eq!(quantile(&hundred, 0.99), 99);
        assert_eq!(quantile(&hundred, 0.999), 100);
        assert_eq!(quantile::<u32>(&[], 0.5), 0);
        assert_eq!(quantile(&[7], 0.001), 7);
    }
}
