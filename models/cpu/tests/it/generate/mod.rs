//! Random graphs.

mod maps;
mod tokens;

use millrace_graph::{Activation, Adaptive, Axis, Binary, Builder, Graph, Linear, Op, Operand, Shape};

use crate::random::Random;

/// What kinds of nodes a graph has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Maps: convolutions, pools, sums, concatenations, a head.
    Maps,
    /// Maps with many channels and 3 x 3 convolutions that keep their size: what Winograd's method takes.
    WideMaps,
    /// Convolutions in groups of many widths.
    Groups,
    /// Values of any rank: products, norms, views.
    Tokens,
}

/// A graph, its values, and its random numbers.
struct Growth {
    builder: Builder,
    values: Vec<Operand>,
    random: Random,
}

/// A graph of some nodes.
pub(crate) fn graph(seed: u64, kind: Kind) -> Graph {
    let mut random = Random::new(seed);
    let input = match kind {
        Kind::Maps => [random.pick(&[1, 3, 8, 17, 33]), random.from(1, 19), random.from(1, 19)].to_vec(),
        Kind::WideMaps => [random.from(32, 40), random.from(10, 15), random.from(10, 15)].to_vec(),
        Kind::Groups => [
            random.pick(&[12, 16, 24, 40, 48, 72]),
            random.from(1, 9),
            random.from(1, 9),
        ]
        .to_vec(),
        Kind::Tokens => [random.from(1, 21), random.pick(&[1, 7, 16, 24, 50])].to_vec(),
    };
    let builder = Builder::new("x", Shape::batch_of(&input));
    let values = vec![Operand::Value(builder.input())];
    let mut growth = Growth {
        builder,
        values,
        random,
    };
    let nodes = growth.random.from(1, 7);
    for _ in 0..nodes {
        match kind {
            Kind::Maps => growth.map_node(),
            Kind::WideMaps => {
                let operand = growth.any();
                growth.same_size(operand);
            }
            Kind::Groups => growth.groups(),
            Kind::Tokens => growth.token_node(),
        }
    }
    if kind == Kind::Maps && growth.random.one_in(2) {
        growth.head();
    }
    let last = growth.values[growth.values.len() - 1];
    let other = growth.any();
    for operand in [last, other] {
        if let Operand::Value(value) = operand {
            growth.builder.output("y", value);
        }
    }
    growth.builder.finish().unwrap()
}

impl Growth {
    /// The newest value most of the time.
    fn any(&mut self) -> Operand {
        let newest = self.values.len() - 1;
        let index = if self.random.one_in(3) {
            self.random.from(0, newest)
        } else {
            newest
        };
        self.values[index]
    }

    /// Whether the node fits.
    fn add(&mut self, op: Op, inputs: &[Operand]) -> bool {
        let node = self.builder.node("node", op, inputs);
        if let Ok(value) = node {
            let elements = self.builder.shape(Operand::Value(value)).elements().unwrap();
            // Larger ones are left as they are: the interpreter is slow.
            if elements < 40_000 {
                self.values.push(Operand::Value(value));
            }
        }
        node.is_ok()
    }

    fn sizes(&self, operand: Operand) -> Vec<usize> {
        self.builder.shape(operand).0.iter().map(|axis| axis.size).collect()
    }

    fn constant(&mut self, shape: &[usize], scale: f32) -> millrace_graph::ConstantId {
        let data = self.random.floats(shape.iter().product());
        let data: Vec<f32> = data.into_iter().map(|float| float * scale).collect();
        self.builder.constant("c", shape, data).unwrap()
    }

    fn activation(&mut self) -> Activation {
        self.random.pick(&Activation::EACH)
    }

    fn maybe_activation(&mut self) -> Option<Activation> {
        self.random.one_in(2).then(|| self.activation())
    }

    fn binary(&mut self, operand: Operand) {
        let op = self.random.pick(&[
            Binary::Add,
            Binary::Sub,
            Binary::Mul,
            Binary::Max,
            Binary::Min,
            Binary::Less,
            Binary::LeakyBySlope,
        ]);
        let sizes = self.sizes(operand);
        // Two values may be the same but for roundings, and one of them less.
        let kinds = if op == Binary::Less { [1, 2] } else { [0, 3] };
        let other = match self.random.from(kinds[0], kinds[1]) {
            0 => self.any(),
            1 => {
                // Broadcast: each axis is kept or 1.
                let mut shape: Vec<usize> = sizes
                    .iter()
                    .map(|size| if self.random.one_in(2) { *size } else { 1 })
                    .collect();
                shape[0] = 1;
                Operand::Constant(self.constant(&shape, 1.0))
            }
            2 => Operand::Constant(self.constant(&[1], 1.0)),
            _ => match sizes.as_slice() {
                // What squeeze and excitation multiplies with.
                [_, _, _, _] => {
                    self.add(Op::AdaptiveAverage(Adaptive { out: [1, 1] }), &[operand]);
                    self.values[self.values.len() - 1]
                }
                _ => self.any(),
            },
        };
        let swapped = self.random.one_in(3);
        self.add(
            Op::Binary(op),
            &if swapped { [other, operand] } else { [operand, other] },
        );
    }

    fn slice(&mut self, operand: Operand) {
        let shape = self.builder.shape(operand);
        let (mut starts, mut steps, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for axis in &shape.0 {
            if axis.batched || self.random.one_in(2) {
                starts.push(0);
                steps.push(1);
                lengths.push(*axis);
                continue;
            }
            let start = self.random.from(0, axis.size - 1);
            let backwards = self.random.one_in(4);
            let step = self.random.from(1, 2);
            let room = if backwards { start } else { axis.size - 1 - start };
            starts.push(start);
            steps.push(if backwards { -(step as isize) } else { step as isize });
            lengths.push(Axis::fixed(room / step + 1));
        }
        self.add(
            Op::Slice {
                starts,
                steps,
                shape: Shape(lengths),
            },
            &[operand],
        );
    }

    fn linear(&mut self, operand: Operand) {
        let inputs = *self.sizes(operand).last().unwrap();
        let outputs = self.random.pick(&[1, 5, 16, 33, 100]);
        let scale = (inputs as f32).sqrt().recip();
        let linear = Linear {
            weight: self.constant(&[inputs, outputs], scale),
            bias: self.random.one_in(2).then(|| self.constant(&[outputs], 0.5)),
            residual: false,
            activation: self.maybe_activation(),
        };
        let residual = self.any();
        if !self.add(
            Op::Linear(Linear {
                residual: true,
                ..linear.clone()
            }),
            &[operand, residual],
        ) {
            self.add(Op::Linear(linear), &[operand]);
        }
    }
}
