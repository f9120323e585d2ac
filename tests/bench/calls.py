"""Databases under their own load tools, with and without the agent: pairs one right after the other, and every call of
the tool's counted."""

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.bench import sink
from tests.kernels import agent
from tests.testbed import cache, postgresql, redis

_EXPORT = {"metrics": ["--metrics-only"], "budget": [], "all": list(agent.ALL_SPANS)}
_DURATION = "db.client.operation.duration"


@dataclass(frozen=True, slots=True)
class Ran:
    """What a tool reported."""

    pid: int
    calls: int  # of those that are counted: see `Load.counted`
    per_second: float


@dataclass(frozen=True, slots=True)
class Load:
    """One tool with one way of asking. `counted`: an attribute that its calls have, and the attribute's value."""

    name: str
    run: Callable[[], Ran]
    counted: tuple[str, str]


@dataclass(slots=True)
class Pairs:
    """All rounds of one load and one way to export. `missed`: calls that no metric counts, of all rounds."""

    name: str
    without: list[float] = field(default_factory=list)
    watched: list[float] = field(default_factory=list)
    calls: int = 0
    missed: int = 0
    agent_us: list[float] = field(default_factory=list)
    peak_rss_bytes: int = 0

    @property
    def ratios(self) -> list[float]:
        """Throughput with over throughput without, by pair."""
        return [watched / without for without, watched in zip(self.without, self.watched, strict=True)]

    @property
    def ratio(self) -> float:
        return median(self.ratios)


@contextmanager
def loads(seconds: float) -> Iterator[list[Load]]:
    """Servers, and the tools that will ask them for about `seconds`."""
    with postgresql.postgresql(logged=False) as sql, redis.redis() as cache_server:
        at = ["-h", cache_server.host, "-p", str(cache_server.port)]
        yield [
            Load("pgbench -S -c 8", lambda: _pgbench(sql, seconds), ("db.system.name", "postgresql")),
            Load(
                "pgbench -S -M prepared -c 8",
                lambda: _pgbench(sql, seconds, "-M", "prepared"),
                ("db.system.name", "postgresql"),
            ),
            Load("redis-benchmark -c 16, GET", lambda: _redis(at, 80_000, seconds), ("db.operation.name", "GET")),
            Load(
                "redis-benchmark -c 16 -P 16, GET",
                lambda: _redis(at, 600_000, seconds, "-P", "16"),
                ("db.operation.name", "GET"),
            ),
        ]


def rounds(count: int, seconds: float, say: Callable[[str], None]) -> list[Pairs]:
    """`count` rounds of all loads, client and server watched, with the default budget of spans and with all of them."""
    results: dict[tuple[str, str], Pairs] = {}
    program = sink.build()
    with loads(seconds) as all_loads, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for number in range(count):
            for load in all_loads:
                for export in ("budget", "all"):
                    pairs = results.setdefault((load.name, export), Pairs(f"{load.name}: {export}"))
                    pairs.without.append(load.run().per_second)
                    _watched(Path(folder), program, load, export, pairs)
                    say(f"round {number + 1} of {count}: {pairs.name}: {pairs.ratios[-1]:.2f}")
    return list(results.values())


def _watched(folder: Path, program: Path, load: Load, export: str, pairs: Pairs) -> None:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        drain = stack.enter_context(sink.running(program, home / "sink"))
        options = [*_EXPORT[export], "--exe", "postgres", "--exe", "pgbench", "--exe", "redis-*"]
        with agent.running(home, drain.endpoint, options) as it:
            before = it.cpu_s()
            ran = load.run()
            pairs.watched.append(ran.per_second)
            pairs.agent_us.append((it.cpu_s() - before) * 1e6 / ran.calls)
            pairs.peak_rss_bytes = max(pairs.peak_rss_bytes, it.peak_rss_bytes())
        counted = drain.counted(_DURATION, {ran.pid}, load.counted)
        pairs.calls += ran.calls
        pairs.missed += ran.calls - counted


def _pgbench(server: postgresql.Postgresql, seconds: float, *options: str) -> Ran:
    pid, text = _run(
        ["pgbench", "-n", "-S", "-c", "8", "-T", str(max(1, round(seconds))), *options, server.dsn("bench")]
    )
    calls = re.search(r"transactions actually processed: (\d+)", text)
    rate = re.search(r"^tps = ([\d.]+)", text, re.MULTILINE)
    if calls is None or rate is None:
        raise RuntimeError(f"pgbench's report is not understood:\n{text}")
    return Ran(pid, int(calls[1]), float(rate[1]))


def _redis(at: list[str], per_second: int, seconds: float, *options: str) -> Ran:
    """redis-benchmark takes a number of calls and no time: about as many as it makes in these seconds."""
    calls = round(per_second * seconds)
    program = str(cache.tool("redis-benchmark", "redis-tools"))
    pid, text = _run([program, *at, "-c", "16", "-n", str(calls), "-t", "get", "--csv", *options])
    rate = re.search(r'^"GET","([\d.]+)"', text, re.MULTILINE)
    if rate is None:
        raise RuntimeError(f"redis-benchmark's report is not understood:\n{text}")
    return Ran(pid, calls, float(rate[1]))


def _run(command: list[str]) -> tuple[int, str]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        text, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{text}")
        return process.pid, text
