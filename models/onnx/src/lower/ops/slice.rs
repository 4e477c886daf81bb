//! Parts of values, and values one behind the other: Slice, Split, Concat, Pad.

use millrace_graph::{Axis, Op, Operand, PadMode, Shape};

use crate::known::{self, Data, Size, Tensor};
use crate::lower::call::{self, Call};
use crate::lower::emit::{Batch, Emitter, MIXES};
use crate::lower::ops::layout::spread;
use crate::lower::ops::{Answer, one};
use crate::lower::value::Value;
use crate::problem::{Refusal, advise, refuse};

/// A part of an axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) start: usize,
    pub(super) step: isize,
    pub(super) length: usize,
}

impl Part {
    fn whole(axis: Axis) -> Self {
        Self {
            start: 0,
            step: 1,
            length: axis.size,
        }
    }
}

/// A part of each axis; whole ones of the batched axis.
pub(super) fn cut(em: &mut Emitter, x: &Value, parts: &[Part]) -> Result<Value, Refusal> {
    let shape = em.shape(x)?;
    let is_whole = |(part, axis): (&Part, &Axis)| part.start == 0 && part.step == 1 && part.length == axis.size;
    if parts.iter().zip(&shape.0).all(is_whole) {
        return Ok(x.clone());
    }
    if let Value::Known(tensor) = x {
        let axes: Vec<(usize, isize, usize)> = parts.iter().map(|part| (part.start, part.step, part.length)).collect();
        return Ok(Value::Known(known::slice(tensor, &axes, &mut em.budget)?));
    }
    let result = parts.iter().zip(&shape.0).map(|(part, axis)| Axis {
        size: part.length,
        ..*axis
    });
    let result = Shape(result.collect());
    if result.elements() == Some(0) {
        return Ok(Value::Empty(result));
    }
    let op = Op::Slice {
        starts: parts.iter().map(|part| part.start).collect(),
        steps: parts.iter().map(|part| part.step).collect(),
        shape: result,
    };
    let operand = em.operand(x)?;
    em.value(op, &[operand], x.kind())
}

/// What `start:end:step` is of an axis, as in NumPy.
fn part(axis: Axis, start: Size, end: Size, step: i64) -> Result<Part, Refusal> {
    if axis.batched {
        return batched_part(axis, start, end, step);
    }
    let (Some(start), Some(end)) = (start.number(), end.number()) else {
        return Err(refuse("its bounds depend on how many items a batch has"));
    };
    let length = i64::try_from(axis.size).map_err(|_| refuse("an axis is too long"))?;
    let from_end = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
    let (start, count) = match step {
        1.. => {
            let (start, end) = (from_end(start).clamp(0, length), from_end(end).clamp(0, length));
            (start, end.saturating_sub(start))
        }
        0 => return Err(refuse("its step is 0")),
        _ => {
            let most = length.saturating_sub(1);
            let (start, end) = (from_end(start).clamp(-1, most), from_end(end).clamp(-1, most));
            (start, start.saturating_sub(end))
        }
    };
    let count = u64::try_from(count).unwrap_or(0).div_ceil(step.unsigned_abs());
    Ok(Part {
        start: usize::try_from(start).unwrap_or(0),
        step: isize::try_from(step).unwrap_or(isize::MAX),
        length: usize::try_from(count).unwrap_or(0),
    })
}

/// All items, or a refusal.
fn batched_part(axis: Axis, start: Size, end: Size, step: i64) -> Result<Part, Refusal> {
    let length = Size {
        fixed: 0,
        batch: i64::try_from(axis.size).unwrap_or(i64::MAX),
    };
    // The standard's "to the end" is a number that no axis reaches.
    let to_end = end == length || end.number().is_some_and(|end| end >= i64::from(i32::MAX));
    match start == Size::fixed(0) && to_end && step == 1 {
        true => Ok(Part::whole(axis)),
        false => Err(advise("it takes some items of a batch", MIXES)),
    }
}

