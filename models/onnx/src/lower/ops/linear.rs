//! Products: Gemm and MatMul.

use millrace_graph::{Axis, Binary, Linear, Op, Operand};

use crate::known::{self, BinaryKind, Kind, Tensor};
use crate::lower::call::Call;
use crate::lower::emit::Emitter;
use crate::lower::ops::{Answer, one};
use crate::lower::value::Value;
use crate::problem::{Refusal, refuse};

pub(crate) fn matmul(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    one(product(em, call.input(0)?, call.input(1)?)?)
}

/// The product of two values as NumPy's `matmul` has it.
pub(super) fn product(em: &mut Emitter, a: &Value, b: &Value) -> Result<Value, Refusal> {
    let (left, right) = (em.shape(a)?, em.shape(b)?);
    if left.rank() == 0 || right.rank() == 0 {
        return Err(refuse("an input has no axes"));
    }
    if let Value::Known(weight) = b
        && !matches!(a, Value::Known(_))
        && let [lead @ .., rows, columns] = &weight.dims[..]
        && lead.iter().all(|dim| *dim == 1)
        && right.rank() <= left.rank().max(2)
    {
        let weight = known::reshape(weight, vec![*rows, *columns], &mut em.budget)?;
        return linear(em, a, &weight);
    }
    let (mut first, mut second) = (em.operand(a)?, em.operand(b)?);
    // A vector is a row on the left and a column on the right, and that axis goes again.
    let (is_row, is_column) = (left.rank() == 1, right.rank() == 1);
    if is_row {
        let mut shape = left.clone();
        shape.0.insert(0, Axis::fixed(1));
        first = em.reshape(first, shape)?;
    }
    if is_column {
        let mut shape = right.clone();
        shape.0.push(Axis::fixed(1));
        second = em.reshape(second, shape)?;
    }
    let rank = em.shape_of(first).rank().max(em.shape_of(second).rank());
    first = with_rank(em, first, rank)?;
    second = with_rank(em, second, rank)?;
    let mut result = em.emit(Op::MatMul, &[first, second])?;
    let mut shape = em.shape_of(result);
    if is_column {
        shape.0.pop();
    }
    if is_row {
        shape
            .0
            .remove(shape.rank().saturating_sub(if is_column { 1 } else { 2 }));
    }
    result = em.reshape(result, shape)?;
    em.given(result, Kind::Float)
}

/// Axes of length 1 before the others.
fn with_rank(em: &mut Emitter, operand: Operand, rank: usize) -> Result<Operand, Refusal> {
    let mut shape = em.shape_of(operand);
    let missing = rank.saturating_sub(shape.rank());
    shape.0.splice(0..0, std::iter::repeat_n(Axis::fixed(1), missing));
    em.reshape(operand, shape)
}

fn linear(em: &mut Emitter, x: &Value, weight: &Tensor) -> Result<Value, Refusal> {
    let op = Linear {
        weight: em.constant(weight)?,
        bias: None,
        residual: false,
        activation: None,
    };
    let operand = em.operand(x)?;
    em.value(Op::Linear(op), &[operand], Kind::Float)
}

/// `alpha · A · B + beta · C`.
pub(crate) fn gemm(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let (alpha, beta) = (call.float_or("alpha", 1.0)?, call.float_or("beta", 1.0)?);
    let (a, b) = (call.input(0)?, call.input(1)?);
    if em.shape(a)?.rank() != 2 || em.shape(b)?.rank() != 2 {
        return Err(refuse("its inputs are not matrices"));
    }
    let a = turned(em, a, call.flag("transA", false)?)?;
    let b = turned(em, b, call.flag("transB", false)?)?;
    let addend = scaled(em, call.optional(2), beta)?;
    let (Value::Known(weight), false) = (&b, matches!(a, Value::Known(_))) else {
        let product = product(em, &a, &b)?;
        let product = scaled(em, Some(&product), alpha)?;
        return one(match (product, addend) {
            (Some(product), Some(addend)) => sum(em, &product, &addend)?,
            (Some(product), None) => product,
            (None, _) => return Err(refuse("it has no product")),
        });
    };
    let weight = match alpha {
        1.0 => weight.clone(),
        alpha => times(em, weight, alpha)?,
    };
    let columns = weight.dims.get(1).copied().unwrap_or(0);
    let bias = match &addend {
        Some(Value::Known(bias)) if fits(bias, columns) => {
            let bias = known::reshape(bias, vec![bias.data.len()], &mut em.budget)?;
            let bias = known::expand(&bias, &[columns], &mut em.budget)?;
            Some(em.constant(&bias)?)
        }
        _ => None,
    };
    let op = Linear {
        weight: em.constant(&weight)?,
        bias,
        residual: false,
        activation: None,
    };
    let operand = em.operand(&a)?;
    let result = em.value(Op::Linear(op), &[operand], Kind::Float)?;
    one(match addend {
        Some(addend) if bias.is_none() => sum(em, &result, &addend)?,
        _ => result,
    })
}

/// Whether a bias is the same for each row.
fn fits(bias: &Tensor, columns: usize) -> bool {
    match bias.dims[..] {
        [] => true,
        [width] | [1, width] => width == 1 || width == columns,
        _ => false,
    }
}

fn sum(em: &mut Emitter, a: &Value, b: &Value) -> Result<Value, Refusal> {
    let (a, b) = (em.operand(a)?, em.operand(b)?);
    let result = em.binary(Binary::Add, a, b)?;
    em.given(result, Kind::Float)
}

fn times(em: &mut Emitter, tensor: &Tensor, factor: f32) -> Result<Tensor, Refusal> {
    let factor = Tensor::floats(Vec::new(), vec![factor]);
    Ok(known::binary(BinaryKind::Mul, tensor, &factor, &mut em.budget)?)
}

fn scaled(em: &mut Emitter, value: Option<&Value>, factor: f32) -> Result<Option<Value>, Refusal> {
    match value {
        None => Ok(None),
        Some(value) if factor == 1.0 => Ok(Some(value.clone())),
        Some(Value::Known(tensor)) => Ok(Some(Value::Known(times(em, tensor, factor)?))),
        Some(value) => {
            let (operand, factor) = (em.operand(value)?, em.number(factor)?);
            let result = em.binary(Binary::Mul, operand, factor)?;
            em.given(result, Kind::Float).map(Some)
        }
    }
}

fn turned(em: &mut Emitter, value: &Value, is_turned: bool) -> Result<Value, Refusal> {
    match (value, is_turned) {
        (value, false) => Ok(value.clone()),
        (Value::Known(tensor), true) => Ok(Value::Known(known::transpose(tensor, &[1, 0], &mut em.budget)?)),
        (value, true) => {
            let operand = em.operand(value)?;
            let result = em.transpose(operand, &[1, 0])?;
            em.given(result, Kind::Float)
        }
    }
}
