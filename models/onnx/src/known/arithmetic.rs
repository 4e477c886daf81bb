//! Arithmetic, number by number, on known numbers.

use std::sync::Arc;

use crate::known::compare::{Comparison, compare};
use crate::known::layout::{broadcast, places, stretched};
use crate::known::together::Together;
use crate::known::{Budget, Data, Kind, Size, Tensor, Unknown};

/// Functions of two numbers that are computed at load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryKind {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
    Mod,
    Fmod,
    Compare(Comparison),
    And,
    Or,
    Xor,
}

/// Functions of one number that are computed at load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnaryKind {
    Abs,
    Neg,
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    Floor,
    Ceil,
    Round,
    Sign,
    Sin,
    Cos,
    Tanh,
    Sigmoid,
    Relu,
    Not,
    IsNan,
}

/// Two tensors, broadcast.
pub(crate) fn binary(kind: BinaryKind, a: &Tensor, b: &Tensor, budget: &mut Budget) -> Result<Tensor, Unknown> {
    let dims = broadcast(&a.dims, &b.dims)?;
    budget.spend(&dims)?;
    let at = Together::of(&a.dims, &b.dims, &dims);
    let data = match (&a.data, &b.data) {
        (Data::Bool(a), Data::Bool(b)) => Data::Bool(all(at.zip(a, b, |a, b| logic(kind, a, b)), Unknown::Types)?),
        (Data::I64(a), Data::I64(b)) => match kind {
            BinaryKind::Compare(comparison) => {
                let compared = at.zip(a, b, |a, b| compare(comparison, a.cmp(&b)));
                Data::Bool(compared.ok_or(Unknown::Types)?.into())
            }
            _ => Data::I64(all(at.zip(a, b, |a, b| whole(kind, a, b)), Unknown::Types)?),
        },
        (Data::Sizes(_), _) | (_, Data::Sizes(_)) => {
            let a = a.data.sizes().ok_or(Unknown::Batch)?;
            let b = b.data.sizes().ok_or(Unknown::Batch)?;
            match kind {
                BinaryKind::Compare(comparison) => {
                    let compared = at.zip(&a, &b, |a, b| comparison.of_sizes(a, b));
                    Data::Bool(all(compared, Unknown::Batch)?)
                }
                _ => {
                    let computed: Arc<[Size]> = all(at.zip(&a, &b, |a, b| sizes(kind, a, b)), Unknown::Batch)?;
                    Data::of_sizes(computed.to_vec())
                }
            }
        }
        (a, b) => {
            let a = a.floats().ok_or(Unknown::Types)?;
            let b = b.floats().ok_or(Unknown::Types)?;
            match kind {
                BinaryKind::Compare(comparison) => {
                    let compared = at.zip(&a, &b, |a, b| comparison.of_floats(a, b));
                    Data::Bool(compared.ok_or(Unknown::Types)?.into())
                }
                _ => Data::F32(floats(kind, &at, &a, &b).ok_or(Unknown::Types)?.into()),
            }
        }
    };
    Ok(Tensor { dims, data })
}

/// Everything that was computed, where all could be.
fn all<T>(computed: Option<Vec<Option<T>>>, fault: Unknown) -> Result<Arc<[T]>, Unknown> {
    computed
        .and_then(|computed| computed.into_iter().collect::<Option<_>>())
        .ok_or(fault)
}

fn logic(kind: BinaryKind, a: bool, b: bool) -> Option<bool> {
    Some(match kind {
        BinaryKind::And => a && b,
        BinaryKind::Or => a || b,
        BinaryKind::Xor => a != b,
        BinaryKind::Compare(comparison) => compare(comparison, a.cmp(&b)),
        _ => return None,
    })
}

