"""The consumer as people write it: pika, a pickle in base64, PyTorch, one picture at a time.

The broker forgets a message when it sends it, and nobody asks whether a result arrived: what is in this process or on its
way when something ends is lost.
"""

import pika
import torch

import network
import peer


def main():
    options = peer.arguments(__doc__, body="pickle").parse_args()
    run = peer.Run("naive", options)
    torch.set_num_threads(options.threads)
    net, labels = network.load()
    mean, std = network.normalisation()
    pixels = peer.PIXELS[options.body]
    left = options.messages

    channel = pika.BlockingConnection(pika.URLParameters(options.url)).channel()

    def on_message(channel, method, properties, body):
        nonlocal left
        run.delivered()
        image = torch.tensor(pixels(body)).permute(2, 0, 1).unsqueeze(0).float() / 255
        with torch.no_grad():
            scores = torch.softmax(net((image - mean) / std), dim=1)[0]
        best = scores.argmax().item()
        channel.basic_publish(
            exchange="",
            routing_key=options.output,
            body=peer.result(properties, labels[best], scores[best].item()),
            properties=pika.BasicProperties(
                content_type="application/json", correlation_id=peer.correlation(properties)
            ),
        )
        left -= 1
        if left == 0:
            channel.stop_consuming()

    channel.basic_consume(queue=options.input, on_message_callback=on_message, auto_ack=True)
    run.ready()
    channel.start_consuming()
    channel.close()
    run.report()


if __name__ == "__main__":
    main()
