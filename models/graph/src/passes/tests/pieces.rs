//! What exporters write piece by piece.

use super::check;

use crate::graph::Operand;
use crate::op::{Activation, Binary, GroupNorm, Op, Unary};
use crate::testing::net::Net;

/// The scalar first or last, as `first` says.
pub(super) fn with_number(net: &mut Net, binary: Binary, x: Operand, number: f32, first: bool) -> Operand {
    let number = net.number(number);
    match first {
        true => net.binary(binary, number, x),
        false => net.binary(binary, x, number),
    }
}

#[test]
fn gelu() {
    let mut net = Net::new("N 7");
    let x = net.x;
    let mut outputs = Vec::new();
    // As the older exporter writes it: x · (erf(x / sqrt 2) + 1) · 0.5.
    let inner = with_number(&mut net, Binary::Div, x, std::f32::consts::SQRT_2, false);
    let erf = net.unary(Unary::Erf, inner);
    let sum = with_number(&mut net, Binary::Add, erf, 1.0, false);
    let product = net.binary(Binary::Mul, x, sum);
    outputs.push(with_number(&mut net, Binary::Mul, product, 0.5, false));
    // As the newer one does: (0.5 · x) · (1 + erf(x · 0.7071)).
    let inner = with_number(&mut net, Binary::Mul, x, std::f32::consts::FRAC_1_SQRT_2, true);
    let erf = net.unary(Unary::Erf, inner);
    let sum = with_number(&mut net, Binary::Add, erf, 1.0, true);
    let half = with_number(&mut net, Binary::Mul, x, 0.5, false);
    outputs.push(net.binary(Binary::Mul, sum, half));
    // Another constant: no GELU.
    let inner = with_number(&mut net, Binary::Mul, x, 0.8, true);
    let erf = net.unary(Unary::Erf, inner);
    let sum = with_number(&mut net, Binary::Add, erf, 1.0, true);
    outputs.push(net.binary(Binary::Mul, sum, half));
    check("gelu", net, &outputs);
}

#[test]
fn gelu_by_tanh() {
    let mut net = Net::new("N 7");
    // What is activated is a sum itself.
    let x = net.x;
    let more = net.activation(Activation::Sigmoid, x);
    let x = net.binary(Binary::Add, x, more);
    let mut outputs = Vec::new();
    let root = 0.797_884_6;
    // sqrt(2/pi) · (x + 0.044715 · x^3).
    let three = net.number(3.0);
    let cube = net.binary(Binary::Pow, x, three);
    let square = net.binary(Binary::Mul, x, x);
    let other_cube = net.binary(Binary::Mul, square, x);
    for cube in [cube, other_cube] {
        let small = with_number(&mut net, Binary::Mul, cube, 0.044_715, cube == other_cube);
        let sum = net.binary(Binary::Add, x, small);
        let inner = with_number(&mut net, Binary::Mul, sum, root, false);
        let tanh = net.activation(Activation::Tanh, inner);
        let sum = with_number(&mut net, Binary::Add, tanh, 1.0, true);
        let half = with_number(&mut net, Binary::Mul, x, 0.5, true);
        outputs.push(net.binary(Binary::Mul, half, sum));
    }
    // x · sqrt(2/pi) · (1 + 0.044715 · x · x).
    let inner = with_number(&mut net, Binary::Mul, square, 0.044_715, true);
    let inner = with_number(&mut net, Binary::Add, inner, 1.0, true);
    let outer = with_number(&mut net, Binary::Mul, x, root, true);
    let inner = net.binary(Binary::Mul, outer, inner);
    let tanh = net.activation(Activation::Tanh, inner);
    let sum = with_number(&mut net, Binary::Add, tanh, 1.0, true);
    let product = net.binary(Binary::Mul, sum, x);
    outputs.push(with_number(&mut net, Binary::Div, product, 2.0, false));
    check("gelu-tanh", net, &outputs);
}

