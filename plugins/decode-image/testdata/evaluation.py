"""Records what torchvision's evaluation transforms make of drawn pictures: `evaluation.txt`.

Each line is a picture's width and height, the number of `Resize` (0: `Resize((height, width))`), the interpolation, the height
and the width of the result, and the FNV-1a hash of its bytes, channels first. To record anew, in this folder:

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torchvision==0.29.2 pillow==13.0.0 && /tmp/venv/bin/python evaluation.py
"""

import numpy as np
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

SIZES = [
    (640, 480), (480, 640), (500, 375), (333, 500), (257, 255), (256, 256), (224, 224), (255, 500), (299, 301), (225, 700),
    (700, 226), (100, 80), (63, 200), (31, 17), (3, 5), (301, 232), (777, 513), (512, 512), (1000, 333), (229, 231),
]
# `Resize` and `CenterCrop` of torchvision's weights, and of timm's with crop_pct 0.9, 0.95 and 1.
TRANSFORMS = [
    (256, "bilinear", 224), (232, "bilinear", 224), (256, "bicubic", 224), (224, "bicubic", 224), (236, "bilinear", 224),
    (238, "bicubic", 224), (255, "bilinear", 240), (342, "bilinear", 299), (320, "bicubic", 300), (248, "bicubic", 224),
    (235, "bicubic", 224), (33, "bilinear", 29), (0, "bicubic", 224),
]


def pattern(width, height):
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 11 + y * 3, x * y * 5, y * 17 + x], -1).astype(np.uint8))


def fnv1a(data):
    hashed = 0xCBF29CE484222325
    for byte in data:
        hashed = (hashed ^ byte) * 0x100000001B3 % 2**64
    return hashed


rows = []
for at, (width, height) in enumerate(SIZES):
    # Each picture by a part of the transforms, each transform on many pictures.
    for side, filter, size in [TRANSFORMS[(at + step) % len(TRANSFORMS)] for step in (0, 3, 7, 11)]:
        mode = InterpolationMode(filter)
        steps = [transforms.Resize(side, mode, antialias=True), transforms.CenterCrop(size)]
        steps = steps if side else [transforms.Resize((size, size - 32), mode, antialias=True)]
        picture = transforms.Compose(steps)(pattern(width, height))
        hashed = fnv1a(np.asarray(picture).transpose(2, 0, 1).tobytes())
        rows.append(f"{width} {height} {side} {filter} {picture.height} {picture.width} {hashed:016x}\n")
with open("evaluation.txt", "w") as file:
    file.writelines(rows)
print(len(rows), "rows")
