"""What all peers share: arguments, how a body becomes pixels, results, and the line that is printed at the end."""

import argparse
import base64
import json
import os
import pickle
import time

import numpy as np

SHAPE = (32, 32, 3)


def arguments(what, body):
    """The arguments of a peer. `body` is how its messages are written unless it is told otherwise."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("url", help="such as amqp://guest:guest@localhost:5672/%%2f")
    parser.add_argument("input", help="the queue of pictures; it exists")
    parser.add_argument("output", help="the queue of results; it exists")
    parser.add_argument("messages", type=positive, help="how many to process before it exits")
    parser.add_argument("--threads", type=int, default=1, help="of the network")
    parser.add_argument("--body", choices=PIXELS, default=body, help="how the messages are written")
    return parser


def positive(text):
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def from_raw(body):
    return np.frombuffer(body, np.uint8).reshape(SHAPE)


def from_json(body):
    return from_raw(base64.b64decode(json.loads(body)["image"]))


def from_pickle(body):
    # It runs what the sender wrote: this is what such consumers do, and a reason not to.
    return pickle.loads(base64.b64decode(body))


PIXELS = {"raw": from_raw, "json": from_json, "pickle": from_pickle}


def result(properties, label, score):
    """The body of a result."""
    return json.dumps({"id": properties.message_id, "label": label, "score": score}).encode()


def correlation(properties):
    """A result keeps the correlation id of its picture; one without has its message id, as with Millrace."""
    return properties.correlation_id or properties.message_id


class Run:
    """Times a peer from its first delivery until the broker has closed its channel, and with it taken the last publish."""

    def __init__(self, name, options):
        self.name = name
        self.options = options
        self.startup = self.began = self.cpu_began = None

    def ready(self):
        """The broker has confirmed the consumer."""
        self.startup = time.clock_gettime(time.CLOCK_BOOTTIME) - process_start()

    def delivered(self):
        """A message is there; the first counts."""
        if self.began is None:
            self.began, self.cpu_began = time.perf_counter(), time.process_time()

    def report(self):
        """The channel is closed."""
        seconds, cpu_seconds = time.perf_counter() - self.began, time.process_time() - self.cpu_began
        line = {
            "peer": self.name,
            "body": self.options.body,
            "threads": self.options.threads,
            "messages": self.options.messages,
            "seconds": round(seconds, 4),
            "cpu_seconds": round(cpu_seconds, 4),
            "peak_rss_bytes": peak_rss_bytes(),
            "startup_seconds": round(self.startup, 2),
        }
        print(json.dumps(line), flush=True)


def process_start():
    """When this process began, in seconds since the machine did: the interpreter and all imports count as start-up."""
    with open("/proc/self/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def peak_rss_bytes():
    # Not getrusage: its maximum can be that of the process which started this one.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
