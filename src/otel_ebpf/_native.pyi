"""The native core as Python sees it: bytes in the kernel become finished requests, handed over in batches.

Built from src/native; `tests/unit/test_native_stub.py` keeps this file honest.
"""

from collections.abc import Sequence
from os import PathLike
from typing import Literal, NamedTuple, Protocol, Self, final

from typing_extensions import Buffer

__all__ = [
    "DB_BOUNDS_S",
    "DURATION_BOUNDS_S",
    "SIZE_BOUNDS",
    "ActiveSeries",
    "CallSeries",
    "Exemplar",
    "Exponential",
    "Histogram",
    "HttpSeries",
    "Line",
    "MapCost",
    "NativeError",
    "Process",
    "ProgramStats",
    "Session",
    "SpanBatch",
    "Spans",
    "__version__",
    "encode_traces",
    "export_delays",
    "probe_hooks",
]

__version__: str

class NativeError(Exception):
    """The core could not do what was asked; `.args[0]` is for people. Kinds: see `kind`."""

    kind: Literal["permission", "no_btf", "load", "attach", "closed", "argument"]

class Process(NamedTuple):
    """A process that the core met. `key` is unique for the life of the session (a tgid is not)."""

    key: int
    tgid: int
    ppid: int  # 0 where not known
    uid: int
    start_boottime_ns: int
    cgroup_id: int
    comm: str  # of the leader, at most 15 characters
    args: list[str]  # argv at exec, perhaps cut; empty where the exec was not seen

class Line(NamedTuple):
    """One finished request, for people."""

    process_key: int
    role: Literal["server", "client"]
    start_unix_ns: int
    duration_ns: int
    system: str  # db.system.name, messaging.system or "dns"; "" for HTTP and gRPC
    summary: str  # the span's name where `system` is not ""; the next two as well
    query: str  # what was asked, free of values, cut at 2,048 characters
    code: str  # how it was answered, in the system's words
    client: str  # "address:port", "[v6]:port" or "unix:path"
    server: str
    method: str
    target: str  # path as sent, redacted, cut at 2,048 characters
    route: str  # "" where unset
    status: int  # HTTP's; 0 where there was none
    rpc_method: str  # "package.Service/Method" or "_OTHER"; "" for HTTP
    rpc_status: str  # "OK", "NOT_FOUND", ...; "" for HTTP
    request_messages: int | None  # of a gRPC client; None where not counted
    response_messages: int | None
    error_type: str  # "" on success
    request_body_bytes: int
    response_body_bytes: int
    trace_id: str  # 32 hex digits, "" where no span was made
    span_id: str

class Exemplar(NamedTuple):
    """An exchange that a histogram counted."""

    value: float  # what was recorded of it
    time_unix_ns: int  # its end
    trace_id: bytes  # b"" where no span was made
    span_id: bytes

class Exponential(NamedTuple):
    """Buckets of a base-2 exponential histogram, as OTLP has them: the base is 2 ** (2 ** -scale)."""

    scale: int
    zero_count: int
    offset: int  # index of the first bucket
    counts: list[int]

class Histogram(NamedTuple):
    """Cumulative since the series began; bounds are the conventions': `DURATION_BOUNDS_S`, `DB_BOUNDS_S` of databases, or `SIZE_BOUNDS`."""

    count: int  # type: ignore[assignment]  # shadows tuple.count
    sum: float  # seconds, or bytes
    min: float
    max: float
    buckets: list[int]
    exponential: Exponential | None  # only with `exponential`
    exemplars: list[Exemplar]  # one for each of `buckets` at most

class HttpSeries(NamedTuple):
    """One series of http.{server,client}.request.*, or of gRPC on top of it: rpc.{server,client}.call.*.

    Everything but the process is an attribute of its points.
    """

    process_key: int
    role: Literal["server", "client"]
    start_unix_ns: int
    rpc_system: Literal["", "grpc"]  # "" for HTTP
    rpc_method: str  # "package.Service/Method" or "_OTHER"; "" for HTTP and in the overflow series
    rpc_status: str  # the same
    method: str  # a known one or "_OTHER"; "" in the overflow series; from here to status and protocol_version: HTTP's
    scheme: str
    route: str  # "" where unset
    status: int  # 0 where there was none
    error_type: str  # "" on success
    protocol_version: str  # "1.0", "1.1" or "2"
    server_address: str
    server_port: int  # 0 where unset
    overflow: bool  # cardinality limit: otel.metric.overflow=true, no other attribute
    duration: Histogram
    request_body: Histogram | None
    response_body: Histogram | None

