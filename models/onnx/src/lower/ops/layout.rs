//! Shapes, and operators that give the same numbers another one.

use millrace_graph::{Axis, Op, Operand, Shape};

use crate::known::{self, Data, Kind, Size, Tensor};
use crate::lower::call::{self, Call};
use crate::lower::emit::{Emitter, product};
use crate::lower::ops::{Answer, one};
use crate::lower::reread::reshaped;
use crate::lower::value::Value;
use crate::problem::{Refusal, advise, refuse};

/// A length as a number of shape arithmetic.
fn size(axis: Axis) -> Result<Size, Refusal> {
    let size = i64::try_from(axis.size).map_err(|_| refuse("an axis is too long"))?;
    Ok(match axis.batched {
        true => Size { fixed: 0, batch: size },
        false => Size::fixed(size),
    })
}

/// A number of shape arithmetic as a length; nothing where it is none.
pub(crate) fn length(size: Size) -> Option<Axis> {
    match (size.fixed, size.batch) {
        (fixed, 0) => usize::try_from(fixed).ok().map(Axis::fixed),
        (0, batch) => usize::try_from(batch).ok().map(Axis::batch),
        _ => None,
    }
}

/// A shape that an input says; it must be known but for the number of items.
pub(super) fn shape_input(call: &Call<'_, '_>, input: usize) -> Result<Option<Vec<Size>>, Refusal> {
    match call.known(input, "shape")? {
        Some(tensor) => tensor
            .data
            .sizes()
            .map(Some)
            .ok_or_else(|| refuse("its shape is not of whole numbers")),
        None => Ok(None),
    }
}

pub(super) fn lengths(sizes: &[Size]) -> Result<Shape, Refusal> {
    let axes: Option<Vec<Axis>> = sizes.iter().map(|size| length(*size)).collect();
    axes.map(Shape)
        .ok_or_else(|| refuse("a length of its shape is below 0, or no multiple of the number of items"))
}

pub(crate) fn shape(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let shape = em.shape(call.input(0)?)?;
    let rank = i64::try_from(shape.rank()).unwrap_or(i64::MAX);
    let clamp = |at: i64| {
        if at < 0 {
            at.saturating_add(rank).max(0)
        } else {
            at.min(rank)
        }
    };
    let start = usize::try_from(clamp(call.int_or("start", 0)?)).unwrap_or(0);
    let end = usize::try_from(clamp(call.int_or("end", rank)?)).unwrap_or(0);
    let axes = shape.0.get(start..end.max(start)).unwrap_or_default();
    let sizes: Vec<Size> = axes.iter().map(|axis| size(*axis)).collect::<Result<_, _>>()?;
    one(Value::Known(Tensor::list(Data::of_sizes(sizes))))
}

pub(crate) fn size_of(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let shape = em.shape(call.input(0)?)?;
    let size = size(product(&shape.0)?)?;
    one(Value::Known(Tensor::scalar(Data::of_sizes(vec![size]))))
}

/// A value under a shape that is known to have as many numbers.
pub(super) fn under(em: &mut Emitter, value: &Value, shape: Shape) -> Result<Value, Refusal> {
    if let Value::Known(tensor) = value {
        if shape.is_batched() {
            return Err(refuse(
                "numbers that are known cannot become those of a batch by a change of shape",
            ));
        }
        let dims = shape.0.iter().map(|axis| axis.size).collect();
        return Ok(Value::Known(known::reshape(tensor, dims, &mut em.budget)?));
    }
    let operand = em.operand(value)?;
    let result = em.reshape(operand, shape)?;
    em.given(result, value.kind())
}

pub(crate) fn reshape(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let target = match call.ints("shape")? {
        Some(shape) => shape.into_iter().map(Size::fixed).collect(),
        None => shape_input(call, 1)?.ok_or_else(|| refuse("it has no shape"))?,
    };
    let keeps_zero = call.flag("allowzero", false)?;
    let source = em.placed(x)?;
    let shape = reshaped(&source, &target, keeps_zero, em.batch)?;
    one(under(em, x, shape)?)
}

pub(crate) fn flatten(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let shape = em.shape(x)?;
    let rank = shape.rank();
    let at = call.int_or("axis", 1)?;
    // One beyond the last axis is allowed.
    let at = match usize::try_from(at) {
        Ok(at) if at == rank => rank,
        _ => call::axis(at, rank)?,
    };
    let (before, behind) = shape
        .0
        .split_at_checked(at)
        .ok_or_else(|| refuse("its axis is beyond the last"))?;
    let flat = Shape(vec![product(before)?, product(behind)?]);
    one(under(em, x, flat)?)
}

pub(crate) fn squeeze(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let mut shape = em.shape(x)?;
    let axes = match call.axes(1)? {
        Some(axes) => call::sorted_axes(&axes, shape.rank())?,
        None => {
            let ones = shape.0.iter().enumerate().filter(|(_, axis)| **axis == Axis::fixed(1));
            ones.map(|(at, _)| at).collect()
        }
    };
    for at in axes.into_iter().rev() {
        match shape.0.get(at) {
            Some(axis) if *axis == Axis::fixed(1) => drop(shape.0.remove(at)),
            Some(axis) if axis.batched => {
                return Err(advise(
                    "it drops the axis of the batch",
                    "leave the batch axis as the first of every value",
                ));
            }
            _ => return Err(refuse(format!("axis {at} of {shape} has not length 1"))),
        }
    }
    one(under(em, x, shape)?)
}

