//! Comparisons of known numbers.

use std::cmp::Ordering;

use crate::known::Size;

/// How two numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

pub(crate) fn compare(comparison: Comparison, ordering: Ordering) -> bool {
    match comparison {
        Comparison::Equal => ordering.is_eq(),
        Comparison::Less => ordering.is_lt(),
        Comparison::LessOrEqual => ordering.is_le(),
        Comparison::Greater => ordering.is_gt(),
        Comparison::GreaterOrEqual => ordering.is_ge(),
    }
}

impl Comparison {
    pub(crate) fn of_floats(self, a: f32, b: f32) -> bool {
        a.partial_cmp(&b).is_some_and(|ordering| compare(self, ordering))
    }

    /// Nothing where it differs between batches.
    pub(crate) fn of_sizes(self, a: Size, b: Size) -> Option<bool> {
        if self == Self::Equal {
            return a.equals(b);
        }
        if let Some(ordering) = a.compare(b) {
            return Some(compare(self, ordering));
        }
        // Equal for one N, and to one side of it for all others.
        let is_least = a.min(b).map(|least| least == a)?;
        match (self, is_least) {
            (Self::LessOrEqual, true) | (Self::GreaterOrEqual, false) => Some(true),
            (Self::Less, false) | (Self::Greater, true) => Some(false),
            _ => None,
        }
    }
}
