"""HTTP clients that nobody here wrote: each asks for a list of things on as few connections as it likes."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import cache, servers


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
    """(pid, standard output) of a client that ended well."""
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
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


def curl(server: servers.Server, asks: Iterable[Ask], *options: str) -> Done:
    """curl, all requests in one process and on one connection where the server keeps it."""
    common = ["-s", "-S", "-o", "/dev/null", "-w", "%{http_code} %{size_download}\\n", *options]
    if server.host.startswith("/"):
        common += ["--unix-socket", server.host]
    argv: list[str | Path] = [cache.tool("curl", "curl")]
    text = ""
    for ask in asks:
        if len(argv) > 1:
            argv.append("--next")
        argv += [*common, "-g"]
        argv += ["-I"] if ask.method == "HEAD" else ["-X", ask.method]
        if ask.body_bytes:
            argv += ["-H", "Content-Type:", "--data-binary", "@-"]
            text = "x" * ask.body_bytes
        argv.append(server.url + ask.target)
    pid, out = run(argv, text)
    return Done(pid, _numbers(out))


def _scripted(argv: Callable[[], list[str | Path]]) -> Callable[[servers.Server, Iterable[Ask]], Done]:
    def client(server: servers.Server, asks: Iterable[Ask]) -> Done:
        lines = "".join(f"{ask.method} {ask.target} {ask.body_bytes}\n" for ask in asks)
        base = server.url if server.port else server.host
        pid, out = run([*argv(), base], lines)
        return Done(pid, _numbers(out))

    return client


requests = _scripted(lambda: [sys.executable, servers.PYTHON_APPS / "client_requests.py"])
aiohttp = _scripted(lambda: [sys.executable, servers.PYTHON_APPS / "client_aiohttp.py"])
go = _scripted(lambda: [*servers.go_app(), "client"])
node_fetch = _scripted(lambda: [*servers.node_app(), "client", "fetch"])
node_http = _scripted(lambda: [*servers.node_app(), "client", "http"])

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
