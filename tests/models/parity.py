"""Runs the zoo through Millrace beside ONNX Runtime and PyTorch, and prints the table of the book.

    python parity.py FORWARD FOLDER [--device cpu] [--threads 1] [--torch] [NAME..]

FORWARD is the example program `forward`, FOLDER what `zoo.py` wrote. Fails when a network is refused, when an output
differs by more than the device may, or when another class is first.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from safetensors.numpy import load_file

# The largest difference from ONNX Runtime, as a share of the largest output.
TOLERANCE = {"cpu": 1e-4, "reference": 1e-4, "wgpu": 1e-3}

# Timed in turns, so that what else the machine does falls on all alike; the best turn of each counts.
TURNS = 3
SECONDS = 1.0


# How much further from float64 than the further of ONNX Runtime and PyTorch: roundings are a matter of luck.
LUCK = 3.0


class Refused(Exception):
    pass


class Apart(Refused):
    """Millrace and ONNX Runtime differ by more than the device may."""


class Forward:
    """The example program: it reads a request a line, and answers each with a line."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Refused(f"the program ended with {self.process.wait()}")
        if line.startswith("error: "):
            raise Refused(line.removeprefix("error: ").strip())
        return line.split()

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def outputs(self, inputs, folder):
        """As many flat arrays as the network has outputs."""
        inputs.astype("<f4").tofile(folder / "input")
        (n_outputs,) = self.ask("run", len(inputs), folder / "input", folder / "output")
        return [np.fromfile(folder / f"output.{i}", "<f4") for i in range(int(n_outputs))]


def compared(found, expected, tolerance):
    """The largest difference relative to the largest output; raises where it is too large."""
    if len(found) != len(expected):
        raise Refused(f"{len(found)} outputs and not {len(expected)}")
    worst, another = 0.0, ""
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if a.size != b.size:
            raise Refused(f"output {i} has {a.size} numbers and not {b.size}")
        a = a.reshape(b.shape).astype(np.float64)
        b = b.astype(np.float64)
        if not np.isfinite(a).all() and np.isfinite(b).all():
            raise Refused(f"output {i} is not finite")
        worst = max(worst, np.abs(a - b).max(initial=0) / max(np.abs(b).max(initial=0), 1e-30))
        if b.ndim == 2 and (a.argmax(1) != b.argmax(1)).any():
            another = another or f"output {i}"
    if another:
        raise Apart(f"{another}: another class is first")
    if worst >= tolerance:
        raise Apart(f"differs by {worst:.1e}")
    return worst


def largest_difference(found, expected):
    """As a share of the largest output."""
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))


def by_double(path, inputs, found, expected, tolerance):
    """Who is how far from PyTorch in float64: decides where ONNX Runtime's own roundings are larger than the tolerance."""
    import torch

    from zoo import SEGMENTATION, TIMM, TORCHVISION, seeded_network

    name = path.stem.split("-")[0]
    if name not in TORCHVISION | SEGMENTATION | TIMM:
        return None
    model, _ = seeded_network(name)
    items = torch.from_numpy(inputs)
    with torch.inference_mode():
        plain = model(items).numpy()
        right = model.double()(items.double()).numpy()
    far = {
        "millrace": largest_difference(found.reshape(right.shape), right),
        "onnxruntime": largest_difference(expected, right),
        "torch": largest_difference(plain, right),
    }
    others = max(far["onnxruntime"], far["torch"])
    return far if others >= tolerance / 2 and far["millrace"] <= LUCK * others else None


