//! Numbers that are known when the file is loaded, with a shape, row-major.

use std::sync::Arc;

use crate::known::Size;

/// Numbers with a shape.
#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    // Invariant: as many numbers as the product says.
    pub(crate) dims: Vec<usize>,
    pub(crate) data: Data,
}

/// Shared: a clone copies no numbers.
#[derive(Debug, Clone)]
pub(crate) enum Data {
    F32(Arc<[f32]>),
    I64(Arc<[i64]>),
    Bool(Arc<[bool]>),
    /// Whole numbers, at least one of which depends on the batch.
    Sizes(Arc<[Size]>),
}

/// What a number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Float,
    Int,
    Bool,
}

impl Data {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::I64(data) => data.len(),
            Self::Bool(data) => data.len(),
            Self::Sizes(data) => data.len(),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::F32(_) => Kind::Float,
            Self::I64(_) | Self::Sizes(_) => Kind::Int,
            Self::Bool(_) => Kind::Bool,
        }
    }

    /// Sizes, as plain numbers where none depends on the batch.
    pub(crate) fn of_sizes(sizes: Vec<Size>) -> Self {
        match sizes.iter().map(|size| size.number()).collect::<Option<Arc<[i64]>>>() {
            Some(numbers) => Self::I64(numbers),
            None => Self::Sizes(sizes.into()),
        }
    }

    /// Whole numbers as sizes; nothing for others.
    pub(crate) fn sizes(&self) -> Option<Vec<Size>> {
        match self {
            Self::I64(data) => Some(data.iter().copied().map(Size::fixed).collect()),
            Self::Sizes(data) => Some(data.to_vec()),
            Self::Bool(data) => Some(data.iter().map(|bit| Size::fixed((*bit).into())).collect()),
            Self::F32(data) => data.iter().map(|number| whole(*number).map(Size::fixed)).collect(),
        }
    }

    /// As numbers for a graph; nothing where one depends on the batch.
    pub(crate) fn floats(&self) -> Option<Arc<[f32]>> {
        match self {
            Self::F32(data) => Some(Arc::clone(data)),
            Self::I64(data) => Some(data.iter().map(|number| *number as f32).collect()),
            Self::Bool(data) => Some(data.iter().map(|bit| f32::from(u8::from(*bit))).collect()),
            Self::Sizes(_) => None,
        }
    }

    /// As whole numbers; nothing where one depends on the batch or has a fraction.
    pub(crate) fn ints(&self) -> Option<Arc<[i64]>> {
        match self {
            Self::F32(data) => data.iter().map(|number| whole(*number)).collect(),
            Self::I64(data) => Some(Arc::clone(data)),
            Self::Bool(data) => Some(data.iter().map(|bit| (*bit).into()).collect()),
            Self::Sizes(_) => None,
        }
    }
}

impl Tensor {
    pub(crate) fn scalar(data: Data) -> Self {
        Self { dims: Vec::new(), data }
    }

    /// A list of whole numbers.
    pub(crate) fn list(data: Data) -> Self {
        Self {
            dims: vec![data.len()],
            data,
        }
    }

    pub(crate) fn ints(dims: Vec<usize>, data: Vec<i64>) -> Self {
        Self {
            dims,
            data: Data::I64(data.into()),
        }
    }

    pub(crate) fn floats(dims: Vec<usize>, data: Vec<f32>) -> Self {
        Self {
            dims,
            data: Data::F32(data.into()),
        }
    }

    pub(crate) fn bools(dims: Vec<usize>, data: Vec<bool>) -> Self {
        Self {
            dims,
            data: Data::Bool(data.into()),
        }
    }

    /// The only number.
    pub(crate) fn single(&self) -> Option<f32> {
        match (&self.data, self.data.len()) {
            (Data::F32(data), 1) => data.first().copied(),
            (_, 1) => self.data.floats()?.first().copied(),
            _ => None,
        }
    }

    /// The only number, a whole one.
    pub(crate) fn single_int(&self) -> Option<i64> {
        match self.data.len() {
            1 => self.data.ints()?.first().copied(),
            _ => None,
        }
    }
}

/// How many numbers a shape says; nothing where that overflows.
pub(crate) fn elements(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim))
}

/// A number without a fraction as such.
fn whole(number: f32) -> Option<i64> {
    // Beyond 2^53 nothing has a fraction, and the conversion saturates.
    (number.fract() == 0.0).then_some(number as i64)
}
