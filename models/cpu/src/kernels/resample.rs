//! Maps of another height and width: each result is a sum of a few numbers of its channel, with a weight for each row and
//! each column. Resizes and pads.

use super::memory::{Cells, Source};
use super::pool::Grid;
use super::vector::Vector;

/// What the results along an axis are made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    /// For each result the input indices and their weights; none where it lies outside.
    taps: Vec<Vec<(usize, f32)>>,
    // Invariant: larger than every index.
    length: usize,
}

impl Axis {
    /// Nothing where an index is not below `length`.
    pub(crate) fn new(taps: Vec<Vec<(usize, f32)>>, length: usize) -> Option<Self> {
        let inside = taps.iter().flatten().all(|(index, _)| *index < length);
        inside.then_some(Self { taps, length })
    }
}

/// One call.
#[derive(Clone, Copy)]
pub(crate) struct Resample<'a> {
    pub(crate) input: Source<'a>,
    pub(crate) output: Cells<'a>,
    pub(crate) from: Grid,
    pub(crate) to: Grid,
    pub(crate) rows: &'a Axis,
    pub(crate) columns: &'a Axis,
    /// Channel blocks.
    pub(crate) blocks: usize,
    /// The results that lie outside on either axis.
    pub(crate) outside: f32,
}

impl Resample<'_> {
    /// # Panics
    /// When the call would leave its buffers.
    pub(super) fn check(&self, lanes: usize) {
        let (rows, columns) = (self.rows, self.columns);
        let read = self.from.reach(self.blocks, rows.length, columns.length, lanes);
        assert!(read <= self.input.len(), "rows and columns in the input");
        let written = self.to.reach(self.blocks, rows.taps.len(), columns.taps.len(), lanes);
        assert!(written <= self.output.len(), "results in the output");
    }
}

/// Computes a call.
///
/// # Safety
/// [`Vector`]'s contract; [`Resample::check`] has passed.
#[inline(always)]
pub(super) unsafe fn run<V: Vector>(call: &Resample<'_>) {
    for block in 0..call.blocks {
        for (y, row) in call.rows.taps.iter().enumerate() {
            let from = call.from.origin + block * call.from.block_stride;
            let to = call.to.origin + block * call.to.block_stride + y * call.to.row_stride;
            for (x, column) in call.columns.taps.iter().enumerate() {
                // SAFETY: rows and columns of the call, within input and output as checked.
                unsafe {
                    let result = match row.is_empty() || column.is_empty() {
                        true => V::splat(call.outside),
                        false => sum::<V>(call, from, row, column),
                    };
                    result.store(call.output.pointer().add(to + x * V::LANES));
                }
            }
        }
    }
}

/// # Safety
/// As [`run`]'s; `from` is where a block begins, and the taps are the call's.
#[inline(always)]
unsafe fn sum<V: Vector>(call: &Resample<'_>, from: usize, row: &[(usize, f32)], column: &[(usize, f32)]) -> V {
    // SAFETY: each row and column is within the input, as checked.
    unsafe {
        if let ([(y, by_row)], [(x, by_column)]) = (row, column)
            && by_row * by_column == 1.0
        {
            let at = from + y * call.from.row_stride + x * V::LANES;
            return V::load(call.input.pointer().add(at));
        }
        let mut sum = V::splat(0.0);
        for (y, by_row) in row {
            let line = call.input.pointer().add(from + y * call.from.row_stride);
            for (x, by_column) in column {
                sum = V::load(line.add(x * V::LANES)).mul_add(V::splat(by_row * by_column), sum);
            }
        }
        sum
    }
}
