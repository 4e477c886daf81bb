//! Operators that make one number of many along axes, and those that normalise over them.

use super::{axis, constant, misfit, number, vector};
use crate::builder::Misfit;
use crate::graph::{ConstantId, Graph};
use crate::op::{GroupNorm, LayerNorm, LocalResponseNorm};
use crate::shape::{Axis, Shape};

pub(super) fn softmax(along: usize, x: &Shape) -> Result<Shape, Misfit> {
    axis(x, along)?;
    Ok(x.clone())
}

pub(super) fn reduce(axes: &[usize], keep: bool, x: &Shape) -> Result<Shape, Misfit> {
    if axes.is_empty() || !axes.is_sorted_by(|one, next| one < next) {
        return misfit("axes in ascending order, none twice", format!("{} of them", axes.len()));
    }
    for reduced in axes {
        axis(x, *reduced)?;
    }
    let left =
        x.0.iter()
            .enumerate()
            .filter_map(|(index, own)| match axes.contains(&index) {
                true => keep.then_some(Axis::fixed(1)),
                false => Some(*own),
            });
    Ok(Shape(left.collect()))
}

pub(super) fn layer_norm(graph: &Graph, norm: &LayerNorm, x: &Shape) -> Result<Shape, Misfit> {
    let first = x.rank().checked_sub(norm.axes).filter(|_| norm.axes > 0);
    let Some(first) = first else {
        return misfit(
            format!("at least {} axes to normalise over, and one", norm.axes),
            x.to_string(),
        );
    };
    let mut elements = 1_usize;
    for normalised in first..x.rank() {
        elements = elements.saturating_mul(axis(x, normalised)?);
    }
    epsilon(norm.epsilon)?;
    numbers(graph, norm.scale, "a scale", elements)?;
    numbers(graph, norm.shift, "a shift", elements)?;
    Ok(x.clone())
}

/// A constant of as many numbers, whatever its axes are.
fn numbers(graph: &Graph, id: Option<ConstantId>, what: &str, elements: usize) -> Result<(), Misfit> {
    let Some(id) = id else { return Ok(()) };
    let found = constant(graph, id)?.data.len();
    match found == elements {
        true => Ok(()),
        false => misfit(format!("{what} of {elements} numbers"), found.to_string()),
    }
}

pub(super) fn group_norm(graph: &Graph, norm: &GroupNorm, x: &Shape) -> Result<Shape, Misfit> {
    let channels = axis(x, 1)?;
    for normalised in 2..x.rank() {
        axis(x, normalised)?;
    }
    if norm.groups == 0 || !channels.is_multiple_of(norm.groups) {
        return misfit(
            "groups that divide the channels",
            format!("{} groups of {channels}", norm.groups),
        );
    }
    epsilon(norm.epsilon)?;
    vector(graph, norm.scale, "a scale", channels)?;
    vector(graph, norm.shift, "a shift", channels)?;
    Ok(x.clone())
}

fn epsilon(epsilon: f64) -> Result<(), Misfit> {
    number(
        "an epsilon of at least 0",
        epsilon.is_finite() && epsilon >= 0.0,
        epsilon,
    )
}

pub(super) fn local_response_norm(norm: &LocalResponseNorm, x: &Shape) -> Result<Shape, Misfit> {
    axis(x, 1)?;
    if norm.size == 0 {
        return misfit("a size of at least 1", "0");
    }
    for (what, found) in [
        ("a finite alpha", norm.alpha),
        ("a finite beta", norm.beta),
        ("a finite bias", norm.bias),
    ] {
        number(what, found.is_finite(), found)?;
    }
    Ok(x.clone())
}
