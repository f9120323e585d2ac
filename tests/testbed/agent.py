"""The agent as users run it: a subprocess, sending to a Collector, with a way to wait for what it saw."""

import contextlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.testbed import cache, wire
from tests.testbed.collector import Collector
from tests.testbed.process import Program, eventually
from tests.testbed.telemetry import CLIENT, SERVER, Point, Span, Telemetry

REPOSITORY = Path(__file__).parents[2]
COMMAND = REPOSITORY / ".venv" / "bin" / "otel-ebpf"
ATTACHED = re.compile(r"^.*\b(attached|watching)\b.*$", re.MULTILINE | re.IGNORECASE)

_SELECTS = ("--exe", "--port", "--pid", "--cgroup", "--service", "--exclude-", "--config")

# For tests that count what comes flat out, through agents that are asked for every call of it: virtual machines take
# CPUs away for 20 ms now and then, in which the usual ring fills up. What is lost then is tested elsewhere.
AMPLE_RING = {"ring_bytes": 64 << 20}

# On a machine where other things go on, $TESTBED_ONLY_OURS makes tests/conftest.py put the tests into a cgroup of their
# own, and agents watch that. Without it they watch everything, as users do.
only_cgroup = ""

# BPF programs of every agent that the tests have started: none may outlive its agent.
programs_seen: set[int] = set()


def programs_of(pid: int) -> set[int]:
    """Ids of the BPF programs that a process holds, by itself or through links."""
    found = set()
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            found |= {int(number) for number in re.findall(r"^prog_id:\s*(\d+)", info.read_text(), re.MULTILINE)}
    return found


def programs_loaded() -> set[int]:
    """Ids of all BPF programs in the kernel."""
    printed = subprocess.run([cache.tool("bpftool", "bpftool"), "-j", "prog", "list"], capture_output=True, check=True)
    return {row["id"] for row in json.loads(printed.stdout)}


@dataclass(slots=True)
class Fence:
    """A server and a client in the tests' own process: once its request has arrived, so has all before it."""

    address: tuple[str, int]
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def cross(self) -> str:
        """Makes a request and returns its tag."""
        tag = f"fence-{os.getpid()}-{next(self.numbers)}"
        with wire.Connection(self.address) as conn:
            conn.send(wire.request("GET", f"/fence?t={tag}"))
            conn.answer()
        return tag

    def cross_anew(self, tag: str) -> int:
        """The same by a process that nobody has met, which is told of after all met before it. Returns its pid."""
        host, port = self.address
        ask = f"exec 3<>/dev/tcp/{host}/{port}; printf 'GET /fence?t={tag} HTTP/1.1\\r\\n\\r\\n' >&3; read -r line <&3"
        with subprocess.Popen(["bash", "-c", ask]) as popen:
            assert popen.wait(10) == 0
        return popen.pid


@contextmanager
def fence() -> Iterator[Fence]:
    """A fence that stands."""

    def handle(conn: socket.socket) -> None:
        while wire.read_head(conn):
            conn.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with wire.serving(handle) as address:
        yield Fence(address)


