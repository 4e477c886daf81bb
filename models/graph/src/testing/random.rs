//! Networks at random, the same for the same seed.

use super::net::Net;
use super::pieces::pieces;
use super::{pool, square};
use crate::graph::{Graph, Operand};
use crate::op::{
    Activation, Adaptive, Binary, Convolution, Coordinates, GroupNorm, Interpolation, LayerNorm, LocalResponseNorm, Op,
    PadMode, PoolKind, Reduction, Resize, TransposedConvolution, Unary, Window,
};
use crate::shape::{Axis, Shape};

/// Numbers at random.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        // Marsaglia's xorshift, with a multiplication.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(super) fn holds(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// A graph of some twenty nodes. `smooth`: without functions that jump, where rounding would change everything.
pub(crate) fn graph(seed: u64, smooth: bool) -> Graph {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let input = random.pick(&["N 4 6 6", "N 4 6 6", "N 6 8", "N 2 3 4 2", "N 8", "2N 3 5"]);
    let mut net = Net::new(input);
    let mut values = vec![net.x];
    let nodes = 8 + random.below(20);
    for _ in 0..nodes * 4 {
        if values.len() > nodes {
            break;
        }
        // Recent ones more often: deep networks rather than wide ones.
        let back = random.below(values.len()).min(random.below(values.len()));
        let x = values[values.len() - 1 - back];
        let shape = net.builder.shape(x);
        if shape.elements().unwrap() > 2000 {
            continue;
        }
        let found = step(&mut net, &mut random, x, &shape, &values, smooth);
        values.extend(found);
    }
    let last = *values.last().unwrap();
    let other = values[random.below(values.len())];
    match random.holds() {
        true => net.ends(&[last]),
        false => net.ends(&[last, other]),
    }
}

/// One more value; nothing where what was drawn does not fit.
fn step(
    net: &mut Net,
    random: &mut Random,
    x: Operand,
    shape: &Shape,
    values: &[Operand],
    smooth: bool,
) -> Option<Operand> {
    let other = values[random.below(values.len())];
    let (op, inputs) = match random.below(13) {
        0 => (window(net, random, shape)?, vec![x]),
        1 => return affine(net, random, x, shape),
        2 => return pieces(net, random, x),
        3 => {
            let binary = random.pick(&[
                Binary::Add,
                Binary::Add,
                Binary::Sub,
                Binary::Mul,
                Binary::Max,
                Binary::Min,
            ]);
            let binary = if smooth {
                binary
            } else {
                random.pick(&[binary, Binary::Less, Binary::Equal, Binary::Mod])
            };
            (Op::Binary(binary), vec![x, other])
        }
        4 => (Op::Unary(unary(random, smooth)), vec![x]),
        5 => return product(net, random, x, shape, other),
        6 => (norm(net, random, shape)?, vec![x]),
        7 => (reduction(random, shape, smooth), vec![x]),
        8 => (Op::Reshape(reshaped(random, shape)), vec![x]),
        9 => {
            let mut order: Vec<usize> = (0..shape.rank()).collect();
            (0..3).for_each(|_| order.swap(random.below(shape.rank()), random.below(shape.rank())));
            (Op::Transpose(order), vec![x])
        }
        10 => (moved(random, shape), vec![x]),
        11 => (
            Op::Concat {
                axis: random.below(shape.rank()),
            },
            vec![x, other],
        ),
        _ => return known(net, random, x, shape),
    };
    try_node(net, op, &inputs)
}

pub(super) fn try_node(net: &mut Net, op: Op, inputs: &[Operand]) -> Option<Operand> {
    let name = op.name();
    net.builder.node(name, op, inputs).ok().map(Operand::Value)
}

pub(super) fn sizes(shape: &Shape) -> Vec<usize> {
    shape.0.iter().map(|axis| axis.size).collect()
}

fn any_window(random: &mut Random) -> Window {
    let mut pair = |most: usize| [random.below(most), random.below(most)];
    Window {
        kernel: pair(3).map(|kernel| kernel + 1),
        stride: pair(2).map(|stride| stride + 1),
        dilation: pair(2).map(|dilation| dilation + 1),
        before: pair(2),
        after: pair(2),
    }
}

