"""Writes JPEGs that no library writes: any sampling factors, any order of scans, any restart interval. The coefficients
are drawn, not made of a picture: smooth in the low ones, and none in most of the high ones."""

import random
import struct

ZIGZAG = [0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
          28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61,
          54, 47, 55, 62, 63]
# All 256 symbols, in codes of eight and nine bits; or in three that are longer than what a decoder looks up at once.
PLAIN = ([0] * 7 + [254, 2] + [0] * 7, list(range(256)))
LONG = ([0, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 245], [0, 1, 2, 3, 4, 5, 17, 33, 240, 6, 18, *(n for n in range(256) if n not in (0, 1, 2, 3, 4, 5, 17, 33, 240, 6, 18))])


def codes(table):
    counts, symbols = table
    code, out, at = 0, {}, 0
    for length, count in enumerate(counts, 1):
        for symbol in symbols[at : at + count]:
            out[symbol] = (code, length)
            code += 1
        at += count
        code <<= 1
    return out


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


class Bits:
    def __init__(self):
        self.value, self.n, self.out = 0, 0, bytearray()

    def put(self, value, n):
        self.value, self.n = self.value << n | value, self.n + n
        while self.n >= 8:
            byte = self.value >> (self.n - 8) & 255
            self.out.append(byte)
            if byte == 255:
                self.out.append(0)
            self.n -= 8
            self.value &= (1 << self.n) - 1

    def end(self):
        if self.n:
            self.put((1 << (8 - self.n)) - 1, 8 - self.n)
        out, self.out = bytes(self.out), bytearray()
        return out


def magnitude(value):
    size = abs(value).bit_length()
    return size, value if value > 0 else value + (1 << size) - 1


