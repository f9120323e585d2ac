"""Every setting there is, once: what it is called in the file, in the environment and as a flag, and what it can be.

A setting of ours takes a field with its default in `settings` and a line here (`ours`): variable, file key and checks
follow from that, and tests see to it. One of the standard's
own (`standard`) is read by hand besides, in `schema` and `convert` and in `environment`, since its shape there is not
ours to choose.
"""

import re
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Final, get_args

from otel_ebpf.config import values
from otel_ebpf.config.kinds import Choice, Flag, Kind, Number, Other, Text, Words
from otel_ebpf.config.settings import (
    LEAST_QUEUE_BYTES,
    ExemplarFilter,
    Histograms,
    OtlpTarget,
    Prometheus,
    Sampler,
    Settings,
    Temporality,
)

OURS: Final = "distribution.otel_ebpf."


@dataclass(frozen=True, slots=True)
class Setting:
    """`name` is its place in `Settings`; a part of it may be None there, and so is the setting then.

    `about` is for people. `key`: its path in the file; `*` stands for whichever exporter is there. `env`: its
    variables, of which the first that is set counts. `live`: a running agent takes a new value over. `by_hand`: not
    read by what this catalogue says.
    """

    name: str
    kind: Kind
    about: str
    key: str = ""
    env: tuple[str, ...] = ()
    flag: str = ""
    live: bool = False
    by_hand: bool = False

    def default(self) -> Any:
        """As `Settings` has it; of a target, as one has it that is just a URL; of Prometheus, once it is asked for."""
        _, target, name = self.name.partition(".target.")
        if self.name.startswith("metrics.prometheus."):
            return value_of(Prometheus(), self.name.rpartition(".")[2])
        return value_of(OtlpTarget(""), name) if target else value_of(Settings(), self.name)


def ours(
    name: str, kind: Kind, about: str, *, key: str = "", env: str = "", flag: str = "", live: bool = False
) -> Setting:
    """One under `distribution.otel_ebpf`; `key` and `env` where they do not follow from the name."""
    key = key or name
    env = env or "OTEL_EBPF_" + key.replace(".", "_").upper()
    return Setting(name, kind, about, OURS + key, (env,), flag, live)


def standard(name: str, kind: Kind, about: str, key: str, *env: str, live: bool = False, flag: str = "") -> Setting:
    """One that the declarative format and the SDKs' variables have."""
    return Setting(name, kind, about, key, env, flag, live, by_hand=True)


def ring_size(value: int) -> int:
    """Raises ValueError unless the kernel takes it."""
    if value & (value - 1) or value < 4096:
        raise ValueError(f"{value} is not a power of two from 4096 (a page) upwards, such as 8388608")
    return value


def listen_address(text: str) -> str:
    """Raises ValueError unless it can be listened on."""
    values.parse_listen(text)
    return text


def annotation_prefix(text: str) -> str:
    """Raises ValueError unless it can stand before an annotation's name."""
    name, slash, rest = text.partition("/")
    if not slash or rest or not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", name):
        raise ValueError(f"{text!r} is not a domain with a slash behind it, such as otel-ebpf.io/")
    return text


def _otlp(signal: str, exporter: str) -> tuple[Setting, ...]:
    """Where a signal goes."""

    def target(name: str, kind: Kind, about: str, key: str, suffix: str, *, live: bool = True) -> Setting:
        env = (f"OTEL_EXPORTER_OTLP_{signal.upper()}_{suffix}", f"OTEL_EXPORTER_OTLP_{suffix}") if suffix else ()
        return standard(f"{signal}.target.{name}", kind, about, f"{exporter}.*{key}", *env, live=live)

    url = f"Where {signal} go. The variable for all signals gets /v1/{signal} behind it."
    protocols = Choice(("http/protobuf", "http/json", "grpc"))
    file = Other("file")
    return (
        target("url", Other("URL"), url, ".endpoint", "ENDPOINT"),
        target("protocol", protocols, "How; in the file, otlp_http or otlp_grpc.", "", "PROTOCOL"),
        target("headers", Other("list of name=value"), "Headers of each request; shown masked.", ".headers", "HEADERS"),
        target("compression", Choice(("none", "gzip", "zstd")), "zstd over HTTP only.", ".compression", "COMPRESSION"),
        target("timeout_s", Number(1, whole=False, scale=0.001), "ms for one request.", ".timeout", "TIMEOUT"),
        target("ca_file", file, "Who may sign the backend's certificate.", ".tls.ca_file", "CERTIFICATE"),
        target("client_certificate_file", file, "The agent's own.", ".tls.cert_file", "CLIENT_CERTIFICATE"),
        target("client_key_file", file, "And its key.", ".tls.key_file", "CLIENT_KEY"),
    )


