"""Records what Pillow makes of JPEGs of every layout: `jpeg.bin`, the files one after the other, and `jpeg.json`, a digest of
the pixels of each. The tests in `src/image/tests/jpeg.rs` compare. To record anew, in this folder:

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install pillow==13.0.0 && /tmp/venv/bin/python record_jpeg.py
"""

import io
import itertools
import json

from PIL import Image

from jpeg_writer import LONG, PLAIN, Jpeg, segment

SAMPLINGS = {
    "4:4:4": [(1, 1), (1, 1), (1, 1)],
    "4:2:2": [(2, 1), (1, 1), (1, 1)],
    "4:2:0": [(2, 2), (1, 1), (1, 1)],
    "4:4:0": [(1, 2), (1, 1), (1, 1)],
    "4:1:1": [(4, 1), (1, 1), (1, 1)],
    "4:1:0": [(4, 2), (1, 1), (1, 1)],
    "1x4": [(1, 4), (1, 1), (1, 1)],
    "3x1": [(3, 1), (1, 1), (1, 1)],
    "1x3": [(1, 3), (1, 1), (1, 1)],
    "2x2 of all": [(2, 2), (2, 1), (2, 1)],
    "4x4 beside 2x2": [(4, 2), (2, 1), (1, 1)],
    "chroma finer": [(1, 1), (2, 2), (2, 2)],
    "chroma finer across": [(1, 2), (2, 2), (2, 1)],
    "chroma by 1x2 and 2x1": [(2, 2), (1, 2), (2, 1)],
    "blue alone finer": [(1, 1), (2, 2), (1, 1)],
    "four": [(2, 2), (1, 1), (1, 1), (2, 2)],
    "grey of 2x2": [(2, 2)],
}
LAYOUTS = ["interleaved", "one by one", "first two, then the rest", "first, then the rest"]
SIZES = [(33, 17), (16, 16), (19, 35), (40, 9), (7, 5), (24, 31), (1, 18), (50, 2)]
RESTARTS = [0, 1, 3, 0, 7]

out, cases = bytearray(), []


def digest(data):
    number = 0xCBF29CE484222325
    for byte in data:
        number = (number ^ byte) * 0x100000001B3 % 2**64
    return f"{number:016x}"


def record(name, data):
    picture = Image.open(io.BytesIO(data))
    picture.load()
    picture = picture if picture.mode == "L" else picture.convert("RGB")
    pixels = picture.tobytes()
    cases.append({"name": name, "at": len(out), "length": len(data), "out": [*picture.size, len(picture.getbands())],
                  "digest": digest(pixels), "begin": list(pixels[:6])})
    out.extend(data)


def groups(layout, count):
    every = list(range(count))
    split = {"interleaved": count, "first two, then the rest": 2, "first, then the rest": 1}.get(layout)
    parts = [[n] for n in every] if split is None else [every[:split], every[split:]]
    return [part for part in parts if part]


def scans(layout, factors, progressive):
    parts = groups(layout, len(factors))
    if any(len(part) > 1 and sum(factors[n][0] * factors[n][1] for n in part) > 10 for part in parts):
        return None
    if progressive is None:
        return [(part, 0, 63, 0, 0) for part in parts]
    every = range(len(factors))
    if progressive == "by bands":
        bands = [([n], first, last, 0, 0) for n in every for first, last in ((1, 5), (6, 63))]
        return [(part, 0, 0, 0, 0) for part in parts] + bands
    means = [(part, 0, 0, 0, 1) for part in parts]
    bands = [([n], 1, 63, 0, 2) for n in every] + [([n], 1, 63, 2, 1) for n in every]
    return means + bands + [([n], 0, 0, 1, 0) for n in every] + [([n], 1, 63, 1, 0) for n in every]


def components(factors, ids=(1, 2, 3, 4)):
    return [(ids[n], across, down, min(n, 1)) for n, (across, down) in enumerate(factors)]


def matrix():
    sizes, restarts, tables = itertools.cycle(SIZES), itertools.cycle(RESTARTS), itertools.cycle([PLAIN, LONG])
    for sampling, factors in SAMPLINGS.items():
        for layout in LAYOUTS if len(factors) > 1 else LAYOUTS[:1]:
            for progressive in (None, "by bits", "by bands"):
                if (script := scans(layout, factors, progressive)) is None:
                    continue
                (width, height), restart = next(sizes), next(restarts)
                jpeg = Jpeg(width, height, components(factors), script, progressive is not None, restart, len(cases), next(tables))
                name = f"{sampling}, {layout}, {progressive or 'baseline'}, {width}x{height}, restart {restart}"
                record(name, jpeg.file())


