"""Makes `operators/`: one tiny ONNX file for each operator and attribute that classifiers use, with ONNX Runtime's answer.

    python operators.py [NAME..]

writes all of them, or those whose names begin with one of the given.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from graph import Graph, record, session, stated

FOLDER = Path(__file__).parent / "operators"

# A batch of two: a row must not depend on its neighbours.
N_ITEMS = 2

# The least that each exporter writes, and the most that is read.
DEFAULT_OPSET = 17

CASES = {}


def case(name, shape, build, opset=DEFAULT_OPSET, element=np.float32, low=None, high=None, batch="N"):
    """Declares a case. `low` and `high` bound the inputs; otherwise they are normal."""
    assert name not in CASES, name
    CASES[name] = (shape, build, opset, element, low, high, batch)


def convolutions():
    image = (4, 6, 5)

    def conv(name, out, per_group, kernel, shape=image, bias=True, **attributes):
        def build(g):
            weight = g.weight(out, per_group, *kernel, scale=0.4)
            return g.Conv(g.input, weight, *([g.weight(out)] if bias else []), **attributes)

        case(f"conv_{name}", shape, build, opset=11)

    conv("plain", 3, 4, (3, 3))
    conv("without_bias", 3, 4, (3, 3), bias=False, pads=[1, 1, 1, 1])
    conv("pointwise", 5, 4, (1, 1), kernel_shape=[1, 1])
    conv("pointwise_strided", 5, 4, (1, 1), strides=[2, 2])
    conv("strided", 3, 4, (3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
    conv("strides_differ", 3, 4, (3, 2), strides=[2, 1], pads=[1, 0, 1, 1])
    conv("grouped", 6, 2, (3, 3), group=2, pads=[1, 1, 1, 1])
    conv("grouped_dilated", 6, 2, (3, 3), group=2, dilations=[2, 2], pads=[2, 2, 2, 2])
    conv("depthwise", 4, 1, (3, 3), group=4, pads=[1, 1, 1, 1])
    conv("depthwise_strided", 4, 1, (5, 5), group=4, pads=[2, 2, 2, 2], strides=[2, 2])
    conv("depthwise_multiplied", 8, 1, (3, 3), group=4, pads=[1, 1, 1, 1])
    conv("depthwise_dilated", 4, 1, (3, 3), group=4, dilations=[2, 1], pads=[2, 1, 2, 1])
    conv("dilated", 3, 4, (3, 2), dilations=[2, 3])
    conv("asymmetric_pads", 3, 4, (3, 3), pads=[0, 1, 2, 0])
    conv("asymmetric_pads_strided", 3, 4, (3, 3), pads=[0, 0, 1, 1], strides=[2, 2])
    conv("wide_kernel", 3, 4, (1, 5), pads=[0, 2, 0, 2])
    conv("large_kernel", 2, 4, (7, 7), pads=[3, 3, 3, 3])
    conv("pads_wider_than_the_image", 2, 2, (3, 3), shape=(2, 2, 2), pads=[4, 4, 4, 4])
    conv("same_upper", 3, 4, (4, 3), auto_pad="SAME_UPPER", strides=[2, 2])
    conv("same_upper_odd", 3, 4, (2, 2), auto_pad="SAME_UPPER")
    conv("same_lower", 3, 4, (4, 3), auto_pad="SAME_LOWER", strides=[2, 2])
    conv("valid", 3, 4, (3, 3), auto_pad="VALID")
    conv("one_axis", 3, 4, (3,), shape=(4, 9), pads=[1, 1], strides=[2])
    conv("one_axis_grouped", 4, 2, (4,), shape=(4, 9), pads=[2, 1], group=2)
    conv("whole_image", 5, 4, (6, 5))
    conv("many_channels", 20, 18, (3, 3), shape=(18, 4, 4), pads=[1, 1, 1, 1])
    case(
        "conv_weight_computed",
        image,
        lambda g: g.Conv(g.input, g.Mul(g.weight(3, 4, 1, 1), g.positive(3, 1, 1, 1)), g.Neg(g.weight(3))),
    )
    case(
        "conv_weight_through_identity",
        image,
        lambda g: g.Conv(g.input, g.Identity(g.weight(3, 4, 1, 1)), g.Identity(g.Identity(g.weight(3)))),
    )
    case("conv_twice_with_one_weight", image, shared_weight)
    case("conv_with_batch_norm", image, lambda g: batch_norm(g, g.Conv(g.input, g.weight(5, 4, 3, 3)), 5))
    case("conv_with_residual", image, residual)
    case("conv_read_twice", image, read_twice)

    def transposed(name, out_per_group, kernel, shape=(4, 3, 4), bias=True, **attributes):
        def build(g):
            weight = g.weight(shape[0], out_per_group, *kernel, scale=0.5)
            n_out = out_per_group * attributes.get("group", 1)
            return g.ConvTranspose(g.input, weight, *([g.weight(n_out)] if bias else []), **attributes)

        case(f"conv_transpose_{name}", shape, build, opset=11)

    transposed("plain", 3, (3, 3))
    transposed("doubles", 3, (2, 2), strides=[2, 2], bias=False)
    transposed("output_padding", 2, (3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])
    transposed("grouped", 2, (3, 3), group=2, strides=[2, 1])
    transposed("depthwise", 1, (4, 4), group=4, strides=[2, 2], pads=[1, 1, 1, 1])
    transposed("dilated", 2, (3, 2), dilations=[2, 1])
    transposed("asymmetric_pads", 2, (3, 3), pads=[0, 1, 2, 0], strides=[2, 2])
    transposed("output_shape", 2, (3, 3), strides=[2, 2], output_shape=[6, 8])
    transposed("same_upper", 2, (3, 3), strides=[2, 2], auto_pad="SAME_UPPER")
    transposed("same_lower", 2, (3, 3), strides=[2, 2], auto_pad="SAME_LOWER")
    transposed("one_axis", 2, (3,), shape=(4, 5), strides=[2])


def shared_weight(g):
    weight = g.weight(4, 4, 1, 1)
    return g.Add(g.Conv(g.Relu(g.Conv(g.input, weight)), weight), g.input)


def residual(g):
    inner = g.Relu(g.Conv(g.input, g.weight(4, 4, 3, 3, scale=0.3), g.weight(4), pads=[1, 1, 1, 1]))
    outer = g.Conv(inner, g.weight(4, 4, 3, 3, scale=0.3), pads=[1, 1, 1, 1])
    return g.Relu(g.Add(outer, g.input))


def read_twice(g):
    """An activation must not go into a convolution that something else reads as well."""
    convolved = g.Conv(g.input, g.weight(4, 4, 1, 1), g.weight(4))
    return [g.Relu(convolved), g.Add(convolved, g.Sigmoid(convolved))]


def poolings():
    image = (2, 6, 5)

    def pool(operator, name, opset=11, shape=image, **attributes):
        prefix = {"MaxPool": "max_pool", "AveragePool": "average_pool", "LpPool": "lp_pool"}[operator]
        case(f"{prefix}_{name}", shape, lambda g: getattr(g, operator)(g.input, **attributes), opset=opset)

    for operator in ["MaxPool", "AveragePool"]:
        pool(operator, "plain", kernel_shape=[2, 2], strides=[2, 2])
        pool(operator, "overlapping", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        pool(operator, "stride_one", kernel_shape=[3, 2])
        pool(operator, "ceil", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
        pool(operator, "asymmetric_pads", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
        pool(operator, "asymmetric_pads_before", kernel_shape=[3, 2], strides=[1, 2], pads=[2, 1, 0, 0])
        pool(operator, "same_upper", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
        pool(operator, "same_lower", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_LOWER")
        pool(operator, "valid", kernel_shape=[3, 3], strides=[2, 2], auto_pad="VALID")
        pool(operator, "one_axis", shape=(2, 7), kernel_shape=[3], strides=[2], pads=[1, 1])
    pool("MaxPool", "ceil_padded", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1, shape=(2, 6, 6))
    pool("MaxPool", "dilated", kernel_shape=[2, 3], dilations=[3, 2])
    pool("MaxPool", "dilated_padded", kernel_shape=[2, 2], dilations=[2, 2], pads=[1, 1, 1, 1], strides=[2, 1])
    case(
        "max_pool_below_zero",
        image,
        lambda g: g.MaxPool(g.input, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        low=-3.0,
        high=-1.0,
    )
    pool("AveragePool", "padding_counts", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    pool(
        "AveragePool",
        "padding_counts_asymmetric",
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[0, 1, 2, 0],
        count_include_pad=1,
    )
    pool(
        "AveragePool",
        "ceil_padded",
        opset=19,
        shape=(2, 6, 6),
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        ceil_mode=1,
    )
    pool(
        "AveragePool",
        "ceil_padding_counts",
        opset=19,
        shape=(2, 6, 6),
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        ceil_mode=1,
        count_include_pad=1,
    )
    pool("AveragePool", "dilated", opset=19, kernel_shape=[2, 2], dilations=[2, 2])
    pool("LpPool", "two", opset=18, kernel_shape=[2, 2], strides=[2, 2], p=2)
    case(
        "max_pool_with_unused_indices",
        image,
        lambda g: g.MaxPool(g.input, kernel_shape=[2, 2], strides=[2, 2], n_outputs=2)[0],
    )
    case("global_average_pool", image, lambda g: g.GlobalAveragePool(g.input))
    case("global_average_pool_one_axis", (3, 7), lambda g: g.GlobalAveragePool(g.input))
    case("global_max_pool", image, lambda g: g.GlobalMaxPool(g.input))


def batch_norm(g, x, n_channels, **attributes):
    return g.BatchNormalization(
        x, g.positive(n_channels), g.weight(n_channels), g.weight(n_channels), g.positive(n_channels), **attributes
    )


def norms():
    image = (6, 3, 4)
    case("batch_norm", image, lambda g: batch_norm(g, g.input, 6, epsilon=1e-3))
    case("batch_norm_old", image, lambda g: batch_norm(g, g.input, 6), opset=11)
    case("batch_norm_flat", (6,), lambda g: batch_norm(g, g.input, 6))
    case("batch_norm_one_axis", (6, 5), lambda g: batch_norm(g, g.input, 6))
    case("batch_norm_after_pooling", image, lambda g: batch_norm(g, g.MaxPool(g.input, kernel_shape=[2, 2]), 6))
    case(
        "instance_norm",
        image,
        lambda g: g.InstanceNormalization(g.input, g.weight(6), g.weight(6), epsilon=1e-3),
        opset=11,
    )
    case(
        "instance_norm_one_axis", (3, 8), lambda g: g.InstanceNormalization(g.input, g.weight(3), g.weight(3)), opset=11
    )
    # Version 18 scales by group, version 21 by channel.
    case(
        "group_norm_18",
        image,
        lambda g: g.GroupNormalization(g.input, g.weight(3), g.weight(3), num_groups=3),
        opset=18,
    )
    case(
        "group_norm_21",
        image,
        lambda g: g.GroupNormalization(g.input, g.weight(6), g.weight(6), num_groups=2, epsilon=1e-3),
        opset=21,
    )
    case("group_norm_as_exported", image, group_norm_as_exported, opset=11)
    case(
        "layer_norm", (3, 8), lambda g: g.LayerNormalization(g.input, g.weight(8), g.weight(8), axis=-1, epsilon=1e-6)
    )
    case("layer_norm_without_bias", (3, 8), lambda g: g.LayerNormalization(g.input, g.weight(8)))
    case(
        "layer_norm_several_axes",
        image,
        lambda g: g.LayerNormalization(g.input, g.weight(6, 3, 4), g.weight(6, 3, 4), axis=1),
    )
    case(
        "layer_norm_two_axes",
        image,
        lambda g: g.LayerNormalization(g.input, g.weight(3, 4), g.weight(3, 4), axis=-2),
    )
    case("layer_norm_as_exported", (3, 8), layer_norm_as_exported, opset=11)
    case("lrn", image, lambda g: g.LRN(g.input, size=5, alpha=1e-2, beta=0.6, bias=1.5), opset=11)
    case("lp_normalization", image, lambda g: g.LpNormalization(g.input, axis=1, p=2), opset=11)
    case("lp_normalization_one", image, lambda g: g.LpNormalization(g.input, axis=-1, p=1), opset=11)
    case("mean_variance_normalization", image, lambda g: g.MeanVarianceNormalization(g.input, axes=[1, 2, 3]), opset=13)
    case(
        "rms_norm", (3, 8), lambda g: g.RMSNormalization(g.input, g.weight(8), axis=-1, epsilon=1e-6), opset=23
    )


def group_norm_as_exported(g):
    split = g.Reshape(g.input, [0, 3, -1])
    normed = g.InstanceNormalization(split, np.ones(3, np.float32), np.zeros(3, np.float32))
    return g.Add(g.Mul(g.Reshape(normed, g.Shape(g.input)), g.weight(6, 1, 1)), g.weight(6, 1, 1))


def layer_norm_as_exported(g):
    centred = g.Sub(g.input, g.ReduceMean(g.input, axes=[-1]))
    variance = g.ReduceMean(g.Pow(centred, 2.0), axes=[-1])
    normed = g.Div(centred, g.Sqrt(g.Add(variance, 1e-5)))
    return g.Add(g.Mul(normed, g.weight(8)), g.weight(8))


def activations():
    plain = (2, 3, 4)
    for operator in [
        "Abs", "Ceil", "Cos", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Neg",
        "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Tanh", "ThresholdedRelu", "Celu",
        "Atan", "Sinh", "Cosh",
    ]:  # fmt: skip
        case(words(operator), plain, lambda g, o=operator: getattr(g, o)(g.input), opset=14, low=-4.0, high=4.0)
    for operator in ["Log", "Sqrt", "Reciprocal"]:
        case(words(operator), plain, lambda g, o=operator: getattr(g, o)(g.input), low=0.1, high=4.0)
    case("elu_alpha", plain, lambda g: g.Elu(g.input, alpha=0.3))
    case("celu_alpha", plain, lambda g: g.Celu(g.input, alpha=0.7))
    case("selu_alpha", plain, lambda g: g.Selu(g.input, alpha=1.5, gamma=1.2))
    case("leaky_relu_alpha", plain, lambda g: g.LeakyRelu(g.input, alpha=0.2))
    case("thresholded_relu_alpha", plain, lambda g: g.ThresholdedRelu(g.input, alpha=0.4))
    case("hard_sigmoid_of_torch", plain, lambda g: g.HardSigmoid(g.input, alpha=1 / 6), low=-4.0, high=4.0)
    case("mish", plain, lambda g: g.Mish(g.input), opset=18, low=-4.0, high=4.0)
    case("mish_as_exported", plain, lambda g: g.Mul(g.input, g.Tanh(g.Softplus(g.input))), opset=11)
    case("softplus_of_large_numbers", plain, lambda g: g.Softplus(g.input), low=-120.0, high=120.0)
    case("gelu", plain, lambda g: g.Gelu(g.input), opset=20, low=-4.0, high=4.0)
    case("gelu_tanh", plain, lambda g: g.Gelu(g.input, approximate="tanh"), opset=20, low=-4.0, high=4.0)
    case("gelu_as_exported", plain, gelu_as_exported, opset=11, low=-4.0, high=4.0)
    case("gelu_tanh_as_exported", plain, gelu_tanh_as_exported, opset=11, low=-4.0, high=4.0)
    case("swish", plain, lambda g: g.Swish(g.input, alpha=1.5), opset=24, low=-4.0, high=4.0)
    case("silu_as_exported", plain, lambda g: g.Mul(g.input, g.Sigmoid(g.input)), opset=11, low=-4.0, high=4.0)
    case("hard_swish_as_exported", plain, hard_swish_as_exported, opset=11, low=-4.0, high=4.0)
    case("hard_swish_by_hard_sigmoid", plain, hard_swish_by_hard_sigmoid, opset=13, low=-4.0, high=4.0)
    case("shrink", plain, lambda g: g.Shrink(g.input, bias=0.2, lambd=0.5))
    case("hardmax", (2, 5), lambda g: g.Hardmax(g.input, axis=-1))
    case("hardmax_old", (2, 3, 2), lambda g: g.Hardmax(g.Round(g.input), axis=2), opset=11)
    case("hardmax_channels", (4, 2, 2), lambda g: g.Hardmax(g.Round(g.input), axis=1))
    case("prelu_by_channel", plain, lambda g: g.PRelu(g.input, g.positive(2, 1, 1)), opset=11)
    case("prelu_one_slope", plain, lambda g: g.PRelu(g.input, np.array([0.25], np.float32)), opset=11)
    case("prelu_by_element", plain, lambda g: g.PRelu(g.input, g.weight(2, 3, 4)), opset=11)

    case("clip", plain, lambda g: g.Clip(g.input, -0.5, 0.75), opset=11)
    case("clip_by_attributes", plain, lambda g: g.Clip(g.input, min=-0.5, max=0.75), opset=9)
    case("clip_below", plain, lambda g: g.Clip(g.input, -0.5), opset=13)
    case("clip_above", plain, lambda g: g.Clip(g.input, None, 0.5), opset=13)
    case("clip_six", plain, lambda g: g.Clip(g.input, 0.0, 6.0), opset=13, low=-4.0, high=9.0)
    case("clip_by_constant_nodes", plain, clip_by_constant_nodes, opset=11)
    case("clip_crossed", plain, lambda g: g.Clip(g.input, 0.5, -0.5), opset=13)

    case("softmax", (2, 3, 4), lambda g: g.Softmax(g.input), opset=13)
    case("softmax_axis_one", (2, 3, 4), lambda g: g.Softmax(g.input, axis=1), opset=13)
    # Until opset 12 the axes from `axis` on are one: the sum runs over all of them.
    case("softmax_old_flattens", (2, 3, 4), lambda g: g.Softmax(g.input), opset=11)
    case("softmax_old_axis_two", (2, 3, 4), lambda g: g.Softmax(g.input, axis=2), opset=11)
    case("softmax_old_last_axis", (2, 3, 4), lambda g: g.Softmax(g.input, axis=-1), opset=11)
    case("log_softmax", (2, 3, 4), lambda g: g.LogSoftmax(g.input), opset=13)
    case("log_softmax_old_flattens", (2, 3, 4), lambda g: g.LogSoftmax(g.input), opset=11)
    case("softmax_of_large_numbers", (5,), lambda g: g.Softmax(g.input), low=-300.0, high=300.0)


def words(operator):
    """`HardSwish` as `hard_swish`."""
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(operator))


def gelu_as_exported(g):
    erf = g.Erf(g.Div(g.input, 2.0**0.5))
    return g.Mul(g.Mul(g.input, g.Add(erf, 1.0)), 0.5)


def gelu_tanh_as_exported(g):
    cubed = g.Mul(g.Pow(g.input, 3.0), 0.044715)
    inner = g.Tanh(g.Mul(g.Add(g.input, cubed), (2 / np.pi) ** 0.5))
    return g.Mul(g.Mul(g.input, 0.5), g.Add(inner, 1.0))


def hard_swish_as_exported(g):
    return g.Div(g.Mul(g.input, g.Clip(g.Add(g.input, 3.0), 0.0, 6.0)), 6.0)


def hard_swish_by_hard_sigmoid(g):
    return g.Mul(g.input, g.HardSigmoid(g.input, alpha=1 / 6, beta=0.5))


def clip_by_constant_nodes(g):
    low = g.Constant(value=helper.make_tensor("", TensorProto.FLOAT, [], [-0.25]))
    return g.Clip(g.input, low, g.Constant(value=helper.make_tensor("", TensorProto.FLOAT, [], [0.5])))


def products():
    def gemm(name, shape, weight, bias, opset=11, **attributes):
        def build(g):
            return g.Gemm(g.input, g.weight(*weight), *([g.weight(*bias)] if bias is not None else []), **attributes)

        case(f"gemm_{name}", shape, build, opset=opset)

    gemm("plain", (5,), (5, 4), (4,))
    gemm("transposed", (5,), (4, 5), (4,), transB=1)
    gemm("alpha_beta", (5,), (4, 5), (4,), transB=1, alpha=0.5, beta=2.0)
    gemm("without_bias", (5,), (5, 4), None)
    gemm("bias_of_one_row", (5,), (5, 4), (1, 4))
    gemm("bias_of_one_number", (5,), (5, 4), (1,))
    gemm("bias_of_rank_zero", (5,), (5, 4), ())
    gemm("wide", (70,), (33, 70), (33,), transB=1)
    case(
        "gemm_input_transposed",
        (5,),
        lambda g: g.Gemm(g.Transpose(g.input, perm=[1, 0]), g.weight(5, 4), g.weight(4), transA=1),
    )
    case("gemm_after_flatten", (2, 3, 2), lambda g: g.Gemm(g.Flatten(g.input), g.weight(12, 4), g.weight(4)))
    case(
        "gemm_with_batch_norm",
        (5,),
        lambda g: batch_norm(g, g.Gemm(g.input, g.weight(4, 5), g.weight(4), transB=1), 4),
    )

    case("mat_mul_flat", (5,), lambda g: g.MatMul(g.input, g.weight(5, 4)))
    case("mat_mul_with_bias", (5,), lambda g: g.Add(g.MatMul(g.input, g.weight(5, 4)), g.weight(4)))
    case("mat_mul_bias_first", (3, 5), lambda g: g.Add(g.weight(4), g.MatMul(g.input, g.weight(5, 4))))
    case("mat_mul_rank_three", (3, 5), lambda g: g.MatMul(g.input, g.weight(5, 4)))
    case("mat_mul_rank_four", (2, 3, 5), lambda g: g.MatMul(g.input, g.weight(5, 4)))
    case("mat_mul_batched_weight", (2, 3, 5), lambda g: g.MatMul(g.input, g.weight(2, 5, 4)))
    case("mat_mul_constant_left", (5, 4), lambda g: g.MatMul(g.weight(3, 5), g.input))
    case("mat_mul_by_vector", (3, 5), lambda g: g.MatMul(g.input, g.weight(5)))
    case("mat_mul_of_itself", (3, 4), lambda g: g.MatMul(g.input, g.Transpose(g.input, perm=[0, 2, 1])))
    case(
        "mat_mul_broadcast", (1, 3, 4), lambda g: g.MatMul(g.input, g.Expand(g.Transpose(g.input, perm=[0, 1, 3, 2]), [1, 2, 1, 1]))
    )
    case("attention_as_exported", (4, 6), attention, opset=13)

    def einsum(name, shape, equation, *operands):
        case(f"einsum_{name}", shape, lambda g: g.Einsum(*operands_of(g, operands), equation=equation), opset=12)

    def operands_of(g, operands):
        return [g.input if operand is None else g.weight(*operand) for operand in operands]

    einsum("linear", (3, 5), "bsd,ed->bse", None, (4, 5))
    einsum("scores", (2, 3, 4), "bhid,bhjd->bhij", None, None)
    einsum("values", (2, 3, 3), "bhij,bhjd->bhid", None, None)
    einsum("relative_positions", (2, 3, 4), "bhid,jd->bhij", None, (5, 4))
    einsum("positions_by_row", (2, 3, 4), "byxd,yzd->byxz", None, (2, 5, 4))
    einsum("outer_product", (3, 4), "bij,k->bijk", None, (2,))
    einsum("transpose", (3, 4, 2), "bijk->bkij", None)
    einsum("sum", (3, 4, 2), "bijk->bj", None)
    einsum("implicit", (3, 5), "bij,jk", None, (5, 4))
    einsum("ellipsis", (2, 3, 4), "...ij,jk->...ik", None, (4, 2))
    einsum("with_spaces", (3, 5), "n i d, e d -> n e i", None, (4, 5))


def attention(g):
    """Two heads of three channels, shapes computed as exporters do."""
    length = g.Gather(g.Shape(g.input), 1, axis=0)
    batch = g.Gather(g.Shape(g.input), 0, axis=0)
    shape = g.Concat(
        g.Unsqueeze(batch, [0]), g.Unsqueeze(length, [0]), np.array([3], np.int64), np.array([2, 3], np.int64), axis=0
    )
    mixed = g.Add(g.MatMul(g.input, g.weight(6, 18, scale=0.5)), g.weight(18))
    parts = g.Transpose(g.Reshape(mixed, shape), perm=[2, 0, 3, 1, 4])
    query, key, value = (g.Gather(parts, i, axis=0) for i in range(3))
    scores = g.Mul(g.MatMul(query, g.Transpose(key, perm=[0, 1, 3, 2])), 3**-0.5)
    out = g.Transpose(g.MatMul(g.Softmax(scores, axis=-1), value), perm=[0, 2, 1, 3])
    flat = g.Reshape(out, g.Concat(g.Unsqueeze(batch, [0]), g.Unsqueeze(length, [0]), np.array([-1]), axis=0))
    return g.Add(g.MatMul(flat, g.weight(6, 6)), g.weight(6))


def elementwise():
    plain = (2, 3, 4)
    for operator in ["Add", "Sub", "Mul", "Div", "Min", "Max"]:
        name = operator.lower()
        case(f"{name}_of_two", plain, lambda g, o=operator: getattr(g, o)(g.input, g.Exp(g.input)))
        case(f"{name}_one_number", plain, lambda g, o=operator: getattr(g, o)(g.input, 1.5))
        case(f"{name}_by_channel", plain, lambda g, o=operator: getattr(g, o)(g.positive(2, 1, 1), g.input), low=1.0, high=2.0)
    case("add_row", plain, lambda g: g.Add(g.input, g.weight(4)))
    case("add_column", plain, lambda g: g.Add(g.input, g.weight(3, 1)))
    case("add_with_batch_axis_of_one", plain, lambda g: g.Add(g.input, g.weight(1, 2, 3, 4)))
    case("add_both_broadcast", (2, 1, 4), lambda g: g.Add(g.input, g.weight(1, 3, 1)))
    case("add_raises_the_rank", (4,), lambda g: g.Add(g.Unsqueeze(g.input, [1]), g.weight(1, 3, 1)))
    case("add_rank_five", (2, 1, 3, 2), lambda g: g.Add(g.input, g.weight(2, 1, 2)))
    case("add_to_itself", plain, lambda g: g.Add(g.input, g.input))
    case("mul_of_pooled", plain, lambda g: g.Mul(g.input, g.Sigmoid(g.GlobalAveragePool(g.input))))
    case("sub_from_constant", plain, lambda g: g.Sub(1.0, g.input))
    case("div_of_constant", plain, lambda g: g.Div(1.0, g.input), low=0.5, high=2.0)
    case("pow_square", plain, lambda g: g.Pow(g.input, 2.0))
    case("pow_whole_exponent", plain, lambda g: g.Pow(g.input, 3))
    case("pow_half", plain, lambda g: g.Pow(g.input, 0.5), low=0.1, high=3.0)
    case("pow_by_channel", plain, lambda g: g.Pow(g.input, g.positive(2, 1, 1)), low=0.1, high=3.0)
    case("sum_of_three", plain, lambda g: g.Sum(g.input, g.weight(4), g.Relu(g.input)))
    case("mean_of_three", plain, lambda g: g.Mean(g.input, g.weight(2, 3, 4), g.Relu(g.input)))
    case("max_of_three", plain, lambda g: g.Max(g.input, g.weight(4), 0.0))
    case("min_of_one", plain, lambda g: g.Min(g.input))
    case("mod_of_floats", plain, lambda g: g.Mod(g.input, 0.7, fmod=1))

    case("where_by_comparison", plain, lambda g: g.Where(g.Greater(g.input, 0.0), g.input, g.Mul(g.input, 0.1)))
    case("where_by_constant", plain, where_by_constant)
    case("where_with_one_number", plain, lambda g: g.Where(g.Less(g.input, g.weight(4)), 0.0, g.input))
    for operator, opset in [("Less", 11), ("Greater", 11), ("LessOrEqual", 12), ("GreaterOrEqual", 12), ("Equal", 11)]:
        case(
            words(operator),
            plain,
            lambda g, o=operator: g.Cast(getattr(g, o)(g.Round(g.input), 0.0), to=TensorProto.FLOAT),
            opset=opset,
        )
    case("logic", plain, logic)
    case("is_nan", plain, lambda g: g.Where(g.IsNaN(g.Sqrt(g.input)), -1.0, g.input))
    case("is_infinite_upwards", plain, lambda g: g.Where(g.IsInf(g.Div(g.input, g.Round(g.input)), detect_negative=0), 3.0, g.Clip(g.input, -9.0, 9.0)))
    case("is_infinite", plain, lambda g: g.Where(g.IsInf(g.Div(g.input, g.Round(g.input))), -1.0, g.input))
    case("dropout", plain, lambda g: g.Dropout(g.input), opset=11)
    case("dropout_with_ratio", plain, lambda g: g.Dropout(g.input, 0.4), opset=13)
    case("dropout_with_unused_mask", plain, lambda g: g.Relu(g.Dropout(g.input, n_outputs=2)[0]), opset=13)
    case("dropout_by_attribute", plain, lambda g: g.Relu(g.Dropout(g.input, ratio=0.4)), opset=11)
    case("dropout_training_is_false", plain, lambda g: g.Dropout(g.input, 0.4, np.array(False)), opset=13)


def where_by_constant(g):
    mask = g.constant(g.random.integers(0, 2, (3, 4)).astype(bool))
    return g.Where(mask, g.input, -1.0)


def logic(g):
    positive, small = g.Greater(g.input, 0.0), g.Less(g.Abs(g.input), 1.0)
    kept = g.Or(g.And(positive, small), g.Not(g.Xor(positive, small)))
    return g.Where(kept, g.input, 0.0)


def arrangement():
    plain = (4, 3, 2)
    case("concat_channels", plain, lambda g: g.Concat(g.input, g.Relu(g.input), g.Neg(g.input), axis=1))
    case("concat_last_axis", plain, lambda g: g.Concat(g.input, g.Relu(g.input), axis=-1))
    case("concat_one", plain, lambda g: g.Concat(g.input, axis=1))
    case("concat_class_token", (3, 4), lambda g: g.Concat(g.Expand(g.weight(1, 1, 4), token_shape(g)), g.input, axis=1))
    case("split_by_attribute", plain, lambda g: g.Split(g.input, axis=1, split=[1, 3], n_outputs=2), opset=11)
    case("split_by_input", plain, lambda g: g.Split(g.input, [3, 1], axis=1, n_outputs=2), opset=13)
    case("split_evenly", plain, lambda g: g.Split(g.input, axis=1, n_outputs=2), opset=13)
    case("split_evenly_old", plain, lambda g: g.Split(g.input, axis=-2, n_outputs=3), opset=11)
    case("split_by_number", (5, 2), lambda g: g.Split(g.input, axis=1, num_outputs=3, n_outputs=3), opset=18)
    case("split_and_joined", plain, split_and_joined, opset=13)

    case("split_to_sequence", plain, split_to_sequence, opset=13)
    case("split_to_sequence_without_axis", plain, split_to_sequence_without_axis, opset=13)
    case("concat_from_sequence", plain, concat_from_sequence, opset=13)

    case("slice_channels", plain, lambda g: g.Slice(g.input, [1], [3], [1], [1]), opset=11)
    case("slice_by_attributes", plain, lambda g: g.Slice(g.input, axes=[1, 2], starts=[1, 0], ends=[3, -1]), opset=9)
    case("slice_without_axes_by_attributes", plain, lambda g: g.Slice(g.input, starts=[0, 1], ends=[2**31 - 1, 2]), opset=9)
    case("slice_without_axes", plain, lambda g: g.Slice(g.input, [0, 1], [2**31 - 1, 3]))
    case("slice_stepped", plain, lambda g: g.Slice(g.input, [0, 0], [2**63 - 1, 100], [1, 2], [2, 2]))
    case("slice_from_the_end", plain, lambda g: g.Slice(g.input, [-2], [2**63 - 1], [1]))
    case("slice_backwards", plain, lambda g: g.Slice(g.input, [-1], [-(2**63)], [1], [-1]))
    case("slice_backwards_stepped", plain, lambda g: g.Slice(g.input, [3, 100], [-100, 0], [1, -2], [-2, -1]))
    case("slice_beyond_the_end", plain, lambda g: g.Slice(g.input, [2], [100], [1]))
    case("slice_int32", plain, lambda g: g.Slice(g.input, np.array([1], np.int32), np.array([3], np.int32), np.array([1], np.int32)))

    def pad(name, pads, opset=13, shape=plain, value=None, axes=None, low=None, high=None, **attributes):
        def build(g):
            rest = [value] if axes is None else [value, np.array(axes, np.int64)]
            return g.Pad(g.input, pads, *([] if value is None and axes is None else rest), **attributes)

        case(f"pad_{name}", shape, build, opset=opset, low=low, high=high)

    pad("constant", [0, 0, 1, 2, 0, 0, 0, 1])
    pad("value", [0, 1, 1, 1, 0, 0, 1, 1], value=-1.5)
    pad("negative", [0, -1, 1, 0, 0, -1, -1, 0])
    pad("reflect", [0, 0, 2, 1, 0, 0, 1, 1], mode="reflect")
    pad("edge", [0, 0, 2, 1, 0, 0, 1, 3], mode="edge")
    pad("edge_of_channels", [0, 2, 0, 0, 0, 1, 0, 0], mode="edge")
    pad("axes", [1, 2, 0, 1], opset=18, axes=[2, -1])
    pad("wrap", [0, 0, 2, 1, 0, 0, 1, 1], opset=19, mode="wrap")
    case("pad_by_attributes", plain, lambda g: g.Pad(g.input, pads=[0, 0, 1, 0, 0, 0, 0, 1], value=0.5), opset=10)
    case(
        "pad_reflect_by_attributes",
        plain,
        lambda g: g.Pad(g.input, pads=[0, 0, 1, 0, 0, 0, 0, 1], mode="reflect"),
        opset=10,
    )
    case(
        "pad_before_convolution",
        plain,
        lambda g: g.Conv(g.Pad(g.input, [0, 0, 0, 0, 0, 0, 1, 1]), g.weight(3, 4, 2, 2), strides=[2, 2]),
    )
    case(
        "pad_value_before_convolution",
        plain,
        lambda g: g.Conv(g.Pad(g.input, [0, 0, 1, 1, 0, 0, 1, 1], 1.0), g.weight(3, 4, 2, 2)),
    )
    case(
        "pad_before_max_pool",
        plain,
        lambda g: g.MaxPool(g.Pad(g.input, [0, 0, 1, 1, 0, 0, 1, 1]), kernel_shape=[2, 2], strides=[2, 2]),
        low=-3.0,
        high=-1.0,
    )

    case("transpose", plain, lambda g: g.Transpose(g.input, perm=[0, 3, 1, 2]))
    case("transpose_to_channels_last", plain, lambda g: g.Transpose(g.input, perm=[0, 2, 3, 1]))
    case("transpose_there_and_back", plain, transpose_there_and_back)
    case("transpose_moves_the_batch", (4, 3), lambda g: g.Transpose(g.Relu(g.Transpose(g.input)), perm=[2, 1, 0]))
    case("transpose_rank_five", (2, 3, 2, 2), lambda g: g.Transpose(g.input, perm=[0, 3, 1, 4, 2]))
    case("transpose_rank_six", (2, 3, 2, 1, 2), lambda g: g.Transpose(g.input, perm=[0, 3, 5, 1, 4, 2]))

    case("gather_one", plain, lambda g: g.Gather(g.input, 2, axis=1))
    case("gather_from_the_end", plain, lambda g: g.Gather(g.input, -1, axis=1))
    case("gather_several", plain, lambda g: g.Gather(g.input, [2, 0, -1, 2], axis=1))
    case("gather_table", plain, lambda g: g.Gather(g.input, [[0, 1], [2, 0]], axis=2))
    case("gather_from_constant", (4,), lambda g: g.Add(g.input, g.Gather(g.weight(5, 4), 3, axis=0)))
    case("gather_elements", (3, 2), gather_elements)
    case("gather_nd", (3, 4), lambda g: g.GatherND(g.input, np.array([[[0], [2]]] * N_ITEMS), batch_dims=1), batch=N_ITEMS)
    case("gather_nd_of_rows", (3, 4), lambda g: g.Add(g.input, g.GatherND(g.Relu(g.weight(5, 4)), [[1], [4], [0]])))
    case("scatter_nd", (4,), lambda g: g.Add(g.input, g.ScatterND(np.zeros(4, np.float32), [[1], [3]], np.array([2.0, -1.0], np.float32))))
    case("scatter_elements", (4,), lambda g: g.Add(g.input, g.ScatterElements(np.zeros(4, np.float32), [1, 3], np.array([2.0, -1.0], np.float32), axis=0)))
    case("one_hot", (3,), lambda g: g.MatMul(g.input, g.OneHot([0, 2, 1], 4, np.array([0.0, 1.0], np.float32))))
    case("one_hot_of_items", (5,), lambda g: g.OneHot(g.ArgMax(g.input, axis=1, keepdims=0), 5, np.array([-0.5, 2.0], np.float32)))
    case("one_hot_below_zero", (3,), lambda g: g.OneHot(g.Sub(g.ArgMax(g.input, axis=1), 2), 4, np.array([0.0, 1.0], np.float32), axis=1))
    case("trilu", (4, 4), lambda g: g.Trilu(g.input, upper=0), opset=14)
    case("trilu_upper", (3, 4), lambda g: g.Trilu(g.input, 1), opset=14)
    case("cum_sum", (3, 4), lambda g: g.CumSum(g.input, 1), opset=14)
    case("tile", plain, lambda g: g.Tile(g.input, [1, 2, 1, 3]))

    case("col2im", (8, 12), lambda g: g.Col2Im(g.input, [4, 5], [2, 2]), opset=18)
    case("col2im_overlapping", (8, 9), lambda g: g.Col2Im(g.input, [4, 4], [2, 2], pads=[1, 1, 1, 1], strides=[2, 2]), opset=18)

    for mode in ["DCR", "CRD"]:
        case(f"depth_to_space_{mode.lower()}", (8, 2, 3), lambda g, m=mode: g.DepthToSpace(g.input, blocksize=2, mode=m))
    case("depth_to_space_by_three", (9, 1, 2), lambda g: g.DepthToSpace(g.input, blocksize=3))
    case("space_to_depth", (2, 4, 6), lambda g: g.SpaceToDepth(g.input, blocksize=2))


def token_shape(g):
    return g.Concat(g.Slice(g.Shape(g.input), [0], [1]), np.array([1, 4]), axis=0)


def split_and_joined(g):
    left, right = g.Split(g.input, [2, 2], axis=1, n_outputs=2)
    return g.Concat(g.Relu(right), left, axis=1)


def split_to_sequence(g):
    parts = g.SplitToSequence(g.input, [1, 3], axis=1)
    return g.Concat(g.SequenceAt(parts, 1), g.Neg(g.SequenceAt(parts, 0)), axis=1)


def split_to_sequence_without_axis(g):
    """As `unbind` is exported: parts of one, of which the axis is gone."""
    parts = g.SplitToSequence(g.input, axis=1, keepdims=0)
    return g.Sub(g.SequenceAt(parts, -1), g.SequenceAt(parts, 0))


def concat_from_sequence(g):
    return g.ConcatFromSequence(g.SequenceConstruct(g.input, g.Relu(g.input)), axis=1, new_axis=1)


def transpose_there_and_back(g):
    last = g.Transpose(g.input, perm=[0, 2, 3, 1])
    return g.Transpose(g.Add(g.MatMul(last, g.weight(4, 4)), g.weight(4)), perm=[0, 3, 1, 2])


def gather_elements(g):
    return g.GatherElements(g.weight(3, 4), g.ArgMax(g.input, axis=1, keepdims=0), axis=0)


def shapes():
    plain = (4, 3, 2)
    case("reshape_zero_and_minus_one", plain, lambda g: g.Reshape(g.input, [0, -1]))
    case("reshape_zero_inside", plain, lambda g: g.Reshape(g.input, [0, 2, 2, -1]))
    case("reshape_minus_one_first", plain, lambda g: g.Reshape(g.input, [-1, 24]))
    case("reshape_allowzero", plain, lambda g: g.Reshape(g.input, [-1, 12, 2], allowzero=1), opset=14)
    case("reshape_merges_the_batch", plain, reshape_merges_the_batch)
    case("reshape_by_shape", plain, reshape_by_shape, opset=11)
    case("reshape_to_shape_of", plain, lambda g: g.Reshape(g.Reshape(g.input, [0, -1]), g.Shape(g.input)))
    case("channel_shuffle", plain, channel_shuffle, opset=11)
    case("flatten", plain, lambda g: g.Flatten(g.input))
    case("flatten_axis_two", plain, lambda g: g.Reshape(g.Flatten(g.input, axis=2), [-1, 4, 6]))
    case("flatten_axis_from_the_end", plain, lambda g: g.Reshape(g.Flatten(g.input, axis=-1), [-1, 12, 2]))
    case("flatten_axis_zero", plain, lambda g: g.Reshape(g.Flatten(g.input, axis=0), [-1, 24]))
    case("flatten_of_flat", (5,), lambda g: g.Relu(g.Flatten(g.input)))
    case("squeeze_by_attribute", (4, 1, 1), lambda g: g.Squeeze(g.input, axes=[2, 3]), opset=11)
    case("squeeze_by_input", (4, 1, 1), lambda g: g.Squeeze(g.input, [-1, 2]), opset=13)
    case("squeeze_one", (4, 1, 3), lambda g: g.Squeeze(g.input, [2]), opset=13)
    case("unsqueeze_by_attribute", (4,), lambda g: g.Unsqueeze(g.input, axes=[2, 3]), opset=11)
    case("unsqueeze_by_input", (4,), lambda g: g.Unsqueeze(g.input, [-1, 1]), opset=13)
    case("expand", (4, 1, 1), lambda g: g.Expand(g.input, [1, 4, 2, 3]))
    case("expand_fewer_axes", (4, 1, 1), lambda g: g.Expand(g.input, [3, 1]))
    case("expand_by_shape", (4, 1, 1), expand_by_shape)
    case("shape_in_part", plain, shape_in_part, opset=15)
    case("size", plain, lambda g: g.Div(g.input, g.Cast(g.Size(g.Shape(g.input)), to=TensorProto.FLOAT)))
    case("shape_of_image", plain, shape_of_image, opset=11)
    case("constant_of_shape", plain, constant_of_shape)
    case("constant_of_shape_default", plain, constant_of_shape_default)
    case("range_and_where", plain, range_and_where)
    case("shape_arithmetic", plain, shape_arithmetic, opset=11)

    case("constant_value", plain, lambda g: g.Add(g.input, g.Constant(value=tensor_of(g, (2,)))))
    case("constant_float", plain, lambda g: g.Add(g.input, g.Constant(value_float=1.5)), opset=12)
    case("constant_floats", plain, lambda g: g.Add(g.input, g.Constant(value_floats=[1.5, -0.5])), opset=12)
    case("constant_int", plain, lambda g: g.Gather(g.input, g.Constant(value_int=2), axis=1), opset=12)
    case("constant_ints", plain, lambda g: g.Reshape(g.input, g.Constant(value_ints=[0, 2, 12])), opset=12)
    case("constant_sparse", plain, constant_sparse, opset=12)
    case("cast_to_whole", plain, lambda g: g.Cast(g.Cast(g.Mul(g.input, 3.0), to=TensorProto.INT64), to=TensorProto.FLOAT))
    case("cast_to_bool", plain, lambda g: g.Cast(g.Cast(g.Relu(g.input), to=TensorProto.BOOL), to=TensorProto.FLOAT))
    case("cast_to_double", plain, lambda g: g.Cast(g.Cast(g.input, to=TensorProto.DOUBLE), to=TensorProto.FLOAT))
    case("cast_like", plain, lambda g: g.CastLike(g.Cast(g.Greater(g.input, 0.0), to=TensorProto.INT32), g.input), opset=15)
    case(
        "bytes_as_input",
        plain,
        lambda g: g.Div(g.Cast(g.input, to=TensorProto.FLOAT), 255.0),
        element=np.uint8,
        low=0,
        high=256,
    )
    storages()


def storages():
    """How an initialiser stores its numbers: as raw bytes, in the field of its type, and in narrower types."""
    numbers = [0.5, -1.25, 2.0, 0.0625]

    def typed(g, data_type, values, raw=False):
        return g.tensor(helper.make_tensor("weight", data_type, [4], values, raw=raw))

    def as_float(g, name):
        return g.Add(g.input, g.Cast(name, to=TensorProto.FLOAT))

    case("storage_float_data", (4,), lambda g: g.Add(g.input, typed(g, TensorProto.FLOAT, numbers)))
    case("storage_double_data", (4,), lambda g: as_float(g, typed(g, TensorProto.DOUBLE, numbers)))
    case("storage_double_raw", (4,), lambda g: as_float(g, g.constant(np.array(numbers))))
    case("storage_half_data", (4,), lambda g: as_float(g, typed(g, TensorProto.FLOAT16, numbers)))
    case("storage_half_raw", (4,), lambda g: as_float(g, g.constant(np.array(numbers, np.float16))))
    case("storage_brain_data", (4,), lambda g: as_float(g, typed(g, TensorProto.BFLOAT16, numbers)))
    case("storage_int64_data", (4,), lambda g: as_float(g, typed(g, TensorProto.INT64, [1, -2, 3, 2**40])))
    case("storage_int32_data", (4,), lambda g: as_float(g, typed(g, TensorProto.INT32, [1, -2, 3, 4])))
    case("storage_int32_raw", (4,), lambda g: as_float(g, g.constant(np.array([1, -2, 3, 4], np.int32))))
    case("storage_byte_data", (4,), lambda g: as_float(g, typed(g, TensorProto.UINT8, [1, 255, 3, 4])))
    case("storage_int8_data", (4,), lambda g: as_float(g, typed(g, TensorProto.INT8, [1, -128, 3, 4])))
    case("storage_bool_data", (4,), lambda g: as_float(g, typed(g, TensorProto.BOOL, [1, 0, 0, 1])))
    case("storage_weight_is_an_input", (4,), weight_is_an_input)


def weight_is_an_input(g):
    """Old exporters list each initialiser among the inputs as well; it is no input of the network."""
    weight = g.weight(4)
    g.inputs.append(helper.make_tensor_value_info(weight, TensorProto.FLOAT, [4]))
    return g.Add(g.input, weight)


def tensor_of(g, shape):
    values = g.random.standard_normal(shape).astype(np.float32)
    return helper.make_tensor("", TensorProto.FLOAT, shape, values.tobytes(), raw=True)


def constant_sparse(g):
    values = helper.make_tensor("values", TensorProto.FLOAT, [1], [2.5])
    indices = helper.make_tensor("indices", TensorProto.INT64, [1], [1])
    return g.Add(g.input, g.Constant(sparse_value=helper.make_sparse_tensor(values, indices, [2])))


def reshape_merges_the_batch(g):
    """Windows as Swin makes them: they join the batch, and leave it again."""
    windows = g.Reshape(g.input, [-1, 6])
    normed = g.LayerNormalization(windows, g.weight(6), g.weight(6))
    return g.Reshape(normed, [-1, 4, 3, 2])


def reshape_by_shape(g):
    shape = g.Shape(g.input)
    batch = g.Gather(shape, np.array(0), axis=0)
    return g.Reshape(g.input, g.Concat(g.Unsqueeze(batch, axes=[0]), np.array([-1]), axis=0))


def channel_shuffle(g):
    """As the legacy exporter writes ShuffleNet's."""
    shape = g.Shape(g.input)
    batch, channels, height, width = (g.Gather(shape, i, axis=0) for i in range(4))
    per_group = g.Cast(g.Cast(g.Div(channels, 2), to=TensorProto.INT64), to=TensorProto.INT64)
    row = [g.Unsqueeze(x, axes=[0]) for x in [batch, per_group, height, width]]
    split = g.Reshape(g.input, g.Concat(row[0], np.array([2]), *row[1:], axis=0))
    mixed = g.Transpose(split, perm=[0, 2, 1, 3, 4])
    return g.Reshape(mixed, g.Concat(row[0], np.array([-1]), *row[2:], axis=0))


