"""Makes `networks/`: the families of classifiers a few channels wide, by both exporters, with ONNX Runtime's outputs.

    python networks.py [NAME..]
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from timm.layers import GroupNormAct, StdConv2d
from timm.models import resnetv2
from torch import nn
from torchvision import models
from torchvision.models import convnext, efficientnet, maxvit, mobilenetv3, regnet, swin_transformer
from torchvision.models.googlenet import BasicConv2d
from torchvision.models.googlenet import Inception as GoogLeNetBlock
from torchvision.models.inception import BasicConv2d as InceptionConv2d
from torchvision.models.inception import InceptionC
from torchvision.ops import Conv2dNormActivation

from export import answers, enliven, images, separation, short_names, without_notes, write
from graph import record

FOLDER = Path(__file__).parent / "networks"
SHAPE = (3, 32, 32)
N_ITEMS = 2
N_CLASSES = 10

# Exporter, opset, and what else is asked for; the name of the file is made of it.
EXPORTS = {
    "legacy17": ("legacy", 17, {}),
    "dynamo18": ("dynamo", 18, {}),
}
# The legacy exporter names each value after the module that made it, which is most of a small transformer.
LARGE = 50_000
# Of the notes that the new exporter adds to every node, one file keeps some: a reader has to pass them over.
KEEPS_NOTES = {"regnet.dynamo18"}
MORE_EXPORTS = {
    "legacy11": ("legacy", 11, {}),
    "legacy13-unfolded": ("legacy", 13, {"folded": False}),
    "legacy17-fixed": ("legacy", 17, {"fixed": True}),
    "dynamo20-fixed": ("dynamo", 20, {"fixed": True}),
    "dynamo20-external": ("dynamo", 20, {"external": True}),
}


def mobile_net_v2():
    rows = [[1, 8, 1, 1], [3, 80, 2, 2]]
    network = models.MobileNetV2(num_classes=N_CLASSES, width_mult=0.1, inverted_residual_setting=rows)
    # Its last layers do not shrink with the rest.
    network.features[-1] = Conv2dNormActivation(8, 24, kernel_size=1, activation_layer=nn.ReLU6)
    network.classifier[-1] = nn.Linear(24, N_CLASSES)
    return network


def mobile_net_v3():
    row = partial(mobilenetv3.InvertedResidualConfig, width_mult=1.0)
    rows = [
        row(8, 3, 8, 8, True, "RE", 2, 1),
        row(8, 3, 16, 8, False, "HS", 1, 1),
        row(8, 5, 24, 12, True, "HS", 2, 1),
    ]
    return mobilenetv3.MobileNetV3(rows, 24, num_classes=N_CLASSES)


def efficient_net():
    row = partial(efficientnet.MBConvConfig, width_mult=1.0, depth_mult=1.0)
    rows = [row(1, 3, 1, 8, 8, 1), row(3, 5, 2, 8, 12, 2)]
    return efficientnet.EfficientNet(rows, 0.2, num_classes=N_CLASSES, last_channel=24)


def reg_net():
    widths = regnet.BlockParams([1, 1], [8, 16], [4, 4], [1.0, 1.0], [2, 2], se_ratio=0.25)
    return regnet.RegNet(widths, num_classes=N_CLASSES, stem_width=8)


def convnext_net():
    rows = [convnext.CNBlockConfig(8, 16, 1), convnext.CNBlockConfig(16, None, 2)]
    return convnext.ConvNeXt(rows, num_classes=N_CLASSES)


def vit():
    return models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=N_CLASSES
    )


def swin(block=swin_transformer.SwinTransformerBlock, merging=swin_transformer.PatchMerging):
    return models.SwinTransformer(
        patch_size=[2, 2], embed_dim=8, depths=[2, 1], num_heads=[2, 2], window_size=[3, 3], num_classes=N_CLASSES,
        mlp_ratio=2.0, block=block, downsample_layer=merging,
    )  # fmt: skip


def swin_v2():
    network = swin(swin_transformer.SwinTransformerBlockV2, swin_transformer.PatchMergingV2)
    for module in network.modules():
        if hasattr(module, "cpb_mlp"):
            heads = module.cpb_mlp[-1].out_features
            module.cpb_mlp = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, heads, bias=False))
    return network


def max_vit():
    return maxvit.MaxVit(
        input_size=(32, 32), stem_channels=8, partition_size=4, block_channels=[8], block_layers=[1], head_dim=4,
        stochastic_depth_prob=0.0, num_classes=N_CLASSES,
    )  # fmt: skip


class Inception(nn.Module):
    """What GoogLeNet and Inception v3 are made of: branches of asymmetric kernels and poolings, joined."""

    def __init__(self):
        super().__init__()
        self.stem = BasicConv2d(3, 8, kernel_size=3, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.mixed = GoogLeNetBlock(8, 4, 4, 8, 2, 4, 4)
        self.seven = InceptionC(20, channels_7x7=4, conv_block=Narrow)
        self.head = nn.Linear(32, N_CLASSES)

    def forward(self, x):
        # What torchvision does with pictures where its own weights were trained elsewhere.
        channels = [x[:, i : i + 1] * scale + shift for i, (scale, shift) in enumerate([(0.5, 0.1), (0.6, 0.0), (0.7, -0.1)])]
        x = self.seven(self.mixed(self.pool(self.stem(torch.cat(channels, 1)))))
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


class Narrow(InceptionConv2d):
    """Inception's blocks ask for 192 channels; eight do here."""

    def __init__(self, inputs, outputs, **rest):
        super().__init__(inputs, min(outputs, 8), **rest)


