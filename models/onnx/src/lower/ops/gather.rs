//! Numbers at places that are named by others.

use millrace_graph::Op;

use crate::known::{self, Running};
use crate::lower::call::{self, CONSTANT, Call};
use crate::lower::emit::{Batch, Emitter, MIXES};
use crate::lower::ops::{Answer, advice_for, one};
use crate::lower::rows::Rows;
use crate::lower::value::Value;
use crate::problem::{Refusal, advise, refuse};

pub(crate) fn gather(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let shape = em.shape(x)?;
    let axis = call::axis(call.int_or("axis", 0)?, shape.rank())?;
    let along = shape
        .0
        .get(axis)
        .copied()
        .ok_or_else(|| refuse("its axis is beyond the last"))?;
    let Value::Known(indices) = indices else {
        return Err(advise("its indices are computed from the input", CONSTANT));
    };
    if let (true, 0, Batch::Reread(items)) = (along.batched, axis, em.batch)
        && let Some(rows) = Rows::of_file(indices, items, along.size)
    {
        return one(rows.gather(em, x)?);
    }
    if along.batched {
        return Err(advise("it takes some items of a batch", MIXES));
    }
    let numbers = indices
        .data
        .ints()
        .ok_or_else(|| refuse("its indices depend on how many items a batch has"))?;
    let places: Option<Vec<usize>> = numbers.iter().map(|number| known::index(*number, along.size)).collect();
    let places = places.ok_or_else(|| refuse(format!("an index is not one of the {} of the axis", along.size)))?;
    if let Value::Known(tensor) = x {
        return one(Value::Known(known::gather(
            tensor,
            axis,
            &places,
            &indices.dims,
            &mut em.budget,
        )?));
    }
    let operand = em.operand(x)?;
    let op = Op::Gather {
        axis,
        indices: places,
        shape: indices.dims.clone(),
    };
    one(em.value(op, &[operand], x.kind())?)
}

/// The inputs, all of which must be known.
fn all<'c>(call: &'c Call<'_, '_>, count: usize) -> Result<Vec<&'c known::Tensor>, Refusal> {
    match call.all_known() {
        Some(inputs) if inputs.len() == count => Ok(inputs),
        Some(inputs) => Err(refuse(format!("it has {} inputs; {count} are supported", inputs.len()))),
        None => Err(advise(
            "its inputs are computed while the network runs; it is supported for known numbers",
            match call.operator {
                "NonZero" => advice_for("NonZero"),
                _ => CONSTANT,
            },
        )),
    }
}

pub(crate) fn of_known(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let wrong = || refuse("it has too few inputs");
    let axis = |x: &known::Tensor| call::axis(call.int_or("axis", 0)?, x.dims.len());
    if call.operator.starts_with("Scatter") && call.text_or("reduction", "none")? != "none" {
        return Err(refuse("`reduction` is not supported"));
    }
    let result = match call.operator {
        "GatherElements" => {
            let inputs = all(call, 2)?;
            let [x, indices] = inputs[..] else { return Err(wrong()) };
            known::gather_elements(x, indices, axis(x)?, &mut em.budget)?
        }
        "NonZero" => known::non_zero(all(call, 1)?.first().ok_or_else(wrong)?, &mut em.budget)?,
        "GatherND" => {
            if let Some(value) = of_first_axis(em, call)? {
                return one(value);
            }
            let inputs = all(call, 2)?;
            let [x, indices] = inputs[..] else { return Err(wrong()) };
            let batch =
                usize::try_from(call.int_or("batch_dims", 0)?).map_err(|_| refuse("`batch_dims` is below 0"))?;
            known::gather_nd(x, indices, batch, &mut em.budget)?
        }
        "ScatterND" => {
            let inputs = all(call, 3)?;
            let [x, indices, updates] = inputs[..] else {
                return Err(wrong());
            };
            known::scatter_nd(x, indices, updates, &mut em.budget)?
        }
        "ScatterElements" | "Scatter" => {
            let inputs = all(call, 3)?;
            let [x, indices, updates] = inputs[..] else {
                return Err(wrong());
            };
            known::scatter_elements(x, indices, updates, axis(x)?, &mut em.budget)?
        }
        _ if call.optional(0).is_some_and(|x| x.known().is_none()) => return running_sum(em, call),
        _ => {
            let inputs = all(call, 2)?;
            let [x, at] = inputs[..] else { return Err(wrong()) };
            let at = at.single_int().ok_or_else(|| refuse("its axis is no number"))?;
            let how = Running {
                axis: call::axis(at, x.dims.len())?,
                exclusive: call.flag("exclusive", false)?,
                reverse: call.flag("reverse", false)?,
            };
            known::cumulative_sum(x, how, &mut em.budget)?
        }
    };
    one(Value::Known(result))
}

/// Places along the first axis alone: a plain gather, which may run. Swin v2's position tables are read so.
fn of_first_axis(em: &mut Emitter, call: &Call<'_, '_>) -> Result<Option<Value>, Refusal> {
    let (x, Value::Known(indices)) = (call.input(0)?, call.input(1)?) else {
        return Ok(None);
    };
    let (Some((1, dims)), 0, None) = (indices.dims.split_last(), call.int_or("batch_dims", 0)?, x.known()) else {
        return Ok(None);
    };
    let along = em.shape(x)?.0.first().copied();
    let along = along.ok_or_else(|| refuse("it gathers from a single number"))?;
    if along.batched {
        return Err(advise("it takes some items of a batch", MIXES));
    }
    let numbers = indices
        .data
        .ints()
        .ok_or_else(|| refuse("its indices depend on how many items a batch has"))?;
    let places: Option<Vec<usize>> = numbers.iter().map(|number| known::index(*number, along.size)).collect();
    let places = places.ok_or_else(|| refuse(format!("an index is not one of the {} of the axis", along.size)))?;
    let operand = em.operand(x)?;
    let op = Op::Gather {
        axis: 0,
        indices: places,
        shape: dims.to_vec(),
    };
    em.value(op, &[operand], x.kind()).map(Some)
}

/// A sum that runs along an axis at run time: a product with a triangle of ones.
fn running_sum(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let shape = em.shape(x)?;
    let at = call
        .known(1, "axis")?
        .and_then(known::Tensor::single_int)
        .ok_or_else(|| refuse("its axis is no number"))?;
    let axis = call::axis(at, shape.rank())?;
    let length = shape
        .0
        .get(axis)
        .filter(|axis| !axis.batched)
        .map_or(0, |axis| axis.size);
    let last = shape.rank().saturating_sub(1);
    let order: Vec<usize> = (0..=last)
        .map(|at| match at {
            at if at == axis => last,
            at if at == last => axis,
            at => at,
        })
        .collect();
    em.budget.spend(&[length, length])?;
    // Row by column: whether the number at the row is part of the sum at the column.
    let without = i64::from(call.flag("exclusive", false)?);
    let ones = match call.flag("reverse", false)? {
        false => known::triangle(length, length, true, without),
        true => known::triangle(length, length, false, 0_i64.saturating_sub(without)),
    };
    let weight = em.constant(&known::Tensor::floats(vec![length, length], ones))?;
    let operand = em.operand(x)?;
    let turned = em.transpose(operand, &order)?;
    let op = millrace_graph::Linear {
        weight,
        bias: None,
        residual: false,
        activation: None,
    };
    let sums = em.emit(Op::Linear(op), &[turned])?;
    let result = em.transpose(sums, &order)?;
    one(em.given(result, x.kind())?)
}