def expand_by_shape(g):
    batch = g.Slice(g.Shape(g.input), [0], [1])
    shape = g.Concat(batch, np.array([-1, 2, 3]), axis=0)
    ones = g.ConstantOfShape(np.array([4]), value=helper.make_tensor("", TensorProto.INT64, [1], [1]))
    return g.Expand(g.input, g.Where(g.Equal(shape, -1), ones, shape))


def shape_in_part(g):
    return g.Reshape(g.input, g.Concat(g.Shape(g.input, start=0, end=-2), np.array([6]), axis=0))


def shape_of_image(g):
    """An average pool over the whole image, divided by hand."""
    shape = g.Shape(g.input)
    area = g.Mul(g.Gather(shape, 2, axis=0), g.Gather(shape, 3, axis=0))
    return g.Div(g.ReduceSum(g.input, axes=[2, 3]), g.Cast(area, to=TensorProto.FLOAT))


def constant_of_shape(g):
    fill = helper.make_tensor("", TensorProto.FLOAT, [1], [0.5])
    return g.Add(g.input, g.ConstantOfShape(g.Shape(g.input), value=fill))


def constant_of_shape_default(g):
    return g.Concat(g.input, g.ConstantOfShape(g.Shape(g.input)), axis=1)


def range_and_where(g):
    positions = g.Range(np.array(0), g.Gather(g.Shape(g.input), 1, axis=0), np.array(1))
    odd = g.Equal(g.Mod(positions, 2), 1)
    return g.Where(g.Reshape(odd, [4, 1, 1]), g.input, 0.0)


