"""DNS's datagrams between two ends in a process of their own: `python -m tests.bpf.datagrams NAME`.

What is in them is not DNS: nothing of it is looked at before user space. Prints JSON, what each end has moved.
"""

import ctypes
import json
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from tests.testbed.apps.python import exotic

DNS = 53
HOST = "127.1.2.3"
"""Nobody else's, so that its port is free."""


@dataclass(slots=True)
class Moved:
    """Sizes of the datagrams, which are all of one letter each."""

    client_port: int = 0
    asked: list[int] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)


EXCHANGES: dict[str, Callable[[], Moved]] = {}


def exchange(hold: Callable[[], Moved]) -> Callable[[], Moved]:
    EXCHANGES[hold.__name__] = hold
    return hold


def _ends(host: str = HOST, port: int = DNS) -> tuple[socket.socket, socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_DGRAM)
    server.bind((host, port))
    client = socket.socket(family, socket.SOCK_DGRAM)
    client.bind((host, 0))
    client.settimeout(5)
    server.settimeout(5)
    return client, server


def _connected(sizes: list[int], host: str = HOST, port: int = DNS) -> Moved:
    client, server = _ends(host, port)
    client.connect((host, port))
    for size in sizes:
        client.send(b"q" * size)
        _, peer = server.recvfrom(65536)
        server.sendto(b"a" * (size + 1), peer)
        client.recv(65536)
    return Moved(client.getsockname()[1], sizes, [size + 1 for size in sizes])


@exchange
def connected() -> Moved:
    return _connected([30, 300, 1000])


@exchange
def over_ipv6() -> Moved:
    return _connected([30, 300], "::1")


@exchange
def large() -> Moved:
    return _connected([1024, 3000, 5000])


@exchange
def another_port() -> Moved:
    return _connected([30, 300], port=5300)


@exchange
def unconnected() -> Moved:
    client, server = _ends()
    for size in (30, 40):
        client.sendto(b"q" * size, (HOST, DNS))
        _, peer = server.recvfrom(65536)
        server.sendto(b"a" * size, peer)
        client.recvfrom(65536)
    return Moved(client.getsockname()[1], [30, 40], [30, 40])


@exchange
def unconnected_elsewhere() -> Moved:
    """A socket that asks somebody else is none of DNS's."""
    client, server = _ends(port=5300)
    client.sendto(b"q" * 30, (HOST, 5300))
    _, peer = server.recvfrom(65536)
    server.sendto(b"a" * 30, peer)
    client.recvfrom(65536)
    return Moved(client.getsockname()[1], [30], [30])


@exchange
def messages() -> Moved:
    """In pieces, and looked at before they are taken."""
    client, server = _ends()
    client.sendmsg([b"q" * 10, b"", b"q" * 20, b"q" * 5], [], 0, (HOST, DNS))
    server.recv(10, socket.MSG_PEEK)
    buffers = [bytearray(7), bytearray(1000)]
    _, _, _, peer = server.recvmsg_into(buffers)
    server.sendmsg([b"a" * 300, b"a" * 400], [], 0, peer)
    client.recvmsg_into([bytearray(100), bytearray(1000)])
    return Moved(client.getsockname()[1], [35], [700])


@exchange
def many_at_once() -> Moved:
    """As glibc asks for both kinds of addresses."""
    client, server = _ends()
    client.connect((HOST, DNS))
    sizes = [30, 33, 36]
    buffers = [ctypes.create_string_buffer(b"q" * size, size) for size in sizes]
    assert exotic.LIBC.sendmmsg(client.fileno(), exotic._messages(buffers), len(buffers), 0) == len(sizes)
    places = [ctypes.create_string_buffer(100) for _ in range(5)]
    wait_for_one = 0x10000
    assert exotic.LIBC.recvmmsg(server.fileno(), exotic._messages(places), len(places), wait_for_one, None) == 3
    server.connect(client.getsockname())
    for size in sizes:
        server.send(b"a" * size)
    for _ in sizes:
        client.recv(100)
    return Moved(client.getsockname()[1], sizes, sizes)


if __name__ == "__main__":
    print(json.dumps(asdict(EXCHANGES[sys.argv[1]]())))