pub(crate) fn slice(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let shape = em.shape(x)?;
    let fixed = |numbers: Vec<i64>| numbers.into_iter().map(Size::fixed).collect::<Vec<Size>>();
    let sizes = |input: usize, what: &str| -> Result<Option<Vec<Size>>, Refusal> {
        match call.known(input, what)? {
            Some(tensor) => Ok(Some(
                tensor
                    .data
                    .sizes()
                    .ok_or_else(|| refuse(format!("its {what} are not whole")))?,
            )),
            None => Ok(None),
        }
    };
    let (starts, ends, axes, steps) = match call.version < 10 {
        true => (
            call.ints("starts")?.map(fixed),
            call.ints("ends")?.map(fixed),
            call.ints("axes")?,
            None,
        ),
        false => (
            sizes(1, "starts")?,
            sizes(2, "ends")?,
            call.known_ints(3, "axes")?,
            call.known_ints(4, "steps")?,
        ),
    };
    let (starts, ends) = starts.zip(ends).ok_or_else(|| refuse("it has no starts or ends"))?;
    let axes = match axes {
        Some(axes) => axes
            .iter()
            .map(|at| call::axis(*at, shape.rank()))
            .collect::<Result<Vec<_>, _>>()?,
        None => (0..starts.len()).collect(),
    };
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if starts.len() != ends.len() || starts.len() != axes.len() || starts.len() != steps.len() {
        return Err(refuse("it has different numbers of starts, ends, axes and steps"));
    }
    let mut parts: Vec<Part> = shape.0.iter().map(|axis| Part::whole(*axis)).collect();
    for ((start, end), (at, step)) in starts.iter().zip(&ends).zip(axes.iter().zip(&steps)) {
        let axis = *shape.0.get(*at).ok_or_else(|| refuse("its axis is beyond the last"))?;
        if let Some(place) = parts.get_mut(*at) {
            *place = part(axis, *start, *end, *step)?;
        }
    }
    one(cut(em, x, &parts)?)
}

pub(crate) fn split(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let shape = em.shape(x)?;
    let at = call::axis(call.int_or("axis", 0)?, shape.rank())?;
    let axis = *shape.0.get(at).ok_or_else(|| refuse("its axis is beyond the last"))?;
    let given = match call.ints("split")? {
        Some(lengths) => Some(lengths),
        None => call.known_ints(1, "lengths")?,
    };
    let count = match call.int("num_outputs")? {
        Some(count) => usize::try_from(count).unwrap_or(0),
        None => call.wanted.len(),
    };
    let lengths = match given {
        Some(lengths) => lengths
            .iter()
            .map(|length| usize::try_from(*length).ok())
            .collect::<Option<Vec<_>>>(),
        // The last is shorter where they cannot be equal.
        None if count > 0 => Some(pieces(axis.size, axis.size.div_ceil(count))),
        None => None,
    };
    let lengths = lengths.ok_or_else(|| refuse("its lengths are below 0, or it has no outputs"))?;
    one_behind_the_other(em, x, at, &lengths)
}

/// Lengths of pieces that are equal but for the last.
pub(super) fn pieces(total: usize, each: usize) -> Vec<usize> {
    let count = total.div_ceil(each.max(1));
    (0..count)
        .map(|piece| each.min(total.saturating_sub(piece.saturating_mul(each))))
        .collect()
}

