//! Registers of AVX2 with FMA, a half of one, and of AVX-512F.

use std::arch::x86_64::*;

use super::vector::Vector;

/// Four floats: AVX2 and FMA, in the lower half of a register.
#[derive(Clone, Copy)]
pub(super) struct Fma4(__m128);

/// Eight floats: AVX2 and FMA.
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256);

/// Sixteen floats: AVX-512F.
#[derive(Clone, Copy)]
pub(super) struct Avx512(__m512);

/// Methods that are one instruction each.
macro_rules! instructions {
    ($name:ident, $($method:ident($($argument:ident),*) = $intrinsic:ident;)*) => {
        $(
            #[inline(always)]
            unsafe fn $method(self $(, $argument: Self)*) -> Self {
                // SAFETY: the trait's contract: the processor has the instruction set.
                unsafe { $name($intrinsic(self.0 $(, $argument.0)*)) }
            }
        )*
    };
}

/// Methods that move floats between memory and a register.
macro_rules! moves {
    ($name:ident, $load:ident, $store:ident, $splat:ident) => {
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the trait's contract: LANES floats are there.
            unsafe { $name($load(from)) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the trait's contract: room for LANES floats is there.
            unsafe { $store(to, self.0) }
        }

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: the trait's contract: the processor has the instruction set.
            unsafe { $name($splat(value)) }
        }
    };
}

/// Methods that need a constant of their own for each width, made of these intrinsics.
macro_rules! exponents {
    ($name:ident, $round:ident, $to_int:ident, $splat:ident, $add:ident, $shift:ident, $cast:ident) => {
        #[inline(always)]
        unsafe fn round(self) -> Self {
            // SAFETY: the trait's contract.
            unsafe {
                $name($round::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(
                    self.0,
                ))
            }
        }

        #[inline(always)]
        unsafe fn power_of_two(self) -> Self {
            // SAFETY: the trait's contract. The exponent's bits are written directly: 127 is the exponent of 1.
            unsafe { $name($cast($shift::<23>($add($to_int(self.0), $splat(127))))) }
        }
    };
}

impl Vector for Fma4 {
    const LANES: usize = 4;
    const REGISTERS: usize = 16;
    type Half = Self;

    moves!(Fma4, _mm_loadu_ps, _mm_storeu_ps, _mm_set1_ps);

    instructions! { Fma4,
        add(other) = _mm_add_ps;
        sub(other) = _mm_sub_ps;
        mul(other) = _mm_mul_ps;
        div(other) = _mm_div_ps;
        mul_add(factor, addend) = _mm_fmadd_ps;
        max(other) = _mm_max_ps;
        min(other) = _mm_min_ps;
    }

    exponents!(
        Fma4,
        _mm_round_ps,
        _mm_cvtps_epi32,
        _mm_set1_epi32,
        _mm_add_epi32,
        _mm_slli_epi32,
        _mm_castsi128_ps
    );
}

impl Vector for Avx2 {
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    type Half = Fma4;

    moves!(Avx2, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_ps);

    instructions! { Avx2,
        add(other) = _mm256_add_ps;
        sub(other) = _mm256_sub_ps;
        mul(other) = _mm256_mul_ps;
        div(other) = _mm256_div_ps;
        mul_add(factor, addend) = _mm256_fmadd_ps;
        max(other) = _mm256_max_ps;
        min(other) = _mm256_min_ps;
    }

    exponents!(
        Avx2,
        _mm256_round_ps,
        _mm256_cvtps_epi32,
        _mm256_set1_epi32,
        _mm256_add_epi32,
        _mm256_slli_epi32,
        _mm256_castsi256_ps
    );
}

impl Vector for Avx512 {
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    type Half = Avx2;

    moves!(Avx512, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_ps);

    instructions! { Avx512,
        add(other) = _mm512_add_ps;
        sub(other) = _mm512_sub_ps;
        mul(other) = _mm512_mul_ps;
        div(other) = _mm512_div_ps;
        mul_add(factor, addend) = _mm512_fmadd_ps;
        max(other) = _mm512_max_ps;
        min(other) = _mm512_min_ps;
    }

    exponents!(
        Avx512,
        _mm512_roundscale_ps,
        _mm512_cvtps_epi32,
        _mm512_set1_epi32,
        _mm512_add_epi32,
        _mm512_slli_epi32,
        _mm512_castsi512_ps
    );
}
