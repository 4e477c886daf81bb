//! What stands in the parentheses of an operator, behind its inputs.

use std::fmt::Display;

use super::{constant, word};
use crate::graph::{ConstantId, Graph};
use crate::op::{Activation, Coordinates, Interpolation, Op, PadMode, PoolKind, Resize, Rounding, Unary, Window};

/// The arguments; nothing is said of what is as usual.
pub(super) fn arguments(graph: &Graph, op: &Op) -> Vec<String> {
    let weight = |id: ConstantId| format!("w: {}", graph.constant(id).map_or_else(String::new, constant));
    let mut words = Vec::new();
    match op {
        Op::Convolution(conv) => {
            words.push(weight(conv.weight));
            words.extend(conv.bias.map(|_| "bias".to_owned()));
            words.extend((conv.groups != 1).then(|| format!("groups {}", conv.groups)));
            words.extend(window(&conv.window));
        }
        Op::TransposedConvolution(conv) => {
            words.push(weight(conv.weight));
            words.extend(conv.bias.map(|_| "bias".to_owned()));
            words.extend((conv.groups != 1).then(|| format!("groups {}", conv.groups)));
            words.extend(window(&conv.window));
            words.extend((conv.output_padding != [0, 0]).then(|| format!("more {}", pair(conv.output_padding))));
        }
        Op::Linear(linear) => {
            words.push(weight(linear.weight));
            words.extend(linear.bias.map(|_| "bias".to_owned()));
        }
        Op::Pool(pool) => {
            words.push(format!("kernel {}", pair(pool.window.kernel)));
            words.extend(window(&pool.window));
            if let PoolKind::AverageWithPadding { counted } = pool.kind {
                words.push(format!("counting {}", pads(pool.window.before, counted)));
            }
        }
        Op::AdaptiveAverage(adaptive) => words.push(pair(adaptive.out)),
        Op::Scale { factor, shift } => {
            words.push(named(graph, "factor", *factor));
            words.push(named(graph, "shift", *shift));
        }
        Op::LayerNorm(norm) => {
            words.push(format!("axes {}", norm.axes));
            words.extend(affine(norm.epsilon, norm.scale, norm.shift));
        }
        Op::GroupNorm(norm) => {
            words.push(format!("groups {}", norm.groups));
            words.extend(affine(norm.epsilon, norm.scale, norm.shift));
        }
        Op::LocalResponseNorm(norm) => {
            words.push(format!("size {}", norm.size));
            words.push(format!(
                "alpha {}, beta {}, bias {}",
                number(norm.alpha as f32),
                number(norm.beta as f32),
                number(norm.bias as f32)
            ));
        }
        Op::Unary(unary) => words.extend(parameters(unary)),
        Op::Binary(_) | Op::Select | Op::MatMul | Op::Reshape(_) | Op::Expand(_) => {}
        Op::Softmax { axis, .. } | Op::Concat { axis } => words.push(format!("axis {axis}")),
        Op::Reduce { axes, keep, .. } => {
            words.push(format!("axes {}", list(axes)));
            words.extend(keep.then(|| "keep".to_owned()));
        }
        Op::ArgExtreme { axis, keep, last, .. } => {
            words.push(format!("axis {axis}"));
            words.extend(keep.then(|| "keep".to_owned()));
            words.extend(last.then(|| "last".to_owned()));
        }
        Op::Transpose(order) => words.push(list(order)),
        Op::Slice { starts, steps, .. } => {
            words.push(format!("from {}", list(starts)));
            words.extend(
                steps
                    .iter()
                    .any(|step| *step != 1)
                    .then(|| format!("steps {}", list(steps))),
            );
        }
        Op::Pad { before, after, mode } => {
            words.push(format!("{}..{}", list(before), list(after)));
            words.push(match mode {
                PadMode::Constant(fill) => format!("with {}", number(*fill)),
                PadMode::Edge => "edge".to_owned(),
                PadMode::Reflect => "reflect".to_owned(),
                PadMode::Wrap => "wrap".to_owned(),
            });
        }
        Op::Gather { axis, indices, .. } => words.push(format!("axis {axis}, indices {}", list(indices))),
        Op::Resize(resize) => words.extend(sizes(resize)),
    }
    words
}

fn named(graph: &Graph, what: &str, id: ConstantId) -> String {
    let name = graph.constant(id).map_or("", |constant| &constant.name);
    format!("{what}: {}", word(name))
}

