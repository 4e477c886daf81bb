"""A preprocessor in Python: takes raw RGB, rows of pixels, and gives the model its bytes, one colour after the other."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import types


class Plugin(exports.Plugin):
    def settings(self):
        return []

    def configure(self, settings):
        pass


class Preprocess(exports.Preprocess):
    def preprocess(self, message, wants):
        body = message.body()
        channels, height, width = wants.shape
        if channels != 3 or len(body) != 3 * height * width:
            raise Err(types.Refusal_Reject(f"{len(body)} bytes are no picture of {width}x{height}"))
        planes = b"".join(body[colour::3] for colour in range(3))
        return types.Tensor(shape=wants.shape, data=types.TensorData_Bytes(planes))
