"""`client_asyncpg.py DSN [ROWS]`: all that asyncpg does in its own way, on one connection, so many rows in a batch."""

import asyncio
import contextlib
import sys

import asyncpg


async def main(dsn: str, rows: int = 1000) -> None:
    conn = await asyncpg.connect(dsn)
    await conn.execute("CREATE TEMP TABLE item (id int PRIMARY KEY, name text)")
    await conn.executemany("INSERT INTO item VALUES ($1, $2)", [(n, "secret" * (n % 7)) for n in range(rows)])
    for number in range(5):
        await conn.fetchval("SELECT name FROM item WHERE id = $1", number)
    prepared = await conn.prepare("SELECT id FROM item WHERE id < $1")
    for number in range(1, 4):
        await prepared.fetch(number * 100)
    async with conn.transaction():
        cursor = await conn.cursor("SELECT id, name FROM item")
        while await cursor.fetch(300):
            pass
    for wrong in ("SELEC 1", "SELECT id FROM nowhere WHERE id = $1"):
        with contextlib.suppress(asyncpg.PostgresError):
            await conn.fetch(wrong, *(1 for _ in wrong.split("$")[1:]))
    with contextlib.suppress(asyncpg.PostgresError):
        await conn.execute("INSERT INTO item VALUES ($1, NULL)", 1)
    with contextlib.suppress(asyncpg.PostgresError):
        await conn.executemany("INSERT INTO item (id) VALUES ($1)", [(n,) for n in range(rows + 500, rows - 500, -1)])
    await conn.copy_records_to_table("item", records=[(n, "secret") for n in range(50_000, 60_000)])
    await conn.reset()
    await conn.close()


asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