class CallSeries(NamedTuple):
    """One series of calls of databases, brokers and resolvers."""

    process_key: int
    area: Literal["db", "messaging", "dns", "object_store"]
    role: Literal["server", "client"]
    system: str
    name: str  # of its spans; "" in the overflow series
    error_type: str  # "" on success
    start_unix_ns: int
    attributes: dict[str, str | int]  # of its points, error.type included
    overflow: bool  # cardinality limit: otel.metric.overflow=true, no other attribute
    duration: Histogram
    messages: int  # sent or consumed

class ActiveSeries(NamedTuple):
    """http.server.active_requests."""

    process_key: int
    method: str
    scheme: str
    value: int

@final
class Spans:
    """Encoded spans, to be read through the buffer protocol; their memory is used again once all let go of it."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class SpanBatch(NamedTuple):
    """Finished spans of one process: `spans` is a run of encoded `ScopeSpans.spans` fields (tag, length, Span)."""

    process_key: int
    count: int  # type: ignore[assignment]  # shadows tuple.count
    spans: Spans

class ProgramStats(NamedTuple):
    name: str
    hook: str
    run_count: int
    run_time_ns: int
    missed: int

class MapCost(NamedTuple):
    name: str
    type: str
    memory_bytes: int

DB_BOUNDS_S: list[float]
DURATION_BOUNDS_S: list[float]
SIZE_BOUNDS: list[float]

def probe_hooks() -> Literal["sock_length", "fexit", "none"]:
    """Which pair of hooks this kernel has; looks only at BTF, loads nothing."""

def encode_traces(
    batches: Sequence[tuple[bytes, Buffer]], scope_name: str, scope_version: str, schema_url: str
) -> tuple[list[bytes | Spans], int]:
    """An ExportTraceServiceRequest from (encoded Resource message, SpanBatch.spans) pairs; the spans may be bytes.

    It comes in parts, the larger runs of spans as they were given, and with the length of all of them.
    """

def export_delays(parts: Sequence[Buffer], now_unix_ns: int, bounds_s: Sequence[float]) -> tuple[int, float, list[int]]:
    """How long the spans of an encoded ExportTraceServiceRequest took since their end: count, seconds in all, buckets.

    `bounds_s` are the buckets' upper bounds, of which there is one bucket more.
    """

class _Privacy(Protocol):
    """Globs, compared without case: attributes that no span has, and the only ones that spans have if there are any;
    query parameters whose values are REDACTED, and the only ones whose values are not; header fields that become
    attributes, and those of them whose values are said although they are known to hold secrets.
    """

    @property
    def drop_attributes(self) -> Sequence[str]: ...
    @property
    def keep_attributes(self) -> Sequence[str]: ...
    @property
    def redact_parameters(self) -> Sequence[str]: ...
    @property
    def keep_parameters(self) -> Sequence[str]: ...
    @property
    def request_headers(self) -> Sequence[str]: ...
    @property
    def response_headers(self) -> Sequence[str]: ...
    @property
    def clear_headers(self) -> Sequence[str]: ...

@final
class Session:
    """BPF programs loaded and attached, and the thread that drains their ring.

    Raises NativeError. `close()` (also at exit and in `with`) detaches all and joins the thread; nothing is
    pinned, so the kernel detaches even after kill -9.
    """

    def __new__(
        cls,
        *,
        ring_bytes: int = 4 << 20,  # a power of two and a multiple of the page
        select_unknown: bool = True,  # capture processes that have no verdict yet
        spans: bool = True,
        spans_per_second: int = 1000,  # 0: no limit
        span_queue_bytes: int = 16 << 20,  # spans beyond it are dropped and counted
        lines: bool = False,
        line_queue: int = 4096,
        routes: Literal["infer", "unset"] = "infer",
        max_routes_per_service: int = 200,
        max_series: int = 2000,  # per process
        exemplars: str = "trace_based",  # OTEL_METRICS_EXEMPLAR_FILTER's names
        exponential: bool = False,  # keep histograms in exponential buckets too
        sampler: str = "parentbased_always_on",  # OTEL_TRACES_SAMPLER's names
        sampler_arg: float = 1.0,
        spans_per_second_per_service: int = 0,  # 0: no limit but the above
        keep_errors: bool = True,
        keep_slower_than_ns: int = 0,  # 0: nothing is kept for its duration
        keep_share: float = 0.25,  # of spans_per_second, for what only these two keep
        sampling_rules: Sequence[tuple[str, str, float | None]] = ...,  # (service, route, probability; None: never)
        privacy: _Privacy = ...,
        stats: bool = False,  # bpf_stats: run time by program
        ports: list[int] | None = None,  # capture only connections with one of these ports; None: all
        await_verdict: bool = False,  # hold what a process does until it has a verdict (2 s at most)
        tell_execs: bool = False,
    ) -> Self: ...
    @property
    def hooks(self) -> Literal["sock_length", "fexit"]: ...
    def set_verdict(
        self,
        process_key: int,
        selected: bool,
        include_ports: list[tuple[int, int]] | None = None,  # inclusive ranges of the server's port; None: all
        exclude_ports: list[tuple[int, int]] | None = None,
    ) -> None:
        """Says whether a process is watched. What was held of an unselected process is discarded, not counted as seen."""
    def reconfigure(
        self,
        *,
        sampler: str,
        sampler_arg: float,
        spans_per_second: int,
        routes: Literal["infer", "unset"],
        privacy: _Privacy,
    ) -> None:
        """Takes other settings over, from the next request on. Raises NativeError; then all stays as it was."""
    def set_service(self, process_key: int, service: str) -> None:
        """Says of which service a process is: for its budget, the rules and strategies."""
    def set_strategy(
        self,
        service: str,
        *,
        probability: float,
        per_second: float = 0.0,  # 0: no limit
        floor_per_second: float = 0.0,  # so many of each operation in any case; 0: none
        operations: Sequence[tuple[str, float]] = ...,  # names of spans, and their probability
    ) -> None:
        """What a sampling server says of a service; only the samplers `jaeger_remote` look at it."""
    def set_queue_fill(self, fill: float) -> None:
        """How full the queue behind the core's is, 0 to 1: from three fourths on fewer spans are made."""
    def add_probes(
        self,
        path: str | PathLike[str],
        probes: Sequence[tuple[Literal["enter", "exit", "free"], int, str, int | None, bool]],
        *,
        client_random: Sequence[int] = ...,
        is_server: int = 0,
    ) -> int:
        """Attaches probes to a TLS library's functions, for all processes that map the file; returns their number.

        Each probe: its place; its offset in the file; what the function does, in words: "receive" or "send", "no-data"
        if it moves none of the application's bytes, "count4" or "count5" if that argument points to the count and the
        result is above zero for success, "go" for Go's calls; the offset from the stack pointer at which the result
        stands, if not in the result's register; whether it is a return probe. `client_random`: offsets from a session
        object to the ClientHello's random, each but the last to a pointer; `is_server`: offset of an int that servers
        set. Raises NativeError.
        """
    def remove_probes(self, number: int) -> bool:
        """Detaches what `add_probes` attached. False: there is no such number."""
    def take_execs(self) -> list[int]:
        """Pids that became other programs since the last call, 1,024 at most; only with `tell_execs`."""
    def take_tls_users(self) -> list[int]:
        """Keys of processes with a socket on which TLS began since the last call."""
    def wait(self, timeout_s: float) -> bool:
        """Blocks (without the GIL) until there are processes or TLS users to take; False: the time is over."""
    def take_processes(self) -> list[Process]:
        """Processes met since the last call: each wants a verdict."""
    def take_exits(self) -> list[int]:
        """Keys of processes that ended and whose last spans and series have been handed out."""
    def take_spans(self, max_bytes: int = 4 << 20) -> list[SpanBatch]: ...
    def take_lines(self, limit: int = 1000) -> list[Line]: ...
    def read_series(self) -> tuple[list[HttpSeries], list[CallSeries]]:
        """All series, cumulative, with the interval's exemplars; those of ended processes once more, then never again."""
    def peek_series(self) -> tuple[list[HttpSeries], list[CallSeries]]:
        """The same with the newest exemplars, and without a trace: an interval's reading finds what it would have found."""
    def read_active(self) -> list[ActiveSeries]: ...
    def backlog(self) -> tuple[int, int, int]:
        """Spans that wait to be taken, their bytes, and lines dropped so far; costs no system call."""
    def counters(self) -> dict[str, int]:
        """Exact accounting: `requests.seen`, `spans.exported`, `spans.dropped.<reason>`, `records.<...>`.

        requests.seen = spans.taken + sum(spans.dropped.*) + spans.queued, at any moment. Reasons: unsampled, budget,
        back_pressure, queue_full, ring_full, disabled, lost.
        """
    def program_stats(self) -> list[ProgramStats]: ...
    def map_costs(self) -> list[MapCost]:
        """Memory of each BPF map, as the kernel accounts for it (before 6.4 it estimates); empty once closed."""
    def rounds(self) -> int:
        """How often the drain thread has gone round: ten times a second at least."""
    def flush(self) -> None:
        """Drains the ring and pairs what is there; in-flight requests stay in flight."""
    def close(self) -> None: ...
    def __enter__(self) -> Session: ...
    def __exit__(self, *exc: object) -> None: ...
