//! Factors and shifts by channel (batch norms, biases, layer scales), into the operator before.

mod affine;
mod target;

use super::edit::Edit;
use crate::graph::Operand;
use crate::op::Op;
use affine::Affine;
use target::Target;

pub(super) fn fold(edit: &mut Edit) {
    for index in edit.nodes() {
        if fold_node(edit, index).is_none() {
            simplify(edit, index);
        }
    }
}

fn fold_node(edit: &mut Edit, index: usize) -> Option<()> {
    let x = affine::argument(edit, edit.node(index)?)?;
    if !edit.can_forward(index, x) {
        return None;
    }
    let (base, orders) = behind_transposes(edit, x)?;
    let target = Target::of(edit, base)?;
    let node = edit.node(index)?;
    let affine = match target.last_axes(edit) {
        Some(lengths) if orders.is_empty() => Affine::over_last(edit, node, &lengths)?,
        Some(_) => return None,
        None => {
            let axis = target.axis(edit)?;
            // Where the channels are behind the transposes.
            let axis = orders
                .iter()
                .rev()
                .try_fold(axis, |axis, order| order.iter().position(|own| *own == axis))?;
            Affine::along(edit, node, axis, target.channels(edit)?)?
        }
    };
    let op = target.with(edit, &affine)?;
    let inputs = edit.node(base)?.inputs.clone();
    edit.replace(base, op, &inputs)?;
    edit.forward(index, x)
}

/// The node that yields a value, and the transposes behind it, last first. Nothing where others read on the way.
fn behind_transposes(edit: &Edit, x: Operand) -> Option<(usize, Vec<Vec<usize>>)> {
    let (mut operand, mut orders) = (x, Vec::new());
    loop {
        let (index, node) = edit.producer(operand).filter(|_| edit.is_sole(operand))?;
        match &node.op {
            Op::Transpose(order) => {
                orders.push(order.clone());
                operand = *node.inputs.first()?;
            }
            _ => return Some((index, orders)),
        }
    }
}

/// A sum or product by channel, as a scale: executors are quicker with it, and further ones go into it.
fn simplify(edit: &mut Edit, index: usize) -> Option<()> {
    let node = edit.node(index)?;
    let x = affine::argument(edit, node)?;
    let shape = edit.shape(x);
    let channels = shape.0.get(1).filter(|axis| !axis.batched)?.size;
    let by_channel = node
        .inputs
        .iter()
        .filter_map(|input| edit.constant(*input))
        .any(|constant| constant.data.len() > 1);
    if matches!(node.op, Op::Scale { .. }) || shape.rank() != 4 || !by_channel || !edit.can_forward(index, x) {
        return None;
    }
    let affine = Affine::along(edit, node, 1, channels)?;
    let name = node.name.clone();
    let (factor, shift) = affine.numbers();
    let factor = edit.add_finite(&format!("{name}.factor"), &[channels], factor)?;
    let shift = edit.add_finite(&format!("{name}.shift"), &[channels], shift)?;
    edit.replace(index, Op::Scale { factor, shift }, &[x])
}
