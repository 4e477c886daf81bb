//! What comes out of an operator; what does not fit is said.
//!
//! Items of a batch never see each other: what an item yields depends on that item alone. In a value, the numbers of the
//! items stand at `[outer, N, inner]`, where `outer` is the product of the axes before the batched one, times the part of
//! that axis that is outside of the items (`[196, N]` made one axis has an outer part of 196, `[N, 196]` has none). Each
//! operator here keeps the items apart if its inputs do: none computes along a batched axis, those with several inputs want
//! the items at the same place in all of them, and a reshape must leave the items a place.

mod layout;
mod pointwise;
mod product;
mod reduce;
mod window;

#[cfg(test)]
mod tests;

use crate::builder::Misfit;
use crate::graph::{Constant, ConstantId, Graph, Operand};
use crate::limits::{MAX_AXES, MAX_VALUE_ELEMENTS};
use crate::op::Op;
use crate::shape::{Axis, Shape};

/// What comes out of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inferred {
    pub(crate) shape: Shape,
    /// The part of the batched axis that is outside of the items; 1 where there is none.
    pub(crate) outer: usize,
}

/// What `op` makes of its inputs.
///
/// # Errors
/// When it cannot take them, or what comes out is beyond the limits.
pub(crate) fn infer(graph: &Graph, op: &Op, operands: &[Operand]) -> Result<Inferred, Misfit> {
    let shapes = shapes_of(graph, operands)?;
    let inputs: Vec<&Shape> = shapes.iter().collect();
    let shape = shape(graph, op, &inputs)?;
    bounded(&shape)?;
    let place = place_of_items(graph, operands)?;
    let outer = match (op, inputs.as_slice()) {
        (Op::Reshape(_), [source]) => layout::outer_of_reshape(source, place, &shape)?,
        _ => place,
    };
    Ok(Inferred { shape, outer })
}

fn shape(graph: &Graph, op: &Op, inputs: &[&Shape]) -> Result<Shape, Misfit> {
    match (op, inputs) {
        (Op::Convolution(conv), [map, residual @ ..]) => window::convolution(graph, conv, map, residual),
        (Op::TransposedConvolution(conv), [map]) => window::transposed(graph, conv, map),
        (Op::Pool(pool), [map]) => window::pool(pool, map),
        (Op::AdaptiveAverage(adaptive), [map]) => window::adaptive(*adaptive, map),
        (Op::Resize(resize), [map]) => window::resize(resize, map),
        (Op::Linear(linear), [x, residual @ ..]) => product::linear(graph, linear, x, residual),
        (Op::MatMul, [left, right]) => product::matmul(left, right),
        (Op::Scale { factor, shift }, [x]) => pointwise::scale(graph, *factor, *shift, x),
        (Op::Unary(unary), [x]) => pointwise::unary(unary, x),
        (Op::Binary(_), [left, right]) => pointwise::broadcast(left, right),
        (Op::Select, [condition, yes, no]) => pointwise::broadcast(&pointwise::broadcast(condition, yes)?, no),
        (Op::LayerNorm(norm), [x]) => reduce::layer_norm(graph, norm, x),
        (Op::GroupNorm(norm), [x]) => reduce::group_norm(graph, norm, x),
        (Op::LocalResponseNorm(norm), [x]) => reduce::local_response_norm(norm, x),
        (Op::Softmax { axis, .. }, [x]) => reduce::softmax(*axis, x),
        (Op::Reduce { axes, keep, .. }, [x]) => reduce::reduce(axes, *keep, x),
        (Op::ArgExtreme { axis, keep, .. }, [x]) => reduce::reduce(&[*axis], *keep, x),
        (Op::Reshape(target), [x]) => layout::reshape(target, x),
        (Op::Transpose(order), [x]) => layout::transpose(order, x),
        (Op::Slice { starts, steps, shape }, [x]) => layout::slice(starts, steps, shape, x),
        (Op::Concat { axis }, [first, others @ ..]) => layout::concat(*axis, first, others),
        (Op::Pad { before, after, mode }, [x]) => layout::pad(before, after, *mode, x),
        (Op::Expand(target), [x]) => layout::expand(target, x),
        (Op::Gather { axis, indices, shape }, [x]) => layout::gather(*axis, indices, shape, x),
        _ => misfit(
            format!("as many inputs as {} takes", op.name()),
            format!("{} inputs", inputs.len()),
        ),
    }
}

