//! What exporters write piece by piece, and branches beside each other, for networks at random.

use super::net::Net;
use super::random::{Random, sizes, try_node};
use super::square;
use crate::graph::Operand;
use crate::op::{Activation, Binary, Convolution, Op, Reduction, Unary};

/// What exporters write piece by piece.
pub(super) fn pieces(net: &mut Net, random: &mut Random, x: Operand) -> Option<Operand> {
    let (half, one, three, sixth) = (net.number(0.5), net.number(1.0), net.number(3.0), net.number(1.0 / 6.0));
    let activation = random.pick(&[Activation::Sigmoid, Activation::Tanh]);
    Some(match random.below(5) {
        4 => return branches(net, random, x),
        0 => {
            let function = net.activation(activation, x);
            net.binary(Binary::Mul, x, function)
        }
        1 => {
            let root = net.number(std::f32::consts::FRAC_1_SQRT_2);
            let inner = net.binary(Binary::Mul, x, root);
            let erf = net.unary(Unary::Erf, inner);
            let sum = net.binary(Binary::Add, one, erf);
            let product = net.binary(Binary::Mul, sum, x);
            net.binary(Binary::Mul, product, half)
        }
        2 => {
            let sum = net.binary(Binary::Add, x, three);
            let clip = net.activation(Activation::Clip { low: 0.0, high: 6.0 }, sum);
            let sixth = net.binary(Binary::Mul, clip, sixth);
            let other = if random.holds() { x } else { sum };
            net.binary(Binary::Mul, other, sixth)
        }
        _ => {
            let rank = net.builder.shape(x).rank();
            let axes: Vec<usize> = (1..rank).skip(random.below(rank)).collect();
            let mean = reduce(net, Reduction::Mean, &axes, x)?;
            let centred = net.binary(Binary::Sub, x, mean);
            let squares = net.binary(Binary::Mul, centred, centred);
            let variance = reduce(net, Reduction::Mean, &axes, squares)?;
            let sum = net.binary(Binary::Add, variance, half);
            let root = net.unary(Unary::Sqrt, sum);
            net.binary(Binary::Div, centred, root)
        }
    })
}

/// A sum of convolutions of one map.
fn branches(net: &mut Net, random: &mut Random, x: Operand) -> Option<Operand> {
    let shape = net.builder.shape(x);
    let [_, channels, ..] = <[usize; 4]>::try_from(sizes(&shape)).ok()?;
    if shape.0[1].batched {
        return None;
    }
    let (groups, mut sum) = (random.pick(&[1, 2, channels]), None);
    for _ in 0..2 + random.below(2) {
        let pad = random.below(3);
        let branch = match random.below(4) {
            0 => net.scale(x, channels),
            _ => {
                let kernel = 2 * pad + 1;
                let weight = net.weight(&[channels, (channels / groups).max(1), kernel, kernel]);
                let conv = super::conv(weight, square(kernel, 1, pad));
                try_node(net, Op::Convolution(Convolution { groups, ..conv }), &[x])?
            }
        };
        sum = match sum {
            Some(sum) => Some(net.binary(Binary::Add, sum, branch)),
            None => Some(branch),
        };
    }
    sum
}

fn reduce(net: &mut Net, reduction: Reduction, axes: &[usize], x: Operand) -> Option<Operand> {
    let axes = axes.to_vec();
    try_node(
        net,
        Op::Reduce {
            reduction,
            axes,
            keep: true,
        },
        &[x],
    )
}
