//! Random graphs.

use millrace_graph::{
    Activation, Adaptive, Axis, Binary, Builder, Convolution, Graph, GroupNorm, LayerNorm, Linear, Op, Operand,
    PadMode, Pool, PoolKind, Reduction, Shape, Unary, Window,
};

use crate::random::Random;

/// What kinds of nodes a graph has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Maps: convolutions, pools, sums, concatenations, a head.
    Maps,
    /// Maps with many channels and 3 x 3 convolutions that keep their size: what Winograd's method takes.
    WideMaps,
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
        self.random.pick(&[
            Activation::Relu,
            Activation::Clip { low: -0.5, high: 0.75 },
            Activation::LeakyRelu { slope: 0.1 },
            Activation::Sigmoid,
            Activation::Silu,
            Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
            Activation::HardSwish,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Tanh,
            Activation::Elu { alpha: 1.5 },
            Activation::Mish,
        ])
    }

    fn maybe_activation(&mut self) -> Option<Activation> {
        self.random.one_in(2).then(|| self.activation())
    }

    fn window(&mut self, kernel_max: usize) -> Window {
        let square = self.random.one_in(2);
        let random = &mut self.random;
        let mut pair = |low, high| {
            let first = random.from(low, high);
            [first, if square { first } else { random.from(low, high) }]
        };
        Window {
            kernel: pair(1, kernel_max),
            stride: pair(1, 3),
            dilation: pair(1, 2),
            before: pair(0, 2),
            after: pair(0, 2),
        }
    }

    fn map_node(&mut self) {
        let operand = self.any();
        match self.random.from(0, 11) {
            0..=4 => self.convolution(operand),
            5 => self.pool(operand),
            6 => {
                let out = [self.random.from(1, 4), self.random.from(1, 4)];
                self.add(Op::AdaptiveAverage(Adaptive { out }), &[operand]);
            }
            7 => {
                let channels = self.sizes(operand)[1];
                let (factor, shift) = (self.constant(&[channels], 1.0), self.constant(&[channels], 1.0));
                self.add(Op::Scale { factor, shift }, &[operand]);
            }
            8 => {
                let activation = self.activation();
                self.add(Op::Unary(Unary::Activation(activation)), &[operand]);
            }
            9 => self.binary(operand),
            10 => {
                let other = self.any();
                self.add(Op::Concat { axis: 1 }, &[operand, other, operand]);
            }
            _ => self.slice(operand),
        }
    }

    fn convolution(&mut self, operand: Operand) {
        let channels = self.sizes(operand)[1];
        let divisors: Vec<usize> = (1..=channels)
            .filter(|groups| channels.is_multiple_of(*groups))
            .collect();
        let groups = if self.random.one_in(3) {
            self.random.pick(&divisors)
        } else {
            1
        };
        let depthwise = groups == channels;
        let out = if depthwise {
            channels
        } else {
            groups * self.random.pick(&[1, 3, 8, 11, 16, 32, 40])
        };
        if out > 200 {
            return;
        }
        let mut window = self.window(4);
        if self.random.one_in(3) {
            // What Winograd's method takes.
            window = Window {
                kernel: [3; 2],
                stride: [1; 2],
                dilation: [1; 2],
                ..window
            };
        }
        let [height, width] = window.kernel;
        let fan = (channels / groups * height * width) as f32;
        let convolution = Convolution {
            weight: self.constant(&[out, channels / groups, height, width], fan.sqrt().recip()),
            bias: self.random.one_in(2).then(|| self.constant(&[out], 0.5)),
            window,
            groups,
            residual: false,
            activation: self.maybe_activation(),
        };
        let with_residual = Op::Convolution(Convolution {
            residual: true,
            ..convolution.clone()
        });
        let residual = self.any();
        if !self.add(with_residual, &[operand, residual]) {
            self.add(Op::Convolution(convolution), &[operand]);
        }
    }

    /// A convolution that keeps height and width, and a residual where one fits.
    fn same_size(&mut self, operand: Operand) {
        let channels = self.sizes(operand)[1];
        let out = if self.random.one_in(2) {
            channels
        } else {
            self.random.from(32, 40)
        };
        let convolution = Convolution {
            weight: self.constant(&[out, channels, 3, 3], (channels as f32 * 9.0).sqrt().recip()),
            bias: Some(self.constant(&[out], 0.5)),
            window: Window {
                kernel: [3; 2],
                stride: [1; 2],
                dilation: [1; 2],
                before: [1; 2],
                after: [1; 2],
            },
            groups: 1,
            residual: true,
            activation: self.maybe_activation(),
        };
        let residual = self.any();
        if !self.add(Op::Convolution(convolution.clone()), &[operand, residual]) {
            self.add(
                Op::Convolution(Convolution {
                    residual: false,
                    ..convolution
                }),
                &[operand],
            );
        }
    }

    fn pool(&mut self, operand: Operand) {
        let window = self.window(4);
        let counted = [
            self.random.from(0, window.after[0]),
            self.random.from(0, window.after[1]),
        ];
        let kind = self.random.pick(&[
            PoolKind::Max,
            PoolKind::Average,
            PoolKind::AverageWithPadding { counted },
        ]);
        self.add(Op::Pool(Pool { kind, window }), &[operand]);
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
        let other = match self.random.from(0, 3) {
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

    /// A classifier's: pool or not, flatten, linear layers.
    fn head(&mut self) {
        if self.random.one_in(2) {
            let newest = self.values[self.values.len() - 1];
            let keep = self.random.one_in(2);
            self.add(
                Op::Reduce {
                    reduction: Reduction::Mean,
                    axes: vec![2, 3],
                    keep,
                },
                &[newest],
            );
        }
        let newest = self.values[self.values.len() - 1];
        let elements = self.builder.shape(newest).elements().unwrap();
        self.add(Op::Reshape(Shape::batch_of(&[elements])), &[newest]);
        for _ in 0..self.random.from(1, 2) {
            let newest = self.values[self.values.len() - 1];
            self.linear(newest);
        }
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

    fn token_node(&mut self) {
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
                mode: PadMode::Edge,
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
