//! Reshapes and transposes behind each other.

use super::edit::Edit;
use crate::graph::Operand;
use crate::op::Op;
use crate::shape::{Axis, Shape};

pub(super) fn merge(edit: &mut Edit) {
    for index in edit.nodes() {
        merge_node(edit, index);
    }
}

fn merge_node(edit: &mut Edit, index: usize) -> Option<()> {
    let node = edit.node(index)?;
    let input = *node.inputs.first()?;
    let before = edit
        .producer(input)
        .map(|(_, before)| (&before.op, before.inputs.first().copied()));
    match (&node.op, before) {
        (Op::Reshape(target), Some((Op::Reshape(_), Some(source)))) => {
            let target = target.clone();
            // The result is the same however the numbers were arranged between.
            edit.replace(index, Op::Reshape(target), &[source])
        }
        (Op::Transpose(order), Some((Op::Transpose(earlier), Some(source)))) => {
            let merged: Vec<usize> = order.iter().filter_map(|axis| earlier.get(*axis).copied()).collect();
            edit.replace(index, Op::Transpose(merged), &[source])
        }
        (Op::Transpose(order), _) if keeps_order(order, &edit.shape(input)) => {
            let target = edit.graph().shape(node.output).clone();
            edit.replace(index, Op::Reshape(target), &[input])
        }
        (
            Op::Slice { starts, steps, shape },
            Some((
                Op::Slice {
                    starts: first,
                    steps: by,
                    ..
                },
                Some(source),
            )),
        ) => {
            let merged = starts
                .iter()
                .zip(steps)
                .zip(first)
                .zip(by)
                .map(|(((start, step), first), by)| {
                    let far = isize::try_from(*start).ok()?.checked_mul(*by)?;
                    Some((first.checked_add_signed(far)?, by.checked_mul(*step)?))
                });
            let (starts, steps) = merged.collect::<Option<Vec<_>>>()?.into_iter().unzip();
            let shape = shape.clone();
            edit.replace(index, Op::Slice { starts, steps, shape }, &[source])
        }
        // A pick of one index is a smaller thing than a gather.
        (Op::Gather { axis, indices, shape }, _) => {
            let (axis, start, step) = (*axis, *indices.first()?, even(indices)?);
            if shape.len() != 1 {
                return None;
            }
            part(edit, index, input, axis, (start, step))
        }
        _ => None,
    }
}

/// Whether all axes longer than 1 stay in order.
fn keeps_order(order: &[usize], shape: &Shape) -> bool {
    let long = order.iter().filter(|axis| shape.0.get(**axis) != Some(&Axis::fixed(1)));
    long.is_sorted()
}

/// The step between indices, where it is the same between all.
fn even(indices: &[usize]) -> Option<isize> {
    let difference = |pair: &[usize]| match pair {
        [one, next] => isize::try_from(*next).ok()?.checked_sub_unsigned(*one),
        _ => None,
    };
    let first = match indices {
        [_] => return Some(1),
        _ => indices.windows(2).next().and_then(difference)?,
    };
    let all = indices.windows(2).all(|pair| difference(pair) == Some(first));
    (all && first != 0).then_some(first)
}

fn part(edit: &mut Edit, index: usize, input: Operand, axis: usize, (start, step): (usize, isize)) -> Option<()> {
    let shape = edit.graph().shape(edit.node(index)?.output).clone();
    let (mut starts, mut steps) = (vec![0; shape.rank()], vec![1; shape.rank()]);
    *starts.get_mut(axis)? = start;
    *steps.get_mut(axis)? = step;
    edit.replace(index, Op::Slice { starts, steps, shape }, &[input])
}
