"""Proxies as the environment names them, and what they get to see."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.testbed.authority import authority, issue
from tests.testbed.wire import read_head, serving
from tests.unit import backend as over_http
from tests.unit import grpc_backend as over_grpc

from otel_ebpf.config.settings import OtlpTarget, Protocol
from otel_ebpf.errors import ConfigError, TemporaryExportError
from otel_ebpf.export.body import Body
from otel_ebpf.export.otlp import OtlpClient, RetryPolicy
from otel_ebpf.export.transport import TRACES

BODY = Body.of(b"x")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests' own environment says does not count."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "grpc_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def client(url: str, protocol: Protocol = "http/protobuf", ca_file: str = "") -> OtlpClient:
    policy = RetryPolicy(first_s=0.01, longest_s=0.1, give_up_s=1)
    return OtlpClient(OtlpTarget(url, protocol, ca_file=ca_file), TRACES, threading.Event(), policy)


def test_in_the_clear_the_proxy_gets_the_whole_url_but_for_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with over_http.running_backend() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//you:proxy@"))
        sending = client("http://me:s3cret@collector.example:4318/v1/traces?a=b")
        assert [sending.send(BODY), sending.send(BODY)] == [0, 0]
    first, second = proxy.requests
    assert first.path == "http://collector.example:4318/v1/traces?a=b"
    assert first.headers["host"] == "collector.example:4318"
    assert first.headers["authorization"] == "Basic bWU6czNjcmV0"
    assert first.headers["proxy-authorization"] == "Basic eW91OnByb3h5"
    assert first.connection == second.connection


@pytest.mark.parametrize("exception", ["127.0.0.1", "example.com,127.0.0.1", "*"])
def test_what_no_proxy_lists_is_reached_without(monkeypatch: pytest.MonkeyPatch, exception: str) -> None:
    with over_http.running_backend() as proxy, over_http.running_backend() as backend:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", exception)
        assert client(f"{backend.url}/v1/traces").send(BODY) == 0
        assert (len(backend.requests), proxy.requests) == (1, [])


def test_a_proxy_of_https_is_none_of_https_to_http(monkeypatch: pytest.MonkeyPatch) -> None:
    with over_http.running_backend() as backend:
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
        assert client(f"{backend.url}/v1/traces").send(BODY) == 0


def test_a_proxy_of_another_kind_refuses_to_start_without_showing_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://you:s3cret@127.0.0.1:1080")
    with pytest.raises(ConfigError, match=r"socks5://127.0.0.1:1080 is no proxy of HTTP's") as refused:
        client("http://c/v1/traces")
    assert "s3cret" not in str(refused.value)


def test_a_proxy_that_is_not_there_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "127.0.0.1:1")
    with pytest.raises(TemporaryExportError, match=r"[Rr]efused"):
        client("http://c/v1/traces").send(BODY)


@contextmanager
def tunnels() -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that knows CONNECT alone: its URL, and the heads of what it was asked."""
    heads: list[bytes] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def handle(conn: socket.socket) -> None:
        head = read_head(conn)
        heads.append(head)
        host, _, port = head.split(b" ")[1].decode().rpartition(":")
        with socket.create_connection((host, int(port))) as backend:
            conn.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(backend, conn), daemon=True)
            back.start()
            pump(conn, backend)
            back.join()

    with serving(handle) as (host, port):
        yield f"http://{host}:{port}", heads


def test_https_goes_through_a_tunnel_and_the_proxy_sees_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ca = authority(tmp_path, "ca")
    server = issue(ca, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    with tunnels() as (proxy, heads), over_http.running_backend(tls=context) as backend:
        monkeypatch.setenv("https_proxy", proxy.replace("//", "//you:proxy@"))
        sending = client(f"{backend.url}/v1/traces".replace("//", "//me:s3cret@"), ca_file=str(ca.certificate))
        assert [sending.send(BODY), sending.send(BODY)] == [0, 0]
        assert [request.path for request in backend.requests] == ["/v1/traces"] * 2
        assert backend.requests[0].headers["authorization"] == "Basic bWU6czNjcmV0"
        assert "proxy-authorization" not in backend.requests[0].headers
        sending.close()
    assert len(heads) == 1, "one tunnel for both"
    assert heads[0].startswith(f"CONNECT {backend.url.removeprefix('https://')} ".encode())
    assert b"proxy-authorization: basic ew91onbyb3h5" in heads[0].lower()
    assert b"me:" not in heads[0]
    assert b"bWU6czNjcmV0" not in heads[0]


def test_grpc_goes_through_a_tunnel_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with tunnels() as (proxy, heads), over_grpc.running_backend() as backend:
        monkeypatch.setenv("http_proxy", proxy)
        sending = client(backend.url, "grpc")
        assert [sending.send(BODY), sending.send(BODY)] == [0, 0]
        sending.close()
        assert len(backend.calls) == 2
        assert len(heads) == 1
        assert heads[0].startswith(f"CONNECT 127.0.0.1:{backend.port} ".encode())
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert client(backend.url, "grpc").send(BODY) == 0
        assert len(heads) == 1
