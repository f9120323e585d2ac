"""pika against RabbitMQ: `client_pika.py PORT QUEUE` does a little of everything and writes what came of it as JSON;
with `consume COUNT` behind it, it consumes so many messages and says "ready" before; with `publish COUNT`, it sends
them."""

import json
import sys
import time

import pika

port, queue = int(sys.argv[1]), sys.argv[2]
connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port))
channel = connection.channel()
channel.queue_declare(queue)
if sys.argv[3:4] == ["consume"]:
    left = list(range(int(sys.argv[4])))

    def take(channel, method, properties, body):
        left.pop()
        channel.basic_ack(method.delivery_tag)
        if not left:
            channel.stop_consuming()

    channel.basic_consume(queue, take)
    print("ready", flush=True)
    channel.start_consuming()
    connection.close()
    sys.exit()
if sys.argv[3:4] == ["publish"]:
    for _ in range(int(sys.argv[4])):
        channel.basic_publish("", queue, b"x")
    connection.close()
    print("{}")
    sys.exit()

done = {"sent": 0, "confirmed": 0, "returned": 0, "got": 0, "empty": 0, "processed": 0, "refused": 0, "errors": []}
for n in range(20):
    trace = f"{n + 1:032x}"
    properties = pika.BasicProperties(message_id=f"m{n}", headers={"traceparent": f"00-{trace}-{n + 1:016x}-01"})
    channel.basic_publish("", queue, b"x" * n, properties)
    done["sent"] += 1
confirmed = connection.channel()
confirmed.confirm_delivery()
for _ in range(20):
    confirmed.basic_publish("", queue, b"x")
    done["confirmed"] += 1
confirmed.basic_publish("", queue, bytes(1_000_000))
done["confirmed"] += 1
try:
    confirmed.basic_publish("amq.direct", "nowhere", b"x", mandatory=True)
except pika.exceptions.UnroutableError:
    done["returned"] += 1
for _ in range(5):
    method, _, _ = channel.basic_get(queue)
    channel.basic_ack(method.delivery_tag)
    done["got"] += 1
channel.basic_qos(prefetch_count=5)
for method, _, _ in channel.consume(queue):
    time.sleep(0.01)
    if done["processed"] + done["refused"] == 35:
        channel.basic_nack(method.delivery_tag, requeue=False)
        done["refused"] += 1
        break
    channel.basic_ack(method.delivery_tag)
    done["processed"] += 1
channel.cancel()
if channel.basic_get(queue)[0] is None:
    done["empty"] += 1
for ask in (
    lambda channel: channel.basic_get("nosuch-" + queue),
    lambda channel: (channel.confirm_delivery(), channel.basic_publish("nosuch-" + queue, "key", b"x")),
):
    try:
        ask(connection.channel())
    except pika.exceptions.ChannelClosedByBroker as error:
        done["errors"].append(error.reply_code)
connection.close()
print(json.dumps(done))
