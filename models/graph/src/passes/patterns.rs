//! Activations that were exported piece by piece: hard-swish, SiLU, GELU, Mish, hard-sigmoid.
//!
//! Exporters write the same formula in many orders. Each is a polynomial in `x` and in one function `t` of `x`: `x/2 + x/2·t`
//! with `t = erf(x / sqrt 2)` is GELU. So what a node says is multiplied out and compared, and not its form.

use super::edit::Edit;
use crate::graph::{Node, Operand};
use crate::op::{Activation, Binary, Op, Unary};

/// Coefficients of `1, x, x^2, x^3`.
type Cubic = [f64; 4];

/// `plain + by_t · t`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Formula {
    plain: Cubic,
    by_t: Cubic,
}

/// How deep, and through how many operands, a formula is followed.
const MAX_DEPTH: usize = 6;
const MAX_STEPS: usize = 24;

pub(super) fn recognise(edit: &mut Edit) {
    for index in edit.nodes() {
        recognise_node(edit, index);
    }
}

fn recognise_node(edit: &mut Edit, index: usize) -> Option<()> {
    let node = edit.node(index)?;
    if !matches!(node.op, Op::Binary(Binary::Mul | Binary::Div)) {
        return None;
    }
    let result = Operand::Value(node.output);
    let mut functions = Vec::new();
    collect(edit, result, MAX_DEPTH, &mut functions);
    // A hard-sigmoid may be one of several arguments: the usual one first, since a hard-swish may be made of it.
    let found = [true, false].into_iter().find_map(|usual| {
        let mut functions = functions.iter();
        functions.find_map(|function| of_function(edit, result, *function, usual))
    });
    let (activation, x) = found?;
    edit.replace(index, Op::Unary(Unary::Activation(activation)), &[x])
}

/// The activation that `result` is, where one of its operands is what `function` yields, and of what.
fn of_function(edit: &Edit, result: Operand, function: Operand, usual: bool) -> Option<(Activation, Operand)> {
    let (_, node) = edit.producer(function)?;
    let mut arguments = node.inputs.clone();
    for input in &node.inputs {
        collect_arguments(edit, *input, MAX_DEPTH, &mut arguments);
    }
    let values = arguments.into_iter().filter(|x| matches!(x, Operand::Value(_)));
    // The innermost first: a formula says all that there is to say of it.
    values.rev().find_map(|x| {
        let found = activation(edit, result, function, node, x)?;
        let fits = !usual || !matches!(found, Activation::HardSigmoid { .. }) || is_usual(&found);
        fits.then_some((found, x))
    })
}

/// Whether it is `relu6(x + 3) / 6`.
fn is_usual(activation: &Activation) -> bool {
    match activation {
        Activation::HardSigmoid { alpha, beta } => (f64::from(*alpha) * 6.0 - 1.0).abs() < TOLERANCE && *beta == 0.5,
        _ => false,
    }
}

/// The operands of a formula that are functions of their own.
fn collect(edit: &Edit, operand: Operand, depth: usize, functions: &mut Vec<Operand>) {
    let Some((_, node)) = edit.producer(operand) else {
        return;
    };
    match node.op {
        Op::Binary(Binary::Add | Binary::Sub | Binary::Mul | Binary::Div) if depth > 0 => {
            for input in &node.inputs {
                if functions.len() < MAX_DEPTH {
                    collect(edit, *input, depth - 1, functions);
                }
            }
        }
        Op::Unary(Unary::Erf | Unary::Activation(_)) if !functions.contains(&operand) => functions.push(operand),
        _ => {}
    }
}

/// What a function may be a function of: everything on the way of a polynomial.
fn collect_arguments(edit: &Edit, operand: Operand, depth: usize, arguments: &mut Vec<Operand>) {
    let Some((_, node)) = edit.producer(operand) else {
        return;
    };
    let goes_on = matches!(
        node.op,
        Op::Binary(Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Pow) | Op::Unary(Unary::Softplus)
    );
    for input in node.inputs.iter().filter(|_| goes_on && depth > 0) {
        if !arguments.contains(input) && arguments.len() < MAX_STEPS {
            arguments.push(*input);
            collect_arguments(edit, *input, depth - 1, arguments);
        }
    }
}