fn window(net: &mut Net, random: &mut Random, shape: &Shape) -> Option<Op> {
    let [_, channels, height, width] = <[usize; 4]>::try_from(sizes(shape)).ok()?;
    let window = any_window(random);
    let [kernel_height, kernel_width] = window.kernel;
    Some(match random.below(6) {
        0 | 1 => {
            let groups = random.pick(&[1, 2, channels]);
            let weight = net.weight(&[4, (channels / groups).max(1), kernel_height, kernel_width]);
            let bias = random.holds().then(|| net.numbers(&[4]));
            Op::Convolution(Convolution {
                groups,
                bias,
                ..super::conv(weight, window)
            })
        }
        2 => {
            let weight = net.weight(&[channels, 2, kernel_height, kernel_width]);
            let groups = random.pick(&[1, 2]);
            let conv = super::transposed(weight, window);
            Op::TransposedConvolution(TransposedConvolution {
                groups,
                output_padding: [random.below(2), 0],
                ..conv
            })
        }
        3 => {
            let counting = PoolKind::AverageWithPadding { counted: window.after };
            pool(random.pick(&[PoolKind::Max, PoolKind::Average, counting]), window)
        }
        4 => match random.holds() {
            true => Op::AdaptiveAverage(Adaptive {
                out: [1 + random.below(2), 1],
            }),
            false => pool(
                PoolKind::Average,
                Window {
                    kernel: [height, width],
                    ..square(1, 1, 0)
                },
            ),
        },
        _ => {
            let cubic = Interpolation::Cubic {
                coefficient: -0.75,
                exclude_outside: random.holds(),
            };
            Op::Resize(Resize {
                out: [height + 1, width],
                scale: [(height + 1) as f32 / height as f32, 1.0],
                interpolation: random.pick(&[Interpolation::Linear, cubic]),
                coordinates: random.pick(&[Coordinates::HalfPixel, Coordinates::AlignCorners]),
            })
        }
    })
}

/// A scale, or a sum or product with a constant.
fn affine(net: &mut Net, random: &mut Random, x: Operand, shape: &Shape) -> Option<Operand> {
    let axis = random.below(shape.rank());
    let Axis { size, batched } = shape.0[axis];
    if axis == 1 && !batched && random.holds() {
        return Some(net.scale(x, size));
    }
    let mut lengths = vec![1; shape.rank() - axis];
    lengths[0] = if batched { 1 } else { size };
    let constant = match random.below(4) {
        0 => net.number(random.pick(&[0.0, 1.0, 0.5, -2.0])),
        _ => net.constant(&lengths),
    };
    let binary = random.pick(&[Binary::Add, Binary::Sub, Binary::Mul]);
    match random.below(4) {
        0 => try_node(net, Op::Binary(Binary::Div), &[x, constant]),
        1 => try_node(net, Op::Binary(binary), &[constant, x]),
        _ => try_node(net, Op::Binary(binary), &[x, constant]),
    }
}

fn unary(random: &mut Random, smooth: bool) -> Unary {
    let activation = random.pick(&[
        Activation::Relu,
        Activation::Relu,
        Activation::Clip { low: 0.0, high: 6.0 },
        Activation::Clip {
            low: -1.0,
            high: f32::INFINITY,
        },
        Activation::LeakyRelu { slope: 0.1 },
        Activation::Sigmoid,
        Activation::Silu,
        Activation::HardSwish,
        Activation::Gelu,
        Activation::Tanh,
        Activation::Elu { alpha: 0.5 },
        Activation::Mish,
    ]);
    let smooth_one = random.pick(&[
        Unary::Activation(activation),
        Unary::Activation(activation),
        Unary::Softplus,
        Unary::Abs,
    ]);
    match smooth {
        true => smooth_one,
        false => random.pick(&[smooth_one, Unary::Floor, Unary::Sign, Unary::Not, Unary::Round]),
    }
}

fn product(net: &mut Net, random: &mut Random, x: Operand, shape: &Shape, other: Operand) -> Option<Operand> {
    let last = *shape.0.last()?;
    match random.below(4) {
        0 => try_node(net, Op::MatMul, &[x, other]),
        1 => {
            let mut lengths = vec![1; shape.rank().checked_sub(2)?];
            lengths.extend([last.size, 3]);
            let weight = net.constant(&lengths);
            try_node(net, Op::MatMul, &[x, weight])
        }
        _ if last.batched => None,
        _ => {
            let bias = random.holds();
            Some(net.linear(x, [last.size, 4], bias))
        }
    }
}