class Segmenter(nn.Module):
    """A head that answers with a map of scores, as DeepLab's: dilated branches, an image's mean, a resize."""

    def __init__(self):
        super().__init__()
        from torchvision.models.segmentation.deeplabv3 import ASPP

        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.pyramid = ASPP(8, [2, 4], 8)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        scores = self.head(self.pyramid(self.stem(x)))
        return nn.functional.interpolate(scores, size=x.shape[-2:], mode="bilinear", align_corners=False)


def group_norm_net():
    """Before each convolution its norm, and weights that are standardised whenever they are used."""
    return resnetv2.ResNetV2(
        layers=(1, 1), channels=(16, 16), num_classes=N_CLASSES, stem_chs=8, stem_type="fixed",
        norm_layer=partial(GroupNormAct, num_groups=4), conv_layer=StdConv2d,
    )  # fmt: skip


def timm_net(name, **settings):
    return timm.create_model(name, num_classes=N_CLASSES, **settings)


NETWORKS = {
    "resnet": (lambda: timm_net("resnet18d", channels=(8, 8, 8, 12), layers=(1, 1, 1, 1), stem_width=4), MORE_EXPORTS),
    "resnet_v2": (group_norm_net, {}),
    "mobilenet_v2": (mobile_net_v2, {"legacy9": ("legacy", 9, {})}),
    "mobilenet_v3": (mobile_net_v3, {"legacy11": ("legacy", 11, {})}),
    "shufflenet_v2": (
        lambda: models.ShuffleNetV2([2, 1, 1], [8, 8, 16, 16, 24], num_classes=N_CLASSES),
        {"legacy11": ("legacy", 11, {})},
    ),
    "densenet": (
        lambda: models.DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8, bn_size=2, num_classes=N_CLASSES),
        {},
    ),
    "efficientnet": (efficient_net, {}),
    "regnet": (reg_net, {}),
    "inception": (Inception, {}),
    "convnext": (convnext_net, {"legacy11": ("legacy", 11, {})}),
    "vit": (vit, {"dynamo20-fixed": ("dynamo", 20, {"fixed": True})}),
    "swin": (swin, {"dynamo20-fixed": ("dynamo", 20, {"fixed": True})}),
    "swin_v2": (swin_v2, {}, {"dynamo18"}),
    "maxvit": (max_vit, {}),
    "segmenter": (Segmenter, {"legacy11": ("legacy", 11, {})}),
}


def make(name):
    build, more, *only = NETWORKS[name]
    torch.manual_seed(0)
    model = enliven(name, build(), SHAPE)
    inputs = images(name, N_ITEMS, SHAPE)
    with torch.no_grad():
        expected = model(inputs).numpy()
    first = None
    for label, (exporter, opset, options) in (EXPORTS | more).items():
        if only and label not in only[0]:
            continue
        path = FOLDER / f"{name}.{label}.onnx"
        try:
            write(model, path, exporter, opset, inputs, **options)
            if f"{name}.{label}" not in KEEPS_NOTES:
                without_notes(path)
            if path.stat().st_size > LARGE:
                short_names(path)
            found = answers(path, inputs, fixed=options.get("fixed", False))
        except Exception as error:
            path.unlink(missing_ok=True)
            print(f"{name}.{label}: {type(error).__name__}: {str(error).strip().splitlines()[0][:160]}")
            continue
        difference = np.abs(found[0] - expected).max() / np.abs(expected).max()
        print(f"{name}.{label}: {path.stat().st_size} bytes, {difference:.1e} from PyTorch", flush=True)
        first = first or found
    print(f"{name}: largest {np.abs(expected).max():.2f}, separation {separation(expected):.3f}, rows differ by {np.abs(expected[0]-expected[1]).max():.3f}")
    record(FOLDER / f"{name}.safetensors", inputs.numpy(), first)


if __name__ == "__main__":
    for network in sys.argv[1:] or NETWORKS:
        make(network)
