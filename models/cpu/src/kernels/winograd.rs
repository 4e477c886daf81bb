//! Winograd's F(4 x 4, 3 x 3): a tile of 4 x 4 results of a 3 x 3 convolution by 36 products in place of 144. The products
//! are calls of `dense`; here are the transforms of input and output.

use super::dense::{Finish, Residual};
use super::math;
use super::memory::{Cells, Offsets, Source};
use super::vector::Vector;

/// Numbers of a transformed tile.
pub(crate) const POINTS: usize = 36;

/// Results of a tile along each axis.
pub(crate) const TILE: usize = 4;

/// Inputs of a tile along each axis.
const PATCH: usize = 6;

/// Transforms patches of the input: to `[36, blocks, tiles, lanes]`.
#[derive(Clone, Copy)]
pub(crate) struct InputTransform<'a> {
    pub(crate) input: Source<'a>,
    pub(crate) output: Cells<'a>,
    /// Where a tile's patch begins in the input.
    pub(crate) tiles: Offsets<'a>,
    pub(crate) row_stride: usize,
    pub(crate) block_stride: usize,
    pub(crate) blocks: usize,
}

/// Transforms `[36, blocks, tiles, lanes]` back, adds bias and residual, and applies the activation.
#[derive(Clone, Copy)]
pub(crate) struct OutputTransform<'a> {
    pub(crate) input: Source<'a>,
    pub(crate) output: Cells<'a>,
    /// Its places are the tiles'.
    pub(crate) residual: Option<Residual<'a>>,
    /// From one row of the residual to the next.
    pub(crate) residual_row_stride: usize,
    /// `[blocks, lanes]`.
    pub(crate) bias: &'a [f32],
    /// Where a tile begins in the output.
    pub(crate) tiles: Offsets<'a>,
    /// Rows and columns of each tile that are part of the output: 1 to [`TILE`].
    pub(crate) sizes: &'a [[u8; 2]],
    pub(crate) row_stride: usize,
    pub(crate) block_stride: usize,
    pub(crate) blocks: usize,
    pub(crate) finish: Finish,
}

impl InputTransform<'_> {
    /// # Panics
    /// When the call would leave its buffers.
    pub(super) fn check(&self, lanes: usize) {
        if self.tiles.len() == 0 || self.blocks == 0 {
            return;
        }
        let patch = (PATCH - 1) * self.row_stride + PATCH * lanes;
        let read = self.tiles.largest() + (self.blocks - 1) * self.block_stride + patch;
        assert!(read <= self.input.len(), "patches in the input");
        let written = POINTS * self.blocks * self.tiles.len() * lanes;
        assert!(written <= self.output.len(), "transformed tiles in the output");
    }
}

impl OutputTransform<'_> {
    /// # Panics
    /// When the call would leave its buffers.
    pub(super) fn check(&self, lanes: usize) {
        assert!(self.sizes.len() == self.tiles.len(), "a size for each tile");
        assert!(self.bias.len() >= self.blocks * lanes, "a bias for each channel");
        if self.tiles.len() == 0 || self.blocks == 0 {
            return;
        }
        let read = POINTS * self.blocks * self.tiles.len() * lanes;
        assert!(read <= self.input.len(), "transformed tiles in the input");
        for (tile, [rows, columns]) in self.tiles.entries().iter().zip(self.sizes) {
            let (rows, columns) = (usize::from(*rows), usize::from(*columns));
            assert!(
                (1..=TILE).contains(&rows) && (1..=TILE).contains(&columns),
                "a tile has 1 to 4 rows and columns"
            );
            let written =
                *tile as usize + (self.blocks - 1) * self.block_stride + (rows - 1) * self.row_stride + columns * lanes;
            assert!(written <= self.output.len(), "tiles in the output");
        }
        if let Some(residual) = &self.residual {
            assert!(residual.places.len() == self.tiles.len(), "a residual for each tile");
            for (tile, [rows, columns]) in residual.places.entries().iter().zip(self.sizes) {
                let read = *tile as usize
                    + (self.blocks - 1) * residual.block_stride
                    + (usize::from(*rows) - 1) * self.residual_row_stride
                    + usize::from(*columns) * lanes;
                assert!(read <= residual.input.len(), "tiles in the residual");
            }
        }
    }
}

/// Six numbers of a patch along one axis, transformed.
///
/// # Safety
/// [`Vector`]'s contract.
#[inline(always)]
unsafe fn forward<V: Vector>([a, b, c, d, e, f]: [V; PATCH]) -> [V; PATCH] {
    // SAFETY: the caller's contract is the callee's.
    unsafe {
        let (two, four, five) = (V::splat(2.0), V::splat(-4.0), V::splat(-5.0));
        let even = c.mul_add(four, e);
        let odd = b.mul_add(four, d);
        let half_even = e.sub(c);
        let half_odd = d.sub(b).mul(two);
        [
            a.mul_add(V::splat(4.0), c.mul_add(five, e)),
            even.add(odd),
            even.sub(odd),
            half_even.add(half_odd),
            half_even.sub(half_odd),
            b.mul_add(V::splat(4.0), d.mul_add(five, f)),
        ]
    }
}

