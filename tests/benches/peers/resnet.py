"""Makes a ResNet-18 of torchvision with drawn weights, and says what ONNX Runtime makes of some pictures with it.

    python resnet.py MODEL.onnx FOLDER LABELS.json

`LABELS.json` has a list for each picture of the folder, in the order of their names: the classes with the highest score, and
those that come so near that a decoder which rounds otherwise may put them first.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image
from torchvision import models

SEED = 18
# What pictures are normalised with before a network of ImageNet.
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
# Of the distance from the mean score to the highest.
NEAR = 0.05


def network(pictures):
    """Weights as they are before training, and batch norm that has seen the pictures: activations stay of order one."""
    torch.manual_seed(SEED)
    net = models.resnet18(weights=None)
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    with torch.no_grad():
        net.train()(torch.from_numpy(pictures))
    return net.eval()


def export(net, path):
    # The exporter that needs no package beside `onnx` says that it is the older one.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    example = torch.zeros(2, 3, 224, 224)
    names = {"input_names": ["input"], "output_names": ["scores"]}
    axes = {"input": {0: "batch"}, "scores": {0: "batch"}}
    torch.onnx.export(net, (example,), path, dynamo=False, opset_version=17, dynamic_axes=axes, **names)


def read(path):
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    return ((pixels - MEAN) / STD).transpose(2, 0, 1)


def best(scores, labels):
    highest = scores.max()
    return [labels[index] for index in np.flatnonzero(scores >= highest - NEAR * (highest - scores.mean()))]


def main():
    model, folder, found = sys.argv[1:]
    torch.set_num_threads(1)
    pictures = np.stack([read(path) for path in sorted(Path(folder).glob("*.jpg"))])
    export(network(pictures), model)
    labels = models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    (scores,) = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"input": pictures})
    Path(found).write_text(json.dumps([best(row, labels) for row in scores]))


if __name__ == "__main__":
    main()
