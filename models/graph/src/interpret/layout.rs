//! Numbers moved.

use super::Tensor;
use super::places::{Steps, broadcast, copy, strides};
use crate::op::PadMode;

pub(super) fn transpose(order: &[usize], x: Tensor<'_>, out: &mut [f32]) -> Option<()> {
    let strides = strides(x.shape);
    let axis = |axis: &usize| Some(Steps::in_order(*x.shape.get(*axis)?, *strides.get(*axis)?));
    let axes: Vec<Steps> = order.iter().map(axis).collect::<Option<_>>()?;
    copy(&axes, x.data, 0.0, out)
}

pub(super) fn slice(starts: &[usize], steps: &[isize], shape: &[usize], x: Tensor<'_>, out: &mut [f32]) -> Option<()> {
    let axes = starts.iter().zip(steps).zip(shape).zip(strides(x.shape));
    let axes = axes.map(|(((start, step), length), stride)| Steps::every(*length, *start, *step, stride));
    let axes: Vec<Steps> = axes.collect();
    copy(&axes, x.data, 0.0, out)
}

pub(super) fn expand(x: Tensor<'_>, shape: &[usize], out: &mut [f32]) -> Option<()> {
    copy(&broadcast(x.shape, shape)?, x.data, 0.0, out)
}

pub(super) fn gather(axis: usize, indices: &[usize], x: Tensor<'_>, out: &mut [f32]) -> Option<()> {
    let strides = strides(x.shape);
    let axes = x
        .shape
        .iter()
        .zip(strides)
        .enumerate()
        .map(|(index, (length, stride))| match index == axis {
            true => Steps::Listed(indices.iter().map(|index| index.checked_mul(stride)).collect()),
            false => Steps::in_order(*length, stride),
        });
    let axes: Vec<Steps> = axes.collect();
    copy(&axes, x.data, 0.0, out)
}

pub(super) fn pad(before: &[usize], mode: PadMode, x: Tensor<'_>, shape: &[usize], out: &mut [f32]) -> Option<()> {
    let axes = x.shape.iter().zip(strides(x.shape)).zip(before).zip(shape);
    let axes = axes.map(|(((length, stride), before), wanted)| {
        if wanted == length {
            return Steps::in_order(*length, stride);
        }
        let index = |index: usize| padded(index, *before, *length, mode)?.checked_mul(stride);
        Steps::Listed((0..*wanted).map(index).collect())
    });
    let axes: Vec<Steps> = axes.collect();
    let fill = match mode {
        PadMode::Constant(number) => number,
        PadMode::Edge | PadMode::Reflect | PadMode::Wrap => 0.0,
    };
    copy(&axes, x.data, fill, out)
}

/// Which index of an axis of `length` an index of the padded one shows; none where that is a constant.
pub fn padded(index: usize, before: usize, length: usize, mode: PadMode) -> Option<usize> {
    let last = length.checked_sub(1)?;
    match (index.checked_sub(before), mode) {
        (Some(inside), _) if inside <= last => Some(inside),
        (_, PadMode::Constant(_)) => None,
        (None, PadMode::Edge) => Some(0),
        (Some(_), PadMode::Edge) => Some(last),
        (None, PadMode::Reflect) => before.checked_sub(index),
        (Some(beyond), PadMode::Reflect) => last.checked_mul(2)?.checked_sub(beyond),
        (None, PadMode::Wrap) => length.checked_add(index)?.checked_sub(before),
        (Some(beyond), PadMode::Wrap) => beyond.checked_sub(length),
    }
}

pub(super) fn concat(axis: usize, inputs: &[Tensor<'_>], shape: &[usize], out: &mut [f32]) -> Option<()> {
    let inner: usize = shape.iter().skip(axis.saturating_add(1)).product();
    let whole = shape.get(axis)?.checked_mul(inner)?;
    let runs = inputs
        .iter()
        .map(|input| input.shape.get(axis)?.checked_mul(inner).filter(|run| *run > 0));
    let runs: Vec<usize> = runs.collect::<Option<_>>()?;
    let mut sources: Vec<_> = inputs
        .iter()
        .zip(&runs)
        .map(|(input, run)| input.data.chunks(*run))
        .collect();
    for mut out in out.chunks_mut(whole.max(1)) {
        for source in &mut sources {
            let run = source.next()?;
            let (own, rest) = out.split_at_mut_checked(run.len())?;
            own.copy_from_slice(run);
            out = rest;
        }
    }
    Some(())
}
