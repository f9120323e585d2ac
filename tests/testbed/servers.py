"""Servers that nobody here wrote, each with the same little application and its own access log.

Routes: /hello, /items/ID, /status/CODE, /sleep/MS, /bytes/N, /chunked/N (chunked, with a trailer where the server
can), /sse (five events, 20 ms apart), /echo, and in some /peer (the client's port). A query is for the test: `?t=TAG`
finds its lines again. `encrypted`: the same over TLS, with the testbed's certificate.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.testbed import cache, tls, toolchains
from tests.testbed.process import Program, answers, answers_unix, descendants, eventually, free_port, waiting_at

APPS = Path(__file__).parent / "apps"
PYTHON_APPS = APPS / "python"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One request as the server itself logged it."""

    method: str
    target: str
    status: int
    body_bytes: int | None  # None: the server counts its chunks' framing with the body
    duration_s: float
    tls: str = ""  # which version of it, where the server logs that: nginx
    version: str = ""  # of HTTP, likewise: those that know HTTP/2

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


@dataclass(slots=True)
class Server:
    """A server that runs and answers."""

    name: str
    program: Program
    host: str  # or the path of a unix socket
    port: int  # 0 on a unix socket
    log: Path
    upstream: "Server | None" = None
    encrypted: bool = False
    _pids: set[int] = field(default_factory=set)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "https" if self.encrypted else "http"
        return f"{scheme}://{host}:{self.port}" if self.port else f"{scheme}://localhost"

    @property
    def pids(self) -> set[int]:
        """Its processes, those that have ended since included."""
        self._pids |= descendants(self.program.pid)
        return self._pids

    def rows(self) -> Iterator[dict[str, Any]]:
        """The log's lines."""
        for text in self.log.read_text(errors="replace").splitlines():
            if text.startswith("{") and text.endswith("}"):
                yield json.loads(text)

    def access_log(self, tag: str = "") -> list[LogLine]:
        """What the server logged, in its order; with `tag`, only requests whose query has `t=tag`."""
        lines = []
        for row in self.rows():
            target = row["target"].removesuffix("?")
            framed = row.get("framed") == "chunked"
            size = None if framed else int(row["body_bytes"])
            if size and row.get("expect") == "100-continue":
                size -= len("HTTP/1.1 100 Continue\r\n\r\n")  # nginx counts it with the body
            line = LogLine(
                row["method"],
                target,
                int(row["status"]),
                size,
                float(row["duration_s"]),
                row.get("tls", ""),
                row.get("version", "").removeprefix("HTTP/").replace("2.0", "2"),
            )
            if not tag or f"t={tag}" in line.query.split("&"):
                lines.append(line)
        return lines

    def settled_log(self, tag: str = "") -> list[LogLine]:
        """The same once the server has gone through what a load has left it."""

        def unmoved() -> bool:
            before = self.log.stat().st_size
            time.sleep(0.2)
            return not waiting_at(self.port) and self.log.stat().st_size == before

        eventually(unmoved, f"{self.name} has nothing more to do")
        return self.access_log(tag)


@contextmanager
def serving(
    name: str,
    argv: Callable[[str, int], list[str | Path]],
    host: str = "127.0.0.1",
    env: dict[str, str] | None = None,
    seconds: float = 20.0,
    encrypted: bool = False,
) -> Iterator[Server]:
    """A server that logs to its standard output; `argv`: its command, by host and port."""
    with tempfile.TemporaryDirectory(prefix=f"otel-ebpf-{name}-") as temporary:
        folder = Path(temporary)
        port = 0 if host.startswith("/") else free_port(host)
        with Program(argv(host, port), folder, name, env=env, cwd=folder) as program:
            ready = (lambda: answers_unix(Path(host))) if not port else (lambda: answers(host, port))
            program.wait_until(ready, "answers", seconds)
            yield Server(name, program, host, port, program.stdout_path, encrypted=encrypted)


def pem(encrypted: bool = True) -> list[str | Path]:
    """The certificate's and the key's files, as further arguments of a server of ours."""
    files = tls.certificate() if encrypted else None
    return [files.certificate, files.key] if files else []


def _go_app(build: str = "normal", recent: bool = False) -> Path:
    folder = APPS / "go"
    go = toolchains.recent_go() if recent else toolchains.go()

    def make(into: Path) -> None:
        env = toolchains.go_environment(go)
        cache.command([go, "build", *tls.GO_BUILDS[build], "-o", str(into / "app"), "."], cwd=folder, env=env)

    name = "app-go" if build == "normal" else f"app-go-{build}"
    return cache.built(name, cache.files_below(folder), cache.command([go, "version"]), make) / "app"


def rust_app() -> Path:
    folder = APPS / "rust"
    cargo = cache.tool("cargo", "cargo-web")

    def build(into: Path) -> None:
        target = into / "target"
        command = [cargo, "build", "--release", "--locked", "--manifest-path", str(folder / "Cargo.toml")]
        cache.command(command, env={"CARGO_TARGET_DIR": str(target)})
        (target / "release" / "testbed-app").rename(into / "app")
        cache.remove(target)

    return cache.built("app-rust", cache.files_below(folder), cache.command([cargo, "--version"]), build) / "app"


def java_app() -> Path:
    folder = APPS / "java"
    javac = cache.tool("javac", "default-jdk-headless")

    def build(into: Path) -> None:
        cache.command([javac, "-d", str(into), str(folder / "App.java")])

    return cache.built("app-java", cache.files_below(folder), cache.command([javac, "-version"]), build)


