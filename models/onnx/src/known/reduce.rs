//! One number for many, sums that run, and triangles: of known numbers.

use crate::known::arithmetic::BinaryKind;
use crate::known::layout::{Walk, places, strides};
use crate::known::{Budget, Data, Size, Tensor, Unknown, binary, misfit};

/// Reductions that are computed at load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReduceKind {
    Sum,
    Mean,
    Product,
    Max,
    Min,
    L1,
    L2,
    SumOfSquares,
}

/// One number for all along the axes.
pub(crate) fn reduce(
    kind: ReduceKind,
    tensor: &Tensor,
    axes: &[usize],
    keep: bool,
    budget: &mut Budget,
) -> Result<Tensor, Unknown> {
    budget.spend(&tensor.dims)?;
    let own = strides(&tensor.dims);
    let along = |inside: bool| {
        let axes = tensor
            .dims
            .iter()
            .zip(&own)
            .enumerate()
            .filter(move |(axis, _)| axes.contains(axis) == inside);
        let (dims, steps) = axes.map(|(_, (dim, step))| (*dim, *step)).unzip();
        Walk { dims, start: 0, steps }
    };
    let (outer, inner) = (along(false), along(true));
    let dims = match keep {
        true => tensor
            .dims
            .iter()
            .enumerate()
            .map(|(axis, dim)| if axes.contains(&axis) { 1 } else { *dim })
            .collect(),
        false => outer.dims.clone(),
    };
    let offsets: Vec<usize> = places(&inner).collect();
    let rows = places(&outer).map(|row| offsets.iter().map(move |offset| row.saturating_add(*offset)));
    let data = match &tensor.data {
        Data::F32(data) if offsets.iter().copied().eq(0..offsets.len()) => {
            // Numbers that lie one behind the other are read so.
            let row = |start: usize| {
                let row = data.get(start..start.saturating_add(offsets.len()))?;
                floats(kind, row.iter().copied(), row.len())
            };
            let rows = places(&outer).map(row);
            Data::F32(rows.collect::<Option<_>>().ok_or(Unknown::Types)?)
        }
        Data::F32(data) => {
            let rows = rows.map(|row| floats(kind, row.filter_map(|place| data.get(place).copied()), offsets.len()));
            Data::F32(rows.collect::<Option<_>>().ok_or(Unknown::Types)?)
        }
        Data::I64(_) | Data::Sizes(_) => {
            let data = tensor.data.sizes().ok_or(Unknown::Types)?;
            let rows = rows.map(|row| sizes(kind, row.filter_map(|place| data.get(place).copied())));
            Data::of_sizes(rows.collect::<Option<_>>().ok_or(Unknown::Batch)?)
        }
        Data::Bool(_) => return Err(Unknown::Types),
    };
    Ok(Tensor { dims, data })
}

fn floats(kind: ReduceKind, row: impl Iterator<Item = f32>, count: usize) -> Option<f32> {
    let row = row.map(f64::from);
    Some(match kind {
        ReduceKind::Sum => row.sum::<f64>(),
        ReduceKind::Mean => row.sum::<f64>() / count as f64,
        ReduceKind::Product => row.product(),
        ReduceKind::Max => row.reduce(f64::max)?,
        ReduceKind::Min => row.reduce(f64::min)?,
        ReduceKind::L1 => row.map(f64::abs).sum(),
        ReduceKind::L2 => row.map(|x| x * x).sum::<f64>().sqrt(),
        ReduceKind::SumOfSquares => row.map(|x| x * x).sum(),
    } as f32)
}

fn sizes(kind: ReduceKind, mut row: impl Iterator<Item = Size>) -> Option<Size> {
    match kind {
        ReduceKind::Sum => row.try_fold(Size::fixed(0), Size::add),
        ReduceKind::Product => row.try_fold(Size::fixed(1), Size::mul),
        ReduceKind::Max => {
            let first = row.next()?;
            row.try_fold(first, Size::max)
        }
        ReduceKind::Min => {
            let first = row.next()?;
            row.try_fold(first, Size::min)
        }
        _ => None,
    }
}

