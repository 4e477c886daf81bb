//! Number by number.

use super::Tensor;
use super::places::{Steps, broadcast, rows};
use crate::op::{Activation, Binary};

pub(super) fn each(x: Tensor<'_>, out: &mut [f32], function: impl Fn(f32) -> f32) -> Option<()> {
    if x.data.len() != out.len() {
        return None;
    }
    for (out, x) in out.iter_mut().zip(x.data) {
        *out = function(*x);
    }
    Some(())
}

/// What convolutions and linear layers do last: the residual is added, then the activation applied.
pub(super) fn finish(added: &[Tensor<'_>], activation: Option<Activation>, out: &mut [f32]) -> Option<()> {
    for added in added {
        if added.data.len() != out.len() {
            return None;
        }
        for (out, added) in out.iter_mut().zip(added.data) {
            *out += added;
        }
    }
    if let Some(activation) = activation {
        for out in out {
            *out = activation.apply(*out);
        }
    }
    Some(())
}

pub(super) fn scale(factor: Option<&[f32]>, shift: Option<&[f32]>, x: Tensor<'_>, out: &mut [f32]) -> Option<()> {
    let [_, channels, inner @ ..] = x.shape else {
        return None;
    };
    let inner: usize = inner.iter().product();
    if x.data.len() != out.len() || factor?.len() != *channels || shift?.len() != *channels {
        return None;
    }
    let vectors = factor?.iter().zip(shift?).cycle();
    let planes = out.chunks_mut(inner.max(1)).zip(x.data.chunks(inner.max(1)));
    for ((out, x), (factor, shift)) in planes.zip(vectors) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = (f64::from(*x) * f64::from(*factor) + f64::from(*shift)) as f32;
        }
    }
    Some(())
}

pub(super) fn binary(
    binary: Binary,
    left: Tensor<'_>,
    right: Tensor<'_>,
    shape: &[usize],
    out: &mut [f32],
) -> Option<()> {
    if left.shape == shape && right.shape == shape {
        for ((out, left), right) in out.iter_mut().zip(left.data).zip(right.data) {
            *out = binary.apply(*left, *right);
        }
        return Some(());
    }
    let axes = [broadcast(left.shape, shape)?, broadcast(right.shape, shape)?];
    let mut chunks = out.chunks_mut(row_length(shape));
    let [left_axes, right_axes] = &axes;
    rows([left_axes, right_axes], |[left_place, right_place]| {
        let (left, right) = (
            Row::of(left, left_place, left_axes)?,
            Row::of(right, right_place, right_axes)?,
        );
        for (index, out) in chunks.next()?.iter_mut().enumerate() {
            *out = binary.apply(left.at(index)?, right.at(index)?);
        }
        Some(())
    })
}

pub(super) fn select(
    condition: Tensor<'_>,
    yes: Tensor<'_>,
    no: Tensor<'_>,
    shape: &[usize],
    out: &mut [f32],
) -> Option<()> {
    let axes = [
        broadcast(condition.shape, shape)?,
        broadcast(yes.shape, shape)?,
        broadcast(no.shape, shape)?,
    ];
    let mut chunks = out.chunks_mut(row_length(shape));
    let [if_axes, yes_axes, no_axes] = &axes;
    rows([if_axes, yes_axes, no_axes], |[if_place, yes_place, no_place]| {
        let condition = Row::of(condition, if_place, if_axes)?;
        let (yes, no) = (Row::of(yes, yes_place, yes_axes)?, Row::of(no, no_place, no_axes)?);
        for (index, out) in chunks.next()?.iter_mut().enumerate() {
            *out = match condition.at(index)? == 0.0 {
                false => yes.at(index)?,
                true => no.at(index)?,
            };
        }
        Some(())
    })
}

/// A number is a row of one.
fn row_length(shape: &[usize]) -> usize {
    shape.last().map_or(1, |length| (*length).max(1))
}

/// A row of the last axis of what is broadcast.
struct Row<'a> {
    numbers: &'a [f32],
    /// From one number to the next: 1, or 0 where one stands for all.
    stride: usize,
}

impl<'a> Row<'a> {
    fn of(x: Tensor<'a>, place: Option<usize>, axes: &[Steps]) -> Option<Self> {
        let stride = match axes.last() {
            Some(Steps::Even { stride, .. }) => usize::try_from(*stride).ok()?,
            _ => 0,
        };
        let numbers = x.data.get(place?..)?;
        Some(Self { numbers, stride })
    }

    fn at(&self, index: usize) -> Option<f32> {
        self.numbers.get(index.checked_mul(self.stride)?).copied()
    }
}