def node_app() -> list[str | Path]:
    """The Node application's command, its role to be added."""
    return [cache.tool("node", "nodejs"), APPS / "node" / "app.js"]


def _node_serve(host: str, port: int) -> list[str | Path]:
    where: list[str | Path] = [host, str(port)] if port else [host]
    return [*node_app(), "serve", *where]


def go_app(recent: bool = False) -> list[str | Path]:
    """The Go application's command, its role to be added; what `recent` Go builds has those of http2.go as well."""
    return [_go_app(recent=recent)]


@contextmanager
def go(host: str = "127.0.0.1", *, encrypted: bool = False, build: str = "normal") -> Iterator[Server]:
    """Go's net/http; `host` may be the path of a unix socket. `build`: a key of tls.GO_BUILDS without a space."""
    app = _go_app(build)

    def argv(h: str, p: int) -> list[str | Path]:
        return [app, "serve", (f"[{h}]:{p}" if ":" in h else f"{h}:{p}") if p else h, *pem(encrypted)]

    with serving("go", argv, host, encrypted=encrypted) as s:
        yield s


@contextmanager
def rust(host: str = "127.0.0.1") -> Iterator[Server]:
    """hyper on tokio."""
    app = rust_app()
    with serving("rust", lambda h, p: [app, _bind(h, p)], host) as s:
        yield s


@contextmanager
def jdk(host: str = "127.0.0.1", *, encrypted: bool = False) -> Iterator[Server]:
    """The JDK's com.sun.net.httpserver."""
    folder, java = java_app(), cache.tool("java", "default-jdk-headless")
    command: list[str | Path] = [java, "-XX:TieredStopAtLevel=1", "-Xmx128m", "-cp", folder, "App"]
    store: list[str | Path] = [tls.certificate().keystore] if encrypted else []
    with serving("jdk", lambda h, p: [*command, h, str(p), *store], host, encrypted=encrypted) as s:
        yield s


@contextmanager
def node(host: str = "127.0.0.1", *, encrypted: bool = False) -> Iterator[Server]:
    """Node's http module; `host` may be the path of a unix socket."""
    with serving("node", lambda h, p: [*_node_serve(h, p), *pem(encrypted)], host, encrypted=encrypted) as s:
        yield s


@contextmanager
def http_server(host: str = "127.0.0.1", version: str = "1.1", *, encrypted: bool = False) -> Iterator[Server]:
    """Python's http.server with threads; its chunks have extensions."""
    script = PYTHON_APPS / "http_server.py"

    def argv(h: str, p: int) -> list[str | Path]:
        return [sys.executable, script, h, str(p), version, *pem(encrypted)]

    with serving("http.server", argv, host, encrypted=encrypted) as s:
        yield s


def _bind(host: str, port: int) -> str:
    return f"unix:{host}" if not port else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def gunicorn(worker: str = "sync", host: str = "127.0.0.1", *, encrypted: bool = False) -> Iterator[Server]:
    """gunicorn with two workers, `sync` or `gthread`; `host` may be the path of a unix socket."""
    log = '{"method": "%(m)s", "target": "%(U)s?%(q)s", "status": %(s)s, "body_bytes": %(B)s, "duration_s": %(L)s}'
    options = ["--workers", "2", "--worker-class", worker, "--access-logfile", "-", "--access-logformat", log]
    if worker == "gthread":
        options += ["--threads", "4", "--keep-alive", "30"]
    if encrypted:
        options += ["--certfile", str(tls.certificate().certificate), "--keyfile", str(tls.certificate().key)]

    def argv(h: str, p: int) -> list[str | Path]:
        app = ["--no-control-socket", "--chdir", str(PYTHON_APPS), "wsgi:application"]
        return [sys.executable, "-m", "gunicorn", "--bind", _bind(h, p), *options, *app]

    with serving(f"gunicorn-{worker}", argv, host, encrypted=encrypted) as s:
        yield s


@contextmanager
def uvicorn(implementation: str = "h11", host: str = "127.0.0.1", *, encrypted: bool = False) -> Iterator[Server]:
    """uvicorn on asyncio with either of its parsers, `h11` or `httptools`; `host` may be a unix socket's path."""

    def argv(h: str, p: int) -> list[str | Path]:
        where = ["--host", h, "--port", str(p)] if p else ["--uds", h]
        options = ["--http", implementation, "--no-access-log", "--loop", "asyncio", "--timeout-keep-alive", "30"]
        if encrypted:
            options += [
                "--ssl-certfile",
                str(tls.certificate().certificate),
                "--ssl-keyfile",
                str(tls.certificate().key),
            ]
        return [sys.executable, "-m", "uvicorn", *where, *options, "--app-dir", str(PYTHON_APPS), "asgi:application"]

    with serving(f"uvicorn-{implementation}", argv, host, encrypted=encrypted) as s:
        yield s


@contextmanager
def upgrade(how: str) -> Iterator[Server]:
    """A server of ours that begins in the clear; `how` its library does I/O: "own" or "memory"."""
    script = PYTHON_APPS / "upgrade.py"
    with serving(
        "upgrade", lambda _, p: [sys.executable, script, "serve", str(p), how, *pem(True)], encrypted=True
    ) as s:
        yield s


@contextmanager
def exotic(receive: str, send: str) -> Iterator[Server]:
    """A server of our own that receives and sends by the named system calls."""
    script = PYTHON_APPS / "exotic.py"
    with serving("exotic", lambda _, p: [sys.executable, script, str(p), receive, send]) as s:
        yield s
