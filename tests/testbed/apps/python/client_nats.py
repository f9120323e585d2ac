"""nats-py against nats-server: `client_nats.py PORT SUBJECT` does a little of everything and writes what came of it."""

import asyncio
import json
import sys

import nats
from nats.errors import NoRespondersError
from nats.js.errors import BadRequestError, KeyNotFoundError

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def main(port, subject):
    done = {"published": 0, "received": 0, "answered": 0, "streamed": 0, "acked": 0, "errors": []}
    client = await nats.connect(f"nats://127.0.0.1:{port}", name="shop")

    async def take(message):
        done["received"] += 1

    async def answer(message):
        await asyncio.sleep(0.02)
        await message.respond(message.data)
        done["answered"] += 1

    await client.subscribe(f"{subject}.news", "readers", cb=take)
    await client.subscribe(f"{subject}.sum", cb=answer)
    for n in range(50):
        await client.publish(f"{subject}.news", b"x" * n, headers={"traceparent": TRACEPARENT} if n % 2 else None)
        done["published"] += 1
    await client.flush()
    await client.publish(f"{subject}.news", bytes(500_000))
    done["published"] += 1
    while done["received"] < done["published"]:
        await asyncio.sleep(0.01)  # of what comes with the end of a large one in one operation only ends are captured
    for n in range(5):
        await client.request(f"{subject}.sum", str(n).encode(), timeout=5)
    try:
        await client.request(f"{subject}.nobody", b"", timeout=5)
    except NoRespondersError:
        done["errors"].append("503")

    stream = client.jetstream()
    await stream.add_stream(name=subject, subjects=[f"{subject}.stream"])
    for _ in range(10):
        await stream.publish(f"{subject}.stream", b"message")
        done["streamed"] += 1
    try:
        await stream.publish(f"{subject}.stream", b"", headers={"Nats-Expected-Last-Sequence": "99"})
    except BadRequestError as error:
        done["errors"].append(str(error.err_code))
    pulled = await stream.pull_subscribe(f"{subject}.stream", durable="worker")
    while done["acked"] < 10:
        for message in await pulled.fetch(4, timeout=5):
            await asyncio.sleep(0.02)
            await message.ack()
            done["acked"] += 1
    bucket = await stream.create_key_value(bucket=f"{subject}-bucket")
    await bucket.put("key", b"value")
    await bucket.get("key")
    try:
        await bucket.get("other")
    except KeyNotFoundError:
        done["errors"].append("")
    await client.drain()
    print(json.dumps(done))


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
