//! Means over whole maps, in one form.

use super::edit::Edit;
use crate::op::{Adaptive, Op, Pool, PoolKind, Reduction};
use crate::shape::Axis;

pub(super) fn recognise(edit: &mut Edit) {
    for index in edit.nodes() {
        recognise_node(edit, index);
    }
}

fn recognise_node(edit: &mut Edit, index: usize) -> Option<()> {
    let node = edit.node(index)?;
    let map = *node.inputs.first()?;
    let shape = edit.shape(map);
    let [_, _, height, width] = shape.0.as_slice() else {
        return None;
    };
    let whole = Op::AdaptiveAverage(Adaptive { out: [1, 1] });
    match &node.op {
        Op::Reduce {
            reduction: Reduction::Mean,
            axes,
            keep,
        } if axes.as_slice() == [2, 3] => {
            if *keep {
                return edit.replace(index, whole, &[map]);
            }
            let target = edit.graph().shape(node.output).clone();
            let mean = edit.insert_before(index, whole, &[map])?;
            edit.replace(index, Op::Reshape(target), &[mean])
        }
        Op::Pool(Pool {
            kind: PoolKind::Average | PoolKind::AverageWithPadding { .. },
            window,
        }) if window.kernel.map(Axis::fixed) == [*height, *width]
            && window.dilation == [1, 1]
            && window.before == [0, 0]
            && window.after == [0, 0] =>
        {
            edit.replace(index, whole, &[map])
        }
        _ => None,
    }
}
