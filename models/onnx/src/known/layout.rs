//! The same numbers in other places: views with strides, gathers and concatenations of known numbers.

use std::sync::Arc;

use crate::known::{Budget, Data, Tensor, Unknown, elements, misfit};

/// A walk over numbers: from `start`, `steps[axis]` further for each index of an axis.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    pub(crate) dims: Vec<usize>,
    pub(crate) start: usize,
    pub(crate) steps: Vec<isize>,
}

/// Row-major strides.
pub(crate) fn strides(dims: &[usize]) -> Vec<isize> {
    let mut strides: Vec<isize> = dims
        .iter()
        .rev()
        .scan(1_isize, |stride, dim| {
            let this = *stride;
            *stride = stride.saturating_mul(isize::try_from(*dim).unwrap_or(isize::MAX));
            Some(this)
        })
        .collect();
    strides.reverse();
    strides
}

/// The shape that two broadcast to, as in NumPy.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Unknown> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], axis: usize| match axis.checked_sub(rank.saturating_sub(dims.len())) {
        Some(axis) => dims.get(axis).copied().unwrap_or(1),
        None => 1,
    };
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (a, b) if a == b => Ok(a),
            (1, b) => Ok(b),
            (a, 1) => Ok(a),
            _ => Err(misfit(format!("shapes {a:?} and {b:?} do not broadcast"))),
        })
        .collect()
}

/// The places of the numbers of a walk, in order.
pub(crate) fn places(walk: &Walk) -> impl Iterator<Item = usize> + use<> {
    let total = elements(&walk.dims).unwrap_or(0);
    let mut index = vec![0_usize; walk.dims.len()];
    let dims = walk.dims.clone();
    let steps = walk.steps.clone();
    let mut place = walk.start.cast_signed();
    (0..total).map(move |_| {
        let this = place;
        for ((index, dim), step) in index.iter_mut().zip(&dims).zip(&steps).rev() {
            *index = index.saturating_add(1);
            place = place.wrapping_add(*step);
            if *index < *dim {
                break;
            }
            // Back to the beginning of this axis, and one further on the axis before.
            place = place.wrapping_sub(step.wrapping_mul(dim.cast_signed()));
            *index = 0;
        }
        this.cast_unsigned()
    })
}

/// How a shape is walked as if it were of the shape that it broadcasts to.
pub(crate) fn stretched(from: &[usize], to: &[usize]) -> Walk {
    let lead = to.len().saturating_sub(from.len());
    let own = strides(from);
    let steps = from.iter().zip(own).map(|(dim, stride)| match dim {
        1 => 0,
        _ => stride,
    });
    Walk {
        dims: to.to_vec(),
        start: 0,
        steps: std::iter::repeat_n(0, lead).chain(steps).collect(),
    }
}

/// The numbers of a walk as a tensor of their own.
pub(crate) fn strided(tensor: &Tensor, walk: &Walk, budget: &mut Budget) -> Result<Tensor, Unknown> {
    budget.spend(&walk.dims)?;
    // The last axes along which the numbers lie one behind the other are copied at once.
    let (mut run, mut outer) = (1_usize, walk.clone());
    while let (Some(dim), Some(step)) = (outer.dims.last(), outer.steps.last()) {
        if *dim != 1 && *step != run.cast_signed() {
            break;
        }
        run = run.saturating_mul(*dim);
        outer.dims.pop();
        outer.steps.pop();
    }
    let data = pick(&tensor.data, places(&outer), run)?;
    Ok(Tensor {
        dims: walk.dims.clone(),
        data,
    })
}

/// As many numbers at each of the places.
pub(crate) fn pick(data: &Data, places: impl Iterator<Item = usize>, run: usize) -> Result<Data, Unknown> {
    fn of<T: Copy>(data: &[T], places: impl Iterator<Item = usize>, run: usize) -> Result<Vec<T>, Unknown> {
        let mut numbers = Vec::with_capacity(places.size_hint().0.saturating_mul(run).min(data.len()));
        for place in places.filter(|_| run > 0) {
            let found = data.get(place..place.saturating_add(run));
            numbers.extend_from_slice(found.ok_or_else(|| misfit("an index is beyond the end"))?);
        }
        Ok(numbers)
    }
    Ok(match data {
        Data::F32(data) => Data::F32(of(data, places, run)?.into()),
        Data::I64(data) => Data::I64(of(data, places, run)?.into()),
        Data::Bool(data) => Data::Bool(of(data, places, run)?.into()),
        Data::Sizes(data) => Data::of_sizes(of(data, places, run)?),
    })
}

/// The same numbers under another shape.
pub(crate) fn reshape(tensor: &Tensor, dims: Vec<usize>, budget: &mut Budget) -> Result<Tensor, Unknown> {
    if dims.contains(&0) {
        budget.spend(&dims)?;
    }
    match elements(&dims) == Some(tensor.data.len()) {
        true => Ok(Tensor {
            dims,
            data: tensor.data.clone(),
        }),
        false => Err(misfit(format!("shape {:?} does not become {dims:?}", tensor.dims))),
    }
}

/// Broadcast to a shape, which may itself be broadcast.
pub(crate) fn expand(tensor: &Tensor, dims: &[usize], budget: &mut Budget) -> Result<Tensor, Unknown> {
    let dims = broadcast(&tensor.dims, dims)?;
    strided(tensor, &stretched(&tensor.dims, &dims), budget)
}

/// Output axis `i` is input axis `order[i]`.
pub(crate) fn transpose(tensor: &Tensor, order: &[usize], budget: &mut Budget) -> Result<Tensor, Unknown> {
    let own = strides(&tensor.dims);
    let pick = |axis: &usize| Some((*tensor.dims.get(*axis)?, *own.get(*axis)?));
    let axes: Option<Vec<(usize, isize)>> = order.iter().map(pick).collect();
    let (dims, steps) = axes
        .ok_or_else(|| misfit("an axis is beyond the last"))?
        .into_iter()
        .unzip();
    strided(tensor, &Walk { dims, start: 0, steps }, budget)
}

