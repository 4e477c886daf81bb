"""Writes the model folders that the tests compare with PyTorch: weights, inputs, and PyTorch's own outputs.

Run with PyTorch, NumPy-free: python make.py   (in this folder; the files it writes are committed)
"""

import json
import struct
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(20)
HERE = Path(__file__).resolve().parent


def save_samples(path, inputs, outputs):
    """A safetensors file by hand, so that this script needs PyTorch alone."""
    kinds = {torch.uint8: "U8", torch.float32: "F32"}
    header, data = {}, b""
    for name, tensor in {"input": inputs, "output": outputs}.items():
        raw = bytes(tensor.contiguous().flatten().view(torch.uint8).tolist())
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": kinds[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


class Article(nn.Module):
    """The network of PyTorch's CIFAR-10 tutorial."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        x = torch.relu(self.fc1(x))
        x = torch.relu(self.fc2(x))
        return self.fc3(x)


class Block(nn.Module):
    def __init__(self, channels, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, groups=4, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = F.silu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Residual(nn.Module):
    """Everything that the article's network does not have; float inputs that are not square."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(2)
        self.stem = nn.Conv2d(2, 8, (5, 3), stride=(2, 1), padding=(2, 1), dilation=(1, 1))
        self.pool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)
        self.block1 = Block(8, 8, 1)
        self.block2 = Block(8, 16, 2)
        self.average = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self.adaptive = nn.AdaptiveAvgPool2d((3, 2))
        self.wide = nn.Conv2d(16, 12, 2, dilation=(2, 1))
        self.head = nn.Linear(12, 20)
        self.head_norm = nn.BatchNorm1d(20)
        self.last = nn.Linear(20, 5, bias=False)

    def forward(self, x):
        x = F.gelu(self.stem(self.norm(x)))
        x = self.block2(self.block1(self.pool(x)))
        x = self.adaptive(self.average(x))
        x = F.leaky_relu(self.wide(x), 0.1)
        x = torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
        x = F.gelu(self.head_norm(self.head(x)), approximate="tanh")
        return self.last(F.dropout(x, 0.2, self.training))


class Cats(nn.Module):
    """The example of docs/model-folder.md, letter by letter."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.fc = nn.Linear(32, 2)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.relu(self.conv2(x))
        x = F.adaptive_avg_pool2d(x, 1)
        return self.fc(torch.flatten(x, 1))


def settle(model, shape):
    """Statistics that are not the ones a batch-norm starts with."""
    model.train()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.5, 0.5)
        for _ in range(5):
            model(torch.randn(16, *shape) * 1.5 + 0.3)
    return model.eval()


def article():
    model = Article().eval()
    inputs = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        # As torchvision's ToTensor and Normalize((0.5,) * 3, (0.5,) * 3) do.
        outputs = model((inputs.float() / 255 - 0.5) / 0.5)
    folder = HERE / "article"
    folder.mkdir(exist_ok=True)
    torch.save(model.state_dict(), folder / "cifar_net.pth")
    save_samples(folder / "samples.safetensors", inputs, outputs)


def residual():
    model = settle(Residual(), (2, 21, 18))
    inputs = torch.randn(6, 2, 21, 18)
    with torch.no_grad():
        outputs = model(inputs)
    folder = HERE / "residual"
    folder.mkdir(exist_ok=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.save({"epoch": 3, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}, folder / "checkpoint.pt")
    save_samples(folder / "samples.safetensors", inputs, outputs)


def cats():
    model = settle(Cats(), (3, 64, 64))
    inputs = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        outputs = model((inputs / 255 - mean.view(3, 1, 1)) / deviation.view(3, 1, 1))
    folder = HERE / "cats"
    folder.mkdir(exist_ok=True)
    torch.save({"epoch": 12, "state_dict": model.state_dict()}, folder / "cats.pth")
    save_samples(folder / "samples.safetensors", inputs, outputs)


if __name__ == "__main__":
    article()
    residual()
    cats()
