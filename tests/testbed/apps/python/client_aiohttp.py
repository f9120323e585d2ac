"""`client_aiohttp.py [--proxy URL] BASE`: aiohttp on one session.

"METHOD TARGET BODY_BYTES" lines in, "STATUS BODY_BYTES" out.
"""

import asyncio
import sys

import aiohttp


async def main() -> None:
    proxy = sys.argv[2] if sys.argv[1] == "--proxy" else None
    async with aiohttp.ClientSession(proxy=proxy) as session:
        for line in sys.stdin:
            method, target, size = line.split()
            async with session.request(method, sys.argv[-1] + target, data=b"x" * int(size) or None) as response:
                print(response.status, len(await response.read()))


asyncio.run(main())