def shape_arithmetic(g):
    """Half of the channels, by floor, subtraction and a comparison."""
    channels = g.Gather(g.Shape(g.input), 1, axis=0)
    halved = g.Cast(g.Floor(g.Div(g.Cast(channels, to=TensorProto.FLOAT), 2.0)), to=TensorProto.INT64)
    end = g.Where(g.Greater(channels, 2), g.Sub(channels, halved), channels)
    return g.Slice(g.input, np.array([0]), g.Unsqueeze(end, axes=[0]), np.array([1]))


def reductions():
    plain = (3, 4, 2)
    for operator in ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
                     "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"]:  # fmt: skip
        bounds = {"low": 0.5, "high": 2.0} if operator in ("ReduceLogSum", "ReduceProd") else {}
        name = words(operator).replace("_l_1", "_l1").replace("_l_2", "_l2")
        case(f"{name}_image", plain, lambda g, o=operator: getattr(g, o)(g.input, axes=[2, 3]), opset=11, **bounds)
        case(f"{name}_by_input", plain, lambda g, o=operator: getattr(g, o)(g.input, [1], keepdims=0), opset=18, **bounds)
    case("reduce_mean_negative_axes", plain, lambda g: g.ReduceMean(g.input, axes=[-1, -2], keepdims=0), opset=13)
    case("reduce_mean_scattered_axes", plain, lambda g: g.ReduceMean(g.input, axes=[1, 3]), opset=13)
    case("reduce_mean_channels", plain, lambda g: g.ReduceMean(g.input, axes=[1]), opset=13)
    case("reduce_sum_at_13", plain, lambda g: g.ReduceSum(g.input, [-1], keepdims=0), opset=13)
    case("reduce_mean_of_nothing", plain, lambda g: g.ReduceMean(g.input, np.zeros(0, np.int64), noop_with_empty_axes=1), opset=18)
    case("arg_max", plain, lambda g: g.Cast(g.ArgMax(g.input, axis=1), to=TensorProto.FLOAT))
    case("arg_max_without_axis", plain, lambda g: g.Cast(g.ArgMax(g.input, axis=-1, keepdims=0), to=TensorProto.FLOAT))
    case("arg_max_last_of_equals", plain, lambda g: g.Cast(g.ArgMax(g.Round(g.input), axis=2, select_last_index=1), to=TensorProto.FLOAT))
    case("arg_max_first_of_equals", plain, lambda g: g.Cast(g.ArgMax(g.Round(g.input), axis=2), to=TensorProto.FLOAT))
    case("arg_min", plain, lambda g: g.Cast(g.ArgMin(g.input, axis=1), to=TensorProto.FLOAT))
    tops()


