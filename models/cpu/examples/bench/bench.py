"""Times ONNX files in ONNX Runtime and in `bench` beside it, in turn, and checks the results first.

    cargo build --release -p millrace-cpu --example bench
    python bench.py target/release/examples/bench MODEL.onnx.. [--set avx2] [--threads 1] [--batches 1,4,16]

Prints for each batch the median of the pairs' ratios of CPU time (of time, with several threads): below 1 is faster than
ONNX Runtime. Names the nodes that ran by the book. Needs numpy and onnxruntime.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time

import numpy as np
import onnxruntime


class Bench:
    """The executor, in a process of its own."""

    def __init__(self, binary):
        self.process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request):
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if answer.startswith("error") or not answer:
            raise SystemExit(f"{request}: {answer}")
        return answer


def session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def compare(bench, peer, name, batch, folder):
    """The input, and the largest difference relative to the largest result."""
    feed = peer.get_inputs()[0]
    numbers = np.random.default_rng(batch).normal(size=[batch, *feed.shape[1:]]).astype("<f4")
    numbers.tofile(f"{folder}/x")
    bench.ask(f"check {name} {batch} {folder}/x {folder}/y")
    wanted = peer.run(None, {feed.name: numbers})[0]
    found = np.fromfile(f"{folder}/y", "<f4").reshape(wanted.shape)
    return {feed.name: numbers}, np.abs(found - wanted).max() / np.abs(wanted).max()


def time_pairs(bench, peer, name, batch, inputs, options):
    """Seconds of both, pair by pair."""
    one_thread = options.threads == 1
    clock = time.process_time if one_thread else time.perf_counter

    def theirs(runs):
        begin = clock()
        for _ in range(runs):
            peer.run(None, inputs)
        return (clock() - begin) / runs

    runs = max(1, int(options.seconds / max(theirs(2), 1e-6)))
    for _ in range(options.rounds):
        peer_seconds = theirs(runs)
        wall, cpu = map(float, bench.ask(f"time {name} {batch} {runs}").split())
        yield (cpu if one_thread else wall), peer_seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--set", default="auto", help="auto, avx512, avx2, neon, portable")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", default="1,4,16")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a round")
    parser.add_argument("--check", action="store_true", help="time nothing")
    options = parser.parse_args()
    bench = Bench(options.binary)
    batches = [int(batch) for batch in options.batches.split(",")]
    for path in options.models:
        name = os.path.basename(path).removesuffix(".onnx")
        seconds, size, plain = bench.ask(f"load {name} {path} {options.set} {options.threads} {max(batches)}").split(" ", 2)
        print(f"{name}: prepared in {float(seconds):.2f} s, {int(size) / 2**20:.0f} MiB, by the book: {plain}", flush=True)
        peer = session(path, options.threads)
        with tempfile.TemporaryDirectory() as folder:
            for batch in batches:
                inputs, error = compare(bench, peer, name, batch, folder)
                if options.check:
                    print(f"  batch {batch}: error {error:.1e}", flush=True)
                    continue
                pairs = list(time_pairs(bench, peer, name, batch, inputs, options))
                ratio = statistics.median(ours / theirs for ours, theirs in pairs)
                ours, theirs = (statistics.median(column) * 1e3 for column in zip(*pairs))
                print(
                    f"  batch {batch}: {ratio:.2f} (ours {ours:.3f} ms, ONNX Runtime {theirs:.3f} ms), error {error:.1e}",
                    flush=True,
                )


main()
