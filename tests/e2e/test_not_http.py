"""Bytes of no protocol that is known never make a span."""

import os
import random
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import RunAgent
from tests.testbed import cache, wire
from tests.testbed.agent import Agent
from tests.testbed.process import Program, answers, free_port

RANDOM = random.Random(3)


def random_bytes() -> bytes:
    return RANDOM.randbytes(RANDOM.randrange(1, 3000))


TALK: dict[str, tuple[Callable[[], bytes], Callable[[], bytes]]] = {
    "smtp": (lambda: b"HELO example\r\nMAIL FROM:<a@example>\r\n", lambda: b"250 OK\r\n"),
    "random": (random_bytes, random_bytes),
    "request line without a version": (lambda: b"GET /index.html\r\n", lambda: b"<html></html>"),
    "rtsp": (
        lambda: b"OPTIONS rtsp://a/b RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        lambda: b"RTSP/1.0 200 OK\r\n\r\n",
    ),
    "sip": (lambda: b"OPTIONS sip:a@b SIP/2.0\r\nVia: x\r\n\r\n", lambda: b"SIP/2.0 200 OK\r\n\r\n"),
    "http/2 preface": (lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", lambda: b"\0\0\0\4\0\0\0\0\0"),
    "zeroes": (lambda: bytes(1000), lambda: bytes(1000)),
    "newlines": (lambda: b"\r\n" * 100, lambda: b"\n"),
}


@pytest.mark.parametrize("protocol", TALK)
def test_other_protocols_make_no_span(agent: Agent, protocol: str) -> None:
    ask, reply = TALK[protocol]
    me = os.getpid()
    agent.settle()
    before = {span.span_id for span in agent.spans([me])}

    def handle(conn: socket.socket) -> None:
        while conn.recv(65536):
            conn.sendall(reply())

    with wire.serving(handle) as address:
        for _ in range(5):
            with wire.Connection(address) as conn:
                for _ in range(10):
                    conn.send(ask())
                    conn.sock.recv(65536)
    agent.settle()
    new = [span for span in agent.spans([me]) if span.span_id not in before and not span.tag.startswith("fence")]
    assert new == []


WITHOUT_TLS = """\
file_format: "1.0"
tracer_provider:
  processors:
    - batch: {schedule_delay: 50, exporter: {otlp_http: {endpoint: "${OTEL_EXPORTER_OTLP_ENDPOINT}/v1/traces"}}}
distribution:
  otel_ebpf:
    capture: {tls: false}
"""


def test_ciphertext_makes_no_span(run_agent: RunAgent, tmp_path: Path, tag: str) -> None:
    """With `capture.tls: false` no library is probed, and what is left is noise."""
    openssl = cache.tool("openssl", "openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    files = ["-keyout", str(key), "-out", str(certificate)]
    make = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", *files]
    subprocess.run(make, check=True, capture_output=True)
    port = free_port()
    serve = [openssl, "s_server", "-accept", str(port), "-key", str(key), "-cert", str(certificate), "-www", "-quiet"]
    config = tmp_path / "config.yaml"
    config.write_text(WITHOUT_TLS)
    with run_agent("--config", str(config)) as agent, Program(serve, tmp_path, "s_server") as server:
        server.wait_until(lambda: answers("127.0.0.1", port), "answers")
        pids = {server.pid}
        for _ in range(5):
            curl = subprocess.Popen(["curl", "-s", "-k", "-o", "/dev/null", f"https://127.0.0.1:{port}/?t={tag}"])
            assert curl.wait(10) == 0
            pids.add(curl.pid)
        agent.settle()
        assert agent.spans(pids) == []


def test_one_sided_noise_on_many_connections(agent: Agent) -> None:
    """Servers that only talk, clients that only talk, connections that say nothing."""
    me = os.getpid()
    agent.settle()
    before = {span.span_id for span in agent.spans([me])}

    def handle(conn: socket.socket) -> None:
        conn.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")

    def connect(address: tuple[str, int], number: int) -> None:
        with wire.Connection(address) as conn:
            if number % 2:
                conn.sock.sendall(random_bytes())
            conn.rest()

    with wire.serving(handle) as address:
        threads = [threading.Thread(target=connect, args=(address, number)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    agent.settle()
    new = [span for span in agent.spans([me]) if span.span_id not in before and not span.tag.startswith("fence")]
    assert new == []
