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
    let [left_steps, right_steps] = axes.each_ref().map(|axes| last(axes));
    let mut chunks = out.chunks_mut(left_steps.len().max(1));
    rows(axes.each_ref().map(Vec::as_slice), |[left_place, right_place]| {
        let steps = left_steps.iter().zip(right_steps);
        for (out, (left_step, right_step)) in chunks.next()?.iter_mut().zip(steps) {
            let (one, other) = (at(left, left_place, *left_step)?, at(right, right_place, *right_step)?);
            *out = binary.apply(one, other);
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
    let [if_steps, yes_steps, no_steps] = axes.each_ref().map(|axes| last(axes));
    let mut chunks = out.chunks_mut(if_steps.len().max(1));
    rows(axes.each_ref().map(Vec::as_slice), |[if_place, yes_place, no_place]| {
        let steps = if_steps.iter().zip(yes_steps).zip(no_steps);
        for (out, ((if_step, yes_step), no_step)) in chunks.next()?.iter_mut().zip(steps) {
            *out = match at(condition, if_place, *if_step)? == 0.0 {
                false => at(yes, yes_place, *yes_step)?,
                true => at(no, no_place, *no_step)?,
            };
        }
        Some(())
    })
}

/// The steps along the last axis; a number has one.
fn last(axes: &[Steps]) -> &[Option<usize>] {
    const ONE: &[Option<usize>] = &[Some(0)];
    axes.last().map_or(ONE, Vec::as_slice)
}

fn at(x: Tensor<'_>, place: Option<usize>, step: Option<usize>) -> Option<f32> {
    x.data.get(place?.checked_add(step?)?).copied()
}
