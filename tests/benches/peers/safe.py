"""`naive.py` made safe in the way of pika's documentation: a message is acknowledged after its result was confirmed.

Nothing is lost when this process or the broker ends: what was not acknowledged is delivered again. A result that no queue
takes, or a body that is no picture, ends the process.
"""

import pika
import torch

import network
import peer

PREFETCH = 100


def main():
    options = peer.arguments(__doc__, body="pickle").parse_args()
    run = peer.Run("safe", options)
    torch.set_num_threads(options.threads)
    net, labels = network.load()
    mean, std = network.normalisation()
    pixels = peer.PIXELS[options.body]
    left = options.messages

    channel = pika.BlockingConnection(pika.URLParameters(options.url)).channel()
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=PREFETCH)

    def on_message(channel, method, properties, body):
        nonlocal left
        run.delivered()
        image = torch.tensor(pixels(body)).permute(2, 0, 1).unsqueeze(0).float() / 255
        with torch.no_grad():
            scores = torch.softmax(net((image - mean) / std), dim=1)[0]
        best = scores.argmax().item()
        # Waits for the confirm; raises when the broker refuses the result or has no queue for it.
        channel.basic_publish(
            exchange="",
            routing_key=options.output,
            body=peer.result(properties, labels[best], scores[best].item()),
            properties=pika.BasicProperties(
                content_type="application/json",
                correlation_id=peer.correlation(properties),
                delivery_mode=pika.DeliveryMode.Persistent,
            ),
            mandatory=True,
        )
        channel.basic_ack(method.delivery_tag)
        left -= 1
        if left == 0:
            channel.stop_consuming()

    channel.basic_consume(queue=options.input, on_message_callback=on_message)
    run.ready()
    channel.start_consuming()
    channel.close()
    run.report()


if __name__ == "__main__":
    main()
