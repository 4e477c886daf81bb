//! Places along an axis: where the largest numbers are, and numbers that stand out because their places are named.

use millrace_graph::{Axis, Binary, Op, Operand, Reduction, Shape};

use crate::known::{Kind, Tensor};
use crate::lower::call::{self, CONSTANT, Call};
use crate::lower::emit::{self, Emitter};
use crate::lower::ops::reduce::keeps_items;
use crate::lower::ops::{Answer, advice_for, one};
use crate::lower::value::Value;
use crate::problem::{Refusal, advise, refuse};

/// Largest numbers that are looked for: each takes a few nodes. Classifiers yield five or ten; what takes hundreds is the
/// post-processing of a detector.
const MOST: usize = 32;

/// The largest or smallest numbers along an axis in order, and their places. One after another: it is found, and then taken
/// out of those that are left.
pub(crate) fn top(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let along = Along::of(em, x, call.int_or("axis", -1)?)?;
    keeps_items(em, x, &[along.axis])?;
    let count = match call.int("k")? {
        Some(count) => count,
        None => call
            .known(1, "number of results")?
            .and_then(Tensor::single_int)
            .ok_or_else(|| advise("its number of results is no whole number", CONSTANT))?,
    };
    let count = match usize::try_from(count) {
        Ok(count) if count > MOST => {
            return Err(advise(
                format!("it takes the largest {count} numbers, and {MOST} are supported"),
                advice_for("TopK"),
            ));
        }
        Ok(count) if count > 0 && count <= along.length => count,
        _ => return Err(refuse(format!("it takes {count} of {} numbers", along.length))),
    };
    let smallest = !call.flag("largest", true)?;
    let operand = em.operand(x)?;
    let (values, places) = along.extremes(em, operand, count, smallest)?;
    let axis = along.axis;
    let values = em.emit(Op::Concat { axis }, &values)?;
    let places = em.emit(Op::Concat { axis }, &places)?;
    Ok(vec![em.given(values, x.kind())?, em.given(places, Kind::Int)?])
}

/// 1 at the place of the largest number along an axis, 0 at the others. Before operator set 13 all axes from the one on are
/// one.
pub(crate) fn hard_max(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let shape = em.shape(x)?;
    let is_old = call.version < 13;
    let axis = call::axis(call.int_or("axis", if is_old { 1 } else { -1 })?, shape.rank())?;
    let mut operand = em.operand(x)?;
    if is_old {
        let mut flat = shape.clone();
        let behind = emit::product(&flat.0.split_off(axis))?;
        flat.0.push(behind);
        operand = em.reshape(operand, flat)?;
    }
    let along = Along::of_shape(&em.shape_of(operand), axis)?;
    let place = along.place(em, operand, false)?;
    let is_there = along.is_at(em, place)?;
    let result = em.reshape(is_there, shape)?;
    one(em.given(result, Kind::Float)?)
}

/// A new axis along which the second of two numbers stands at the place that an index names, and the first elsewhere.
pub(crate) fn one_hot(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let indices = call.input(0)?;
    let depth = call.known(1, "depth")?.and_then(Tensor::single);
    let depth = depth.filter(|depth| (1.0..=MOST_CLASSES).contains(depth));
    let depth = depth.ok_or_else(|| refuse("its depth is missing, or no possible length"))?;
    let values = call.known_floats(2, "values")?.unwrap_or_default();
    let [off, on] = values[..] else {
        return Err(refuse(format!("it has {} values and not two", values.len())));
    };
    let mut shape = em.shape(indices)?;
    let axis = call::axis(call.int_or("axis", -1)?, shape.rank().saturating_add(1))?;
    shape.0.insert(axis, Axis::fixed(1));
    let operand = em.operand(indices)?;
    let places = em.reshape(operand, shape.clone())?;
    // Indices below 0 count from the end.
    let (nothing, length) = (em.number(0.0)?, em.number(depth)?);
    let is_below = em.binary(Binary::Less, places, nothing)?;
    let more = em.binary(Binary::Mul, is_below, length)?;
    let places = em.binary(Binary::Add, places, more)?;
    let along = Along {
        axis,
        length: depth as usize,
        rank: shape.rank(),
    };
    let is_there = along.is_at(em, places)?;
    let (on, off) = (em.number(on)?, em.number(off)?);
    let result = em.emit(Op::Select, &[is_there, on, off])?;
    let kind = call.input(2)?.kind();
    one(em.given(result, kind)?)
}

/// The longest axis that a one-hot makes: beyond it `f32` does not tell places apart.
const MOST_CLASSES: f32 = 16_777_216.0;

/// An axis that places are looked for along.
#[derive(Clone, Copy)]
struct Along {
    axis: usize,
    // Invariant: at least 1.
    length: usize,
    rank: usize,
}

impl Along {
    fn of(em: &Emitter, x: &Value, axis: i64) -> Result<Self, Refusal> {
        let shape = em.shape(x)?;
        Self::of_shape(&shape, call::axis(axis, shape.rank())?)
    }

    fn of_shape(shape: &Shape, axis: usize) -> Result<Self, Refusal> {
        let length = shape.0.get(axis).map(|axis| axis.size).filter(|length| *length > 0);
        Ok(Self {
            axis,
            length: length.ok_or_else(|| refuse("its axis is beyond the last, or empty"))?,
            rank: shape.rank(),
        })
    }

    /// The first place of the largest (or smallest) number; the axis stays with length 1.
    fn place(self, em: &mut Emitter, x: Operand, smallest: bool) -> Result<Operand, Refusal> {
        let op = Op::ArgExtreme {
            smallest,
            axis: self.axis,
            keep: true,
            last: false,
        };
        em.emit(op, &[x])
    }

    /// 1 where a number's own place is the one that is named.
    fn is_at(self, em: &mut Emitter, place: Operand) -> Result<Operand, Refusal> {
        let mut dims = vec![1; self.rank];
        if let Some(dim) = dims.get_mut(self.axis) {
            *dim = self.length;
        }
        let own = Tensor::floats(dims, (0..self.length).map(|place| place as f32).collect());
        let own = Operand::Constant(em.constant(&own)?);
        em.binary(Binary::Equal, place, own)
    }

    /// The `count` largest (or smallest) numbers in order, and their places.
    fn extremes(
        self,
        em: &mut Emitter,
        x: Operand,
        count: usize,
        smallest: bool,
    ) -> Result<(Vec<Operand>, Vec<Operand>), Refusal> {
        // What was taken out is infinite; no number that is left may be.
        let (bound, narrow, out) = match smallest {
            false => (f32::MIN, Binary::Max, f32::NEG_INFINITY),
            true => (f32::MAX, Binary::Min, f32::INFINITY),
        };
        let (bound, out, zero) = (em.number(bound)?, em.number(out)?, em.number(0.0)?);
        let mut left = em.binary(narrow, x, bound)?;
        let (mut values, mut places) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let place = self.place(em, left, smallest)?;
            let is_there = self.is_at(em, place)?;
            let alone = em.emit(Op::Select, &[is_there, x, zero])?;
            let op = Op::Reduce {
                reduction: Reduction::Sum,
                axes: vec![self.axis],
                keep: true,
            };
            values.push(em.emit(op, &[alone])?);
            places.push(place);
            left = em.emit(Op::Select, &[is_there, out, left])?;
        }
        Ok((values, places))
    }
}