/// Parts of an axis that follow one another and make up the whole.
pub(super) fn one_behind_the_other(em: &mut Emitter, x: &Value, at: usize, lengths: &[usize]) -> Answer {
    let shape = em.shape(x)?;
    let axis = *shape.0.get(at).ok_or_else(|| refuse("its axis is beyond the last"))?;
    if lengths.iter().copied().fold(0, usize::saturating_add) != axis.size {
        return Err(refuse(format!(
            "its lengths do not sum to the {} of the axis",
            axis.size
        )));
    }
    if axis.batched && lengths.len() != 1 {
        return Err(advise("it takes some items of a batch", MIXES));
    }
    let mut start = 0_usize;
    let mut outputs = Vec::new();
    for length in lengths {
        let mut parts: Vec<Part> = shape.0.iter().map(|axis| Part::whole(*axis)).collect();
        if let Some(place) = parts.get_mut(at) {
            *place = Part {
                start,
                step: 1,
                length: *length,
            };
        }
        outputs.push(cut(em, x, &parts)?);
        start = start.saturating_add(*length);
    }
    Ok(outputs)
}

pub(crate) fn concat(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let inputs = call.all()?;
    let axis = call.int("axis")?.ok_or_else(|| refuse("it has no `axis`"))?;
    one(joined(em, &inputs, axis)?)
}

/// Values one behind the other along an axis.
pub(super) fn joined(em: &mut Emitter, inputs: &[Value], axis: i64) -> Result<Value, Refusal> {
    let first = inputs.iter().find(|value| !matches!(value, Value::Empty(_)));
    let first = first.or(inputs.first()).ok_or_else(|| refuse("it has no inputs"))?;
    let rank = em.shape(first)?.rank();
    let axis = call::axis(axis, rank)?;
    if let Some(tensors) = inputs
        .iter()
        .map(|value| value.known().cloned())
        .collect::<Option<Vec<Tensor>>>()
    {
        return Ok(Value::Known(known::concat(&tensors, axis, &mut em.budget)?));
    }
    // An input without numbers adds nothing.
    let mut rest = Vec::new();
    for input in inputs {
        if em.shape(input)?.elements() != Some(0) {
            rest.push(input.clone());
        }
    }
    if let Batch::Reread(items) = em.batch {
        rest = for_each_item(em, &rest, axis, items)?;
    }
    if let [only] = &rest[..] {
        return Ok(only.clone());
    }
    let operands: Vec<Operand> = rest.iter().map(|value| em.operand(value)).collect::<Result<_, _>>()?;
    em.value(Op::Concat { axis }, &operands, first.kind())
}

/// Where some inputs are of the batch, the others are made so: the file has them for its own number of items.
fn for_each_item(em: &mut Emitter, inputs: &[Value], along: usize, items: usize) -> Result<Vec<Value>, Refusal> {
    let shapes: Vec<Shape> = inputs.iter().map(|input| em.shape(input)).collect::<Result<_, _>>()?;
    let batched = |shape: &Shape| shape.0.iter().position(|axis| axis.batched);
    let Some(like) = shapes.iter().find(|shape| batched(shape).is_some()) else {
        return Ok(inputs.to_vec());
    };
    let at = batched(like).unwrap_or(0);
    let mut all = Vec::new();
    for (input, shape) in inputs.iter().zip(&shapes) {
        if at == along || batched(shape).is_some() {
            all.push(input.clone());
            continue;
        }
        let operand = em.operand(input)?;
        let operand = em.for_each_item(operand, like, items)?;
        let one = em.given(operand, input.kind())?;
        let mut target = em.shape(&one)?;
        if let (Some(place), Some(axis)) = (target.0.get_mut(at), like.0.get(at))
            && *place == Axis::fixed(1)
        {
            *place = *axis;
        }
        all.push(spread(em, &one, &target)?);
    }
    Ok(all)
}

