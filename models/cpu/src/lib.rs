//! Runs a network's graph on CPUs.
//!
//! - Channels lie in blocks as wide as a register, in maps with a halo of zeros as wide as their readers' padding: no kernel
//!   has an edge case.
//! - Convolutions and linear layers are one loop, a matrix product whose left side is read through a table of offsets that
//!   is made once. Weights are packed once. Bias, residual sum and activation happen in its last pass.
//! - The items of a batch go to threads whole; a lone item's steps are shared between them.
//! - Instructions are chosen at run time: AVX-512, AVX2, NEON, or what the compiler makes of plain code.

mod barrier;
mod error;
mod executor;
mod kernels;
mod layout;
mod lower;
mod options;
mod plan;
mod step;
mod steps;

pub use error::{Error, Unsupported};
pub use executor::Executor;
pub use options::{InstructionSet, Options};
