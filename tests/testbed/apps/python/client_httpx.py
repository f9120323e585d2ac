"""`client_httpx.py BASE AT_ONCE`: httpx on one connection of HTTP/2, with so many streams at once.

Of bodies no more than 64 KB at once: httpcore may wait for itself where several streams wait for the window.

"METHOD TARGET BODY_BYTES" lines in, "STATUS BODY_BYTES" out.
"""

import asyncio
import ssl
import sys

import httpx


async def main(base: str, at_once: int) -> None:
    free = asyncio.Semaphore(at_once)
    limits = httpx.Limits(max_connections=1)
    # Without HTTP/1 it has prior knowledge.
    async with httpx.AsyncClient(
        base_url=base, http1=False, http2=True, verify=ssl.create_default_context(), limits=limits, timeout=60
    ) as client:

        async def ask(line: str) -> str:
            method, target, size = line.split()
            async with free:
                response = await client.request(method, target, content=b"x" * int(size) or None)
            return f"{response.status_code} {len(response.content)}"

        print(*await asyncio.gather(*map(ask, sys.stdin)), sep="\n")


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
