//! Functions of two numbers, broadcast as in NumPy, and the choice between two.

use burn::tensor::{FloatDType, Tensor};
use millrace_graph::Binary;

use crate::any::{Any, MAX_RANK, aligned, map};
use crate::executor::{About, Step, lengths, nothing, one};
use crate::layout;
use crate::pointwise::truth;

/// The result of two tensors of one rank.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pair {
    Binary(Binary),
    /// For matrices.
    Product,
}

pub(super) fn binary(about: &About<'_>, of: Binary) -> Step {
    let shapes = (about.input(0), about.input(1), about.output());
    // A constant of one number needs no memory on the device, unless it gives the result its axes.
    let keeps_left = shapes.0 == shapes.2;
    if let Some(scalar) = about.scalar(1).filter(|_| keeps_left)
        && is_by_scalar(of, scalar)
    {
        return one(move |x, _| map!(x, x => by_scalar(of, x, scalar)));
    }
    Box::new(move |inputs, n_items| {
        let mut inputs = inputs.into_iter();
        let (Some(left), Some(right)) = (inputs.next(), inputs.next()) else {
            return nothing();
        };
        let (of_left, of_right) = (lengths(&shapes.0, n_items), lengths(&shapes.1, n_items));
        let out = lengths(&shapes.2, n_items);
        let (to, axes) = aligned(&out, &[&of_left, &of_right]);
        if to.len() > MAX_RANK {
            let flat = |x: Any, of: &[usize]| Any::from(layout::broadcast(x, of, &out).into1());
            return same_rank(flat(left, &of_left), flat(right, &of_right), Pair::Binary(of)).keep(&out);
        }
        let [left_axes, right_axes] = axes.as_slice() else {
            return nothing();
        };
        let pair = same_rank(left.reshape(left_axes), right.reshape(right_axes), Pair::Binary(of));
        pair.keep(&out)
    })
}

/// The sum of a result and what is broadcast to its axes.
pub(super) fn add(x: Any, y: Any, out: &[usize]) -> Any {
    let (of_x, of_y) = (x.axes(), y.axes());
    match of_x == of_y {
        true => same_rank(x, y, Pair::Binary(Binary::Add)),
        false => {
            let (_, axes) = aligned(out, &[&of_x, &of_y]);
            match axes.as_slice() {
                [x_axes, y_axes] => {
                    same_rank(x.reshape(x_axes), y.reshape(y_axes), Pair::Binary(Binary::Add)).keep(out)
                }
                _ => x,
            }
        }
    }
}

/// The result of two tensors that have the same rank already.
pub(super) fn same_rank(left: Any, right: Any, of: Pair) -> Any {
    let (left, right) = match left.number() == right.number() {
        true => (left, right),
        false => (left.cast(FloatDType::F32), right.cast(FloatDType::F32)),
    };
    match (left, right) {
        (Any::R1(x), Any::R1(y)) => match of {
            Pair::Binary(of) => two(of, x, y).into(),
            Pair::Product => nothing(), // of matrices
        },
        (Any::R2(x), Any::R2(y)) => pair(of, x, y).into(),
        (Any::R3(x), Any::R3(y)) => pair(of, x, y).into(),
        (Any::R4(x), Any::R4(y)) => pair(of, x, y).into(),
        (Any::R5(x), Any::R5(y)) => pair(of, x, y).into(),
        (Any::R6(x), Any::R6(y)) => pair(of, x, y).into(),
        _ => nothing(),
    }
}

fn pair<const D: usize>(of: Pair, x: Tensor<D>, y: Tensor<D>) -> Tensor<D> {
    match of {
        Pair::Binary(of) => two(of, x, y),
        Pair::Product => x.matmul(y),
    }
}

fn two<const D: usize>(of: Binary, x: Tensor<D>, y: Tensor<D>) -> Tensor<D> {
    let number: FloatDType = x.dtype().into();
    match of {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x * y,
        Binary::Div => x / y,
        Binary::Max | Binary::Min => {
            let (x, y) = spread(x, y);
            match of {
                Binary::Max => x.max_pair(y),
                _ => x.min_pair(y),
            }
        }
        Binary::Pow => {
            let (x, y) = spread(x, y);
            power(x, y)
        }
        Binary::Mod => {
            let (x, y) = spread(x, y);
            x.remainder(y)
        }
        Binary::Fmod => {
            let (x, y) = spread(x, y);
            let negative = x.clone().lower_elem(0.0);
            let rest = x.abs().remainder(y.abs());
            rest.clone().mask_where(negative, rest.neg())
        }
        Binary::LeakyBySlope => x.clone().clamp_min(0.0) + x.clamp_max(0.0) * y,
        _ => {
            let (x, y) = spread(x, y);
            let holds = match of {
                Binary::Less => x.lower(y),
                Binary::LessOrEqual => x.lower_equal(y),
                Binary::Greater => x.greater(y),
                Binary::GreaterOrEqual => x.greater_equal(y),
                Binary::And => x.not_equal_elem(0.0).bool_and(y.not_equal_elem(0.0)),
                Binary::Or => x.not_equal_elem(0.0).bool_or(y.not_equal_elem(0.0)),
                Binary::Xor => x.not_equal_elem(0.0).bool_xor(y.not_equal_elem(0.0)),
                _ => x.equal(y),
            };
            truth(holds, number)
        }
    }
}