/// The shapes of what a node reads.
fn shapes_of(graph: &Graph, operands: &[Operand]) -> Result<Vec<Shape>, Misfit> {
    let shape = |operand: &Operand| match operand {
        Operand::Value(id) => graph.values.get(id.index()).map(|value| value.shape.clone()),
        Operand::Constant(id) => graph.constant(*id).map(|constant| Shape::fixed(&constant.shape)),
    };
    operands
        .iter()
        .map(|operand| shape(operand).ok_or_else(|| Misfit::new("an operand of this graph", format!("{operand:?}"))))
        .collect()
}

/// The outer part of the batched axis, which all operands that have one must share.
fn place_of_items(graph: &Graph, operands: &[Operand]) -> Result<usize, Misfit> {
    let mut places = operands.iter().filter_map(|operand| match operand {
        Operand::Value(id) => graph.values.get(id.index()).filter(|value| value.shape.is_batched()),
        Operand::Constant(_) => None,
    });
    let first = places.next().map_or(1, |value| value.outer);
    match places.find(|value| value.outer != first) {
        Some(other) => misfit(
            format!("the items of a batch at the same place in all inputs ({first} times all of them)"),
            format!(
                "{} times all of them in `{}`",
                other.outer,
                crate::text::name(&other.name)
            ),
        ),
        None => Ok(first),
    }
}

/// Refuses a shape that is beyond the limits.
pub(crate) fn bounded(shape: &Shape) -> Result<(), Misfit> {
    if shape.rank() > MAX_AXES {
        return misfit(format!("at most {MAX_AXES} axes"), shape.rank().to_string());
    }
    if shape.0.iter().any(|axis| axis.size == 0) {
        return misfit("axes of at least 1", shape.to_string());
    }
    if shape.0.iter().filter(|axis| axis.batched).count() > 1 {
        return misfit("at most one axis that grows with the batch", shape.to_string());
    }
    match shape.elements() {
        Some(elements) if elements <= MAX_VALUE_ELEMENTS => Ok(()),
        _ => misfit(
            format!("at most {MAX_VALUE_ELEMENTS} numbers an item"),
            shape.to_string(),
        ),
    }
}

/// An axis of a shape along which something is computed: it must be there, and not grow with the batch.
fn axis(shape: &Shape, axis: usize) -> Result<usize, Misfit> {
    match shape.0.get(axis) {
        Some(Axis { size, batched: false }) => Ok(*size),
        Some(_) => misfit(
            format!("an axis {axis} that does not grow with the batch: items must not see each other"),
            shape.to_string(),
        ),
        None => misfit(format!("an axis {axis}"), shape.to_string()),
    }
}

/// A constant that an operator uses, which must have this shape.
fn weights<'a>(graph: &'a Graph, id: ConstantId, what: &str, shape: &[usize]) -> Result<&'a Constant, Misfit> {
    let constant = constant(graph, id)?;
    if constant.shape == shape {
        return Ok(constant);
    }
    misfit(
        format!("{what} of shape {shape:?}"),
        format!("{:?} in `{}`", constant.shape, crate::text::name(&constant.name)),
    )
}

/// A vector that an operator may use.
fn vector(graph: &Graph, id: Option<ConstantId>, what: &str, length: usize) -> Result<(), Misfit> {
    match id {
        Some(id) => weights(graph, id, what, &[length]).map(|_| ()),
        None => Ok(()),
    }
}

fn constant(graph: &Graph, id: ConstantId) -> Result<&Constant, Misfit> {
    graph
        .constant(id)
        .ok_or_else(|| Misfit::new("a constant of this graph", format!("{id:?}")))
}

/// What is added to a result before its activation: as the operator says, and of the result's shape.
fn residual(wanted: bool, found: &[&Shape], result: &Shape) -> Result<(), Misfit> {
    match (wanted, found) {
        (false, []) => Ok(()),
        (true, [found]) if *found == result => Ok(()),
        (true, [found]) => misfit(format!("a residual of shape {result}"), found.to_string()),
        (wanted, found) => misfit(
            format!("{} inputs", 1 + usize::from(wanted)),
            format!("{}", 1 + found.len()),
        ),
    }
}

/// A parameter that is a number.
fn number(what: &str, fits: bool, found: f64) -> Result<(), Misfit> {
    match fits {
        true => Ok(()),
        false => misfit(what, found.to_string()),
    }
}

fn misfit<T>(expected: impl Into<String>, found: impl Into<String>) -> Result<T, Misfit> {
    Err(Misfit::new(expected, found))
}
