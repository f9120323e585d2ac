"""The testbed's application for Python's servers, apart from any server: a route gives a status and body parts."""

import time
from collections.abc import Iterator


def answer(path: str, body: bytes) -> tuple[int, int | None, Iterator[bytes]]:
    """(status, length of the body or None where it is not known ahead, parts of the body)."""
    name, _, arg = path.lstrip("/").partition("/")
    if name == "status":
        return int(arg), 0, iter(())
    if name == "chunked":
        return 200, None, _chunks(int(arg))
    if name == "sse":
        return 200, None, _events()
    if name == "sleep":
        time.sleep(int(arg) / 1000)
    whole = {
        "hello": b"hello\n",
        "items": f"item {arg}\n".encode(),
        "sleep": b"slept\n",
        "echo": body,
        "bytes": b"x" * int(arg) if name == "bytes" else b"",
    }.get(name)
    if whole is None:
        return 404, 0, iter(())
    return 200, len(whole), iter((whole,))


def _chunks(size: int) -> Iterator[bytes]:
    for begin in range(0, size, 1000):
        yield b"x" * min(1000, size - begin)


def _events() -> Iterator[bytes]:
    for n in range(5):
        yield b"data: %d\n\n" % n
        time.sleep(0.02)
