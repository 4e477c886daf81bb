//! The shape that a Reshape makes, with the number of items free even where the file has a fixed one.

use millrace_graph::{Axis, Shape};

use crate::known::Size;
use crate::lower::emit::{Batch, Placed};
use crate::problem::{Refusal, advise, refuse};

/// What to do where a file with a free batch axis has shapes with a fixed one.
const FREE: &str = "export with a free batch axis in every reshape (`x.flatten(1)` or `x.size(0)` in place of a number), or with a batch of 1";

/// The shape that `source` gets by the target of a Reshape.
pub(crate) fn reshaped(placed: &Placed, target: &[Size], keeps_zero: bool, batch: Batch) -> Result<Shape, Refusal> {
    let source = &placed.shape;
    let mut axes: Vec<Option<Axis>> = Vec::new();
    for (at, size) in target.iter().enumerate() {
        axes.push(match (size.fixed, size.batch) {
            (0, 0) if !keeps_zero => Some(
                *source
                    .0
                    .get(at)
                    .ok_or_else(|| refuse(format!("it keeps axis {at} of {source}, which has none")))?,
            ),
            (-1, 0) => None,
            _ => Some(super::ops::length(*size).ok_or_else(|| refuse("a length of its shape is impossible"))?),
        });
    }
    let elements = source
        .elements()
        .ok_or_else(|| refuse("its input has too many numbers"))?;
    let known: Vec<Axis> = axes.iter().flatten().copied().collect();
    let rest = known
        .iter()
        .try_fold(1_usize, |product, axis| product.checked_mul(axis.size))
        .ok_or_else(|| refuse("its shape has too many numbers"))?;
    let says_batch = known.iter().any(|axis| axis.batched);
    let misfit = || refuse(format!("{source} has not as many numbers as {}", shown(target)));
    if axes.iter().filter(|axis| axis.is_none()).count() > 1 {
        return Err(refuse("two of its lengths are left open"));
    }
    let items = match batch {
        Batch::Reread(items) if source.is_batched() && !says_batch => items,
        _ => {
            // As the file says it, with N in it or none.
            let open = Axis {
                size: elements.checked_div(rest).ok_or_else(misfit)?,
                batched: source.is_batched() && !says_batch,
            };
            let shape = Shape(axes.into_iter().map(|axis| axis.unwrap_or(open)).collect());
            let fits = shape.elements() == Some(elements);
            return match fits && shape.is_batched() == source.is_batched() {
                true => Ok(shape),
                false if fits || source.is_batched() && !shape.is_batched() => Err(advise(
                    format!(
                        "its shape {} is fixed, and its input {source} is of any number of items",
                        shown(target)
                    ),
                    FREE,
                )),
                false => Err(misfit()),
            };
        }
    };
    let total = elements.checked_mul(items).ok_or_else(misfit)?;
    let open = Axis::fixed(total.checked_div(rest).ok_or_else(misfit)?);
    let mut shape = Shape(axes.into_iter().map(|axis| axis.unwrap_or(open)).collect());
    if shape.elements() != Some(total) {
        return Err(misfit());
    }
    free(placed, &mut shape, items)?;
    Ok(shape)
}

/// Makes the axis of the items free: one that has so many, with as many numbers outside of it as the source has. Where
/// several could be, the one of just so many items; else the one that begins with them, unless it is the last; else the one
/// that ends with them (as in `[tokens, N, width]` to `[tokens · N, width]`).
fn free(placed: &Placed, shape: &mut Shape, items: usize) -> Result<(), Refusal> {
    let mut outside = 1_usize;
    let mut places = Vec::new();
    for (at, axis) in shape.0.iter().enumerate() {
        let outer = placed
            .outside
            .checked_div(outside)
            .filter(|_| placed.outside.is_multiple_of(outside));
        if let Some(outer) = outer
            && let Some(0) = axis.size.checked_rem(outer.saturating_mul(items))
        {
            let rank = match (outer, axis.size == items, at.saturating_add(1) == shape.rank()) {
                (1, true, _) => 0,
                (1, false, false) => 1,
                (2.., _, _) => 2,
                _ => 3,
            };
            places.push((rank, at));
        }
        outside = outside.saturating_mul(axis.size.max(1));
    }
    match places.iter().min().and_then(|(_, at)| shape.0.get_mut(*at)) {
        Some(axis) => {
            *axis = Axis::batch(axis.size.checked_div(items).unwrap_or(1));
            Ok(())
        }
        None => Err(advise(
            format!("its shape {shape} has no axis for the items of {}", placed.shape),
            "export with a free batch axis, or with a batch of 1",
        )),
    }
}

fn shown(target: &[Size]) -> String {
    let sizes: Vec<String> = target
        .iter()
        .map(|size| match (size.fixed, size.batch) {
            (fixed, 0) => fixed.to_string(),
            (0, 1) => "N".to_owned(),
            (0, batch) => format!("{batch}N"),
            (fixed, batch) => format!("{fixed}+{batch}N"),
        })
        .collect();
    format!("[{}]", sizes.join(", "))
}