def tops():
    plain = (3, 4, 2)
    case("top_k", (6,), lambda g: g.TopK(g.input, np.array([3]), n_outputs=2)[0])
    case("top_k_and_places", (12,), lambda g: g.TopK(g.Softmax(g.input), np.array([5]), n_outputs=2))
    case("top_k_places_alone", (12,), lambda g: g.TopK(g.input, np.array([5]), axis=1, n_outputs=2)[1])
    case("top_k_of_equals", (9,), lambda g: g.TopK(g.Round(g.input), np.array([6]), n_outputs=2))
    case("top_k_smallest", plain, lambda g: g.TopK(g.input, np.array([2]), axis=2, largest=0, n_outputs=2))
    case("top_k_of_all", (4,), lambda g: g.TopK(g.input, np.array([4]), n_outputs=2))
    case("top_k_of_infinite", (5,), lambda g: g.TopK(g.Log(g.Relu(g.input)), np.array([5]), n_outputs=2))
    case("top_k_old", plain, lambda g: g.TopK(g.input, axis=1, k=3, n_outputs=2), opset=9)
    case("top_k_at_10", (6,), lambda g: g.TopK(g.input, np.array([1]), n_outputs=2), opset=10)


def resizes():
    image = (2, 4, 3)

    def resize(name, scales=None, sizes=None, opset=13, shape=image, roi=None, **attributes):
        def build(g):
            if sizes is not None:
                return g.Resize(g.input, roi, None, sizes, **attributes)
            return g.Resize(g.input, roi, np.array(scales, np.float32), **attributes)

        case(f"resize_{name}", shape, build, opset=opset)

    double, uneven, down = [1, 1, 2, 2], [1, 1, 1.5, 2.4], [1, 1, 0.6, 0.8]
    coordinates = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
    for mode in ["nearest", "linear", "cubic"]:
        for coordinate in coordinates:
            resize(f"{mode}_{coordinate}", uneven, mode=mode, coordinate_transformation_mode=coordinate)
        resize(f"{mode}_double", double, mode=mode)
        resize(f"{mode}_down", down, mode=mode)
    for rounding in ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]:
        for coordinate in ["half_pixel", "asymmetric"]:
            resize(
                f"nearest_{rounding}_{coordinate}",
                [1, 1, 1.5, 0.5],
                shape=(1, 4, 6),
                mode="nearest",
                coordinate_transformation_mode=coordinate,
                nearest_mode=rounding,
            )
    # As PyTorch's `interpolate(scale_factor=2)` is exported.
    resize("nearest_of_torch", double, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    case(
        "resize_sizes_of_torch",
        image,
        lambda g: g.Resize(
            g.input,
            np.zeros(0, np.float32),
            np.zeros(0, np.float32),
            g.Concat(g.Slice(g.Shape(g.input), [0], [2], [0]), np.array([7, 5]), axis=0),
            mode="linear",
            coordinate_transformation_mode="pytorch_half_pixel",
        ),
        opset=11,
    )
    resize("sizes_by_axes", sizes=[7, 5], opset=18, mode="linear", axes=[2, 3])
    resize("sizes_to_one", sizes=[1, 5], opset=18, mode="linear", axes=[2, 3], coordinate_transformation_mode="pytorch_half_pixel")
    resize("not_larger", sizes=[9, 6], opset=18, mode="linear", axes=[2, 3], keep_aspect_ratio_policy="not_larger")
    resize("half_pixel_symmetric", [1, 1, 1.5, 2.4], opset=19, mode="linear", coordinate_transformation_mode="half_pixel_symmetric")
    resize("cubic_sharper", uneven, mode="cubic", cubic_coeff_a=-0.5)
    resize("cubic_excludes_outside", uneven, mode="cubic", exclude_outside=1)
    resize("linear_antialias", down, opset=18, mode="linear", antialias=1)
    resize("cubic_antialias", down, opset=18, mode="cubic", antialias=1)
    for mode in ["linear", "cubic"]:
        for coordinate in coordinates:
            resize(f"{mode}_antialias_{coordinate}", sizes=[5, 3], opset=18, shape=(2, 9, 8), mode=mode, antialias=1,
                   axes=[2, 3], coordinate_transformation_mode=coordinate)  # fmt: skip
        resize(f"{mode}_antialias_excludes_outside", sizes=[3, 4], opset=18, shape=(2, 9, 8), mode=mode, antialias=1,
               axes=[2, 3], exclude_outside=1)  # fmt: skip
        resize(f"{mode}_antialias_larger", [1, 1, 2.5, 0.4], opset=19, shape=(2, 4, 7), mode=mode, antialias=1)
    case("resize_antialias_of_table", (6, 2, 3), lambda g: g.Add(g.input, g.Resize(
        g.weight(1, 6, 8, 5), None, None, [1, 6, 2, 3], mode="cubic", antialias=1)), opset=18)  # fmt: skip
    resize("linear_rows", [1, 1, 2], shape=(2, 5), mode="linear")
    case("resize_crop", image, resize_crop)
    case("resize_by_empty_roi", image, lambda g: g.Resize(g.input, np.zeros(0, np.float32), np.array(double, np.float32), mode="linear"), opset=11)
    case("upsample", image, lambda g: g.Upsample(g.input, np.array(double, np.float32), mode="nearest"), opset=9)
    case("upsample_linear", image, lambda g: g.Upsample(g.input, np.array(double, np.float32), mode="linear"), opset=9)


def resize_crop(g):
    return g.Resize(
        g.input,
        np.array([0, 0, 0.2, 0.1, 1, 1, 0.8, 1.2], np.float32),
        np.array([1, 1, 1.5, 2], np.float32),
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=0.5,
    )


def wholes():
    """What concerns the graph and no one operator."""
    plain = (3, 4, 2)
    case("several_outputs", plain, several_outputs)
    case("output_is_read", plain, read_and_output)
    case("output_twice_from_one", plain, lambda g: [g.Identity(g.input), g.Relu(g.input)])
    case("output_with_the_batch_inside", plain, lambda g: g.Transpose(g.Relu(g.input), perm=[1, 0, 2, 3]))
    case("output_of_rank_one", plain, lambda g: g.ReduceMean(g.input, axes=[1, 2, 3], keepdims=0))
    case("output_of_rank_five", plain, lambda g: g.Unsqueeze(g.Relu(g.input), [1]))
    case("output_is_whole_numbers", plain, lambda g: g.ArgMax(g.input, axis=1, keepdims=0))
    case("output_of_map", plain, lambda g: g.ArgMax(g.Conv(g.input, g.weight(5, 3, 1, 1)), axis=1))
    case("input_of_rank_one_item", (6,), lambda g: g.Gemm(g.input, g.weight(6, 3), g.weight(3)))
    case("input_without_item_axes", (), lambda g: g.Mul(g.Unsqueeze(g.input, [1]), g.weight(3)))
    case("dead_nodes", plain, dead_nodes)
    case("nodes_without_names", plain, nodes_without_names)
    case("weight_standardised", plain, weight_standardised, opset=14)
    case("strided_view_of_items", plain, strided_view_of_items, opset=18)
    case("fixed_batch", plain, lambda g: g.Gemm(g.Flatten(g.Relu(g.input)), g.weight(24, 5), g.weight(5)), batch=1)
    case("fixed_batch_reshape", plain, lambda g: g.Reshape(g.Relu(g.input), [1, 24]), batch=1)
    case("fixed_batch_reshape_without_batch", plain, lambda g: g.Reshape(g.Transpose(g.Reshape(g.input, [3, 8]), perm=[1, 0]), [1, 24]), batch=1)
    case("function_of_the_model", plain, lambda g: g.Mul(g.Sigmoid(g.input), g.input))
    case("conditional_on_constant", plain, conditional_on_constant)
    case("as_mxnet_exports", (3, 8, 8), as_mxnet_exports, opset=8)
    case("as_paddle_exports", (3, 8, 8), as_paddle_exports, opset=9)
    case("as_tf2onnx_exports", (8, 8, 3), as_tf2onnx_exports, opset=13)
    case("as_old_torch_exports", (3, 8, 8), as_old_torch_exports, opset=7)
    case("ops_of_microsoft", plain, lambda g: g.Gelu(g.input, domain="com.microsoft"))


def as_mxnet_exports(g):
    """Normalisation of the input by a batch norm whose scale is fixed, dropout with its mask, shapes as initialisers."""
    fixed = [np.ones(3, np.float32), g.weight(3), g.weight(3), g.positive(3)]
    x = g.BatchNormalization(g.input, *fixed, epsilon=2e-5, momentum=0.9, spatial=1)
    x = g.Conv(x, g.weight(4, 3, 3, 3), kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2], dilations=[1, 1], group=1)
    x = g.LeakyRelu(batch_norm(g, x, 4, epsilon=2e-5, momentum=0.9, spatial=1), alpha=0.25)
    x = g.Dropout(g.PRelu(x, g.positive(4, 1, 1)), ratio=0.4, n_outputs=2)[0]
    x = g.Pad(x, mode="constant", pads=[0, 0, 1, 1, 0, 0, 1, 1], value=0.0)
    x = g.MaxPool(x, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 0, 0])
    x = g.Concat(x, g.Upsample(g.GlobalAveragePool(x), mode="nearest", scales=[1.0, 1.0, 2.0, 2.0]), axis=1)
    x = g.Reshape(g.Slice(x, axes=[1], starts=[1], ends=[7]), [0, -1])
    return g.Softmax(g.Gemm(g.Flatten(x), g.weight(5, 24), g.weight(5), alpha=1.0, beta=1.0, transA=0, transB=1), axis=1)


