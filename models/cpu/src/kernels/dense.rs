//! The hot loop: a matrix product whose left side is read through offsets. Convolutions, linear layers and the products of
//! Winograd's method are calls of it.

use millrace_graph::Activation;

use super::memory::{Cells, Offsets, Source};
use super::vector::Vector;
use super::{math, repeat_tiles};

/// Output pixels that are finished, activation included, before the next: few enough to stay in the first cache.
const PIXELS_AT_A_TIME: usize = 48;

/// Channel blocks that one call may compute together.
pub(crate) const BLOCKS_MAX: usize = 8;

/// One call: for each pixel and output channel `bias + sum over taps (input[pixel + tap] · weight[tap, channel])`.
#[derive(Clone, Copy)]
pub(crate) struct Dense<'a> {
    pub(crate) input: Source<'a>,
    pub(crate) output: Cells<'a>,
    /// Added before the activation.
    pub(crate) residual: Option<Residual<'a>>,
    /// `[taps, blocks, lanes]`.
    pub(crate) weights: Source<'a>,
    /// `[blocks, lanes]`; not read where `accumulate` is set.
    pub(crate) bias: Source<'a>,
    /// Where a tap is, from its pixel.
    pub(crate) taps: Offsets<'a>,
    /// Where a pixel's window begins in the input.
    pub(crate) pixels: Offsets<'a>,
    /// Where a pixel's first channel block is in the output.
    pub(crate) places: Offsets<'a>,
    /// From one channel block of the output to the next.
    pub(crate) block_stride: usize,
    /// Output channel blocks: 1 to [`BLOCKS_MAX`].
    pub(crate) blocks: usize,
    /// Whether the output already has the sum of other taps, the bias among it.
    pub(crate) accumulate: bool,
    /// What happens to sums that are complete; nothing where others follow.
    pub(crate) finish: Finish,
}

/// What is added to the result of a call.
#[derive(Clone, Copy)]
pub(crate) struct Residual<'a> {
    pub(crate) input: Source<'a>,
    /// Where a pixel's first channel block is.
    pub(crate) places: Offsets<'a>,
    /// From one channel block to the next.
    pub(crate) block_stride: usize,
}

/// What is applied to complete sums: bounds in registers, other functions while the results are in the first cache.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Finish {
    low: f32,
    high: f32,
    function: Option<Activation>,
}

impl Finish {
    pub(crate) const NOTHING: Self = Self {
        low: f32::NEG_INFINITY,
        high: f32::INFINITY,
        function: None,
    };

    pub(crate) fn of(activation: Option<Activation>) -> Self {
        match activation {
            None => Self::NOTHING,
            Some(Activation::Relu) => Self {
                low: 0.0,
                ..Self::NOTHING
            },
            Some(Activation::Clip { low, high }) => Self {
                low,
                high,
                function: None,
            },
            Some(other) => Self {
                function: Some(other),
                ..Self::NOTHING
            },
        }
    }

    /// # Safety
    /// [`Vector`]'s contract.
    #[inline(always)]
    pub(super) unsafe fn clip<V: Vector>(self, value: V) -> V {
        // SAFETY: the caller's contract is the callee's.
        unsafe { V::splat(self.high).min(V::splat(self.low).max(value)) }
    }

    pub(super) fn function(self) -> Option<Activation> {
        self.function
    }
}

impl Dense<'_> {
    /// # Panics
    /// When the call would leave its buffers.
    pub(super) fn check(&self, lanes: usize) {
        let blocks = self.blocks;
        assert!((1..=BLOCKS_MAX).contains(&blocks), "a call has 1 to 8 channel blocks");
        assert!(
            self.weights.len() >= self.taps.len() * blocks * lanes,
            "weights for each tap"
        );
        assert!(
            self.accumulate || self.bias.len() >= blocks * lanes,
            "a bias for each channel"
        );
        assert!(self.pixels.len() == self.places.len(), "a place for each pixel");
        if self.pixels.len() == 0 {
            return;
        }
        if self.taps.len() > 0 {
            assert!(
                self.pixels.largest() + self.taps.largest() < self.input.len(),
                "taps in the input"
            );
        }
        let tail = (blocks - 1) * self.block_stride + lanes;
        assert!(
            self.places.largest() + tail <= self.output.len(),
            "places in the output"
        );
        if let Some(residual) = &self.residual {
            let tail = (blocks - 1) * residual.block_stride + lanes;
            assert!(self.pixels.len() == residual.places.len(), "a residual for each pixel");
            assert!(
                residual.places.largest() + tail <= residual.input.len(),
                "places in the residual"
            );
        }
    }
}

/// Computes a call.
///
/// # Safety
/// [`Vector`]'s contract; [`Dense::check`] has passed.
#[inline(always)]
pub(super) unsafe fn run<V: Vector>(call: &Dense<'_>) {
    let pixels = call.pixels.len();
    let mut first = 0;
    while first < pixels {
        let count = (pixels - first).min(PIXELS_AT_A_TIME);
        // SAFETY: the caller's contract; the pixels are among the call's.
        unsafe {
            match call.blocks {
                1 => tiles::<V, 1>(call, first, count),
                2 => tiles::<V, 2>(call, first, count),
                3 => tiles::<V, 3>(call, first, count),
                4 => tiles::<V, 4>(call, first, count),
                5 => tiles::<V, 5>(call, first, count),
                6 => tiles::<V, 6>(call, first, count),
                7 => tiles::<V, 7>(call, first, count),
                _ => tiles::<V, 8>(call, first, count),
            }
            if let Some(function) = call.finish.function {
                apply::<V>(call, function, first, count);
            }
        }
        first += count;
    }
}

