"""Variables of OpenTelemetry's eBPF instrumentation (OBI, which was Grafana's Beyla), and what they are here.

One that has the same meaning here is honoured under its own name: then it stands in the catalogue. Any other has none,
and whoever sets it is told ours: nothing is taken for something that it is not.

Source: OBI 0.12, pkg/obi/config.go and the packages it takes its sections from; its configuration's documentation.
"""

from collections.abc import Mapping
from typing import Final

# What to do instead, by name. docs/migrating-from-obi.md is made of it.
ADVICE: Final[Mapping[str, str]] = {
    "OTEL_EBPF_CONFIG_PATH": "`--config` or OTEL_CONFIG_FILE, in OpenTelemetry's declarative format",
    "OTEL_EBPF_OPEN_PORT": "`--port`: requests to these ports alone, not all of a process that listens on one",
    "OTEL_EBPF_EXECUTABLE_PATH": "`--exe`, or OTEL_EBPF_AUTO_TARGET_EXE: globs, no regular expression",
    "OTEL_GO_AUTO_TARGET_EXE": "OTEL_EBPF_AUTO_TARGET_EXE",
    "OTEL_EBPF_SYSTEM_WIDE": "nothing: every process is watched unless a rule says otherwise",
    "OTEL_EBPF_SERVICE_NAME": "the service's own OTEL_SERVICE_NAME; the agent's own name is OTEL_SERVICE_NAME",
    "OTEL_EBPF_SERVICE_NAMESPACE": "OTEL_RESOURCE_ATTRIBUTES=service.namespace=...",
    "OTEL_EBPF_TRACE_PRINTER": "`--lines`, and `-o json` for JSON, of a shape of its own",
    "OTEL_EBPF_LOG_CONFIG": "`otel-ebpf config show`",
    "OTEL_EBPF_SHUTDOWN_TIMEOUT": "nothing: the end takes 12 s at most",
    "OTEL_EBPF_ENFORCE_SYS_CAPS": "nothing: what is not permitted refuses to start; `otel-ebpf check` says what",
    "OTEL_EBPF_DISCOVERY_POLL_INTERVAL": "nothing: processes are met as they start",
    "OTEL_EBPF_MIN_PROCESS_AGE": "nothing: processes are met as they start",
    "OTEL_EBPF_EXCLUDE_OTEL_INSTRUMENTED_SERVICES": "a rule of selection.exclude",
    "OTEL_EBPF_EXCLUDE_OTEL_INSTRUMENTED_SERVICES_SPAN_METRICS": "a rule of selection.exclude",
    "OTEL_EBPF_SKIP_GO_SPECIFIC_TRACERS": "nothing: Go needs no tracers of its own here, but for its TLS (capture.tls)",
    "OTEL_EBPF_BPF_PID_FILTER_OFF": "nothing: without rules every process is watched",
    "OTEL_EBPF_HOSTNAME": "OTEL_RESOURCE_ATTRIBUTES=host.name=...",
    "OTEL_EBPF_HOST_ID": "OTEL_RESOURCE_ATTRIBUTES=host.id=...",
    "OTEL_EBPF_HOST_ID_FETCH_TIMEOUT": "nothing: no cloud is asked",
    "OTEL_EBPF_HOSTNAME_DNS_RESOLUTION": "nothing: no name is resolved",
    "OTEL_EBPF_OTEL_INSECURE_SKIP_VERIFY": "OTEL_EXPORTER_OTLP_CERTIFICATE: certificates are always verified",
    "OTEL_EBPF_OTLP_TRACES_MAX_EXPORT_BATCH_SIZE": "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_EBPF_OTLP_TRACES_BATCH_MAX_SIZE": "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_EBPF_OTLP_TRACES_BATCH_TIMEOUT": "OTEL_BSP_SCHEDULE_DELAY, in milliseconds",
    "OTEL_EBPF_OTLP_TRACES_MAX_QUEUE_SIZE": "OTEL_EBPF_CAPTURE_SPAN_QUEUE_BYTES, or a queue on disk (docs/queue.md)",
    "OTEL_EBPF_OTLP_TRACES_QUEUE_SIZE": "OTEL_EBPF_CAPTURE_SPAN_QUEUE_BYTES, or a queue on disk (docs/queue.md)",
    "OTEL_EBPF_BACKOFF_INITIAL_INTERVAL": "nothing: 5 s, as the Collector's (docs/otlp.md)",
    "OTEL_EBPF_BACKOFF_MAX_INTERVAL": "nothing: 30 s, as the Collector's (docs/otlp.md)",
    "OTEL_EBPF_BACKOFF_MAX_ELAPSED_TIME": "nothing: 300 s, with a queue on disk for ever (docs/otlp.md)",
    "OTEL_EBPF_OTEL_SDK_LOG_LEVEL": "OTEL_LOG_LEVEL",
    "OTEL_EBPF_METRICS_FEATURES": "nothing: what docs/calls.md lists is always counted",
    "OTEL_EBPF_OTEL_METRICS_FEATURES": "nothing: what docs/calls.md lists is always counted",
    "OTEL_EBPF_OTEL_METRICS_INSTRUMENTATIONS": "nothing: every protocol is counted",
    "OTEL_EBPF_OTEL_TRACES_INSTRUMENTATIONS": "nothing: every protocol makes spans",
    "OTEL_EBPF_OTEL_METRICS_TTL": "nothing: series end with their process",
    "OTEL_EBPF_METRICS_REPORT_CACHE_LEN": "OTEL_EBPF_MAX_SERIES_PER_PROCESS",
    "OTEL_EBPF_TRACES_REPORT_CACHE_LEN": "nothing: there is no such cache",
    "OTEL_EBPF_INTERNAL_METRICS_EXPORTER": "nothing: the agent's own metrics go where metrics go",
    "OTEL_EBPF_BPF_TRACK_REQUEST_HEADERS": "nothing: a `traceparent` is always read",
    "OTEL_EBPF_BPF_HIGH_REQUEST_VOLUME": "nothing: a request is told of when its answer is whole",
    "OTEL_EBPF_BPF_HTTP_REQUEST_TIMEOUT": "nothing: a request ends with its answer or its connection",
    "OTEL_EBPF_BPF_WAKEUP_LEN": "OTEL_EBPF_CAPTURE_RING_BYTES: the ring is drained by time",
    "OTEL_EBPF_BPF_DEBUG": "OTEL_LOG_LEVEL=debug; `--stats` for what BPF costs",
    "OTEL_EBPF_HEURISTIC_SQL_DETECT": "nothing: protocols are told by their bytes",
    "OTEL_EBPF_BPF_CONTEXT_PROPAGATION": "nothing: no header is added to requests",
    "OTEL_EBPF_BPF_ENABLE_CONTEXT_PROPAGATION": "nothing: no header is added to requests",
    "OTEL_EBPF_BPF_DISABLE_BLACK_BOX_CP": "nothing: no header is added to requests",
    "OTEL_EBPF_KUBE_META_RESTRICT_LOCAL_NODE": "nothing: only this node's pods are asked for",
    "OTEL_EBPF_KUBE_INFORMERS_SYNC_TIMEOUT": "nothing: the API server is not waited for",
    "OTEL_EBPF_KUBE_INFORMERS_RESYNC_PERIOD": "nothing: watches are resumed where they ended",
    "OTEL_EBPF_KUBE_DISABLE_INFORMERS": "nothing: pods and namespaces are all that is asked for",
    "OTEL_EBPF_KUBE_META_CACHE_ADDRESS": "nothing: there is no cache to set up",
}

