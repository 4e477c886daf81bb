//! Operators that move a window over maps, and those that change their height and width.

use super::{axis, bounded, constant, misfit, number, pointwise, residual, vector, weights};
use crate::builder::Misfit;
use crate::graph::{ConstantId, Graph};
use crate::limits::{MAX_RESIZED, MAX_WINDOW_ELEMENTS, MAX_WINDOW_STEP};
use crate::op::{Adaptive, Convolution, Interpolation, Pool, PoolKind, Resize, TransposedConvolution, Window};
use crate::shape::{Axis, Shape};

/// A map: items, channels, height, width.
struct Map {
    items: Axis,
    channels: usize,
    size: [usize; 2],
}

impl Map {
    fn of(shape: &Shape) -> Result<Self, Misfit> {
        match shape.0.as_slice() {
            [items, ..] if shape.rank() == 4 => Ok(Self {
                items: *items,
                channels: axis(shape, 1)?,
                size: [axis(shape, 2)?, axis(shape, 3)?],
            }),
            _ => misfit("a map: items, channels, height and width", shape.to_string()),
        }
    }

    /// The same items with so many channels and another size, if that is within the limits.
    fn with(&self, channels: usize, [height, width]: [usize; 2]) -> Result<Shape, Misfit> {
        let fixed = [channels, height, width].map(Axis::fixed);
        let shape = Shape(std::iter::once(self.items).chain(fixed).collect());
        bounded(&shape)?;
        Ok(shape)
    }
}

pub(super) fn convolution(graph: &Graph, conv: &Convolution, map: &Shape, added: &[&Shape]) -> Result<Shape, Misfit> {
    let map = Map::of(map)?;
    let window = &conv.window;
    let [kernel_height, kernel_width] = window.kernel;
    let [out, ..] = kernels(graph, conv.weight)?;
    let depth = part(map.channels, conv.groups)?;
    let part_out = part(out, conv.groups)?;
    weights(
        graph,
        conv.weight,
        "a weight",
        &[out, depth, kernel_height, kernel_width],
    )?;
    vector(graph, conv.bias, "a bias", out)?;
    conv.activation.as_ref().map_or(Ok(()), pointwise::activation)?;
    under(window, depth, part_out)?;
    let size = slide(&map, window)?;
    let shape = map.with(out, size)?;
    residual(conv.residual, added, &shape)?;
    Ok(shape)
}

/// The four axes of a convolution's weight.
fn kernels(graph: &Graph, weight: ConstantId) -> Result<[usize; 4], Misfit> {
    let shape = &constant(graph, weight)?.shape;
    match <[usize; 4]>::try_from(shape.as_slice()) {
        Ok(axes) => Ok(axes),
        Err(_) => misfit("a weight of four axes", format!("{shape:?}")),
    }
}

/// How many channels a group has.
fn part(channels: usize, groups: usize) -> Result<usize, Misfit> {
    match groups > 0 && channels > 0 && channels.is_multiple_of(groups) {
        true => Ok(channels / groups),
        false => misfit(
            "channels that the groups divide",
            format!("{channels} in {groups} groups"),
        ),
    }
}

/// Bounds the numbers under a window.
fn under(window: &Window, depth: usize, more: usize) -> Result<(), Misfit> {
    let [height, width] = window.kernel;
    let under = height.saturating_mul(width).saturating_mul(depth).saturating_add(more);
    match under <= MAX_WINDOW_ELEMENTS {
        true => Ok(()),
        false => misfit(
            format!("at most {MAX_WINDOW_ELEMENTS} numbers under a window"),
            under.to_string(),
        ),
    }
}

/// Bounds the window's own numbers: nothing that is computed from them overflows then.
fn sound(window: &Window) -> Result<(), Misfit> {
    let Window {
        kernel,
        stride,
        dilation,
        before,
        after,
    } = window;
    let least = [kernel, stride, dilation]
        .into_iter()
        .flatten()
        .all(|number| *number >= 1);
    let most = [stride, dilation, before, after]
        .into_iter()
        .flatten()
        .all(|number| *number <= MAX_WINDOW_STEP)
        && kernel.iter().all(|number| *number <= MAX_WINDOW_ELEMENTS);
    match least && most {
        true => Ok(()),
        false => misfit(
            format!("a kernel, strides and dilations from 1, and these and pads up to {MAX_WINDOW_STEP}"),
            format!("kernel {kernel:?}, stride {stride:?}, dilation {dilation:?}, pads {before:?} and {after:?}"),
        ),
    }
}

/// The size of what a window yields that is moved over a map.
fn slide(map: &Map, window: &Window) -> Result<[usize; 2], Misfit> {
    sound(window)?;
    let mut sizes = [0; 2];
    let mut padded = [0; 2];
    for (axis, steps) in Steps::of(map.size, window).into_iter().enumerate() {
        let (Some(size), Some(pad)) = (sizes.get_mut(axis), padded.get_mut(axis)) else {
            continue;
        };
        *pad = steps.padded();
        *size = steps.count().ok_or_else(|| {
            let Window {
                dilation,
                before,
                after,
                ..
            } = window;
            Misfit::new(
                format!("a map of at least the window {:?}", window.kernel),
                format!(
                    "{:?} with pads {before:?} and {after:?}, dilation {dilation:?}",
                    map.size
                ),
            )
        })?;
    }
    // Executors may keep a map with its padding around it.
    map.with(map.channels, padded)?;
    Ok(sizes)
}

/// A window along one axis; its numbers are bounded.
struct Steps {
    length: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    after: usize,
}

