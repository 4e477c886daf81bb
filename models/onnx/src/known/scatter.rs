//! Numbers written to and read from places that other numbers name, all of them known.

use crate::known::layout::{pick, strides};
use crate::known::{Budget, Data, Tensor, Unknown, elements, misfit};

/// An index that may count from the end.
pub(crate) fn index(index: i64, length: usize) -> Option<usize> {
    let length_signed = i64::try_from(length).ok()?;
    let from_start = if index < 0 {
        index.checked_add(length_signed)?
    } else {
        index
    };
    usize::try_from(from_start).ok().filter(|index| *index < length)
}

fn beyond() -> Unknown {
    misfit("an index is beyond the end")
}

/// The rows that the last axis of the indices names: where each begins, and how long one is.
fn rows(dims: &[usize], indices: &Tensor, batch: usize, budget: &mut Budget) -> Result<(Vec<usize>, usize), Unknown> {
    let depth = indices
        .dims
        .last()
        .copied()
        .ok_or_else(|| misfit("the indices have no axes"))?;
    let numbers = indices.data.ints().ok_or(Unknown::Types)?;
    let named = dims
        .get(batch..batch.saturating_add(depth))
        .ok_or_else(|| misfit("an index has more parts than axes"))?;
    let strides = strides(dims);
    let row = dims
        .get(batch.saturating_add(depth)..)
        .unwrap_or_default()
        .iter()
        .copied()
        .fold(1_usize, usize::saturating_mul);
    let count = budget.spend(indices.dims.split_last().map(|(_, rest)| rest).unwrap_or_default())?;
    let outer = elements(dims.get(..batch).unwrap_or_default()).unwrap_or(1);
    let each = count.checked_div(outer).unwrap_or(0);
    let block = elements(dims.get(batch..).unwrap_or_default()).unwrap_or(0);
    let mut starts = Vec::new();
    for at in 0..count {
        let parts = numbers
            .get(at.saturating_mul(depth)..at.saturating_add(1).saturating_mul(depth))
            .ok_or_else(beyond)?;
        let mut start = at.checked_div(each).unwrap_or(0).saturating_mul(block);
        for ((part, length), stride) in parts.iter().zip(named).zip(strides.iter().skip(batch)) {
            let part = index(*part, *length).ok_or_else(beyond)?;
            start = start.saturating_add(part.saturating_mul(stride.unsigned_abs()));
        }
        starts.push(start);
    }
    Ok((starts, row))
}

/// Rows that the last axis of the indices names.
pub(crate) fn gather_nd(data: &Tensor, indices: &Tensor, batch: usize, budget: &mut Budget) -> Result<Tensor, Unknown> {
    budget.spend(&indices.dims)?;
    if data.dims.get(..batch) != indices.dims.get(..batch) {
        return Err(misfit("the first axes of data and indices differ"));
    }
    let (starts, row) = rows(&data.dims, indices, batch, budget)?;
    let depth = indices.dims.last().copied().unwrap_or(0);
    let lead = indices.dims.split_last().map(|(_, rest)| rest).unwrap_or_default();
    let dims = [lead, data.dims.get(batch.saturating_add(depth)..).unwrap_or_default()].concat();
    budget.spend(&dims)?;
    Ok(Tensor {
        dims,
        data: pick(&data.data, starts.into_iter(), row)?,
    })
}

/// The data with rows of updates written to it.
pub(crate) fn scatter_nd(
    data: &Tensor,
    indices: &Tensor,
    updates: &Tensor,
    budget: &mut Budget,
) -> Result<Tensor, Unknown> {
    budget.spend(&data.dims)?;
    budget.spend(&indices.dims)?;
    let (starts, row) = rows(&data.dims, indices, 0, budget)?;
    budget.spend(&[starts.len(), row])?;
    let places: Vec<usize> = starts
        .iter()
        .flat_map(|start| (0..row).map(move |column| start.saturating_add(column)))
        .collect();
    write(data, &places, updates)
}

