"""Stand-ins for what needs a kernel: records as the core makes them, and a core that hands out what it is given."""

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

from otel_ebpf.capture.session import Place
from otel_ebpf.model import MapCost, PortRange, ProgramStats


class Process(NamedTuple):
    key: int
    tgid: int
    ppid: int = 1
    uid: int = 0
    start_boottime_ns: int = 0
    cgroup_id: int = 0
    comm: str = "shop"
    args: tuple[str, ...] = ("shop",)


class Line(NamedTuple):
    process_key: int = 1
    role: str = "server"
    start_unix_ns: int = 1_700_000_000_123_456_789
    duration_ns: int = 1_250_000
    system: str = ""
    summary: str = ""
    query: str = ""
    code: str = ""
    client: str = "10.0.0.5:51234"
    server: str = "10.0.0.9:80"
    method: str = "GET"
    target: str = "/orders/17"
    route: str = "/orders/{id}"
    status: int = 200
    rpc_method: str = ""
    rpc_status: str = ""
    request_messages: int | None = None
    response_messages: int | None = None
    error_type: str = ""
    request_body_bytes: int = 0
    response_body_bytes: int = 612
    trace_id: str = ""
    span_id: str = ""


class Exemplar(NamedTuple):
    value: float = 0.02
    time_unix_ns: int = 1_700_000_001_000_000_000
    trace_id: bytes = bytes(range(16))
    span_id: bytes = bytes(range(8))


class Exponential(NamedTuple):
    scale: int = 20
    zero_count: int = 0
    offset: int = 0
    counts: tuple[int, ...] = (1,)


class Histogram(NamedTuple):
    count: int = 1  # type: ignore[assignment]  # shadows tuple.count
    sum: float = 0.02
    min: float = 0.02
    max: float = 0.02
    buckets: tuple[int, ...] = (0, 0, 1, *(0,) * 12)
    exponential: Exponential | None = None
    exemplars: tuple[Exemplar, ...] = ()


class Series(NamedTuple):
    process_key: int = 1
    role: str = "server"
    start_unix_ns: int = 1_700_000_000_000_000_000
    rpc_system: str = ""
    rpc_method: str = ""
    rpc_status: str = ""
    method: str = "GET"
    scheme: str = "http"
    route: str = "/orders/{id}"
    status: int = 200
    error_type: str = ""
    protocol_version: str = "1.1"
    server_address: str = ""
    server_port: int = 0
    overflow: bool = False
    duration: Histogram = Histogram()
    request_body: Histogram | None = None
    response_body: Histogram | None = None


def call_series(
    method: str = "shop.v1.Cart/Add",
    status: str = "OK",
    *,
    role: str = "server",
    error_type: str = "",
    server: tuple[str, int] = ("", 0),
    overflow: bool = False,
    duration: Histogram | None = None,
) -> Series:
    """A series of gRPC calls: what is HTTP's is empty."""
    return Series(
        role=role,
        rpc_system="grpc",
        rpc_method="" if overflow else method,
        rpc_status="" if overflow else status,
        method="",
        scheme="",
        route="",
        status=0,
        error_type=error_type,
        protocol_version="",
        server_address=server[0],
        server_port=server[1],
        overflow=overflow,
        duration=duration or Histogram(),
        request_body=Histogram(1, 10.0, 10.0, 10.0, (0, 1)),
    )


class Calls(NamedTuple):
    process_key: int = 1
    area: str = "db"
    role: str = "client"
    system: str = "redis"
    name: str = "GET"
    error_type: str = ""
    start_unix_ns: int = 1_700_000_000_000_000_000
    attributes: Mapping[str, str | int] = MappingProxyType({"db.system.name": "redis", "server.port": 6379})
    overflow: bool = False
    duration: Histogram = Histogram(buckets=(0, 0, 0, 1, *(0,) * 6))
    messages: int = 0


class Active(NamedTuple):
    process_key: int = 1
    method: str = "GET"
    scheme: str = "http"
    value: int = 3


class Spans(NamedTuple):
    process_key: int
    count: int  # type: ignore[assignment]  # shadows tuple.count
    spans: bytes


def spans_of(process_key: int, *names: str) -> Spans:
    """Finished spans as the core encodes them."""
    message = ScopeSpans(spans=[Span(name=name, end_time_unix_nano=time.time_ns()) for name in names])
    return Spans(process_key, len(names), message.SerializeToString())


