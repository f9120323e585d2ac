"""The endpoint over real sockets."""

import gzip
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.testbed.process import eventually, free_port

from otel_ebpf.config.settings import Prometheus
from otel_ebpf.errors import ConfigError
from otel_ebpf.export.own import SEEN, Own
from otel_ebpf.export.prometheus.endpoint import Endpoint
from otel_ebpf.export.prometheus.reading import Reading


def reading(seen: int) -> Reading:
    return Reading(2, 1, b"", told=Own([(SEEN, {}, seen)]))


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint(Prometheus("127.0.0.1", free_port()))
    yield made
    made.close()


@contextmanager
def answering(endpoint: Endpoint) -> Iterator[None]:
    """An agent that looks now and then whether it is wanted."""
    over = threading.Event()

    def tick() -> None:
        number = 0
        while not over.wait(0.01):
            if endpoint.is_wanted:
                number += 1
                endpoint.give(reading(number))

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def get(endpoint: Endpoint, path: str = "/metrics", **headers: str) -> tuple[bytes, dict[str, str]]:
    request = urllib.request.Request(f"http://127.0.0.1:{endpoint.port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read(), dict(response.headers)


def test_each_scrape_is_answered_with_a_reading_of_its_own(endpoint: Endpoint) -> None:
    with answering(endpoint):
        first, headers = get(endpoint)
        second, _ = get(endpoint, "/metrics?x=y")
    assert b"otel_ebpf_requests_seen_total{" in first
    assert b"} 1\n" in first
    assert b"} 2\n" in second
    assert headers["Server"] == "otel-ebpf"
    assert headers["Content-Type"].startswith("text/plain")


def test_compressed_for_who_can(endpoint: Endpoint) -> None:
    with answering(endpoint):
        body, headers = get(endpoint, **{"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip"
    assert b"otel_ebpf_requests_seen_total" in gzip.decompress(body)


def raw(endpoint: Endpoint, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", endpoint.port), 10) as conn:
        conn.sendall(request)
        return b"".join(iter(lambda: conn.recv(65536), b""))


def test_a_whole_answer_says_that_it_is_whole(endpoint: Endpoint) -> None:
    with answering(endpoint):
        chunked = raw(endpoint, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        old = raw(endpoint, b"GET /metrics HTTP/1.0\r\n\r\n")
    assert chunked.endswith(b"\r\n0\r\n\r\n")
    assert b"\r\nTransfer-Encoding: chunked\r\n" in chunked
    assert b"Transfer-Encoding" not in old
    assert old.endswith(b"\n")


def test_who_takes_nothing_is_cut_off_and_others_are_served(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_ebpf.export.prometheus.endpoint._PATIENCE_S", 1.0)
    monkeypatch.setattr("otel_ebpf.export.prometheus.endpoint._Handler.timeout", 1.0)
    counters = [(SEEN, {"reason": f"{number:0100d}"}, 1) for number in range(30_000)]
    with socket.create_connection(("127.0.0.1", endpoint.port), 10) as idle:
        idle.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        eventually(lambda: endpoint.is_wanted, "the scrape waits")
        endpoint.give(Reading(2, 1, b"", told=Own(counters)))
        with answering(endpoint):
            assert b"} 1\n" in get(endpoint)[0]
            time.sleep(1.5)
            taken = b"".join(iter(lambda: idle.recv(1 << 20), b""))
    assert 0 < len(taken) < 5_000_000
    assert not taken.endswith(b"\r\n0\r\n\r\n"), "what is cut off shows it"


def test_nothing_else_is_there(endpoint: Endpoint) -> None:
    for path in ("/", "/metrics/x", "/etc/passwd"):
        with pytest.raises(urllib.error.HTTPError) as raised:
            get(endpoint, path)
        assert raised.value.code == 404
    request = urllib.request.Request(f"http://127.0.0.1:{endpoint.port}/metrics", data=b"x", method="POST")
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request, timeout=10)
    assert raised.value.code == 501


def test_connections_that_say_nothing_are_few_and_hold_up_nobody(endpoint: Endpoint) -> None:
    address = ("127.0.0.1", endpoint.port)
    silent = [socket.create_connection(address) for _ in range(7)]
    try:
        with answering(endpoint):
            assert b"seen" in get(endpoint)[0]
            silent += [socket.create_connection(address) for _ in range(9)]
            silent[-1].settimeout(5)
            assert silent[-1].recv(1) == b"", "one too many is closed"
    finally:
        for one in silent:
            one.close()
    with answering(endpoint):
        eventually(lambda: works(endpoint), "there is room again")


def works(endpoint: Endpoint) -> bool:
    try:
        return b"seen" in get(endpoint)[0]
    except OSError:
        return False


def test_who_waits_when_it_closes_is_sent_away() -> None:
    made = Endpoint(Prometheus("127.0.0.1", free_port()))
    codes = []

    def scrape() -> None:
        with pytest.raises(urllib.error.HTTPError) as raised:
            get(made)
        codes.append(raised.value.code)

    thread = threading.Thread(target=scrape)
    thread.start()
    eventually(lambda: made.is_wanted, "the scrape waits")
    began_s = time.monotonic()
    made.close()
    thread.join(5)
    assert codes == [503]
    assert time.monotonic() - began_s < 3


def test_a_port_that_is_taken_refuses_to_start(endpoint: Endpoint) -> None:
    with pytest.raises(ConfigError, match=f"can't listen on 127.0.0.1:{endpoint.port}"):
        Endpoint(Prometheus("127.0.0.1", endpoint.port))
    with pytest.raises(ConfigError, match="can't listen on no.such.host.invalid:9464"):
        Endpoint(Prometheus("no.such.host.invalid"))