def as_paddle_exports(g):
    """Shapes that are computed from the input's in other types, weights behind casts."""
    weight = g.Cast(g.constant(g.random.standard_normal((4, 3, 3, 3))), to=TensorProto.FLOAT)
    x = g.Relu(g.Conv(g.input, weight, pads=[1, 1, 1, 1], strides=[1, 1]))
    x = g.Upsample(x, np.array([1, 1, 2, 2], np.float32), mode="linear")
    x = g.AveragePool(x, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0], count_include_pad=0)
    scale = g.Unsqueeze(g.Cast(g.positive(4), to=TensorProto.FLOAT), axes=[0])
    x = g.Mul(x, g.Unsqueeze(g.Sigmoid(scale), axes=[2, 3]))
    shape = g.Cast(g.Shape(x), to=TensorProto.INT32)
    batch = g.Slice(g.Cast(shape, to=TensorProto.INT64), axes=[0], starts=[0], ends=[1])
    x = g.Reshape(g.ReduceMean(x, axes=[2, 3], keepdims=1), g.Concat(batch, [-1], axis=0))
    return g.Softmax(g.Add(g.MatMul(x, g.weight(4, 5)), g.weight(5)), axis=-1)


def as_tf2onnx_exports(g):
    """The channels of pictures last, turned around each convolution, and padding that is a node of its own."""
    x = g.Transpose(g.Sub(g.Div(g.input, 127.5), np.array(1.0, np.float32)), perm=[0, 3, 1, 2])
    x = g.Pad(x, [0, 0, 0, 0, 0, 0, 1, 1])
    x = g.Conv(x, g.weight(4, 3, 3, 3), strides=[2, 2], auto_pad="VALID")
    x = g.Transpose(g.Clip(batch_norm(g, x, 4), 0.0, 6.0), perm=[0, 2, 3, 1])
    x = g.Add(g.Mul(x, g.weight(4)), g.weight(4))
    x = g.Conv(g.Transpose(x, perm=[0, 3, 1, 2]), g.weight(4, 1, 3, 3), group=4, auto_pad="SAME_UPPER")
    x = g.ReduceMean(g.Transpose(x, perm=[0, 2, 3, 1]), axes=[1, 2], keepdims=0)
    return g.Softmax(g.Add(g.MatMul(x, g.weight(4, 5)), g.weight(5)))


