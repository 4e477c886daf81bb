//! Convolutions in narrow groups: a piece of a group's output channels is as wide as a register, or as a half or a quarter of
//! one. A wider register would compute products of channels that do not meet.

use super::dense::Finish;
use super::memory::{Cells, Offsets, Source};
use super::vector::Vector;
use super::{math, repeat_tiles};

/// One call: for each piece, pixel and output channel of the piece
/// `bias + sum over taps (input[piece + pixel + tap] · weight[piece, tap, channel])`.
#[derive(Clone, Copy)]
pub(crate) struct Grouped<'a> {
    pub(crate) input: Source<'a>,
    pub(crate) output: Cells<'a>,
    /// Added before the activation.
    pub(crate) residual: Option<PieceResidual<'a>>,
    /// `[pieces, taps, width]`.
    pub(crate) weights: Source<'a>,
    /// `[pieces, width]`.
    pub(crate) bias: Source<'a>,
    /// Output channels of a piece: one of [`super::Kernels::widths`].
    pub(crate) width: usize,
    /// Where a piece's first input channel is, from the first of the input.
    pub(crate) inputs: Offsets<'a>,
    /// Where a piece's first output channel is, from the first of the output; as many.
    pub(crate) outputs: Offsets<'a>,
    /// Where a tap is, from its pixel.
    pub(crate) taps: Offsets<'a>,
    /// Where a pixel's window begins in the input.
    pub(crate) pixels: Offsets<'a>,
    /// Where a pixel is in the output.
    pub(crate) places: Offsets<'a>,
    pub(crate) finish: Finish,
}

/// What is added to the result of a call.
#[derive(Clone, Copy)]
pub(crate) struct PieceResidual<'a> {
    pub(crate) input: Source<'a>,
    /// Where a pixel is.
    pub(crate) places: Offsets<'a>,
    /// Where a piece's first channel is.
    pub(crate) pieces: Offsets<'a>,
}

impl Grouped<'_> {
    /// # Panics
    /// When the call would leave its buffers.
    pub(super) fn check(&self, widths: [usize; 3]) {
        let (pieces, width) = (self.inputs.len(), self.width);
        assert!(widths.contains(&width), "a piece is as wide as a register");
        assert!(self.outputs.len() == pieces, "an output for each piece");
        assert!(
            self.weights.len() >= pieces * self.taps.len() * width,
            "weights for each tap"
        );
        assert!(self.bias.len() >= pieces * width, "a bias for each channel");
        assert!(self.pixels.len() == self.places.len(), "a place for each pixel");
        if self.pixels.len() == 0 || pieces == 0 {
            return;
        }
        if self.taps.len() > 0 {
            let read = self.inputs.largest() + self.pixels.largest() + self.taps.largest();
            assert!(read < self.input.len(), "taps in the input");
        }
        let written = self.outputs.largest() + self.places.largest() + width;
        assert!(written <= self.output.len(), "places in the output");
        if let Some(residual) = &self.residual {
            assert!(
                self.pixels.len() == residual.places.len() && pieces == residual.pieces.len(),
                "a residual for each pixel"
            );
            let read = residual.pieces.largest() + residual.places.largest() + width;
            assert!(read <= residual.input.len(), "places in the residual");
        }
    }
}

/// Computes a call.
///
/// # Safety
/// [`Vector`]'s contract; [`Grouped::check`] has passed.
#[inline(always)]
pub(super) unsafe fn run<V: Vector>(call: &Grouped<'_>) {
    // SAFETY: the caller's contract is the callees'. The width is one of these three, as checked. A set whose registers have
    // no halves has the same one three times.
    unsafe {
        if call.width == V::LANES {
            pieces::<V>(call);
        } else if call.width == V::Half::LANES {
            pieces::<V::Half>(call);
        } else {
            pieces::<<V::Half as Vector>::Half>(call);
        }
    }
}

