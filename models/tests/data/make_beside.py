"""Writes beside.txt: what stands beside the weights in checkpoints, as Python pickles it, one object and protocol a line.

Run with NumPy, PyTorch-free: python make_beside.py   (in this folder; the file it writes is committed)
"""

import argparse
import collections
import copyreg
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import pathlib
import pickle
import re
import sys
import types
import uuid
from pathlib import Path

import numpy


def torch_like(name, reduced):
    """An object that is pickled as PyTorch pickles its own."""
    kind = type(name, (), {"__reduce__": lambda self: reduced})
    return kind()


torch = types.ModuleType("torch")
sys.modules["torch"] = torch


def make(name):
    function = types.FunctionType((lambda *a: None).__code__, {}, name)
    function.__module__, function.__qualname__ = "torch", name
    setattr(torch, name, function)
    return function


Size, device = make("Size"), make("device")
torch.float32 = None


class Attributes(dict):
    pass


class Names(list):
    pass


class History(collections.OrderedDict):
    pass


class Words(str):
    pass


class Slots:
    __slots__ = ("a", "b")


class Plain:
    pass


class Colour(enum.Enum):
    RED = 1


class Flags(enum.IntFlag):
    ONE = 1
    TWO = 2


@dataclasses.dataclass
class Settings:
    rate: float = 0.1
    steps: tuple = (1, 2)


Point = collections.namedtuple("Point", "x y")


def objects():
    yield "defaultdict", collections.defaultdict(list, {"loss": [1.0, 0.5], "accuracy": [0.1]})
    yield "defaultdict of defaultdicts", collections.defaultdict(dict, {"a": collections.defaultdict(int, {"b": 1})})
    yield "deque", collections.deque([1, 2, 3], maxlen=5)
    yield "OrderedDict", collections.OrderedDict([("a", 1), ("b", {"c": 2})])
    yield "Counter", collections.Counter("abba")
    yield "ChainMap", collections.ChainMap({"a": 1}, {"b": 2})
    attributes = Attributes(a=1, b=[2])
    attributes.extra = {"c": 3}
    yield "subclass of dict with attributes", attributes
    names = Names(["a", "b"])
    names.extra = 1
    yield "subclass of list with attributes", names
    history = History(a=1)
    history.extra = Plain()
    yield "subclass of OrderedDict", history
    yield "subclass of str", Words("abc")
    yield "namedtuple", Point(1, {"a": [2]})
    yield "tuple keys", {(0, "a"): 1, ("b", (1, None)): [2]}
    yield "None as a key", {None: 1, True: 2, False: 3, 4: 5, -6: 7, 8.5: 9, b"b": 10, Colour.RED: 11}
    yield "set", {1, 2, 3}
    yield "frozenset", frozenset({"a", ("b",)})
    yield "sets within", {"a": {1}, "b": frozenset({frozenset({2})})}
    yield "numpy scalar", numpy.float64(0.25)
    yield "numpy integer", {numpy.int64(3): numpy.int32(4)}
    yield "numpy array", numpy.arange(12, dtype=numpy.float32).reshape(3, 4)
    yield "numpy strings", numpy.array(["a", "bc"])
    yield "numpy objects", numpy.array([{"a": 1}, None], dtype=object)
    yield "numpy generator", numpy.random.RandomState(1).get_state()
    yield "datetime", [datetime.datetime(2026, 1, 2, 3, 4, 5), datetime.timedelta(1), datetime.date(2026, 1, 2)]
    yield "aware datetime", datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
    yield "path", pathlib.PurePosixPath("/data/run-1")
    yield "torch.Size", torch_like("Size", (Size, ((3, 4),)))
    yield "torch.device", torch_like("device", (device, ("cuda", 0)))
    yield "torch.dtype", torch_like("dtype", "float32")
    yield "Namespace", argparse.Namespace(rate=0.1, layers=[1, 2], path=pathlib.PurePosixPath("a"))
    yield "SimpleNamespace", types.SimpleNamespace(a=1, b=types.SimpleNamespace(c=2))
    yield "dataclass", Settings()
    yield "enum", [Colour.RED, Flags.ONE | Flags.TWO]
    slots = Slots()
    slots.a, slots.b = 1, [2]
    yield "slots", slots
    yield "partial", functools.partial(int, base=2)
    yield "function and class", [len, dict, Plain, Settings, numpy.float32]
    yield "scheduler", {"base_lrs": [0.1], "last_epoch": 3, "_step_count": 4, "lr_lambdas": [None], "verbose": False}
    yield "exact numbers", [decimal.Decimal("0.1"), fractions.Fraction(1, 3), 2**70, -(2**70), -1, 255, 65536, -(2**31), 3j]
    yield "uuid and pattern", [uuid.UUID(int=1), re.compile("a+"), range(3), slice(1, 2), ...]
    yield "error", ValueError("it failed", 3)
    yield "bytes", [b"abc", bytearray(b"def"), b"x" * 300, "é" * 200]
    yield "long text", "a" * 5000
    circle = [1]
    circle.append(circle)
    yield "a list in itself", circle
    ring = {"a": {}}
    ring["a"]["b"] = ring
    yield "a dictionary in itself", ring
    plain = Plain()
    plain.me = plain
    yield "an object in itself", plain
    deep = []
    for _ in range(300):
        deep = [deep]
    yield "nested lists", deep
    same = [1, 2]
    yield "shared", [same, same, {"a": same}]


def lines():
    for name, value in objects():
        for protocol in (0, 2, 4, 5):
            try:
                pickled = pickle.dumps(value, protocol)
            except (pickle.PicklingError, TypeError, copyreg.Error if hasattr(copyreg, "Error") else TypeError):
                continue
            yield f"{name}\t{protocol}\t{pickled.hex()}\n"


if __name__ == "__main__":
    path = Path(__file__).resolve().parent / "beside.txt"
    path.write_text("".join(lines()))
    print(path, path.stat().st_size)
