//! The same numbers in another place: reshaped, transposed, cut, joined, padded, repeated, picked.

use burn::tensor::ops::PadMode as BurnPad;
use burn::tensor::{Int, Tensor};
use millrace_graph::PadMode;

use crate::any::{Any, MAX_RANK, aligned, map, stored};
use crate::executor::{About, Step, around, lengths, nothing, one};
use crate::upload::Upload;

pub(super) fn reshape(about: &About<'_>) -> Step {
    let output = about.output();
    one(move |x, n_items| x.keep(&lengths(&output, n_items)))
}

pub(super) fn transpose(about: &About<'_>, order: &[usize]) -> Step {
    let (input, output, order) = (about.input(0), about.output(), order.to_vec());
    one(move |x, n_items| match order.len() {
        0..=MAX_RANK => permuted(x, &order),
        _ => gradually(x, &lengths(&input, n_items), &order).keep(&lengths(&output, n_items)),
    })
}

fn permuted(x: Any, order: &[usize]) -> Any {
    macro_rules! permute {
        ($($variant:ident)*) => {
            match x {
                $(Any::$variant(x) => match order.try_into() {
                    Ok(order) => x.permute::<usize>(order).into(),
                    Err(_) => x.into(),
                })*
            }
        };
    }
    permute!(R1 R2 R3 R4 R5 R6)
}

/// For more axes than a tensor has here: one axis after the other goes to its place, in front of the missing ones.
fn gradually(x: Any, axes: &[usize], order: &[usize]) -> Any {
    let mut x = x;
    let mut now: Vec<usize> = (0..axes.len()).collect();
    for (place, axis) in order.iter().enumerate() {
        let Some(from) = now.iter().position(|there| there == axis) else {
            continue;
        };
        let product = |range: std::ops::Range<usize>| -> usize {
            let lengths = now.get(range).unwrap_or_default().iter();
            lengths.filter_map(|axis| axes.get(*axis)).product()
        };
        let parts = [
            product(0..place),
            product(place..from),
            product(from..from + 1),
            product(from + 1..now.len()),
        ];
        x = x.into4(parts).permute([0, 2, 1, 3]).into();
        now.remove(from);
        now.insert(place, *axis);
    }
    x
}

/// One axis of a value of any number of axes.
fn on_axis(x: Any, axes: &[usize], axis: usize, run: impl AlongAxis) -> Any {
    match x.axes() == axes {
        true => map!(x, x => run.run(x, axis)),
        false => run.run(x.into3(around(axes, axis)), 1).into(),
    }
}

/// An operation along one axis: a closure cannot be generic over the rank.
trait AlongAxis {
    fn run<const D: usize>(&self, x: Tensor<D>, axis: usize) -> Tensor<D>;
}

struct Narrow {
    start: usize,
    length: usize,
}

impl AlongAxis for Narrow {
    fn run<const D: usize>(&self, x: Tensor<D>, axis: usize) -> Tensor<D> {
        x.narrow(axis, self.start, self.length)
    }
}

struct Pick<'a>(&'a Tensor<1, Int>);

impl AlongAxis for Pick<'_> {
    fn run<const D: usize>(&self, x: Tensor<D>, axis: usize) -> Tensor<D> {
        x.select(axis, self.0.clone())
    }
}

struct Surround {
    before: usize,
    after: usize,
    with: f32,
}

impl AlongAxis for Surround {
    fn run<const D: usize>(&self, x: Tensor<D>, axis: usize) -> Tensor<D> {
        let pairs: Vec<(usize, usize)> = (0..D)
            .map(|at| if at == axis { (self.before, self.after) } else { (0, 0) })
            .collect();
        x.pad(pairs.as_slice(), BurnPad::Constant(self.with))
    }
}

/// The part of an axis that is taken.
enum Taken {
    All,
    Run { start: usize, length: usize },
    Picked(Box<Tensor<1, Int>>, usize),
}

impl Taken {
    fn of(indices: &[usize], length: usize, upload: &Upload<'_>) -> Self {
        let start = indices.first().copied().unwrap_or(0);
        let is_run = indices.iter().enumerate().all(|(place, index)| *index == start + place);
        match is_run {
            true if start == 0 && indices.len() == length => Self::All,
            true => Self::Run {
                start,
                length: indices.len(),
            },
            false => Self::Picked(Box::new(upload.indices(indices)), indices.len()),
        }
    }