fn whole(kind: BinaryKind, a: i64, b: i64) -> Option<i64> {
    Some(match kind {
        BinaryKind::Add => a.wrapping_add(b),
        BinaryKind::Sub => a.wrapping_sub(b),
        BinaryKind::Mul => a.wrapping_mul(b),
        BinaryKind::Div => a.checked_div(b)?,
        BinaryKind::Max => a.max(b),
        BinaryKind::Min => a.min(b),
        BinaryKind::Pow => a.wrapping_pow(u32::try_from(b).ok()?),
        // The sign is the divisor's.
        BinaryKind::Mod => {
            let rest = a.checked_rem(b)?;
            match rest != 0 && (rest < 0) != (b < 0) {
                true => rest.wrapping_add(b),
                false => rest,
            }
        }
        BinaryKind::Fmod => a.checked_rem(b)?,
        _ => return None,
    })
}

fn sizes(kind: BinaryKind, a: Size, b: Size) -> Option<Size> {
    if let (Some(a), Some(b)) = (a.number(), b.number()) {
        return whole(kind, a, b).map(Size::fixed);
    }
    match kind {
        BinaryKind::Add => a.add(b),
        BinaryKind::Sub => a.sub(b),
        BinaryKind::Mul => a.mul(b),
        BinaryKind::Div => a.div(b),
        BinaryKind::Max => a.max(b),
        BinaryKind::Min => a.min(b),
        BinaryKind::Mod | BinaryKind::Fmod => a.rem(b),
        _ => None,
    }
}

/// Each function in a loop of its own, which the compiler makes one of vectors.
fn floats(kind: BinaryKind, at: &Together, a: &[f32], b: &[f32]) -> Option<Vec<f32>> {
    match kind {
        BinaryKind::Add => at.zip(a, b, |a, b| a + b),
        BinaryKind::Sub => at.zip(a, b, |a, b| a - b),
        BinaryKind::Mul => at.zip(a, b, |a, b| a * b),
        BinaryKind::Div => at.zip(a, b, |a, b| a / b),
        BinaryKind::Max => at.zip(a, b, f32::max),
        BinaryKind::Min => at.zip(a, b, f32::min),
        BinaryKind::Pow => at.zip(a, b, f32::powf),
        BinaryKind::Mod => at.zip(a, b, |a, b| a - b * (a / b).floor()),
        BinaryKind::Fmod => at.zip(a, b, |a, b| a % b),
        _ => None,
    }
}

/// One tensor.
pub(crate) fn unary(kind: UnaryKind, tensor: &Tensor, budget: &mut Budget) -> Result<Tensor, Unknown> {
    budget.spend(&tensor.dims)?;
    let data = match &tensor.data {
        Data::F32(data) if kind == UnaryKind::IsNan => Data::Bool(data.iter().map(|x| x.is_nan()).collect()),
        Data::F32(data) => Data::F32(
            data.iter()
                .map(|x| of_float(kind, *x))
                .collect::<Option<_>>()
                .ok_or(Unknown::Types)?,
        ),
        Data::I64(data) => Data::I64(
            data.iter()
                .map(|x| of_whole(kind, *x))
                .collect::<Option<_>>()
                .ok_or(Unknown::Types)?,
        ),
        Data::Bool(data) if kind == UnaryKind::Not => Data::Bool(data.iter().map(|x| !x).collect()),
        Data::Sizes(data) => {
            let sizes = data.iter().map(|size| of_size(kind, *size)).collect::<Option<_>>();
            Data::of_sizes(sizes.ok_or(Unknown::Batch)?)
        }
        Data::Bool(_) => return Err(Unknown::Types),
    };
    Ok(Tensor {
        dims: tensor.dims.clone(),
        data,
    })
}

fn of_float(kind: UnaryKind, x: f32) -> Option<f32> {
    Some(match kind {
        UnaryKind::Abs => x.abs(),
        UnaryKind::Neg => -x,
        UnaryKind::Exp => x.exp(),
        UnaryKind::Log => x.ln(),
        UnaryKind::Sqrt => x.sqrt(),
        UnaryKind::Reciprocal => x.recip(),
        UnaryKind::Floor => x.floor(),
        UnaryKind::Ceil => x.ceil(),
        UnaryKind::Round => x.round_ties_even(),
        UnaryKind::Sign if x == 0.0 => 0.0,
        UnaryKind::Sign => x.signum(),
        UnaryKind::Sin => x.sin(),
        UnaryKind::Cos => x.cos(),
        UnaryKind::Tanh => x.tanh(),
        UnaryKind::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        UnaryKind::Relu => x.max(0.0),
        UnaryKind::Not | UnaryKind::IsNan => return None,
    })
}