@dataclass
class FakeCore:
    """Everything it holds is handed out once, in the order it was given."""

    processes: list[Process] = field(default_factory=list)
    spans: list[Spans] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    calls: list[Calls] = field(default_factory=list)
    active: list[Active] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    execs: list[int] = field(default_factory=list)
    tls_users: list[int] = field(default_factory=list)
    probed: list[str] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    lines_dropped: int = 0
    verdicts: dict[int, tuple[bool, list[PortRange] | None, list[PortRange] | None]] = field(default_factory=dict)
    live: list[dict[str, Any]] = field(default_factory=list)
    services: dict[int, str] = field(default_factory=dict)
    strategies: dict[str, tuple[float, float, float, tuple[tuple[str, float], ...]]] = field(default_factory=dict)
    fills: list[float] = field(default_factory=list)
    closed: bool = False
    drains: bool = True
    hooks: str = "sock_length"
    _taken: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def set_verdict(
        self,
        process_key: int,
        selected: bool,
        include_ports: list[PortRange] | None = None,
        exclude_ports: list[PortRange] | None = None,
    ) -> None:
        self.verdicts[process_key] = (selected, include_ports, exclude_ports)

    def reconfigure(self, **live: Any) -> None:
        self.live.append(live)

    def set_service(self, process_key: int, service: str) -> None:
        self.services[process_key] = service

    def set_strategy(
        self,
        service: str,
        *,
        probability: float,
        per_second: float = 0.0,
        floor_per_second: float = 0.0,
        operations: Sequence[tuple[str, float]] = (),
    ) -> None:
        self.strategies[service] = (probability, per_second, floor_per_second, tuple(operations))

    def set_queue_fill(self, fill: float) -> None:
        self.fills.append(fill)

    def add_probes(
        self,
        path: str,
        probes: Sequence[tuple[Place, int, str, int | None, bool]],
        *,
        client_random: Sequence[int] = (),
        is_server: int = 0,
    ) -> int:
        self.probed.append(path)
        return len(self.probed)

    def remove_probes(self, number: int) -> bool:
        self.probed[number - 1] = ""
        return True

    def take_execs(self) -> list[int]:
        taken, self.execs = self.execs, []
        return taken

    def take_tls_users(self) -> list[int]:
        taken, self.tls_users = self.tls_users, []
        return taken

    def wait(self, timeout_s: float) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while not self.processes and time.monotonic() < deadline_s:
            time.sleep(0.005)
        return bool(self.processes)

    def take_processes(self) -> list[Process]:
        taken, self.processes = self.processes, []
        return taken

    def take_exits(self) -> list[int]:
        taken, self.exits = self.exits, []
        return taken

    def take_spans(self, max_bytes: int = 4 << 20) -> list[Spans]:
        with self._lock:
            sizes = itertools.accumulate(len(batch.spans) for batch in self.spans)
            fit = max(1, sum(size <= max_bytes for size in sizes))
            taken, self.spans = self.spans[:fit], self.spans[fit:]
            self._taken += sum(batch.count for batch in taken)
        return taken

    def take_lines(self, limit: int = 1000) -> list[Line]:
        taken, self.lines = self.lines[:limit], self.lines[limit:]
        return taken

    def read_series(self) -> tuple[list[Series], list[Calls]]:
        return self.series, self.calls

    def peek_series(self) -> tuple[list[Series], list[Calls]]:
        return self.read_series()

    def read_active(self) -> list[Active]:
        return self.active

    def backlog(self) -> tuple[int, int, int]:
        return (
            sum(batch.count for batch in self.spans),
            sum(len(batch.spans) for batch in self.spans),
            self.lines_dropped,
        )

    def counters(self) -> dict[str, int]:
        queued = sum(batch.count for batch in self.spans)
        return {
            "requests.seen": self._taken + queued + sum(self.dropped.values()),
            "spans.taken": self._taken,
            "spans.queued": queued,
            "spans.queued_bytes": sum(len(batch.spans) for batch in self.spans),
            **{f"spans.dropped.{reason}": count for reason, count in self.dropped.items()},
            "records.malformed": 0,
        }

    def program_stats(self) -> list[ProgramStats]:
        return []

    def map_costs(self) -> list[MapCost]:
        return []

    def rounds(self) -> int:
        return time.monotonic_ns() if self.drains else 0

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True
