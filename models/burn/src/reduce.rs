//! One number for many.

use burn::tensor::{FloatDType, Tensor};
use millrace_graph::Reduction;

use crate::any::{Any, map};
use crate::executor::{About, Step, around, lengths, one};
use crate::upload::Upload;

/// Neighbouring axes that are all reduced, or all kept, as one; and which of them are reduced.
pub(super) fn merged(axes: &[usize], reduced: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let (mut merged, mut to_reduce, mut last) = (Vec::new(), Vec::new(), None);
    for (axis, length) in axes.iter().enumerate() {
        let is_reduced = reduced.contains(&axis);
        match merged.last_mut().filter(|_| last == Some(is_reduced)) {
            Some(merged) => *merged *= *length,
            None => {
                if is_reduced {
                    to_reduce.push(merged.len());
                }
                merged.push(*length);
            }
        }
        last = Some(is_reduced);
    }
    (merged, to_reduce)
}

pub(super) fn reduce(about: &About<'_>, reduction: Reduction, axes: &[usize]) -> Step {
    let (input, output, reduced) = (about.input(0), about.output(), axes.to_vec());
    one(move |x, n_items| {
        let axes = lengths(&input, n_items);
        let (axes, reduced) = merged(&axes, &reduced);
        let number = x.number();
        let x = match number {
            FloatDType::F32 => x,
            _ => x.cast(FloatDType::F32),
        };
        let y = map!(x.reshape(&axes), x => along(reduction, x, &reduced)).keep(&lengths(&output, n_items));
        match number {
            FloatDType::F32 => y,
            number => y.cast(number),
        }
    })
}

fn along<const D: usize>(reduction: Reduction, x: Tensor<D>, axes: &[usize]) -> Tensor<D> {
    let all = |x: Tensor<D>, reduce: fn(Tensor<D>, usize) -> Tensor<D>| axes.iter().fold(x, |x, axis| reduce(x, *axis));
    let sum = |x: Tensor<D>| all(x, |x, axis| x.sum_dim(axis));
    match reduction {
        Reduction::Mean => all(x, |x, axis| x.mean_dim(axis)),
        Reduction::Sum => sum(x),
        Reduction::Max => all(x, |x, axis| x.max_dim(axis)),
        Reduction::Min => all(x, |x, axis| x.min_dim(axis)),
        Reduction::Product => all(x, |x, axis| x.prod_dim(axis)),
        Reduction::L1 => sum(x.abs()),
        Reduction::L2 => sum(x.clone() * x).sqrt(),
        Reduction::SumOfSquares => sum(x.clone() * x),
        Reduction::LogOfSum => sum(x).log(),
        Reduction::LogOfSumOfExp => {
            let most = all(x.clone(), |x, axis| x.max_dim(axis));
            sum((x - most.clone()).exp()).log() + most
        }
    }
}

/// Which extreme, along which axis, and which of equals.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extreme {
    pub(super) smallest: bool,
    pub(super) axis: usize,
    pub(super) last: bool,
}

/// By comparison with the extreme itself: which of equals an index is of, devices leave open.
pub(super) fn extreme(about: &About<'_>, of: Extreme, upload: &mut Upload<'_>) -> Step {
    let (input, output) = (about.input(0), about.output());
    let length = lengths(&input, 1).get(of.axis).copied().unwrap_or(1);
    let count = upload.exact((0..length).map(|index| index as f32).collect());
    one(move |x, n_items| {
        let [outer, length, inner] = around(&lengths(&input, n_items), of.axis);
        let x = x.cast(FloatDType::F32).into3([outer, length, inner]);
        let most = match of.smallest {
            true => x.clone().min_dim(1),
            false => x.clone().max_dim(1),
        };
        let others = x.not_equal(most.expand([outer, length, inner]));
        let count = count.clone().reshape([1, length, 1]).expand([outer, length, inner]);
        let index = match of.last {
            true => count.mask_fill(others, -1.0).max_dim(1),
            false => count.mask_fill(others, length as f32).min_dim(1),
        };
        // In full precision whatever the others are: half precision cannot say every index.
        Any::from(index).keep(&lengths(&output, n_items))
    })
}

#[cfg(test)]
mod tests {
    use super::merged;

    #[test]
    fn neighbours_of_one_kind_become_one() {
        assert_eq!(merged(&[2, 3, 4, 5], &[2, 3]), (vec![6, 20], vec![1]));
        assert_eq!(merged(&[2, 3, 4, 5], &[0, 2]), (vec![2, 3, 4, 5], vec![0, 2]));
        assert_eq!(merged(&[2, 3], &[0, 1]), (vec![6], vec![0]));
    }
}
