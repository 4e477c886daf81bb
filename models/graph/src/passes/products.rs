//! Products with constants, as linear layers.

use super::edit::Edit;
use crate::op::{Linear, Op};

pub(super) fn recognise(edit: &mut Edit) {
    for index in edit.nodes() {
        recognise_node(edit, index);
    }
}

fn recognise_node(edit: &mut Edit, index: usize) -> Option<()> {
    let node = edit.node(index)?;
    let (Op::MatMul, [x, right]) = (&node.op, node.inputs.as_slice()) else {
        return None;
    };
    let x = *x;
    let constant = edit.constant(*right)?;
    let [batch @ .., inner, columns] = constant.shape.as_slice() else {
        return None;
    };
    if batch.iter().any(|axis| *axis != 1) {
        return None;
    }
    let weight = match (batch, right) {
        ([], crate::Operand::Constant(id)) => *id,
        _ => {
            let (name, shape, data) = (constant.name.clone(), [*inner, *columns], constant.data.clone());
            edit.add_shared(&name, &shape, data)?
        }
    };
    let linear = Linear {
        weight,
        bias: None,
        residual: false,
        activation: None,
    };
    edit.replace(index, Op::Linear(linear), &[x])
}
