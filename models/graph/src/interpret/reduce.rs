//! One number of many, and norms.

use super::places::{Steps, rows, strides};
use super::{Tensor, vector};
use crate::graph::Graph;
use crate::op::{GroupNorm, LayerNorm, LocalResponseNorm, Reduction};

pub(super) fn reduce(reduction: Reduction, axes: &[usize], x: Tensor<'_>, out: &mut [f32]) -> Option<()> {
    let strides = strides(x.shape);
    let places = |reduced: bool| {
        let own = x.shape.iter().zip(&strides).enumerate();
        let own = own.filter(|(index, _)| axes.contains(index) == reduced);
        let mut places: Vec<Steps> = own
            .map(|(_, (length, stride))| Steps::in_order(*length, *stride))
            .collect();
        // An axis at the end that `rows` does not enter.
        places.push(Steps::repeated(1));
        places
    };
    let mut under = Vec::new();
    rows([&places(true)], |[place]| {
        under.push(place?);
        Some(())
    })?;
    let mut results = out.iter_mut();
    rows([&places(false)], |[place]| {
        let place = place?;
        let numbers = under.iter().filter_map(|under| x.data.get(place.checked_add(*under)?));
        *results.next()? = one(reduction, numbers.map(|number| f64::from(*number)), under.len()) as f32;
        Some(())
    })
}

fn one(reduction: Reduction, numbers: impl Iterator<Item = f64> + Clone, count: usize) -> f64 {
    match reduction {
        Reduction::Mean => numbers.sum::<f64>() / count as f64,
        Reduction::Sum => numbers.sum(),
        Reduction::Max => largest(numbers),
        Reduction::Min => -largest(numbers.map(|x| -x)),
        Reduction::Product => numbers.product(),
        Reduction::L1 => numbers.map(f64::abs).sum(),
        Reduction::L2 => numbers.map(|x| x * x).sum::<f64>().sqrt(),
        Reduction::SumOfSquares => numbers.map(|x| x * x).sum(),
        Reduction::LogOfSum => numbers.sum::<f64>().ln(),
        Reduction::LogOfSumOfExp => {
            let most = finite_or_zero(largest(numbers.clone()));
            most + numbers.map(|x| (x - most).exp()).sum::<f64>().ln()
        }
    }
}

/// What is no number stays so.
fn largest(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.fold(
        f64::NEG_INFINITY,
        |most, x| if x > most || x.is_nan() { x } else { most },
    )
}

/// What exponents are taken relative to: with an infinite one `x - most` would be no number.
fn finite_or_zero(most: f64) -> f64 {
    if most.is_infinite() { 0.0 } else { most }
}

/// Calls `line` with where each line along an axis begins, and its length and stride.
fn lines(axis: usize, shape: &[usize], mut line: impl FnMut(usize, usize, usize) -> Option<()>) -> Option<()> {
    let length = *shape.get(axis)?;
    let inner: usize = shape.iter().skip(axis.saturating_add(1)).product();
    let outer: usize = shape.iter().take(axis).product();
    for block in 0..outer {
        for index in 0..inner {
            line(
                block.checked_mul(length)?.checked_mul(inner)?.checked_add(index)?,
                length,
                inner,
            )?;
        }
    }
    Some(())
}

pub(super) fn softmax(axis: usize, log: bool, x: Tensor<'_>, out: &mut [f32]) -> Option<()> {
    lines(axis, x.shape, |start, length, stride| {
        let numbers = x.data.get(start..)?.iter().step_by(stride.max(1)).take(length);
        let numbers = numbers.map(|x| f64::from(*x));
        let most = finite_or_zero(largest(numbers.clone()));
        let sum: f64 = numbers.clone().map(|x| (x - most).exp()).sum();
        let out = out.get_mut(start..)?.iter_mut().step_by(stride.max(1)).take(length);
        for (out, x) in out.zip(numbers) {
            *out = match log {
                true => (x - most - sum.ln()) as f32,
                false => ((x - most).exp() / sum) as f32,
            };
        }
        Some(())
    })
}