/// Both with the axes of the result: not every operation of Burn broadcasts.
fn spread<const D: usize>(x: Tensor<D>, y: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
    let (of_x, of_y) = (x.dims(), y.dims());
    let mut out = of_x;
    for (out, other) in out.iter_mut().zip(of_y) {
        *out = other.max(*out);
    }
    let to = |tensor: Tensor<D>, from: [usize; D]| if from == out { tensor } else { tensor.expand(out) };
    (to(x, of_x), to(y, of_y))
}

/// Graphics languages know no power of a negative number, none with an exponent of 0, and none of 0 with one below.
fn power<const D: usize>(x: Tensor<D>, y: Tensor<D>) -> Tensor<D> {
    let negative = x.clone().lower_elem(0.0);
    let whole = y.clone().floor();
    let is_broken = y.clone().not_equal(whole.clone()).bool_and(negative.clone());
    let is_odd = (whole.clone() - (whole * 0.5).floor() * 2.0).equal_elem(1.0);
    let is_zeroth = y.clone().equal_elem(0.0);
    let is_endless = x.clone().equal_elem(0.0).bool_and(y.clone().lower_elem(0.0));
    let size = x.abs().powf(y);
    let signed = size.clone().mask_where(negative.bool_and(is_odd), size.neg());
    signed
        .mask_fill(is_broken, f32::NAN)
        .mask_fill(is_endless, f32::INFINITY)
        .mask_fill(is_zeroth, 1.0)
}

fn is_by_scalar(of: Binary, scalar: f32) -> bool {
    match of {
        Binary::Add | Binary::Sub | Binary::Mul | Binary::Div => true,
        Binary::Max | Binary::Min => scalar.is_finite(),
        Binary::Pow => [-1.0, -0.5, 0.5, 1.0, 2.0, 3.0].contains(&scalar),
        _ => false,
    }
}

fn by_scalar<const D: usize>(of: Binary, x: Tensor<D>, scalar: f32) -> Tensor<D> {
    match of {
        Binary::Add => x.add_scalar(scalar),
        Binary::Sub => x.sub_scalar(scalar),
        Binary::Mul => x.mul_scalar(scalar),
        Binary::Div => x.div_scalar(scalar),
        Binary::Max => x.clamp_min(scalar),
        Binary::Min => x.clamp_max(scalar),
        _ if scalar == 2.0 => x.clone() * x,
        _ if scalar == 3.0 => x.clone() * x.clone() * x,
        _ if scalar == 0.5 => x.sqrt(),
        _ if scalar == -0.5 => x.sqrt().recip(),
        _ if scalar == -1.0 => x.recip(),
        _ => x,
    }
}

/// The second where the first is not 0, else the third.
pub(super) fn select(about: &About<'_>) -> Step {
    let shapes = [about.input(0), about.input(1), about.input(2)];
    let output = about.output();
    Box::new(move |inputs, n_items| {
        let of: Vec<Vec<usize>> = shapes.iter().map(|shape| lengths(shape, n_items)).collect();
        let out = lengths(&output, n_items);
        let (to, axes) = aligned(&out, &of.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let is_flat = to.len() > MAX_RANK;
        let aligned = inputs.into_iter().zip(of.iter().zip(&axes));
        let mut aligned = aligned.map(|(input, (of, axes))| match is_flat {
            true => Any::from(layout::broadcast(input, of, &out).into1()),
            false => layout::expanded(input.reshape(axes), &to),
        });
        let (Some(condition), Some(yes), Some(no)) = (aligned.next(), aligned.next(), aligned.next()) else {
            return nothing();
        };
        let (yes, no) = match yes.number() == no.number() {
            true => (yes, no),
            false => (yes.cast(FloatDType::F32), no.cast(FloatDType::F32)),
        };
        chosen(condition, yes, no).keep(&out)
    })
}

fn chosen(condition: Any, yes: Any, no: Any) -> Any {
    macro_rules! choose {
        ($($variant:ident)*) => {
            match (condition, yes, no) {
                $((Any::$variant(condition), Any::$variant(yes), Any::$variant(no)) => {
                    no.mask_where(condition.not_equal_elem(0.0), yes).into()
                })*
                _ => nothing(),
            }
        };
    }
    choose!(R1 R2 R3 R4 R5 R6)
}
