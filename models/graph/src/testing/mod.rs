//! What tests make graphs with.

pub(crate) mod hostile;
pub(crate) mod net;
mod pieces;
pub(crate) mod random;

use crate::builder::{Builder, Misfit};
use crate::graph::{ConstantId, Operand};
use crate::op::{Activation, Convolution, Linear, Op, Pool, PoolKind, Resize, TransposedConvolution, Window};
use crate::shape::{Axis, Shape};

/// `"N 3 8"`, `"4N 2"`, `""`.
pub(crate) fn shape(text: &str) -> Shape {
    let axis = |word: &str| match word.strip_suffix('N') {
        Some("") => Axis::batch(1),
        Some(size) => Axis::batch(size.parse().unwrap()),
        None => Axis::fixed(word.parse().unwrap()),
    };
    Shape(text.split_whitespace().map(axis).collect())
}

/// A builder with a value for each shape: the first is the input.
pub(crate) fn with(shapes: &[&str]) -> (Builder, Vec<Operand>) {
    let mut builder = Builder::new("x", shape(shapes.first().unwrap_or(&"N")));
    let mut operands = vec![Operand::Value(builder.input())];
    for text in shapes.iter().skip(1) {
        let one = constant(&mut builder, &[1]);
        let rank = vec![1; shape(text).rank()];
        let one = builder
            .node("one", Op::Reshape(Shape::fixed(&rank)), &[Operand::Constant(one)])
            .unwrap();
        let value = builder
            .node("value", Op::Expand(shape(text)), &[Operand::Value(one)])
            .unwrap();
        operands.push(Operand::Value(value));
    }
    (builder, operands)
}

/// A constant of ones.
pub(crate) fn constant(builder: &mut Builder, shape: &[usize]) -> ConstantId {
    builder.constant("c", shape, vec![1.0; shape.iter().product()]).unwrap()
}

/// Numbers between -1 and 1 that any language can make again.
pub(crate) fn fill(shape: &[usize], seed: u64) -> Vec<f32> {
    let count: usize = shape.iter().product();
    let numbers = (0..count as u64).map(|index| ((index + seed) * 7919 + seed * 104_729) % 2003);
    numbers.map(|number| (number as f64 / 1001.5 - 1.0) as f32).collect()
}

/// One node on values of these shapes: the shape that comes out, or the misfit, as text.
pub(crate) fn check(shapes: &[&str], op: impl FnOnce(&mut Builder) -> Op, expected: Result<&str, &str>) {
    let (mut builder, operands) = with(shapes);
    let op = op(&mut builder);
    let text = format!("{op:?} of {shapes:?}");
    let found: Result<_, Misfit> = builder.node("node", op, &operands);
    match (found, expected) {
        (Ok(value), Ok(expected)) => assert_eq!(*builder.shape(Operand::Value(value)).to_string(), *expected, "{text}"),
        (Err(misfit), Err(part)) => assert!(misfit.to_string().contains(part), "{text}: {misfit}"),
        (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
    }
}

pub(crate) const WINDOW: Window = Window {
    kernel: [1, 1],
    stride: [1, 1],
    dilation: [1, 1],
    before: [0, 0],
    after: [0, 0],
};

/// A window that is the same along both axes.
pub(crate) fn square(kernel: usize, stride: usize, pad: usize) -> Window {
    Window {
        kernel: [kernel; 2],
        stride: [stride; 2],
        before: [pad; 2],
        after: [pad; 2],
        ..WINDOW
    }
}

pub(crate) fn conv(weight: ConstantId, window: Window) -> Convolution {
    Convolution {
        weight,
        bias: None,
        window,
        groups: 1,
        residual: false,
        activation: None,
    }
}

pub(crate) fn transposed(weight: ConstantId, window: Window) -> TransposedConvolution {
    TransposedConvolution {
        weight,
        bias: None,
        window,
        output_padding: [0, 0],
        groups: 1,
    }
}

pub(crate) fn linear(weight: ConstantId) -> Linear {
    Linear {
        weight,
        bias: None,
        residual: false,
        activation: None,
    }
}

pub(crate) fn pool(kind: PoolKind, window: Window) -> Op {
    Op::Pool(Pool { kind, window })
}

pub(crate) fn relu() -> Op {
    Op::Unary(crate::op::Unary::Activation(Activation::Relu))
}

pub(crate) fn resize(out: [usize; 2], scale: [f32; 2]) -> Resize {
    Resize {
        out,
        scale,
        interpolation: crate::op::Interpolation::Linear,
        coordinates: crate::op::Coordinates::HalfPixel,
    }
}
