//! Nodes that read nothing but constants are computed once.

use super::edit::Edit;
use crate::cost;
use crate::graph::Operand;
use crate::interpret::{Tensor, run};

/// Most steps of arithmetic of one folded node, and of all.
const MAX_WORK: u64 = 1 << 28;
const MAX_WORK_OF_ALL: u64 = 1 << 29;
/// Results up to this size are always worth it; larger ones only where they are not much larger than what they are made of.
const SMALL: u64 = 1 << 20;

/// `spent` goes from one round to the next.
pub(super) fn fold(edit: &mut Edit, spent: &mut u64) {
    for index in edit.nodes() {
        fold_node(edit, index, spent);
    }
}

fn fold_node(edit: &mut Edit, index: usize, spent: &mut u64) -> Option<()> {
    let node = edit.node(index)?;
    let graph = edit.graph();
    let shape = graph.shape(node.output);
    let constants: Vec<_> = node
        .inputs
        .iter()
        .map(|input| edit.constant(*input))
        .collect::<Option<_>>()?;
    if shape.is_batched() || edit.is_output(node.output) {
        return None;
    }
    let read: u64 = constants.iter().map(|constant| constant.data.len() as u64).sum();
    let made = shape.elements()? as u64;
    let work = cost::work(graph, &node.op, &node.inputs, shape);
    let sum = spent.saturating_add(work);
    if work > MAX_WORK || sum > MAX_WORK_OF_ALL || made > SMALL.max(read.saturating_mul(2)) {
        return None;
    }
    *spent = sum;
    let inputs: Vec<Tensor<'_>> = constants
        .iter()
        .map(|constant| Tensor {
            shape: &constant.shape,
            data: &constant.data,
        })
        .collect();
    let data = run(graph, &node.op, &inputs, shape, 1).ok()?;
    let (name, lengths) = (node.name.clone(), shape.at(1)?);
    let constant = edit.add_constant(&name, &lengths, data)?;
    edit.forward(index, Operand::Constant(constant))
}
