"""librdkafka by confluent-kafka, told what to do by lines of its standard input.

    kafka_client.py produce PORT [NAME=VALUE...]                send TOPIC COUNT BYTES [traced]
    kafka_client.py consume PORT TOPIC GROUP [NAME=VALUE...]    poll COUNT

It answers each line with one for each message ("sent TOPIC PARTITION OFFSET", "failed ERROR",
"got TOPIC PARTITION OFFSET TRACEPARENT") and "done". What was got is committed before that.
"""

import sys

from confluent_kafka import Consumer, KafkaError, Message, Producer


def settings(port: str, pairs: list[str]) -> dict[str, str]:
    """What librdkafka is told."""
    return {"bootstrap.servers": f"127.0.0.1:{port}", **dict(pair.split("=", 1) for pair in pairs)}


def delivered(error: KafkaError | None, message: Message) -> None:
    """Says what became of a message."""
    offset = -1 if message.offset() is None else message.offset()  # nobody says with acks=0
    print(f"failed {error.name()}" if error else f"sent {message.topic()} {message.partition()} {offset}")


def produce(port: str, *pairs: str) -> None:
    """Sends."""
    producer = Producer(settings(port, list(pairs)))
    for line in sys.stdin:
        _, topic, count, size, *traced = line.split()
        for n in range(1, int(count) + 1):
            headers = [("traceparent", f"00-{n:032x}-{n:016x}-01".encode())] if traced else []
            producer.produce(topic, bytes(int(size)), headers=headers, on_delivery=delivered)
        producer.flush()
        print("done", flush=True)


def consume(port: str, topic: str, group: str, *pairs: str) -> None:
    """Receives."""
    own = {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": "false"}
    consumer = Consumer(settings(port, list(pairs)) | own)
    consumer.subscribe([topic])
    for line in sys.stdin:
        left = int(line.split()[1])
        while left:
            message = consumer.poll(0.2)
            if message is None or message.error():
                continue
            context = dict(message.headers() or []).get("traceparent", b"").decode()
            print("got", message.topic(), message.partition(), message.offset(), context)
            left -= 1
        consumer.commit(asynchronous=False)
        print("done", flush=True)
    consumer.close()


if __name__ == "__main__":
    {"produce": produce, "consume": consume}[sys.argv[1]](*sys.argv[2:])
