"""Makes `refused/`: ONNX files that must be refused when they are loaded, each for a reason of its own.

    python refused.py

The text beside each file lists, line by line, what the message has to contain. Most of these files are valid; ONNX
Runtime has no say here.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from graph import Graph

FOLDER = Path(__file__).parent / "refused"
CASES = {}


def case(name, build, *needles, opset=17, shape=(3, 4, 4), element=np.float32, batch="N", change=None):
    """`change` gets the finished file: for what no builder would write."""
    assert name not in CASES
    CASES[name] = (build, needles, opset, shape, element, batch, change)


def conv(g, *weight, **attributes):
    return g.Conv(g.input, g.weight(*weight), **attributes)


def interfaces():
    def two_inputs(g):
        g.inputs.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, ["N", 3, 4, 4]))
        return g.Add(g.input, "second")

    case("two_inputs", two_inputs, "`input`", "`second`", "takes one")
    case("input_is_text", lambda g: g.Identity(g.input), "input", "string", element=np.dtype("O"))
    case("input_is_complex", lambda g: g.Identity(g.input), "input", "complex", element=np.complex64)
    case("input_of_free_size", lambda g: g.Relu(g.input), "height", "width", shape=(3, "height", "width"))
    case("input_without_shape", lambda g: g.Relu(g.input), "input", "shape", change=without_shape)
    case("input_without_axes", lambda g: g.Relu(g.input), "input", "axes", change=without_axes)
    case("input_batch_of_four", lambda g: g.Reshape(g.input, [2, 96]), "input", "4", batch=4)
    case("no_output", lambda g: g.Relu(g.input), "output", change=lambda m: m.graph.ClearField("output"))
    case("no_graph", lambda g: g.Relu(g.input), "graph", change=lambda m: m.ClearField("graph"))
    case("output_from_nowhere", lambda g: g.Relu(g.input), "nowhere", change=output_from_nowhere)
    case("opset_of_tomorrow", lambda g: g.Relu(g.input), "opset", "99", change=lambda m: set_opset(m, 99))
    case("opset_of_long_ago", lambda g: g.Relu(g.input), "opset", "3", change=lambda m: set_opset(m, 3))
    case("no_opset", lambda g: g.Relu(g.input), "operator set", change=lambda m: m.ClearField("opset_import"))


def without_shape(model):
    model.graph.input[0].type.tensor_type.ClearField("shape")


def without_axes(model):
    model.graph.input[0].type.tensor_type.shape.ClearField("dim")


def output_from_nowhere(model):
    model.graph.output[0].name = "nowhere"


def set_opset(model, version):
    model.opset_import[0].version = version


def operators():
    case("unknown_operator", lambda g: g.Frobnicate(g.input), "`Frobnicate`", "`node_0`")
    case("unknown_domain", lambda g: g.Relu(g.input, domain="com.example"), "`com.example.Relu`", "`node_0`")
    case(
        "several_unknown_operators",
        lambda g: g.Relu(g.Grind(g.Sift(g.Sieve(g.input)))),
        "`Sieve`",
        "`Sift`",
        "`Grind`",
        "`node_0`",
        "`node_1`",
        "`node_2`",
    )
    case("recurrent", recurrent, "`LSTM`")
    case("loop", loop, "`Loop`")
    case("depends_on_data", lambda g: g.NonZero(g.input), "`NonZero`")
    case("top_hundred", lambda g: g.TopK(g.Flatten(g.input), np.array([40]), n_outputs=2)[0], "`TopK`", "40", "router")
    case("random", lambda g: g.Add(g.input, g.RandomNormalLike(g.input)), "`RandomNormalLike`")
    case("quantised", quantised, "`QuantizeLinear`")
    case("condition_on_data", condition_on_data, "`If`", batch=1)
    case("unknown_mode", lambda g: g.Pad(g.input, [0] * 8, mode="blend"), "`node_0`", "mode", "`blend`")
    case("unknown_attribute", lambda g: conv(g, 2, 3, 1, 1, sharpen=1), "`node_0`", "sharpen")
    case("conv_auto_pad_cuts", lambda g: conv(g, 3, 3, 1, 1, auto_pad="SAME_UPPER", strides=[4, 4]), "auto_pad", "pads", shape=(3, 16, 16))
    case("attribute_of_wrong_type", lambda g: conv(g, 2, 3, 1, 1, group=1.5), "`node_0`", "group")
    case("weight_computed_from_input", lambda g: g.Conv(g.input, g.Relu(g.input)), "`node_1`", "weight", batch=1)
    case("mixes_the_batch", lambda g: g.Sub(g.input, g.ReduceMean(g.input, axes=[0])), "batch", "`node_0`")
    case("batch_is_summed_away", lambda g: g.ReduceMean(g.input, keepdims=0), "batch")
    case("takes_the_first_item", lambda g: g.Gather(g.input, 0, axis=0), "batch")


def recurrent(g):
    sequence = g.Transpose(g.Reshape(g.input, [0, 12, 4]), perm=[1, 0, 2])
    return g.Transpose(g.LSTM(sequence, g.weight(1, 8, 4), g.weight(1, 8, 2), hidden_size=2), perm=[2, 0, 1, 3])


def loop(g):
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Relu", ["carried"], ["next"]), helper.make_node("Identity", ["keep"], ["kept"])],
        "body",
        [info("i", TensorProto.INT64, []), info("keep", TensorProto.BOOL, []), info("carried", TensorProto.FLOAT, None)],
        [info("kept", TensorProto.BOOL, []), info("next", TensorProto.FLOAT, None)],
    )
    return g.Loop(np.array(3), np.array(True), g.input, body=body)


def quantised(g):
    zero = np.array(0, np.uint8)
    return g.DequantizeLinear(g.QuantizeLinear(g.input, np.array(0.1, np.float32), zero), np.array(0.1, np.float32), zero)


def condition_on_data(g):
    branches = {}
    for name, operator in [("then_branch", "Relu"), ("else_branch", "Neg")]:
        output = helper.make_tensor_value_info(f"{name}_output", TensorProto.FLOAT, None)
        branches[name] = helper.make_graph(
            [helper.make_node(operator, [g.input], [f"{name}_output"])], name, [], [output]
        )
    return g.If(g.Greater(g.ReduceSum(g.input, keepdims=0), 0.0), **branches)


def wrong_shapes():
    case("conv_channels", lambda g: conv(g, 2, 5, 1, 1), "`node_0`", "3", "5")
    case("conv_groups", lambda g: conv(g, 4, 1, 1, 1, group=2), "`node_0`", "group")
    case("conv_group_of_zero", lambda g: conv(g, 4, 1, 1, 1, group=0), "`node_0`", "group")
    case("conv_negative_group", lambda g: conv(g, 4, 1, 1, 1, group=-1), "`node_0`", "group")
    case("conv_stride_of_zero", lambda g: conv(g, 2, 3, 1, 1, strides=[0, 1]), "`node_0`", "stride")
    case("conv_negative_dilation", lambda g: conv(g, 2, 3, 2, 2, dilations=[-1, 1]), "`node_0`", "dilation")
    case("conv_kernel_shape_differs", lambda g: conv(g, 2, 3, 1, 1, kernel_shape=[3, 3]), "`node_0`", "kernel")
    case("conv_kernel_larger_than_image", lambda g: conv(g, 2, 3, 5, 5), "`node_0`")
    case("conv_kernel_of_no_size", lambda g: conv(g, 2, 3, 0, 1), "`node_0`")
    case("conv_pads_of_wrong_number", lambda g: conv(g, 2, 3, 1, 1, pads=[1, 1]), "`node_0`", "pads")
    case("conv_bias", lambda g: g.Conv(g.input, g.weight(2, 3, 1, 1), g.weight(5)), "`node_0`", "bias")
    case("conv_of_flat", lambda g: g.Conv(g.Flatten(g.input), g.weight(2, 3, 1, 1)), "`node_1`")
    case("conv_result_too_large", lambda g: conv(g, 2, 3, 1, 1, pads=[2**20] * 4), "`node_0`")
    case("conv_pads_overflow", lambda g: conv(g, 2, 3, 1, 1, pads=[2**62] * 4), "`node_0`")
    case("pool_kernel_of_zero", lambda g: g.MaxPool(g.input, kernel_shape=[0, 1]), "`node_0`", "kernel")
    case("pool_pads_as_wide_as_kernel", lambda g: g.MaxPool(g.input, kernel_shape=[2, 2], pads=[2, 2, 2, 2]), "`node_0`")
    case("pool_without_kernel", lambda g: g.MaxPool(g.input), "`node_0`", "kernel_shape")
    case("batch_norm_channels", batch_norm_channels, "`node_0`", "3")
    case("gemm_shapes", lambda g: g.Gemm(g.Flatten(g.input), g.weight(7, 2)), "`node_1`", "48", "7")
    case("mat_mul_shapes", lambda g: g.MatMul(g.input, g.weight(5, 2)), "`node_0`", "4", "5")
    case("add_shapes", lambda g: g.Add(g.input, g.weight(3)), "`node_0`", "4", "3")
    case("concat_shapes", lambda g: g.Concat(g.input, g.Slice(g.input, [0], [2], [2]), axis=1), "`node_1`")
    case("concat_axis", lambda g: g.Concat(g.input, g.input, axis=4), "`node_0`", "axis")
    case("reshape_counts", lambda g: g.Reshape(g.input, [0, 47]), "`node_0`", "47")
    case("reshape_two_unknown", lambda g: g.Reshape(g.input, [0, -1, -1]), "`node_0`")
    case("reshape_below_minus_one", lambda g: g.Reshape(g.input, [0, -48]), "`node_0`")
    case("reshape_overflow", lambda g: g.Reshape(g.input, [2**40, 2**40]), "`node_0`")
    case("reshape_by_input", lambda g: g.Reshape(g.input, g.Cast(g.input, to=TensorProto.INT64)), "`node_1`")
    case("transpose_twice_one_axis", lambda g: g.Transpose(g.input, perm=[0, 1, 1, 3]), "`node_0`", "perm")
    case("transpose_beyond", lambda g: g.Transpose(g.input, perm=[0, 1, 2, 4]), "`node_0`", "axis 4")
    case("gather_beyond", lambda g: g.Gather(g.input, 3, axis=1), "`node_0`", "3")
    case("split_sum", lambda g: g.Split(g.input, [1, 1], axis=1, n_outputs=2)[0], "`node_0`")
    case("squeeze_of_three", lambda g: g.Squeeze(g.input, [1]), "`node_0`")
    case("slice_step_of_zero", lambda g: g.Slice(g.input, [0], [2], [1], [0]), "`node_0`", "step")
    case("pad_below_nothing", lambda g: g.Pad(g.input, [0, 0, -3, 0, 0, 0, -2, 0]), "`node_0`")
    case("pad_reflects_too_far", lambda g: g.Pad(g.input, [0, 0, 4, 0, 0, 0, 0, 0], mode="reflect"), "`node_0`")
    case("expand_shapes", lambda g: g.Expand(g.input, [2, 1, 1]), "`node_0`")
    case("resize_by_zero", lambda g: g.Resize(g.input, None, np.array([1, 1, 0, 1], np.float32)), "`node_0`")
    case("resize_too_large", lambda g: g.Resize(g.input, None, np.array([1, 1, 1e9, 1e9], np.float32)), "`node_0`")
    case("depth_to_space_block", lambda g: g.DepthToSpace(g.input, blocksize=2), "`node_0`", "3")
    case("einsum_unknown_axis", lambda g: g.Einsum(g.input, equation="bchw->bcx"), "`node_0`", "x")
    case("constant_of_shape_huge", lambda g: g.Mul(g.ConstantOfShape([2**20, 2**20]), g.ReduceSum(g.input)), "`node_0`")
    case("range_endless", range_endless, "`node_0`")
    case("tile_huge", lambda g: g.Tile(g.input, [1, 2**30, 2**30, 1]), "`node_0`")
    case("too_few_inputs", lambda g: g.Conv(g.input), "`node_0`")
    case("too_many_outputs", lambda g: g.Relu(g.input, n_outputs=3)[2], "`node_0`")


def range_endless(g):
    numbers = g.Range(np.array(0), np.array(2**62), np.array(1))
    return g.Mul(g.ReduceMean(g.input, axes=[1, 2, 3]), g.Cast(numbers, to=TensorProto.FLOAT))


def batch_norm_channels(g):
    return g.BatchNormalization(g.input, g.positive(4), g.weight(4), g.weight(4), g.positive(4))


def broken_files():
    case("cycle", lambda g: g.Relu(g.input), "node_0", change=cycle)
    case("reads_what_nobody_makes", lambda g: g.Add(g.input, "ghost"), "`ghost`")
    case("made_twice", lambda g: g.Relu(g.Relu(g.input)), "relu_0", change=made_twice)
    case("weight_too_short", lambda g: conv(g, 2, 3, 1, 1), "constant_0", change=weight_too_short)
    case("weight_too_long", lambda g: conv(g, 2, 3, 1, 1), "constant_0", change=weight_too_long)
    case("weight_of_negative_size", lambda g: conv(g, 2, 3, 1, 1), "constant_0", change=lambda m: dims(m, [-2, 3, 1, 1]))
    case("weight_of_ten_gigabytes", lambda g: conv(g, 2, 3, 1, 1), "constant_0", change=lambda m: dims(m, [2**30, 3, 1, 1]))
    case("weight_whose_size_overflows", lambda g: conv(g, 2, 3, 1, 1), "constant_0", change=lambda m: dims(m, [2**62, 2**62, 1, 1]))
    case("weight_of_unknown_type", lambda g: conv(g, 2, 3, 1, 1), "constant_0", change=weight_of_unknown_type)
    case("weight_outside_the_folder", lambda g: conv(g, 2, 3, 1, 1), "../secret", change=lambda m: external(m, "../secret"))
    case("weight_of_another_root", lambda g: conv(g, 2, 3, 1, 1), "/etc/hostname", change=lambda m: external(m, "/etc/hostname"))
    case("weight_file_missing", lambda g: conv(g, 2, 3, 1, 1), "missing.bin", change=lambda m: external(m, "missing.bin"))
    case("weight_beyond_its_file", lambda g: conv(g, 2, 3, 1, 1), "weight_beyond_its_file.txt", change=lambda m: external(m, "weight_beyond_its_file.txt", 2**40))


def cycle(model):
    model.graph.node[0].input[0] = model.graph.node[0].output[0]


def made_twice(model):
    model.graph.node[1].output[0] = model.graph.node[0].output[0]
    model.graph.output[0].name = model.graph.node[0].output[0]


def weight_too_short(model):
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-1]


def weight_too_long(model):
    model.graph.initializer[0].raw_data += b"\0\0\0\0"


def dims(model, shape):
    model.graph.initializer[0].dims[:] = shape


def weight_of_unknown_type(model):
    model.graph.initializer[0].data_type = 77


def external(model, location, offset=0):
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in [("location", location), ("offset", str(offset)), ("length", "24")]:
        weight.external_data.add(key=key, value=value)


def main():
    for family in [interfaces, operators, wrong_shapes, broken_files]:
        family()
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        path.unlink()
    for name, (build, needles, opset, shape, element, batch, change) in CASES.items():
        g = Graph(name, shape, element, batch)
        model = g.model([build(g)], opset)
        for output in model.graph.output:
            output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, None))
        if change:
            change(model)
        (FOLDER / f"{name}.onnx").write_bytes(model.SerializeToString())
        (FOLDER / f"{name}.txt").write_text("".join(f"{needle}\n" for needle in needles))
    print(f"{len(CASES)} cases")


if __name__ == "__main__":
    main()
