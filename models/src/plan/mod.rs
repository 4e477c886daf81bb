//! A network as a list of operations with their weights in host memory: what a device runs. Knows no files and no devices.

mod build;
mod fold;
mod names;
mod shape;

pub(crate) use build::build;

use crate::manifest::Window;

/// A checked network: every operation fits what the one before it yields.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) ops: Vec<Op>,
    /// Without the batch axis.
    pub(crate) output: Vec<usize>,
    /// Most numbers that one item takes around an operation: what goes in, what comes out, and what a residual layer
    /// keeps meanwhile.
    pub(crate) peak_elements: usize,
    /// Most numbers under a window of a convolution, and of what comes of it, together.
    pub(crate) window_elements: u64,
    pub(crate) weight_bytes: u64,
    /// Those of the layer that has most of them.
    pub(crate) largest_weight_bytes: u64,
}

/// One operation. Layouts are Burn's: convolutions `[out, in / groups, height, width]`, linear weights `[in, out]`.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Conv2d {
        weight: Array,
        bias: Option<Vec<f32>>,
        window: Window,
        groups: usize,
    },
    Linear {
        weight: Array,
        bias: Option<Vec<f32>>,
    },
    /// `x * factor + shift` by channel: a batch-norm that has nothing to be folded into.
    Scale {
        factor: Vec<f32>,
        shift: Vec<f32>,
    },
    Relu,
    LeakyRelu {
        slope: f64,
    },
    Gelu {
        approximate: bool,
    },
    Silu,
    Sigmoid,
    Softmax,
    MaxPool {
        window: Window,
        ceil: bool,
    },
    AvgPool {
        window: Window,
        ceil: bool,
        count_padding: bool,
    },
    AdaptiveAvgPool {
        out: [usize; 2],
    },
    Flatten,
    Residual {
        body: Vec<Op>,
        shortcut: Vec<Op>,
    },
}

/// Numbers with a shape, row-major.
#[derive(Debug, Clone)]
pub(crate) struct Array {
    // Invariant: `data.len()` is the product of `shape`.
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f32>,
}
