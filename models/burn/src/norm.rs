//! Norms, and what is like them: each is computed in full precision whatever the numbers around it are.

use burn::tensor::{FloatDType, Tensor, activation};
use millrace_graph::{ConstantId, GroupNorm, LayerNorm, LocalResponseNorm};

use crate::any::{Any, MAX_RANK, map};
use crate::error::Error;
use crate::executor::{About, Step, around, lengths, one};
use crate::upload::Upload;

/// Computes in `f32`, and gives back what came.
fn lifted(x: Any, run: impl FnOnce(Any) -> Any) -> Any {
    match x.number() {
        FloatDType::F32 => run(x),
        number => run(x.cast(FloatDType::F32)).cast(number),
    }
}

pub(super) fn scale(
    about: &About<'_>,
    factor: ConstantId,
    shift: ConstantId,
    upload: &mut Upload<'_>,
) -> Result<Step, Error> {
    let (factor, shift) = (upload.vector(factor)?, upload.vector(shift)?);
    let input = about.input(0);
    Ok(one(move |x, n_items| {
        let axes = lengths(&input, n_items);
        by_channel(x, &axes, Some(&factor), Some(&shift))
    }))
}

/// `x · factor + shift`, by the second axis.
fn by_channel(x: Any, axes: &[usize], factor: Option<&Tensor<1>>, shift: Option<&Tensor<1>>) -> Any {
    if factor.is_none() && shift.is_none() {
        return x;
    }
    let [items, channels, rest] = around(axes, 1);
    // A map keeps its four axes, in whatever order they are in memory.
    let shape = match x.axes().len() {
        4 => [1, channels, 1, 1],
        _ => [1, channels, 1, 0],
    };
    let [_, _, _, last] = shape;
    if last == 1 {
        let of = <[usize; 4]>::try_from(axes).unwrap_or([items, channels, rest, 1]);
        let x = x.into4(of);
        let x = match factor {
            Some(factor) => x * factor.clone().reshape(shape),
            None => x,
        };
        return match shift {
            Some(shift) => (x + shift.clone().reshape(shape)).into(),
            None => x.into(),
        };
    }
    let shape = [1, channels, 1];
    let x = x.into3([items, channels, rest]);
    let x = match factor {
        Some(factor) => x * factor.clone().reshape(shape),
        None => x,
    };
    let x = match shift {
        Some(shift) => x + shift.clone().reshape(shape),
        None => x,
    };
    Any::from(x).keep(axes)
}

/// Each row minus its mean, by the root of its variance.
fn normalised(x: Tensor<2>, epsilon: f64) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    centred / (variance + epsilon).sqrt()
}

pub(super) fn layer(about: &About<'_>, of: &LayerNorm, upload: &mut Upload<'_>) -> Result<Step, Error> {
    let row = |upload: &mut Upload<'_>, id: Option<ConstantId>| match id {
        Some(id) => Ok::<_, Error>(Some(upload.exact(about.constant(id)?.1.to_vec()))),
        None => Ok(None),
    };
    let (scale, shift) = (row(upload, of.scale)?, row(upload, of.shift)?);
    let (input, epsilon, n_axes) = (about.input(0), of.epsilon, of.axes);
    Ok(one(move |x, n_items| {
        let axes = lengths(&input, n_items);
        let from = axes.len().saturating_sub(n_axes);
        let inner: usize = axes.get(from..).unwrap_or_default().iter().product();
        let outer = axes.iter().product::<usize>() / inner.max(1);
        lifted(x, |x| {
            let mut x = normalised(x.into2([outer, inner]), epsilon);
            if let Some(scale) = &scale {
                x = x * scale.clone().reshape([1, inner]);
            }
            if let Some(shift) = &shift {
                x = x + shift.clone().reshape([1, inner]);
            }
            Any::from(x).keep(&axes)
        })
    }))
}

pub(super) fn group(about: &About<'_>, of: &GroupNorm, upload: &mut Upload<'_>) -> Result<Step, Error> {
    let row = |upload: &mut Upload<'_>, id: Option<ConstantId>| match id {
        Some(id) => Ok::<_, Error>(Some(upload.exact(about.constant(id)?.1.to_vec()))),
        None => Ok(None),
    };
    let (scale, shift) = (row(upload, of.scale)?, row(upload, of.shift)?);
    let (input, epsilon, groups) = (about.input(0), of.epsilon, of.groups);
    Ok(one(move |x, n_items| {
        let axes = lengths(&input, n_items);
        let outer = axes.first().copied().unwrap_or(1) * groups;
        let inner = axes.iter().product::<usize>() / outer.max(1);
        lifted(x, |x| {
            let x = Any::from(normalised(x.into2([outer, inner]), epsilon)).keep(&axes);
            by_channel(x, &axes, scale.as_ref(), shift.as_ref())
        })
    }))
}

pub(super) fn local(about: &About<'_>, of: LocalResponseNorm) -> Step {
    let input = about.input(0);
    one(move |x, n_items| {
        let axes = lengths(&input, n_items);
        let [items, channels, rest] = around(&axes, 1);
        lifted(x, |x| {
            let x = x.into3([items, channels, rest]);
            let squares = x.clone() * x.clone();
            let (before, after) = ((of.size.saturating_sub(1)) / 2, of.size / 2);
            let mut sum = squares.clone();
            for far in 1..=before.max(after).min(channels.saturating_sub(1)) {
                // Channels `far` above and below, shifted over; zeros come in.
                if far <= after {
                    sum = sum + shifted(&squares, channels, far, true);
                }
                if far <= before {
                    sum = sum + shifted(&squares, channels, far, false);
                }
            }
            let size = of.size.max(1) as f64;
            let base = sum * (of.alpha / size) + of.bias;
            Any::from(x / base.powf_scalar(of.beta)).keep(&axes)
        })
    })
}

/// Along the channels by so many, zeros behind them.
fn shifted(x: &Tensor<3>, channels: usize, by: usize, down: bool) -> Tensor<3> {
    let [items, _, rest] = x.dims();
    let zeros = Tensor::zeros([items, by, rest], &x.device());
    let left = channels - by;
    match down {
        true => Tensor::cat(vec![x.clone().narrow(1, by, left), zeros], 1),
        false => Tensor::cat(vec![zeros, x.clone().narrow(1, 0, left)], 1),
    }
}

pub(super) fn softmax(about: &About<'_>, axis: usize, log: bool) -> Step {
    let input = about.input(0);
    one(move |x, n_items| {
        let axes = lengths(&input, n_items);
        lifted(x, |x| match (1..=MAX_RANK).contains(&axes.len()) {
            true => map!(x, x => exponential(x, axis, log)),
            false => Any::from(exponential(x.into3(around(&axes, axis)), 1, log)).keep(&axes),
        })
    })
}

fn exponential<const D: usize>(x: Tensor<D>, axis: usize, log: bool) -> Tensor<D> {
    match log {
        true => activation::log_softmax(x, axis),
        false => activation::softmax(x, axis),
    }
}