#[test]
fn other_activations() {
    let mut net = Net::new("N 7");
    let x = net.x;
    let mut outputs = Vec::new();
    let sigmoid = net.activation(Activation::Sigmoid, x);
    outputs.push(net.binary(Binary::Mul, sigmoid, x));
    let double = with_number(&mut net, Binary::Mul, x, 1.702, false);
    let sigmoid = net.activation(Activation::Sigmoid, double);
    outputs.push(net.binary(Binary::Mul, x, sigmoid));
    let softplus = net.unary(Unary::Softplus, x);
    let tanh = net.activation(Activation::Tanh, softplus);
    outputs.push(net.binary(Binary::Mul, x, tanh));
    // relu6(x + 3) / 6 and another like it, times x before or after.
    let six = Activation::Clip { low: 0.0, high: 6.0 };
    let sum = with_number(&mut net, Binary::Add, x, 3.0, true);
    let clip = net.activation(six, sum);
    outputs.push(with_number(&mut net, Binary::Div, clip, 6.0, false));
    let sum = with_number(&mut net, Binary::Add, x, 2.0, true);
    let other = net.activation(six, sum);
    outputs.push(with_number(&mut net, Binary::Mul, other, 1.0 / 6.0, false));
    let sixth = with_number(&mut net, Binary::Mul, clip, 1.0 / 6.0, false);
    outputs.push(net.binary(Binary::Mul, x, sixth));
    let product = net.binary(Binary::Mul, x, clip);
    outputs.push(with_number(&mut net, Binary::Div, product, 6.0, false));
    let hard = net.activation(
        Activation::HardSigmoid {
            alpha: 1.0 / 6.0,
            beta: 0.5,
        },
        x,
    );
    outputs.push(net.binary(Binary::Mul, hard, x));
    // Bounds one by one.
    let low = with_number(&mut net, Binary::Max, x, 0.0, true);
    outputs.push(with_number(&mut net, Binary::Min, low, 6.0, false));
    let slope = net.number(0.25);
    outputs.push(net.binary(Binary::LeakyBySlope, x, slope));
    check("activations", net, &outputs);
}

#[test]
fn layer_norms() {
    let mut net = Net::new("N 5 8");
    let x = net.x;
    let mut outputs = Vec::new();
    let mean = net.mean(x, &[2]);
    let centred = net.binary(Binary::Sub, x, mean);
    let squares = with_number(&mut net, Binary::Pow, centred, 2.0, false);
    let variance = net.mean(squares, &[2]);
    let sum = with_number(&mut net, Binary::Add, variance, 1e-5, false);
    let root = net.unary(Unary::Sqrt, sum);
    let normed = net.binary(Binary::Div, centred, root);
    let (scale, shift) = (net.constant(&[8]), net.constant(&[8]));
    let scaled = net.binary(Binary::Mul, normed, scale);
    outputs.push(net.binary(Binary::Add, scaled, shift));
    // With a product and a reciprocal, over two axes.
    let mean = net.mean(x, &[1, 2]);
    let centred = net.binary(Binary::Sub, x, mean);
    let squares = net.binary(Binary::Mul, centred, centred);
    let variance = net.mean(squares, &[1, 2]);
    let sum = with_number(&mut net, Binary::Add, variance, 1e-3, true);
    let root = net.unary(Unary::Sqrt, sum);
    let inverse = net.unary(Unary::Reciprocal, root);
    let normed = net.binary(Binary::Mul, inverse, centred);
    let scale = net.constant(&[5, 1]);
    outputs.push(net.binary(Binary::Mul, scale, normed));
    // Over an axis in the middle it stays as it is.
    let mean = net.mean(x, &[1]);
    let centred = net.binary(Binary::Sub, x, mean);
    let squares = with_number(&mut net, Binary::Pow, centred, 2.0, false);
    let variance = net.mean(squares, &[1]);
    let sum = with_number(&mut net, Binary::Add, variance, 1e-5, false);
    let root = net.unary(Unary::Sqrt, sum);
    outputs.push(net.binary(Binary::Div, centred, root));
    check("layer-norms", net, &outputs);
}

#[test]
fn group_norms() {
    let mut net = Net::new("N 6 4 4");
    let x = net.x;
    let grouped = net.reshape(x, "N 2 48");
    let one = net.builder.constant("ones", &[2], vec![1.0; 2]).unwrap();
    let zero = net.builder.constant("zeros", &[2], vec![0.0; 2]).unwrap();
    let norm = GroupNorm {
        groups: 2,
        epsilon: 1e-5,
        scale: Some(one),
        shift: Some(zero),
    };
    let normed = net.node(Op::GroupNorm(norm), &[grouped]);
    let back = net.reshape(normed, "N 6 4 4");
    let (scale, shift) = (net.constant(&[6, 1, 1]), net.constant(&[1, 6, 1, 1]));
    let scaled = net.binary(Binary::Mul, back, scale);
    let y = net.binary(Binary::Add, scaled, shift);
    check("group-norms", net, &[y]);
}
