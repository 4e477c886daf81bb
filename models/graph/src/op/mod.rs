//! The operators, each with its exact semantics. Closed: an executor that runs these runs every graph.

mod apply;
mod function;

pub use function::{Activation, Binary, Reduction, Unary};

use crate::graph::ConstantId;
use crate::shape::Shape;

/// What a node computes. Maps are `[N, channels, height, width]`; axes are counted from 0, outermost first.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Inputs: the map; then, where `residual` is set, what is added to the result before the activation.
    Convolution(Convolution),
    /// The gradient of a convolution with respect to its input, as PyTorch's `ConvTranspose2d`. Input: the map.
    TransposedConvolution(TransposedConvolution),
    /// `x · weight + bias` over the last axis. Inputs: `x [.., in]`; then what `residual` says.
    Linear(Linear),
    /// The product of the last two axes of both inputs; those before are broadcast. Ranks 2 and up, both the same.
    MatMul,
    /// A window's largest number or its mean. Input: the map.
    Pool(Pool),
    /// The mean of equal parts as PyTorch's `AdaptiveAvgPool2d` cuts them: from `floor(i·in/out)` to `ceil((i+1)·in/out)`.
    AdaptiveAverage(Adaptive),
    /// `x · factor + shift`, by channel (axis 1). Vectors of as many numbers as there are channels.
    Scale {
        /// What each channel is multiplied by.
        factor: ConstantId,
        /// What is added then.
        shift: ConstantId,
    },
    /// `(x - mean) / sqrt(variance + epsilon) · scale + shift` over the last axes.
    LayerNorm(LayerNorm),
    /// The same over the channels of a group and all axes behind them, for each item; scale and shift by channel (axis 1).
    GroupNorm(GroupNorm),
    /// `x / (bias + alpha / size · sum of squares)^beta`, over `size` neighbouring channels (axis 1).
    LocalResponseNorm(LocalResponseNorm),
    /// A function of one number.
    Unary(Unary),
    /// A function of two numbers; the inputs are broadcast as in NumPy.
    Binary(Binary),
    /// The second input where the first is not 0, else the third; all are broadcast.
    Select,
    /// Exponentials divided by their sum along an axis; its logarithm where `log` is set.
    Softmax {
        /// Along which.
        axis: usize,
        /// Whether it is log-softmax.
        log: bool,
    },
    /// One number for all along the axes.
    Reduce {
        /// How.
        reduction: Reduction,
        /// Over which axes: ascending, none twice, not empty.
        axes: Vec<usize>,
        /// Whether they stay, with length 1.
        keep: bool,
    },
    /// The index of the largest (or smallest) number along an axis, as a number.
    ArgExtreme {
        /// The smallest in place of the largest.
        smallest: bool,
        /// Along which.
        axis: usize,
        /// Whether the axis stays, with length 1.
        keep: bool,
        /// The last of equals in place of the first.
        last: bool,
    },
    /// The same numbers in row-major order under another shape.
    Reshape(Shape),
    /// Output axis `i` is input axis `order[i]`.
    Transpose(Vec<usize>),
    /// For each axis the first index and the step, which may be negative; the lengths are the output shape's.
    Slice {
        /// First index of each axis.
        starts: Vec<usize>,
        /// From one index to the next of each axis; not 0.
        steps: Vec<isize>,
        /// What comes out.
        shape: Shape,
    },
    /// The inputs one behind the other along an axis.
    Concat {
        /// Along which.
        axis: usize,
    },
    /// So many numbers more at the beginning and the end of each axis.
    Pad {
        /// At the beginning of each axis.
        before: Vec<usize>,
        /// At its end.
        after: Vec<usize>,
        /// With what.
        mode: PadMode,
    },
    /// Broadcast to a shape. May turn a constant into a value of the batch.
    Expand(Shape),
    /// `output[.., i.., ..] = input[.., indices[i..], ..]` along an axis, with indices that are known.
    Gather {
        /// Along which.
        axis: usize,
        /// Within the axis.
        indices: Vec<usize>,
        /// The shape of the indices, which stands in the place of the axis; empty drops the axis.
        shape: Vec<usize>,
    },
    /// Height and width (the last two axes) to other lengths.
    Resize(Resize),
}

