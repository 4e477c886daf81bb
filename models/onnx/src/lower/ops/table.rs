//! Which function lowers which operator, and what to say of those that none does.

use crate::lower::ops::{
    Handler, activation, arithmetic, convolution, einsum, fill, gather, layout, linear, norm, pool, reduce, resize,
    sequence, slice, spatial, top,
};

/// What lowers an operator of the standard's own set.
pub(crate) fn handler(operator: &str) -> Option<Handler> {
    Some(match operator {
        operator if arithmetic::is_unary(operator) => arithmetic::unary,
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "Equal" | "Less" | "LessOrEqual" | "Greater"
        | "GreaterOrEqual" | "And" | "Or" | "Xor" => arithmetic::binary,
        "IsInf" => arithmetic::is_infinite,
        "Tan" | "Sinh" | "Cosh" => arithmetic::composed,
        "Sum" | "Mean" | "Max" | "Min" => arithmetic::variadic,
        "Where" => arithmetic::select,
        "Cast" | "CastLike" => arithmetic::cast,
        "Trilu" => arithmetic::triangle,
        "Relu" | "LeakyRelu" | "Elu" | "Selu" | "Celu" | "Sigmoid" | "HardSigmoid" | "HardSwish" | "Tanh"
        | "Softplus" | "Softsign" | "ThresholdedRelu" | "Mish" | "Gelu" => activation::activation,
        "Swish" => activation::swish,
        "Shrink" => activation::shrink,
        "PRelu" => activation::prelu,
        "Clip" => activation::clip,
        "Softmax" | "LogSoftmax" => activation::softmax,
        "Conv" => convolution::convolution,
        "ConvTranspose" => convolution::transposed,
        "MaxPool" | "AveragePool" | "LpPool" => pool::pool,
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => pool::global,
        "LRN" => pool::local_response,
        "BatchNormalization" => norm::batch_norm,
        "LayerNormalization" => norm::layer_norm,
        "RMSNormalization" => norm::root_mean_square,
        "GroupNormalization" | "InstanceNormalization" => norm::group_norm,
        "LpNormalization" => norm::lp_norm,
        "MeanVarianceNormalization" => norm::mean_variance,
        "Gemm" => linear::gemm,
        "MatMul" => linear::matmul,
        "Einsum" => einsum::einsum,
        "Shape" => layout::shape,
        "Size" => layout::size_of,
        "Reshape" => layout::reshape,
        "Flatten" => layout::flatten,
        "Squeeze" => layout::squeeze,
        "Unsqueeze" => layout::unsqueeze,
        "Transpose" => layout::transpose,
        "Expand" => layout::expand,
        "Tile" => layout::tile,
        "Identity" => layout::identity,
        "Dropout" => layout::dropout,
        "Slice" => slice::slice,
        "Split" => slice::split,
        "Concat" => slice::concat,
        "Pad" => slice::pad,
        "Gather" => gather::gather,
        "GatherElements" | "GatherND" | "ScatterND" | "ScatterElements" | "Scatter" | "CumSum" | "NonZero" => {
            gather::of_known
        }
        "Constant" => fill::constant,
        "ConstantOfShape" => fill::of_shape,
        "Range" => fill::range,
        "ArgMax" | "ArgMin" => reduce::arg_extreme,
        "TopK" => top::top,
        "Hardmax" => top::hard_max,
        "OneHot" => top::one_hot,
        operator if operator.starts_with("Reduce") => reduce::reduce,
        "Resize" | "Upsample" => resize::resize,
        "DepthToSpace" => spatial::depth_to_space,
        "SpaceToDepth" => spatial::space_to_depth,
        "Col2Im" => spatial::columns_to_image,
        "SplitToSequence" => sequence::split,
        "SequenceConstruct" => sequence::construct,
        "SequenceAt" => sequence::at,
        "ConcatFromSequence" => sequence::concat,
        _ => return None,
    })
}

/// What to do about an operator that is not lowered.
pub(crate) fn advice_for(operator: &str) -> &'static str {
    match operator {
        "QuantizeLinear"
        | "DequantizeLinear"
        | "DynamicQuantizeLinear"
        | "QLinearConv"
        | "QLinearMatMul"
        | "ConvInteger"
        | "MatMulInteger" => "export the network with weights of float32; quantised ones are not supported",
        "If" | "Loop" | "Scan" => {
            "export by tracing (`dynamo=True`, or `torch.jit.trace`), which leaves no branches and loops"
        }
        "NonMaxSuppression" | "NonZero" | "TopK" | "RoiAlign" | "MaxRoiPool" | "Unique" => {
            "export the network without its post-processing, and do that in a router"
        }
        "LSTM" | "GRU" | "RNN" => "recurrent networks are not supported",
        "GridSample" | "AffineGrid" | "DeformConv" => "networks that sample at computed places are not supported",
        "RandomNormal" | "RandomUniform" | "RandomNormalLike" | "RandomUniformLike" | "Bernoulli" | "Multinomial" => {
            "call `model.eval()` before the export"
        }
        _ => "export with another `opset_version`, or without this operator",
    }
}