_BATCH: Final = "tracer_provider.processors[0].batch"
_PERIODIC: Final = "meter_provider.readers[0].periodic"
_PULL: Final = "meter_provider.readers[1].pull.exporter.prometheus/development"

SETTINGS: Final[tuple[Setting, ...]] = (
    standard(
        "log_level",
        Choice(("debug", "info", "warning", "error")),
        "How much the agent says on standard error.",
        "log_level",
        "OTEL_LOG_LEVEL",
        "OTEL_EBPF_LOG_LEVEL",
        live=True,
    ),
    standard(
        "resource",
        Other("list of name=value"),
        "Attributes of everything that is sent; service.name is the agent's own.",
        "resource",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_SERVICE_NAME",
    ),
    standard(
        "selection.include",
        Other("rules"),
        "Who is watched: any rule is enough. None: everybody, in a cluster who is annotated.",
        OURS + "selection.include",
        "OTEL_EBPF_AUTO_TARGET_EXE",
        live=True,
        flag="--exe, --port, --pid, --cgroup, --service",
    ),
    standard(
        "selection.exclude",
        Other("rules"),
        "Who is not, whatever else says so: annotations, too.",
        OURS + "selection.exclude",
        live=True,
        flag="--exclude-exe, --exclude-port, --exclude-pid, --exclude-cgroup, --exclude-service",
    ),
    # ---- traces ----
    *_otlp("traces", f"{_BATCH}.exporter"),
    standard(
        "traces.sampler",
        Choice(get_args(Sampler)),
        "Which requests become spans.",
        "tracer_provider.sampler",
        "OTEL_TRACES_SAMPLER",
        live=True,
    ),
    standard(
        "traces.sampler_arg",
        Number(0, 1, whole=False),
        "The ratio, for the samplers that have one.",
        "tracer_provider.sampler",
        "OTEL_TRACES_SAMPLER_ARG",
        live=True,
    ),
    ours(
        "traces.spans_per_second",
        Number(),
        "Budget for spans, 0 for no limit; metrics stay exact.",
        key="spans_per_second",
        flag="--spans-per-second",
        live=True,
    ),
    standard(
        "traces.sampling.rules",
        Other("rules"),
        "What goes before the sampler, by service and route: the first that matches.",
        OURS + "sampling.rules",
    ),
    ours(
        "traces.sampling.keep_errors",
        Flag(),
        "Errors become spans where others are left out.",
        key="sampling.keep.errors",
    ),
    ours(
        "traces.sampling.keep_slower_than_s",
        Number(0, whole=False, scale=0.001),
        "ms; so does what takes as long. 0: nothing.",
        key="sampling.keep.slower_than_ms",
    ),
    ours(
        "traces.sampling.keep_share",
        Number(0.01, 1, whole=False),
        "The part of spans_per_second for those that only these two keep.",
        key="sampling.keep.share",
    ),
    ours(
        "traces.sampling.spans_per_second_per_service",
        Number(),
        "Each service's budget within the node's, 0 for no limit.",
        key="sampling.spans_per_second_per_service",
    ),
    standard(
        "traces.sampling.remote.url",
        Other("URL"),
        "Whom the samplers jaeger_remote ask.",
        "tracer_provider.sampler",
        "OTEL_TRACES_SAMPLER_ARG",
    ),
    standard(
        "traces.sampling.remote.interval_s",
        Number(1, whole=False, scale=0.001),
        "ms from one time to the next.",
        "tracer_provider.sampler",
        "OTEL_TRACES_SAMPLER_ARG",
    ),
    standard(
        "traces.schedule_delay_s",
        Number(0, whole=False, scale=0.001),
        "ms that a span waits at most for others.",
        f"{_BATCH}.schedule_delay",
        "OTEL_BSP_SCHEDULE_DELAY",
        live=True,
    ),
    standard(
        "traces.batch_spans",
        Number(1),
        "So many spans need not wait.",
        f"{_BATCH}.max_export_batch_size",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        live=True,
    ),
    ours(
        "traces.queue_bytes",
        Number(1),
        "Spans that wait in memory; what is beyond is dropped and counted.",
        key="capture.span_queue_bytes",
    ),
    # ---- metrics ----
    *_otlp("metrics", f"{_PERIODIC}.exporter"),
    standard(
        "metrics.interval_s",
        Number(1, whole=False, scale=0.001),
        "ms from one export to the next.",
        f"{_PERIODIC}.interval",
        "OTEL_METRIC_EXPORT_INTERVAL",
        "OTEL_EBPF_METRICS_INTERVAL",
        live=True,
    ),
    standard(
        "metrics.temporality",
        Choice(get_args(Temporality)),
        "Whether points count from the start (cumulative) or from the last one.",
        f"{_PERIODIC}.exporter.*.temporality_preference",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
    ),
    standard(
        "metrics.histograms",
        Choice(get_args(Histograms)),
        "In which buckets histograms are sent.",
        f"{_PERIODIC}.exporter.*.default_histogram_aggregation",
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
    ),
    standard(
        "metrics.exemplars",
        Choice(get_args(ExemplarFilter)),
        "Of which requests histograms have exemplars: those with an exported span, all, or none.",
        "meter_provider.exemplar_filter",
        "OTEL_METRICS_EXEMPLAR_FILTER",
    ),
    standard(
        "metrics.prometheus.host",
        Other("host"),
        "Where Prometheus may fetch metrics, if OTEL_METRICS_EXPORTER names it.",
        f"{_PULL}.host",
        "OTEL_EXPORTER_PROMETHEUS_HOST",
    ),
    standard(
        "metrics.prometheus.port",
        Other("whole number from 1 to 65535"),
        "The port there.",
        f"{_PULL}.port",
        "OTEL_EXPORTER_PROMETHEUS_PORT",
    ),
    ours(
        "metrics.max_series",
        Number(1),
        "Series of a process; what is beyond goes into one with otel.metric.overflow=true.",
        key="max_series_per_process",
    ),
    # ---- the rest is ours ----
    ours("command_args", Flag(), "process.command_args on resources. Arguments often hold secrets."),
    ours(
        "http.routes",
        Choice(("infer", "unset")),
        "http.route from the paths seen, with placeholders for ids; or none.",
        live=True,
    ),
    ours(
        "http.max_routes_per_service",
        Number(1),
        "http.route and rpc.method together; what is beyond is /** and _OTHER.",
    ),
    ours(
        "privacy.drop_attributes",
        Words(),
        "Globs: attributes that no span has. Without url.query, url.full and lines have no query either.",
        key="privacy.attributes.drop",
        live=True,
    ),
    ours(
        "privacy.keep_attributes",
        Words(),
        "Globs: if there are any, the only attributes that spans have.",
        key="privacy.attributes.keep",
        live=True,
    ),
    ours(
        "privacy.redact_parameters",
        Words(),
        "Globs: query parameters whose values are REDACTED, besides those that look like secrets.",
        key="privacy.query_parameters.redact",
        live=True,
    ),
    ours(
        "privacy.keep_parameters",
        Words(),
        "Globs: if there are any, the only query parameters whose values are not REDACTED.",
        key="privacy.query_parameters.keep",
        live=True,
    ),
    ours(
        "privacy.request_headers",
        Words(),
        "Globs: headers of HTTP requests that become attributes, http.request.header.NAME.",
        key="privacy.headers.request",
        live=True,
    ),
    ours(
        "privacy.response_headers",
        Words(),
        "Globs: headers of HTTP responses that do, http.response.header.NAME.",
        key="privacy.headers.response",
        live=True,
    ),
    ours(
        "privacy.clear_headers",
        Words(),
        "Globs: headers known to hold secrets (authorization, cookie, x-api-key, ...) whose values are not REDACTED.",
        key="privacy.headers.clear",
        live=True,
    ),
    ours("capture.tls", Flag(), "See what is inside TLS, through probes on the libraries that are used."),
    ours("capture.ring_bytes", Number(check=ring_size), "Memory shared with the kernel; a power of two."),
    ours(
        "traces.exporters",
        Words(),
        "The SDK's exporters for spans, by name, beside OTLP. Without a file OTEL_TRACES_EXPORTER names them.",
        key="exporters.traces",
    ),
    ours(
        "metrics.exporters",
        Words(),
        "The SDK's exporters for metrics, by name, beside OTLP. Without a file OTEL_METRICS_EXPORTER names them.",
        key="exporters.metrics",
    ),
    ours("health.endpoint", Text(listen_address), "Where /livez and /readyz are answered; without it, nowhere."),
    ours(
        "health.profile_endpoint",
        Text(listen_address),
        "Where the agent profiles itself; without it, nowhere.",
        env="OTEL_EBPF_PROFILE_ENDPOINT",
    ),
    ours("queue.directory", Text(), "What waits for a backend is kept here; without it, in memory."),
    ours("queue.max_bytes", Number(LEAST_QUEUE_BYTES), "Of each signal; at this bound the oldest is dropped."),
    ours("queue.max_age_s", Number(1), "s; what waits for longer is dropped.", key="queue.max_age_seconds"),
    ours(
        "kubernetes.enabled",
        Flag(unset=("auto", "autodetect")),
        "Ask a cluster's API server who runs here. auto: if in a pod.",
        env="OTEL_EBPF_KUBE_METADATA_ENABLE",
    ),
    ours(
        "kubernetes.node_name",
        Text(),
        "This node's name; by default K8S_NODE_NAME, else the host's name.",
        env="OTEL_EBPF_KUBE_NODE_NAME",
    ),
    ours("kubernetes.cluster_name", Text(), "k8s.cluster.name", env="OTEL_EBPF_KUBE_CLUSTER_NAME"),
    ours(
        "kubernetes.kubeconfig",
        Text(),
        "Outside of pods; by default KUBECONFIG, else ~/.kube/config.",
        env="OTEL_EBPF_KUBE_CONFIG",
    ),
    ours(
        "kubernetes.annotation_prefix",
        Text(annotation_prefix),
        "What annotations' names begin with.",
        env="OTEL_EBPF_KUBE_ANNOTATION_PREFIX",
    ),
    ours(
        "output.lines",
        Flag(unset=("auto",)),
        "Show each request. auto: if nothing goes to a backend.",
        flag="--lines, --quiet",
    ),
    ours("output.format", Choice(("text", "json")), "Of lines and summary.", flag="--output"),
    ours("output.stats", Flag(), "At the end, what each BPF program cost.", flag="--stats"),
)

BY_NAME: Final = {setting.name: setting for setting in SETTINGS}
BY_KEY: Final = {setting.key: setting for setting in SETTINGS if not setting.by_hand}


def value_of(settings: Any, name: str) -> Any:
    """The value at this place; None where something around it is None."""
    for part in name.split("."):
        settings = None if settings is None else getattr(settings, part)
    return settings


def with_value(settings: Any, name: str, value: Any) -> Any:
    """The same settings with another value at this place."""
    first, _, rest = name.partition(".")
    return replace(settings, **{first: with_value(getattr(settings, first), rest, value) if rest else value})


def places(settings: Any, prefix: str = "") -> list[str]:
    """Names of all values in there, for those who want to know that none was forgotten."""
    found: list[str] = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        found += places(value, f"{prefix}{field.name}.") if is_dataclass(value) else [prefix + field.name]
    return found
