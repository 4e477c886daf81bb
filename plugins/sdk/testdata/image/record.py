"""Records what Pillow makes of small pictures: `pillow.json` and `pillow.bin`, and the files that are decoded.

The tests in `src/image/tests/` draw the same pictures and compare. To record anew, in this folder:

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install pillow==13.0.0 && /tmp/venv/bin/python record.py
"""

import io
import json

from PIL import Image, ImageOps

FILTERS = ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
TURNS = [
    None,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
]
BACKGROUND = (32, 64, 200)

cases = []
pixels = bytearray()


def resample(name):
    return Image.Resampling[name.upper()]


def draw(kind, width, height):
    """What `draw` in the tests draws: ramps that wrap around, or what looks like noise, in black and white in places."""
    picture = Image.new("RGB", (width, height))
    put = picture.load()
    for y in range(height):
        for x in range(width):
            if kind == "ramps":
                put[x, y] = ((x * 11 + y * 3) % 256, (x * y * 5) % 256, (y * 17 + x) % 256)
            else:
                noise = [(x * x * 31 + y * y * 17 + x * y * 7 + channel * 85) * 2654435761 % 2**32 >> 24 for channel in range(3)]
                put[x, y] = tuple(0 if n < 64 else 255 if n > 192 else n for n in noise)
    return picture


def source(kind, width, height, mode="RGB", orientation=1):
    picture = draw(kind, width, height).convert(mode)
    turn = TURNS[orientation - 1]
    return picture.transpose(turn) if turn is not None else picture


def record(picture, **case):
    case |= {"out": [*picture.size, len(picture.getbands())], "at": len(pixels)}
    pixels.extend(picture.tobytes())
    cases.append(case)


def record_operation(of, operation, picture):
    keys = ("kind", "width", "height", "mode", "orientation")
    record(picture, source=dict(zip(keys, (*of, *("RGB", 1)[len(of) - 3 :]))), **operation)


def resizes():
    shapes = [
        (("ramps", 23, 17), (5, 4)),
        (("noise", 3, 2), (5, 4)),
        (("noise", 64, 48), (21, 7)),
        (("noise", 13, 9), (20, 30)),
        (("ramps", 37, 53), (37, 10)),
        (("noise", 50, 21), (17, 21)),
        (("noise", 1, 1), (3, 2)),
        (("noise", 7, 1), (3, 9)),
        (("noise", 32, 24), (16, 12)),
        (("noise", 10, 10), (20, 15)),
        (("noise", 31, 20), (30, 21)),
        (("noise", 45, 33, "L"), (19, 40)),
        (("ramps", 19, 40, "L"), (45, 3)),
    ]
    for name in FILTERS:
        for of, size in shapes:
            picture = source(*of).resize(size, resample(name))
            record_operation(of, {"operation": "resize", "filter": name, "size": size}, picture)
        for orientation in range(2, 9):
            of = ("noise", 22, 14, "RGB", orientation)
            picture = source(*of).resize((9, 13), resample(name))
            record_operation(of, {"operation": "resize", "filter": name, "size": (9, 13)}, picture)


