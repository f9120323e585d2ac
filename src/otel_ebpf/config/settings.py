"""What the agent is to do: plain values, with defaults that need neither environment nor file."""

from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from otel_ebpf.model import PortRange

Sampler = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "jaeger_remote",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
    "parentbased_jaeger_remote",
]
Temporality = Literal["cumulative", "delta", "lowmemory"]
ExemplarFilter = Literal["trace_based", "always_on", "always_off"]
Histograms = Literal["explicit_bucket_histogram", "base2_exponential_bucket_histogram"]
Compression = Literal["none", "gzip", "zstd"]
GrpcCompression = Literal["none", "gzip"]  # what grpcio can
Protocol = Literal["http/protobuf", "http/json", "grpc"]

# A request may have some two megabytes.
LEAST_QUEUE_BYTES: Final = 1 << 20

# What is shown of secrets.
MASK: Final = "REDACTED"

# OpenTelemetry's operator annotates pods so; here it is another name of <prefix>enabled.
INJECT_ANNOTATION: Final = "instrumentation.opentelemetry.io/inject-ebpf"


@dataclass(frozen=True, slots=True)
class Rule:
    """Holds for a process if every field that is given matches; within a field one of its values is enough.

    Globs are fnmatch's. `executables` are matched with the whole path if they contain a slash, else with the name.
    """

    executables: tuple[str, ...] = ()
    ports: tuple[PortRange, ...] = ()  # of the server's end of the connection
    pids: tuple[int, ...] = ()
    cgroups: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()  # of Kubernetes; holds for no process outside of pods


@dataclass(frozen=True, slots=True)
class Selection:
    """A process is watched if any rule of `include` holds (or there is none) and none of `exclude` does."""

    include: tuple[Rule, ...] = ()
    exclude: tuple[Rule, ...] = ()


def mask_url(url: str) -> str:
    """The same URL without its credentials and its query's values: which of these are secrets its owner knows."""
    parts = urlsplit(url)
    credentials, at, host = parts.netloc.rpartition("@")
    query = "&".join(f"{pair.partition('=')[0]}={MASK}" for pair in parts.query.split("&") if pair)
    return parts._replace(netloc=f"{MASK}{at}{host}" if credentials else host, query=query).geturl()


@dataclass(frozen=True, slots=True)
class OtlpTarget:
    """Where one signal goes over OTLP. `url` is complete, path included; gRPC's has none. Its scheme says if by TLS."""

    url: str
    protocol: Protocol = "http/protobuf"
    headers: tuple[tuple[str, str], ...] = ()
    compression: Compression = "none"
    timeout_s: float = 10.0
    ca_file: str = ""
    client_certificate_file: str = ""
    client_key_file: str = ""

    @property
    def encrypted(self) -> bool:
        """Whether by TLS."""
        return self.url.startswith("https:")

    @property
    def shown_url(self) -> str:
        """The URL for people: without the secrets that may stand in it."""
        return mask_url(self.url)

    @property
    def credentials(self) -> str:
        """`user:password` of the URL, "" if there is none."""
        return unquote(urlsplit(self.url).netloc.rpartition("@")[0])


@dataclass(frozen=True, slots=True)
class SamplingRule:
    """For requests whose service and route match both globs (fnmatch's). `probability` None: never."""

    service: str = "*"
    route: str = "*"
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class RemoteSampling:
    """The server that the samplers `jaeger_remote` ask: which `url`, how often."""

    url: str = "http://localhost:5778/sampling"
    interval_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """What goes before and beside the sampler.

    Errors, and what takes as long as `keep_slower_than_s` (0: nothing), are kept where others are not; those that only
    this keeps are at most `keep_share` of `spans_per_second`.
    """

    rules: tuple[SamplingRule, ...] = ()  # the first that matches holds
    keep_errors: bool = True
    keep_slower_than_s: float = 0.0
    keep_share: float = 0.25
    spans_per_second_per_service: int = 0  # 0: no limit but the node's
    remote: RemoteSampling = field(default_factory=RemoteSampling)


