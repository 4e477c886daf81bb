"""Makes the zoo: networks of torchvision and timm as people export them, with ONNX Runtime's outputs for 1 and 5 items.

    python zoo.py FOLDER [--exporter legacy|dynamo] [NAME..]

writes FOLDER/EXPORTER/NAME.onnx and, beside it, a safetensors file: `input` (five items), `output.I` (their outputs),
`single.I` (those of the first item alone). What is there already stays.
"""

import argparse
import difflib
import json
import sys
import time
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.numpy import save_file
from torchvision import models

from export import answers, enliven, images, separation, write

N_ITEMS = 5

# What each exporter writes unless a row says otherwise: the usual one of older PyTorch, and the default of this one.
OPSETS = {"legacy": 17, "dynamo": 20}

# Edge of the input by network. Networks that take any size are small here, but for those that many people use.
TORCHVISION = {
    "resnet18": 224, "mobilenet_v2": 224, "mobilenet_v3_small": 224, "efficientnet_b0": 224, "shufflenet_v2_x1_0": 224,
    "squeezenet1_1": 224, "swin_t": 224, "convnext_tiny": 96, "densenet121": 96, "vit_b_16": 224, "googlenet": 96,
    "regnet_y_400mf": 96, "mnasnet1_0": 96, "inception_v3": 128, "resnet50": 224, "mobilenet_v3_large": 224,
    "maxvit_t": 224, "swin_v2_t": 256, "efficientnet_v2_s": 96, "squeezenet1_0": 96, "regnet_x_400mf": 96,
    "resnext50_32x4d": 96, "wide_resnet50_2": 64, "alexnet": 224, "vgg11": 224, "vgg11_bn": 224,
}  # fmt: skip
# Their output is a map of scores.
SEGMENTATION = {
    "lraspp_mobilenet_v3_large": 96, "deeplabv3_mobilenet_v3_large": 96, "fcn_resnet50": 64,
}  # fmt: skip
TIMM = {
    "resnet18d": 96, "resnetv2_50": 64, "resnetv2_50x1_bit": 64, "efficientnet_lite0": 96, "mobilenetv4_conv_small": 96,
    "mobileone_s0": 96, "repvgg_a0": 96, "ghostnet_100": 96, "hrnet_w18_small": 64, "dla34": 64, "dpn68": 96,
    "res2net50_14w_8s": 64, "cspresnet50": 64, "levit_128s": 224, "deit_tiny_patch16_224": 224,
    "vit_tiny_patch16_224": 224, "beit_base_patch16_224": 224, "cait_xxs24_224": 224, "mixer_s32_224": 224,
    "convmixer_768_32": 64, "poolformer_s12": 96, "xcit_nano_12_p16_224": 224, "coatnet_nano_rw_224": 224,
    "efficientformer_l1": 224, "fastvit_t8": 128, "convnextv2_atto": 96, "dm_nfnet_f0": 64, "eca_nfnet_l0": 64,
    "tinynet_e": 96, "edgenext_xx_small": 128, "rexnet_100": 96, "selecsls42b": 96, "ese_vovnet19b_dw": 96,
    "hardcorenas_a": 96, "lcnet_050": 96, "volo_d1_224": 224, "twins_svt_small": 224, "pvt_v2_b0": 224,
    "davit_tiny": 224, "gcvit_xxtiny": 224, "tresnet_m": 64, "mobilenetv3_small_050": 96, "semnasnet_075": 96,
    "fbnetc_100": 96, "spnasnet_100": 96, "mixnet_s": 96, "skresnet18": 64, "seresnet50": 64, "resnest14d": 64,
    "ecaresnet50t": 64, "gernet_s": 96, "botnet26t_256": 256, "halonet26t": 256, "lambda_resnet26t": 256,
    "visformer_tiny": 224, "tf_efficientnet_b0": 96, "tf_mobilenetv3_small_minimal_100": 96, "xception41": 96,
    "inception_v4": 128, "inception_resnet_v2": 128, "efficientvit_b0": 96, "efficientvit_m0": 224,
    "mobilevit_xxs": 256, "mobilevitv2_050": 256, "nest_tiny": 224, "crossvit_tiny_240": 240,
    "swinv2_cr_tiny_ns_224": 224, "maxvit_rmlp_pico_rw_256": 256, "focalnet_tiny_srf": 224, "resmlp_12_224": 224,
    "gmlp_ti16_224": 224, "tiny_vit_5m_224": 224, "repvit_m1": 96, "starnet_s1": 96, "inception_next_tiny": 96,
    "hgnetv2_b0": 96, "nextvit_small": 96, "mvitv2_tiny": 224, "eva02_tiny_patch14_224": 224,
    "convit_tiny": 224, "tnt_s_patch16_224": 224, "pit_ti_224": 224, "coat_lite_tiny": 224, "sequencer2d_s": 224,
    "regnety_002": 96, "bat_resnext26ts": 256, "vovnet39a": 64, "ghostnetv2_100": 96, "rdnet_tiny": 96,
    "mambaout_femto": 96, "hiera_tiny_224": 224, "vit_small_patch16_dinov3": 256, "vit_pe_core_tiny_patch16_384": 384,
    "naflexvit_base_patch16_gap": 384, "shvit_s1": 96, "swiftformer_xs": 224, "efficientformerv2_s0": 224,
}  # fmt: skip

