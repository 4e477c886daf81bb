//! One number for many.

use millrace_graph::{Op, Reduction, Unary};

use crate::known::Kind;
use crate::known::{self, ReduceKind};
use crate::lower::call::{self, Call};
use crate::lower::emit::{Emitter, MIXES};
use crate::lower::ops::{Answer, one};
use crate::lower::value::Value;
use crate::problem::{Refusal, advise, refuse};

fn of(operator: &str) -> Option<(Reduction, Option<ReduceKind>)> {
    Some(match operator {
        "ReduceMean" => (Reduction::Mean, Some(ReduceKind::Mean)),
        "ReduceSum" => (Reduction::Sum, Some(ReduceKind::Sum)),
        "ReduceMax" => (Reduction::Max, Some(ReduceKind::Max)),
        "ReduceMin" => (Reduction::Min, Some(ReduceKind::Min)),
        "ReduceProd" => (Reduction::Product, Some(ReduceKind::Product)),
        "ReduceL1" => (Reduction::L1, Some(ReduceKind::L1)),
        "ReduceL2" => (Reduction::L2, Some(ReduceKind::L2)),
        "ReduceSumSquare" => (Reduction::SumOfSquares, Some(ReduceKind::SumOfSquares)),
        "ReduceLogSum" => (Reduction::LogOfSum, None),
        "ReduceLogSumExp" => (Reduction::LogOfSumOfExp, None),
        _ => return None,
    })
}

/// Refuses to make one number of several items.
pub(super) fn keeps_items(em: &Emitter, x: &Value, axes: &[usize]) -> Result<(), Refusal> {
    let shape = em.shape(x)?;
    match axes
        .iter()
        .filter_map(|axis| shape.0.get(*axis))
        .any(|axis| axis.batched)
    {
        true => Err(advise("it makes one number of several items of a batch", MIXES)),
        false => Ok(()),
    }
}

pub(crate) fn reduce(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let (reduction, load) = of(call.operator).ok_or_else(|| refuse("it is not known"))?;
    let rank = em.shape(x)?.rank();
    let keep = call.flag("keepdims", true)?;
    let axes = match call.axes(1)? {
        Some(axes) if !axes.is_empty() => call::sorted_axes(&axes, rank)?,
        _ if call.flag("noop_with_empty_axes", false)? => return one(x.clone()),
        _ => (0..rank).collect(),
    };
    if axes.is_empty() {
        return one(x.clone());
    }
    if let (Value::Known(tensor), Some(kind)) = (x, load) {
        match known::reduce(kind, tensor, &axes, keep, &mut em.budget) {
            Ok(tensor) => return one(Value::Known(tensor)),
            Err(known::Unknown::Types) => {}
            Err(unknown) => return Err(unknown.into()),
        }
    }
    keeps_items(em, x, &axes)?;
    let operand = em.operand(x)?;
    let result = em.emit(Op::Reduce { reduction, axes, keep }, &[operand])?;
    // The mean of whole numbers is whole.
    let result = match reduction == Reduction::Mean && x.kind() == Kind::Int {
        true => em.unary(Unary::Truncate, result)?,
        false => result,
    };
    one(em.given(result, x.kind())?)
}

pub(crate) fn arg_extreme(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let axis = call::axis(call.int_or("axis", 0)?, em.shape(x)?.rank())?;
    keeps_items(em, x, &[axis])?;
    let op = Op::ArgExtreme {
        smallest: call.operator == "ArgMin",
        axis,
        keep: call.flag("keepdims", true)?,
        last: call.flag("select_last_index", false)?,
    };
    let operand = em.operand(x)?;
    one(em.value(op, &[operand], Kind::Int)?)
}
