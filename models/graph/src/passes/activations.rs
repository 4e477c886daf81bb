//! Activations under other names, and two in one.

use super::edit::Edit;
use crate::graph::Operand;
use crate::op::{Activation, Binary, Op, Unary};

pub(super) fn recognise(edit: &mut Edit) {
    for index in edit.nodes() {
        recognise_node(edit, index);
    }
}

fn recognise_node(edit: &mut Edit, index: usize) -> Option<()> {
    let node = edit.node(index)?;
    let (activation, x) = match (&node.op, node.inputs.as_slice()) {
        (Op::Binary(binary), [left, right]) => of_binary(edit, *binary, *left, *right)?,
        (Op::Unary(Unary::Activation(outer)), [x]) => {
            let (_, before) = edit.producer(*x)?;
            let Op::Unary(Unary::Activation(inner)) = before.op else {
                return None;
            };
            (both(inner, *outer)?, *before.inputs.first()?)
        }
        _ => return None,
    };
    edit.replace(index, Op::Unary(Unary::Activation(activation)), &[x])
}

/// The function of one number that a function of two is with a constant.
fn of_binary(edit: &Edit, binary: Binary, left: Operand, right: Operand) -> Option<(Activation, Operand)> {
    let known = |operand| edit.scalar(operand).filter(|number| !number.is_nan());
    match binary {
        Binary::Max | Binary::Min => {
            let (x, bound) = match (known(left), known(right)) {
                (None, Some(bound)) => (left, bound),
                (Some(bound), None) => (right, bound),
                _ => return None,
            };
            Some((clip(binary, bound), x))
        }
        Binary::LeakyBySlope => {
            let slopes = &edit.constant(right)?.data;
            let slope = *slopes.first()?;
            let same = slope.is_finite() && slopes.iter().all(|other| *other == slope);
            same.then_some((Activation::LeakyRelu { slope }, left))
        }
        _ => None,
    }
}

fn clip(binary: Binary, bound: f32) -> Activation {
    let (low, high) = match binary {
        Binary::Max => (bound, f32::INFINITY),
        _ => (f32::NEG_INFINITY, bound),
    };
    simplest(low, high)
}

fn simplest(low: f32, high: f32) -> Activation {
    match (low, high) {
        (0.0, f32::INFINITY) => Activation::Relu,
        (low, high) => Activation::Clip { low, high },
    }
}

/// One activation for two that clip.
fn both(inner: Activation, outer: Activation) -> Option<Activation> {
    let bounds = |activation| match activation {
        Activation::Relu => Some((0.0, f32::INFINITY)),
        Activation::Clip { low, high } if low <= high => Some((low, high)),
        _ => None,
    };
    let ((low, high), (outer_low, outer_high)) = (bounds(inner)?, bounds(outer)?);
    // The bounds of the inner one, as the outer one leaves them.
    let kept = |bound: f32| bound.max(outer_low).min(outer_high);
    Some(simplest(kept(low), kept(high)))
}