/// How a sum runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Running {
    pub(crate) axis: usize,
    pub(crate) exclusive: bool,
    pub(crate) reverse: bool,
}

/// Sums of all numbers before along an axis.
pub(crate) fn cumulative_sum(tensor: &Tensor, how: Running, budget: &mut Budget) -> Result<Tensor, Unknown> {
    budget.spend(&tensor.dims)?;
    let beyond = || misfit("the axis is beyond the last");
    let length = tensor.dims.get(how.axis).copied().ok_or_else(beyond)?;
    let stride = strides(&tensor.dims)
        .get(how.axis)
        .copied()
        .ok_or_else(beyond)?
        .unsigned_abs();
    let place = |at: usize, index: usize| {
        let (outer, inner) = (at.checked_div(stride)?, at.checked_rem(stride)?);
        let index = if how.reverse {
            length.checked_sub(index)?.checked_sub(1)?
        } else {
            index
        };
        outer
            .checked_mul(length)?
            .checked_add(index)?
            .checked_mul(stride)?
            .checked_add(inner)
    };
    let rows = tensor.data.len().checked_div(length).unwrap_or(0);
    let run = |data: &mut [f64]| {
        for row in 0..rows {
            let mut sum = 0.0;
            for index in 0..length {
                let number = data.get_mut(place(row, index)?)?;
                let with = sum + *number;
                *number = if how.exclusive { sum } else { with };
                sum = with;
            }
        }
        Some(())
    };
    let data = match &tensor.data {
        Data::F32(data) => {
            let mut sums: Vec<f64> = data.iter().map(|x| f64::from(*x)).collect();
            run(&mut sums).ok_or(Unknown::Types)?;
            Data::F32(sums.into_iter().map(|x| x as f32).collect())
        }
        Data::I64(data) => {
            // Exact up to 2^53, which no position in a network reaches.
            let mut sums: Vec<f64> = data.iter().map(|x| *x as f64).collect();
            run(&mut sums).ok_or(Unknown::Types)?;
            Data::I64(sums.into_iter().map(|x| x as i64).collect())
        }
        Data::Bool(_) | Data::Sizes(_) => return Err(Unknown::Types),
    };
    Ok(Tensor {
        dims: tensor.dims.clone(),
        data,
    })
}

/// 1 in the upper (or lower) triangle of a matrix from the `k`th diagonal on, else 0.
pub(crate) fn triangle(rows: usize, columns: usize, upper: bool, k: i64) -> Vec<f32> {
    let cell = |row: usize, column: usize| {
        let distance = (column.cast_signed() as i64).wrapping_sub(row.cast_signed() as i64);
        let inside = if upper { distance >= k } else { distance <= k };
        f32::from(u8::from(inside))
    };
    (0..rows)
        .flat_map(|row| (0..columns).map(move |column| cell(row, column)))
        .collect()
}

/// Keeps a triangle of the last two axes.
pub(crate) fn keep_triangle(tensor: &Tensor, upper: bool, k: i64, budget: &mut Budget) -> Result<Tensor, Unknown> {
    let [.., rows, columns] = tensor.dims[..] else {
        return Err(misfit("it has fewer than two axes"));
    };
    budget.spend(&[rows, columns])?;
    let mask = triangle(rows, columns, upper, k);
    let mask = match tensor.data {
        Data::F32(_) => Tensor::floats(vec![rows, columns], mask),
        Data::I64(_) => Tensor::ints(vec![rows, columns], mask.into_iter().map(|x| x as i64).collect()),
        Data::Bool(_) => {
            let mask = Tensor::bools(vec![rows, columns], mask.into_iter().map(|x| x != 0.0).collect());
            return binary(BinaryKind::And, tensor, &mask, budget);
        }
        Data::Sizes(_) => return Err(Unknown::Types),
    };
    if matches!(tensor.data, Data::F32(_)) {
        // A product would make NaN of the infinite numbers of masks.
        let zero = Tensor::floats(vec![1], vec![0.0]);
        let inside = crate::known::cast(&mask, crate::known::Kind::Bool, budget)?;
        return crate::known::select(&inside, tensor, &zero, budget);
    }
    binary(BinaryKind::Mul, tensor, &mask, budget)
}
