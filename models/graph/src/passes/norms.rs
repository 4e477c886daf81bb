//! Norms that were exported piece by piece.

use super::edit::Edit;
use crate::graph::{Node, Operand};
use crate::op::{Binary, GroupNorm, LayerNorm, Op, Reduction, Unary};

pub(super) fn recognise(edit: &mut Edit) {
    for index in edit.nodes() {
        if layer_norm(edit, index).is_none() {
            group_norm(edit, index);
        }
    }
}

/// `(x - mean) / sqrt(mean of squares + epsilon)` over the last axes.
fn layer_norm(edit: &mut Edit, index: usize) -> Option<()> {
    let node = edit.node(index)?;
    let [left, right] = node.inputs.as_slice() else {
        return None;
    };
    let (centred, (axes, epsilon, x)) = match &node.op {
        Op::Binary(Binary::Div) => (*left, deviation(edit, *right)?),
        Op::Binary(Binary::Mul) => match (inverse(edit, *left), inverse(edit, *right)) {
            (_, Some(found)) => (*left, found),
            (Some(found), None) => (*right, found),
            (None, None) => return None,
        },
        _ => return None,
    };
    let same = centre(edit, centred)?;
    let rank = edit.shape(x).rank();
    let last = axes
        .iter()
        .rev()
        .zip((0..rank).rev())
        .all(|(axis, wanted)| *axis == wanted);
    if same != (x, axes.clone()) || !last {
        return None;
    }
    let norm = LayerNorm {
        axes: axes.len(),
        epsilon,
        scale: None,
        shift: None,
    };
    edit.replace(index, Op::LayerNorm(norm), &[x])
}

/// Over which axes, with what epsilon, of what.
type Norm = (Vec<usize>, f64, Operand);

/// `1 / sqrt(..)`.
fn inverse(edit: &Edit, operand: Operand) -> Option<Norm> {
    let (_, node) = edit.producer(operand)?;
    match (&node.op, node.inputs.as_slice()) {
        (Op::Unary(Unary::Reciprocal), [root]) => deviation(edit, *root),
        (Op::Binary(Binary::Div), [one, root]) if edit.scalar(*one) == Some(1.0) => deviation(edit, *root),
        (Op::Binary(Binary::Pow), [sum, power]) if edit.scalar(*power) == Some(-0.5) => variance(edit, *sum),
        _ => None,
    }
}

/// `sqrt(variance + epsilon)`.
fn deviation(edit: &Edit, operand: Operand) -> Option<Norm> {
    let (_, node) = edit.producer(operand)?;
    match (&node.op, node.inputs.as_slice()) {
        (Op::Unary(Unary::Sqrt), [sum]) => variance(edit, *sum),
        (Op::Binary(Binary::Pow), [sum, power]) if edit.scalar(*power) == Some(0.5) => variance(edit, *sum),
        _ => None,
    }
}

/// The mean of `(x - mean)^2`, and an epsilon.
fn variance(edit: &Edit, operand: Operand) -> Option<Norm> {
    let (_, sum) = edit.producer(operand)?;
    let (Op::Binary(Binary::Add), [left, right]) = (&sum.op, sum.inputs.as_slice()) else {
        return None;
    };
    let (mean, epsilon) = match (edit.scalar(*left), edit.scalar(*right)) {
        (None, Some(epsilon)) => (*left, epsilon),
        (Some(epsilon), None) => (*right, epsilon),
        _ => return None,
    };
    let (squares, axes) = mean_of(edit.producer(mean)?.1)?;
    let (_, node) = edit.producer(squares)?;
    let centred = match (&node.op, node.inputs.as_slice()) {
        (Op::Binary(Binary::Pow), [centred, power]) if edit.scalar(*power) == Some(2.0) => *centred,
        (Op::Binary(Binary::Mul), [centred, same]) if centred == same => *centred,
        _ => return None,
    };
    let (x, centred_axes) = centre(edit, centred)?;
    (centred_axes == axes).then_some((axes, epsilon.into(), x))
}

/// `x - mean of x`.
fn centre(edit: &Edit, operand: Operand) -> Option<(Operand, Vec<usize>)> {
    let (_, node) = edit.producer(operand)?;
    let (Op::Binary(Binary::Sub), [x, mean]) = (&node.op, node.inputs.as_slice()) else {
        return None;
    };
    let (of, axes) = mean_of(edit.producer(*mean)?.1)?;
    (of == *x).then_some((*x, axes))
}

/// A mean whose axes stay, and of what.
fn mean_of(node: &Node) -> Option<(Operand, Vec<usize>)> {
    match &node.op {
        Op::Reduce {
            reduction: Reduction::Mean,
            axes,
            keep: true,
        } => Some((*node.inputs.first()?, axes.clone())),
        _ => None,
    }
}

/// An instance norm of the groups, between two reshapes: as exporters write a group norm.
fn group_norm(edit: &mut Edit, index: usize) -> Option<()> {
    let node = edit.node(index)?;
    let (Op::Reshape(target), Some(normed)) = (&node.op, node.inputs.first()) else {
        return None;
    };
    let (_, inner) = edit.producer(*normed)?;
    let (Op::GroupNorm(norm), Some(grouped)) = (&inner.op, inner.inputs.first()) else {
        return None;
    };
    let (_, first) = edit.producer(*grouped)?;
    let (Op::Reshape(middle), Some(x)) = (&first.op, first.inputs.first()) else {
        return None;
    };
    let x = *x;
    let groups = middle.0.get(1)?;
    let channels = target.0.get(1).filter(|axis| !axis.batched)?.size;
    let all = |id: Option<crate::ConstantId>, number: f32| match id.and_then(|id| edit.graph().constant(id)) {
        Some(constant) => constant.data.iter().all(|own| *own == number),
        None => true,
    };
    // Each group of the middle is one channel of it, and its items are those of the target.
    let plain = norm.groups == groups.size && all(norm.scale, 1.0) && all(norm.shift, 0.0);
    let whole =
        channels.is_multiple_of(groups.size) && edit.shape(x) == *target && middle.0.first() == target.0.first();
    let op = GroupNorm {
        groups: groups.size,
        epsilon: norm.epsilon,
        scale: None,
        shift: None,
    };
    (plain && whole).then(|| edit.replace(index, Op::GroupNorm(op), &[x]))?
}