/// Applies a function to results of a call.
///
/// # Safety
/// As [`run`]'s; the pixels are among the call's.
#[inline(always)]
unsafe fn apply<V: Vector>(call: &Dense<'_>, function: Activation, first: usize, count: usize) {
    for place in call.places.range(first..first + count).entries() {
        for block in 0..call.blocks {
            // SAFETY: a place of the call, within the output as checked.
            unsafe {
                let at = call.output.pointer().add(*place as usize + block * call.block_stride);
                math::activate(function, V::load(at)).store(at);
            }
        }
    }
}

/// Computes `count` pixels from `first` on, in tiles as equal as can be.
///
/// # Safety
/// As [`run`]'s; the pixels are among the call's.
#[inline(always)]
unsafe fn tiles<V: Vector, const BLOCKS: usize>(call: &Dense<'_>, first: usize, count: usize) {
    let widest = const { widest(V::REGISTERS, BLOCKS) };
    let mut pixel = first;
    let mut tiles = count.div_ceil(widest);
    while tiles > 0 {
        let width = (first + count - pixel).div_ceil(tiles);
        // SAFETY: `width` pixels from `pixel` on are among the call's. Tiles wider than the registers allow are not
        // compiled, as `widest` is known.
        unsafe {
            match width {
                8 if widest >= 8 => tile_8::<V, BLOCKS>(call, pixel),
                7 if widest >= 7 => tile_7::<V, BLOCKS>(call, pixel),
                6 if widest >= 6 => tile_6::<V, BLOCKS>(call, pixel),
                5 if widest >= 5 => tile_5::<V, BLOCKS>(call, pixel),
                4 if widest >= 4 => tile_4::<V, BLOCKS>(call, pixel),
                3 if widest >= 3 => tile_3::<V, BLOCKS>(call, pixel),
                2 if widest >= 2 => tile_2::<V, BLOCKS>(call, pixel),
                _ => tile_1::<V, BLOCKS>(call, pixel),
            }
        }
        pixel += width;
        tiles -= 1;
    }
}

/// Pixels of a tile of so many channel blocks: their sums share the registers with a row of weights and an input. One stays
/// free: with the last one in use the compiler begins to move sums to the stack.
pub(crate) const fn widest(registers: usize, blocks: usize) -> usize {
    match registers.saturating_sub(2 + blocks) / blocks {
        0 => 1,
        fitting if fitting > 8 => 8,
        fitting => fitting,
    }
}

/// Accumulators of one pixel, before the first tap.
///
/// # Safety
/// As [`run`]'s; `place` is one of the call's.
#[inline(always)]
unsafe fn begin<V: Vector, const BLOCKS: usize>(call: &Dense<'_>, place: usize) -> [V; BLOCKS] {
    // SAFETY: the bias has all blocks, and so has the output at each place, as checked.
    unsafe {
        let mut sums = [V::splat(0.0); BLOCKS];
        for (block, sum) in sums.iter_mut().enumerate() {
            *sum = match call.accumulate {
                true => V::load(call.output.pointer().add(place + block * call.block_stride)),
                false => V::load(call.bias.pointer().add(block * V::LANES)),
            };
        }
        sums
    }
}

/// Stores one pixel's sums.
///
/// # Safety
/// As [`run`]'s; `pixel` is one of the call's, and `place` its place.
#[inline(always)]
unsafe fn end<V: Vector, const BLOCKS: usize>(call: &Dense<'_>, pixel: usize, place: usize, sums: [V; BLOCKS]) {
    for (block, sum) in sums.into_iter().enumerate() {
        // SAFETY: each block at each place is within the output and the residual, as checked.
        unsafe {
            let mut sum = sum;
            if let Some(residual) = &call.residual {
                let from = *residual.places.entries().get_unchecked(pixel) as usize + block * residual.block_stride;
                sum = sum.add(V::load(residual.input.pointer().add(from)));
            }
            let to = call.output.pointer().add(place + block * call.block_stride);
            call.finish.clip(sum).store(to);
        }
    }
}

/// A tile of so many pixels. Each pixel's accumulators are a variable of their own: in an array of arrays the compiler has
/// kept them in memory, at half the speed. The test in `machine_code.rs` holds it to that.
macro_rules! tile {
    ($name:ident: $($offset:literal $sums:ident $input:ident $place:ident),*) => {
        /// # Safety
        /// As [`run`]'s; the pixels are among the call's.
        #[inline(always)]
        unsafe fn $name<V: Vector, const BLOCKS: usize>(call: &Dense<'_>, pixel: usize) {
            // SAFETY: pixels and places are the call's; `pixel + tap` is within the input, and the weights have a row of
            // blocks for each tap, as checked.
            unsafe {
                $(
                    let $place = *call.places.entries().get_unchecked(pixel + $offset) as usize;
                    let $input =
                        call.input.pointer().add(*call.pixels.entries().get_unchecked(pixel + $offset) as usize);
                    let mut $sums: [V; BLOCKS] = begin(call, $place);
                )*
                let mut weights = call.weights.pointer();
                for tap in call.taps.entries() {
                    let tap = *tap as usize;
                    let mut row = [V::splat(0.0); BLOCKS];
                    for (block, weight) in row.iter_mut().enumerate() {
                        *weight = V::load(weights.add(block * V::LANES));
                    }
                    weights = weights.add(BLOCKS * V::LANES);
                    $(
                        let value = V::splat(*$input.add(tap));
                        for (sum, weight) in $sums.iter_mut().zip(row) {
                            *sum = value.mul_add(weight, *sum);
                        }
                    )*
                }
                $( end(call, pixel + $offset, $place, $sums); )*
            }
        }
    };
}

repeat_tiles!(tile);
