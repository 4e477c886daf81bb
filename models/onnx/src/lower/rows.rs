//! Indices that count the items of a batch: `step · n + table`, one row for each item `n`. Exporters write them where a view
//! with strides was taken; what is gathered with them is each item's own.

use millrace_graph::{Axis, Op, Shape};

use crate::known::{self, BinaryKind, Data, Tensor};
use crate::lower::call::Call;
use crate::lower::emit::Emitter;
use crate::lower::ops::{Answer, one};
use crate::lower::value::Value;
use crate::problem::{Refusal, advise, refuse};

/// Indices with a row for each item.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    /// From one item's row to the next.
    step: i64,
    // Invariant: whole numbers, and the axis of the items has length 1.
    /// The first item's row.
    table: Tensor,
    /// Where the items are.
    axis: usize,
}

impl Rows {
    /// `0, 1, 2, ..` up to the number of items.
    pub(crate) fn counting() -> Self {
        Self {
            step: 1,
            table: Tensor::ints(vec![1], vec![0]),
            axis: 0,
        }
    }

    /// Indices of a file with so many items, if each item's are the first's and so many further.
    pub(crate) fn of_file(indices: &Tensor, items: usize, step: usize) -> Option<Self> {
        let numbers = indices.data.ints()?;
        let step = i64::try_from(step).ok()?;
        if indices.dims.first() != Some(&items) || numbers.is_empty() {
            return None;
        }
        let each = numbers.len().checked_div(items)?;
        let first = numbers.get(..each)?;
        let mut start = 0_i64;
        for row in numbers.chunks(each) {
            let same = row
                .iter()
                .zip(first)
                .all(|(number, first)| first.checked_add(start) == Some(*number));
            if !same {
                return None;
            }
            start = start.checked_add(step)?;
        }
        let mut dims = indices.dims.clone();
        *dims.first_mut()? = 1;
        Some(Self {
            step,
            table: Tensor::ints(dims, first.to_vec()),
            axis: 0,
        })
    }

    /// `output = data[rows]` along the first axis, each item's row within the item.
    pub(crate) fn gather(&self, em: &mut Emitter, x: &Value) -> Result<Value, Refusal> {
        let apart = || {
            advise(
                "it takes numbers of other items of the batch",
                "each item must be computed by itself; export with a batch of 1",
            )
        };
        let mut shape = em.shape(x)?;
        let (first, rest) = shape.0.split_first().ok_or_else(|| refuse("its input has no axes"))?;
        let length = first.size;
        if !first.batched || i64::try_from(length) != Ok(self.step) {
            return Err(apart());
        }
        let numbers = self.table.data.ints().unwrap_or_default();
        let within: Option<Vec<usize>> = numbers
            .iter()
            .map(|number| usize::try_from(*number).ok().filter(|number| *number < length))
            .collect();
        let indices = within.ok_or_else(apart)?;
        shape = Shape([&[Axis::batch(1), Axis::fixed(length)], rest].concat());
        let operand = em.operand(x)?;
        let operand = em.reshape(operand, shape)?;
        let mut dims = self.table.dims.clone();
        dims.remove(self.axis);
        let is_whole = dims.len() == 1 && indices.iter().copied().eq(0..length);
        let mut result = operand;
        if !is_whole {
            let op = Op::Gather {
                axis: 1,
                indices,
                shape: dims,
            };
            result = em.emit(op, &[operand])?;
        }
        // The items to where the indices have them.
        let rank = em.shape_of(result).rank();
        let mut order: Vec<usize> = (1..rank).collect();
        order.insert(self.axis.min(order.len()), 0);
        result = em.transpose(result, &order)?;
        em.given(result, x.kind())
    }

    fn with(&self, table: Tensor, axis: usize) -> Result<Self, Refusal> {
        match table.dims.get(axis) {
            Some(1) => Ok(Self {
                step: self.step,
                table,
                axis,
            }),
            _ => Err(refuse("indices over the items of a batch are not used as indices")),
        }
    }
}

/// What an operator makes of indices over items.
pub(crate) fn lowered(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let unknown = || {
        advise(
            "indices over the items of a batch are not used as indices",
            "export with a batch of 1, or without indices over the items of a batch",
        )
    };
    let result = match (call.operator, call.optional(0), call.optional(1)) {
        ("Cast" | "Identity", Some(Value::Rows(rows)), _) => rows.clone(),
        ("Gather", Some(x), Some(Value::Rows(rows))) if call.int_or("axis", 0)? == 0 => {
            return one(rows.gather(em, x)?);
        }
        ("GatherND", Some(x), Some(Value::Rows(rows))) if rows.table.dims.last() == Some(&1) => {
            let mut dims = rows.table.dims.clone();
            dims.pop();
            let table = known::reshape(&rows.table, dims, &mut em.budget)?;
            return one(rows.with(table, rows.axis)?.gather(em, x)?);
        }
        ("Unsqueeze", Some(Value::Rows(rows)), _) => {
            let axes = call.axes(1)?.ok_or_else(unknown)?;
            let rank = rows.table.dims.len().saturating_add(axes.len());
            let (mut dims, mut axis) = (rows.table.dims.clone(), rows.axis);
            for at in crate::lower::call::sorted_axes(&axes, rank)? {
                dims.insert(at.min(dims.len()), 1);
                axis = if at <= axis { axis.saturating_add(1) } else { axis };
            }
            rows.with(known::reshape(&rows.table, dims, &mut em.budget)?, axis)?
        }
        ("Add" | "Mul" | "Sub", Some(a), Some(b)) => {
            let (rows, other) = match (a, b) {
                (Value::Rows(rows), Value::Known(other)) => (rows, other),
                (Value::Known(other), Value::Rows(rows)) if call.operator != "Sub" => (rows, other),
                _ => return Err(unknown()),
            };
            scaled(em, call.operator, rows, other)?
        }
        _ => return Err(unknown()),
    };
    one(Value::Rows(result))
}

fn scaled(em: &mut Emitter, operator: &str, rows: &Rows, other: &Tensor) -> Result<Rows, Refusal> {
    let kind = match operator {
        "Mul" => BinaryKind::Mul,
        "Sub" => BinaryKind::Sub,
        _ => BinaryKind::Add,
    };
    let table = known::binary(kind, &rows.table, other, &mut em.budget)?;
    if !matches!(table.data, Data::I64(_)) {
        return Err(refuse("indices over the items of a batch are not whole"));
    }
    let more = table.dims.len().saturating_sub(rows.table.dims.len());
    let mut result = rows.with(table, rows.axis.saturating_add(more))?;
    if kind == BinaryKind::Mul {
        let factor = other.single_int().and_then(|factor| rows.step.checked_mul(factor));
        result.step = factor.ok_or_else(|| refuse("indices over the items of a batch are not used as indices"))?;
    }
    Ok(result)
}
