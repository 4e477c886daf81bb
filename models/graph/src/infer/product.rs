//! Products: linear layers and matrices.

use super::{axis, misfit, pointwise, residual, vector, weights};
use crate::builder::Misfit;
use crate::graph::Graph;
use crate::op::Linear;
use crate::shape::{Axis, Shape};

pub(super) fn linear(graph: &Graph, linear: &Linear, x: &Shape, added: &[&Shape]) -> Result<Shape, Misfit> {
    let Some(last) = x.rank().checked_sub(1) else {
        return misfit("at least one axis", x.to_string());
    };
    let features = axis(x, last)?;
    let weight = super::constant(graph, linear.weight)?;
    let out = match weight.shape.as_slice() {
        [_, out] => *out,
        shape => return misfit("a weight of two axes", format!("{shape:?}")),
    };
    weights(graph, linear.weight, "a weight", &[features, out])?;
    vector(graph, linear.bias, "a bias", out)?;
    linear.activation.as_ref().map_or(Ok(()), pointwise::activation)?;
    let mut shape = x.clone();
    if let Some(last) = shape.0.last_mut() {
        *last = Axis::fixed(out);
    }
    residual(linear.residual, added, &shape)?;
    Ok(shape)
}

pub(super) fn matmul(left: &Shape, right: &Shape) -> Result<Shape, Misfit> {
    let ([left_batch @ .., rows, _], [right_batch @ .., _, columns]) = (left.0.as_slice(), right.0.as_slice()) else {
        return misfit("two inputs of at least two axes", format!("{left} and {right}"));
    };
    if left.rank() != right.rank() {
        return misfit("two inputs of as many axes", format!("{left} and {right}"));
    }
    let inner = axis(left, left.rank() - 1)?;
    if axis(right, right.rank() - 2)? != inner {
        return misfit(
            format!("a second input with {inner} rows, as the first has columns"),
            right.to_string(),
        );
    }
    let (left_batch, right_batch) = (Shape(left_batch.to_vec()), Shape(right_batch.to_vec()));
    let mut shape = pointwise::broadcast(&left_batch, &right_batch)?;
    shape.0.extend([*rows, *columns]);
    Ok(shape)
}
