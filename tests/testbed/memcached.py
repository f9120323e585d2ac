"""memcached: its server, applications of pymemcache and python-binary-memcached, and libmemcached's own load."""

import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.testbed import cache
from tests.testbed.redis import run
from tests.testbed.servers import PYTHON_APPS, Server, serving


@contextmanager
def memcached() -> Iterator[Server]:
    """A server of two threads."""
    program = cache.tool("memcached", "memcached")
    user = ["-u", "nobody"]
    with serving("memcached", lambda h, p: [program, *user, "-l", h, "-p", str(p), "-U", "0", "-t", "2"]) as server:
        yield server


def counted(server: Server) -> dict[str, int]:
    """What the server counts."""
    with socket.create_connection((server.host, server.port), 5) as conn:
        conn.sendall(b"stats\r\n")
        answer = b""
        while not answer.endswith(b"END\r\n"):
            answer += conn.recv(65536)
    return {name.decode(): int(value) for name, value in re.findall(rb"^STAT (\w+) (\d+)\r$", answer, re.MULTILINE)}


def client(name: str, server: Server) -> int:
    """Runs an application to its end: "text", "meta" or "binary". Gives its pid."""
    return run([sys.executable, PYTHON_APPS / "memcached_calls.py", server.host, server.port, name])


def load(server: Server, *options: str) -> int:
    """Runs libmemcached's memcslap to its end. Gives its pid."""
    program = cache.tool("memcslap", "libmemcached-tools")
    return run([program, f"--servers={server.host}:{server.port}", *options])