/// For each axis the first index, the step and the length.
pub(crate) fn slice(tensor: &Tensor, axes: &[(usize, isize, usize)], budget: &mut Budget) -> Result<Tensor, Unknown> {
    let own = strides(&tensor.dims);
    let mut walk = Walk {
        dims: Vec::new(),
        start: 0,
        steps: Vec::new(),
    };
    for ((first, step, length), stride) in axes.iter().zip(own) {
        walk.start = walk.start.saturating_add(first.saturating_mul(stride.unsigned_abs()));
        walk.steps.push(step.saturating_mul(stride));
        walk.dims.push(*length);
    }
    strided(tensor, &walk, budget)
}

/// One behind the other along an axis.
pub(crate) fn concat(tensors: &[Tensor], axis: usize, budget: &mut Budget) -> Result<Tensor, Unknown> {
    let first = tensors.first().ok_or_else(|| misfit("nothing to concatenate"))?;
    let mut dims = first.dims.clone();
    let along = |tensor: &Tensor| tensor.dims.get(axis).copied();
    let total = tensors
        .iter()
        .try_fold(0_usize, |sum, tensor| sum.checked_add(along(tensor)?))
        .ok_or_else(|| misfit("the axis is beyond the last"))?;
    for tensor in tensors {
        let same = tensor.dims.len() == dims.len()
            && tensor
                .dims
                .iter()
                .zip(&dims)
                .enumerate()
                .all(|(at, (a, b))| at == axis || a == b);
        if !same {
            return Err(misfit(format!(
                "shapes {:?} and {dims:?} differ beside the axis",
                tensor.dims
            )));
        }
    }
    if let Some(dim) = dims.get_mut(axis) {
        *dim = total;
    }
    budget.spend(&dims)?;
    let inner = |tensor: &Tensor| {
        tensor
            .dims
            .iter()
            .skip(axis)
            .copied()
            .fold(1_usize, usize::saturating_mul)
    };
    let outer = dims.iter().take(axis).copied().fold(1_usize, usize::saturating_mul);
    let chunks: Vec<(Tensor, usize)> = tensors.iter().map(|tensor| (tensor.clone(), inner(tensor))).collect();
    let data = joined(&chunks, outer)?;
    Ok(Tensor { dims, data })
}

/// `outer` times a chunk of each.
fn joined(chunks: &[(Tensor, usize)], outer: usize) -> Result<Data, Unknown> {
    fn of<'a, T: Copy + 'a>(
        parts: impl Iterator<Item = Option<(&'a [T], usize)>> + Clone,
        outer: usize,
    ) -> Result<Vec<T>, Unknown> {
        let mut out = Vec::new();
        for at in 0..outer {
            for part in parts.clone() {
                let (data, length) = part.ok_or(Unknown::Types)?;
                let start = at.saturating_mul(length);
                let chunk = data.get(start..start.saturating_add(length));
                out.extend_from_slice(chunk.ok_or_else(|| misfit("a shape does not fit its numbers"))?);
            }
        }
        Ok(out)
    }
    macro_rules! all {
        ($kind:ident) => {
            of(
                chunks.iter().map(|(tensor, length)| match &tensor.data {
                    Data::$kind(data) => Some((&data[..], *length)),
                    _ => None,
                }),
                outer,
            )
        };
    }
    match chunks.first().map(|(tensor, _)| &tensor.data) {
        _ if chunks.iter().any(|(tensor, _)| matches!(tensor.data, Data::Sizes(_))) => {
            let sizes: Option<Vec<_>> = chunks
                .iter()
                .map(|(tensor, length)| Some((tensor.data.sizes()?, *length)))
                .collect();
            let sizes = sizes.ok_or(Unknown::Types)?;
            Ok(Data::of_sizes(of(
                sizes.iter().map(|(data, length)| Some((&data[..], *length))),
                outer,
            )?))
        }
        Some(Data::F32(_)) => Ok(Data::F32(all!(F32)?.into())),
        Some(Data::I64(_)) => Ok(Data::I64(all!(I64)?.into())),
        Some(Data::Bool(_)) => Ok(Data::Bool(all!(Bool)?.into())),
        _ => Err(Unknown::Types),
    }
}

/// `output[.., i.., ..] = input[.., indices[i..], ..]`; the indices are within the axis.
pub(crate) fn gather(
    tensor: &Tensor,
    axis: usize,
    indices: &[usize],
    shape: &[usize],
    budget: &mut Budget,
) -> Result<Tensor, Unknown> {
    let along = tensor
        .dims
        .get(axis)
        .copied()
        .ok_or_else(|| misfit("the axis is beyond the last"))?;
    let before = tensor.dims.get(..axis).unwrap_or_default();
    let behind = tensor.dims.get(axis.saturating_add(1)..).unwrap_or_default();
    let dims = [before, shape, behind].concat();
    budget.spend(&dims)?;
    let inner = behind.iter().copied().fold(1_usize, usize::saturating_mul);
    let outer = before.iter().copied().fold(1_usize, usize::saturating_mul);
    let indices: Arc<[usize]> = indices.into();
    let places = (0..outer).flat_map(|at| {
        let indices = Arc::clone(&indices);
        (0..indices.len()).map(move |index| {
            let index = indices.get(index).copied().unwrap_or(usize::MAX);
            at.saturating_mul(along).saturating_add(index).saturating_mul(inner)
        })
    });
    let data = pick(&tensor.data, places, inner)?;
    Ok(Tensor { dims, data })
}
