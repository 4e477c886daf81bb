//! Pads that the window behind them can do.

use super::edit::Edit;
use crate::graph::Operand;
use crate::op::{Convolution, Op, PadMode, Pool, PoolKind, Window};

pub(super) fn fold(edit: &mut Edit) {
    for index in edit.nodes() {
        fold_node(edit, index);
    }
}

fn fold_node(edit: &mut Edit, index: usize) -> Option<()> {
    let node = edit.node(index)?;
    let (map, others) = node.inputs.split_first()?;
    let (_, pad) = edit.producer(*map)?;
    let Op::Pad {
        before,
        after,
        mode: PadMode::Constant(number),
    } = &pad.op
    else {
        return None;
    };
    let ([0, 0, above, left], [0, 0, below, right]) = (before.as_slice(), after.as_slice()) else {
        return None;
    };
    let pads = ([*above, *left], [*below, *right]);
    let source = *pad.inputs.first()?;
    let op = match &node.op {
        Op::Convolution(conv) if *number == 0.0 => Op::Convolution(Convolution {
            window: padded(&conv.window, pads)?,
            ..conv.clone()
        }),
        Op::Pool(pool) => {
            let kind = pooled(edit, pool, source, (*number, pads.1))?;
            let window = padded(&pool.window, pads)?;
            Op::Pool(Pool { kind, window })
        }
        _ => return None,
    };
    let mut inputs = vec![source];
    inputs.extend(others);
    edit.replace(index, op, &inputs)
}

fn padded(window: &Window, (before, after): ([usize; 2], [usize; 2])) -> Option<Window> {
    Some(Window {
        before: sum(window.before, before)?,
        after: sum(window.after, after)?,
        ..*window
    })
}

fn sum([one, other]: [usize; 2], [more, further]: [usize; 2]) -> Option<[usize; 2]> {
    Some([one.checked_add(more)?, other.checked_add(further)?])
}

/// The pool that does the padding as well, if there is one.
fn pooled(edit: &Edit, pool: &Pool, source: Operand, (number, after): (f32, [usize; 2])) -> Option<PoolKind> {
    match pool.kind {
        // A pad never is the largest number: right for pads of minus infinity, and for zeros where no number is below.
        // Inference refuses the pool if a window would see nothing but pads.
        PoolKind::Max if number == f32::NEG_INFINITY => Some(PoolKind::Max),
        PoolKind::Max if number == 0.0 && edit.is_at_least_zero(source) => Some(PoolKind::Max),
        PoolKind::AverageWithPadding { counted } if number == 0.0 => Some(PoolKind::AverageWithPadding {
            counted: sum(counted, after)?,
        }),
        // Its own padding would not count, the other would.
        PoolKind::Average if number == 0.0 && pool.window.before == [0, 0] && pool.window.after == [0, 0] => {
            Some(PoolKind::AverageWithPadding { counted: after })
        }
        _ => None,
    }
}
