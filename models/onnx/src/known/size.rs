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
