//! Sums over all pixels of each channel: of the numbers, or of their squared distances from a centre.

use super::memory::{Cells, Source};
use super::pool::Grid;
use super::vector::Vector;

/// One call.
#[derive(Clone, Copy)]
pub(crate) struct Moments<'a> {
    pub(crate) input: Source<'a>,
    /// `[blocks, lanes]`.
    pub(crate) output: Cells<'a>,
    pub(crate) from: Grid,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Channel blocks.
    pub(crate) blocks: usize,
    /// `[blocks, lanes]`, where squared distances are summed.
    pub(crate) centres: Option<&'a [f32]>,
}

impl Moments<'_> {
    /// # Panics
    /// When the call would leave its buffers.
    pub(super) fn check(&self, lanes: usize) {
        let read = self.from.reach(self.blocks, self.height, self.width, lanes);
        assert!(read <= self.input.len(), "a map in the input");
        let channels = self.blocks * lanes;
        assert!(channels <= self.output.len(), "a sum for each channel");
        let centres = self.centres.map_or(channels, <[f32]>::len);
        assert!(channels <= centres, "a centre for each channel");
    }
}

/// Computes a call.
///
/// # Safety
/// [`Vector`]'s contract; [`Moments::check`] has passed.
#[inline(always)]
pub(super) unsafe fn run<V: Vector>(call: &Moments<'_>) {
    for block in 0..call.blocks {
        // SAFETY: each row of the block is within the input, and its channels within the output, as checked.
        unsafe {
            let mut sum = V::splat(0.0);
            for y in 0..call.height {
                let row = call.from.origin + block * call.from.block_stride + y * call.from.row_stride;
                let row = call.input.pointer().add(row);
                sum = sum.add(match call.centres {
                    None => along::<V>(row, call.width, |value| value),
                    Some(centres) => {
                        let centre = V::load(centres.as_ptr().add(block * V::LANES));
                        along::<V>(row, call.width, |value| {
                            let distance = value.sub(centre);
                            distance.mul(distance)
                        })
                    }
                });
            }
            sum.store(call.output.pointer().add(block * V::LANES));
        }
    }
}

/// A sum over a row, in four parts: an addition waits for the one before.
///
/// # Safety
/// As [`run`]'s; `width` registers lie behind `row`.
#[inline(always)]
unsafe fn along<V: Vector>(row: *const f32, width: usize, of: impl Fn(V) -> V) -> V {
    // SAFETY: the caller's contract.
    unsafe {
        let mut sums = [V::splat(0.0); 4];
        let mut x = 0;
        while x + 4 <= width {
            for (part, sum) in sums.iter_mut().enumerate() {
                *sum = sum.add(of(V::load(row.add((x + part) * V::LANES))));
            }
            x += 4;
        }
        let [mut first, second, third, fourth] = sums;
        while x < width {
            first = first.add(of(V::load(row.add(x * V::LANES))));
            x += 1;
        }
        first.add(second).add(third.add(fourth))
    }
}
