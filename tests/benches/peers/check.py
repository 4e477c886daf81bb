"""Runs the peers on the sample pictures and checks every result: its label, and that no message lacks one.

    python check.py URL [naive] [safe] [strong] [--messages 2000] [--queue quorum] [--body raw] [--kill]

With `--kill`, each peer is killed with SIGKILL when it has answered a quarter, and started again for what is in the queue
then. `safe` and `strong` must lose nothing; some messages may have two results. `naive` loses, and the check says how much.
Prints each peer's own line and one of what was found; fails when something is wrong.
"""

import argparse
import base64
import io
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pika
from PIL import Image

PEERS = ["naive", "safe", "strong"]
QUEUES = ["quorum", "classic"]
HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parents[2] / "models" / "shapes-lenet" / "samples"
BODY = {"naive": "pickle", "safe": "pickle", "strong": "raw"}
LOOK_SECONDS = 0.02
# Looks that must agree.
STEADY = 10
LIMIT_SECONDS = 120


def samples():
    """Pictures and their labels, in the order of their names, which are `label-number.png`."""
    pictures = sorted(SAMPLES.glob("*.png"))
    return [(np.asarray(Image.open(path).convert("RGB")), path.stem.strip("-0123456789")) for path in pictures]


def write(image, form):
    """A picture as the body of a message."""
    if form == "raw":
        return image.tobytes()
    if form == "json":
        return json.dumps({"image": base64.b64encode(image.tobytes()).decode()}).encode()
    return base64.b64encode(pickle.dumps(image))


class Queues:
    """An input queue with pictures in it, an output queue, and what is in them now. Both go when it is closed."""

    def __init__(self, url, kind):
        parameters = pika.URLParameters(url)
        parameters.heartbeat = 0  # Nobody answers one while a peer is waited for.
        self.connection = pika.BlockingConnection(parameters)
        self.channel = self.connection.channel()
        self.input, self.output = (f"peers-{os.getpid()}-{end}" for end in ("input", "output"))
        for queue in (self.input, self.output):
            self.channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})

    def fill(self, pictures, form, n):
        bodies = [write(image, form) for image, _ in pictures]
        for number in range(n):
            properties = pika.BasicProperties(message_id=f"message-{number}", correlation_id=str(number), delivery_mode=2)
            self.channel.basic_publish("", self.input, bodies[number % len(bodies)], properties)
        self.wait("every message in the queue", lambda: self.ready(self.input) == n)

    def ready(self, queue):
        return self.look(queue).message_count

    def look(self, queue):
        return self.channel.queue_declare(queue, passive=True).method

    def returned(self):
        """How many are in the input queue, once the broker has taken back what a consumer that is gone had."""
        self.wait("the end of the consumer", lambda: self.look(self.input).consumer_count == 0)
        seen = []

        def is_steady():
            seen.append(self.ready(self.input))
            return len(seen) >= STEADY and len(set(seen[-STEADY:])) == 1

        self.wait("a steady count", is_steady)
        return seen[-1]

    def wait(self, what, is_there):
        deadline = time.monotonic() + LIMIT_SECONDS
        while not is_there():
            if time.monotonic() > deadline:
                raise SystemExit(f"waited in vain for {what}")
            time.sleep(LOOK_SECONDS)

    def results(self):
        """Takes out of the output queue what is there."""
        n = self.ready(self.output)
        if n == 0:
            return
        taken = self.channel.consume(self.output, auto_ack=True)
        for _ in range(n):
            _, properties, body = next(taken)
            yield properties, json.loads(body)
        self.channel.cancel()

    def close(self):
        for queue in (self.input, self.output):
            self.channel.queue_delete(queue)
        self.connection.close()


class Check:
    def __init__(self, options, folder):
        self.options = options
        self.pictures = samples()
        self.model = Path(folder) / "model.onnx"
        if "strong" in options.peers:
            subprocess.run([sys.executable, HERE / "network.py", self.model], check=True)

    def start(self, peer, queues, n):
        words = [sys.executable, HERE / f"{peer}.py", self.options.url, queues.input, queues.output, str(n)]
        words += ["--threads", str(self.options.threads), "--body", self.options.body or BODY[peer]]
        words += ["--model", self.model] if peer == "strong" else []
        return subprocess.Popen(words)

    def run(self, peer, kind):
        n = self.options.messages
        queues = Queues(self.options.url, kind)
        queues.fill(self.pictures, self.options.body or BODY[peer], n)
        left = self.kill(peer, queues) if self.options.kill else n
        if left:
            self.finish(peer, queues, left)
        left = queues.returned()
        answered, wrong, results = set(), 0, 0
        for properties, body in queues.results():
            number, results = int(properties.correlation_id), results + 1
            answered.add(number)
            expected = self.pictures[number % len(self.pictures)][1]
            wrong += (body["id"], body["label"]) != (f"message-{number}", expected) or not 0 < body["score"] <= 1
        queues.close()
        found = {"peer": peer, "queue": kind, "killed": self.options.kill, "answered": len(answered), "wrong": wrong}
        found |= {"lost": n - len(answered) - left, "left": left, "twice": results - len(answered)}
        print(json.dumps(found | {"load": round(os.getloadavg()[0], 2)}), flush=True)
        may_lose = peer == "naive" and self.options.kill
        may_repeat = self.options.kill
        return not wrong and not left and (may_lose or not found["lost"]) and (may_repeat or not found["twice"])

    def finish(self, peer, queues, n):
        """Lets a peer process so many messages."""
        process = self.start(peer, queues, n)
        try:
            status = process.wait(LIMIT_SECONDS)
        finally:
            process.kill()
        if status != 0:
            raise SystemExit(f"{peer} ended with {status}")

    def kill(self, peer, queues):
        """Kills a peer in the middle, and says how many messages are in the queue then."""
        n = self.options.messages
        process = self.start(peer, queues, n)
        try:
            queues.wait(f"a quarter of the results of {peer}", lambda: queues.ready(queues.output) >= n // 4)
        finally:
            process.kill()
        process.wait()
        left = queues.returned()
        print(json.dumps({"peer": peer, "left_when_killed": left, "results": queues.ready(queues.output)}), flush=True)
        if left == 0 and peer != "naive":
            raise SystemExit(f"{peer} was done before it was killed: take more --messages")
        return left


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("peers", nargs="*", help=", ".join(PEERS))
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--queue", choices=QUEUES, help="both, one after the other, where it is left out")
    parser.add_argument("--body", choices=["raw", "json", "pickle"], help="each peer's own where it is left out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kill", action="store_true")
    options = parser.parse_args()
    options.peers = options.peers or PEERS
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"no peer is called {', '.join(sorted(unknown))}: {', '.join(PEERS)}")
    with tempfile.TemporaryDirectory() as folder:
        check = Check(options, folder)
        kinds = [options.queue] if options.queue else QUEUES
        is_right = [check.run(peer, kind) for kind in kinds for peer in options.peers]
    if not all(is_right):
        sys.exit("a result is wrong, missing, or one too many")


if __name__ == "__main__":
    main()
