//! Nodes that yield what they read.

use super::edit::Edit;
use crate::graph::{Node, Operand};
use crate::op::{Activation, Binary, Op, Unary};

pub(super) fn remove(edit: &mut Edit) {
    for index in edit.nodes() {
        let same = edit.node(index).and_then(|node| same(edit, node));
        if let Some(operand) = same {
            // What does not fit stays: a broadcast that a sum with 0 does, say.
            edit.forward(index, operand);
        }
    }
}

/// The operand that a node yields unchanged, if the shapes agree.
fn same(edit: &Edit, node: &Node) -> Option<Operand> {
    let first = *node.inputs.first()?;
    let only = |holds: bool| holds.then_some(first);
    match &node.op {
        Op::Reshape(_) | Op::Expand(_) => Some(first),
        Op::Transpose(order) => only(order.iter().enumerate().all(|(index, axis)| index == *axis)),
        Op::Slice { steps, .. } => only(steps.iter().all(|step| *step == 1)),
        Op::Pad { before, after, .. } => only(before.iter().chain(after).all(|pad| *pad == 0)),
        Op::Concat { .. } => only(node.inputs.len() == 1),
        Op::Gather { indices, .. } => only(indices.iter().enumerate().all(|(place, index)| place == *index)),
        Op::Binary(binary) => neutral(edit, *binary, first, *node.inputs.get(1)?),
        Op::Unary(Unary::Activation(activation)) => only(is_idle(edit, *activation, first)),
        _ => None,
    }
}

/// The other operand of a neutral number.
fn neutral(edit: &Edit, binary: Binary, left: Operand, right: Operand) -> Option<Operand> {
    let is = |operand, number: f32| {
        let constant = edit.constant(operand);
        constant.is_some_and(|constant| constant.data.iter().all(|own| *own == number))
    };
    match binary {
        Binary::Add if is(right, 0.0) => Some(left),
        Binary::Add if is(left, 0.0) => Some(right),
        Binary::Sub if is(right, 0.0) => Some(left),
        Binary::Mul if is(right, 1.0) => Some(left),
        Binary::Mul if is(left, 1.0) => Some(right),
        Binary::Div | Binary::Pow if is(right, 1.0) => Some(left),
        _ => None,
    }
}

/// Whether an activation changes nothing behind another.
fn is_idle(edit: &Edit, activation: Activation, operand: Operand) -> bool {
    match activation {
        Activation::Clip { low, high } => low == f32::NEG_INFINITY && high == f32::INFINITY,
        Activation::Relu => edit.is_at_least_zero(operand),
        _ => false,
    }
}

impl Edit {
    /// Whether a value has no number below 0, as the node says that yields it.
    pub(super) fn is_at_least_zero(&self, operand: Operand) -> bool {
        let Some((_, node)) = self.producer(operand) else {
            return false;
        };
        let activation = match node.op {
            Op::Unary(Unary::Activation(activation)) => Some(activation),
            Op::Pool(_) | Op::AdaptiveAverage(_) | Op::Reshape(_) | Op::Transpose(_) => {
                // One step further, not a walk through the network.
                let before = node.inputs.first().and_then(|input| self.producer(*input));
                match before.map(|(_, node)| &node.op) {
                    Some(Op::Unary(Unary::Activation(activation))) => Some(*activation),
                    Some(op) => op.activation(),
                    None => None,
                }
            }
            _ => node.op.activation(),
        };
        match activation {
            Some(Activation::Relu | Activation::Sigmoid | Activation::HardSigmoid { .. }) => true,
            Some(Activation::Clip { low, high }) => low >= 0.0 && high >= low,
            _ => false,
        }
    }
}