impl Op {
    /// What it is called in messages and in the text form.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Convolution(_) => "conv",
            Self::TransposedConvolution(_) => "transposed-conv",
            Self::Linear(_) => "linear",
            Self::MatMul => "matmul",
            Self::Pool(pool) => match pool.kind {
                PoolKind::Max => "max-pool",
                PoolKind::Average | PoolKind::AverageWithPadding { .. } => "avg-pool",
            },
            Self::AdaptiveAverage(_) => "adaptive-avg-pool",
            Self::Scale { .. } => "scale",
            Self::LayerNorm(_) => "layer-norm",
            Self::GroupNorm(_) => "group-norm",
            Self::LocalResponseNorm(_) => "local-response-norm",
            Self::Unary(unary) => unary.name(),
            Self::Binary(binary) => binary.name(),
            Self::Select => "select",
            Self::Softmax { log: false, .. } => "softmax",
            Self::Softmax { log: true, .. } => "log-softmax",
            Self::Reduce { reduction, .. } => reduction.name(),
            Self::ArgExtreme { smallest: false, .. } => "arg-max",
            Self::ArgExtreme { smallest: true, .. } => "arg-min",
            Self::Reshape(_) => "reshape",
            Self::Transpose(_) => "transpose",
            Self::Slice { .. } => "slice",
            Self::Concat { .. } => "concat",
            Self::Pad { .. } => "pad",
            Self::Expand(_) => "expand",
            Self::Gather { .. } => "gather",
            Self::Resize(_) => "resize",
        }
    }

    /// Whether its last input is added to the result.
    pub fn has_residual(&self) -> bool {
        match self {
            Self::Convolution(conv) => conv.residual,
            Self::Linear(linear) => linear.residual,
            _ => false,
        }
    }

    /// What is applied to its result, where that is a part of the operator.
    pub fn activation(&self) -> Option<Activation> {
        match self {
            Self::Convolution(conv) => conv.activation,
            Self::Linear(linear) => linear.activation,
            _ => None,
        }
    }

    /// The constants in it, apart from its inputs.
    pub fn constants(&self) -> impl Iterator<Item = ConstantId> {
        let constants = match self {
            Self::Convolution(conv) => [Some(conv.weight), conv.bias],
            Self::TransposedConvolution(conv) => [Some(conv.weight), conv.bias],
            Self::Linear(linear) => [Some(linear.weight), linear.bias],
            Self::Scale { factor, shift } => [Some(*factor), Some(*shift)],
            Self::LayerNorm(norm) => [norm.scale, norm.shift],
            Self::GroupNorm(norm) => [norm.scale, norm.shift],
            _ => [None, None],
        };
        constants.into_iter().flatten()
    }

    /// The same operator with other constants.
    pub(crate) fn map_constants(&mut self, map: impl Fn(ConstantId) -> ConstantId) {
        let map_all = |constants: [Option<&mut ConstantId>; 2]| {
            for constant in constants.into_iter().flatten() {
                *constant = map(*constant);
            }
        };
        match self {
            Self::Convolution(conv) => map_all([Some(&mut conv.weight), conv.bias.as_mut()]),
            Self::TransposedConvolution(conv) => map_all([Some(&mut conv.weight), conv.bias.as_mut()]),
            Self::Linear(linear) => map_all([Some(&mut linear.weight), linear.bias.as_mut()]),
            Self::Scale { factor, shift } => map_all([Some(factor), Some(shift)]),
            Self::LayerNorm(norm) => map_all([norm.scale.as_mut(), norm.shift.as_mut()]),
            Self::GroupNorm(norm) => map_all([norm.scale.as_mut(), norm.shift.as_mut()]),
            _ => {}
        }
    }
}

/// How a window moves over height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Height and width.
    pub kernel: [usize; 2],
    /// From one window to the next.
    pub stride: [usize; 2],
    /// From one tap of a window to the next.
    pub dilation: [usize; 2],
    /// Rows above and columns left.
    pub before: [usize; 2],
    /// Rows below and columns right; the end that the last window needs is among them (`ceil` is resolved by who lowers).
    pub after: [usize; 2],
}

/// A convolution in two dimensions (a cross-correlation, as everywhere in this field).
#[derive(Debug, Clone, PartialEq)]
pub struct Convolution {
    /// `[out, in / groups, height, width]`.
    pub weight: ConstantId,
    /// `[out]`.
    pub bias: Option<ConstantId>,
    /// Padding is with zeros.
    pub window: Window,
    /// Divides both channels in and channels out.
    pub groups: usize,
    /// Whether there is a second input that is added before the activation.
    pub residual: bool,
    /// What is applied last.
    pub activation: Option<Activation>,
}

