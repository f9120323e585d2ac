"""Servers that speak MongoDB's protocol, and a shop that asks them by PyMongo.

There is no MongoDB in package registries. FerretDB is a server for its current drivers, with SQLite behind it;
mongo-java-server one that older drivers take for MongoDB 3.0.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import cache, clients, maven, toolchains
from tests.testbed.servers import APPS, PYTHON_APPS, Server, serving

_JAVA_SERVER = "de.bwaldvogel:mongo-java-server:1.36.0"
# The last driver that asks as servers before OP_MSG want to be asked.
_OLD_DRIVER = "pymongo==3.12.3"


@dataclass(frozen=True, slots=True)
class Command:
    """A command by the driver's own account."""

    operation: str
    namespace: str
    collection: str
    batch: int  # documents, updates or deletions
    code: str  # "" where it succeeded, "?" where it failed without
    rows: int | None  # of a cursor
    duration_s: float


@dataclass(frozen=True, slots=True)
class Shop:
    """What a client did."""

    pid: int
    commands: list[Command]


@contextmanager
def ferretdb() -> Iterator[Server]:
    """FerretDB."""
    folder, go = APPS / "ferretdb", toolchains.recent_go()

    def build(into: Path) -> None:
        env = toolchains.go_environment(go)
        cache.command([go, "build", "-o", str(into / "app"), "."], cwd=folder, env=env)

    app = cache.built("ferretdb", cache.files_below(folder), cache.command([go, "version"]), build) / "app"
    # it keeps its documents where it runs
    with serving("ferretdb", lambda host, port: [app, f"{host}:{port}", "."]) as server:
        yield server


@contextmanager
def java_server() -> Iterator[Server]:
    """mongo-java-server as MongoDB 3.0."""
    folder, jars = APPS / "mongo-java-server", maven.jars(_JAVA_SERVER)
    javac, java = (cache.tool(name, "default-jdk-headless") for name in ("javac", "java"))

    def build(into: Path) -> None:
        cache.command([javac, "-cp", f"{jars}/*", "-d", str(into), str(folder / "Serve.java")])

    built = cache.built("mongo-java-server", cache.files_below(folder), _JAVA_SERVER, build)
    command: list[str | Path] = [java, "-XX:TieredStopAtLevel=1", "-Xmx128m", "-cp", f"{jars}/*:{built}", "Serve"]
    with serving("mongo-java-server", lambda host, port: [*command, host, str(port)]) as server:
        yield server


def _old_driver() -> Path:
    def build(into: Path) -> None:
        cache.command([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(into), _OLD_DRIVER])

    return cache.built("old-pymongo", [], _OLD_DRIVER + sys.version, build)


def shop(server: Server, rounds: int = 1, collection: str = "orders", old: bool = False) -> Shop:
    """Does what a shop does; `old`: by the old driver."""
    script = PYTHON_APPS / "mongo_client.py"
    path = [f"PYTHONPATH={_old_driver()}"] if old else []
    argv: list[str | Path] = [sys.executable, script, server.host, str(server.port), str(rounds), collection]
    pid, out = clients.run(["env", *path, *argv] if old else argv)
    return Shop(pid, [Command(**json.loads(line)) for line in out.splitlines()])
