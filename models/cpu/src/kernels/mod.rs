//! The one module with `unsafe` in it: vector instructions and unchecked reads and writes. Knows no graph and no plan.
//!
//! Why it is sound:
//! - **Instruction sets.** A [`Kernels`] is had from [`Kernels::find`] alone, which asks the processor first. Every function
//!   behind its pointers is compiled for that set, and inlines all that it calls.
//! - **Bounds.** Each call is a structure of views ([`Cells`], slices) and tables ([`Offsets`]) that know their largest
//!   entry. The safe methods of [`Kernels`] check the sums of largest entries against the views before the unchecked code
//!   runs, whatever the plan says: a wrong plan panics, and reads nothing beyond a buffer.
//! - **Threads.** [`Cells`] may be written by several threads. The plan promises that the parts of a step write disjoint
//!   floats and that a barrier stands between steps. The tests run it under Miri, which sees races.

#![expect(
    unsafe_code,
    reason = "vector instructions and unchecked accesses; the argument is above"
)]

mod copy;
mod crew;
mod dense;
mod depthwise;
mod grouped;
// Without optimisation, and under Miri, there is nothing to see.
#[cfg(all(test, target_arch = "x86_64", not(debug_assertions), not(miri)))]
mod machine_code;
mod math;
mod memory;
mod moments;
#[cfg(target_arch = "aarch64")]
mod neon;
mod norm;
mod pool;
mod portable;
mod resample;
mod rows;
#[cfg(test)]
mod tests;
mod vector;
mod winograd;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use copy::{Copy, copy};
pub(crate) use crew::{Crew, caught};
pub(crate) use dense::{BLOCKS_MAX, Dense, Finish, Residual, widest};
pub(crate) use depthwise::Depthwise;
pub(crate) use grouped::{Grouped, PieceResidual};
pub(crate) use memory::{Buffer, Cells, Source, Table};
pub(crate) use moments::Moments;
pub(crate) use norm::{Norm, NormKind};
pub(crate) use pool::{Grid, Pool, Span, Windows};
pub(crate) use resample::{Axis, Resample};
pub(crate) use rows::{Arithmetic, Function, Operand, Row, Step};
pub(crate) use winograd::{InputTransform, OutputTransform, POINTS, TILE};

use vector::Vector;

/// Calls a macro that defines a tile once for each width, with names for the variables of each pixel.
macro_rules! repeat_tiles {
    ($tile:ident) => {
        $tile!(tile_1: 0 s0 i0 p0);
        $tile!(tile_2: 0 s0 i0 p0, 1 s1 i1 p1);
        $tile!(tile_3: 0 s0 i0 p0, 1 s1 i1 p1, 2 s2 i2 p2);
        $tile!(tile_4: 0 s0 i0 p0, 1 s1 i1 p1, 2 s2 i2 p2, 3 s3 i3 p3);
        $tile!(tile_5: 0 s0 i0 p0, 1 s1 i1 p1, 2 s2 i2 p2, 3 s3 i3 p3, 4 s4 i4 p4);
        $tile!(tile_6: 0 s0 i0 p0, 1 s1 i1 p1, 2 s2 i2 p2, 3 s3 i3 p3, 4 s4 i4 p4, 5 s5 i5 p5);
        $tile!(tile_7: 0 s0 i0 p0, 1 s1 i1 p1, 2 s2 i2 p2, 3 s3 i3 p3, 4 s4 i4 p4, 5 s5 i5 p5, 6 s6 i6 p6);
        $tile!(
            tile_8: 0 s0 i0 p0, 1 s1 i1 p1, 2 s2 i2 p2, 3 s3 i3 p3, 4 s4 i4 p4, 5 s5 i5 p5, 6 s6 i6 p6, 7 s7 i7 p7
        );
    };
}
use repeat_tiles;

