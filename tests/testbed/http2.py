"""Servers and clients of HTTP/2, with the routes of servers.py: with prior knowledge in the clear, or over TLS.

Each client keeps to one connection, and has `at_once` streams open there as long as there is something to ask.
"""

import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.testbed import cache, clients, servers
from tests.testbed.clients import Ask, Done
from tests.testbed.nginx import nginx as nginx_of_any
from tests.testbed.process import Program, answers, free_port
from tests.testbed.servers import PYTHON_APPS, Server, pem, serving


class Client(Protocol):
    """What each of them is."""

    def __call__(self, server: Server, asks: Iterable[Ask], at_once: int = 1) -> Done: ...


def nginx(*, encrypted: bool = False) -> AbstractContextManager[Server]:
    """nginx, in front of a Go application that speaks HTTP/1.1."""
    return nginx_of_any(http2=True, encrypted=encrypted)


@contextmanager
def go(*, encrypted: bool = False) -> Iterator[Server]:
    """Go's net/http; HTTP/1 too."""
    app = servers.go_app(recent=True)
    with serving("go", lambda h, p: [*app, "serve2", f"{h}:{p}", *pem(encrypted)], encrypted=encrypted) as s:
        yield s


@contextmanager
def node(*, encrypted: bool = False) -> Iterator[Server]:
    """Node's http2 module."""
    app = servers.node_app()
    with serving("node", lambda h, p: [*app, "serve2", h, str(p), *pem(encrypted)], encrypted=encrypted) as s:
        yield s


@contextmanager
def rust() -> Iterator[Server]:
    """hyper on tokio, in the clear alone."""
    app = servers.rust_app()
    with serving("rust", lambda h, p: [app, f"{h}:{p}", "2"]) as s:
        yield s


@contextmanager
def hypercorn(*, encrypted: bool = False) -> Iterator[Server]:
    """hypercorn on asyncio, with h2; HTTP/1 too, from which it can be upgraded."""

    def argv(host: str, port: int) -> list[str | Path]:
        options: list[str | Path] = ["--bind", f"{host}:{port}", "--log-level", "warning"]
        if encrypted:
            certificate, key = pem()
            options += ["--certfile", certificate, "--keyfile", key]
        return [sys.executable, "-m", "hypercorn", *options, f"{PYTHON_APPS / 'asgi.py'}:application"]

    with serving("hypercorn", argv, encrypted=encrypted) as s:
        yield s


FILES = {"hello": b"hello\n", "items/42": b"item 42\n", **{f"bytes/{n}": b"x" * n for n in (1000, 100_000, 1_000_000)}}


@dataclass(slots=True)
class _Nghttpd(Server):
    """Its log is that of frames."""

    def rows(self) -> Iterator[dict[str, Any]]:
        begun: dict[str, dict[str, Any]] = {}
        row: dict[str, Any] = {}
        data: re.Match[str] | None = None
        for line in self.log.read_text().splitlines():
            if frame := re.match(r"\[id=(\d+)\] \[ *([\d.]+)\] (.*stream_id=(\d+).*)", line):
                connection, at, what, stream = frame.groups()
                row = begun.setdefault(f"{connection} {stream}", {"version": "2", "body_bytes": 0})
                data = re.match(r"send DATA frame <length=(\d+)", what)
                if pseudo := re.search(r"\) :(method|path): (.*)", what):
                    row["target" if pseudo[1] == "path" else "method"] = pseudo[2]
                    row["begin"] = float(at)
                elif data:
                    row["body_bytes"] += int(data[1])
                elif what.endswith("closed") and "status" in row:
                    yield {**row, "duration_s": float(at) - row["begin"]}
            elif status := re.match(r" +:status: (\d+)", line):
                row["status"] = status[1]
            elif data and (padding := re.match(r" +\(padlen=(\d+)\)", line)):
                row["body_bytes"] -= int(padding[1])


