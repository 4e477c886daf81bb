"""The shipped network in PyTorch, with the weights that Millrace serves, so that all peers compute the same.

    python network.py MODEL.onnx        # writes it for ONNX Runtime: pixels in, scores out, the labels in the metadata
"""

import sys
import tomllib
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

FOLDER = Path(__file__).resolve().parents[3] / "models" / "shapes-lenet"


class LeNet(nn.Module):
    """The layers of `model.toml`. They are the network of PyTorch's CIFAR-10 tutorial."""

    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        x = torch.relu(self.fc1(x))
        x = torch.relu(self.fc2(x))
        return self.fc3(x)


class FromPixels(nn.Module):
    """The network with everything around it: bytes of pictures, rows of pixels, become the scores of the classes."""

    def __init__(self, network, mean, std):
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, pixels):
        x = pixels.permute(0, 3, 1, 2).float() / 255
        return torch.softmax(self.network((x - self.mean) / self.std), dim=1)


def settings():
    """What `model.toml` says."""
    return tomllib.loads((FOLDER / "model.toml").read_text())


def load():
    """The network without softmax, as it was trained, and the names of its classes."""
    labels = settings()["output"]["labels"]
    network = LeNet(len(labels))
    network.load_state_dict(load_file(FOLDER / "weights.safetensors"))
    return network.eval(), labels


def normalisation():
    """Mean and standard deviation, each of the shape [1, channels or 1, 1, 1]."""
    given = settings()["input"]
    return tuple(torch.tensor(given[name]).reshape(1, -1, 1, 1) for name in ("mean", "std"))


def export(path):
    """Writes the network for ONNX Runtime, for batches of any size."""
    import onnx

    network, labels = load()
    pixels = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    names = {"input_names": ["pixels"], "output_names": ["scores"]}
    axes = {"pixels": {0: "batch"}, "scores": {0: "batch"}}
    # The exporter that needs no package beside `onnx` says that it is the older one.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    whole = FromPixels(network, *normalisation()).eval()
    torch.onnx.export(whole, (pixels,), path, dynamo=False, opset_version=17, dynamic_axes=axes, **names)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"labels": "\n".join(labels)})
    onnx.save(model, path)


if __name__ == "__main__":
    export(sys.argv[1])
