"""Writes the files that the tests read, with NumPy and safetensors themselves. The elements are 0, 1, 2, ... in row-major order."""

import io
import pathlib

import numpy as np
from safetensors.numpy import save

HERE = pathlib.Path(__file__).parent
elements = np.arange(12).reshape(3, 2, 2)


def npy(name, array, version=(1, 0)):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)
    (HERE / name).write_bytes(file.getvalue())


npy("bytes.npy", elements.astype("|u1"))
npy("halves.npy", elements.astype("<f2"))
npy("floats.npy", elements.astype("<f4"))
npy("doubles.npy", elements.astype("<f8"))
npy("batch.npy", elements.astype("<f4")[np.newaxis])
npy("version-2.npy", elements.astype("<f4"), (2, 0))
npy("version-3.npy", elements.astype("<f4"), (3, 0))
npy("fortran.npy", np.asfortranarray(elements.astype("<f4")))
npy("big-endian.npy", elements.astype(">f4"))
npy("integers.npy", elements.astype("<i8"))
npy("structures.npy", np.zeros(12, dtype=[("red", "u1"), ("green", "u1")]))
(HERE / "one.safetensors").write_bytes(save({"picture": elements.astype("<f4")}))
(HERE / "two.safetensors").write_bytes(
    save({"picture": elements.astype("|u1"), "label": np.array([7], dtype="<i8")}, metadata={"camera": "7"})
)
