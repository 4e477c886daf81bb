//! Sums and activations, into the convolution or linear layer before.

use super::Options;
use super::edit::Edit;
use crate::graph::Operand;
use crate::op::{Activation, Binary, Convolution, Linear, Op, Unary};

pub(super) fn fuse(edit: &mut Edit, options: &Options) {
    for index in edit.nodes() {
        let Some(node) = edit.node(index) else { continue };
        match (&node.op, node.inputs.as_slice()) {
            (Op::Unary(Unary::Activation(activation)), [x]) if options.activations => {
                let (activation, x) = (*activation, *x);
                take_activation(edit, index, x, activation);
            }
            (Op::Binary(Binary::Add), [left, right]) if options.residuals => {
                let (left, right) = (*left, *right);
                take_sum(edit, index, left, right);
            }
            _ => {}
        }
    }
}

/// The product runs where its activation ran: everything that it reads is there.
fn take_activation(edit: &mut Edit, index: usize, x: Operand, activation: Activation) -> Option<()> {
    let (_, before) = edit.producer(x).filter(|_| edit.is_sole(x))?;
    let activation = Some(activation);
    let op = match &before.op {
        Op::Convolution(conv) if conv.activation.is_none() => Op::Convolution(Convolution {
            activation,
            ..conv.clone()
        }),
        Op::Linear(linear) if linear.activation.is_none() => Op::Linear(Linear {
            activation,
            ..linear.clone()
        }),
        _ => return None,
    };
    let inputs = before.inputs.clone();
    edit.replace(index, op, &inputs)
}

/// The product runs where the sum ran: what is added has been computed there.
fn take_sum(edit: &mut Edit, index: usize, left: Operand, right: Operand) -> Option<()> {
    let product = |operand| {
        let (place, _) = edit.producer(operand).filter(|_| edit.is_sole(operand))?;
        open(edit, place).then_some(place)
    };
    // Of two the later one, so that no value waits longer than it must.
    let (base, added) = match (product(left), product(right)) {
        (Some(one), Some(other)) if edit.runs_before(one, other) => (other, left),
        (Some(one), _) => (one, right),
        (None, Some(other)) => (other, left),
        (None, None) => return None,
    };
    if !matches!(added, Operand::Value(_)) {
        return None;
    }
    let node = edit.node(base)?;
    let op = match &node.op {
        Op::Convolution(conv) => Op::Convolution(Convolution {
            residual: true,
            ..conv.clone()
        }),
        Op::Linear(linear) => Op::Linear(Linear {
            residual: true,
            ..linear.clone()
        }),
        _ => return None,
    };
    let mut inputs = node.inputs.clone();
    inputs.push(added);
    // Where the sum broadcasts, inference refuses.
    edit.replace(index, op, &inputs)
}

/// Whether a node is a product with nothing behind it.
fn open(edit: &Edit, index: usize) -> bool {
    let op = edit.node(index).map(|node| &node.op);
    op.is_some_and(|op| {
        matches!(op, Op::Convolution(_) | Op::Linear(_)) && !op.has_residual() && op.activation().is_none()
    })
}