/// # Safety
/// As [`run`]'s; the call's width is `V`'s.
#[inline(always)]
unsafe fn pieces<V: Vector>(call: &Grouped<'_>) {
    for piece in 0..call.inputs.len() {
        // SAFETY: the caller's contract; the piece is one of the call's.
        unsafe {
            tiles::<V>(call, piece);
            if let Some(function) = call.finish.function() {
                let output = output(call, piece);
                for place in call.places.entries() {
                    let at = output.add(*place as usize);
                    math::activate(function, V::load(at)).store(at);
                }
            }
        }
    }
}

/// Where a piece's results go.
///
/// # Safety
/// As [`run`]'s; the piece is one of the call's.
#[inline(always)]
unsafe fn output(call: &Grouped<'_>, piece: usize) -> *mut f32 {
    // SAFETY: within the output, as checked.
    unsafe {
        call.output
            .pointer()
            .add(*call.outputs.entries().get_unchecked(piece) as usize)
    }
}

/// Computes a piece, in tiles as equal as can be.
///
/// # Safety
/// As [`run`]'s; the piece is one of the call's.
#[inline(always)]
unsafe fn tiles<V: Vector>(call: &Grouped<'_>, piece: usize) {
    let count = call.pixels.len();
    // Eight sums, a row of weights and an input fit the registers of every set but one; there the compiler puts some aside.
    let mut tiles = count.div_ceil(8);
    let mut pixel = 0;
    while tiles > 0 {
        let width = (count - pixel).div_ceil(tiles);
        // SAFETY: `width` pixels from `pixel` on are among the call's.
        unsafe {
            match width {
                8 => tile_8::<V>(call, piece, pixel),
                7 => tile_7::<V>(call, piece, pixel),
                6 => tile_6::<V>(call, piece, pixel),
                5 => tile_5::<V>(call, piece, pixel),
                4 => tile_4::<V>(call, piece, pixel),
                3 => tile_3::<V>(call, piece, pixel),
                2 => tile_2::<V>(call, piece, pixel),
                _ => tile_1::<V>(call, piece, pixel),
            }
        }
        pixel += width;
        tiles -= 1;
    }
}

/// Stores one pixel's sum.
///
/// # Safety
/// As [`run`]'s; piece and pixel are the call's.
#[inline(always)]
unsafe fn end<V: Vector>(call: &Grouped<'_>, piece: usize, pixel: usize, sum: V) {
    // SAFETY: each piece at each place is within the output and the residual, as checked.
    unsafe {
        let mut sum = sum;
        if let Some(residual) = &call.residual {
            let from = *residual.places.entries().get_unchecked(pixel) as usize
                + *residual.pieces.entries().get_unchecked(piece) as usize;
            sum = sum.add(V::load(residual.input.pointer().add(from)));
        }
        let place = *call.places.entries().get_unchecked(pixel) as usize;
        call.finish.clip(sum).store(output(call, piece).add(place));
    }
}

/// A tile of so many pixels, each with an accumulator of its own.
macro_rules! tile {
    ($name:ident: $($offset:literal $sum:ident $input:ident $place:ident),*) => {
        /// # Safety
        /// As [`run`]'s; piece and pixels are the call's.
        #[inline(always)]
        unsafe fn $name<V: Vector>(call: &Grouped<'_>, piece: usize, pixel: usize) {
            // SAFETY: pieces, pixels and taps are the call's, and within the input and the weights as checked.
            unsafe {
                let input = call.input.pointer().add(*call.inputs.entries().get_unchecked(piece) as usize);
                let bias = V::load(call.bias.pointer().add(piece * V::LANES));
                $(
                    let $input = input.add(*call.pixels.entries().get_unchecked(pixel + $offset) as usize);
                    let mut $sum = bias;
                )*
                let mut weights = call.weights.pointer().add(piece * call.taps.len() * V::LANES);
                for tap in call.taps.entries() {
                    let tap = *tap as usize;
                    let weight = V::load(weights);
                    weights = weights.add(V::LANES);
                    $( $sum = V::splat(*$input.add(tap)).mul_add(weight, $sum); )*
                }
                $( end(call, piece, pixel + $offset, $sum); )*
            }
        }
    };
}

repeat_tiles!(tile);