    /// Takes it, and says in `axes` how many there are then.
    fn apply(&self, x: Any, axes: &mut [usize], axis: usize) -> Any {
        let (x, length) = match self {
            Self::All => return x,
            Self::Run { start, length } => {
                let narrow = Narrow {
                    start: *start,
                    length: *length,
                };
                (on_axis(x, axes, axis, narrow), *length)
            }
            Self::Picked(indices, length) => (on_axis(x, axes, axis, Pick(indices)), *length),
        };
        if let Some(axis) = axes.get_mut(axis) {
            *axis = length;
        }
        x
    }
}

pub(super) fn slice(about: &About<'_>, starts: &[usize], steps: &[isize], upload: &Upload<'_>) -> Step {
    let (input, output) = (about.input(0), about.output());
    let of_each = starts.iter().zip(steps).enumerate().map(|(axis, (start, step))| {
        // The batch axis is taken as a whole: its length is not known.
        let batched = input.0.get(axis).is_some_and(|axis| axis.batched);
        let (from, to) = (
            input.0.get(axis).map_or(1, |axis| axis.size),
            output.0.get(axis).map_or(1, |axis| axis.size),
        );
        let at = |index: usize| start.saturating_add_signed(step.saturating_mul(isize::try_from(index).unwrap_or(0)));
        let indices: Vec<usize> = (0..to).map(at).collect();
        match batched {
            true => Taken::All,
            false => Taken::of(&indices, from, upload),
        }
    });
    let of_each: Vec<Taken> = of_each.collect();
    one(move |x, n_items| {
        let mut axes = lengths(&input, n_items);
        let mut x = x;
        for (axis, taken) in of_each.iter().enumerate() {
            x = taken.apply(x, &mut axes, axis);
        }
        x.keep(&lengths(&output, n_items))
    })
}

pub(super) fn gather(about: &About<'_>, axis: usize, indices: &[usize], upload: &Upload<'_>) -> Step {
    let (input, output) = (about.input(0), about.output());
    let length = input.0.get(axis).map_or(1, |axis| axis.size);
    let taken = Taken::of(indices, length, upload);
    one(move |x, n_items| {
        let mut axes = lengths(&input, n_items);
        taken.apply(x, &mut axes, axis).keep(&lengths(&output, n_items))
    })
}

pub(super) fn concat(about: &About<'_>, axis: usize) -> Step {
    let output = about.output();
    let shapes: Vec<_> = (0..about.node.inputs.len()).map(|index| about.input(index)).collect();
    Box::new(move |inputs, n_items| {
        let out = lengths(&output, n_items);
        let is_whole = stored(&out) == out;
        // In one number format, too.
        let number = inputs.first().map(Any::number);
        let inputs = inputs.into_iter().zip(&shapes).map(|(input, shape)| {
            let axes = lengths(shape, n_items);
            let input = match number.filter(|number| *number != input.number()) {
                Some(number) => input.cast(number),
                None => input,
            };
            match is_whole {
                true => input.reshape(&axes),
                false => input.reshape(&around(&axes, axis)),
            }
        });
        joined(inputs.collect(), if is_whole { axis } else { 1 }).keep(&out)
    })
}

fn joined(parts: Vec<Any>, axis: usize) -> Any {
    macro_rules! join {
        ($($variant:ident)*) => {
            match parts.first() {
                $(Some(Any::$variant(_)) => {
                    let parts = parts.into_iter().filter_map(|part| match part {
                        Any::$variant(part) => Some(part),
                        _ => None,
                    });
                    Tensor::cat(parts.collect(), axis).into()
                })*
                None => nothing(),
            }
        };
    }
    join!(R1 R2 R3 R4 R5 R6)
}