fn of_whole(kind: UnaryKind, x: i64) -> Option<i64> {
    Some(match kind {
        UnaryKind::Abs => x.wrapping_abs(),
        UnaryKind::Neg => x.wrapping_neg(),
        UnaryKind::Floor | UnaryKind::Ceil | UnaryKind::Round => x,
        UnaryKind::Sign => x.signum(),
        UnaryKind::Relu => x.max(0),
        _ => return None,
    })
}

fn of_size(kind: UnaryKind, size: Size) -> Option<Size> {
    match kind {
        UnaryKind::Neg => Size::fixed(0).sub(size),
        UnaryKind::Abs | UnaryKind::Relu => size.max(Size::fixed(0)).filter(|abs| *abs == size),
        UnaryKind::Floor | UnaryKind::Ceil | UnaryKind::Round => Some(size),
        _ => None,
    }
}

/// To numbers of another kind; sizes stay whole.
pub(crate) fn cast(tensor: &Tensor, to: Kind, budget: &mut Budget) -> Result<Tensor, Unknown> {
    if tensor.data.kind() == to || matches!((&tensor.data, to), (Data::Sizes(_), Kind::Float)) {
        return Ok(tensor.clone());
    }
    budget.spend(&tensor.dims)?;
    let data = match (&tensor.data, to) {
        (data, Kind::Float) => Data::F32(data.floats().ok_or(Unknown::Batch)?),
        // Towards zero; what does not fit is at the end of the range.
        (Data::F32(data), Kind::Int) => Data::I64(data.iter().map(|x| *x as i64).collect()),
        (data, Kind::Int) => Data::I64(data.ints().ok_or(Unknown::Batch)?),
        (Data::Sizes(data), Kind::Bool) => {
            let bits = data.iter().map(|size| size.equals(Size::fixed(0)).map(|zero| !zero));
            Data::Bool(bits.collect::<Option<Arc<[bool]>>>().ok_or(Unknown::Batch)?)
        }
        (data, Kind::Bool) => Data::Bool(data.floats().ok_or(Unknown::Batch)?.iter().map(|x| *x != 0.0).collect()),
    };
    Ok(Tensor {
        dims: tensor.dims.clone(),
        data,
    })
}

/// The second where the first is true, else the third.
pub(crate) fn select(which: &Tensor, yes: &Tensor, no: &Tensor, budget: &mut Budget) -> Result<Tensor, Unknown> {
    let dims = broadcast(&which.dims, &broadcast(&yes.dims, &no.dims)?)?;
    budget.spend(&dims)?;
    let Data::Bool(bits) = &which.data else {
        return Err(Unknown::Types);
    };
    fn of<T: Copy>(bits: &[bool], yes: &[T], no: &[T], at: [Vec<usize>; 3]) -> Result<Vec<T>, Unknown> {
        let [which, left, right] = at;
        which
            .into_iter()
            .zip(left.into_iter().zip(right))
            .map(|(which, (left, right))| match bits.get(which)? {
                true => yes.get(left).copied(),
                false => no.get(right).copied(),
            })
            .collect::<Option<_>>()
            .ok_or(Unknown::Types)
    }
    let at = [&which.dims, &yes.dims, &no.dims].map(|from| places(&stretched(from, &dims)).collect());
    let data = match (&yes.data, &no.data) {
        (Data::F32(yes), Data::F32(no)) => Data::F32(of(bits, yes, no, at)?.into()),
        (Data::I64(yes), Data::I64(no)) => Data::I64(of(bits, yes, no, at)?.into()),
        (Data::Bool(yes), Data::Bool(no)) => Data::Bool(of(bits, yes, no, at)?.into()),
        (yes, no) => {
            let yes = yes.sizes().ok_or(Unknown::Types)?;
            let no = no.sizes().ok_or(Unknown::Types)?;
            Data::of_sizes(of(bits, &yes, &no, at)?)
        }
    };
    Ok(Tensor { dims, data })
}
