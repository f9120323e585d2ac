"""`client_many.py BASE CONNECTIONS ROUNDS`: aiohttp asks for BASE&n=N on all at once; prints "N BODY" lines."""

import asyncio
import sys

import aiohttp


async def main(base: str, connections: int, rounds: int) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as session:

        async def ask(number: int) -> None:
            async with session.get(f"{base}&n={number}") as response:
                print(number, (await response.read()).decode())

        for start in range(0, connections * rounds, connections):
            await asyncio.gather(*(ask(number) for number in range(start, start + connections)))


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