def runtime(path, n_threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def seconds_of(run):
    """Seconds of the quickest call, of as many as fit."""
    run()
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
    return best


def torch_network(name, n_threads):
    import torch

    from zoo import build

    torch.set_num_threads(n_threads)
    model, _ = build(name)
    return model.eval()


def speeds(forward, path, inputs, batch, arguments):
    """Items a second: of Millrace, ONNX Runtime and PyTorch, in turns."""
    fixed = path.stem.endswith("-fixed")
    items = np.ascontiguousarray(np.resize(inputs, (batch, *inputs.shape[1:])))
    session = runtime(path, arguments.threads)
    name = session.get_inputs()[0].name
    split = [items[i : i + 1] for i in range(batch)] if fixed else [items]
    rivals = {
        "millrace": lambda: float(forward.ask("time", batch, SECONDS)[0]),
        "onnxruntime": lambda: seconds_of(lambda: [session.run(None, {name: part}) for part in split]),
    }
    if arguments.torch:
        import torch

        model, tensor = torch_network(path.stem.split("-")[0], arguments.threads), torch.from_numpy(items)

        def forward_torch():
            with torch.inference_mode():
                model(tensor)

        rivals["torch"] = lambda: seconds_of(forward_torch)
    best = dict.fromkeys(rivals, float("inf"))
    for _ in range(TURNS):
        for rival, measure in rivals.items():
            best[rival] = min(best[rival], measure())
    return {rival: batch / seconds for rival, seconds in best.items()}


def examine(path, arguments, scratch):
    recorded = load_file(path.with_suffix(".safetensors"))
    inputs = recorded["input"]
    of = lambda kind: [recorded[f"{kind}.{i}"] for i in range(sum(key.startswith(f"{kind}.") for key in recorded))]
    forward = Forward(arguments.forward)
    try:
        load_s, n_nodes, memory = forward.ask("load", path, arguments.device, arguments.threads)
        tolerance = TOLERANCE[arguments.device]
        row = {
            "exporter": path.parent.name, "network": path.stem, "edge": max(inputs.shape[-2:]), "nodes": int(n_nodes),
            "load_s": float(load_s), "mib": round(int(memory) / 2**20, 1),
        }  # fmt: skip
        found, expected = forward.outputs(inputs, scratch), of("output")
        try:
            single = compared(forward.outputs(inputs[:1], scratch), of("single"), tolerance)
            row["difference"] = max(single, compared(found, expected, tolerance))
        except Apart:
            row["double"] = by_double(path, inputs, found[0], expected[0], tolerance) if len(expected) == 1 else None
            if not row["double"]:
                raise
            row["difference"] = largest_difference(found[0].reshape(expected[0].shape), expected[0])
        for batch in arguments.batch if arguments.speed else []:
            row[f"images_s_{batch}"] = speeds(forward, path, inputs, batch, arguments)
        return row
    finally:
        forward.close()


def in_double(row):
    far = row["double"]
    return (
        f"from PyTorch in float64 it is {far['millrace']:.0e}, ONNX Runtime {far['onnxruntime']:.0e} and PyTorch in float32 {far['torch']:.0e}"
    )


class Table:
    """What was compared, as a table of Markdown whose columns line up."""

    def __init__(self, batches):
        self.batches = batches
        self.rows = []

    def add(self, row):
        self.rows.append(row)

    def print(self):
        timed = [f"images_s_{batch}" for batch in self.batches]
        rivals = {"millrace": "Millrace", "onnxruntime": "ONNX Runtime", "torch": "PyTorch"}
        columns = [(key, rival) for key in timed for rival in rivals if any(rival in row.get(key, {}) for row in self.rows)]
        head = ["network", "exporter", "edge", "nodes", "load, s", "difference"]
        head += [rivals[rival] + (f", batch {key.removeprefix('images_s_')}" if len(timed) > 1 else "") for key, rival in columns]
        lines = [head]
        for row in self.rows:
            cells = [row["network"], row["exporter"], row["edge"], row["nodes"], f"{row['load_s']:.2f}", f"{row['difference']:.0e}"]
            cells += [f"{row[key][rival]:.3g}" if rival in row.get(key, {}) else "" for key, rival in columns]
            lines.append([str(cell) for cell in cells])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines.insert(1, ["-" * width for width in widths])
        for line in lines:
            print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if columns:
            print("Speeds are images a second, the best of three turns.")
        for row in self.rows:
            if row.get("double"):
                print(f"{row['network']} ({row['exporter']}) magnifies roundings: {in_double(row)}.")


def told(row, batches):
    """A row as a line of progress."""
    words = [f"differs by {row['difference']:.0e}", f"loaded in {row['load_s']:.2f} s"]
    if row.get("double"):
        words.insert(1, in_double(row))
    for batch in batches:
        if speed := row.get(f"images_s_{batch}"):
            words += [f"{speed['millrace']:.3g} images/s, ONNX Runtime {speed['onnxruntime']:.3g}"]
    return ", ".join(words)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("forward", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="networks whose files' names begin so; all otherwise")
    parser.add_argument("--device", choices=list(TOLERANCE), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, action="append", help="batch sizes that are timed; 1 otherwise")
    parser.add_argument("--speed", action="store_true", help="times Millrace and ONNX Runtime in turns")
    parser.add_argument("--torch", action="store_true", help="and PyTorch")
    parser.add_argument("--json", type=Path, help="where rows are added, one a line")
    arguments = parser.parse_intermixed_args()
    arguments.batch = arguments.batch or [1]
    arguments.speed = arguments.speed or arguments.torch
    wanted = tuple(arguments.names)
    paths = [path for path in sorted(arguments.folder.glob("*/*.onnx")) if path.with_suffix(".safetensors").exists()]
    paths = [path for path in paths if not wanted or path.stem.startswith(wanted)]
    if not paths:
        sys.exit(f"{arguments.folder} has no network to compare: `zoo.py` makes them")
    table, failed = Table(arguments.batch), []
    with tempfile.TemporaryDirectory() as scratch:
        for i, path in enumerate(paths, 1):
            name = f"{path.parent.name}/{path.stem}"
            print(f"[{i}/{len(paths)}] {name}: ", end="", flush=True)
            try:
                row = examine(path, arguments, Path(scratch))
            except Refused as reason:
                failed.append(f"{name}: {reason}")
                print(f"FAILED: {reason}", flush=True)
                continue
            print(told(row, arguments.batch), flush=True)
            table.add(row)
            if arguments.json:
                with arguments.json.open("a") as lines:
                    lines.write(json.dumps(row) + "\n")
    print()
    table.print()
    if failed:
        sys.exit("\n".join([f"{len(failed)} of {len(paths)} do not hold:", *failed]))
    print(f"All {len(paths)} hold: outputs differ from ONNX Runtime's by less than {TOLERANCE[arguments.device]:.0e} of the largest, or as told above.")


if __name__ == "__main__":
    main()