def sizes():
    for width, height in [(1, 1), (2, 1), (3, 2), (4, 3), (5, 5), (6, 4), (8, 8), (9, 9), (15, 17), (17, 15), (31, 1), (1, 31), (32, 33)]:
        for sampling in ("4:2:2", "4:2:0", "4:4:0", "4:1:0"):
            record(f"{sampling}, {width}x{height}", Jpeg(width, height, components(SAMPLINGS[sampling]), seed=len(cases)).file())


JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def adobe(transform):
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


def colours():
    three, four = SAMPLINGS["4:4:4"], [(1, 1)] * 4
    rgb, other = (82, 71, 66, 75), (7, 9, 5, 1)
    for name, factors, ids, before in [
        ("names 1, 2, 3", three, (1, 2, 3), b""),
        ("names 0, 1, 2", three, (0, 1, 2), b""),
        ("names R, G, B", three, rgb, b""),
        ("names R, G, B of JFIF", three, rgb, JFIF),
        ("names R, G, B, and Adobe says 1", three, rgb, adobe(1)),
        ("other names", three, other, b""),
        ("Adobe says 0", three, (1, 2, 3), adobe(0)),
        ("Adobe says 1", three, (1, 2, 3), adobe(1)),
        ("Adobe says 7", three, (1, 2, 3), adobe(7)),
        ("Adobe says 0, and JFIF", three, (1, 2, 3), JFIF + adobe(0)),
        ("Adobe says it in a segment too short", three, rgb, segment(0xEE, b"Adobe\0\x64\0\0\0\0")),
        ("JFIF in a segment too short", three, rgb, segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0")),
        ("four", four, (1, 2, 3, 4), b""),
        ("four, and Adobe says 0", four, (1, 2, 3, 4), adobe(0)),
        ("four, and Adobe says 1", four, (1, 2, 3, 4), adobe(1)),
        ("four, and Adobe says 2", four, (1, 2, 3, 4), adobe(2)),
        ("four, and JFIF", four, (1, 2, 3, 4), JFIF),
        ("one, and Adobe says 1", [(1, 1)], (1,), adobe(1)),
        ("one named R", [(3, 2)], (82,), b""),
    ]:
        record(f"colours: {name}", Jpeg(18, 11, components(factors, ids), seed=len(cases)).file(before))


def kinds():
    of = components(SAMPLINGS["4:2:0"])
    deep = [[300 + n for n in range(64)], [5] * 64]
    fine = [[1] * 64, [2] * 64]
    standard = Jpeg(35, 21, of, seed=7, table=PLAIN)
    for name, data in [
        ("extended", Jpeg(20, 20, of, seed=1, frame=0xC1).file()),
        ("quantisers of sixteen bits", Jpeg(20, 20, of, seed=2, quantisers=deep).file()),
        ("quantisers of one", Jpeg(20, 20, of, seed=3, quantisers=fine).file()),
        ("coefficients as large as they may be", Jpeg(32, 32, of, seed=4, wild=True).file()),
        ("behind the end", standard.file(after=b"\xff\xd8\xff and what else there is")),
        ("fill bytes", standard.file(before=b"\xff\xff\xff" + segment(0xFE, b"a comment"), between=b"\xff")),
        ("an ICC profile", standard.file(before=segment(0xE2, b"ICC_PROFILE\0\1\1 none"))),
        ("zeros for the band of a baseline scan", standard.file().replace(b"\x03\0\x3f\0", b"\x03\0\0\0", 1)),
        ("a first table that is replaced", standard.file(before=segment(0xDB, bytes([0]) + bytes([99] * 64)))),
    ]:
        record(f"kinds: {name}", data)


def libraries():
    """What Pillow itself writes, with and without its optimised tables; frames of cameras, which have none."""
    picture = Image.new("RGB", (45, 38))
    picture.putdata([((x * 5 + y) % 256, (x * y * 3) % 256, 255 - y * 6) for y in range(38) for x in range(45)])
    for options in [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"optimize": True, "quality": 98}, {"restart_marker_rows": 1}]:
        data = io.BytesIO()
        picture.save(data, "JPEG", **options)
        record(f"written by Pillow: {options}", data.getvalue())
        if options in ({}, {"subsampling": 1}):
            bare, at = b"\xff\xd8", 2
            whole = data.getvalue()
            while whole[at + 1] != 0xDA:
                length = 2 + int.from_bytes(whole[at + 2 : at + 4], "big")
                bare += b"" if whole[at + 1] == 0xC4 else whole[at : at + length]
                at += length
            record(f"without Huffman tables: {options}", bare + whole[at:])


for part in (matrix, sizes, colours, kinds, libraries):
    part()
with open("jpeg.bin", "wb") as file:
    file.write(out)
with open("jpeg.json", "w") as file:
    lines = ",\n".join(json.dumps(case) for case in cases)
    file.write(f"[\n{lines}\n]\n")
print(len(cases), "cases,", len(out), "bytes")
