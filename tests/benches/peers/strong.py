"""A careful consumer: aio-pika, raw pixels, batches, ONNX Runtime, several batches in flight.

A batch is whatever has arrived, up to 64 pictures: it waits for no timer. While one is computed, the results of those before
it are on their way. A batch is acknowledged as a whole, in the order of delivery, after each of its results was confirmed,
so nothing is lost when this process or the broker ends. A failure ends the process.
"""

import asyncio
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aio_pika
import aiormq
import numpy as np
import onnxruntime

import peer

BATCH_MAX = 64
# A batch that is computed, one that is gathered, and two whose results wait for their confirms.
PREFETCH = 4 * BATCH_MAX


def open_session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin between batches take the cores from the broker.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class Classifier:
    """Bodies to the best class of each."""

    def __init__(self, path, options):
        self.session = open_session(path, options.threads)
        self.labels = self.session.get_modelmeta().custom_metadata_map["labels"].split("\n")
        self.pixels = peer.PIXELS[options.body]

    def __call__(self, bodies):
        pixels = np.stack([self.pixels(body) for body in bodies])
        (scores,) = self.session.run(None, {"pixels": pixels})
        best = scores.argmax(axis=1)
        return [(self.labels[index], float(row[index])) for index, row in zip(best, scores)]


class Sink:
    """Publishes results, mandatory and confirmed."""

    def __init__(self, channel, queue):
        self.channel = channel
        self.queue = queue

    async def publish(self, message, label, score):
        properties = aiormq.spec.Basic.Properties(
            content_type="application/json", correlation_id=peer.correlation(message), delivery_mode=2
        )
        # Not `exchange.publish`, which lets a result wait until the one before it has left the socket's buffer. The
        # confirm is awaited all the same; a result that comes back, or is refused, raises.
        await self.channel.basic_publish(
            peer.result(message, label, score),
            routing_key=self.queue,
            properties=properties,
            mandatory=True,
            wait=False,
        )

    async def settle(self, batch, answers, before):
        """Acknowledges a batch after its results were confirmed, and after the batch before it."""
        await asyncio.gather(*(self.publish(message, *answer) for message, answer in zip(batch, answers)))
        if before:
            await before
        await batch[-1].ack(multiple=True)


async def gather_batch(arrived, most):
    """Waits for one message, and takes what else is there."""
    batch = [await arrived.get()]
    while len(batch) < most and not arrived.empty():
        batch.append(arrived.get_nowait())
    return batch


async def fail_when_closed(channel):
    await channel.closed()
    raise ConnectionError("the broker closed the channel")


async def serve(options, run, classify):
    async with await aio_pika.connect(options.url) as connection:
        source = await connection.channel()
        confirmed = await connection.channel(publisher_confirms=True, on_return_raises=True)
        sink = Sink(await confirmed.get_underlay_channel(), options.output)
        await source.set_qos(prefetch_count=PREFETCH)
        queue = await source.get_queue(options.input, ensure=False)
        arrived = asyncio.Queue()

        async def on_message(message):
            run.delivered()
            arrived.put_nowait(message)

        await queue.consume(on_message)
        run.ready()
        async with asyncio.TaskGroup() as tasks:
            watch = [tasks.create_task(fail_when_closed(channel)) for channel in (source, confirmed)]
            await answer_all(options.messages, arrived, classify, sink, tasks)
            for task in watch:
                task.cancel()
        await source.close()
        run.report()


async def answer_all(left, arrived, classify, sink, tasks):
    """Computes a batch while the results of those before it are confirmed."""
    before = None
    with ThreadPoolExecutor(1) as executor:
        while left:
            batch = await gather_batch(arrived, min(left, BATCH_MAX))
            left -= len(batch)
            bodies = [message.body for message in batch]
            answers = await asyncio.get_running_loop().run_in_executor(executor, classify, bodies)
            before = tasks.create_task(sink.settle(batch, answers, before))
        await before


def main():
    parser = peer.arguments(__doc__, body="raw")
    parser.add_argument("--model", help="what `network.py` wrote; otherwise it is written first, which start-up includes")
    options = parser.parse_args()
    run = peer.Run("strong", options)
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or Path(folder) / "model.onnx"
        if not options.model:
            # In a process of its own: PyTorch's memory is not this consumer's.
            subprocess.run([sys.executable, Path(__file__).with_name("network.py"), path], check=True)
        classify = Classifier(path, options)
    asyncio.run(serve(options, run, classify))


if __name__ == "__main__":
    main()
