//! Nodes over values of any rank, and those that have no kernel.

use millrace_graph::{Axis, GroupNorm, LayerNorm, Op, Operand, PadMode, Reduction, Shape, Unary};

use super::Growth;

impl Growth {
    pub(super) fn token_node(&mut self) {
        let operand = self.any();
        let sizes = self.sizes(operand);
        let last = *sizes.last().unwrap();
        match self.random.from(0, 13) {
            0 | 1 => self.linear(operand),
            2 => {
                let (axis, log) = (self.random.from(0, sizes.len() - 1), self.random.one_in(3));
                self.add(Op::Softmax { axis, log }, &[operand]);
            }
            3 => {
                let (scale, shift) = (self.constant(&[last], 1.0), self.constant(&[last], 1.0));
                let norm = LayerNorm {
                    axes: 1,
                    epsilon: 1e-5,
                    scale: Some(scale),
                    shift: Some(shift),
                };
                self.add(Op::LayerNorm(norm), &[operand]);
            }
            4 | 5 => {
                let mut order: Vec<usize> = (0..sizes.len()).collect();
                for index in 0..order.len() {
                    let other = self.random.from(0, index);
                    order.swap(index, other);
                }
                self.add(Op::Transpose(order), &[operand]);
            }
            6 | 7 => self.product(operand),
            8 => self.slice(operand),
            9 => self.binary(operand),
            10 | 11 => self.reshape(operand),
            12 => {
                let axis = self.random.from(0, sizes.len() - 1);
                let indices = (0..self.random.from(1, 3))
                    .map(|_| self.random.from(0, sizes[axis] - 1))
                    .collect::<Vec<_>>();
                let shape = if indices.len() == 1 && self.random.one_in(2) {
                    vec![]
                } else {
                    vec![indices.len()]
                };
                self.add(Op::Gather { axis, indices, shape }, &[operand]);
            }
            _ => self.rare(operand),
        }
    }

    /// A product with another value, or with itself transposed.
    fn product(&mut self, operand: Operand) {
        let rank = self.sizes(operand).len();
        if rank < 2 {
            return;
        }
        let other = self.any();
        if !self.add(Op::MatMul, &[operand, other]) {
            let mut order: Vec<usize> = (0..rank).collect();
            order.swap(rank - 1, rank - 2);
            if self.add(Op::Transpose(order), &[operand]) {
                let transposed = self.values[self.values.len() - 1];
                self.add(Op::MatMul, &[operand, transposed]);
            }
        }
    }

    /// Splits an axis, or joins two.
    fn reshape(&mut self, operand: Operand) {
        let mut axes = self.builder.shape(operand).0;
        let index = self.random.from(0, axes.len() - 1);
        let axis = axes[index];
        if self.random.one_in(2) && index + 1 < axes.len() {
            let next = axes.remove(index + 1);
            axes[index] = Axis {
                size: axis.size * next.size,
                batched: axis.batched || next.batched,
            };
        } else {
            let factors: Vec<usize> = (1..=axis.size)
                .filter(|factor| axis.size.is_multiple_of(*factor))
                .collect();
            let factor = self.random.pick(&factors);
            axes[index] = Axis {
                size: axis.size / factor,
                ..axis
            };
            axes.insert(index + 1, Axis::fixed(factor));
        }
        self.add(Op::Reshape(Shape(axes)), &[operand]);
    }

    /// What has no kernel.
    fn rare(&mut self, operand: Operand) {
        let sizes = self.sizes(operand);
        let rank = sizes.len();
        let op = match self.random.from(0, 5) {
            0 => Op::Unary(
                self.random
                    .pick(&[Unary::Abs, Unary::Softplus, Unary::Erf, Unary::Sign, Unary::Cos]),
            ),
            1 => Op::Pad {
                before: vec![0; rank],
                after: vec![1; rank],
                mode: self.random.pick(&[PadMode::Edge, PadMode::Constant(0.5)]),
            },
            2 => Op::ArgExtreme {
                smallest: false,
                axis: rank - 1,
                keep: true,
                last: false,
            },
            3 => Op::Reduce {
                reduction: Reduction::Max,
                axes: vec![rank - 1],
                keep: false,
            },
            4 => {
                let channels = sizes.get(1).copied().unwrap_or(1);
                let scale = self.constant(&[channels], 1.0);
                Op::GroupNorm(GroupNorm {
                    groups: 1,
                    epsilon: 1e-5,
                    scale: Some(scale),
                    shift: None,
                })
            }
            _ => Op::Reduce {
                reduction: Reduction::Mean,
                axes: vec![rank - 1],
                keep: true,
            },
        };
        self.add(op, &[operand]);
    }
}
