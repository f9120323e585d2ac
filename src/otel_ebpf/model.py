"""What crosses between the rooms.

The records of the native core are named tuples made in Rust (`_native.pyi`). The rooms that use them may not
import the core, so they are described here by shape: mypy proves that the core's classes fit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

AttributeValue = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, AttributeValue]
PortRange = tuple[int, int]
"""First and last port, both included."""


class Process(Protocol):
    """A process that the core met. `key` is never used twice in a session; a pid (`tgid`) may be."""

    @property
    def key(self) -> int: ...
    @property
    def tgid(self) -> int: ...
    @property
    def ppid(self) -> int: ...
    @property
    def start_boottime_ns(self) -> int: ...
    @property
    def cgroup_id(self) -> int: ...
    @property
    def comm(self) -> str: ...
    @property
    def args(self) -> Sequence[str]: ...


class Line(Protocol):
    """One finished request, for people.

    `system` names what is not HTTP: a database, a broker, "dns". Then `summary`, `query` and `code` say what was asked
    and answered, and what is only HTTP's is empty. `status` is HTTP's, 0 where there was none; `rpc_method` and
    `rpc_status` are those of a gRPC call, "" elsewhere; its messages are None where they were not counted.
    """

    @property
    def process_key(self) -> int: ...
    @property
    def role(self) -> str: ...
    @property
    def start_unix_ns(self) -> int: ...
    @property
    def duration_ns(self) -> int: ...
    @property
    def system(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def query(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def client(self) -> str: ...
    @property
    def server(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def route(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def rpc_method(self) -> str: ...
    @property
    def rpc_status(self) -> str: ...
    @property
    def request_messages(self) -> int | None: ...
    @property
    def response_messages(self) -> int | None: ...
    @property
    def error_type(self) -> str: ...
    @property
    def request_body_bytes(self) -> int: ...
    @property
    def response_body_bytes(self) -> int: ...
    @property
    def trace_id(self) -> str: ...
    @property
    def span_id(self) -> str: ...


class Exemplar(Protocol):
    """An exchange that a histogram counted; its ids are b"" where no span was made of it."""

    @property
    def value(self) -> float: ...
    @property
    def time_unix_ns(self) -> int: ...
    @property
    def trace_id(self) -> bytes: ...
    @property
    def span_id(self) -> bytes: ...


class Exponential(Protocol):
    """Buckets of a base-2 exponential histogram (OTLP's metrics.proto): the base is 2 ** (2 ** -scale)."""

    @property
    def scale(self) -> int: ...
    @property
    def zero_count(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def counts(self) -> Sequence[int]: ...


class Histogram(Protocol):
    """Cumulative since the series began. `buckets` has one count more than there are bounds."""

    @property
    def count(self) -> int: ...
    @property
    def sum(self) -> float: ...
    @property
    def min(self) -> float: ...
    @property
    def max(self) -> float: ...
    @property
    def buckets(self) -> Sequence[int]: ...
    @property
    def exponential(self) -> Exponential | None: ...
    @property
    def exemplars(self) -> Sequence[Exemplar]: ...


class HttpSeries(Protocol):
    """One series of the http.*.request metrics, or of rpc.*.call where `rpc_system` is not "".

    Everything but the process is an attribute of its points. What is only HTTP's is "" or 0 in a series of calls, and
    the other way round.
    """

    @property
    def process_key(self) -> int: ...
    @property
    def role(self) -> str: ...
    @property
    def start_unix_ns(self) -> int: ...
    @property
    def rpc_system(self) -> str: ...
    @property
    def rpc_method(self) -> str: ...
    @property
    def rpc_status(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def scheme(self) -> str: ...
    @property
    def route(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def error_type(self) -> str: ...
    @property
    def protocol_version(self) -> str: ...
    @property
    def server_address(self) -> str: ...
    @property
    def server_port(self) -> int: ...
    @property
    def overflow(self) -> bool: ...
    @property
    def duration(self) -> Histogram: ...
    @property
    def request_body(self) -> Histogram | None: ...
    @property
    def response_body(self) -> Histogram | None: ...


class CallSeries(Protocol):
    """One series of calls of databases, brokers and resolvers: `attributes` are those of its points."""

    @property
    def process_key(self) -> int: ...
    @property
    def area(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def system(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def error_type(self) -> str: ...
    @property
    def start_unix_ns(self) -> int: ...
    @property
    def attributes(self) -> Mapping[str, str | int]: ...
    @property
    def overflow(self) -> bool: ...
    @property
    def duration(self) -> Histogram: ...
    @property
    def messages(self) -> int: ...


class ActiveSeries(Protocol):
    """http.server.active_requests."""

    @property
    def process_key(self) -> int: ...
    @property
    def method(self) -> str: ...
    @property
    def scheme(self) -> str: ...
    @property
    def value(self) -> int: ...


class Encoded(Protocol):
    """Encoded telemetry that a socket can send as it is: bytes, or spans in the core's own memory."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...


class SpanBatch(Protocol):
    """`count` finished spans of one process, encoded."""

    @property
    def process_key(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def spans(self) -> Encoded: ...


class ProgramStats(Protocol):
    """Cost of one BPF program since it was attached."""

    @property
    def name(self) -> str: ...
    @property
    def hook(self) -> str: ...
    @property
    def run_count(self) -> int: ...
    @property
    def run_time_ns(self) -> int: ...
    @property
    def missed(self) -> int: ...


class MapCost(Protocol):
    """Memory of one BPF map, in the kernel."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def memory_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Resource:
    """Who telemetry is about: attributes, and the same as an encoded OTLP `Resource` message."""

    attributes: Attributes
    encoded: bytes


@dataclass(frozen=True, slots=True)
class PodContainer:
    """A container of a pod: `ids` of its runs, the present one's first; `kind` as the pod's spec lists it."""

    name: str
    image: str
    kind: Literal["container", "init", "ephemeral"] = "container"
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pod:
    """What is kept of a pod. `owner` is the controller's kind and name, "" where there is none.

    Of labels and annotations only those are there that anybody asks for.
    """

    uid: str
    namespace: str
    name: str
    start_time: str = ""  # RFC 3339
    created_unix_s: int = 0
    owner: tuple[str, str] = ("", "")
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    containers: tuple[PodContainer, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """What Kubernetes says of a process: None where the API server has not told it (yet)."""

    pod: Pod
    container: PodContainer | None = None
    namespace_annotations: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What is known of a process: what selection looks at, and its resource. "" stands for not known."""

    key: int
    pid: int
    executable_path: str
    executable_name: str
    cgroups: tuple[str, ...]  # paths, without duplicates: v2's first
    service_name: str
    resource: Resource
    container_id: str = ""
    pod_uid: str = ""  # as the node has it: of a static pod the hash of its manifest
    own: Attributes = field(default_factory=dict)  # what the process says of itself
    bare: Attributes = field(default_factory=dict)  # the resource's attributes without what Kubernetes says
    workload: Workload | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a process is watched; ports are the server's of each connection. `why` is for people."""

    selected: bool
    why: str
    include_ports: tuple[PortRange, ...] | None = None
    exclude_ports: tuple[PortRange, ...] = ()


@dataclass(frozen=True, slots=True)
class Accounting:
    """Where every request went: seen + recovered = exported + Σ dropped + kept + pending.

    `recovered`: spans that earlier runs left in the queue on disk; `kept`: those that are there now. Pending is 0 once
    the agent has ended.
    """

    seen: int
    exported: int
    dropped: Mapping[str, int] = field(default_factory=dict)  # by reason
    records: Mapping[str, int] = field(default_factory=dict)  # of the ring, by what became of them
    recovered: int = 0
    kept: int = 0

    @property
    def pending(self) -> int:
        """Requests still on their way: queued in the core, or being sent without being on disk."""
        return self.seen + self.recovered - self.exported - sum(self.dropped.values()) - self.kept
