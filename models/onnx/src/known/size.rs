//! A number of shape arithmetic: `fixed + batch · N`, where N is how many items a batch has, at least 1.

use std::cmp::Ordering;

/// `fixed + batch · N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) fixed: i64,
    pub(crate) batch: i64,
}

impl Size {
    pub(crate) const fn fixed(fixed: i64) -> Self {
        Self { fixed, batch: 0 }
    }

    /// The number, where it is one.
    pub(crate) fn number(self) -> Option<i64> {
        (self.batch == 0).then_some(self.fixed)
    }

    pub(crate) fn add(self, other: Self) -> Option<Self> {
        Some(Self {
            fixed: self.fixed.checked_add(other.fixed)?,
            batch: self.batch.checked_add(other.batch)?,
        })
    }

    pub(crate) fn sub(self, other: Self) -> Option<Self> {
        Some(Self {
            fixed: self.fixed.checked_sub(other.fixed)?,
            batch: self.batch.checked_sub(other.batch)?,
        })
    }

    pub(crate) fn mul(self, other: Self) -> Option<Self> {
        let (factor, size) = match (self.number(), other.number()) {
            (Some(factor), _) => (factor, other),
            (_, Some(factor)) => (factor, self),
            _ => return None,
        };
        Some(Self {
            fixed: size.fixed.checked_mul(factor)?,
            batch: size.batch.checked_mul(factor)?,
        })
    }

    /// The quotient, where it is the same kind of number.
    pub(crate) fn div(self, other: Self) -> Option<Self> {
        if let Some(divisor) = other.number() {
            let exact = self.fixed.checked_rem(divisor)? == 0 && self.batch.checked_rem(divisor)? == 0;
            return match exact || self.batch == 0 {
                true => Some(Self {
                    fixed: self.fixed.checked_div(divisor)?,
                    batch: self.batch.checked_div(divisor)?,
                }),
                false => None,
            };
        }
        if self.fixed == 0 && other.fixed == 0 && self.batch.checked_rem(other.batch)? == 0 {
            return Some(Self::fixed(self.batch.checked_div(other.batch)?));
        }
        (self == other).then_some(Self::fixed(1))
    }

    /// The remainder, where it is known.
    pub(crate) fn rem(self, other: Self) -> Option<Self> {
        let quotient = self.div(other)?;
        self.sub(quotient.mul(other)?)
    }

    /// How the two compare, where it is the same for every N.
    pub(crate) fn compare(self, other: Self) -> Option<Ordering> {
        let (least, most) = self.sub(other)?.range();
        match (least, most) {
            (Some(0), Some(0)) => Some(Ordering::Equal),
            (Some(1..), _) => Some(Ordering::Greater),
            (_, Some(..=-1)) => Some(Ordering::Less),
            _ => None,
        }
    }

    /// Whether the two are equal, where it is the same for every N.
    pub(crate) fn equals(self, other: Self) -> Option<bool> {
        if let Some(ordering) = self.compare(other) {
            return Some(ordering.is_eq());
        }
        let difference = self.sub(other)?;
        // Equal for a whole N only.
        (difference.fixed.checked_rem(difference.batch)? != 0).then_some(false)
    }

    /// The larger, where it is the same for every N.
    pub(crate) fn max(self, other: Self) -> Option<Self> {
        let (least, most) = self.sub(other)?.range();
        match (least, most) {
            (Some(0..), _) => Some(self),
            (_, Some(..=0)) => Some(other),
            _ => None,
        }
    }

    /// The smaller, where it is the same for every N.
    pub(crate) fn min(self, other: Self) -> Option<Self> {
        let (least, most) = self.sub(other)?.range();
        match (least, most) {
            (Some(0..), _) => Some(other),
            (_, Some(..=0)) => Some(self),
            _ => None,
        }
    }

    /// The least and the most that it is for any N; nothing where there is no bound.
    fn range(self) -> (Option<i64>, Option<i64>) {
        let at_one = self.fixed.checked_add(self.batch);
        match self.batch.cmp(&0) {
            Ordering::Equal => (Some(self.fixed), Some(self.fixed)),
            Ordering::Greater => (at_one, None),
            Ordering::Less => (None, at_one),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `fixed + batch · N`.
    const fn size(fixed: i64, batch: i64) -> Size {
        Size { fixed, batch }
    }

    #[test]
    fn arithmetic_keeps_the_number_of_items_open() {
        let rows: [(Option<Size>, Option<Size>); 16] = [
            (size(1, 2).add(size(3, 4)), Some(size(4, 6))),
            (size(0, 2).sub(size(0, 2)), Some(size(0, 0))),
            (size(0, 2).mul(size(3, 0)), Some(size(0, 6))),
            (size(3, 0).mul(size(0, 2)), Some(size(0, 6))),
            (size(0, 2).mul(size(0, 2)), None),
            (size(0, 64).div(size(64, 0)), Some(size(0, 1))),
            (size(0, 64).div(size(0, 16)), Some(size(4, 0))),
            (size(0, 64).div(size(3, 0)), None),
            (size(7, 0).div(size(2, 0)), Some(size(3, 0))),
            (size(7, 0).div(size(0, 0)), None),
            (size(0, 6).rem(size(3, 0)), Some(size(0, 0))),
            (size(0, 6).rem(size(4, 0)), None),
            (size(0, 2).max(size(1, 0)), Some(size(0, 2))),
            (size(0, 1).max(size(2, 0)), None),
            (size(0, 1).min(size(1, 0)), Some(size(1, 0))),
            (size(i64::MAX, 0).add(size(1, 0)), None),
        ];
        for (index, (found, expected)) in rows.into_iter().enumerate() {
            assert_eq!(found, expected, "row {index}");
        }
    }

    #[test]
    fn comparisons_hold_for_every_number_of_items() {
        let rows: [(Size, Size, Option<Ordering>, Option<bool>); 7] = [
            (size(0, 1), size(0, 0), Some(Ordering::Greater), Some(false)),
            (size(0, 1), size(-1, 0), Some(Ordering::Greater), Some(false)),
            (size(0, 1), size(1, 0), None, None),
            (size(0, 2), size(3, 0), None, Some(false)),
            (size(0, 2), size(0, 2), Some(Ordering::Equal), Some(true)),
            (size(0, 1), size(0, 2), Some(Ordering::Less), Some(false)),
            (size(5, 0), size(5, 0), Some(Ordering::Equal), Some(true)),
        ];
        for (a, b, ordering, equal) in rows {
            assert_eq!(a.compare(b), ordering, "{a:?} {b:?}");
            assert_eq!(a.equals(b), equal, "{a:?} {b:?}");
        }
    }
}