# Other ways to export the networks that most people have.
VARIANTS = [
    ("legacy", "resnet18", "opset11", {"opset": 11}),
    ("legacy", "mobilenet_v2", "opset13", {"opset": 13}),
    ("legacy", "mobilenet_v3_small", "opset11", {"opset": 11}),
    ("legacy", "efficientnet_b0", "opset11", {"opset": 11}),
    ("legacy", "shufflenet_v2_x1_0", "opset11", {"opset": 11}),
    ("legacy", "convnext_tiny", "opset13", {"opset": 13}),
    ("legacy", "swin_t", "opset13", {"opset": 13}),
    ("legacy", "densenet121", "opset11", {"opset": 11}),
    ("legacy", "resnet18", "fixed", {"fixed": True}),
    ("legacy", "mobilenet_v2", "fixed", {"fixed": True}),
    ("legacy", "resnet18", "unfolded", {"folded": False}),
    ("dynamo", "resnet18", "opset18", {"opset": 18}),
    ("dynamo", "mobilenet_v2", "opset18", {"opset": 18}),
    ("dynamo", "vit_b_16", "opset18", {"opset": 18}),
    ("dynamo", "convnext_tiny", "opset18", {"opset": 18}),
    ("dynamo", "resnet18", "fixed", {"fixed": True}),
    ("dynamo", "swin_t", "fixed", {"fixed": True}),
    ("dynamo", "vit_b_16", "fixed", {"fixed": True}),
    ("dynamo", "resnet50", "external", {"external": True}),
    ("dynamo", "resnet18", "unfolded", {"folded": False}),
]


class Map(torch.nn.Module):
    """The scores alone, of those that torchvision's segmentation networks answer in a dictionary."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)["out"]


def build(name):
    """The network, and the shape of an item."""
    if name in SEGMENTATION:
        edge = SEGMENTATION[name]
        return Map(models.get_model(name, weights=None, weights_backbone=None)), (3, edge, edge)
    if name in TORCHVISION:
        edge = TORCHVISION[name]
        settings = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return models.get_model(name, weights=None, **settings), (3, edge, edge)
    edge = TIMM[name]
    return timm.create_model(name, pretrained=False), (3, edge, edge)


def steadied(model):
    """A channel that hardly varied in the few batches that batch norm saw would be blown up, and roundings with it."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_var.clamp_(min=0.1 * float(module.running_var.mean()))
    return model


