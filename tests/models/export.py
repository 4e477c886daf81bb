"""Networks with seeded random weights, and how PyTorch's two exporters write them.

The weights come from no network: they are drawn so that activations stay of order one, as a trained network's do, and
so that no part of the network is a constant or does nothing.
"""

import io
import contextlib
import logging
import math
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from graph import SEED, session

torch.set_num_threads(1)
warnings.filterwarnings("ignore")
logging.getLogger("torch.onnx").setLevel(logging.ERROR)

# Batches that batch norm sees before it is frozen, and items in each. Fewer do for large networks.
CALIBRATION = (3, 8)


def seeded(name):
    """A generator of its own for each network, so that a new one moves no other."""
    return torch.Generator().manual_seed(int.from_bytes(name.encode(), "little") % 2**61 + SEED)


def images(name, n_items, shape):
    """Inputs like pictures: coarse structure under noise, of mean zero and deviation one."""
    generator = seeded(name + " images")
    coarse = torch.randn(n_items, shape[0], 4, 4, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=tuple(shape[1:]), mode="bilinear", align_corners=False)
    return (smooth + 0.3 * torch.randn(n_items, *shape, generator=generator)) / 0.75


def enliven(name, model, shape, calibration=CALIBRATION):
    """Draws every parameter anew and calibrates batch norm; the model is in evaluation mode afterwards.

    Initial values would hide faults: layer scales of 1e-6 switch blocks off, biases of zero and norms of one are
    neutral, and attention over position tables of zero is uniform.
    """
    generator = seeded(name)

    def normal(parameter, deviation, mean=0.0):
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * deviation + mean)

    with torch.no_grad():
        for key, parameter in model.named_parameters():
            last = key.rsplit(".", 1)[-1]
            if "bias" in last and parameter.ndim == 1:
                normal(parameter, 0.1)
            elif parameter.ndim >= 2 and "weight" in last:
                fan_in = parameter[0].numel()
                normal(parameter, math.sqrt((2 if parameter.ndim == 4 else 1) / fan_in))
            elif parameter.ndim == 1 or "gamma" in last or "scale" in last:
                normal(parameter, 0.1, mean=0.5 if "gamma" in key or "scale" in last else 1.0)
            else:
                normal(parameter, 0.5)
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        if norms:
            calibrate(name, model, norms, shape, *calibration)
    return model.eval()


def calibrate(name, model, norms, shape, n_batches, n_items):
    """Lets batch norm see random batches, as training does, and average what it saw."""
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for i in range(n_batches):
        model(images(f"{name} calibration {i}", n_items, shape))


def write(model, path, exporter, opset, example, fixed=False, external=False, folded=True):
    """Exports by one of PyTorch's exporters: `legacy` traces to TorchScript, `dynamo` captures the program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # An exporter that sees one item may take the batch axis for a constant.
    example = example[:1] if fixed else example[:2]
    batch = {"input": {0: "batch"}}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if exporter == "legacy":
            torch.onnx.export(
                model, (example,), path, dynamo=False, opset_version=opset, input_names=["input"],
                dynamic_axes=None if fixed else batch, do_constant_folding=folded,
                training=torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE,
            )  # fmt: skip
        else:
            # By position: models name their argument as they like.
            dynamic = None if fixed else ({0: torch.export.Dim("batch")},)
            torch.onnx.export(
                model, (example,), path, dynamo=True, opset_version=opset, input_names=["input"],
                dynamic_shapes=dynamic, external_data=external, optimize=folded, verbose=False,
            )  # fmt: skip
    tidy(path, external)


def tidy(path, external):
    """Takes the exporting machine's paths out of the file: the new exporter notes for each node who called whom."""
    model = onnx.load(path)
    for node in nodes_of(model):
        kept = [entry for entry in node.metadata_props if "stack_trace" not in entry.key]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    if external:
        data = f"{path.name}.data"
        path.with_name(data).unlink(missing_ok=True)
        onnx.save(model, path, save_as_external_data=True, location=data, size_threshold=256)
    else:
        onnx.save(model, path)


def without_notes(path):
    """Takes out all that the new exporter says about where a node came from: more bytes than a small network."""
    model = onnx.load(path, load_external_data=False)
    for noted in [model.graph, *nodes_of(model), *model.graph.value_info, *model.graph.input, *model.graph.output]:
        del noted.metadata_props[:]
        noted.doc_string = ""
    onnx.save(model, path)


def short_names(path):
    """Numbers the values and nodes of a file; its inputs and outputs keep their names."""
    model = onnx.load(path, load_external_data=False)
    kept = {value.name for value in [*model.graph.input, *model.graph.output]} | {""}
    names = {}

    def short(name):
        return name if name in kept else names.setdefault(name, f"v{len(names)}")

    for i, node in enumerate(model.graph.node):
        node.name = f"n{i}"
        for side in [node.input, node.output]:
            side[:] = [short(name) for name in side]
    for named in [*model.graph.initializer, *model.graph.value_info]:
        named.name = short(named.name)
    onnx.save(model, path)


def nodes_of(model):
    return [*model.graph.node, *(node for function in model.functions for node in function.node)]


def answers(path, inputs, fixed=False):
    """ONNX Runtime's outputs, from one batch, or item by item where the batch is fixed."""
    run = session(Path(path))
    name = run.get_inputs()[0].name
    inputs = inputs.numpy()
    if not fixed:
        return run.run(None, {name: inputs})
    rows = [run.run(None, {name: inputs[i : i + 1]}) for i in range(len(inputs))]
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def separation(scores):
    """How far the best score is above the second, as a share of the spread: what top 1 can be compared by."""
    ordered = np.sort(scores.reshape(len(scores), -1), axis=1)
    return float(((ordered[:, -1] - ordered[:, -2]) / (ordered[:, -1] - ordered[:, 0] + 1e-30)).min())
