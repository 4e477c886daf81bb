"""Makes the pictures that `src/tests.rs` reads and the numbers that it compares with. Needs Pillow; run it in this folder."""

import struct
import zlib

from PIL import Image


def pattern(width, height):
    """The picture that `pattern` in the tests draws."""
    picture = Image.new("RGB", (width, height))
    picture.putdata([((x * 11 + y * 3) % 256, (x * y * 5) % 256, (y * 17 + x) % 256) for y in range(height) for x in range(width)])
    return picture


def quarters(mode, colours):
    """Four 16x16 squares: top left, top right, bottom left, bottom right."""
    picture = Image.new(mode, (32, 32))
    for at, colour in enumerate(colours):
        picture.paste(colour, (at % 2 * 16, at // 2 * 16, at % 2 * 16 + 16, at // 2 * 16 + 16))
    return picture


def write_interlaced(name, picture):
    """Pillow reads Adam7, but does not write it."""
    rows = b""
    for left, top, across, down in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
        for y in range(top, picture.height, down):
            row = b"".join(bytes(picture.getpixel((x, y))) for x in range(left, picture.width, across))
            rows += b"\0" + row if row else b""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", picture.width, picture.height, 8, 2, 0, 0, 1)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    with open(name, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in chunks:
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    assert Image.open(name).convert("RGB").tobytes() == picture.tobytes()


RGB = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
CMYK = [(0, 255, 255, 0), (255, 0, 255, 0), (255, 255, 0, 0), (0, 0, 0, 0)]

quarters("RGB", RGB).save("progressive.jpg", quality=90, progressive=True)
quarters("RGB", RGB).save("subsampled.jpg", quality=90, subsampling="4:2:0", restart_marker_blocks=1)
quarters("CMYK", CMYK).save("cmyk.jpg", quality=90)
write_interlaced("interlaced.png", pattern(20, 10))

for name, size, resample, box in [
    ("bilinear, smaller", (5, 4), Image.Resampling.BILINEAR, None),
    ("bilinear, larger", (5, 4), Image.Resampling.BILINEAR, (0, 0, 3, 2)),
    ("lanczos, smaller", (5, 4), Image.Resampling.LANCZOS, None),
    ("nearest, smaller", (5, 4), Image.Resampling.NEAREST, None),
]:
    picture = pattern(23, 17)
    picture = picture.crop(box) if box else picture
    print(name, list(picture.resize(size, resample).tobytes()))