fn norm(net: &mut Net, random: &mut Random, shape: &Shape) -> Option<Op> {
    let channels = sizes(shape).get(1).copied()?;
    Some(match random.below(3) {
        0 => Op::LayerNorm(LayerNorm {
            axes: 1 + random.below(2),
            epsilon: 0.1,
            scale: None,
            shift: None,
        }),
        1 => {
            let scale = random.holds().then(|| net.numbers(&[channels]));
            Op::GroupNorm(GroupNorm {
                groups: random.pick(&[1, 2, channels]),
                epsilon: 0.1,
                scale,
                shift: None,
            })
        }
        _ => Op::LocalResponseNorm(LocalResponseNorm {
            size: 1 + random.below(4),
            alpha: 0.1,
            beta: 0.75,
            bias: 1.0,
        }),
    })
}

fn reduction(random: &mut Random, shape: &Shape, smooth: bool) -> Op {
    let axis = random.below(shape.rank());
    let axes = if random.holds() {
        vec![axis]
    } else {
        (axis..shape.rank()).collect()
    };
    let reduction = random.pick(&[
        Reduction::Mean,
        Reduction::Mean,
        Reduction::Max,
        Reduction::L2,
        Reduction::LogOfSumOfExp,
    ]);
    match random.below(3) {
        0 => Op::Softmax {
            axis,
            log: random.holds(),
        },
        1 if !smooth => Op::ArgExtreme {
            smallest: random.holds(),
            axis,
            keep: random.holds(),
            last: random.holds(),
        },
        _ => Op::Reduce {
            reduction,
            axes,
            keep: random.holds(),
        },
    }
}

/// Two neighbouring axes made one, or one made two.
fn reshaped(random: &mut Random, shape: &Shape) -> Shape {
    let at = random.below(shape.rank());
    let mut axes = shape.0.clone();
    match axes.get(at + 1).copied() {
        Some(next) if random.holds() => {
            let own = axes[at];
            axes[at] = Axis {
                size: own.size * next.size,
                batched: own.batched || next.batched,
            };
            axes.remove(at + 1);
        }
        _ => {
            let own = axes[at];
            let part = if own.size.is_multiple_of(2) { 2 } else { 1 };
            let (outer, inner) = if random.holds() {
                (part, own.size / part)
            } else {
                (own.size / part, part)
            };
            let batched_first = random.holds();
            axes[at] = Axis {
                size: outer,
                batched: own.batched && batched_first,
            };
            axes.insert(
                at + 1,
                Axis {
                    size: inner,
                    batched: own.batched && !batched_first,
                },
            );
        }
    }
    Shape(axes)
}

/// Slices, pads, picks.
fn moved(random: &mut Random, shape: &Shape) -> Op {
    let (rank, at) = (shape.rank(), random.below(shape.rank()));
    let length = shape.0[at].size;
    let zeros = vec![0; rank];
    let mut target = shape.clone();
    match random.below(4) {
        0 => {
            let (mut starts, mut steps) = (zeros, vec![1; rank]);
            starts[at] = length - 1;
            steps[at] = -1;
            if random.holds() {
                starts[at] = length / 2;
                steps[at] = 1;
                target.0[at].size = length - length / 2;
            }
            Op::Slice {
                starts,
                steps,
                shape: target,
            }
        }
        1 | 2 => {
            let (mut before, mut after) = (zeros.clone(), zeros);
            for own in (at..rank).filter(|own| *own + 2 >= rank) {
                before[own] = random.below(2);
                after[own] = random.below(2);
            }
            let zero = PadMode::Constant(0.0);
            let mode = random.pick(&[
                zero,
                zero,
                PadMode::Constant(f32::NEG_INFINITY),
                PadMode::Edge,
                PadMode::Reflect,
            ]);
            let mode = if mode == PadMode::Constant(f32::NEG_INFINITY) && rank != 4 {
                zero
            } else {
                mode
            };
            Op::Pad { before, after, mode }
        }
        _ => {
            let indices: Vec<usize> = (0..2).map(|_| random.below(length)).collect();
            Op::Gather {
                axis: at,
                indices,
                shape: vec![2],
            }
        }
    }
}

/// Constants that are computed, and something with them.
fn known(net: &mut Net, random: &mut Random, x: Operand, shape: &Shape) -> Option<Operand> {
    let lengths: Vec<usize> = shape
        .0
        .iter()
        .map(|axis| if axis.batched { 1 } else { axis.size })
        .collect();
    let (one, other) = (net.constant(&lengths), net.number(0.5));
    let constant = try_node(net, Op::Binary(random.pick(&[Binary::Mul, Binary::Sub])), &[one, other])?;
    match random.below(3) {
        0 => try_node(net, Op::Select, &[constant, x, other]),
        1 => try_node(net, Op::Expand(shape.clone()), &[constant]),
        _ => try_node(net, Op::Binary(Binary::Add), &[constant, x]),
    }
}
