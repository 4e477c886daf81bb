//! Numbers from nothing: constants, ranges, and one number for a whole shape.

use crate::known::{Data, Kind, Size, Tensor};
use crate::limits;
use crate::lower::call::Call;
use crate::lower::emit::Emitter;
use crate::lower::ops::layout::{lengths, shape_input, spread};
use crate::lower::ops::{Answer, one};
use crate::lower::rows::Rows;
use crate::lower::value::Value;
use crate::problem::{Refusal, advise, refuse};

pub(crate) fn constant(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    if let Some(view) = call.tensor("value")? {
        if view.external.is_some() {
            return Err(refuse("its value is in another file, where only initialisers may be"));
        }
        let tensor = call.weights.get(&view)?;
        em.budget
            .allow(tensor.data.len().saturating_mul(limits::FOLDED_PER_NUMBER));
        return one(Value::Known(tensor));
    }
    if call.attribute("value_float").is_some() {
        return one(Value::Known(Tensor::floats(
            Vec::new(),
            vec![call.float_or("value_float", 0.0)?],
        )));
    }
    if call.attribute("value_int").is_some() {
        return one(Value::Known(Tensor::ints(
            Vec::new(),
            vec![call.int_or("value_int", 0)?],
        )));
    }
    if let Some(floats) = call.floats("value_floats")? {
        return one(Value::Known(Tensor::floats(vec![floats.len()], floats)));
    }
    if let Some(ints) = call.ints("value_ints")? {
        return one(Value::Known(Tensor::ints(vec![ints.len()], ints)));
    }
    let other = call.attributes.first().map_or("none", |attribute| attribute.name);
    Err(refuse(format!(
        "its value is `{}`, which is not supported",
        crate::shown(other)
    )))
}

pub(crate) fn of_shape(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let shape = lengths(&shape_input(call, 0)?.ok_or_else(|| refuse("it has no shape"))?)?;
    let number = match call.tensor("value")? {
        Some(view) if view.elements() == 1 => call.weights.get(&view)?.data,
        Some(_) => return Err(refuse("its value is more than one number")),
        None => Data::F32([0.0].into()),
    };
    one(spread(em, &Value::Known(Tensor::scalar(number)), &shape)?)
}

pub(crate) fn range(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let mut bounds = Vec::new();
    for (input, what) in [(0, "start"), (1, "end"), (2, "step")] {
        let tensor = call
            .known(input, what)?
            .ok_or_else(|| refuse(format!("it has no {what}")))?;
        if input == 1 && counts_items(call)? {
            return one(Value::Rows(Rows::counting()));
        }
        if matches!(tensor.data, Data::Sizes(_)) {
            return Err(advise(
                format!("its {what} depends on how many items a batch has"),
                "export with a batch of 1, or without indices over the items of a batch",
            ));
        }
        bounds.push(tensor);
    }
    let is_whole = bounds.iter().all(|tensor| tensor.data.kind() == Kind::Int);
    let result = match is_whole {
        true => whole_range(em, &bounds)?,
        false => float_range(em, &bounds)?,
    };
    one(Value::Known(result))
}

/// Whether it is `0, 1, 2, ..` up to the number of items.
fn counts_items(call: &Call<'_, '_>) -> Result<bool, Refusal> {
    let single = |input: usize| call.optional(input).and_then(Value::known).and_then(Tensor::single_int);
    let end = call.known(1, "end")?.and_then(|end| end.data.sizes());
    let is_items = end.is_some_and(|end| end[..] == [Size { fixed: 0, batch: 1 }]);
    Ok(is_items && single(0) == Some(0) && single(2) == Some(1))
}

fn whole_range(em: &mut Emitter, bounds: &[&Tensor]) -> Result<Tensor, Refusal> {
    let single = |tensor: &&Tensor| tensor.single_int().ok_or_else(|| refuse("a bound is not one number"));
    let numbers: Vec<i64> = bounds.iter().map(single).collect::<Result<_, _>>()?;
    let [start, end, step] = numbers[..] else {
        return Err(refuse("it has too few inputs"));
    };
    let distance = i128::from(end).saturating_sub(i128::from(start));
    let count = match step {
        0 => return Err(refuse("its step is 0")),
        _ if (distance > 0) != (step > 0) || distance == 0 => 0,
        _ => distance.unsigned_abs().div_ceil(step.unsigned_abs().into()),
    };
    let count = usize::try_from(count).map_err(|_| refuse("it has too many numbers"))?;
    em.budget.spend(&[count])?;
    let numbers = (0..count as i64)
        .map(|at| start.wrapping_add(at.wrapping_mul(step)))
        .collect();
    Ok(Tensor::ints(vec![count], numbers))
}

fn float_range(em: &mut Emitter, bounds: &[&Tensor]) -> Result<Tensor, Refusal> {
    let single = |tensor: &&Tensor| {
        tensor
            .single()
            .map(f64::from)
            .ok_or_else(|| refuse("a bound is not one number"))
    };
    let numbers: Vec<f64> = bounds.iter().map(single).collect::<Result<_, _>>()?;
    let [start, end, step] = numbers[..] else {
        return Err(refuse("it has too few inputs"));
    };
    let count = ((end - start) / step).ceil().max(0.0);
    if !count.is_finite() || count > 1e9 {
        return Err(refuse("it has too many numbers"));
    }
    let count = count as usize;
    em.budget.spend(&[count])?;
    let numbers = (0..count).map(|at| (start + at as f64 * step) as f32).collect();
    Ok(Tensor::floats(vec![count], numbers))
}
