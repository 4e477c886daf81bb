//! Channels into space and back.

use millrace_graph::{Axis, Op, Operand, Shape, TransposedConvolution};

use crate::known::{Kind, Tensor};
use crate::lower::call::Call;
use crate::lower::emit::Emitter;
use crate::lower::ops::Answer;
use crate::lower::ops::convolution::{Moves, pair};
use crate::lower::ops::layout::as_value;
use crate::problem::{Refusal, refuse};

fn block(call: &Call<'_, '_>) -> Result<usize, Refusal> {
    let size = call.int("blocksize")?.and_then(|size| usize::try_from(size).ok());
    size.filter(|size| *size > 0)
        .ok_or_else(|| refuse("it has no `blocksize`"))
}

/// The axes of a map whose channels, height and width are divided.
fn map(em: &Emitter, operand: Operand) -> Result<(Axis, [usize; 3]), Refusal> {
    let shape = em.shape_of(operand);
    match shape.0[..] {
        [items, channels, height, width] => Ok((items, [channels.size, height.size, width.size])),
        _ => Err(refuse(format!("its input has {} axes; it takes 4", shape.rank()))),
    }
}

fn shape(items: Axis, sizes: &[usize]) -> Shape {
    Shape(
        std::iter::once(items)
            .chain(sizes.iter().copied().map(Axis::fixed))
            .collect(),
    )
}

fn divided(length: usize, by: usize) -> Result<usize, Refusal> {
    match length.is_multiple_of(by) {
        true => Ok(length / by),
        false => Err(refuse(format!("its block of {by} does not divide {length}"))),
    }
}

pub(crate) fn depth_to_space(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let b = block(call)?;
    let x = em.operand(call.input(0)?)?;
    let (items, [channels, height, width]) = map(em, x)?;
    let each = divided(channels, b.saturating_mul(b))?;
    let (apart, order): (_, [usize; 6]) = match call.text_or("mode", "DCR")? {
        "DCR" => ([b, b, each, height, width], [0, 3, 4, 1, 5, 2]),
        "CRD" => ([each, b, b, height, width], [0, 1, 4, 2, 5, 3]),
        other => return Err(refuse(format!("mode `{}` is not known", crate::shown(other)))),
    };
    let x = em.reshape(x, shape(items, &apart))?;
    let x = em.transpose(x, &order)?;
    let together = [each, height.saturating_mul(b), width.saturating_mul(b)];
    let x = em.reshape(x, shape(items, &together))?;
    as_value(em, x, call.input(0)?.kind())
}

pub(crate) fn space_to_depth(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let b = block(call)?;
    let x = em.operand(call.input(0)?)?;
    let (items, [channels, height, width]) = map(em, x)?;
    let (rows, columns) = (divided(height, b)?, divided(width, b)?);
    let x = em.reshape(x, shape(items, &[channels, rows, b, columns, b]))?;
    let x = em.transpose(x, &[0, 3, 5, 1, 2, 4])?;
    let deep = channels.saturating_mul(b).saturating_mul(b);
    let x = em.reshape(x, shape(items, &[deep, rows, columns]))?;
    as_value(em, x, call.input(0)?.kind())
}

/// Two whole numbers that an input says.
fn lengths(call: &Call<'_, '_>, input: usize, what: &str) -> Result<[usize; 2], Refusal> {
    let numbers = call
        .known_ints(input, what)?
        .ok_or_else(|| refuse(format!("it has no {what}")))?;
    pair(what, &numbers, false, 1)
}

/// Blocks `[N, channels · taps, places]` summed where they overlap in an image: a transposed convolution whose weight puts
/// each of a channel's numbers at its tap.
pub(crate) fn columns_to_image(em: &mut Emitter, call: &Call<'_, '_>) -> Answer {
    let x = em.operand(call.input(0)?)?;
    let image = lengths(call, 1, "image shape")?;
    let kernel = lengths(call, 2, "block shape")?;
    let moves = Moves::of(call, &kernel, false)?;
    let (before, after) = moves.pads_for(image);
    let reach = moves.reach();
    let mut places = [0; 2];
    for (axis, places) in places.iter_mut().enumerate() {
        let at = |numbers: &[usize; 2]| numbers.get(axis).copied().unwrap_or(0);
        let padded = at(&image).saturating_add(at(&before)).saturating_add(at(&after));
        let room = padded
            .checked_sub(at(&reach))
            .and_then(|room| room.checked_div(at(&moves.stride)));
        *places = room
            .ok_or_else(|| refuse("its block is larger than its image"))?
            .saturating_add(1);
    }
    let own = em.shape_of(x);
    let [items, columns, _] = own.0[..] else {
        return Err(refuse(format!("its input has {} axes; it takes 3", own.rank())));
    };
    let [down, right] = kernel;
    let taps = down.saturating_mul(right);
    let channels = divided(columns.size, taps)?;
    let dims = vec![columns.size, 1, down, right];
    let elements = em.budget.spend(&dims)?;
    let ones = (0..elements).map(|at| {
        let (row, tap) = (at.checked_div(taps).unwrap_or(0), at.checked_rem(taps).unwrap_or(0));
        f32::from(u8::from(row.checked_rem(taps) == Some(tap)))
    });
    let weight = em.constant(&Tensor::floats(dims, ones.collect()))?;
    // What the last blocks do not reach stays 0.
    let mut output_padding = [0; 2];
    for (axis, more) in output_padding.iter_mut().enumerate() {
        let at = |numbers: &[usize; 2]| numbers.get(axis).copied().unwrap_or(0);
        let full = at(&places)
            .saturating_sub(1)
            .saturating_mul(at(&moves.stride))
            .saturating_add(at(&reach));
        let wanted = at(&image).saturating_add(at(&before)).saturating_add(at(&after));
        *more = wanted.saturating_sub(full);
    }
    let op = TransposedConvolution {
        weight,
        bias: None,
        window: moves.window((before, after)),
        output_padding,
        groups: channels,
    };
    let [rows, along] = places;
    let map = em.reshape(x, shape(items, &[columns.size, rows, along]))?;
    let result = em.emit(Op::TransposedConvolution(op), &[map])?;
    as_value(em, result, Kind::Float)
}
