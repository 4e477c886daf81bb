//! Sequences of tensors, whose lengths are known: they are gone when the graph is made.

use crate::known::Tensor;
use crate::lower::call::{self, Call};
use crate::lower::emit::Emitter;
use crate::lower::ops::slice::{joined, one_behind_the_other, pieces};
use crate::lower::ops::{Answer, layout, one};
use crate::lower::value::Value;
use crate::problem::{Refusal, refuse};

fn parts<'c>(call: &'c Call<'_, '_>, input: usize) -> Result<&'c [Value], Refusal> {
    match call.input(input)? {
        Value::Sequence(parts) => Ok(parts),
        _ => Err(refuse("its input is no sequence of tensors")),
    }
}

pub(crate) fn split(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let shape = em.shape(x)?;
    let axis = call::axis(call.int_or("axis", 0)?, shape.rank())?;
    let length = shape.0.get(axis).map_or(0, |axis| axis.size);
    let split = call.known(1, "split")?;
    let lengths = match split {
        None => vec![1; length],
        Some(tensor) => {
            let numbers = tensor.data.ints().ok_or_else(|| refuse("its lengths are not whole"))?;
            let numbers: Option<Vec<usize>> = numbers.iter().map(|number| usize::try_from(*number).ok()).collect();
            let numbers = numbers.ok_or_else(|| refuse("its lengths are below 0"))?;
            match (tensor.dims.is_empty(), &numbers[..]) {
                (true, [each]) if *each > 0 => pieces(length, *each),
                _ => numbers,
            }
        }
    };
    em.budget.spend(&[lengths.len()])?;
    let mut parts = one_behind_the_other(em, x, axis, &lengths)?;
    if split.is_none() && !call.flag("keepdims", true)? {
        for part in &mut parts {
            let mut shape = em.shape(part)?;
            shape.0.remove(axis);
            *part = layout::under(em, part, shape)?;
        }
    }
    one(Value::Sequence(parts))
}

pub(crate) fn construct(_: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    one(Value::Sequence(call.all()?))
}

pub(crate) fn at(_: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let parts = parts(call, 0)?;
    let at = call.known(1, "index")?.and_then(Tensor::single_int);
    let place = at.and_then(|at| crate::known::index(at, parts.len()));
    match place.and_then(|place| parts.get(place)) {
        Some(part) => one(part.clone()),
        None => Err(refuse(format!("its index is not one of {}", parts.len()))),
    }
}

pub(crate) fn concat(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let mut parts = parts(call, 0)?.to_vec();
    let axis = call.int("axis")?.ok_or_else(|| refuse("it has no `axis`"))?;
    if call.flag("new_axis", false)? {
        for part in &mut parts {
            let mut shape = em.shape(part)?;
            let at = call::axis(axis, shape.rank().saturating_add(1))?;
            shape.0.insert(at, millrace_graph::Axis::fixed(1));
            *part = layout::under(em, part, shape)?;
        }
    }
    one(joined(em, &parts, axis)?)
}