impl Steps {
    fn of(size: [usize; 2], window: &Window) -> [Self; 2] {
        let Window {
            kernel,
            stride,
            dilation,
            before,
            after,
        } = *window;
        let along = |length, kernel, stride, dilation, before, after| Self {
            length,
            kernel,
            stride,
            dilation,
            before,
            after,
        };
        let ([height, width], [kernel_height, kernel_width], [down, right]) = (size, kernel, stride);
        let ([gap_down, gap_right], [above, left], [below, behind]) = (dilation, before, after);
        [
            along(height, kernel_height, down, gap_down, above, below),
            along(width, kernel_width, right, gap_right, left, behind),
        ]
    }

    fn padded(&self) -> usize {
        self.length.saturating_add(self.before).saturating_add(self.after)
    }

    /// How far a window reaches.
    fn reach(&self) -> usize {
        self.dilation
            .saturating_mul(self.kernel.saturating_sub(1))
            .saturating_add(1)
    }

    /// How many windows there are; nothing where not one fits.
    fn count(&self) -> Option<usize> {
        let room = self.padded().checked_sub(self.reach())?;
        Some(room.checked_div(self.stride)? + 1)
    }

    /// Whether each window has a tap from `before` to the end of the axis and `more`.
    fn all_reach(&self, more: usize, with_padding: bool) -> bool {
        let (first, end) = match with_padding {
            true => (0, self.before.saturating_add(self.length).saturating_add(more)),
            false => (self.before, self.before.saturating_add(self.length)),
        };
        (0..self.count().unwrap_or(0)).all(|index| {
            let start = index.saturating_mul(self.stride);
            let tap = first.saturating_sub(start).div_ceil(self.dilation.max(1));
            tap < self.kernel && start.saturating_add(tap.saturating_mul(self.dilation)) < end
        })
    }
}

pub(super) fn pool(pool: &Pool, map: &Shape) -> Result<Shape, Misfit> {
    let map = Map::of(map)?;
    under(&pool.window, 1, 0)?;
    let size = slide(&map, &pool.window)?;
    let shape = map.with(map.channels, size)?;
    let (counted, with_padding) = match pool.kind {
        PoolKind::AverageWithPadding { counted } => (counted, true),
        PoolKind::Max | PoolKind::Average => ([0, 0], false),
    };
    if counted
        .iter()
        .zip(&pool.window.after)
        .any(|(counted, after)| counted > after)
    {
        return misfit(
            format!("pads that count of at most {:?}", pool.window.after),
            format!("{counted:?}"),
        );
    }
    let steps = Steps::of(map.size, &pool.window);
    match steps
        .iter()
        .zip(counted)
        .all(|(steps, more)| steps.all_reach(more, with_padding))
    {
        true => Ok(shape),
        false => misfit(
            "a number under every window that is no padding",
            format!("{:?} with {:?}", map.size, pool.window),
        ),
    }
}

pub(super) fn transposed(graph: &Graph, conv: &TransposedConvolution, map: &Shape) -> Result<Shape, Misfit> {
    let map = Map::of(map)?;
    let window = &conv.window;
    sound(window)?;
    let [kernel_height, kernel_width] = window.kernel;
    let [_, depth, ..] = kernels(graph, conv.weight)?;
    let part_in = part(map.channels, conv.groups)?;
    weights(
        graph,
        conv.weight,
        "a weight",
        &[map.channels, depth, kernel_height, kernel_width],
    )?;
    under(window, depth, part_in)?;
    let Some(out) = depth.checked_mul(conv.groups) else {
        return misfit("fewer channels", format!("{depth} in {} groups", conv.groups));
    };
    vector(graph, conv.bias, "a bias", out)?;
    let (mut sizes, mut whole) = ([0; 2], [0; 2]);
    let results = sizes.iter_mut().zip(&mut whole).zip(conv.output_padding);
    for (steps, ((size, whole), more)) in Steps::of(map.size, window).into_iter().zip(results) {
        if more > 0 && more >= steps.stride.max(steps.dilation) {
            return misfit(
                "an output padding below stride or dilation",
                format!("{:?}", conv.output_padding),
            );
        }
        let full = steps
            .length
            .saturating_sub(1)
            .saturating_mul(steps.stride)
            .saturating_add(steps.reach());
        *whole = full.saturating_add(more);
        *size = match whole.checked_sub(steps.before.saturating_add(steps.after)) {
            Some(size) if size > 0 => size,
            _ => {
                return misfit(
                    format!("less to cut off than the {full} rows or columns that come out"),
                    format!("{} and {}", steps.before, steps.after),
                );
            }
        };
    }
    map.with(out, whole)?;
    map.with(out, sizes)
}

pub(super) fn adaptive(adaptive: Adaptive, map: &Shape) -> Result<Shape, Misfit> {
    let map = Map::of(map)?;
    map.with(map.channels, adaptive.out)
}

pub(super) fn resize(resize: &Resize, x: &Shape) -> Result<Shape, Misfit> {
    let rank = x.rank();
    let (Some(rows), Some(columns)) = (rank.checked_sub(2), rank.checked_sub(1)) else {
        return misfit("at least two axes", x.to_string());
    };
    axis(x, rows)?;
    axis(x, columns)?;
    for scale in resize.scale {
        number("a scale above 0", scale.is_finite() && scale > 0.0, scale.into())?;
    }
    if resize.out.iter().any(|length| *length > MAX_RESIZED) {
        return misfit(
            format!("a height and a width of at most {MAX_RESIZED}"),
            format!("{:?}", resize.out),
        );
    }
    if let Interpolation::Cubic { coefficient, .. } = resize.interpolation {
        number("a finite coefficient", coefficient.is_finite(), coefficient.into())?;
    }
    let before = x.0.iter().take(rows).copied();
    Ok(Shape(before.chain(resize.out.map(Axis::fixed)).collect()))
}
