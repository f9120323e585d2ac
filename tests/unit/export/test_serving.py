"""Pages over HTTP: what is asked properly is answered, and what is not harms nobody."""

import http.client
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing

import pytest
from tests.testbed.process import eventually

from otel_ebpf.config.values import parse_listen
from otel_ebpf.errors import ConfigError
from otel_ebpf.export.serving import Page, Served, text_page

hold = threading.Event()


def echo(parameters: Mapping[str, str]) -> Page:
    return text_page(",".join(f"{key}={value}" for key, value in parameters.items()))


def refuse(parameters: Mapping[str, str]) -> Page:
    raise ValueError("seconds: a number")


def wait(parameters: Mapping[str, str]) -> Page:
    hold.wait(10)
    return text_page("done")


@pytest.fixture
def served() -> Iterator[Served]:
    server = Served("pages", ("127.0.0.1", 0))
    hold.clear()
    server.start({"/echo": echo, "/bad": refuse, "/wait": wait, "/sick": lambda _: text_page("no", 503)})
    yield server
    hold.set()
    server.close()


def ask(served: Served, target: str, method: str = "GET") -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(*served.address, timeout=10)) as connection:
        connection.request(method, target)
        answer = connection.getresponse()
        return answer.status, answer.read()


def raw(served: Served, data: bytes) -> bytes:
    with socket.create_connection(served.address, timeout=10) as connection:
        connection.sendall(data)
        received = b""
        try:
            while some := connection.recv(65536):
                received += some
        except ConnectionResetError:  # closed with bytes unread
            pass
        return received


def test_pages(served: Served) -> None:
    assert ask(served, "/echo?a=1&b=%20x&a=2") == (200, b"a=2,b= x\n")
    assert ask(served, "/echo", "HEAD") == (200, b"")
    assert ask(served, "/sick") == (503, b"no\n")
    assert ask(served, "/bad?seconds=x") == (400, b"seconds: a number\n")
    status, body = ask(served, "/nowhere")
    assert (status, b"/echo" in body) == (404, True)
    with urllib.request.urlopen(f"http://127.0.0.1:{served.address[1]}/echo?q=1") as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\r\n", b""),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", b"501"),
        (b"GET /echo?" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET /echo HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n", b"431"),
        (b"GET /echo?" + b"&".join(b"k%d=v" % n for n in range(100)) + b" HTTP/1.1\r\n\r\n", b"400"),
        (b"GET http://[/ HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /echo HTTP/9.9\r\n\r\n", b"505"),
    ],
)
def test_what_is_no_request_harms_nobody(served: Served, data: bytes, status: bytes) -> None:
    answer = raw(served, data)
    assert status in answer.splitlines()[0] if status else not answer
    assert ask(served, "/echo?q=1") == (200, b"q=1\n")


def test_who_asks_too_slowly_is_hung_up_on(served: Served) -> None:
    def refused() -> bool:  # never silent for as long as a socket's timeout
        try:
            connection.sendall(b"G")
        except (BrokenPipeError, ConnectionResetError):
            return True
        return False

    with socket.create_connection(served.address, timeout=20) as connection:
        eventually(refused, "the connection is closed", 15, every=0.2)


def test_so_many_at_a_time_and_no_more(served: Served) -> None:
    waiting = [socket.create_connection(served.address, timeout=10) for _ in range(16)]
    for connection in waiting:
        connection.sendall(b"GET /wait HTTP/1.1\r\n\r\n")
    time.sleep(0.5)  # of the loop that accepts: nothing tells from outside
    assert raw(served, b"GET /echo HTTP/1.1\r\n\r\n") == b""
    hold.set()
    for connection in waiting:
        with connection:
            assert connection.recv(100).startswith(b"HTTP/1.0 200")
    assert ask(served, "/echo?q=1") == (200, b"q=1\n")


def test_an_address_that_is_taken_refuses_to_start(served: Served) -> None:
    with pytest.raises(ConfigError, match=r"health: can't listen on 127.0.0.1:\d+: Address already in use"):
        Served("health", served.address)


def test_ipv6() -> None:
    server = Served("pages", ("::1", 0))
    server.start({"/echo": echo})
    assert ask(server, "/echo?q=6") == (200, b"q=6\n")
    server.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:13133", ("127.0.0.1", 13133)),
        ("[::]:13133", ("::", 13133)),
        (":13133", ("0.0.0.0", 13133)),
        ("1777", ("127.0.0.1", 1777)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3.4:", ":70000", "::1:80", "host:8x"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address to listen on"):
        parse_listen(text)
