//! Convolutions of one input channel to one output channel each: no sums across lanes, so a block of channels at a time.

use super::dense::{Finish, Residual};
use super::memory::{Cells, Offsets, Source};
use super::vector::Vector;
use super::{math, repeat_tiles};

/// One call: for each pixel and channel `bias + sum over taps (input[pixel + tap] · weight[tap])`.
#[derive(Clone, Copy)]
pub(crate) struct Depthwise<'a> {
    pub(crate) input: Source<'a>,
    pub(crate) output: Cells<'a>,
    /// Added before the activation.
    pub(crate) residual: Option<Residual<'a>>,
    /// `[blocks, taps, lanes]`.
    pub(crate) weights: &'a [f32],
    /// `[blocks, lanes]`.
    pub(crate) bias: &'a [f32],
    /// Where a tap is, from its pixel.
    pub(crate) taps: Offsets<'a>,
    /// Where a pixel's window begins in the input.
    pub(crate) pixels: Offsets<'a>,
    /// Where a pixel is in the output.
    pub(crate) places: Offsets<'a>,
    /// From one channel block of the input to the next.
    pub(crate) input_block_stride: usize,
    /// From one channel block of the output to the next.
    pub(crate) block_stride: usize,
    /// Channel blocks.
    pub(crate) blocks: usize,
    pub(crate) finish: Finish,
}

impl Depthwise<'_> {
    /// # Panics
    /// When the call would leave its buffers.
    pub(super) fn check(&self, lanes: usize) {
        assert!(
            self.weights.len() >= self.taps.len() * self.blocks * lanes,
            "weights for each tap"
        );
        assert!(self.bias.len() >= self.blocks * lanes, "a bias for each channel");
        assert!(self.pixels.len() == self.places.len(), "a place for each pixel");
        if self.pixels.len() == 0 || self.blocks == 0 {
            return;
        }
        let behind = self.blocks - 1;
        let read = self.pixels.largest() + self.taps.largest() + behind * self.input_block_stride + lanes;
        assert!(read <= self.input.len(), "taps in the input");
        let written = self.places.largest() + behind * self.block_stride + lanes;
        assert!(written <= self.output.len(), "places in the output");
        if let Some(residual) = &self.residual {
            assert!(self.pixels.len() == residual.places.len(), "a residual for each pixel");
            let read = residual.places.largest() + behind * residual.block_stride + lanes;
            assert!(read <= residual.input.len(), "places in the residual");
        }
    }
}

/// Computes a call.
///
/// # Safety
/// [`Vector`]'s contract; [`Depthwise::check`] has passed.
#[inline(always)]
pub(super) unsafe fn run<V: Vector>(call: &Depthwise<'_>) {
    for block in 0..call.blocks {
        // SAFETY: the caller's contract; the block is one of the call's.
        unsafe {
            tiles::<V>(call, block);
            if let Some(function) = call.finish.function() {
                for place in call.places.entries() {
                    let at = call.output.pointer().add(*place as usize + block * call.block_stride);
                    math::activate(function, V::load(at)).store(at);
                }
            }
        }
    }
}

/// # Safety
/// As [`run`]'s; `block` is one of the call's.
#[inline(always)]
unsafe fn tiles<V: Vector>(call: &Depthwise<'_>, block: usize) {
    const WIDEST: usize = 8;
    let pixels = call.pixels.len();
    let mut pixel = 0;
    let mut tiles = pixels.div_ceil(WIDEST);
    while tiles > 0 {
        let width = (pixels - pixel).div_ceil(tiles);
        // SAFETY: `width` pixels from `pixel` on are among the call's.
        unsafe {
            match width {
                8 => tile_8::<V>(call, block, pixel),
                7 => tile_7::<V>(call, block, pixel),
                6 => tile_6::<V>(call, block, pixel),
                5 => tile_5::<V>(call, block, pixel),
                4 => tile_4::<V>(call, block, pixel),
                3 => tile_3::<V>(call, block, pixel),
                2 => tile_2::<V>(call, block, pixel),
                _ => tile_1::<V>(call, block, pixel),
            }
        }
        pixel += width;
        tiles -= 1;
    }
}

/// Stores one pixel's sum.
///
/// # Safety
/// As [`run`]'s; block and pixel are the call's.
#[inline(always)]
unsafe fn end<V: Vector>(call: &Depthwise<'_>, block: usize, pixel: usize, sum: V) {
    // SAFETY: each block at each place is within the output and the residual, as checked.
    unsafe {
        let mut sum = sum;
        if let Some(residual) = &call.residual {
            let from = *residual.places.entries().get_unchecked(pixel) as usize + block * residual.block_stride;
            sum = sum.add(V::load(residual.input.pointer().add(from)));
        }
        let place = *call.places.entries().get_unchecked(pixel) as usize + block * call.block_stride;
        call.finish.clip(sum).store(call.output.pointer().add(place));
    }
}

/// A tile of so many pixels, each with an accumulator of its own.
macro_rules! tile {
    ($name:ident: $($offset:literal $sum:ident $input:ident $place:ident),*) => {
        /// # Safety
        /// As [`run`]'s; block and pixels are the call's.
        #[inline(always)]
        unsafe fn $name<V: Vector>(call: &Depthwise<'_>, block: usize, pixel: usize) {
            // SAFETY: pixels, taps and blocks are the call's, and within the input and the weights as checked.
            unsafe {
                let input = call.input.pointer().add(block * call.input_block_stride);
                let bias = V::load(call.bias.as_ptr().add(block * V::LANES));
                $(
                    let $input = input.add(*call.pixels.entries().get_unchecked(pixel + $offset) as usize);
                    let mut $sum = bias;
                )*
                let mut weights = call.weights.as_ptr().add(block * call.taps.len() * V::LANES);
                for tap in call.taps.entries() {
                    let tap = *tap as usize;
                    let weight = V::load(weights);
                    weights = weights.add(V::LANES);
                    $( $sum = V::load($input.add(tap)).mul_add(weight, $sum); )*
                }
                $( end(call, block, pixel + $offset, $sum); )*
            }
        }
    };
}

repeat_tiles!(tile);