def seeded_network(name):
    """The network with the weights that it always has here, and the shape of an item."""
    torch.manual_seed(0)
    model, shape = build(name)
    return steadied(enliven(name, model, shape, calibration=(2, 4))), shape


def rows():
    """Exporter, network, label and options: at first each network once, those that most people have by both exporters."""
    both = [(exporter, name, "", {}) for name in TORCHVISION | SEGMENTATION for exporter in OPSETS]
    once = [(list(OPSETS)[i % 2], name, "", {}) for i, name in enumerate(TIMM)]
    again = [(list(OPSETS)[(i + 1) % 2], name, "", {}) for i, name in enumerate(TIMM)]
    return both + once + VARIANTS + again


def make(folder, exporter, name, label, options):
    stem = f"{name}-{label}" if label else name
    path = folder / exporter / f"{stem}.onnx"
    if path.with_suffix(".safetensors").exists():
        return None
    started = time.monotonic()
    model, shape = seeded_network(name)
    inputs = images(name, N_ITEMS, shape)
    with torch.no_grad():
        expected = model(inputs)
    options = {"opset": OPSETS[exporter]} | options
    write(model, path, exporter, example=inputs, **options)
    fixed = options.get("fixed", False)
    found = answers(path, inputs, fixed)
    single = answers(path, inputs[:1])
    difference = np.abs(found[0] - expected.numpy()).max() / np.abs(found[0]).max()
    tensors = {"input": inputs.numpy()}
    tensors |= {f"output.{i}": output for i, output in enumerate(found)}
    tensors |= {f"single.{i}": output for i, output in enumerate(single)}
    save_file(tensors, path.with_suffix(".safetensors"))
    return {
        "exporter": exporter, "name": stem, "edge": shape[-1], "difference_from_torch": float(difference),
        "separation": separation(found[0]), "rows_differ": float(np.abs(found[0][0] - found[0][1]).max()),
        "largest": float(np.abs(found[0]).max()), "mib": round(path.stat().st_size / 2**20, 1),
        "took_s": round(time.monotonic() - started, 1),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--json", type=Path, help="where what was made is added, one a line")
    parser.add_argument("--exporter", choices=list(OPSETS))
    arguments = parser.parse_intermixed_args()
    refuse_unknown(arguments.names)
    wanted = [
        row for row in rows()
        if (not arguments.names or row[1] in arguments.names) and arguments.exporter in (None, row[0])
    ]  # fmt: skip
    failed = []
    for i, (exporter, name, label, options) in enumerate(wanted, 1):
        stem = f"{name}-{label}" if label else name
        print(f"[{i}/{len(wanted)}] {exporter}/{stem}: ", end="", flush=True)
        try:
            done = make(arguments.folder, exporter, name, label, options)
        except Exception as error:
            # An exporter that cannot write a network is no fault of ours, and the others go on.
            reason = (str(error).strip().splitlines() or [""])[0][:200]
            failed.append(f"{exporter}/{stem}")
            (arguments.folder / exporter / f"{stem}.onnx").unlink(missing_ok=True)
            print(f"not exported: {type(error).__name__}: {reason}", flush=True)
            continue
        print(f"{done['mib']} MiB in {done['took_s']} s" if done else "is there", flush=True)
        if done and arguments.json:
            with arguments.json.open("a") as lines:
                lines.write(json.dumps(done) + "\n")
    if failed:
        print(f"Not exported, by no fault of Millrace: {', '.join(failed)}")
    if len(failed) == len(wanted):
        sys.exit("nothing was exported")


def refuse_unknown(names):
    """Ends with what may be meant, where a name is none of the zoo's."""
    known = [*TORCHVISION, *SEGMENTATION, *TIMM]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            sys.exit(f"`{name}` is not in the zoo" + (f"; did you mean {' or '.join(near)}?" if near else ""))


if __name__ == "__main__":
    main()