/// The kernels of one instruction set.
pub(crate) struct Kernels {
    lanes: usize,
    registers: usize,
    widths: [usize; 3],
    dense: unsafe fn(&Dense<'_>),
    depthwise: unsafe fn(&Depthwise<'_>),
    grouped: unsafe fn(&Grouped<'_>),
    pool: unsafe fn(&Pool<'_>),
    row: unsafe fn(&Row<'_>),
    norm: unsafe fn(&Norm<'_>),
    moments: unsafe fn(&Moments<'_>),
    resample: unsafe fn(&Resample<'_>),
    transform_input: unsafe fn(&InputTransform<'_>),
    transform_output: unsafe fn(&OutputTransform<'_>),
}

/// The functions of a set, compiled for it, and its [`Kernels`].
macro_rules! instruction_set {
    ($module:ident, $vector:ty $(, $features:literal)?) => {
        mod $module {
            use super::*;

            instruction_set! { @functions $vector, ($($features)?):
                dense(Dense) = dense::run;
                depthwise(Depthwise) = depthwise::run;
                grouped(Grouped) = grouped::run;
                pool(Pool) = pool::run;
                row(Row) = rows::run;
                norm(Norm) = norm::run;
                moments(Moments) = moments::run;
                resample(Resample) = resample::run;
                transform_input(InputTransform) = winograd::transform_input;
                transform_output(OutputTransform) = winograd::transform_output;
            }

            pub(super) static KERNELS: Kernels = Kernels {
                lanes: <$vector>::LANES,
                registers: <$vector>::REGISTERS,
                widths: [
                    <$vector>::LANES,
                    <$vector as Vector>::Half::LANES,
                    <<$vector as Vector>::Half as Vector>::Half::LANES,
                ],
                dense,
                depthwise,
                grouped,
                pool,
                row,
                norm,
                moments,
                resample,
                transform_input,
                transform_output,
            };
        }
    };
    (@functions $vector:ty, $features:tt: $($name:ident($call:ident) = $room:ident::$kernel:ident;)*) => {
        $( instruction_set! { @function $vector, $features, $name, $call, $room, $kernel } )*
    };
    (@function $vector:ty, ($($features:literal)?), $name:ident, $call:ident, $room:ident, $kernel:ident) => {
        /// # Safety
        /// The processor has the instruction set; the call's check has passed.
        $( #[target_feature(enable = $features)] )?
        unsafe fn $name(call: &$call<'_>) {
            // SAFETY: the caller's contract is the callee's.
            unsafe { $room::$kernel::<$vector>(call) }
        }
    };
}

instruction_set!(portable_set, portable::Portable);
#[cfg(target_arch = "x86_64")]
instruction_set!(avx2_set, x86::Avx2, "avx2,fma");
#[cfg(target_arch = "x86_64")]
instruction_set!(avx512_set, x86::Avx512, "avx512f,avx512vl,avx2,fma");
#[cfg(target_arch = "aarch64")]
instruction_set!(neon_set, neon::Neon, "neon");

/// An instruction set that has kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Set {
    Portable,
    Avx2,
    Avx512,
    Neon,
}

impl Kernels {
    /// The kernels of a set; nothing where the processor does not have it.
    pub(crate) fn find(set: Set) -> Option<&'static Self> {
        match set {
            Set::Portable => Some(&portable_set::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => {
                (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(&avx2_set::KERNELS)
            }
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => {
                let found = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
                (Self::find(Set::Avx2).is_some() && found).then_some(&avx512_set::KERNELS)
            }
            #[cfg(target_arch = "aarch64")]
            Set::Neon => Some(&neon_set::KERNELS),
            #[cfg_attr(
                not(any(target_arch = "x86_64", target_arch = "aarch64")),
                expect(unreachable_patterns, reason = "other processors have the portable set alone")
            )]
            _ => None,
        }
    }

    /// Floats of a register, and channels of a block.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes
    }

    /// Floats of a register, of a half and of a quarter of it; the last one repeated where there is none.
    pub(crate) fn widths(&self) -> [usize; 3] {
        self.widths
    }

    /// Registers that a tile of [`Dense`] may use.
    pub(crate) fn registers(&self) -> usize {
        self.registers
    }
}

/// Safe entries: each checks its call, then runs it.
macro_rules! entries {
    ($($name:ident($call:ident) checks ($($argument:ident)?);)*) => {
        impl Kernels {
            $(
                /// # Panics
                /// When the call would leave its buffers: the plan is wrong.
                pub(crate) fn $name(&self, call: &$call<'_>) {
                    call.check($(self.$argument)?);
                    // SAFETY: `find` asked the processor, and the call has just been checked.
                    unsafe { (self.$name)(call) }
                }
            )*
        }
    };
}

entries! {
    dense(Dense) checks (lanes);
    depthwise(Depthwise) checks (lanes);
    grouped(Grouped) checks (widths);
    pool(Pool) checks (lanes);
    row(Row) checks (lanes);
    norm(Norm) checks ();
    moments(Moments) checks (lanes);
    resample(Resample) checks (lanes);
    transform_input(InputTransform) checks (lanes);
    transform_output(OutputTransform) checks (lanes);
}