/// The place of each number of the indices, if it took their number along the axis.
fn along(data: &Tensor, indices: &Tensor, axis: usize) -> Result<Vec<usize>, Unknown> {
    let numbers = indices.data.ints().ok_or(Unknown::Types)?;
    if data.dims.len() != indices.dims.len() {
        return Err(misfit("data and indices have different numbers of axes"));
    }
    let fits = indices
        .dims
        .iter()
        .zip(&data.dims)
        .enumerate()
        .all(|(at, (own, data))| at == axis || own <= data);
    let length = data
        .dims
        .get(axis)
        .copied()
        .filter(|_| fits)
        .ok_or_else(|| misfit("the indices are larger than the data"))?;
    let (own, theirs) = (strides(&indices.dims), strides(&data.dims));
    let place = |(at, number): (usize, &i64)| {
        let mut rest = at;
        let mut place = 0_usize;
        for (dim, (own, theirs)) in own.iter().zip(&theirs).enumerate() {
            let own = own.unsigned_abs();
            let coordinate = if dim == axis {
                index(*number, length)?
            } else {
                rest.checked_div(own)?
            };
            rest = rest.checked_rem(own)?;
            place = place.checked_add(coordinate.checked_mul(theirs.unsigned_abs())?)?;
        }
        Some(place)
    };
    numbers
        .iter()
        .enumerate()
        .map(place)
        .collect::<Option<_>>()
        .ok_or_else(beyond)
}

/// `output[i][j] = data[indices[i][j]][j]`, and so on.
pub(crate) fn gather_elements(
    data: &Tensor,
    indices: &Tensor,
    axis: usize,
    budget: &mut Budget,
) -> Result<Tensor, Unknown> {
    budget.spend(&indices.dims)?;
    let places = along(data, indices, axis)?;
    Ok(Tensor {
        dims: indices.dims.clone(),
        data: pick(&data.data, places.into_iter(), 1)?,
    })
}

/// The data with single numbers of updates written to it.
pub(crate) fn scatter_elements(
    data: &Tensor,
    indices: &Tensor,
    updates: &Tensor,
    axis: usize,
    budget: &mut Budget,
) -> Result<Tensor, Unknown> {
    budget.spend(&data.dims)?;
    budget.spend(&indices.dims)?;
    let places = along(data, indices, axis)?;
    write(data, &places, updates)
}

fn write(data: &Tensor, places: &[usize], updates: &Tensor) -> Result<Tensor, Unknown> {
    fn of<T: Copy>(data: &[T], places: &[usize], updates: &[T]) -> Result<Vec<T>, Unknown> {
        if places.len() != updates.len() {
            return Err(misfit("there are not as many updates as places"));
        }
        let mut out = data.to_vec();
        for (place, update) in places.iter().zip(updates) {
            *out.get_mut(*place).ok_or_else(beyond)? = *update;
        }
        Ok(out)
    }
    let written = match (&data.data, &updates.data) {
        (Data::F32(data), Data::F32(updates)) => Data::F32(of(data, places, updates)?.into()),
        (Data::I64(data), Data::I64(updates)) => Data::I64(of(data, places, updates)?.into()),
        (Data::Bool(data), Data::Bool(updates)) => Data::Bool(of(data, places, updates)?.into()),
        (data, updates) => {
            let data = data.sizes().ok_or(Unknown::Types)?;
            let updates = updates.sizes().ok_or(Unknown::Types)?;
            Data::of_sizes(of(&data, places, &updates)?)
        }
    };
    Ok(Tensor {
        dims: data.dims.clone(),
        data: written,
    })
}

/// Where the numbers are that are not 0: a row of coordinates for each axis.
pub(crate) fn non_zero(tensor: &Tensor, budget: &mut Budget) -> Result<Tensor, Unknown> {
    budget.spend(&tensor.dims)?;
    let numbers = tensor.data.floats().ok_or(Unknown::Batch)?;
    let places: Vec<usize> = numbers
        .iter()
        .enumerate()
        .filter(|(_, number)| **number != 0.0)
        .map(|(at, _)| at)
        .collect();
    let rank = tensor.dims.len();
    budget.spend(&[rank, places.len()])?;
    let mut coordinates = Vec::new();
    for (dim, stride) in tensor.dims.iter().zip(strides(&tensor.dims)) {
        for place in &places {
            let outer = place.checked_div(stride.unsigned_abs()).unwrap_or(0);
            coordinates.push(i64::try_from(outer.checked_rem(*dim).unwrap_or(0)).unwrap_or(i64::MAX));
        }
    }
    Ok(Tensor::ints(vec![rank, places.len()], coordinates))
}
