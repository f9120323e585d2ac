"""Servers and clients of gRPC, all of one service: grpc-go, grpcio (over gRPC's C core), grpc-js.

`shop.Orders` has `Get` (unary), `List` (streams answers), `Upload` (streams requests) and `Chat` (both: an echo).
Messages are bytes. A call's first one says in words what is wanted: "sleep MS" before all else, "count N" answers of
List, "size BYTES" of each answer, "status CODE" at the end (for a single answer: instead). Servers log each call that
had a handler; clients read calls as JSON lines and write "NUMBER STATUS MESSAGES BYTES" for each, when it has ended.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.testbed import cache, tls, toolchains
from tests.testbed.servers import APPS, PYTHON_APPS, Server, pem, serving

SERVICE = "shop.Orders"


@dataclass(frozen=True, slots=True)
class Call:
    """One call to make; methods other than the four are unary, and nobody has them."""

    method: str = "Get"
    want: str = ""
    messages: int = 1  # that Upload and Chat send
    size: int = 0  # of each of them
    deadline_ms: int = 0  # 0: none
    cancel_ms: int = 0  # after so long, the client cancels; 0: never
    tag: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it, as the client saw it."""

    status: str
    messages: int
    received: int


@dataclass(frozen=True, slots=True)
class LogLine:
    """One call as the server itself logged it."""

    method: str  # with its service
    status: str
    requests: int
    responses: int
    duration_s: float
    tag: str
    port: int  # the client's


def access_log(server: Server, tag: str = "") -> list[LogLine]:
    """What the server logged, in its order; with `tag`, only calls that had it."""
    lines = [LogLine(**row) for row in server.rows()]
    return [line for line in lines if not tag or line.tag == tag]


def _go_app() -> list[str | Path]:
    folder = APPS / "go-grpc"
    go = toolchains.recent_go()

    def make(into: Path) -> None:
        env = toolchains.go_environment(go)
        cache.command([go, "build", "-o", str(into / "app"), "."], cwd=folder, env=env)

    return [cache.built("app-go-grpc", cache.files_below(folder), cache.command([go, "version"]), make) / "app"]


def _node_app() -> list[str | Path]:
    folder = APPS / "node-grpc"
    node, npm = cache.tool("node", "nodejs"), cache.tool("npm", "npm")

    def make(into: Path) -> None:
        for source in cache.files_below(folder):
            (into / source.name).write_bytes(source.read_bytes())
        cache.command([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=into)

    return [node, cache.built("app-node-grpc", cache.files_below(folder), "", make) / "app.js"]


def _python_app() -> list[str | Path]:
    return [sys.executable, PYTHON_APPS / "orders.py"]


APPLICATIONS: dict[str, Callable[[], list[str | Path]]] = {"grpcio": _python_app, "go": _go_app, "node": _node_app}


@contextmanager
def server(name: str, *, encrypted: bool = False) -> Iterator[Server]:
    """A server by name, a key of APPLICATIONS."""
    app = APPLICATIONS[name]()
    argv = [*app, "serve"]
    with serving(f"grpc-{name}", lambda h, p: [*argv, f"{h}:{p}", *pem(encrypted)], encrypted=encrypted) as s:
        yield s


class Client:
    """A client that runs, with one connection; it keeps it from one batch of calls to the next."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen
        self._count = 0

    @property
    def pid(self) -> int:
        return self._popen.pid

    def ask(self, calls: Sequence[Call], seconds: float = 60) -> list[Answer]:
        """Makes these calls and waits for the end of all, in whatever order that comes."""
        assert self._popen.stdin
        assert self._popen.stdout
        answers: dict[int, Answer] = {}
        too_late = threading.Timer(seconds, self._popen.kill)
        too_late.start()
        try:
            self._popen.stdin.write("".join(json.dumps(asdict(call)) + "\n" for call in calls))
            self._popen.stdin.flush()
            for line in self._popen.stdout:
                found = re.fullmatch(r"(\d+) (\w+) (\d+) (\d+)\n", line)
                assert found, line
                answers[int(found[1]) - self._count] = Answer(found[2], int(found[3]), int(found[4]))
                if len(answers) == len(calls):
                    break
        finally:
            too_late.cancel()
        assert len(answers) == len(calls), f"{len(calls) - len(answers)} calls have no answer"
        self._count += len(calls)
        return [answer for _, answer in sorted(answers.items())]


@contextmanager
def client(name: str, server: Server, at_once: int = 1) -> Iterator[Client]:
    """A client by name, a key of APPLICATIONS, that has `at_once` calls under way at most."""
    trust = [tls.certificate().certificate] if server.encrypted else []
    argv = [*APPLICATIONS[name](), "client", f"{server.host}:{server.port}", at_once, *trust]
    env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    with subprocess.Popen(
        [str(part) for part in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as popen:
        try:
            yield Client(popen)
            assert popen.stdin
            popen.stdin.close()
            assert popen.wait(20) == 0
        finally:
            popen.kill()