pub(crate) fn pad(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let rank = em.shape(x)?.rank();
    let is_old = call.version < 11;
    let pads = match is_old {
        true => call.ints("pads")?,
        false => call.known_ints(1, "pads")?,
    };
    let pads = pads.ok_or_else(|| refuse("it has no pads"))?;
    let number = match is_old {
        true => call.float_or("value", 0.0)?,
        false => match call.known(2, "number to pad with")? {
            Some(tensor) if tensor.data.len() == 0 => 0.0,
            Some(tensor) => tensor
                .single()
                .ok_or_else(|| refuse("it pads with more than one number"))?,
            None => 0.0,
        },
    };
    let axes = match call.known_ints(3, "axes")? {
        Some(axes) => axes
            .iter()
            .map(|at| call::axis(*at, rank))
            .collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != axes.len().saturating_mul(2) {
        return Err(refuse(format!("it has {} pads for {} axes", pads.len(), axes.len())));
    }
    let (mut before, mut after) = (vec![0_i64; rank], vec![0_i64; rank]);
    let (first, second) = pads.split_at(axes.len());
    for (at, (begin, end)) in axes.iter().zip(first.iter().zip(second)) {
        if let (Some(before), Some(after)) = (before.get_mut(*at), after.get_mut(*at)) {
            (*before, *after) = (*begin, *end);
        }
    }
    let mode = match call.text_or("mode", "constant")? {
        "constant" => PadMode::Constant(number),
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => PadMode::Wrap,
        other => return Err(refuse(format!("mode `{}` is not known", crate::shown(other)))),
    };
    one(padded(em, x, (&before, &after), mode)?)
}

/// Pads; those below 0 cut.
pub(super) fn padded(em: &mut Emitter, x: &Value, pads: (&[i64], &[i64]), mode: PadMode) -> Result<Value, Refusal> {
    let (before, after) = pads;
    let shape = em.shape(x)?;
    let mut parts = Vec::new();
    for (axis, (before, after)) in shape.0.iter().zip(before.iter().zip(after)) {
        let cut = |pad: i64| usize::try_from(pad.saturating_neg()).unwrap_or(0);
        let length = axis.size.checked_sub(cut(*before).saturating_add(cut(*after)));
        let length = length.filter(|length| *length > 0 && (!axis.batched || (*before, *after) == (0, 0)));
        let length = length.ok_or_else(|| {
            refuse(format!(
                "pads {before} and {after} leave nothing of an axis of {axis}, or are of the batch axis"
            ))
        })?;
        parts.push(Part {
            start: cut(*before),
            step: 1,
            length,
        });
    }
    let x = cut(em, x, &parts)?;
    let positive = |pads: &[i64]| {
        pads.iter()
            .map(|pad| usize::try_from(*pad).unwrap_or(0))
            .collect::<Vec<usize>>()
    };
    let (before, after) = (positive(before), positive(after));
    if before.iter().chain(&after).all(|pad| *pad == 0) {
        return Ok(x);
    }
    if let (Value::Known(tensor), PadMode::Constant(number)) = (&x, mode) {
        return constant_padded(em, tensor, (&before, &after), number);
    }
    let operand = em.operand(&x)?;
    em.value(Op::Pad { before, after, mode }, &[operand], x.kind())
}

/// Known numbers with others around them.
fn constant_padded(
    em: &mut Emitter,
    tensor: &Tensor,
    (before, after): (&[usize], &[usize]),
    number: f32,
) -> Result<Value, Refusal> {
    let mut result = tensor.clone();
    for (axis, (before, after)) in before.iter().zip(after).enumerate() {
        let block = |em: &mut Emitter, length: usize| -> Result<Tensor, Refusal> {
            let mut dims = result.dims.clone();
            if let Some(dim) = dims.get_mut(axis) {
                *dim = length;
            }
            let elements = em.budget.spend(&dims)?;
            let data = match &tensor.data {
                Data::F32(_) => Data::F32(vec![number; elements].into()),
                Data::Bool(_) => Data::Bool(vec![number != 0.0; elements].into()),
                Data::I64(_) | Data::Sizes(_) => Data::I64(vec![number as i64; elements].into()),
            };
            Ok(Tensor { dims, data })
        };
        let parts = [block(em, *before)?, result.clone(), block(em, *after)?];
        result = known::concat(&parts, axis, &mut em.budget)?;
    }
    Ok(Value::Known(result))
}
