//! Shapes whose batch axis is free: each axis is a number, or a number times N, the items of a batch.

use std::fmt;

/// The length of one axis: `size`, or `size` times the number of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Axis {
    /// The length, or the length for each item.
    pub size: usize,
    /// Whether it grows with the batch.
    pub batched: bool,
}

impl Axis {
    /// A length that does not depend on the batch.
    pub const fn fixed(size: usize) -> Self {
        Self { size, batched: false }
    }

    /// So many for each item.
    pub const fn batch(size: usize) -> Self {
        Self { size, batched: true }
    }

    /// Its length in a batch of `items`; nothing where that overflows.
    pub fn at(self, items: usize) -> Option<usize> {
        match self.batched {
            true => self.size.checked_mul(items),
            false => Some(self.size),
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.batched, self.size) {
            (false, size) => write!(f, "{size}"),
            (true, 1) => f.write_str("N"),
            (true, size) => write!(f, "{size}N"),
        }
    }
}

/// The axes of a value, outermost first; at most one of them grows with the batch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(pub Vec<Axis>);

impl Shape {
    /// A shape that does not depend on the batch.
    pub fn fixed(sizes: &[usize]) -> Self {
        Self(sizes.iter().copied().map(Axis::fixed).collect())
    }

    /// Items of a shape, stacked along a batch axis that comes first.
    pub fn batch_of(item: &[usize]) -> Self {
        let axes = std::iter::once(Axis::batch(1)).chain(item.iter().copied().map(Axis::fixed));
        Self(axes.collect())
    }

    /// How many axes it has.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Whether an axis grows with the batch.
    pub fn is_batched(&self) -> bool {
        self.0.iter().any(|axis| axis.batched)
    }

    /// How many numbers: for each item where it is batched, in all where it is not. Nothing where that overflows.
    pub fn elements(&self) -> Option<usize> {
        self.0
            .iter()
            .try_fold(1_usize, |product, axis| product.checked_mul(axis.size))
    }

    /// Its lengths in a batch of `items`; nothing where one overflows.
    pub fn at(&self, items: usize) -> Option<Vec<usize>> {
        self.0.iter().map(|axis| axis.at(items)).collect()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, axis) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{axis}")?;
        }
        f.write_str("]")
    }
}