/// The activation of `x` that `result` is, where `t` is what `function` yields.
fn activation(edit: &Edit, result: Operand, t: Operand, function: &Node, x: Operand) -> Option<Activation> {
    let formula = Reader { edit, x, t: Some(t) }.read(result)?;
    let argument = *function.inputs.first()?;
    let inner = || Some(Reader { edit, x, t: None }.read(argument)?.plain);
    let half_and_half = Formula {
        plain: [0.0, 0.5, 0.0, 0.0],
        by_t: [0.0, 0.5, 0.0, 0.0],
    };
    let x_by_t = |factor: f64| Formula {
        plain: [0.0; 4],
        by_t: [0.0, factor, 0.0, 0.0],
    };
    match &function.op {
        Op::Unary(Unary::Erf) => {
            let linear = [0.0, std::f64::consts::FRAC_1_SQRT_2, 0.0, 0.0];
            (near(&formula, &half_and_half) && close(&inner()?, &linear)).then_some(Activation::Gelu)
        }
        Op::Unary(Unary::Activation(Activation::Tanh)) => {
            let root = (2.0 / std::f64::consts::PI).sqrt();
            let cubic = [0.0, root, 0.0, root * 0.044_715];
            if near(&formula, &half_and_half) && close(&inner()?, &cubic) {
                return Some(Activation::GeluTanh);
            }
            let (_, softplus) = edit.producer(argument)?;
            let of_x = matches!(softplus.op, Op::Unary(Unary::Softplus)) && softplus.inputs.first() == Some(&x);
            (of_x && near(&formula, &x_by_t(1.0))).then_some(Activation::Mish)
        }
        Op::Unary(Unary::Activation(Activation::Sigmoid)) => {
            (argument == x && near(&formula, &x_by_t(1.0))).then_some(Activation::Silu)
        }
        Op::Unary(Unary::Activation(hard @ Activation::HardSigmoid { .. })) => {
            let fits = is_usual(hard) && argument == x && near(&formula, &x_by_t(1.0));
            fits.then_some(Activation::HardSwish)
        }
        Op::Unary(Unary::Activation(Activation::Clip { low: 0.0, high })) if high.is_finite() && *high > 0.0 => {
            let (high, inner) = (f64::from(*high), inner()?);
            let hard_swish = close(&inner, &[3.0, 1.0, 0.0, 0.0]) && high == 6.0;
            if hard_swish && near(&formula, &x_by_t(1.0 / high)) {
                return Some(Activation::HardSwish);
            }
            let alone = Formula {
                plain: [0.0; 4],
                by_t: [1.0 / high, 0.0, 0.0, 0.0],
            };
            let [constant, slope, ..] = inner;
            let (alpha, beta) = ((slope / high) as f32, (constant / high) as f32);
            let linear = close(&inner, &[constant, slope, 0.0, 0.0]) && slope != 0.0;
            (linear && near(&formula, &alone)).then_some(Activation::HardSigmoid { alpha, beta })
        }
        _ => None,
    }
}

/// Constants in files are `f32`, and some are written with four digits.
const TOLERANCE: f64 = 2e-5;

fn close(found: &Cubic, wanted: &Cubic) -> bool {
    found
        .iter()
        .zip(wanted)
        .all(|(found, wanted)| (found - wanted).abs() <= TOLERANCE * wanted.abs())
}

fn near(found: &Formula, wanted: &Formula) -> bool {
    close(&found.plain, &wanted.plain) && close(&found.by_t, &wanted.by_t)
}

/// Multiplies out.
struct Reader<'a> {
    edit: &'a Edit,
    x: Operand,
    t: Option<Operand>,
}

impl Reader<'_> {
    fn read(&self, operand: Operand) -> Option<Formula> {
        self.formula(operand, MAX_DEPTH, &mut 0)
    }

    /// Nothing where the operand is no polynomial of low degree.
    fn formula(&self, operand: Operand, depth: usize, steps: &mut usize) -> Option<Formula> {
        *steps += 1;
        if *steps > MAX_STEPS {
            return None;
        }
        let number = |number: f64| Formula {
            plain: [number, 0.0, 0.0, 0.0],
            by_t: [0.0; 4],
        };
        if operand == self.x {
            return Some(Formula {
                plain: [0.0, 1.0, 0.0, 0.0],
                by_t: [0.0; 4],
            });
        }
        if Some(operand) == self.t {
            return Some(Formula {
                plain: [0.0; 4],
                by_t: [1.0, 0.0, 0.0, 0.0],
            });
        }
        if let Some(known) = self.edit.scalar(operand) {
            return Some(number(known.into()));
        }
        let (_, node) = self.edit.producer(operand)?;
        let depth = depth.checked_sub(1)?;
        match (&node.op, node.inputs.as_slice()) {
            (Op::Unary(Unary::Neg), [x]) => Some(combine(&number(0.0), -1.0, &self.formula(*x, depth, steps)?)),
            (Op::Binary(binary), [left, right]) => {
                let left = self.formula(*left, depth, steps)?;
                if *binary == Binary::Pow {
                    return match self.edit.scalar(*right)? {
                        2.0 => multiply(&left, &left),
                        3.0 => multiply(&multiply(&left, &left)?, &left),
                        _ => None,
                    };
                }
                let right = self.formula(*right, depth, steps)?;
                match binary {
                    Binary::Add => Some(combine(&left, 1.0, &right)),
                    Binary::Sub => Some(combine(&left, -1.0, &right)),
                    Binary::Mul => multiply(&left, &right),
                    Binary::Div => {
                        let [divisor, ..] = right.plain;
                        let alone = right == number(divisor) && divisor != 0.0;
                        alone.then(|| combine(&number(0.0), 1.0 / divisor, &left))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// `left + factor · right`.
fn combine(left: &Formula, factor: f64, right: &Formula) -> Formula {
    let add = |left: &Cubic, right: &Cubic| {
        let mut sum = *left;
        for (sum, right) in sum.iter_mut().zip(right) {
            *sum += factor * right;
        }
        sum
    };
    Formula {
        plain: add(&left.plain, &right.plain),
        by_t: add(&left.by_t, &right.by_t),
    }
}

/// Nothing where `t^2` or `x^4` comes out.
fn multiply(left: &Formula, right: &Formula) -> Option<Formula> {
    let zero = [0.0; 4];
    if left.by_t != zero && right.by_t != zero {
        return None;
    }
    let across = combine(
        &Formula {
            plain: zero,
            by_t: product(&left.plain, &right.by_t)?,
        },
        1.0,
        &Formula {
            plain: zero,
            by_t: product(&left.by_t, &right.plain)?,
        },
    );
    Some(Formula {
        plain: product(&left.plain, &right.plain)?,
        ..across
    })
}

fn product(left: &Cubic, right: &Cubic) -> Option<Cubic> {
    let mut product = [0.0; 4];
    for (power, left) in left.iter().enumerate() {
        for (more, right) in right.iter().enumerate() {
            let number = left * right;
            match product.get_mut(power + more) {
                Some(sum) => *sum += number,
                None if number == 0.0 => {}
                None => return None,
            }
        }
    }
    Some(product)
}
