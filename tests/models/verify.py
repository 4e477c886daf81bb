"""Checks that every recorded case still is what ONNX Runtime answers: after a change to a generator, or of a version."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from graph import session

HERE = Path(__file__).parent
# Versions of ONNX Runtime and of processors differ by roundings.
TOLERANCE = 1e-5


def main():
    n_cases = 0
    for path in sorted([*(HERE / "operators").glob("*.onnx"), *(HERE / "networks").glob("*.onnx")]):
        recorded = load_file(path.with_name(path.name.split(".")[0] + ".safetensors"))
        run = session(path)
        (described,) = run.get_inputs()
        inputs = recorded.pop("input")
        fixed = described.shape[:1] == [1]
        batches = [inputs[i : i + 1] for i in range(len(inputs))] if fixed else [inputs]
        found = [run.run(None, {described.name: batch}) for batch in batches]
        for i, column in enumerate(zip(*found, strict=True)):
            column = np.concatenate(column).astype(np.float64)
            expected = recorded[f"output.{i}"].astype(np.float64)
            difference = np.abs(column - expected).max(initial=0) / max(1e-30, np.abs(expected).max(initial=0))
            assert column.shape == expected.shape and difference < TOLERANCE, f"{path.name}: {difference}"
        assert len(recorded) == i + 1, path.name
        n_cases += 1
    print(f"{n_cases} cases hold")


if __name__ == "__main__":
    main()
