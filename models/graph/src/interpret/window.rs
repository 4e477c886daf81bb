//! Windows over maps, plane by plane: each tap of a window is one pass over the rows that it meets.

use super::{Tensor, product, vector};
use crate::graph::Graph;
use crate::op::{Convolution, Pool, PoolKind, TransposedConvolution, Window};

/// Where taps meet along one axis: index `i` of the windows and `i · stride + tap · dilation - before` of the map.
#[derive(Clone, Copy)]
struct Along {
    windows: usize,
    length: usize,
    stride: usize,
    dilation: usize,
    before: usize,
}

/// The windows whose tap is on the map, and where it is for the first of them.
struct Met {
    from: usize,
    to: usize,
    first: usize,
}

impl Along {
    /// Height and width.
    fn both(window: &Window, windows: [usize; 2], length: [usize; 2]) -> [Self; 2] {
        let ([rows, columns], [height, width]) = (windows, length);
        let ([down, right], [gap_down, gap_right]) = (window.stride, window.dilation);
        let [above, left] = window.before;
        let along = |windows, length, stride, dilation, before| Self {
            windows,
            length,
            stride,
            dilation,
            before,
        };
        [
            along(rows, height, down, gap_down, above),
            along(columns, width, right, gap_right, left),
        ]
    }

    fn meets(&self, tap: usize) -> Option<Met> {
        let shift = tap.checked_mul(self.dilation)?;
        let from = self.before.saturating_sub(shift).div_ceil(self.stride.max(1));
        // The first index beyond the map would be read at `length + before - shift`.
        let room = self.length.checked_add(self.before)?.saturating_sub(shift);
        let to = room.div_ceil(self.stride.max(1)).min(self.windows);
        let first = from
            .checked_mul(self.stride)?
            .checked_add(shift)?
            .checked_sub(self.before)?;
        (from < to).then_some(Met { from, to, first })
    }
}

/// Calls `meet` for each pair of rows that a tap joins: numbers of the windows' plane, then those of the map's plane.
fn meet(
    [rows, columns]: [Along; 2],
    [down, right]: [usize; 2],
    mut meet: impl FnMut(usize, usize, usize, usize) -> Option<()>,
) -> Option<()> {
    let (Some(vertical), Some(horizontal)) = (rows.meets(down), columns.meets(right)) else {
        return Some(());
    };
    for row in vertical.from..vertical.to {
        let line = vertical
            .first
            .checked_add((row - vertical.from).checked_mul(rows.stride)?)?;
        let window = row.checked_mul(columns.windows)?.checked_add(horizontal.from)?;
        let map = line.checked_mul(columns.length)?.checked_add(horizontal.first)?;
        meet(window, map, horizontal.to - horizontal.from, columns.stride)?;
    }
    Some(())
}

/// The four axes of a map.
fn map(shape: &[usize]) -> Option<[usize; 4]> {
    <[usize; 4]>::try_from(shape)
        .ok()
        .filter(|axes| axes.iter().all(|axis| *axis > 0))
}

/// One plane of an image.
fn plane(data: &[f32], index: usize, size: usize) -> Option<&[f32]> {
    let start = index.checked_mul(size)?;
    data.get(start..start.checked_add(size)?)
}

pub(super) fn convolution(
    graph: &Graph,
    conv: &Convolution,
    x: Tensor<'_>,
    shape: &[usize],
    out: &mut [f32],
) -> Option<()> {
    let [items, channels, height, width] = map(x.shape)?;
    let [items_out, channels_out, rows, columns] = map(shape)?;
    let (weight, bias) = (vector(graph, Some(conv.weight))?, vector(graph, conv.bias));
    let [kernel_height, kernel_width] = conv.window.kernel;
    let depth = channels.checked_div(conv.groups)?;
    let part = channels_out.checked_div(conv.groups)?;
    let numbers = product(&[channels_out, depth, kernel_height, kernel_width]);
    if items != items_out || numbers != Some(weight.len()) {
        return None;
    }
    let along = Along::both(&conv.window, [rows, columns], [height, width]);
    let mut sums = vec![0.0_f64; rows.checked_mul(columns)?];
    for (index, out) in out.chunks_mut(sums.len()).enumerate() {
        let (item, channel_out) = (index / channels_out, index % channels_out);
        sums.fill(
            bias.and_then(|bias| bias.get(channel_out))
                .map_or(0.0, |bias| f64::from(*bias)),
        );
        for inner in 0..depth {
            let channel = item * channels + channel_out.checked_div(part)? * depth + inner;
            let source = plane(x.data, channel, height.checked_mul(width)?)?;
            let taps = plane(
                weight,
                channel_out * depth + inner,
                kernel_height.checked_mul(kernel_width)?,
            )?;
            for (tap, weight) in taps.iter().enumerate() {
                meet(
                    along,
                    [tap / kernel_width, tap % kernel_width],
                    |window, at, count, step| {
                        let numbers = source.get(at..)?.iter().step_by(step).take(count);
                        for (sum, x) in sums.get_mut(window..)?.iter_mut().zip(numbers) {
                            *sum += f64::from(*x) * f64::from(*weight);
                        }
                        Some(())
                    },
                )?;
            }
        }
        store(&sums, out);
    }
    Some(())
}

