//! Numbers that are known when a file is loaded, and what can be computed of them then. Knows no files and no graphs.

mod arithmetic;
mod compare;
mod layout;
mod reduce;
mod scatter;
mod size;
mod tensor;
mod together;

pub(crate) use arithmetic::{BinaryKind, UnaryKind, binary, cast, select, unary};
pub(crate) use compare::Comparison;
pub(crate) use layout::{concat, expand, gather, reshape, slice, transpose};
pub(crate) use reduce::{ReduceKind, Running, cumulative_sum, keep_triangle, reduce, triangle};
pub(crate) use scatter::{gather_elements, gather_nd, index, non_zero, scatter_elements, scatter_nd};
pub(crate) use size::Size;
pub(crate) use tensor::{Data, Kind, Tensor, elements};

/// Why something is not computed at load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unknown {
    /// It would be, but this is not written for these types.
    #[error("it is not computed at load for numbers of these types")]
    Types,
    /// It differs between batches.
    #[error("it depends on how many items a batch has")]
    Batch,
    /// The operands do not fit each other.
    #[error("{0}")]
    Misfit(String),
    /// More numbers than may be computed at load.
    #[error("more numbers would be computed at load than a file of this size may ask for")]
    Budget,
}

/// How many numbers may be computed at load.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
}

impl Budget {
    pub(crate) fn of(numbers: usize) -> Self {
        Self { left: numbers }
    }

    /// Allows more: numbers that a file has may be computed with.
    pub(crate) fn allow(&mut self, numbers: usize) {
        self.left = self.left.saturating_add(numbers);
    }

    /// Takes the numbers of a shape.
    pub(crate) fn spend(&mut self, dims: &[usize]) -> Result<usize, Unknown> {
        // An axis of length 0 counts as 1: the others are walked nevertheless.
        let walked: Vec<usize> = dims.iter().map(|dim| (*dim).max(1)).collect();
        let cost = elements(&walked).ok_or(Unknown::Budget)?;
        self.left = self.left.checked_sub(cost).ok_or(Unknown::Budget)?;
        elements(dims).ok_or(Unknown::Budget)
    }
}

pub(crate) fn misfit(what: impl Into<String>) -> Unknown {
    Unknown::Misfit(what.into())
}
