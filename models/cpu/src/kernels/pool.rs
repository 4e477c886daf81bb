//! Largest numbers and means of windows, a block of channels at a time. Windows are cut at the edge, so padding is never read.

use super::memory::{Cells, Source};
use super::vector::Vector;

/// The taps of a window along one axis that lie within the input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Span {
    /// Index of the first.
    pub(crate) start: usize,
    /// How many: at least 1 for a largest number.
    pub(crate) count: usize,
    /// How many the mean divides by.
    pub(crate) divisor: usize,
}

/// Every window of a pool.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Windows {
    rows: Vec<Span>,
    columns: Vec<Span>,
    dilation: [usize; 2],
    // Invariant: the last tap of every span lies before it.
    height: usize,
    width: usize,
}

impl Windows {
    /// Nothing where a span has taps beyond `height` or `width`, or none.
    pub(crate) fn new(rows: Vec<Span>, columns: Vec<Span>, dilation: [usize; 2], size: [usize; 2]) -> Option<Self> {
        let [height, width] = size;
        let fits = |span: &Span, dilation: usize, length: usize| {
            span.count > 0 && span.divisor > 0 && span.start + (span.count - 1) * dilation < length
        };
        let [row_dilation, column_dilation] = dilation;
        let sound = rows.iter().all(|span| fits(span, row_dilation, height))
            && columns.iter().all(|span| fits(span, column_dilation, width));
        sound.then_some(Self {
            rows,
            columns,
            dilation,
            height,
            width,
        })
    }
}

/// Where the pixels of a map lie: `origin + block · block_stride + row · row_stride + column · lanes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) origin: usize,
    pub(crate) block_stride: usize,
    pub(crate) row_stride: usize,
}

impl Grid {
    /// How many floats a map of this size reaches over.
    pub(super) fn reach(self, blocks: usize, height: usize, width: usize, lanes: usize) -> usize {
        let before = self.origin + blocks.saturating_sub(1) * self.block_stride;
        before + height.saturating_sub(1) * self.row_stride + width * lanes
    }
}

/// One call.
#[derive(Clone, Copy)]
pub(crate) struct Pool<'a> {
    pub(crate) input: Source<'a>,
    pub(crate) output: Cells<'a>,
    pub(crate) from: Grid,
    pub(crate) to: Grid,
    pub(crate) windows: &'a Windows,
    /// Channel blocks.
    pub(crate) blocks: usize,
    /// Means in place of largest numbers.
    pub(crate) average: bool,
}

impl Pool<'_> {
    /// # Panics
    /// When the call would leave its buffers.
    pub(super) fn check(&self, lanes: usize) {
        let windows = self.windows;
        let read = self.from.reach(self.blocks, windows.height, windows.width, lanes);
        assert!(read <= self.input.len(), "windows in the input");
        let written = self
            .to
            .reach(self.blocks, windows.rows.len(), windows.columns.len(), lanes);
        assert!(written <= self.output.len(), "results in the output");
    }
}

/// Computes a call.
///
/// # Safety
/// [`Vector`]'s contract; [`Pool::check`] has passed.
#[inline(always)]
pub(super) unsafe fn run<V: Vector>(call: &Pool<'_>) {
    let Windows { rows, columns, .. } = call.windows;
    for block in 0..call.blocks {
        for (y, row) in rows.iter().enumerate() {
            let to = call.to.origin + block * call.to.block_stride + y * call.to.row_stride;
            for (x, column) in columns.iter().enumerate() {
                // SAFETY: the window and its result are within their buffers, as checked.
                unsafe {
                    let result = match call.average {
                        true => mean::<V>(call, block, row, column),
                        false => largest::<V>(call, block, row, column),
                    };
                    result.store(call.output.pointer().add(to + x * V::LANES));
                }
            }
        }
    }
}

/// Where a window begins.
///
/// # Safety
/// As [`run`]'s; block and spans are the call's.
#[inline(always)]
unsafe fn corner<V: Vector>(call: &Pool<'_>, block: usize, row: &Span, column: &Span) -> *const f32 {
    let grid = call.from;
    let corner = grid.origin + block * grid.block_stride + row.start * grid.row_stride + column.start * V::LANES;
    // SAFETY: within the input, as checked.
    unsafe { call.input.pointer().add(corner) }
}

/// # Safety
/// As [`run`]'s; block and spans are the call's.
#[inline(always)]
unsafe fn largest<V: Vector>(call: &Pool<'_>, block: usize, row: &Span, column: &Span) -> V {
    let [row_dilation, column_dilation] = call.windows.dilation;
    // SAFETY: each tap of the spans is within the input, as checked.
    unsafe {
        let corner = corner::<V>(call, block, row, column);
        let mut result = V::load(corner);
        for y in 0..row.count {
            let line = corner.add(y * row_dilation * call.from.row_stride);
            for x in 0..column.count {
                result = result.max(V::load(line.add(x * column_dilation * V::LANES)));
            }
        }
        result
    }
}

/// # Safety
/// As [`run`]'s; block and spans are the call's.
#[inline(always)]
unsafe fn mean<V: Vector>(call: &Pool<'_>, block: usize, row: &Span, column: &Span) -> V {
    let [row_dilation, column_dilation] = call.windows.dilation;
    // SAFETY: each tap of the spans is within the input, as checked.
    unsafe {
        let corner = corner::<V>(call, block, row, column);
        let mut sum = V::splat(0.0);
        for y in 0..row.count {
            let line = corner.add(y * row_dilation * call.from.row_stride);
            let mut sum_of_row = V::splat(0.0);
            for x in 0..column.count {
                sum_of_row = sum_of_row.add(V::load(line.add(x * column_dilation * V::LANES)));
            }
            sum = sum.add(sum_of_row);
        }
        sum.mul(V::splat(1.0 / (row.divisor * column.divisor) as f32))
    }
}