pub(super) fn transposed(
    graph: &Graph,
    conv: &TransposedConvolution,
    x: Tensor<'_>,
    shape: &[usize],
    out: &mut [f32],
) -> Option<()> {
    let [items, channels, height, width] = map(x.shape)?;
    let [items_out, channels_out, rows, columns] = map(shape)?;
    let (weight, bias) = (vector(graph, Some(conv.weight))?, vector(graph, conv.bias));
    let [kernel_height, kernel_width] = conv.window.kernel;
    let depth = channels.checked_div(conv.groups)?;
    let part = channels_out.checked_div(conv.groups)?;
    let numbers = product(&[channels, part, kernel_height, kernel_width]);
    if items != items_out || numbers != Some(weight.len()) {
        return None;
    }
    // The other way round: the input has a number for each window, and the result is what windows lie on.
    let along = Along::both(&conv.window, [height, width], [rows, columns]);
    let mut sums = vec![0.0_f64; rows.checked_mul(columns)?];
    for (index, out) in out.chunks_mut(sums.len()).enumerate() {
        let (item, channel_out) = (index / channels_out, index % channels_out);
        sums.fill(
            bias.and_then(|bias| bias.get(channel_out))
                .map_or(0.0, |bias| f64::from(*bias)),
        );
        let (group, within) = (channel_out.checked_div(part)?, channel_out.checked_rem(part)?);
        for inner in group * depth..(group + 1) * depth {
            let source = plane(x.data, item * channels + inner, height.checked_mul(width)?)?;
            let taps = plane(weight, inner * part + within, kernel_height.checked_mul(kernel_width)?)?;
            for (tap, weight) in taps.iter().enumerate() {
                meet(
                    along,
                    [tap / kernel_width, tap % kernel_width],
                    |window, at, count, step| {
                        let numbers = source.get(window..)?.iter().take(count);
                        for (sum, x) in sums.get_mut(at..)?.iter_mut().step_by(step).zip(numbers) {
                            *sum += f64::from(*x) * f64::from(*weight);
                        }
                        Some(())
                    },
                )?;
            }
        }
        store(&sums, out);
    }
    Some(())
}

pub(super) fn pool(pool: &Pool, x: Tensor<'_>, shape: &[usize], out: &mut [f32]) -> Option<()> {
    let [_, _, height, width] = map(x.shape)?;
    let [_, _, rows, columns] = map(shape)?;
    let [kernel_height, kernel_width] = pool.window.kernel;
    let along = Along::both(&pool.window, [rows, columns], [height, width]);
    let counts = match pool.kind {
        PoolKind::Max => None,
        PoolKind::Average => Some(count(along, [kernel_height, kernel_width])?),
        PoolKind::AverageWithPadding { counted } => {
            // What counts is a larger map, whose padding counts as zeros.
            let [mut vertical, mut horizontal] = along;
            for (along, more) in [&mut vertical, &mut horizontal].into_iter().zip(counted) {
                along.length = along.length.checked_add(along.before)?.checked_add(more)?;
                along.before = 0;
            }
            Some(count([vertical, horizontal], [kernel_height, kernel_width])?)
        }
    };
    let start = if counts.is_some() { 0.0 } else { f64::NEG_INFINITY };
    let mut sums = vec![start; rows.checked_mul(columns)?];
    for (index, out) in out.chunks_mut(sums.len()).enumerate() {
        sums.fill(start);
        let source = plane(x.data, index, height.checked_mul(width)?)?;
        for tap in 0..kernel_height.checked_mul(kernel_width)? {
            meet(
                along,
                [tap / kernel_width, tap % kernel_width],
                |window, at, count, step| {
                    let numbers = source.get(at..)?.iter().step_by(step).take(count);
                    for (sum, x) in sums.get_mut(window..)?.iter_mut().zip(numbers) {
                        let x = f64::from(*x);
                        match counts {
                            Some(_) => *sum += x,
                            None if x > *sum || x.is_nan() => *sum = x,
                            None => {}
                        }
                    }
                    Some(())
                },
            )?;
        }
        for (sum, count) in sums.iter_mut().zip(counts.as_deref().unwrap_or_default()) {
            *sum /= count;
        }
        store(&sums, out);
    }
    Some(())
}

/// How many taps of each window are on the map.
fn count(along: [Along; 2], [kernel_height, kernel_width]: [usize; 2]) -> Option<Vec<f64>> {
    let [rows, columns] = along;
    let mut counts = vec![0.0; rows.windows.checked_mul(columns.windows)?];
    for tap in 0..kernel_height.checked_mul(kernel_width)? {
        meet(
            along,
            [tap / kernel_width, tap % kernel_width],
            |window, _, count, _| {
                for number in counts.get_mut(window..)?.iter_mut().take(count) {
                    *number += 1.0;
                }
                Some(())
            },
        )?;
    }
    Some(counts)
}

pub(super) fn adaptive(x: Tensor<'_>, shape: &[usize], out: &mut [f32]) -> Option<()> {
    let [_, _, height, width] = map(x.shape)?;
    let [_, _, rows, columns] = map(shape)?;
    let part = |index: usize, length: usize, parts: usize| {
        let from = index.checked_mul(length)? / parts;
        let to = (index + 1).checked_mul(length)?.div_ceil(parts);
        Some((from, to - from))
    };
    for (index, out) in out.chunks_mut(rows.checked_mul(columns)?).enumerate() {
        let source = plane(x.data, index, height.checked_mul(width)?)?;
        for (at, out) in out.iter_mut().enumerate() {
            let (top, high) = part(at / columns, height, rows)?;
            let (left, wide) = part(at % columns, width, columns)?;
            let lines = source.chunks(width).skip(top).take(high);
            let sum: f64 = lines
                .map(|line| line.iter().skip(left).take(wide).map(|x| f64::from(*x)).sum::<f64>())
                .sum();
            *out = (sum / (high as f64 * wide as f64)) as f32;
        }
    }
    Some(())
}

fn store(sums: &[f64], out: &mut [f32]) {
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = *sum as f32;
    }
}