def as_old_torch_exports(g):
    """Before shapes were tensors of their own: constants everywhere, and a view by `x.size(0)`."""
    x = g.Conv(g.input, g.weight(4, 3, 3, 3), g.weight(4), dilations=[1, 1], group=1, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    x = g.MaxPool(g.Relu(batch_norm(g, x, 4, epsilon=1e-5, momentum=0.9)), kernel_shape=[2, 2], pads=[0, 0, 0, 0], strides=[2, 2])
    items = g.Unsqueeze(g.Gather(g.Shape(x), 0, axis=0), axes=[0])
    x = g.Reshape(x, g.Concat(items, g.Unsqueeze(-1, axes=[0]), axis=0))
    return g.LogSoftmax(g.Gemm(g.Dropout(x, ratio=0.5), g.weight(5, 16), g.weight(5), alpha=1.0, beta=1.0, transB=1), axis=1)


def several_outputs(g):
    features = g.Relu(g.Conv(g.input, g.weight(4, 3, 3, 2), g.weight(4)))
    pooled = g.Flatten(g.GlobalAveragePool(features))
    return [features, g.Gemm(pooled, g.weight(4, 2), g.weight(2)), g.Softmax(g.Gemm(pooled, g.weight(4, 3))), pooled]


def read_and_output(g):
    inner = g.Relu(g.Conv(g.input, g.weight(3, 3, 1, 1), g.weight(3)))
    return [inner, g.Conv(inner, g.weight(2, 3, 1, 1))]


def dead_nodes(g):
    g.Conv(g.input, g.weight(2, 3, 1, 1))
    return g.Relu(g.input)


def nodes_without_names(g):
    out = g.Relu(g.Conv(g.input, g.weight(2, 3, 1, 1)))
    for node in g.nodes:
        node.name = ""
    return out


def weight_standardised(g):
    """As the legacy exporter writes it: batch norm in training mode, on a weight."""
    weight = g.weight(4, 3, 2, 2)
    scale, mean, variance = g.weight(4), np.zeros(4, np.float32), np.ones(4, np.float32)
    normed = g.BatchNormalization(
        g.Reshape(weight, [1, 4, -1]), scale, np.zeros(4, np.float32), mean, variance,
        epsilon=1e-6, training_mode=1, n_outputs=3,
    )[0]  # fmt: skip
    return g.Conv(g.input, g.Reshape(normed, g.Shape(weight)))


def strided_view_of_items(g):
    """As the new exporter writes a mean over an image whose channels come last."""
    flat = g.Reshape(g.ReduceMean(g.input, [-1, -2]), [-1])
    items = g.Squeeze(g.Shape(g.input, start=0, end=1))
    first = g.Unsqueeze(g.Mul(g.Range(np.array(0), items, np.array(1)), 3), [1, 2, 3])
    return g.Gather(flat, g.Add(first, np.arange(3).reshape(1, 3, 1, 1)), axis=0)


def conditional_on_constant(g):
    """Exporters leave such an `If` where a squeeze depends on a shape that is known."""
    branches = {}
    for name, operator in [("then_branch", "Relu"), ("else_branch", "Neg")]:
        output = helper.make_tensor_value_info(f"{name}_output", TensorProto.FLOAT, None)
        node = helper.make_node(operator, [g.input], [f"{name}_output"])
        branches[name] = helper.make_graph([node], name, [], [output])
    condition = g.Equal(g.Gather(g.Shape(g.input), 1, axis=0), 3)
    return g.If(condition, **branches)


def inputs_of(g, shape, element, low, high, batch):
    n_items = N_ITEMS if batch == "N" else batch
    if low is None:
        return g.random.standard_normal((n_items, *shape)).astype(element)
    return g.random.uniform(low, high, (n_items, *shape)).astype(element)


def write(name):
    shape, build, opset, element, low, high, batch = CASES[name]
    g = Graph(name, shape, element, batch)
    outputs = build(g)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    model = g.model(outputs, opset)
    inputs = inputs_of(g, shape, element, low, high, batch)
    found = session(model).run(None, {"input": inputs})
    stated(model, outputs, found, len(inputs) if batch == "N" else None)
    onnx.save(model, FOLDER / f"{name}.onnx")
    record(FOLDER / f"{name}.safetensors", inputs, found)
    return disagreement(model, inputs, found)


def disagreement(model, inputs, found):
    """Where the specification's own reference says otherwise, one of the two must be looked at."""
    from onnx.reference import ReferenceEvaluator

    try:
        onnx.checker.check_model(model, full_check=True)
        expected = ReferenceEvaluator(model).run(None, {"input": inputs})
    except Exception as error:  # It lacks operators, and old versions of some.
        return f"no reference: {str(error).splitlines()[0][:100]}"
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        b = np.asarray(b)
        if a.shape != b.shape:
            return f"output {i}: shape {a.shape} or {b.shape}"
        if not np.isfinite(a).all():
            return f"output {i}: not finite"
        difference = np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0)
        if difference > 1e-5 * max(1.0, np.abs(a).max(initial=0)):
            return f"output {i}: {difference} from the reference"
    return ""


def main(prefixes):
    for family in [
        convolutions, poolings, norms, activations, products, elementwise, arrangement, shapes, reductions, resizes, wholes,
    ]:  # fmt: skip
        family()
    FOLDER.mkdir(exist_ok=True)
    names = [name for name in CASES if not prefixes or name.startswith(tuple(prefixes))]
    for name in names:
        try:
            remark = write(name)
        except Exception as error:
            remark = f"FAILED {str(error)[:300]}"
        if remark:
            print(f"{name}: {remark}")
    if not prefixes:
        for path in FOLDER.iterdir():
            if path.name.split(".")[0] not in CASES:
                path.unlink()
    print(f"{len(names)} cases")


if __name__ == "__main__":
    main(sys.argv[1:])
