"""HTTP clients that nobody here wrote: each asks for a list of things on as few connections as it likes."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import cache, servers, tls


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to make."""

    method: str
    target: str
    body_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """What a client did, by its own account."""

    pid: int
    answers: list[tuple[int, int]]  # (status, bytes of the body)


def run(argv: Sequence[str | Path], text: str = "", seconds: float = 60) -> tuple[int, str]:
    """(pid, standard output) of a client that ended well. It trusts the testbed's certificate."""
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    env |= tls.certificate().trust
    with subprocess.Popen(
        [str(part) for part in argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    ) as popen:
        try:
            out, err = popen.communicate(text, seconds)
        finally:
            popen.kill()
    assert popen.returncode == 0, f"{argv[0]} ended with {popen.returncode}: {err[-2000:]}{out[-500:]}"
    return popen.pid, out


def _numbers(out: str) -> list[tuple[int, int]]:
    return [(int(status), int(size)) for status, size in re.findall(r"^(\d+) (\d+)$", out, re.MULTILINE)]


def curl(server: servers.Server, asks: Iterable[Ask], *options: str, first: Sequence[str] = ()) -> Done:
    """curl, all requests in one process and on one connection where the server keeps it.

    `options` are every request's; those in `first` the first one's alone.
    """
    common = ["-s", "-S", "-g", "-o", "/dev/null"]
    if server.encrypted:
        common += ["--http1.1"]
    if server.host.startswith("/"):
        common += ["--unix-socket", server.host]
    common += options
    argv: list[str | Path] = [cache.tool("curl", "curl")]
    text = ""
    for number, ask in enumerate(asks):
        argv += ["--next"] if number else first
        argv += [*common, "-w", f"{number:05} %{{http_code}} %{{size_download}}\\n"]
        argv += ["-I"] if ask.method == "HEAD" else ["-X", ask.method]
        if ask.body_bytes:
            argv += ["-H", "Content-Type:", "--data-binary", "@-"]
            text = "x" * ask.body_bytes
        argv.append(server.url + ask.target)
    pid, out = run(argv, text)
    in_order = sorted(out.splitlines(keepends=True))  # with --parallel, answers come in any
    return Done(pid, _numbers("".join(line.partition(" ")[2] for line in in_order)))


def scripted(
    argv: Callable[[], list[str | Path]], server: servers.Server, asks: Iterable[Ask], *arguments: str
) -> Done:
    """A client of ours that reads what to ask from its standard input."""
    lines = "".join(f"{ask.method} {ask.target} {ask.body_bytes}\n" for ask in asks)
    base = server.url if server.port else server.host
    pid, out = run([*argv(), base, *arguments], lines)
    return Done(pid, _numbers(out))


def _scripted(argv: Callable[[], list[str | Path]]) -> Callable[[servers.Server, Iterable[Ask]], Done]:
    return lambda server, asks: scripted(argv, server, asks)


requests = _scripted(lambda: [sys.executable, servers.PYTHON_APPS / "client_requests.py"])
aiohttp = _scripted(lambda: [sys.executable, servers.PYTHON_APPS / "client_aiohttp.py"])
go = _scripted(lambda: [*servers.go_app(), "client"])
node_fetch = _scripted(lambda: [*servers.node_app(), "client", "fetch"])
node_http = _scripted(lambda: [*servers.node_app(), "client", "http"])


def wget(server: servers.Server, asks: Iterable[Ask], *options: str) -> Done:
    """GNU wget with GnuTLS: GETs alone, all in one process. It says nothing of what it got: as many (0, 0)."""
    asks = list(asks)
    trust = f"--ca-certificate={tls.certificate().certificate}"
    common = ["-q", "-O", "/dev/null", "--no-config", "--no-proxy", "--content-on-error", trust]
    argv: list[str | Path] = [cache.tool("wget", "wget"), *common, *options]
    pid, _ = run([*argv, *(server.url + ask.target for ask in asks)])
    return Done(pid, [(0, 0)] * len(asks))


def through(name: str, proxy: str, server: servers.Server, asks: Iterable[Ask]) -> Done:
    """The same by a proxy, for those that can: curl and aiohttp."""
    if name == "curl":
        return curl(server, asks, "--proxy", proxy)
    script = servers.PYTHON_APPS / "client_aiohttp.py"
    return _scripted(lambda: [sys.executable, script, "--proxy", proxy])(server, asks)


@dataclass(frozen=True, slots=True)
class Peers:
    """A client's requests for /peer?n=N on many connections at once: which connection each one says it came by."""

    pid: int
    ports: dict[int, int]  # N: the client's port


def _many(argv: Callable[[], list[str | Path]]) -> Callable[[servers.Server, str, int, int], Peers]:
    def client(server: servers.Server, tag: str, connections: int, rounds: int) -> Peers:
        pid, out = run([*argv(), f"{server.url}/peer?t={tag}", str(connections), str(rounds)])
        return Peers(pid, dict(_numbers(out)))

    return client


def upgrade(server: servers.Server, how: str, requests: int, target: str, greetings: int = 1) -> Done:
    """The client to servers.upgrade."""
    script = servers.PYTHON_APPS / "upgrade.py"
    argv: list[str | Path] = [sys.executable, script, "client", str(server.port), how]
    pid, out = run([*argv, str(requests), target, str(greetings)])
    return Done(pid, _numbers(out))


# All from one thread (Go: from a few), with more connections than that.
MANY: dict[str, Callable[[servers.Server, str, int, int], Peers]] = {
    "aiohttp": _many(lambda: [sys.executable, servers.PYTHON_APPS / "client_many.py"]),
    "node": _many(lambda: [*servers.node_app(), "many"]),
    "go": _many(lambda: [*servers.go_app(), "many"]),
}

ALL: dict[str, Callable[[servers.Server, Iterable[Ask]], Done]] = {
    "curl": curl,
    "requests": requests,
    "aiohttp": aiohttp,
    "go": go,
    "node-fetch": node_fetch,
    "node-http": node_http,
}


# A few thousand requests a second and no more: a backend that stores every span keeps up on any machine.
AT_EASE = Path(__file__).parent / "apps" / "at_ease.lua"


def wrk(url: str, *, connections: int = 4, seconds: float = 1, threads: int = 1, script: Path | None = None) -> Done:
    """wrk for a while; its answers are only counted: as many (200, 0) as it says it got."""
    argv: list[str | Path] = [cache.tool("wrk", "wrk"), f"-t{threads}", f"-c{connections}", f"-d{seconds}s"]
    if script:
        argv += ["-s", script]
    pid, out = run([*argv, url], seconds=seconds + 30)
    found = re.search(r"(\d+) requests in", out)
    assert found, out
    return Done(pid, [(200, 0)] * int(found[1]))
