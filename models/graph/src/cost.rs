//! What a node costs: for the limits, and for what is said of a network.

use crate::graph::{Graph, Operand};
use crate::op::{Interpolation, Op};
use crate::shape::Shape;

/// Multiply-adds of one item: those of convolutions and products of matrices, as everybody counts them. Saturates.
pub(crate) fn multiply_adds(graph: &Graph, op: &Op, inputs: &[Operand], output: &Shape) -> u64 {
    let out = elements(output);
    // A weight's numbers without its first axis: what is under one window.
    let depth = |weight| {
        let shape = graph
            .constant(weight)
            .map(|constant| constant.shape.as_slice())
            .unwrap_or_default();
        shape
            .iter()
            .skip(1)
            .fold(1_u64, |product, axis| product.saturating_mul(*axis as u64))
    };
    match op {
        Op::Convolution(conv) => out.saturating_mul(depth(conv.weight)),
        // Each number of the map meets each number of the kernels of its channel.
        Op::TransposedConvolution(conv) => first(graph, inputs).saturating_mul(depth(conv.weight)),
        Op::Linear(linear) => {
            let features = graph
                .constant(linear.weight)
                .and_then(|weight| weight.shape.first().copied());
            out.saturating_mul(features.unwrap_or(1) as u64)
        }
        Op::MatMul => {
            let inner = inputs
                .first()
                .and_then(|left| graph.shape_of(*left).0.last().map(|axis| axis.size));
            out.saturating_mul(inner.unwrap_or(1) as u64)
        }
        _ => 0,
    }
}

/// Steps of one item, at least one for each number that is read or written. Saturates.
pub(crate) fn work(graph: &Graph, op: &Op, inputs: &[Operand], output: &Shape) -> u64 {
    let out = elements(output);
    let steps = match op {
        Op::Pool(pool) => {
            let [height, width] = pool.window.kernel;
            out.saturating_mul((height as u64).saturating_mul(width as u64))
        }
        Op::LocalResponseNorm(norm) => {
            let channels = inputs
                .first()
                .and_then(|x| graph.shape_of(*x).0.get(1).map(|axis| axis.size));
            out.saturating_mul(norm.size.min(channels.unwrap_or(1)) as u64)
        }
        Op::Resize(resize) => out.saturating_mul(match resize.interpolation {
            Interpolation::Nearest(_) => 1,
            Interpolation::Linear => 4,
            Interpolation::Cubic { .. } => 16,
        }),
        // The parts of an adaptive pool overlap by less than a row and a column on each side.
        Op::AdaptiveAverage(_) => first(graph, inputs).saturating_add(out.saturating_mul(4)),
        _ => multiply_adds(graph, op, inputs, output),
    };
    let read = inputs.iter().fold(0_u64, |sum, input| {
        sum.saturating_add(elements(&graph.shape_of(*input)))
    });
    steps.max(read).max(out)
}

fn first(graph: &Graph, inputs: &[Operand]) -> u64 {
    inputs.first().map_or(1, |input| elements(&graph.shape_of(*input)))
}

fn elements(shape: &Shape) -> u64 {
    shape.elements().unwrap_or(usize::MAX) as u64
}
