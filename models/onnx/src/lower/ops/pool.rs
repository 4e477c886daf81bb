//! Poolings over windows and over all of a map.

use millrace_graph::{Binary, Op, Pool, PoolKind, Reduction, Unary, Window};

use crate::known::Kind;
use crate::lower::call::Call;
use crate::lower::emit::Emitter;
use crate::lower::ops::convolution::{Map, Moves};
use crate::lower::ops::{Answer, one};
use crate::problem::{advise, refuse};

pub(crate) fn pool(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    if call.is_wanted(1) {
        return Err(advise(
            "the indices of the largest numbers are used",
            "unpooling is not supported",
        ));
    }
    if call.flag("storage_order", false)? && call.is_wanted(1) {
        return Err(refuse("its indices count by columns"));
    }
    let x = call.input(0)?;
    let map = Map::of(em, x)?;
    let kernel = call
        .ints("kernel_shape")?
        .ok_or_else(|| refuse("it has no `kernel_shape`"))?;
    let kernel: Option<Vec<usize>> = kernel.iter().map(|number| usize::try_from(*number).ok()).collect();
    let kernel = kernel.ok_or_else(|| refuse("its kernel is below 0"))?;
    let moves = Moves::of(call, &kernel, map.flat)?;
    let pads = moves.pads_for(map.size);
    let (window, counted) = match call.flag("ceil_mode", false)? {
        true => (rounded_up(&moves, &map, pads), pads.1),
        false => (moves.window(pads), pads.1),
    };
    let kind = match call.operator {
        "MaxPool" => PoolKind::Max,
        "LpPool" => PoolKind::AverageWithPadding { counted: window.after },
        _ if call.flag("count_include_pad", false)? => PoolKind::AverageWithPadding {
            counted: smaller(counted, window.after),
        },
        _ => PoolKind::Average,
    };
    if call.operator == "LpPool" {
        return of_powers(em, call, &map, window);
    }
    let result = em.emit(Op::Pool(Pool { kind, window }), &[map.operand])?;
    one(map.back(em, result, x.kind())?)
}

fn smaller([a, b]: [usize; 2], [c, d]: [usize; 2]) -> [usize; 2] {
    [a.min(c), b.min(d)]
}

/// The window where the size is rounded up: the padding at the end is what the last window needs. A window that would
/// begin beyond the map and its first padding is left out, as the standard says. A lone window that is larger than the padded
/// map is just as large as that.
fn rounded_up(moves: &Moves, map: &Map, (before, after): ([usize; 2], [usize; 2])) -> Window {
    let mut window = moves.window((before, after));
    let reach = moves.reach();
    let places = window.after.iter_mut().zip(&mut window.kernel).zip(&mut window.stride);
    for (axis, ((place, kernel), step)) in places.enumerate() {
        let at = |numbers: &[usize; 2]| numbers.get(axis).copied().unwrap_or(0);
        let (size, stride, reach) = (at(&map.size), at(&moves.stride).max(1), at(&reach));
        let padded = size.saturating_add(at(&before)).saturating_add(at(&after));
        let Some(room) = padded.checked_sub(reach) else {
            if at(&moves.dilation) == 1 && reach.saturating_sub(padded) < stride {
                (*kernel, *step) = (padded, 1);
            }
            continue;
        };
        let mut steps = room.div_ceil(stride);
        if steps.saturating_mul(stride) >= size.saturating_add(at(&before)) {
            steps = steps.saturating_sub(1);
        }
        let needed = steps
            .saturating_mul(stride)
            .saturating_add(reach)
            .saturating_sub(size.saturating_add(at(&before)));
        let same = room.checked_div(stride) == Some(steps);
        *place = if same { at(&after) } else { needed };
    }
    window
}

/// The root of the sum of powers under a window.
fn of_powers(em: &mut Emitter, call: &Call<'_, '_>, map: &Map, window: Window) -> Answer {
    let p = call.int_or("p", 2)? as f32;
    let taps = window.kernel.iter().copied().fold(1_usize, usize::saturating_mul) as f32;
    let (power, root) = (em.number(p)?, em.number(p.recip())?);
    let size = em.unary(Unary::Abs, map.operand)?;
    let powers = match p {
        2.0 => em.binary(Binary::Mul, size, size)?,
        1.0 => size,
        _ => em.binary(Binary::Pow, size, power)?,
    };
    let kind = PoolKind::AverageWithPadding { counted: window.after };
    let mean = em.emit(Op::Pool(Pool { kind, window }), &[powers])?;
    let taps = em.number(taps)?;
    let sum = em.binary(Binary::Mul, mean, taps)?;
    let result = match p {
        2.0 => em.unary(Unary::Sqrt, sum)?,
        1.0 => sum,
        _ => em.binary(Binary::Pow, sum, root)?,
    };
    one(map.back(em, result, Kind::Float)?)
}

/// One number for each channel.
pub(crate) fn global(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = call.input(0)?;
    let rank = em.shape(x)?.rank();
    if rank < 3 {
        return Err(refuse(format!("its input has {rank} axes; it takes at least 3")));
    }
    let reduction = match (call.operator, call.int_or("p", 2)?) {
        ("GlobalAveragePool", _) => Reduction::Mean,
        ("GlobalMaxPool", _) => Reduction::Max,
        (_, 1) => Reduction::L1,
        (_, 2) => Reduction::L2,
        (_, p) => return Err(refuse(format!("p = {p} is not supported; 1 and 2 are"))),
    };
    let operand = em.operand(x)?;
    let op = Op::Reduce {
        reduction,
        axes: (2..rank).collect(),
        keep: true,
    };
    one(em.value(op, &[operand], x.kind())?)
}

/// `x / (bias + alpha / size · sum of squares)^beta`.
pub(crate) fn local_response(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = em.operand(call.input(0)?)?;
    let size = call.int("size")?.and_then(|size| usize::try_from(size).ok());
    let norm = millrace_graph::LocalResponseNorm {
        size: size.ok_or_else(|| refuse("it has no `size`"))?,
        alpha: call.float_or("alpha", 1e-4)?.into(),
        beta: call.float_or("beta", 0.75)?.into(),
        bias: call.float_or("bias", 1.0)?.into(),
    };
    one(em.value(Op::LocalResponseNorm(norm), &[x], Kind::Float)?)
}