@contextmanager
def nghttpd(*options: str, encrypted: bool = False) -> Iterator[Server]:
    """nghttp2's own server: of the routes, those that files can be, and /echo. It logs whole milliseconds."""
    with tempfile.TemporaryDirectory(prefix="otel-ebpf-nghttpd-") as temporary:
        folder, port = Path(temporary), free_port()
        for name, content in FILES.items():
            path = folder / "files" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        argv: list[str | Path] = ["stdbuf", "-oL", cache.tool("nghttpd", "nghttp2-server")]  # its log, line by line
        argv += ["-v", "-a", "127.0.0.1", "-d", folder / "files", "--echo-upload", *options]
        argv += [str(port), *reversed(pem())] if encrypted else ["--no-tls", str(port)]
        with Program(argv, folder, "nghttpd") as program:
            program.wait_until(lambda: answers("127.0.0.1", port), "answers")
            yield _Nghttpd("nghttpd", program, "127.0.0.1", port, program.stdout_path, encrypted=encrypted)


_NGHTTPX_LOG = (
    '{"method": "$method", "target": "$path", "status": $status, "body_bytes": $body_bytes_sent, '
    '"duration_s": $request_time, "version": "$protocol_version"}'
)


@contextmanager
def nghttpx(*, encrypted: bool = False) -> Iterator[Server]:
    """nghttp2's proxy in front of nginx, HTTP/2 on both sides; its streams share one connection to nginx."""
    with nginx() as behind:

        def argv(host: str, port: int) -> list[str | Path]:
            frontend = f"--frontend={host},{port}" + (";no-tls" if not encrypted else "")
            options = [
                "--conf=/dev/null",
                frontend,
                f"--backend={behind.host},{behind.port};;proto=h2",
                "--workers=1",
                "--no-ocsp",
            ]
            options += ["--accesslog-file=/dev/stdout", f"--accesslog-format={_NGHTTPX_LOG}", "--single-process"]
            return [cache.tool("nghttpx", "nghttp2-proxy"), *options, *reversed(pem(encrypted))]

        with serving("nghttpx", argv, encrypted=encrypted) as server:
            server.upstream = behind
            yield server


def curl(server: Server, asks: Iterable[Ask], at_once: int = 1, *options: str) -> Done:
    """curl."""
    if at_once > 1:
        options += ("--parallel", "--parallel-max", str(at_once))
    if server.encrypted:
        return clients.curl(server, asks, "--http2", *options)
    # Debian's 7.88 sends its preface again where a request that joins a connection has prior knowledge as well.
    return clients.curl(server, asks, *options, first=["--http2-prior-knowledge"])


def _scripted(argv: Callable[[], list[str | Path]]) -> Client:
    def client(server: Server, asks: Iterable[Ask], at_once: int = 1) -> Done:
        return clients.scripted(argv, server, asks, str(at_once))

    return client


go_client = _scripted(lambda: [*servers.go_app(recent=True), "client2"])
node_client = _scripted(lambda: [*servers.node_app(), "client2"])
httpx = _scripted(lambda: [sys.executable, PYTHON_APPS / "client_httpx.py"])


def h2load(url: str, requests: int, *, connections: int = 8, at_once: int = 32) -> Done:
    """h2load, whose answers are only counted: as many (200, 0) as it says were good."""
    numbers = [f"-n{requests}", f"-c{connections}", f"-m{at_once}"]
    pid, out = clients.run([cache.tool("h2load", "nghttp2-client"), *numbers, url])
    found = re.search(r"(\d+) succeeded, 0 failed, 0 errored, 0 timeout", out)
    assert found, out
    return Done(pid, [(200, 0)] * int(found[1]))


SERVERS: dict[str, Callable[[], AbstractContextManager[Server]]] = {
    "nginx": nginx,
    "go": go,
    "node": node,
    "hypercorn": hypercorn,
    "rust": rust,
    "nghttpd": nghttpd,
    "nghttpx": nghttpx,
    "nginx-tls": lambda: nginx(encrypted=True),
    "go-tls": lambda: go(encrypted=True),
    "node-tls": lambda: node(encrypted=True),
    "hypercorn-tls": lambda: hypercorn(encrypted=True),
    "nghttpd-tls": lambda: nghttpd(encrypted=True),
    "nghttpx-tls": lambda: nghttpx(encrypted=True),
}

CLIENTS: dict[str, Client] = {"curl": curl, "go": go_client, "node": node_client, "httpx": httpx}
