"""One measurement: nginx under load, without the agent or with it in one of its modes. Runs natively and in the VM."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from tests.bench import load, sink
from tests.kernels import agent
from tests.testbed import grpc
from tests.testbed.process import descendants
from tests.testbed.tls import Certificate

Watched = Literal["nothing", "server", "both", "everything"]
Export = Literal["metrics", "budget", "all"]

_SELECT: dict[Watched, list[str]] = {
    "nothing": [],
    "server": ["--exe", "nginx", "--exe", "app"],
    "both": ["--exe", "nginx", "--exe", "wrk", "--exe", "h2load", "--exe", "app", "--exe", "ghz"],
    "everything": [],
}
_EXPORT: dict[Export, list[str]] = {"metrics": ["--metrics-only"], "budget": [], "all": list(agent.ALL_SPANS)}
# Spans wait at most a second for a batch to fill, so that a measurement ends soon; under load batches are full.
_ENVIRONMENT = {"OTEL_BSP_SCHEDULE_DELAY": "1000"}


@dataclass(frozen=True, slots=True)
class Mode:
    """What the agent is asked to do."""

    watched: Watched = "nothing"
    export: Export = "metrics"

    @property
    def name(self) -> str:
        if self.watched == "nothing":
            return "without the agent"
        what = {"server": "server", "both": "client and server", "everything": "everything (plain run)"}[self.watched]
        return f"{what}, {({'metrics': 'metrics only', 'budget': 'default budget', 'all': 'all spans'})[self.export]}"


WITHOUT = Mode()


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked for. With `paths`, 1,000 different targets in turn. `in_turn`: see load.in_turn.

    `encrypted`: within TLS. `http2`: by h2load, 32 streams on each connection. `grpc`: of grpc-go, by ghz.
    """

    name: str
    target: str = load.HELLO
    paths: load.Paths | None = None
    connections: int = 16
    in_turn: bool = False
    encrypted: bool = False
    http2: bool = False
    grpc: bool = False


HELLO = Workload("hello world")
FILE = Workload("512-byte file", load.FILE_512)
HTTPS = Workload("512-byte file, https", load.FILE_512, connections=8, encrypted=True)
HTTP2 = Workload("512-byte file, HTTP/2", load.FILE_512, connections=8, http2=True)
GRPC = Workload("unary calls, gRPC", grpc=True)
IDS = Workload("1,000 paths with ids", paths="ids")
NAMES = Workload("1,000 paths of names", paths="names")


