//! Rows that are normalised as a whole: softmax and layer norm.

use super::math;
use super::memory::{Cells, Source};
use super::vector::Vector;

/// One call: so many rows one behind another.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a> {
    pub(crate) input: Source<'a>,
    /// May be the input itself.
    pub(crate) output: Cells<'a>,
    pub(crate) rows: usize,
    /// Floats of a row; at least 1.
    pub(crate) length: usize,
    pub(crate) kind: NormKind<'a>,
}

/// What becomes of a row.
#[derive(Clone, Copy)]
pub(crate) enum NormKind<'a> {
    /// Exponentials divided by their sum.
    Softmax,
    /// `(x - mean) / sqrt(variance + epsilon) · scale + shift`.
    Layer {
        epsilon: f32,
        /// A number for each of a row.
        scale: &'a [f32],
        /// A number for each of a row.
        shift: &'a [f32],
    },
}

impl Norm<'_> {
    /// # Panics
    /// When the call would leave its buffers.
    pub(super) fn check(&self) {
        let floats = self.rows * self.length;
        assert!(
            self.input.len() >= floats && self.output.len() >= floats,
            "rows in their buffers"
        );
        if let NormKind::Layer { scale, shift, .. } = self.kind {
            assert!(
                scale.len() >= self.length && shift.len() >= self.length,
                "scale and shift for a row"
            );
        }
    }
}

/// Computes a call.
///
/// # Safety
/// [`Vector`]'s contract; [`Norm::check`] has passed.
#[inline(always)]
pub(super) unsafe fn run<V: Vector>(call: &Norm<'_>) {
    for row in 0..call.rows {
        // SAFETY: the row is within input and output, as checked.
        unsafe {
            let from = call.input.pointer().add(row * call.length);
            let to = call.output.pointer().add(row * call.length);
            match call.kind {
                NormKind::Softmax => softmax::<V>(from, to, call.length),
                NormKind::Layer { epsilon, scale, shift } => {
                    layer::<V>(from, to, call.length, epsilon, scale.as_ptr(), shift.as_ptr());
                }
            }
        }
    }
}

/// Calls a block for each register of a row, the last one being a part.
macro_rules! registers {
    ($length:expr, |$at:ident, $count:ident| $body:block) => {
        let mut $at = 0;
        while $at < $length {
            let $count = ($length - $at).min(V::LANES);
            $body
            $at += $count;
        }
    };
}

/// # Safety
/// As [`run`]'s; both have `length` floats.
#[inline(always)]
unsafe fn softmax<V: Vector>(from: *const f32, to: *mut f32, length: usize) {
    // SAFETY: each register is within the row, the last as a part.
    unsafe {
        let mut largest = V::splat(f32::NEG_INFINITY);
        registers!(length / V::LANES * V::LANES, |at, _count| {
            largest = largest.max(V::load(from.add(at)));
        });
        let mut most = largest
            .lanes()
            .iter()
            .take(V::LANES)
            .copied()
            .fold(f32::NEG_INFINITY, f32::max);
        for at in length / V::LANES * V::LANES..length {
            most = most.max(*from.add(at));
        }
        let most = V::splat(most);
        let mut sums = V::splat(0.0);
        let mut tail = 0.0;
        registers!(length, |at, count| {
            if count == V::LANES {
                let power = math::exp(V::load(from.add(at)).sub(most));
                power.store(to.add(at));
                sums = sums.add(power);
            } else {
                let power = math::exp(V::load_part(from.add(at), count).sub(most));
                power.store_part(to.add(at), count);
                tail = power.lanes().iter().take(count).sum();
            }
        });
        let sum = sums.lanes().iter().take(V::LANES).sum::<f32>() + tail;
        let factor = V::splat(1.0 / sum);
        registers!(length, |at, count| {
            let at = to.add(at);
            match count == V::LANES {
                true => V::load(at).mul(factor).store(at),
                false => V::load_part(at, count).mul(factor).store_part(at, count),
            }
        });
    }
}

/// # Safety
/// As [`run`]'s; all four have `length` floats.
#[inline(always)]
unsafe fn layer<V: Vector>(
    from: *const f32,
    to: *mut f32,
    length: usize,
    epsilon: f32,
    scale: *const f32,
    shift: *const f32,
) {
    // SAFETY: each register is within the row, the last as a part.
    unsafe {
        let mut sums = V::splat(0.0);
        registers!(length, |at, count| {
            let value = match count == V::LANES {
                true => V::load(from.add(at)),
                false => V::load_part(from.add(at), count),
            };
            sums = sums.add(value);
        });
        let mean = sums.lanes().iter().take(V::LANES).sum::<f32>() / length as f32;
        let means = V::splat(mean);
        let mut squares = V::splat(0.0);
        let mut tail = 0.0;
        registers!(length, |at, count| {
            if count == V::LANES {
                let distance = V::load(from.add(at)).sub(means);
                squares = distance.mul_add(distance, squares);
            } else {
                for index in at..length {
                    let distance = *from.add(index) - mean;
                    tail += distance * distance;
                }
            }
        });
        let variance = (squares.lanes().iter().take(V::LANES).sum::<f32>() + tail) / length as f32;
        let factor = V::splat(1.0 / (variance + epsilon).sqrt());
        registers!(length, |at, count| {
            if count == V::LANES {
                let value = V::load(from.add(at)).sub(means).mul(factor);
                value
                    .mul_add(V::load(scale.add(at)), V::load(shift.add(at)))
                    .store(to.add(at));
            } else {
                let value = V::load_part(from.add(at), count).sub(means).mul(factor);
                let value = value.mul_add(V::load_part(scale.add(at), count), V::load_part(shift.add(at), count));
                value.store_part(to.add(at), count);
            }
        });
    }
}
