//! What is said of a network: how much it holds and computes.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost;
use crate::graph::{ConstantId, Graph, Operand};
use crate::lifetimes::Lifetimes;
use crate::op::{Op, Window};

/// Figures of a graph; those that depend on the batch are for one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistics {
    /// Numbers in constants that are used.
    pub parameters: u64,
    /// The largest constant's.
    pub largest_parameters: u64,
    /// Multiply-adds of convolutions and products of matrices.
    pub multiply_adds: u64,
    /// Most numbers in values that are there at once.
    pub peak_elements: usize,
    /// Most numbers under one window of a convolution, with those that come out of it.
    pub window_elements: u64,
    /// How many nodes there are of each operator.
    pub operators: BTreeMap<&'static str, usize>,
}

impl Graph {
    /// The graph's figures.
    pub fn statistics(&self) -> Statistics {
        let mut used: BTreeSet<ConstantId> = BTreeSet::new();
        let (mut multiply_adds, mut window_elements) = (0_u64, 0_u64);
        let mut operators = BTreeMap::new();
        for node in self.nodes() {
            used.extend(node.op.constants());
            used.extend(node.inputs.iter().filter_map(|operand| match operand {
                Operand::Constant(id) => Some(*id),
                Operand::Value(_) => None,
            }));
            let own = cost::multiply_adds(self, &node.op, &node.inputs, self.shape(node.output));
            multiply_adds = multiply_adds.saturating_add(own);
            window_elements = window_elements.max(self.under(&node.op));
            *operators.entry(node.op.name()).or_insert(0) += 1;
        }
        let numbers = |id: &ConstantId| self.constant(*id).map_or(0, |constant| constant.data.len() as u64);
        Statistics {
            parameters: used.iter().map(numbers).sum(),
            largest_parameters: used.iter().map(numbers).max().unwrap_or(0),
            multiply_adds,
            peak_elements: Lifetimes::of(self).peak_elements(),
            window_elements,
            operators,
        }
    }

    /// Numbers under a window, and those that come out there.
    fn under(&self, op: &Op) -> u64 {
        let area = |window: &Window| {
            window
                .kernel
                .iter()
                .fold(1_u64, |area, axis| area.saturating_mul(*axis as u64))
        };
        let weight = |id: ConstantId| {
            self.constant(id)
                .map(|weight| weight.shape.as_slice())
                .unwrap_or_default()
        };
        match op {
            Op::Convolution(conv) => match weight(conv.weight) {
                [out, depth, ..] => {
                    let out = out.checked_div(conv.groups).unwrap_or(*out) as u64;
                    area(&conv.window).saturating_mul(*depth as u64).saturating_add(out)
                }
                _ => 0,
            },
            Op::TransposedConvolution(conv) => match weight(conv.weight) {
                [depth, out, ..] => {
                    let depth = depth.checked_div(conv.groups).unwrap_or(*depth) as u64;
                    area(&conv.window).saturating_mul(*out as u64).saturating_add(depth)
                }
                _ => 0,
            },
            Op::Pool(pool) => area(&pool.window),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::Operand;
    use crate::op::Op;
    use crate::testing::{constant, conv, linear, relu, shape, square, with};

    #[test]
    fn a_small_network() {
        let (mut builder, operands) = with(&["N 3 8 8"]);
        let weight = constant(&mut builder, &[4, 3, 3, 3]);
        let mut value = builder
            .node("conv", Op::Convolution(conv(weight, square(3, 1, 1))), &operands)
            .unwrap();
        for op in [relu(), Op::Reshape(shape("N 256"))] {
            value = builder.node("node", op, &[Operand::Value(value)]).unwrap();
        }
        let weight = constant(&mut builder, &[256, 10]);
        constant(&mut builder, &[1000]);
        value = builder
            .node("linear", Op::Linear(linear(weight)), &[Operand::Value(value)])
            .unwrap();
        builder.output("y", value);
        let found = builder.finish().unwrap().statistics();
        assert_eq!(found.parameters, 108 + 2560);
        assert_eq!(found.largest_parameters, 2560);
        assert_eq!(found.multiply_adds, 4 * 64 * 27 + 2560);
        assert_eq!(found.peak_elements, 512);
        assert_eq!(found.window_elements, 27 + 4);
        let names: Vec<_> = found.operators.into_iter().collect();
        assert_eq!(names, [("conv", 1), ("linear", 1), ("relu", 1), ("reshape", 1)]);
    }
}