@dataclass(frozen=True, slots=True)
class ProgramCost:
    """What one BPF program cost during a measurement."""

    name: str
    runs: int
    nanoseconds: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of wrk or h2load."""

    workload: str
    load: load.Load
    agent_cpu_s: float = 0.0  # during the load and until its last span was sent
    late_cpu_s: float = 0.0  # the agent's and the sink's part of it after the load's end
    spans: int = 0  # received by the sink
    bpf: list[ProgramCost] = field(default_factory=list)

    @property
    def ns_per_request(self) -> float:
        """Wall time per request with what was left to do afterwards: on one counting vCPU, instructions."""
        return (self.load.seconds + self.late_cpu_s) * 1e9 / self.load.requests

    @property
    def agent_us_per_request(self) -> float:
        return self.agent_cpu_s * 1e6 / self.load.requests


@dataclass(slots=True)
class Watch:
    """One life of the agent (or none), and what was measured meanwhile."""

    mode: Mode
    samples: list[Sample] = field(default_factory=list)
    wrk_pids: set[int] = field(default_factory=set)
    wrk_requests: int = 0  # all that wrk made, warm-ups included
    peak_rss_bytes: int = 0
    counted: dict[str, int] = field(default_factory=dict)  # by http.{server,client}.request.duration

    _sample: Callable[[Workload, float], Sample] | None = None

    def sample(self, workload: Workload, seconds: float) -> Sample:
        """One run of about `seconds`."""
        assert self._sample is not None, "the agent has ended"
        self.samples.append(self._sample(workload, seconds))
        self.note(self.samples[-1].load)
        return self.samples[-1]

    def note(self, ran: load.Load) -> None:
        """One more life of wrk."""
        self.wrk_requests += ran.requests
        self.wrk_pids.add(ran.pid)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "mode": asdict(self.mode),
            "samples": [asdict(sample) for sample in self.samples],
            "wrk_requests": self.wrk_requests,
            "peak_rss_bytes": self.peak_rss_bytes,
            "counted": self.counted,
        }

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Self:
        """What `as_dict` gave."""
        samples = [
            Sample(
                **{
                    **sample,
                    "load": load.Load(**sample["load"]),
                    "bpf": [ProgramCost(**program) for program in sample["bpf"]],
                }
            )
            for sample in row["samples"]
        ]
        rest = {key: row[key] for key in ("wrk_requests", "peak_rss_bytes", "counted")}
        return cls(Mode(**row["mode"]), samples, **rest)


@dataclass(frozen=True, slots=True)
class Bench:
    """nginx and what is needed to measure it."""

    folder: Path
    nginx: load.Nginx
    sink_program: Path
    grpc_address: str = ""
    ghz_program: Path | None = None

    def run(self, workload: Workload, seconds: float) -> load.Load:
        """One run of wrk, h2load or ghz."""
        if workload.grpc:
            assert self.ghz_program, "this bench has no gRPC"
            return load.ghz(self.ghz_program, self.folder, self.grpc_address, seconds)
        if workload.http2:
            return load.h2load(self.nginx.http2_url + workload.target, seconds, connections=workload.connections)
        script = load.rotating_paths(self.folder, workload.paths) if workload.paths else None
        with load.in_turn(descendants(self.nginx.pid)) if workload.in_turn else nullcontext():
            url = self.nginx.secure_url if workload.encrypted else self.nginx.url
            return load.wrk(url + workload.target, seconds, connections=workload.connections, script=script)

    @contextmanager
    def watching(self, mode: Mode, *, stats: bool = False) -> Iterator[Watch]:
        """The agent in this mode, warmed up by a second of load; the counts are complete when it has ended."""
        watch = Watch(mode)
        if mode == WITHOUT:
            watch._sample = lambda workload, seconds: Sample(workload.name, self.run(workload, seconds))
            watch.note(self.run(HELLO, 1))
            yield watch
            return
        with ExitStack() as stack:
            home = self.folder / "agent"
            shutil.rmtree(home, ignore_errors=True)
            drain = stack.enter_context(sink.running(self.sink_program, home / "sink"))
            if stats:
                stack.enter_context(agent.bpf_stats())
            arguments = [*_SELECT[mode.watched], *_EXPORT[mode.export]]
            with agent.running(home, drain.endpoint, arguments, _ENVIRONMENT) as it:
                watch._sample = lambda workload, seconds: self._watched(it, drain, workload, seconds)
                watch.note(self.run(HELLO, 1))
                _settle(drain)
                yield watch
                watch._sample = None
                watch.peak_rss_bytes = it.peak_rss_bytes()
            watch.counted = {
                "server": drain.counted("http.server.request.duration", descendants(self.nginx.pid)),
                "client": drain.counted("http.client.request.duration", watch.wrk_pids),
            }

    def _watched(self, it: agent.Agent, drain: sink.Sink, workload: Workload, seconds: float) -> Sample:
        spans, programs, cpu = drain.stats()["spans"], it.bpf_programs(), it.cpu_s()
        ran = self.run(workload, seconds)
        at_end = it.cpu_s() + _cpu_s(drain.pid)
        programs_now = it.bpf_programs()
        _settle(drain)
        return Sample(
            workload.name,
            ran,
            agent_cpu_s=it.cpu_s() - cpu,
            late_cpu_s=it.cpu_s() + _cpu_s(drain.pid) - at_end,
            spans=drain.stats()["spans"] - spans,
            bpf=_difference(programs, programs_now),
        )


@contextmanager
def bench(
    folder: Path,
    sink_program: Path,
    *,
    access_log: Path | None = None,
    certificate: Certificate | None = None,
    with_grpc: bool = False,
) -> Iterator[Bench]:
    """nginx, ready to be measured; within TLS too, given a certificate; and a server of gRPC if asked for."""
    with ExitStack() as stack:
        nginx = stack.enter_context(load.nginx(folder, access_log=access_log, certificate=certificate))
        if not with_grpc:
            yield Bench(folder, nginx, sink_program)
            return
        server = stack.enter_context(grpc.server("go"))
        yield Bench(folder, nginx, sink_program, f"127.0.0.1:{server.port}", load.build_ghz())


def _settle(drain: sink.Sink) -> None:
    """Until no span came for longer than a batch may wait."""
    quiet_since, seen = time.monotonic(), drain.stats()["posts"]
    end = quiet_since + 20
    while time.monotonic() < min(end, quiet_since + 1.5):
        time.sleep(0.1)
        now = drain.stats()["posts"]
        if now != seen:
            quiet_since, seen = time.monotonic(), now


def _cpu_s(pid: int) -> float:
    return sum(int(Path(f"/proc/{each}/schedstat").read_text().split()[0]) / 1e9 for each in descendants(pid))


def _difference(before: list[agent.BpfProgram], after: list[agent.BpfProgram]) -> list[ProgramCost]:
    old = {program.id: program for program in before}
    return [
        ProgramCost(
            program.name, program.runs - old[program.id].runs, program.nanoseconds - old[program.id].nanoseconds
        )
        for program in after
        if program.id in old and program.runs > old[program.id].runs
    ]
