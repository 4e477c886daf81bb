//! Registers of NEON, which every 64-bit ARM processor has.

use std::arch::aarch64::*;

use super::vector::Vector;

/// Four floats.
#[derive(Clone, Copy)]
pub(super) struct Neon(float32x4_t);

/// Methods that are one instruction each.
macro_rules! instructions {
    ($($method:ident($($argument:ident),*) = $intrinsic:ident;)*) => {
        $(
            #[inline(always)]
            unsafe fn $method(self $(, $argument: Self)*) -> Self {
                // SAFETY: every processor of this architecture has NEON.
                unsafe { Neon($intrinsic(self.0 $(, $argument.0)*)) }
            }
        )*
    };
}

impl Vector for Neon {
    const LANES: usize = 4;
    const REGISTERS: usize = 32;
    type Half = Self;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the trait's contract: LANES floats are there.
        unsafe { Neon(vld1q_f32(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the trait's contract: room for LANES floats is there.
        unsafe { vst1q_f32(to, self.0) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: every processor of this architecture has NEON.
        unsafe { Neon(vdupq_n_f32(value)) }
    }

    instructions! {
        add(other) = vaddq_f32;
        sub(other) = vsubq_f32;
        mul(other) = vmulq_f32;
        div(other) = vdivq_f32;
        round() = vrndnq_f32;
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: every processor of this architecture has NEON.
        unsafe { Neon(vfmaq_f32(addend.0, self.0, factor.0)) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: every processor of this architecture has NEON.
        unsafe { Neon(vbslq_f32(vcgtq_f32(self.0, other.0), self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: every processor of this architecture has NEON.
        unsafe { Neon(vbslq_f32(vcltq_f32(self.0, other.0), self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        // SAFETY: every processor of this architecture has NEON. 127 is the exponent of 1.
        unsafe {
            let exponent = vaddq_s32(vcvtnq_s32_f32(self.0), vdupq_n_s32(127));
            Neon(vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent)))
        }
    }
}
