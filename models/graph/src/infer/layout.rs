//! Operators that move numbers and compute none.

use super::{axis, bounded, misfit};
use crate::builder::Misfit;
use crate::op::PadMode;
use crate::shape::{Axis, Shape};

pub(super) fn reshape(target: &Shape, x: &Shape) -> Result<Shape, Misfit> {
    bounded(target)?;
    if target.elements() != x.elements() || target.is_batched() != x.is_batched() {
        return misfit(format!("as many numbers as {x} has"), target.to_string());
    }
    Ok(target.clone())
}

/// Where the items are after a reshape: the numbers outside of them stay outside. Refused where the batched axis of the
/// target is at another place: items would mix.
pub(super) fn outer_of_reshape(source: &Shape, outer: usize, target: &Shape) -> Result<usize, Misfit> {
    let (Some(before), Some(after)) = (outside(source), outside(target)) else {
        return Ok(1);
    };
    let outside = before.0.saturating_mul(outer);
    let fits = outside % after.0 == 0 && after.1 % (outside / after.0) == 0;
    match fits {
        true => Ok(outside / after.0),
        false => misfit(
            format!("the batched axis at the place where it is in {source}: items must not mix"),
            target.to_string(),
        ),
    }
}

/// The product of the axes before the batched one (never 0), and its size.
fn outside(shape: &Shape) -> Option<(usize, usize)> {
    let at = shape.0.iter().position(|axis| axis.batched)?;
    let before = shape
        .0
        .iter()
        .take(at)
        .fold(1_usize, |product, axis| product.saturating_mul(axis.size));
    Some((before.max(1), shape.0.get(at)?.size))
}

pub(super) fn transpose(order: &[usize], x: &Shape) -> Result<Shape, Misfit> {
    let mut seen = vec![false; x.rank()];
    for axis in order {
        if let Some(seen) = seen.get_mut(*axis) {
            *seen = true;
        }
    }
    if order.len() != x.rank() || seen.contains(&false) {
        return misfit(
            format!("each axis of {x} once"),
            format!("{} of them: {:?}", order.len(), head(order)),
        );
    }
    Ok(Shape(order.iter().filter_map(|axis| x.0.get(*axis).copied()).collect()))
}

/// The first few of a list that a file may have made long.
fn head(list: &[usize]) -> &[usize] {
    list.get(..list.len().min(crate::limits::MAX_AXES)).unwrap_or_default()
}

pub(super) fn slice(starts: &[usize], steps: &[isize], shape: &Shape, x: &Shape) -> Result<Shape, Misfit> {
    let rank = x.rank();
    if starts.len() != rank || steps.len() != rank || shape.rank() != rank {
        return misfit(
            format!("a start, a step and a length for each axis of {x}"),
            format!(
                "{} starts, {} steps, {} lengths",
                starts.len(),
                steps.len(),
                shape.rank()
            ),
        );
    }
    for (((from, to), start), step) in x.0.iter().zip(&shape.0).zip(starts).zip(steps) {
        let fits = match from.batched {
            // All of it or nothing: which items there are is not the network's business.
            true => to == from && *start == 0 && *step == 1,
            false => !to.batched && within(from.size, to.size, *start, *step),
        };
        if !fits {
            return misfit(
                format!("a part of {x}"),
                format!("{shape} from {start} in steps of {step}"),
            );
        }
    }
    Ok(shape.clone())
}

/// Whether `count` indices from `start` on are within an axis.
fn within(length: usize, count: usize, start: usize, step: isize) -> bool {
    let Some(further) = count.checked_sub(1) else {
        return false;
    };
    let last = further
        .checked_mul(step.unsigned_abs())
        .and_then(|reach| match step.is_negative() {
            true => start.checked_sub(reach),
            false => start.checked_add(reach),
        });
    step != 0 && start < length && last.is_some_and(|last| last < length)
}

pub(super) fn concat(along: usize, first: &Shape, others: &[&Shape]) -> Result<Shape, Misfit> {
    let mut length = axis(first, along)?;
    for other in others {
        let mut same = (*other).clone();
        length = length.saturating_add(axis(other, along)?);
        if let (Some(own), Some(wanted)) = (same.0.get_mut(along), first.0.get(along)) {
            *own = *wanted;
        }
        if same != *first {
            return misfit(
                format!("a shape as {first} in all axes but axis {along}"),
                other.to_string(),
            );
        }
    }
    let mut shape = first.clone();
    if let Some(own) = shape.0.get_mut(along) {
        *own = Axis::fixed(length);
    }
    Ok(shape)
}

pub(super) fn pad(before: &[usize], after: &[usize], mode: PadMode, x: &Shape) -> Result<Shape, Misfit> {
    if before.len() != x.rank() || after.len() != x.rank() {
        return misfit(
            format!("two pads for each axis of {x}"),
            format!("{} and {}", before.len(), after.len()),
        );
    }
    let axes = x.0.iter().zip(before).zip(after).map(|((own, before), after)| {
        let most = match mode {
            PadMode::Constant(_) | PadMode::Edge => usize::MAX,
            PadMode::Reflect => own.size.saturating_sub(1),
            PadMode::Wrap => own.size,
        };
        let length = own
            .size
            .checked_add(*before)
            .and_then(|length| length.checked_add(*after));
        match length {
            Some(_) if own.batched && (*before, *after) != (0, 0) => {
                misfit("no pad of the batched axis", format!("{before} and {after}"))
            }
            Some(length) if *before <= most && *after <= most => Ok(Axis { size: length, ..*own }),
            _ => misfit(
                format!("pads of at most {most} for an axis of {own}"),
                format!("{before} and {after}"),
            ),
        }
    });
    if let PadMode::Constant(number) = mode
        && number.is_nan()
    {
        return misfit("a number to pad with", "NaN");
    }
    Ok(Shape(axes.collect::<Result<_, _>>()?))
}

pub(super) fn expand(target: &Shape, x: &Shape) -> Result<Shape, Misfit> {
    let more = target.rank().checked_sub(x.rank());
    let fits = more.is_some_and(|more| {
        let aligned = target.0.iter().skip(more);
        aligned
            .zip(&x.0)
            .all(|(to, from)| to == from || *from == Axis::fixed(1))
    });
    match fits {
        true => Ok(target.clone()),
        false => misfit(format!("a shape that {x} is broadcast to"), target.to_string()),
    }
}

pub(super) fn gather(along: usize, indices: &[usize], shape: &[usize], x: &Shape) -> Result<Shape, Misfit> {
    let length = axis(x, along)?;
    let wanted = shape
        .iter()
        .try_fold(1_usize, |product, axis| product.checked_mul(*axis));
    if wanted != Some(indices.len()) {
        return misfit(
            format!("as many indices as their {} axes say", shape.len()),
            indices.len().to_string(),
        );
    }
    if let Some(beyond) = indices.iter().find(|index| **index >= length) {
        return misfit(format!("indices below {length}"), beyond.to_string());
    }
    let mut axes: Vec<Axis> = x.0.iter().take(along).copied().collect();
    axes.extend(shape.iter().copied().map(Axis::fixed));
    axes.extend(x.0.iter().skip(along + 1));
    Ok(Shape(axes))
}
