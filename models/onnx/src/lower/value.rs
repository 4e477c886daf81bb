//! What a name stands for while a model is lowered.

use millrace_graph::{Shape, ValueId};

use crate::known::{Kind, Tensor};
use crate::lower::rows::Rows;

/// A value of the file.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Known now, if need be but for the number of items.
    Known(Tensor),
    /// Computed at run time.
    Run(Run),
    /// Indices with a row for each item of a batch.
    Rows(Rows),
    /// A value with an axis of length 0.
    Empty(Shape),
    /// Several values under one name.
    Sequence(Vec<Value>),
    /// What a node with a problem should have made.
    Broken,
}

/// A value that is computed at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) id: ValueId,
    pub(crate) kind: Kind,
}

impl Value {
    pub(crate) fn of_kind(id: ValueId, kind: Kind) -> Self {
        Self::Run(Run { id, kind })
    }

    pub(crate) fn known(&self) -> Option<&Tensor> {
        match self {
            Self::Known(tensor) => Some(tensor),
            _ => None,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Known(tensor) => tensor.data.kind(),
            Self::Run(run) => run.kind,
            Self::Rows(_) => Kind::Int,
            Self::Empty(_) | Self::Sequence(_) | Self::Broken => Kind::Float,
        }
    }
}