# Families of which nothing is there.
_ABSENT: Final = {
    "OTEL_EBPF_NETWORK_": "network flows are not there",
    "OTEL_EBPF_NAME_RESOLVER_": "names of peers are not resolved",
    "OTEL_EBPF_K8S_CACHE_": "there is no cache to set up",
    "OTEL_EBPF_PROMETHEUS_": "a Collector can offer Prometheus what it gets by OTLP",
    "OTEL_EBPF_INTERNAL_METRICS_": "the agent's own metrics go where metrics go",
    "OTEL_EBPF_BPF_": "nothing here is tuned so",
    "OTEL_EBPF_NODEJS_": "nothing is injected into processes",
    "OTEL_EBPF_JAVAAGENT_": "nothing is injected into processes",
    "BEYLA_": "Beyla's; OTEL_EBPF_... is what it became in OBI",
}

# Names that OBI has too, with the same meaning: those of the catalogue that may begin as OBI's do.
SAME: Final = frozenset(
    {
        "OTEL_EBPF_AUTO_TARGET_EXE",
        "OTEL_EBPF_LOG_LEVEL",
        "OTEL_EBPF_METRICS_INTERVAL",
        "OTEL_EBPF_KUBE_METADATA_ENABLE",
        "OTEL_EBPF_KUBE_CLUSTER_NAME",
    }
)


def advice(name: str) -> str | None:
    """What to do instead of setting this variable; None: it is not OBI's, as far as is known here."""
    if name in ADVICE:
        text = ADVICE[name]
        return f"not needed here: {text[9:]}" if text.startswith("nothing: ") else f"here it is {text}"
    return next((text for family, text in _ABSENT.items() if name.startswith(family)), None)


def path_globs(glob: str) -> tuple[str, ...]:
    """A glob of OBI's over an executable's whole path, as globs of a rule's. Raises ValueError if it can't match one.

    A rule matches what has no slash with the file's name alone; every path begins with one.
    """
    globs = tuple(f"/{one}" if one.startswith("*") else one for one in _alternatives(glob))
    if wrong := next((one for one in globs if not one.startswith("/")), None):
        raise ValueError(f"{wrong!r} is no glob for a whole path such as */server or /opt/shop/*")
    return globs


def _alternatives(glob: str) -> list[str]:
    """`a{b,c}` is `ab` and `ac`. Braces in braces are none."""
    before, opened, rest = glob.partition("{")
    inside, closed, after = rest.partition("}")
    if not (opened and closed):
        return [glob]
    return [before + word + end for word in inside.split(",") for end in _alternatives(after)]


_UNITS_S: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def duration_s(text: str) -> float:
    """Go's durations, `1m30s` or `500ms`, as OBI has them. Raises ValueError."""
    left, total_s = text.strip(), 0.0
    while left:
        digits = left[: len(left) - len(left.lstrip("0123456789."))]
        unit = next((one for one in ("ms", "us", "µs", "ns", "h", "m", "s") if left[len(digits) :].startswith(one)), "")
        if not digits or not unit:
            raise ValueError("not a duration such as 60s or 1m30s")
        total_s += float(digits) * _UNITS_S[unit]
        left = left[len(digits) + len(unit) :]
    if total_s <= 0:
        raise ValueError("not a duration such as 60s or 1m30s")
    return total_s
