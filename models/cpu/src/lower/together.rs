//! How many items go through each node together: where weights outweigh what goes through them, they are read once for
//! several items.

use millrace_graph::{Graph, Node, Op};

use super::halo::values;

/// Floats that items which wait for each other may take: 4 MiB, which a shared cache has for a thread.
const WAITING_FLOATS: usize = 1024 * 1024;

/// For each node, in order; never fewer than for the node before.
pub(super) fn together(graph: &Graph, most: usize) -> Vec<usize> {
    // What goes through this node and those behind, at most.
    let mut through: Vec<usize> = graph.nodes().iter().map(|node| floats_through(graph, node)).collect();
    let mut largest = 0;
    for floats in through.iter_mut().rev() {
        largest = largest.max(*floats);
        *floats = largest;
    }
    let mut together = 1;
    let nodes = graph.nodes().iter().zip(through);
    nodes
        .map(|(node, largest)| {
            let fitting = [16, 4, 1]
                .into_iter()
                .find(|items| items * largest <= WAITING_FLOATS)
                .unwrap_or(1);
            together = together.max(wanted(graph, node).min(fitting)).min(most);
            together
        })
        .collect()
}

/// How many items a node's weights are best read for at once.
fn wanted(graph: &Graph, node: &Node) -> usize {
    let id = match &node.op {
        Op::Convolution(convolution) => convolution.weight,
        Op::Linear(linear) => linear.weight,
        _ => return 1,
    };
    let weights = graph.constant(id).map_or(0, |constant| constant.data.len());
    match weights / floats_through(graph, node).max(1) {
        0..2 => 1,
        2..16 => 4,
        _ => 16,
    }
}

/// Numbers of an item that a node reads first and writes.
fn floats_through(graph: &Graph, node: &Node) -> usize {
    let input = values(&node.inputs).take(1).chain([node.output]);
    input
        .filter_map(|value| graph.shape(value).elements())
        .fold(0, usize::saturating_add)
}