def covers():
    """The part in the middle whose sides are rounded to whole pixels, cut out and then resized."""
    for of, size in [
        (("noise", 40, 20), (8, 8)),
        (("noise", 20, 41), (9, 9)),
        (("noise", 33, 21), (16, 8)),
        (("noise", 12, 31, "RGB", 6), (7, 11)),
    ]:
        picture = source(*of)
        width = min(picture.width, max(1, (2 * picture.height * size[0] + size[1]) // (2 * size[1])))
        height = min(picture.height, max(1, (2 * picture.width * size[1] + size[0]) // (2 * size[0])))
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        part = picture.crop((left, top, left + width, top + height))
        for name in ["nearest", "bicubic"]:
            record_operation(of, {"operation": "cover", "filter": name, "size": size}, part.resize(size, resample(name)))


def crops():
    for orientation in range(1, 9):
        of = ("noise", 12, 9, "RGB", orientation)
        picture = source(*of)
        region = (2, 1, 5, 7)
        record_operation(of, {"operation": "crop", "region": region}, picture.crop((2, 1, 7, 8)))
    for of, (width, height) in [(("noise", 12, 9), (5, 4)), (("noise", 9, 12, "L"), (6, 5)), (("noise", 7, 8), (4, 3))]:
        picture = source(*of)
        # As torchvision's `center_crop`.
        left, top = round((picture.width - width) / 2.0), round((picture.height - height) / 2.0)
        part = picture.crop((left, top, left + width, top + height))
        record_operation(of, {"operation": "center_crop", "size": (width, height)}, part)


def letterboxes():
    for of, size in [
        (("noise", 40, 20), (16, 16)),
        (("noise", 20, 41), (15, 16)),
        (("noise", 4, 2), (5, 5)),
        (("noise", 3, 7), (12, 13)),
        (("noise", 33, 21, "RGB", 5), (17, 9)),
        (("noise", 33, 21, "RGB", 8), (9, 17)),
        (("ramps", 30, 1), (8, 8)),
        (("noise", 16, 12, "L"), (10, 10)),
    ]:
        picture = source(*of)
        for name in ["bilinear", "lanczos"]:
            if of != ("ramps", 30, 1):
                record_operation(of, {"operation": "contain", "filter": name, "size": size}, ImageOps.contain(picture, size, resample(name)))
            else:
                # Pillow makes a height of 0 of it, and fails; a picture has at least one row.
                continue
            fill = 114 if picture.mode == "L" else (114, 50, 200)
            padded = ImageOps.pad(picture, size, resample(name), color=fill)
            operation = {"operation": "letterbox", "filter": name, "size": size, "fill": "#727272" if picture.mode == "L" else "#7232c8"}
            record_operation(of, operation, padded)


def evaluations():
    """torchvision's `Resize` of one number and then `CenterCrop`, which call Pillow for pictures of Pillow's."""
    for of, side, (width, height) in [
        (("noise", 37, 53), 20, (16, 16)),
        (("noise", 53, 37), 19, (14, 15)),
        (("noise", 41, 41), 25, (22, 22)),
        (("noise", 30, 64, "RGB", 6), 13, (10, 13)),
        (("noise", 26, 19, "L"), 40, (36, 38)),
        (("ramps", 50, 20), 20, (20, 20)),
        (("noise", 20, 33), 12, (15, 18)),
        (("noise", 33, 20), 11, (20, 14)),
        (("noise", 7, 9), 9, (20, 4)),
        (("noise", 1, 3), 2, (5, 5)),
    ]:
        picture = source(*of)
        short, long = sorted(picture.size)
        longer = int(side * long / short)
        size = (side, longer) if picture.width <= picture.height else (longer, side)
        for name in ["bilinear", "bicubic"]:
            seen = picture if size == picture.size else picture.resize(size, resample(name))
            bars = (max(width - seen.width, 0), max(height - seen.height, 0))
            if any(bars):
                seen = ImageOps.expand(seen, (bars[0] // 2, bars[1] // 2, (bars[0] + 1) // 2, (bars[1] + 1) // 2), 0)
            left, top = round((seen.width - width) / 2.0), round((seen.height - height) / 2.0)
            seen = seen.crop((left, top, left + width, top + height))
            operation = {"operation": "evaluation", "filter": name, "side": side, "size": (width, height)}
            record_operation(of, operation, seen)


def colours():
    for orientation in (1, 6):
        of = ("noise", 9, 5, "RGB", orientation)
        record_operation(of, {"operation": "grey"}, source(*of).convert("L"))


def over(picture):
    ground = Image.new("RGBA", picture.size, (*BACKGROUND, 255))
    return Image.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")


def with_alpha(picture):
    alpha = Image.new("L", picture.size)
    alpha.putdata([(x * 37 + y * 11) % 256 for y in range(picture.height) for x in range(picture.width)])
    picture = picture.copy()
    picture.putalpha(alpha)
    return picture


def write(name, data, expected, tolerance=0):
    """Records a file over a background, and as it is when transparency does not count."""
    with open(name, "wb") as file:
        file.write(data)
    record(expected, file=name, tolerance=tolerance)
    opened = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    record(opened.convert("RGB"), file=name, tolerance=0, alpha="ignore")


def encoded(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def webps():
    ramps, noise = draw("ramps", 37, 21), draw("noise", 19, 26)
    for name, picture, options, tolerance in [
        ("lossy.webp", ramps, {"quality": 90}, 1),
        ("lossless.webp", noise, {"lossless": True}, 0),
        ("palette.webp", ramps.quantize(5).convert("RGB"), {"lossless": True}, 0),
        ("lossy-alpha.webp", with_alpha(ramps), {"quality": 90}, 1),
        ("lossless-alpha.webp", with_alpha(noise), {"lossless": True, "exact": True}, 1),
    ]:
        data = encoded(picture, "WEBP", **options)
        write(name, data, over(Image.open(io.BytesIO(data))), tolerance)
    exif = Image.Exif()
    exif[0x112] = 6
    data = encoded(ramps, "WEBP", lossless=True, exif=exif)
    write("turned.webp", data, ImageOps.exif_transpose(Image.open(io.BytesIO(data))), 0)
    for name, options, tolerance in [("animated-lossy.webp", {"quality": 90, "minimize_size": False}, 1), ("animated.webp", {"lossless": True}, 1)]:
        frames = [with_alpha(draw("ramps", 24, 18)), with_alpha(draw("noise", 24, 18))]
        data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], **options)
        write(name, data, over(Image.open(io.BytesIO(data))), tolerance)


def gif_file(screen, frames, palette, background=0):
    """A GIF by hand, from frames (left, top, width, height, interlaced, transparent, indices) with codes of nine bits."""
    out = b"GIF89a" + screen[0].to_bytes(2, "little") + screen[1].to_bytes(2, "little")
    out += bytes([0b11110111 if palette else 0, background, 0]) + palette
    for left, top, width, height, interlaced, transparent, indices in frames:
        if transparent is not None:
            out += bytes([0x21, 0xF9, 4, 1, 0, 0, transparent, 0])
        out += b"," + b"".join(n.to_bytes(2, "little") for n in (left, top, width, height)) + bytes([0x40 if interlaced else 0])
        # A clear code before every index: codes never grow.
        bits, n_bits, data = 0, 0, bytearray()
        for code in [c for index in indices for c in (256, index)] + [257]:
            bits |= code << n_bits
            n_bits += 9
            while n_bits >= 8:
                data.append(bits & 255)
                bits >>= 8
                n_bits -= 8
        data.append(bits & 255)
        out += b"\x08" + b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255)) + b"\0"
    return out + b";"


def gifs():
    colours = draw("noise", 29, 17).quantize(200)
    data = encoded(colours, "GIF")
    write("still.gif", data, Image.open(io.BytesIO(data)).convert("RGB"), 0)
    data = encoded(draw("ramps", 16, 11).convert("L"), "GIF", save_all=True, append_images=[draw("noise", 16, 11).convert("L")])
    write("animated.gif", data, Image.open(io.BytesIO(data)).convert("RGB"), 0)
    clear = draw("noise", 15, 9).quantize(7)
    data = encoded(clear, "GIF", transparency=3)
    write("transparent.gif", data, over(Image.open(io.BytesIO(data))), 0)
    # A part of the screen, in interlaced rows; the rest of the screen is transparent.
    palette = bytes((n * step) % 256 for n in range(256) for step in (1, 3, 7))
    indices = [(x * 7 + y * 31) % 256 for y in range(11) for x in range(6)]
    rows = [y for begin, step in ((0, 8), (4, 8), (2, 4), (1, 2)) for y in range(begin, 11, step)]
    woven = [indices[y * 6 + x] for y in rows for x in range(6)]
    data = gif_file((10, 14), [(3, 2, 6, 11, True, 31, woven)], palette)
    expected = Image.new("RGB", (10, 14), BACKGROUND)
    for at, index in enumerate(indices):
        if index != 31:
            expected.putpixel((3 + at % 6, 2 + at // 6), tuple(palette[index * 3 : index * 3 + 3]))
    write("part.gif", data, expected, 0)
    # Without a transparent colour the rest of the screen has the first one.
    palette = bytes([9, 8, 7]) + palette[3:]
    data = gif_file((10, 14), [(3, 2, 6, 11, False, None, indices)], palette, 5)
    write("free.gif", data, Image.open(io.BytesIO(data)).convert("RGB"), 0)


for part in (resizes, covers, crops, letterboxes, evaluations, colours, webps, gifs):
    part()
with open("pillow.bin", "wb") as file:
    file.write(pixels)
with open("pillow.json", "w") as file:
    lines = ",\n".join(json.dumps(case) for case in cases)
    file.write(f"[\n{lines}\n]\n")
print(len(cases), "cases,", len(pixels), "bytes")