pub(super) fn arg_extreme(smallest: bool, last: bool, axis: usize, x: Tensor<'_>, out: &mut [f32]) -> Option<()> {
    let mut results = out.iter_mut();
    lines(axis, x.shape, |start, length, stride| {
        let numbers = x.data.get(start..)?.iter().step_by(stride.max(1)).take(length);
        let mut best: Option<(usize, f32)> = None;
        for (index, x) in numbers.enumerate() {
            let better = best.is_none_or(|(_, found)| {
                let further = if smallest { *x < found } else { *x > found };
                further || (last && *x == found)
            });
            if better {
                best = Some((index, *x));
            }
        }
        *results.next()? = best?.0 as f32;
        Some(())
    })
}

/// `(x - mean) / sqrt(variance + epsilon)` of a run of numbers.
fn normalise(numbers: &[f32], epsilon: f64) -> impl Iterator<Item = f64> {
    let count = numbers.len().max(1) as f64;
    let mean = numbers.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
    let variance = numbers.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / count;
    let root = (variance + epsilon).sqrt();
    numbers.iter().map(move |x| (f64::from(*x) - mean) / root)
}

pub(super) fn layer_norm(graph: &Graph, norm: &LayerNorm, x: Tensor<'_>, out: &mut [f32]) -> Option<()> {
    let first = x.shape.len().checked_sub(norm.axes)?;
    let run: usize = x.shape.iter().skip(first).product();
    let (scale, shift) = (vector(graph, norm.scale), vector(graph, norm.shift));
    for (numbers, out) in x.data.chunks(run.max(1)).zip(out.chunks_mut(run.max(1))) {
        for (index, (out, x)) in out.iter_mut().zip(normalise(numbers, norm.epsilon)).enumerate() {
            *out = scaled(x, scale, shift, index);
        }
    }
    Some(())
}

fn scaled(x: f64, scale: Option<&[f32]>, shift: Option<&[f32]>, index: usize) -> f32 {
    let at = |vector: Option<&[f32]>, default: f64| {
        let number = vector.and_then(|vector| vector.get(index));
        number.map_or(default, |number| f64::from(*number))
    };
    (x * at(scale, 1.0) + at(shift, 0.0)) as f32
}

pub(super) fn group_norm(graph: &Graph, norm: &GroupNorm, x: Tensor<'_>, out: &mut [f32]) -> Option<()> {
    let [_, channels, inner @ ..] = x.shape else {
        return None;
    };
    let inner = inner.iter().product::<usize>().max(1);
    let run = channels.checked_div(norm.groups)?.checked_mul(inner)?.max(1);
    let (scale, shift) = (vector(graph, norm.scale), vector(graph, norm.shift));
    let groups = x.data.chunks(run).zip(out.chunks_mut(run)).enumerate();
    for (group, (numbers, out)) in groups {
        let first = (group % norm.groups).checked_mul(run / inner)?;
        for (index, (out, x)) in out.iter_mut().zip(normalise(numbers, norm.epsilon)).enumerate() {
            *out = scaled(x, scale, shift, first + index / inner);
        }
    }
    Some(())
}

pub(super) fn local_response_norm(norm: &LocalResponseNorm, x: Tensor<'_>, out: &mut [f32]) -> Option<()> {
    lines(1, x.shape, |start, length, stride| {
        let numbers = x.data.get(start..)?.iter().step_by(stride.max(1)).take(length);
        let out = out.get_mut(start..)?.iter_mut().step_by(stride.max(1)).take(length);
        for (channel, (out, x)) in out.zip(numbers.clone()).enumerate() {
            let from = channel.saturating_sub((norm.size - 1) / 2);
            let to = channel.saturating_add(norm.size / 2).saturating_add(1).min(length);
            let near = numbers.clone().skip(from).take(to.saturating_sub(from));
            let squares: f64 = near.map(|x| f64::from(*x).powi(2)).sum();
            let base = norm.bias + norm.alpha / norm.size as f64 * squares;
            *out = (f64::from(*x) / base.powf(norm.beta)) as f32;
        }
        Some(())
    })
}
