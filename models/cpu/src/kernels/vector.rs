//! One register of floats, whichever instruction set it belongs to. The kernels are written against this trait.

/// A register of [`Vector::LANES`] floats.
///
/// # Safety
/// Every method may be called only where the processor has the instruction set, and only from code that is compiled for
/// it. `load` and `store` need `LANES` floats behind the pointer.
pub(super) trait Vector: Copy {
    /// Floats in a register.
    const LANES: usize;
    /// Registers that a tile may use: for sums, a row of weights and an input.
    const REGISTERS: usize;
    /// A register with half as many floats, which the same code may use; itself where there is none.
    type Half: Vector;

    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn splat(value: f32) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    /// `self · factor + addend`, rounded once where the set can.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// `other` unless `self` is larger: a NaN in `other` stays.
    unsafe fn max(self, other: Self) -> Self;
    /// `other` unless `self` is smaller: a NaN in `other` stays.
    unsafe fn min(self, other: Self) -> Self;
    /// To the nearest whole number, halves to even. Of numbers below 2^22.
    unsafe fn round(self) -> Self;
    /// `2^self` of whole numbers from -126 to 127.
    unsafe fn power_of_two(self) -> Self;

    /// The first `count` floats, zeros behind them.
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        let mut lanes = [0.0_f32; 16];
        // SAFETY: the caller has `count` floats at `from`, at most LANES, which is at most 16.
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count);
            Self::load(lanes.as_ptr())
        }
    }

    /// The first `count` lanes.
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        let mut lanes = [0.0_f32; 16];
        // SAFETY: the caller has room for `count` floats at `to`, at most LANES, which is at most 16.
        unsafe {
            self.store(lanes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count);
        }
    }

    /// The lanes as an array; those beyond LANES are 0.
    #[inline(always)]
    unsafe fn lanes(self) -> [f32; 16] {
        let mut lanes = [0.0_f32; 16];
        // SAFETY: LANES is at most 16.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes
    }
}
