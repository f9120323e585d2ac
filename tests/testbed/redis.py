"""Redis: servers, clusters, and its own tools; applications of redis-py and go-redis."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.testbed import cache, toolchains
from tests.testbed.process import eventually, free_port
from tests.testbed.servers import APPS, PYTHON_APPS, Server, serving

# What the tests ask themselves with.
ORACLE = {"INFO", "CONFIG RESETSTAT"}


@contextmanager
def redis(*options: str) -> Iterator[Server]:
    """A server that keeps nothing."""
    program = cache.tool("redis-server", "redis-server")

    def argv(host: str, port: int) -> list[str | Path]:
        return [program, "--bind", host, "--port", str(port), "--save", "", "--dir", ".", *options]

    with serving("redis", argv) as server:
        yield server


@contextmanager
def cluster(nodes: int = 3) -> Iterator[list[Server]]:
    """Some that share the slots."""
    with ExitStack() as stack:
        options = ("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port")
        started = [stack.enter_context(redis(*options, str(free_port()))) for _ in range(nodes)]
        addresses = [f"{node.host}:{node.port}" for node in started]
        cli(started[0], "--cluster", "create", *addresses, "--cluster-yes")

        def whole() -> bool:
            return all("cluster_state:ok" in cli(node, "CLUSTER", "INFO") for node in started)

        eventually(whole, "the cluster is whole", 30)
        yield started


def cli(server: Server, *words: str) -> str:
    """What redis-cli prints."""
    command = [cache.tool("redis-cli", "redis-tools"), "-h", server.host, "-p", str(server.port), *words]
    return cache.command(command)


def forget(server: Server) -> None:
    """Starts to count anew."""
    assert cli(server, "CONFIG", "RESETSTAT") == "OK\n"


def counted(server: Server) -> Counter[str]:
    """How often each command was executed, by the server's own count, without what the tests asked themselves."""
    found = re.findall(r"^cmdstat_(\S+):calls=(\d+)", cli(server, "INFO", "commandstats"), re.MULTILINE)
    calls = Counter({name.replace("|", " ").upper(): int(count) for name, count in found})
    return Counter({name: count for name, count in calls.items() if name not in ORACLE})


def _python_app() -> list[str | Path]:
    return [sys.executable, PYTHON_APPS / "redis_calls.py"]


def _go_app() -> list[str | Path]:
    folder = APPS / "go-redis"
    go = toolchains.recent_go()

    def make(into: Path) -> None:
        env = toolchains.go_environment(go)
        cache.command([go, "build", "-o", str(into / "app"), "."], cwd=folder, env=env)

    return [cache.built("app-go-redis", cache.files_below(folder), cache.command([go, "version"]), make) / "app"]


def client(name: str, server: Server) -> int:
    """Runs an application to its end: a bit of everything in database 3, key "T:..." Gives its pid."""
    kind, _, how = name.partition(" ")
    argv = _go_app() if kind == "go-redis" else _python_app()
    return run([*argv, server.host, server.port, *([how] if how else [])])


def benchmark(server: Server, *options: str) -> int:
    """Runs redis-benchmark to its end. Gives its pid."""
    program = cache.tool("redis-benchmark", "redis-tools")
    return run([program, "-h", server.host, "-p", server.port, "-q", *options])


def run(argv: list[str | Path | int], seconds: float = 60) -> int:
    """Runs a program to its good end. Gives its pid."""
    env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    with subprocess.Popen(
        [str(part) for part in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    ) as popen:
        printed, _ = popen.communicate(timeout=seconds)
        assert popen.returncode == 0, printed[-2000:]
        return popen.pid