/// Six products along one axis, transformed back.
///
/// # Safety
/// [`Vector`]'s contract.
#[inline(always)]
unsafe fn backward<V: Vector>([a, b, c, d, e, f]: [V; PATCH]) -> [V; TILE] {
    // SAFETY: the caller's contract is the callee's.
    unsafe {
        let (near, far) = (b.add(c), d.add(e));
        let (near_odd, far_odd) = (b.sub(c), d.sub(e));
        [
            a.add(near).add(far),
            far_odd.mul_add(V::splat(2.0), near_odd),
            far.mul_add(V::splat(4.0), near),
            far_odd.mul_add(V::splat(8.0), near_odd).add(f),
        ]
    }
}

/// Computes a call.
///
/// # Safety
/// [`Vector`]'s contract; [`InputTransform::check`] has passed.
#[inline(always)]
pub(super) unsafe fn transform_input<V: Vector>(call: &InputTransform<'_>) {
    let tiles = call.tiles.len();
    let point = call.blocks * tiles * V::LANES;
    for block in 0..call.blocks {
        for (index, tile) in call.tiles.entries().iter().enumerate() {
            // SAFETY: the patch and the transformed tile are within their buffers, as checked.
            unsafe {
                let from = call.input.pointer().add(*tile as usize + block * call.block_stride);
                let to = call.output.pointer().add((block * tiles + index) * V::LANES);
                let mut lines = [[V::splat(0.0); PATCH]; PATCH];
                for (x, line) in lines.iter_mut().enumerate() {
                    let mut column = [V::splat(0.0); PATCH];
                    for (y, value) in column.iter_mut().enumerate() {
                        *value = V::load(from.add(y * call.row_stride + x * V::LANES));
                    }
                    *line = forward(column);
                }
                for y in 0..PATCH {
                    let mut row = [V::splat(0.0); PATCH];
                    for (value, line) in row.iter_mut().zip(&lines) {
                        *value = *line.get_unchecked(y);
                    }
                    for (x, value) in forward(row).into_iter().enumerate() {
                        value.store(to.add((y * PATCH + x) * point));
                    }
                }
            }
        }
    }
}

/// Computes a call.
///
/// # Safety
/// [`Vector`]'s contract; [`OutputTransform::check`] has passed.
#[inline(always)]
pub(super) unsafe fn transform_output<V: Vector>(call: &OutputTransform<'_>) {
    let tiles = call.tiles.len();
    let point = call.blocks * tiles * V::LANES;
    for block in 0..call.blocks {
        for index in 0..tiles {
            // SAFETY: the transformed tile is within the input, as checked; the tile is one of the call's.
            unsafe {
                let from = call.input.pointer().add((block * tiles + index) * V::LANES);
                let mut lines = [[V::splat(0.0); TILE]; PATCH];
                for (x, line) in lines.iter_mut().enumerate() {
                    let mut column = [V::splat(0.0); PATCH];
                    for (y, value) in column.iter_mut().enumerate() {
                        *value = V::load(from.add((y * PATCH + x) * point));
                    }
                    *line = backward(column);
                }
                let mut results = [[V::splat(0.0); TILE]; TILE];
                for (y, result) in results.iter_mut().enumerate() {
                    let mut row = [V::splat(0.0); PATCH];
                    for (value, line) in row.iter_mut().zip(&lines) {
                        *value = *line.get_unchecked(y);
                    }
                    *result = backward(row);
                }
                store::<V>(call, block, index, &results);
            }
        }
    }
}

/// Stores those results of a tile that are part of the output.
///
/// # Safety
/// As [`transform_output`]'s; block and tile are the call's.
#[inline(always)]
unsafe fn store<V: Vector>(call: &OutputTransform<'_>, block: usize, tile: usize, results: &[[V; TILE]; TILE]) {
    // SAFETY: rows and columns of the tile are within the output and the residual, as checked.
    unsafe {
        let [rows, columns] = *call.sizes.get_unchecked(tile);
        let to = *call.tiles.entries().get_unchecked(tile) as usize + block * call.block_stride;
        let bias = V::load(call.bias.as_ptr().add(block * V::LANES));
        for (y, row) in results.iter().take(rows.into()).enumerate() {
            for (x, value) in row.iter().take(columns.into()).enumerate() {
                let mut value = value.add(bias);
                if let Some(residual) = &call.residual {
                    let from = *residual.places.entries().get_unchecked(tile) as usize
                        + block * residual.block_stride
                        + y * call.residual_row_stride;
                    value = value.add(V::load(residual.input.pointer().add(from + x * V::LANES)));
                }
                let mut value = call.finish.clip(value);
                if let Some(function) = call.finish.function() {
                    value = math::activate(function, value);
                }
                value.store(call.output.pointer().add(to + y * call.row_stride + x * V::LANES));
            }
        }
    }
}