@dataclass(slots=True)
class Agent:
    """An agent that is attached."""

    program: Program
    telemetry: Telemetry
    fence: Fence
    programs: set[int]
    selects: bool = False  # not whoever comes: by --exe, say

    def settle(self, seconds: float = 15) -> None:
        """Waits until all requests that ended before this call have arrived as spans."""
        tag, me = self.fence.cross(), os.getpid()
        # What a new process does is held until its verdict, and overtaken by what the tests' own process does.
        newcomer = None if self.selects else self.fence.cross_anew(tag)

        def arrived() -> bool:
            self.program.must_run()
            spans = self.telemetry.refresh()
            if newcomer and not spans.of([newcomer], CLIENT, tag):
                return False
            return {SERVER, CLIENT} <= {span.kind for span in spans.of([me], tag=tag)}

        eventually(arrived, "the fence's spans arrive", seconds)

    def settle_metrics(self, seconds: float = 15) -> None:
        """Waits until metrics have arrived that include all requests that ended before this call."""
        self.settle(seconds)
        now, mine = time.time_ns(), [os.getpid()]
        read_at: set[int] = set()

        def arrived() -> bool:
            self.program.must_run()
            points = self.points("http.server.request.duration", mine)
            read_at.update(point.time_ns for point in points if point.time_ns > now)
            # Many series are sent in portions, one after the other: with the next reading's first, all have come.
            return len(read_at) > 1

        eventually(arrived, "newer metrics arrive", seconds)

    def spans(self, pids: set[int] | Sequence[int], kind: int = 0, tag: str = "") -> list[Span]:
        """Spans of these processes that have arrived."""
        return self.telemetry.refresh().of(pids, kind, tag)

    def points(self, name: str, pids: set[int] | Sequence[int] = ()) -> list[Point]:
        """The newest points of a metric that have arrived."""
        return self.telemetry.refresh().latest(name, pids)

    def summary(self) -> dict[str, Any]:
        """The closing summary, once the agent has ended."""
        rows = [json.loads(line) for line in self.program.stdout.splitlines()]
        return next(row for row in rows if row.get("kind") == "summary")

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends the agent, sees that nothing of it stays in the kernel, and returns its exit status."""
        status = self.program.end(how, 15)
        # The kernel frees programs a little after the last link went.
        eventually(lambda: not self.programs & programs_loaded(), "the agent's BPF programs are gone", 5)
        self.telemetry.refresh()
        return status


def environment(endpoint: str | None) -> dict[str, str]:
    """The agent's environment: nothing of the caller's OTEL_*, short delays."""
    clean = {name: "" for name in os.environ if name.startswith("OTEL_")}
    if endpoint:
        clean["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    return {**clean, "OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "250"}


def configuration(**ours: Any) -> str:
    """A configuration file with the same delays and no limit on spans; `ours`: what else it has under otel_ebpf."""
    endpoint = "${OTEL_EXPORTER_OTLP_ENDPOINT}/v1"
    traces, metrics = ({"otlp_http": {"endpoint": f"{endpoint}/{signal}"}} for signal in ("traces", "metrics"))
    return yaml.safe_dump(
        {
            "file_format": "1.0",
            "tracer_provider": {"processors": [{"batch": {"schedule_delay": 50, "exporter": traces}}]},
            "meter_provider": {"readers": [{"periodic": {"interval": 250, "exporter": metrics}}]},
            "distribution": {"otel_ebpf": {"spans_per_second": 0, **ours}},
        },
        sort_keys=False,
    )


@contextmanager
def shown(folder: Path, *options: str) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """An agent without a backend, attached; the call gives the lines that it has shown so far, as JSON has them."""
    if only_cgroup and "--cgroup" not in options:
        options = (*options, "--cgroup", only_cgroup)
    with Program([COMMAND, "run", "--output", "json", *options], folder, "shown", env=environment(None)) as program:
        program.wait_until(lambda: ATTACHED.search(program.stderr), "says that it is attached", 30)
        programs_seen.update(programs_of(program.pid))

        def rows() -> list[dict[str, Any]]:
            whole, _, _ = program.stdout.rpartition("\n")  # the last one may still be on its way
            return [row for row in map(json.loads, whole.splitlines()) if row["kind"] == "request"]

        yield rows


@contextmanager
def running(
    collector: Collector,
    a_fence: Fence,
    *options: str,
    env: Mapping[str, str] | None = None,
    endpoint: str | None = None,
    spans_per_second: int = 0,
    capture: Mapping[str, int] | None = None,
) -> Iterator[Agent]:
    """An agent that sends to `collector`; ended well at the end unless the test did. 0 spans per second: no limit.
    `capture` is what a configuration file says of it.
    """
    selects = any(option.startswith(_SELECTS) for option in options)
    options = ("--quiet", "--output", "json", *options)
    if "--config" not in options:
        options = (*options, "--spans-per-second", str(spans_per_second))
        if only_cgroup and "--cgroup" not in options:
            options = (*options, "--cgroup", only_cgroup)
    with tempfile.TemporaryDirectory(prefix="otel-ebpf-agent-") as temporary:
        if capture:
            file = Path(temporary) / "config.yaml"
            file.write_text(configuration(capture=dict(capture)))
            options = ("--config", str(file), *options)
        program = Program(
            [COMMAND, "run", *options],
            Path(temporary),
            "agent",
            env={**environment(endpoint or collector.http_endpoint), **(env or {})},
        )
        try:
            program.wait_until(lambda: ATTACHED.search(program.stderr), "says that it is attached", 30)
            held = programs_of(program.pid)
            programs_seen.update(held)
            assert held, "the agent says that it is attached, but holds no BPF program"
            agent = Agent(program, collector.telemetry(), a_fence, held, selects)
            yield agent
            if program.running():
                status = agent.end()
                assert status == 0, f"the agent ended with {status}:\n{program.stderr[-3000:]}"
            assert "Traceback" not in program.stderr, program.stderr[-3000:]
        finally:
            if program.running():
                program.end(signal.SIGKILL)