pub(super) fn pad(about: &About<'_>, before: &[usize], after: &[usize], mode: PadMode, upload: &Upload<'_>) -> Step {
    let (input, output) = (about.input(0), about.output());
    let of_each = before.iter().zip(after).enumerate().map(|(axis, (before, after))| {
        let length = input.0.get(axis).map_or(1, |axis| axis.size);
        match (mode, before, after) {
            (_, 0, 0) => None,
            (PadMode::Constant(with), before, after) => Some(Padding::With(Surround {
                before: *before,
                after: *after,
                with,
            })),
            (mode, before, after) => {
                let indices: Vec<usize> = (0..before + length + after)
                    .map(|place| source(mode, place, *before, length))
                    .collect();
                Some(Padding::From(Taken::of(&indices, usize::MAX, upload)))
            }
        }
    });
    let of_each: Vec<Option<Padding>> = of_each.collect();
    one(move |x, n_items| {
        let mut axes = lengths(&input, n_items);
        let mut x = x;
        for (axis, padding) in of_each.iter().enumerate() {
            x = match padding {
                None => x,
                Some(Padding::From(taken)) => taken.apply(x, &mut axes, axis),
                Some(Padding::With(surround)) => {
                    let padded = on_axis(x, &axes, axis, Surround { ..*surround });
                    if let Some(length) = axes.get_mut(axis) {
                        *length += surround.before + surround.after;
                    }
                    padded
                }
            };
        }
        x.keep(&lengths(&output, n_items))
    })
}

/// How an axis is padded: with a number, or with numbers of its own.
enum Padding {
    With(Surround),
    From(Taken),
}

/// Where the number at a place of the padded axis is from.
fn source(mode: PadMode, place: usize, before: usize, length: usize) -> usize {
    let last = length.saturating_sub(1);
    match mode {
        PadMode::Reflect if place < before => (before - place).min(last),
        PadMode::Reflect if place > before + last => (2 * last).saturating_sub(place - before),
        PadMode::Wrap => (place + length.max(1) * (before / length.max(1) + 1) - before) % length.max(1),
        _ => place.saturating_sub(before).min(last),
    }
}

pub(super) fn expand(about: &About<'_>) -> Step {
    let (input, output) = (about.input(0), about.output());
    one(move |x, n_items| {
        let out = lengths(&output, n_items);
        broadcast(x, &lengths(&input, n_items), &out).keep(&out)
    })
}

/// Repeated along the axes of length 1 that have another length in `to`.
pub(super) fn broadcast(x: Any, from: &[usize], to: &[usize]) -> Any {
    let (merged, axes) = aligned(to, &[from]);
    match axes.first() {
        Some(axes) if merged.len() <= MAX_RANK => expanded(x.reshape(axes), &merged),
        _ => repeated(x, from, to),
    }
}

/// The same axis by axis, where too many behave differently.
fn repeated(x: Any, from: &[usize], to: &[usize]) -> Any {
    let mut now = vec![1; to.len().saturating_sub(from.len())];
    now.extend_from_slice(from);
    let mut x = x;
    for (axis, length) in to.iter().enumerate() {
        let [before, own, behind] = around(&now, axis);
        if own != *length {
            x = x
                .into3([before, 1, behind])
                .expand::<3, _>([before, *length, behind])
                .reshape([before * length * behind])
                .into();
            if let Some(own) = now.get_mut(axis) {
                *own = *length;
            }
        }
    }
    x
}

/// The same where both have as many axes, at most six.
pub(super) fn expanded(x: Any, to: &[usize]) -> Any {
    if x.axes() == to {
        return x;
    }
    macro_rules! expand {
        ($($variant:ident)*) => {
            match x {
                $(Any::$variant(x) => match to.try_into() {
                    Ok(to) => widened(x, to).into(),
                    Err(_) => x.into(),
                })*
            }
        };
    }
    expand!(R1 R2 R3 R4 R5 R6)
}

fn widened<const D: usize>(x: Tensor<D>, to: [usize; D]) -> Tensor<D> {
    x.expand(to)
}

#[cfg(test)]
mod tests {
    use super::{PadMode, source};

    #[test]
    fn padding_comes_from_the_axis_itself() {
        let check = |mode, expected: [usize; 7]| {
            let found: Vec<usize> = (0..7).map(|place| source(mode, place, 2, 3)).collect();
            assert_eq!(found, expected, "{mode:?}");
        };
        check(PadMode::Edge, [0, 0, 0, 1, 2, 2, 2]);
        check(PadMode::Reflect, [2, 1, 0, 1, 2, 1, 0]);
        check(PadMode::Wrap, [1, 2, 0, 1, 2, 0, 1]);
    }
}
