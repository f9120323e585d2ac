"""DNS's datagrams go to user space one a record, and nobody else's do.

The exchanges are in datagrams.py; what the ring has of both ends of each is compared with what was said.
"""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bpf.datagrams import DNS, EXCHANGES, HOST
from tests.bpf.records import RECV, SEND, Ring
from tests.bpf.watched import assert_exchange, datagrams_of, watching

ELSEWHERE = {"another_port", "unconnected_elsewhere"}


@pytest.fixture(scope="module")
def ring() -> Iterator[Ring]:
    with watching(16 << 20) as (_, ring):
        ring.let_nobody_say()
        yield ring


@pytest.mark.parametrize("name", [name for name in EXCHANGES if name not in ELSEWHERE])
def test_each_datagram_is_a_record(ring: Ring, name: str) -> None:
    assert_exchange(ring, name)


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_others_are_not_told(ring: Ring, name: str) -> None:
    ring.connections()
    moved = datagrams_of(name)
    ports = {port for end in ring.connections().values() for port in (end.local_port, end.remote_port)}
    assert not ports & {moved.client_port, 5300}


def test_what_a_resolver_asks(ring: Ring, tmp_path: Path) -> None:
    """glibc's, with a configuration of its own: two questions on one socket, an answer each."""
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text(f"nameserver {HOST}\noptions timeout:2 attempts:1\n")
    script = f"mount --bind {resolv_conf} /etc/resolv.conf && exec getent ahosts name.example"

    def answer(server: socket.socket) -> None:
        for _ in range(2):
            question, peer = server.recvfrom(512)
            no_such_name = question[:2] + b"\x81\x83" + question[4:]
            server.sendto(no_such_name, peer)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((HOST, DNS))
        server.settimeout(20)
        answering = threading.Thread(target=answer, args=(server,))
        answering.start()
        ring.connections()
        subprocess.run(["unshare", "-m", "sh", "-c", script], env={**os.environ, "LC_ALL": "C"}, timeout=30)
        answering.join()
    (client,) = (end for end in ring.connections().values() if end.remote_port == DNS)
    for way in (SEND, RECV):
        assert len(client.ways[way]) == 2
        assert all(b"\x04name\x07example\0" in segment.data for segment in client.ways[way])
