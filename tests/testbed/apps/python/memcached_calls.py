"""The testbed's Python application for memcached: `memcached_calls.py HOST PORT text|meta|binary`.

On pymemcache (text), a socket (meta) and python-binary-memcached. Values are all "secret", or numbers.
"""

import contextlib
import socket
import sys

import bmemcached
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError

HOST, PORT, KIND = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def text() -> None:
    """One connection; some of it without waiting for an answer."""
    with contextlib.closing(Client((HOST, PORT), default_noreply=False)) as client:
        client.set("T:a", b"secret")
        client.set("T:number", b"41")
        client.set("T:silent", b"secret", noreply=True)
        client.set("T:large", b"secret" * 100_000)
        for _ in range(100):
            client.get("T:a")
            client.get("T:nothing")
        client.get_many(["T:a", "T:number", "T:nothing", "T:large"])
        client.incr("T:number", 1)
        client.incr("T:nothing", 1)
        client.add("T:a", b"secret")
        client.cas("T:a", b"secret", b"999")
        client.touch("T:a", 100)
        client.delete("T:a")
        client.delete("T:a")
        with contextlib.suppress(MemcacheError):
            client.incr("T:large", 1)
        with contextlib.suppress(MemcacheError):
            client.set("T:large", b"secret" * 1_000_000)
        client.get("T:number")


def meta() -> None:
    """Quiet ones, and one that ends them."""
    asked = [
        (b"ms T:a 6 O1\r\nsecret\r\n", b"HD O1\r\n"),
        (b"mg T:a v O2\r\n", b"VA 6 O2\r\nsecret\r\n"),
        (b"mg T:nothing v q O3\r\nmg T:a v q O4\r\nmn\r\n", b"VA 6 O4\r\nsecret\r\nMN\r\n"),
        (b"md T:a q\r\nmd T:a O5\r\nmn\r\n", b"NF O5\r\nMN\r\n"),
    ]
    with socket.create_connection((HOST, PORT), 5) as conn:
        for request, expected in asked * 50:
            conn.sendall(request)
            answer = b""
            while len(answer) < len(expected):
                answer += conn.recv(65536)
            assert answer == expected, (request, answer)


def binary() -> None:
    """With quiet ones."""
    client = bmemcached.Client((f"{HOST}:{PORT}",))
    client.set("T:a", "secret")
    for _ in range(100):
        client.get("T:a")
        client.get("T:nothing")
    client.set_multi({"T:b": "secret", "T:c": "secret"})
    client.get_multi(["T:a", "T:b", "T:nothing"])
    client.incr("T:number", 1, default=1)
    client.add("T:a", "secret")
    client.delete("T:a")
    client.disconnect_all()


{"text": text, "meta": meta, "binary": binary}[KIND]()
