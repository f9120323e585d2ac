"""The testbed's Python application for Redis, on redis-py: `redis_calls.py HOST PORT resp2|resp3|asyncio`.

A bit of everything, in database 3; values are all "secret".
"""

import asyncio
import contextlib
import sys
from typing import Any

import redis
import redis.asyncio

ARGUMENTS: dict[str, Any] = {"host": sys.argv[1], "port": int(sys.argv[2]), "db": 3}


def everything(protocol: int) -> None:
    """With one connection, and a second for what is pushed."""
    r = redis.Redis(**ARGUMENTS, protocol=protocol)
    r.flushdb()
    r.set("T:string", "secret")
    r.get("T:string")
    r.get("T:nothing")
    r.mset({"T:a": "secret", "T:b": "secret"})
    r.hset("T:hash", mapping={"field": "secret"})
    r.hgetall("T:hash")
    r.zadd("T:sorted", {"secret": 1.5})
    r.zrange("T:sorted", 0, -1, withscores=True)
    r.set("T:large", "secret" * 100_000)
    r.get("T:large")
    with contextlib.suppress(redis.ResponseError):
        r.lpush("T:string", "secret")
    with contextlib.suppress(redis.ResponseError):
        r.eval("return redis.error_reply('SECRETS are out')", 0)
    r.eval("return ARGV[1]", 1, "T:key", "secret")
    r.blpop(["T:empty"], timeout=0.3)
    r.xadd("T:stream", {"field": "secret"})
    r.xread({"T:stream": "0"})
    with r.pipeline(transaction=True) as pipeline:
        pipeline.set("T:a", "secret").get("T:a").incr("T:count").execute()
    with r.pipeline(transaction=True) as pipeline, contextlib.suppress(redis.ResponseError):
        pipeline.set("T:a", "secret").incr("T:a").execute()
    with r.pipeline(transaction=False) as pipeline:
        for number in range(500):
            pipeline.set(f"T:{number}", "secret")
        pipeline.execute()
    with r.pubsub() as subscription:
        subscription.subscribe("T:channel")
        subscription.get_message(timeout=5)
        for _ in range(3):
            r.publish("T:channel", "secret")
            subscription.get_message(timeout=5)
        subscription.unsubscribe()
        subscription.get_message(timeout=5)
    r.close()


async def at_once() -> None:
    """Many connections, and many commands on each."""
    r = redis.asyncio.Redis(**ARGUMENTS, max_connections=8)
    await r.flushdb()
    await asyncio.gather(*(r.incr(f"T:{number % 10}") for number in range(8)))
    for _ in range(50):
        async with r.pipeline(transaction=False) as pipeline:
            for number in range(20):
                pipeline.incr(f"T:{number}")
            await pipeline.execute()
    await r.aclose()


if sys.argv[3] == "asyncio":
    asyncio.run(at_once())
else:
    everything(int(sys.argv[3].removeprefix("resp")))
