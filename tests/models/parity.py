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


class Refused(Exception):
    pass


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
    worst = 0.0
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if a.size != b.size:
            raise Refused(f"output {i} has {a.size} numbers and not {b.size}")
        a = a.reshape(b.shape).astype(np.float64)
        b = b.astype(np.float64)
        if not np.isfinite(a).all() and np.isfinite(b).all():
            raise Refused(f"output {i} is not finite")
        worst = max(worst, np.abs(a - b).max(initial=0) / max(np.abs(b).max(initial=0), 1e-30))
        if b.ndim == 2 and (a.argmax(1) != b.argmax(1)).any():
            raise Refused(f"output {i}: another class is first")
    if worst >= tolerance:
        raise Refused(f"differs by {worst:.1e}")
    return worst


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
        single = compared(forward.outputs(inputs[:1], scratch), of("single"), tolerance)
        several = compared(forward.outputs(inputs, scratch), of("output"), tolerance)
        row = {
            "exporter": path.parent.name, "network": path.stem, "edge": inputs.shape[-1], "nodes": int(n_nodes),
            "load_s": float(load_s), "mib": round(int(memory) / 2**20, 1), "difference": max(single, several),
        }  # fmt: skip
        for batch in arguments.batch if arguments.speed else []:
            row[f"images_s_{batch}"] = speeds(forward, path, inputs, batch, arguments)
        return row
    finally:
        forward.close()


def shown(row, batches):
    cells = [row["network"], row["exporter"], row["edge"], row["nodes"], f"{row['load_s']:.2f}", f"{row['difference']:.0e}"]
    for batch in batches:
        speed = row.get(f"images_s_{batch}")
        if speed:
            ours, theirs = speed["millrace"], speed["onnxruntime"]
            cells += [f"{ours:.3g}", f"{theirs:.3g}", f"{theirs / ours:.2f}"]
            cells += [f"{speed['torch']:.3g}"] if "torch" in speed else []
    return "| " + " | ".join(map(str, cells)) + " |"


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
    failed = []
    paths = [path for path in sorted(arguments.folder.glob("*/*.onnx")) if path.with_suffix(".safetensors").exists()]
    wanted = tuple(arguments.names)
    with tempfile.TemporaryDirectory() as scratch:
        for path in paths:
            if wanted and not path.stem.startswith(wanted):
                continue
            try:
                row = examine(path, arguments, Path(scratch))
            except Refused as reason:
                failed.append(path)
                print(f"FAILED {path.parent.name}/{path.stem}: {reason}", flush=True)
                continue
            print(shown(row, arguments.batch), flush=True)
            if arguments.json:
                with arguments.json.open("a") as lines:
                    lines.write(json.dumps(row) + "\n")
    print(f"{len(failed)} failed" if failed else "all hold")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
