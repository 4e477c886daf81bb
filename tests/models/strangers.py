"""Adds networks of other frameworks to the zoo: Keras (which writes ONNX through tf2onnx), Ultralytics, Transformers.

    python strangers.py keras|ultralytics|transformers FOLDER [NAME..]

Each framework has requirements of its own and is best run from an environment of its own: `tensorflow-cpu tf2onnx`;
`ultralytics`; `transformers`; with `onnxruntime` and `safetensors` in each. Weights are random here as well.
"""

import os
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import save_file

N_ITEMS = 5

# Name, edge.
KERAS = [
    ("MobileNetV2", 96), ("MobileNetV3Small", 96), ("EfficientNetB0", 96), ("EfficientNetV2B0", 96), ("DenseNet121", 64),
    ("ConvNeXtTiny", 64), ("Xception", 96), ("NASNetMobile", 96), ("InceptionV3", 96), ("ResNet50V2", 64),
]  # fmt: skip
# Name, edge, and what the export is asked for.
ULTRALYTICS = [
    ("yolov8n-cls", 64, {}), ("yolo11n-cls", 64, {}), ("yolo11n-cls", 64, {"dynamic": True}), ("yolo11n-seg", 64, {}),
    ("yolo11n-cls", 64, {"opset": 11}), ("yolov8n", 64, {}), ("yolo26n-cls", 64, {}),
]  # fmt: skip
TRANSFORMERS = ["vit", "deit", "swin", "convnext", "resnet", "mobilevit", "segformer", "beit", "dinov2", "mobilenet_v2", "efficientnet", "regnet", "poolformer", "levit", "cvt", "pvt"]


def record(path, shape, channels_last=False):
    """What ONNX Runtime answers for five items, and for the first alone."""
    random = np.random.default_rng(list(path.stem.encode()))
    coarse = random.standard_normal((N_ITEMS, 3, 4, 4)).repeat(shape[-1] // 4, 2).repeat(shape[-1] // 4, 3)
    inputs = (coarse + 0.3 * random.standard_normal((N_ITEMS, *coarse.shape[1:]))).astype(np.float32)
    inputs = np.ascontiguousarray(inputs.transpose(0, 2, 3, 1)) if channels_last else inputs
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    described, *unread = session.get_inputs()
    # Keras leaves constants among the inputs of EfficientNet that no node reads.
    read = {name for node in onnx.load(path, load_external_data=False).graph.node for name in node.input}
    assert not any(value.name in read for value in unread), f"several inputs: {[value.name for value in unread]}"
    idle = {value.name: np.zeros(value.shape, np.float32) for value in unread}
    run = lambda items: session.run(None, {described.name: items} | idle)
    single = run(inputs[:1])
    if described.shape[0] == 1:
        rows = [run(inputs[i : i + 1]) for i in range(N_ITEMS)]
        several = [np.concatenate(column) for column in zip(*rows, strict=True)]
    else:
        several = run(inputs)
    tensors = {"input": inputs} | {f"output.{i}": output for i, output in enumerate(several)}
    save_file(tensors | {f"single.{i}": output for i, output in enumerate(single)}, path.with_suffix(".safetensors"))
    shapes = [list(output.shape) for output in several]
    print(f"{path.stem}: {described.shape} -> {shapes}, rows differ by {np.abs(several[0][0] - several[0][1]).max():.3f}", flush=True)


def keras(folder, names):
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import tensorflow as tf

    for name, edge in KERAS:
        path = folder / "keras" / f"{name}.onnx"
        if path.with_suffix(".safetensors").exists() or names and name not in names:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.set_random_seed(1)
        model = getattr(keras.applications, name)(weights=None, input_shape=(edge, edge, 3), classes=10)
        images = tf.random.normal((8, edge, edge, 3)) * 60 + 120
        norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        for norm in norms:
            norm.momentum = 0.0
        model(images, training=True)
        model(images[:1])
        try:
            model.export(str(path), format="onnx", verbose=False)
            record(path, (3, edge, edge), channels_last=True)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error)[:200]}", flush=True)


def ultralytics(folder, names):
    from ultralytics import YOLO

    sys.path.insert(0, str(Path(__file__).parent))
    from export import enliven

    for name, edge, options in ULTRALYTICS:
        label = "-".join([name, *(f"{key}{'' if value is True else value}" for key, value in options.items())])
        path = folder / "ultralytics" / f"{label}.onnx"
        if path.with_suffix(".safetensors").exists() or names and name not in names:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            network = YOLO(f"{name}.yaml")
            enliven(name, network.model, (3, edge, edge), calibration=(2, 4))
            Path(network.export(format="onnx", imgsz=edge, simplify=False, **options)).rename(path)
            record(path, (3, edge, edge))
        except Exception as error:
            print(f"{label}: {type(error).__name__}: {str(error)[:200]}", flush=True)


def transformers(folder, names):
    import torch
    from transformers import AutoConfig, AutoModelForImageClassification, AutoModelForSemanticSegmentation

    sys.path.insert(0, str(Path(__file__).parent))
    from export import enliven, write

    class Scores(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(pixel_values=x).logits

    edge = 64
    for kind in TRANSFORMERS:
        if names and kind not in names:
            continue
        sizes = {"image_size": edge, "num_labels": 10}
        for exporter, opset in [("legacy", 17), ("dynamo", 20)]:
            path = folder / "transformers" / f"{kind}-{exporter}.onnx"
            if path.with_suffix(".safetensors").exists():
                continue
            try:
                config = AutoConfig.for_model(kind, **sizes)
                family = AutoModelForSemanticSegmentation if kind == "segformer" else AutoModelForImageClassification
                model = enliven(kind, Scores(family.from_config(config, attn_implementation="eager")), (3, edge, edge), calibration=(2, 4))
                write(model, path, exporter, opset, torch.randn(2, 3, edge, edge))
                record(path, (3, edge, edge))
            except Exception as error:
                print(f"{kind}-{exporter}: {type(error).__name__}: {str(error).strip()[:200]}", flush=True)


if __name__ == "__main__":
    {"keras": keras, "ultralytics": ultralytics, "transformers": transformers}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3:])
