//! A neural network as a typed graph: values with shapes and a free batch axis, and a small closed set of operators.
//!
//! Whatever describes a network (a layer list, an ONNX file) lowers into a [`Graph`] by a [`Builder`], which infers every
//! shape and refuses what does not fit; passes rewrite it; executors run it. Knows no files and no devices.
//!
//! At run time every number is an `f32`: integers and truth values that a network computes while it runs are numbers too
//! (exact up to 2^24; true is 1, false is 0). Shape arithmetic is done before, by whoever lowers.
//!
//! A graph that was built holds:
//! - every shape, weight and parameter fits, and is within [`limits`]: executors need no checks, and nothing overflows;
//! - what an item of a batch yields depends on that item alone: a batch of five is five batches of one;
//! - nodes stand in the order in which they can run.
//!
//! The way through: [`Builder`], [`optimise`], then an executor; [`interpret`] is the one that others are held to.

mod builder;
mod cost;
mod graph;
mod infer;
mod interpret;
mod lifetimes;
pub mod limits;
mod op;
mod passes;
mod shape;
mod statistics;
#[cfg(test)]
mod testing;
mod text;

pub use builder::{Builder, Misfit};
pub use graph::{Constant, ConstantId, Graph, Node, Operand, Output, Value, ValueId};
pub use interpret::{Fault, Tensor, interpret, padded, run, run_into, taps};
pub use lifetimes::Lifetimes;
pub use op::{
    Activation, Adaptive, Binary, Convolution, Coordinates, GroupNorm, Interpolation, LayerNorm, Linear,
    LocalResponseNorm, Op, PadMode, Pool, PoolKind, Reduction, Resize, Rounding, TransposedConvolution, Unary, Window,
};
pub use passes::{Options, optimise};
pub use shape::{Axis, Shape};
pub use statistics::Statistics;