@dataclass(frozen=True, slots=True)
class Traces:
    """Spans: made only if there is a `target`, or one of the SDK's `exporters` by name.

    A batch leaves when it is full or `schedule_delay_s` old.
    """

    target: OtlpTarget | None = None
    exporters: tuple[str, ...] = ()
    sampler: Sampler = "parentbased_always_on"
    sampler_arg: float = 1.0
    spans_per_second: int = 1000  # 0: no limit
    sampling: Sampling = field(default_factory=Sampling)
    schedule_delay_s: float = 5.0
    batch_spans: int = 512
    queue_bytes: int = 16 << 20

    @property
    def leave(self) -> bool:
        """Whether they go anywhere."""
        return self.target is not None or bool(self.exporters)


@dataclass(frozen=True, slots=True)
class Prometheus:
    """Where Prometheus may fetch metrics."""

    host: str = "localhost"
    port: int = 9464


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics: counted always, sent if there is a `target` or one of the SDK's `exporters` by name, there to be fetched
    with `prometheus`.
    """

    target: OtlpTarget | None = None
    exporters: tuple[str, ...] = ()
    interval_s: float = 60.0
    temporality: Temporality = "cumulative"
    histograms: Histograms = "explicit_bucket_histogram"
    exemplars: ExemplarFilter = "trace_based"
    max_series: int = 2000  # per process
    prometheus: Prometheus | None = None

    @property
    def exponential(self) -> bool:
        """Whether histograms are sent in exponential buckets."""
        return self.histograms == "base2_exponential_bucket_histogram"

    @property
    def leave(self) -> bool:
        """Whether they go anywhere."""
        return self.target is not None or bool(self.exporters)


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits for a backend is on disk, in `directory`; "": in memory alone. The bounds are each signal's."""

    directory: str = ""
    max_bytes: int = 256 << 20
    max_age_s: float = 86400.0


@dataclass(frozen=True, slots=True)
class Http:
    """How HTTP requests are named."""

    routes: Literal["infer", "unset"] = "infer"
    max_routes_per_service: int = 200


@dataclass(frozen=True, slots=True)
class Capture:
    """`ring_bytes` is a power of two and a multiple of the page. `tls`: what is inside TLS is seen too."""

    tls: bool = True
    ring_bytes: int = 4 << 20


@dataclass(frozen=True, slots=True)
class Privacy:
    """What leaves the node less, or more, than by default: globs of names.

    A list of what is kept, if it is not empty, keeps nothing else. Headers are HTTP's, of which none is captured unless
    it is asked for; those known to hold secrets are masked unless they are in `clear_headers`.
    """

    drop_attributes: tuple[str, ...] = ()
    keep_attributes: tuple[str, ...] = ()
    redact_parameters: tuple[str, ...] = ()
    keep_parameters: tuple[str, ...] = ()
    request_headers: tuple[str, ...] = ()
    response_headers: tuple[str, ...] = ()
    clear_headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """What standard output gets. `lines` None: only if nothing goes to a backend."""

    lines: bool | None = None
    format: Literal["text", "json"] = "text"
    stats: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """Where the agent is asked whether it is well, and where it profiles itself, as `values.parse_listen` reads it.

    "": nowhere.
    """

    endpoint: str = ""
    profile_endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """`enabled` None: where the agent runs in a pod. `node_name` "": K8S_NODE_NAME, else the host's name.

    `kubeconfig` "": a pod's own service account, outside of pods KUBECONFIG and then ~/.kube/config.
    """

    enabled: bool | None = None
    node_name: str = ""
    cluster_name: str = ""
    kubeconfig: str = ""
    annotation_prefix: str = "otel-ebpf.io/"


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it. `resource` goes on everything that is sent, except its service.name, which is the agent's own."""

    selection: Selection = field(default_factory=Selection)
    traces: Traces = field(default_factory=Traces)
    metrics: Metrics = field(default_factory=Metrics)
    queue: Queue = field(default_factory=Queue)
    http: Http = field(default_factory=Http)
    capture: Capture = field(default_factory=Capture)
    privacy: Privacy = field(default_factory=Privacy)
    output: Output = field(default_factory=Output)
    kubernetes: Kubernetes = field(default_factory=Kubernetes)
    health: Health = field(default_factory=Health)
    resource: tuple[tuple[str, str], ...] = ()
    command_args: bool = False  # process.command_args: off, as arguments hold secrets
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def shows_lines(self) -> bool:
        """Whether each request is shown on standard output."""
        if self.output.lines is not None:
            return self.output.lines
        return not (self.traces.leave or self.metrics.leave or self.metrics.prometheus)