pub(crate) fn unsqueeze(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let mut shape = em.shape(x)?;
    let axes = call.axes(1)?.ok_or_else(|| refuse("it has no axes"))?;
    let rank = shape.rank().saturating_add(axes.len());
    for at in call::sorted_axes(&axes, rank)? {
        if at > shape.rank() {
            return Err(refuse(format!("axis {at} is beyond the last")));
        }
        shape.0.insert(at, Axis::fixed(1));
    }
    one(under(em, x, shape)?)
}

pub(crate) fn transpose(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let rank = em.shape(x)?.rank();
    let order = match call.ints("perm")? {
        Some(order) => {
            let axes = order.iter().map(|at| call::axis(*at, rank));
            let axes: Result<Vec<usize>, Refusal> = axes.collect();
            axes.map_err(|refusal| refuse(format!("`perm`: {}", refusal.what)))?
        }
        None => (0..rank).rev().collect(),
    };
    if order.len() != rank || (0..rank).any(|axis| !order.contains(&axis)) {
        return Err(refuse(format!(
            "`perm` {order:?} does not name each of {rank} axes once"
        )));
    }
    if let Value::Known(tensor) = x {
        return one(Value::Known(known::transpose(tensor, &order, &mut em.budget)?));
    }
    let operand = em.operand(x)?;
    let result = em.transpose(operand, &order)?;
    one(em.given(result, x.kind())?)
}

/// The shape that two broadcast to, one of which may be of a batch.
fn broadcast(a: &Shape, b: &Shape, batch: crate::lower::emit::Batch) -> Result<Shape, Refusal> {
    let rank = a.rank().max(b.rank());
    let at = |shape: &Shape, axis: usize| {
        let own = axis.checked_sub(rank.saturating_sub(shape.rank()));
        own.and_then(|axis| shape.0.get(axis).copied())
            .unwrap_or(Axis::fixed(1))
    };
    let is_same = |batched: Axis, fixed: Axis| {
        let crate::lower::emit::Batch::Reread(items) = batch else {
            return false;
        };
        batched.batched && !fixed.batched && batched.at(items) == Some(fixed.size)
    };
    let axes = (0..rank).map(|axis| match (at(a, axis), at(b, axis)) {
        (a, b) if a == b => Ok(a),
        (a, b) if b == Axis::fixed(1) || is_same(a, b) => Ok(a),
        (a, b) if a == Axis::fixed(1) || is_same(b, a) => Ok(b),
        _ => Err(refuse(format!("shapes {a} and {b} do not broadcast"))),
    });
    axes.collect::<Result<_, _>>().map(Shape)
}

/// Broadcasts a value to a shape.
pub(super) fn spread(em: &mut Emitter, value: &Value, target: &Shape) -> Result<Value, Refusal> {
    let own = em.shape(value)?;
    let shape = broadcast(&own, target, em.batch)?;
    if shape == own {
        return Ok(value.clone());
    }
    if let Value::Known(tensor) = value
        && !shape.is_batched()
    {
        let dims: Vec<usize> = shape.0.iter().map(|axis| axis.size).collect();
        return Ok(Value::Known(known::expand(tensor, &dims, &mut em.budget)?));
    }
    let operand = em.operand(value)?;
    em.value(Op::Expand(shape), &[operand], value.kind())
}

pub(crate) fn expand(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let target = lengths(&shape_input(call, 1)?.ok_or_else(|| refuse("it has no shape"))?)?;
    one(spread(em, call.input(0)?, &target)?)
}

/// The value several times along each axis.
pub(crate) fn tile(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let times = lengths(&shape_input(call, 1)?.ok_or_else(|| refuse("it has no repeats"))?)?;
    let shape = em.shape(x)?;
    if times.rank() != shape.rank() {
        return Err(refuse(format!(
            "it has {} repeats for {} axes",
            times.rank(),
            shape.rank()
        )));
    }
    let (mut apart, mut spread_out, mut result) = (Vec::new(), Vec::new(), Vec::new());
    for (axis, times) in shape.0.iter().zip(&times.0) {
        if *times == Axis::fixed(1) {
            apart.push(*axis);
            spread_out.push(*axis);
            result.push(*axis);
            continue;
        }
        if *axis != Axis::fixed(1) {
            apart.push(Axis::fixed(1));
            apart.push(*axis);
            spread_out.push(*times);
            spread_out.push(*axis);
        } else {
            apart.push(*axis);
            spread_out.push(*times);
        }
        result.push(product(&[*times, *axis])?);
    }
    let x = under(em, x, Shape(apart))?;
    let x = spread(em, &x, &Shape(spread_out))?;
    one(under(em, &x, Shape(result))?)
}

pub(crate) fn identity(_: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    one(call.input(0)?.clone())
}

/// Passes what it gets; only in training it does more.
pub(crate) fn dropout(_: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    const EXPORT: &str = "call `model.eval()` before the export";
    if call.is_wanted(1) {
        return Err(advise("its mask is used", EXPORT));
    }
    let is_training = call
        .known_ints(2, "mode")?
        .is_some_and(|bits| bits.iter().any(|bit| *bit != 0));
    let ratio = call.known_floats(1, "ratio")?.and_then(|ratio| ratio.first().copied());
    match is_training && ratio != Some(0.0) {
        true => Err(advise("it is in training mode", EXPORT)),
        false => one(call.input(0)?.clone()),
    }
}

/// The same numbers as a whole operand: for operators that take a value only.
pub(super) fn as_value(em: &mut Emitter, operand: Operand, kind: Kind) -> Answer {
    one(em.given(operand, kind)?)
}
