//! The figures of a tensor. Knows nothing of where it comes from.

use sha2::{Digest, Sha256};

use crate::message::{Tensor, TensorData};

/// Bars of a histogram.
const BARS: usize = 16;

/// The figures of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// The least element; 0 where there is none.
    pub min: f64,
    /// The largest element; 0 where there is none.
    pub max: f64,
    /// The mean; 0 where there is none.
    pub mean: f64,
    /// SHA-256 of the elements, floats little-endian.
    pub sha256: String,
    /// Elements in equal ranges from `low` to `high`.
    pub bars: Vec<u64>,
    /// Where the first range begins.
    pub low: f64,
    /// Where the last range ends.
    pub high: f64,
}

impl Statistics {
    /// Looks at a tensor.
    pub fn of(tensor: &Tensor) -> Self {
        let numbers = numbers(tensor);
        let (mut min, mut max, mut sum) = (f64::INFINITY, f64::NEG_INFINITY, 0.0);
        for number in &numbers {
            min = min.min(*number);
            max = max.max(*number);
            sum += number;
        }
        if numbers.is_empty() {
            (min, max) = (0.0, 0.0);
        }
        let (low, high) = match tensor.data() {
            TensorData::Bytes(_) => (0.0, 256.0),
            TensorData::Floats(_) => (min, max),
        };
        Self {
            min,
            max,
            mean: sum / (numbers.len().max(1) as f64),
            sha256: format!("{:x}", Sha256::digest(bytes(tensor))),
            bars: bars(&numbers, low, high),
            low,
            high,
        }
    }
}

/// The elements as numbers.
pub(super) fn numbers(tensor: &Tensor) -> Vec<f64> {
    match tensor.data() {
        TensorData::Bytes(bytes) => bytes.iter().map(|byte| f64::from(*byte)).collect(),
        TensorData::Floats(floats) => floats.iter().map(|float| f64::from(*float)).collect(),
    }
}

/// The elements as bytes, floats little-endian.
pub(super) fn bytes(tensor: &Tensor) -> Vec<u8> {
    match tensor.data() {
        TensorData::Bytes(bytes) => bytes.clone(),
        TensorData::Floats(floats) => floats.iter().flat_map(|float| float.to_le_bytes()).collect(),
    }
}

fn bars(numbers: &[f64], low: f64, high: f64) -> Vec<u64> {
    let mut bars = vec![0; BARS];
    for number in numbers {
        let part = if high > low { (number - low) / (high - low) } else { 0.0 };
        // From 0 to 1, so the cast cuts nothing but the fraction.
        let index = ((part * BARS as f64) as usize).min(BARS - 1);
        if let Some(bar) = bars.get_mut(index) {
            *bar += 1;
        }
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_elements() {
        let bytes = Tensor::new(vec![4], TensorData::Bytes(vec![0, 255, 255, 16])).unwrap();
        let figures = Statistics::of(&bytes);
        assert_eq!((figures.min, figures.max, figures.mean), (0.0, 255.0, 131.5));
        assert_eq!((figures.bars[0], figures.bars[1], figures.bars[15]), (1, 1, 2));
        let floats = Tensor::new(vec![2], TensorData::Floats(vec![-1.0, 1.0])).unwrap();
        let figures = Statistics::of(&floats);
        assert_eq!((figures.min, figures.max, figures.mean), (-1.0, 1.0, 0.0));
        // printf '\x00\x00\x80\xbf\x00\x00\x80\x3f' | sha256sum
        assert_eq!(figures.sha256.len(), 64);
        let even = Statistics::of(&Tensor::new(vec![2], TensorData::Floats(vec![2.0, 2.0])).unwrap());
        assert_eq!(even.bars[0], 2);
    }
}