/// See [`Op::TransposedConvolution`].
#[derive(Debug, Clone, PartialEq)]
pub struct TransposedConvolution {
    /// `[in, out / groups, height, width]`.
    pub weight: ConstantId,
    /// `[out]`.
    pub bias: Option<ConstantId>,
    /// `before` and `after` are cut off the result.
    pub window: Window,
    /// The whole result has `(in - 1) · stride + dilation · (kernel - 1) + 1` rows and columns, and so many more of zeros,
    /// before `before` and `after` are cut off. Below the larger of stride and dilation.
    pub output_padding: [usize; 2],
    /// As a convolution's.
    pub groups: usize,
}

/// See [`Op::Linear`].
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// `[in, out]`.
    pub weight: ConstantId,
    /// `[out]`.
    pub bias: Option<ConstantId>,
    /// Whether there is a second input that is added before the activation.
    pub residual: bool,
    /// What is applied last.
    pub activation: Option<Activation>,
}

/// See [`Op::Pool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Largest or mean.
    pub kind: PoolKind,
    /// Padding never is the largest number.
    pub window: Window,
}

/// What a pool makes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest number that is not padding.
    Max,
    /// The mean of those that are no padding.
    Average,
    /// The mean with zeros for padding, except for what lies beyond `counted` rows below and columns right, which only a
    /// rounded-up size makes a window reach.
    AverageWithPadding {
        /// Rows below and columns right that count: at most the window's `after`.
        counted: [usize; 2],
    },
}

/// See [`Op::AdaptiveAverage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adaptive {
    /// Height and width of what comes out.
    pub out: [usize; 2],
}

/// See [`Op::LayerNorm`].
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNorm {
    /// How many of the last axes are normalised together; at least 1.
    pub axes: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// As many numbers as those axes have.
    pub scale: Option<ConstantId>,
    /// As many numbers as those axes have.
    pub shift: Option<ConstantId>,
}

/// See [`Op::GroupNorm`]; instance norm has as many groups as channels.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupNorm {
    /// Divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// A number for each channel.
    pub scale: Option<ConstantId>,
    /// A number for each channel.
    pub shift: Option<ConstantId>,
}

/// See [`Op::LocalResponseNorm`]. The channels of `c` are `c - (size - 1) / 2` to `c + size / 2`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocalResponseNorm {
    /// Neighbouring channels.
    pub size: usize,
    /// See the formula.
    pub alpha: f64,
    /// See the formula.
    pub beta: f64,
    /// See the formula.
    pub bias: f64,
}

/// What a pad is filled with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PadMode {
    /// A number.
    Constant(f32),
    /// The nearest number of the edge.
    Edge,
    /// Mirrored without the edge itself; no pad is as long as its axis.
    Reflect,
    /// The other end of the axis.
    Wrap,
}

/// See [`Op::Resize`]. The output at `i` is read at the input coordinate that `coordinates` gives for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resize {
    /// Height and width of what comes out.
    pub out: [usize; 2],
    /// Output length by input length, as the coordinates use it: not always just `out / in`.
    pub scale: [f32; 2],
    /// Between neighbours.
    pub interpolation: Interpolation,
    /// From an output index to an input coordinate.
    pub coordinates: Coordinates,
}

/// How a number between neighbours is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Interpolation {
    /// One neighbour's.
    Nearest(Rounding),
    /// Two neighbours' on each axis, by distance; the edge goes on for ever.
    Linear,
    /// Four neighbours' on each axis by the cubic of this coefficient (-0.75 in PyTorch); the edge goes on for ever.
    Cubic {
        /// Of the cubic.
        coefficient: f32,
        /// Neighbours beyond the edge do not count, and the weights of the others sum to 1.
        exclude_outside: bool,
    },
}

/// Which neighbour is nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// Halves downwards.
    PreferFloor,
    /// Halves upwards.
    PreferCeil,
    /// Downwards.
    Floor,
    /// Upwards.
    Ceil,
}

/// The input coordinate of output index `i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coordinates {
    /// `(i + 1/2) / scale - 1/2`.
    HalfPixel,
    /// The same with the centre of the image fixed where `out` is not just `scale · in`.
    HalfPixelSymmetric,
    /// As half-pixel, and 0 where only one comes out.
    PytorchHalfPixel,
    /// `i · (in - 1) / (out - 1)`.
    AlignCorners,
    /// `i / scale`.
    Asymmetric,
}