fn affine(epsilon: f64, scale: Option<ConstantId>, shift: Option<ConstantId>) -> impl Iterator<Item = String> {
    let scale = scale.map(|_| "scale".to_owned());
    let shift = shift.map(|_| "shift".to_owned());
    std::iter::once(format!("epsilon {}", number(epsilon as f32)))
        .chain(scale)
        .chain(shift)
}

/// The kernel is a weight's.
fn window(window: &Window) -> impl Iterator<Item = String> {
    let stride = (window.stride != [1, 1]).then(|| format!("stride {}", pair(window.stride)));
    let dilation = (window.dilation != [1, 1]).then(|| format!("dilation {}", pair(window.dilation)));
    let padded = window.before != [0, 0] || window.after != [0, 0];
    let pad = padded.then(|| format!("pad {}", pads(window.before, window.after)));
    stride.into_iter().chain(dilation).chain(pad)
}

/// `2`, or `2x1` where height and width differ.
fn pair([height, width]: [usize; 2]) -> String {
    match height == width {
        true => height.to_string(),
        false => format!("{height}x{width}"),
    }
}

/// `1`, or `0..1` where beginning and end differ.
fn pads(before: [usize; 2], after: [usize; 2]) -> String {
    match before == after {
        true => pair(before),
        false => format!("{}..{}", pair(before), pair(after)),
    }
}

/// The first few of a list that may be long.
fn list<T: Display>(list: &[T]) -> String {
    const MOST: usize = 8;
    let mut words: Vec<String> = list.iter().take(MOST).map(T::to_string).collect();
    if list.len() > MOST {
        words.push(format!(".. {} in all", list.len()));
    }
    format!("[{}]", words.join(", "))
}

/// A number with as many digits as it takes to tell it from others.
pub(super) fn number(number: f32) -> String {
    let size = number.abs();
    match size == 0.0 || (1e-4..1e7).contains(&size) || !size.is_finite() {
        true => number.to_string(),
        false => format!("{number:e}"),
    }
}

/// An activation with its parameters.
pub(super) fn activation(activation: &Activation) -> String {
    let parameters = match *activation {
        Activation::Clip { low, high } => vec![low, high],
        Activation::LeakyRelu { slope } => vec![slope],
        Activation::HardSigmoid { alpha, beta } => vec![alpha, beta],
        Activation::Elu { alpha } => vec![alpha],
        _ => Vec::new(),
    };
    let words = std::iter::once(activation.name().to_owned()).chain(parameters.into_iter().map(number));
    words.collect::<Vec<_>>().join(" ")
}

fn parameters(unary: &Unary) -> Vec<String> {
    match *unary {
        Unary::Activation(own) => activation(&own).split(' ').skip(1).map(str::to_owned).collect(),
        Unary::Selu { alpha, gamma } => vec![number(alpha), number(gamma)],
        Unary::Celu { alpha } | Unary::ThresholdedRelu { alpha } => vec![number(alpha)],
        _ => Vec::new(),
    }
}

fn sizes(resize: &Resize) -> Vec<String> {
    let how = match resize.interpolation {
        Interpolation::Nearest(Rounding::PreferFloor) => "nearest".to_owned(),
        Interpolation::Nearest(Rounding::PreferCeil) => "nearest, halves up".to_owned(),
        Interpolation::Nearest(Rounding::Floor) => "nearest below".to_owned(),
        Interpolation::Nearest(Rounding::Ceil) => "nearest above".to_owned(),
        Interpolation::Linear => "linear".to_owned(),
        Interpolation::Cubic {
            coefficient,
            exclude_outside,
        } => {
            let inside = if exclude_outside { " inside" } else { "" };
            format!("cubic {}{inside}", number(coefficient))
        }
    };
    let coordinates = match resize.coordinates {
        Coordinates::HalfPixel => "half-pixel",
        Coordinates::HalfPixelSymmetric => "half-pixel-symmetric",
        Coordinates::PytorchHalfPixel => "pytorch-half-pixel",
        Coordinates::AlignCorners => "align-corners",
        Coordinates::Asymmetric => "asymmetric",
    };
    let [down, right] = resize.scale;
    vec![
        how,
        coordinates.to_owned(),
        format!("scale {}x{}", number(down), number(right)),
    ]
}