class Jpeg:
    """`components` are (id, across, down, quantiser); `scans` are (places, first, last, high, low)."""

    def __init__(self, width, height, components, scans=None, progressive=False, restart=0, seed=0, table=PLAIN, quantisers=None,
                 frame=None, wild=False):
        self.width, self.height, self.components = width, height, components
        self.progressive, self.restart, self.table, self.wild = progressive, restart, table, wild
        self.frame = frame or (0xC2 if progressive else 0xC0)
        self.scans = scans or [(list(range(len(components))), 0, 63, 0, 0)]
        self.random = random.Random(seed)
        self.quantisers = quantisers or [[3 + n for n in range(64)], [5 + 2 * n for n in range(64)]]
        alone = len(components) == 1
        self.across = 1 if alone else max(c[1] for c in components)
        self.down = 1 if alone else max(c[2] for c in components)
        self.units = (-(-width // (8 * self.across)), -(-height // (8 * self.down)))
        self.planes = [self.draw(c) for c in components]

    def factors(self, component):
        return (1, 1) if len(self.components) == 1 else (component[1], component[2])

    def draw(self, component):
        across, down = self.factors(component)
        blocks = {}
        for y in range(self.units[1] * down):
            for x in range(self.units[0] * across):
                r = self.random
                block = [0] * 64
                q = self.quantisers[component[3]]
                if self.wild:
                    block = [r.randint(-1023 // q[n], 1023 // q[n]) if r.random() < 0.3 else 0 for n in range(64)]
                else:
                    block[0] = r.randint(-700, 700) // q[0]
                    for n in range(1, 64):
                        if r.random() < 3 / (n + 2):
                            block[n] = r.randint(-300, 300) // (q[n] * (1 + n // 4))
                blocks[x, y] = block
        return blocks

    def tables(self):
        out = b""
        for n, q in enumerate(self.quantisers):
            wide = max(q) > 255
            out += segment(0xDB, bytes([n | wide << 4]) + (struct.pack(">64H", *q) if wide else bytes(q)))
        if self.table:
            counts, symbols = self.table
            dc = [s for s in symbols if s < 16]
            used = ([0] * 4 + [min(16, 15)] + [1] + [0] * 10, list(range(16)))
            out += segment(0xC4, bytes([0x00]) + bytes(used[0]) + bytes(used[1]))
            out += segment(0xC4, bytes([0x10]) + bytes(counts) + bytes(symbols))
            self.dc, self.ac = codes(used), codes(self.table)
        return out

    def frame_header(self):
        components = b"".join(bytes([c[0], c[1] << 4 | c[2], c[3]]) for c in self.components)
        return segment(self.frame, struct.pack(">BHHB", 8, self.height, self.width, len(self.components)) + components)

    def file(self, before=b"", between=b"", after=b""):
        out = b"\xff\xd8" + before + self.tables() + self.frame_header()
        if self.restart:
            out += segment(0xDD, struct.pack(">H", self.restart))
        for n, scan in enumerate(self.scans):
            out += (between if n else b"") + self.scan(*scan)
        return out + b"\xff\xd9" + after

    def scan(self, places, first, last, high, low):
        head = bytes([len(places)]) + b"".join(bytes([self.components[p][0], 0]) for p in places)
        out = segment(0xDA, head + bytes([first, last, high << 4 | low]))
        units = []
        if len(places) == 1:
            component = self.components[places[0]]
            across, down = self.factors(component)
            wide = -(-(-(-self.width * across // self.across)) // 8)
            high_ = -(-(-(-self.height * down // self.down)) // 8)
            units = [[(places[0], x, y)] for y in range(high_) for x in range(wide)]
        else:
            for y in range(self.units[1]):
                for x in range(self.units[0]):
                    unit = []
                    for p in places:
                        across, down = self.factors(self.components[p])
                        unit += [(p, x * across + i, y * down + j) for j in range(down) for i in range(across)]
                    units.append(unit)
        coder = Coder(self, first, last, high, low)
        for n, unit in enumerate(units):
            if self.restart and n and n % self.restart == 0:
                out += coder.end() + bytes([0xFF, 0xD0 + (n // self.restart - 1) % 8])
            for place, x, y in unit:
                coder.block(place, self.planes[place][x, y])
        return out + coder.end()


class Coder:
    def __init__(self, jpeg, first, last, high, low):
        self.jpeg, self.first, self.last, self.high, self.low = jpeg, first, last, high, low
        self.bits, self.mean, self.ended, self.corrections = Bits(), {}, 0, []

    def symbol(self, codes, symbol):
        self.bits.put(*codes[symbol])

    def end(self):
        self.flush()
        self.mean = {}
        return self.bits.end()

    def flush(self):
        """Writes how many blocks have ended, and the bits that correct what is in them."""
        if self.ended:
            size = self.ended.bit_length() - 1
            self.symbol(self.jpeg.ac, size << 4)
            self.bits.put(self.ended - (1 << size), size)
            self.ended = 0
            for bit in self.corrections:
                self.bits.put(bit, 1)
            self.corrections = []

    def block(self, place, block):
        if not self.jpeg.progressive:
            self.dc(place, block[0])
            self.band(block, 1, 63, 0, False)
        elif self.first == 0:
            if self.high:
                self.bits.put(block[0] >> self.low & 1, 1)
            else:
                self.dc(place, block[0] >> self.low)
        elif self.high:
            self.refine(block)
        else:
            self.band(block, self.first, self.last, self.low, True)

    def dc(self, place, value):
        size, bits = magnitude(value - self.mean.get(place, 0))
        self.symbol(self.jpeg.dc, size)
        self.bits.put(bits, size)
        self.mean[place] = value

    def band(self, block, first, last, low, runs):
        zeros = 0
        for n in range(first, last + 1):
            value = (abs(block[n]) >> low) * (1 if block[n] > 0 else -1)
            if value == 0:
                zeros += 1
                continue
            self.flush()
            while zeros > 15:
                self.symbol(self.jpeg.ac, 0xF0)
                zeros -= 16
            size, bits = magnitude(value)
            self.symbol(self.jpeg.ac, zeros << 4 | size)
            self.bits.put(bits, size)
            zeros = 0
        if zeros:
            if runs:
                self.ended += 1
                if self.ended == 0x7FFF:
                    self.flush()
            else:
                self.symbol(self.jpeg.ac, 0)

    def refine(self, block):
        values = [abs(block[n]) >> self.low for n in range(64)]
        end = max([n for n in range(self.first, self.last + 1) if values[n] == 1], default=-1)
        zeros, corrections = 0, []
        for n in range(self.first, self.last + 1):
            if values[n] == 0:
                zeros += 1
                continue
            while zeros > 15 and n <= end:
                self.flush()
                self.symbol(self.jpeg.ac, 0xF0)
                zeros -= 16
                for bit in corrections:
                    self.bits.put(bit, 1)
                corrections = []
            if values[n] > 1:
                corrections.append(values[n] & 1)
                continue
            self.flush()
            self.symbol(self.jpeg.ac, zeros << 4 | 1)
            self.bits.put(1 if block[n] > 0 else 0, 1)
            for bit in corrections:
                self.bits.put(bit, 1)
            zeros, corrections = 0, []
        if zeros or corrections:
            self.ended += 1
            self.corrections += corrections
            if self.ended == 0x7FFF or len(self.corrections) > 900:
                self.flush()
