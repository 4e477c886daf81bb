"""Writes a small ONNX graph node by node, and records what ONNX Runtime makes of it.

A case is an ONNX file and, beside it, a safetensors file with the tensors `input`, `output.0`, `output.1` and so on.
The name of the latter is that of the former up to its first full stop: several exports of a network share one.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

# What `inputs` and weights are drawn from. A case's own name is part of its seed: a new case moves no other.
SEED = 20_260_101

# ONNX Runtime refuses files of a newer version than it knows; every opset here has had this one for years.
IR_VERSION = 8


class Graph:
    """A graph under construction: `graph.Conv(x, w, group=2)` adds a node and answers the names of its outputs."""

    def __init__(self, name, shape, element=np.float32, batch="N"):
        self.name = name
        self.random = np.random.default_rng([SEED, *name.encode()])
        self.nodes = []
        self.initializers = []
        self.inputs = [
            helper.make_tensor_value_info("input", helper.np_dtype_to_tensor_dtype(np.dtype(element)), [batch, *shape])
        ]
        self.input = "input"

    def __getattr__(self, operator):
        if not operator[0].isupper():
            raise AttributeError(operator)

        def add(*inputs, n_outputs=1, domain="", **attributes):
            position = len(self.nodes)
            outputs = [f"{operator.lower()}_{position}" + (f"_{i}" if i else "") for i in range(n_outputs)]
            names = ["" if x is None else x if isinstance(x, str) else self.constant(x) for x in inputs]
            node = helper.make_node(operator, names, outputs, name=f"node_{position}", domain=domain, **attributes)
            self.nodes.append(node)
            return outputs[0] if n_outputs == 1 else outputs

        return add

    def constant(self, value):
        """An initialiser: whole numbers are int64 and all others float32, but for arrays, which stay what they are."""
        if not isinstance(value, np.ndarray):
            value = np.array(value)
            value = value.astype(np.int64 if value.dtype.kind == "i" or value.size == 0 else value.dtype)
            value = value.astype(np.float32) if value.dtype.kind == "f" else value
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def tensor(self, proto):
        """An initialiser that says how it stores its numbers."""
        self.initializers.append(proto)
        return proto.name

    def weight(self, *shape, scale=1.0):
        return self.constant((self.random.standard_normal(shape) * scale).astype(np.float32))

    def positive(self, *shape):
        return self.constant(self.random.uniform(0.5, 1.5, shape).astype(np.float32))

    def model(self, outputs, opset):
        """The whole file. What its outputs are is not said yet: `stated` adds it."""
        values = [onnx.ValueInfoProto(name=name) for name in outputs]
        graph = helper.make_graph(self.nodes, self.name, self.inputs, values, self.initializers)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", opset)]
            + [helper.make_opsetid(domain, 1) for domain in sorted({node.domain for node in self.nodes} - {""})],
            ir_version=IR_VERSION,
            producer_name="millrace",
        )
        return model


def session(model):
    """ONNX Runtime on one thread. Unoptimised: what an operator says counts, and not what it is fused to."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def stated(model, outputs, found, n_items):
    """The same model with the types and shapes of its outputs, as exporters state them."""
    for value, array in zip(model.graph.output, found, strict=True):
        shape = ["N" if i == 0 and length == n_items else length for i, length in enumerate(array.shape)]
        value.CopyFrom(
            helper.make_tensor_value_info(value.name, helper.np_dtype_to_tensor_dtype(array.dtype), shape)
        )
    return model


def record(path, inputs, outputs):
    """Writes the tensors beside an ONNX file."""
    tensors = {"input": np.ascontiguousarray(inputs)}
    tensors |= {f"output.{i}": np.ascontiguousarray(output) for i, output in enumerate(outputs)}
    save_file(tensors, path)
