"""OTEL_* variables, as every zero-code SDK reads them.

Rules (specification, "Environment variable specification"): empty is unset; only "true" is true, in any case;
a number or a name that can't be understood warns and is ignored. What would send data to the wrong place (an
endpoint, a protocol we do not speak) refuses to start instead: ConfigError.
"""

import logging
import math
from collections.abc import Collection, Mapping
from typing import Final, Literal, TypeVar, cast, get_args

from otel_ebpf.config import values
from otel_ebpf.config.settings import (
    LEAST_QUEUE_BYTES,
    Compression,
    GrpcCompression,
    Health,
    Kubernetes,
    Metrics,
    OtlpTarget,
    Protocol,
    Queue,
    Sampler,
    Settings,
    Temporality,
    Traces,
)
from otel_ebpf.errors import ConfigError

log = logging.getLogger(__name__)

Name = TypeVar("Name", bound=str)
# Read in other places, or for other programs that share the environment: not worth a word.
_ELSEWHERE: Final[tuple[str, ...]] = (
    "OTEL_CONFIG_FILE",
    "OTEL_EXPORTER_OTLP_",
    "OTEL_LOGS_EXPORTER",
    "OTEL_PROPAGATORS",
)
# Known even where all is off, and nobody asks for them.
_ALWAYS_KNOWN: Final = ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER")
DEFAULT_ENDPOINT: Final = "http://localhost:4318"
DEFAULT_GRPC_ENDPOINT: Final = "http://localhost:4317"
LogLevel = Literal["debug", "info", "warning", "error"]


class Environment:
    """Typed look-ups in a set of variables."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._known = set(_ALWAYS_KNOWN)
        self._elsewhere = _ELSEWHERE

    def unknown(self) -> list[str]:
        """Names of variables for OpenTelemetry that are set and that nobody has asked for."""
        set_ones = (name for name, value in self._variables.items() if name.startswith("OTEL_") and value.strip())
        return sorted(name for name in set_ones if name not in self._known and not name.startswith(self._elsewhere))

    def expect(self, prefix: str) -> None:
        """Others read variables whose names begin so."""
        self._elsewhere = (*self._elsewhere, prefix)

    def text(self, *names: str) -> str:
        """Value of the first variable that is set, "" if none is."""
        self._known.update(names)
        return next((value for name in names if (value := self._variables.get(name, "").strip())), "")

    def flag(self, *names: str) -> bool:
        """True for "true" only, of the first variable that is set."""
        name = next((name for name in names if self.text(name)), "")
        text = self.text(*names).lower()
        if text not in {"", "true", "false"}:
            log.warning('%s=%s: neither "true" nor "false"; taken as false', name, text)
        return text == "true"

    def number(self, names: tuple[str, ...], default: float, *, low: float = 0.0, high: float = math.inf) -> float:
        """A finite number within [low, high]; anything else is ignored with a warning."""
        for name in names:
            text = self.text(name)
            if not text:
                continue
            try:
                number = float(text)
            except ValueError:
                number = math.nan
            if math.isfinite(number) and low <= number <= high:
                return number
            log.warning("%s=%s: not a number from %g to %g; ignored", name, text, low, high)
        return default

    def name(self, names: tuple[str, ...], allowed: tuple[Name, ...], default: Name) -> Name:
        """One of the allowed names, in any case; anything else is ignored with a warning."""
        for name in names:
            text = self.text(name).lower()
            if text in allowed:
                return text
            if text:
                log.warning("%s=%s: not one of %s; ignored", name, text, ", ".join(allowed))
        return default

    def pairs(self, *names: str) -> tuple[tuple[str, str], ...]:
        """key=value,...; a malformed list is ignored with a warning, which does not show it: it may be secret."""
        for name in names:
            if text := self.text(name):
                try:
                    return values.parse_pairs(text)
                except ValueError:
                    log.warning("%s: not of the form key=value,key=value; ignored", name)
        return ()


def from_environment(variables: Mapping[str, str]) -> Settings:
    """Settings from OTEL_* variables alone."""
    env = Environment(variables)
    off = env.flag("OTEL_SDK_DISABLED")
    settings = Settings(
        traces=Traces(
            target=None if off else _target(env, "traces"),
            exporters=() if off else tuple(_exporters(env, "traces", {"otlp"})),
            sampler=env.name(
                ("OTEL_TRACES_SAMPLER",), cast("tuple[Sampler, ...]", get_args(Sampler)), Traces().sampler
            ),
            sampler_arg=env.number(("OTEL_TRACES_SAMPLER_ARG",), 1.0, high=1.0),
            schedule_delay_s=env.number(("OTEL_BSP_SCHEDULE_DELAY",), 5000.0) / 1000,
            batch_spans=int(env.number(("OTEL_BSP_MAX_EXPORT_BATCH_SIZE",), 512.0, low=1.0)),
        ),
        metrics=Metrics(
            target=None if off else _target(env, "metrics"),
            exporters=() if off else tuple(_exporters(env, "metrics", {"otlp"})),
            interval_s=env.number(("OTEL_METRIC_EXPORT_INTERVAL",), 60_000.0, low=1.0) / 1000,
            temporality=env.name(
                ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",),
                cast("tuple[Temporality, ...]", get_args(Temporality)),
                "cumulative",
            ),
        ),
        queue=Queue(
            directory=env.text("OTEL_EBPF_QUEUE_DIRECTORY"),
            max_bytes=int(env.number(("OTEL_EBPF_QUEUE_MAX_BYTES",), Queue().max_bytes, low=LEAST_QUEUE_BYTES)),
            max_age_s=env.number(("OTEL_EBPF_QUEUE_MAX_AGE_SECONDS",), Queue().max_age_s, low=1.0),
        ),
        resource=_resource(env),
        kubernetes=_kubernetes(env),
        health=Health(_listen(env, "OTEL_EBPF_HEALTH_ENDPOINT"), _listen(env, "OTEL_EBPF_PROFILE_ENDPOINT")),
        log_level=_log_level(env),
    )
    if unknown := env.unknown():
        log.warning("set, but without a meaning here: %s", ", ".join(unknown))
    return settings


def _kubernetes(env: Environment) -> Kubernetes:
    """By the names, and with the meanings, that OpenTelemetry's eBPF instrumentation (OBI) gave them."""
    enabled = env.name(("OTEL_EBPF_KUBE_METADATA_ENABLE",), ("autodetect", "true", "false"), "autodetect")
    return Kubernetes(
        enabled=None if enabled == "autodetect" else enabled == "true",
        cluster_name=env.text("OTEL_EBPF_KUBE_CLUSTER_NAME"),
    )


def _listen(env: Environment, name: str) -> tuple[str, int] | None:
    text = env.text(name)
    try:
        return values.parse_listen(text) if text else None
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error


def _resource(env: Environment) -> tuple[tuple[str, str], ...]:
    attributes = dict(env.pairs("OTEL_RESOURCE_ATTRIBUTES"))
    if name := env.text("OTEL_SERVICE_NAME"):
        attributes["service.name"] = name
    return tuple(attributes.items())


def _log_level(env: Environment) -> LogLevel:
    levels: dict[str, LogLevel] = {"trace": "debug", "debug": "debug", "warn": "warning", "fatal": "error"}
    allowed = ("trace", "debug", "info", "warn", "warning", "error", "fatal")
    text = env.name(("OTEL_LOG_LEVEL",), allowed, "info")
    return levels.get(text, cast("LogLevel", text))


def _exporters(env: Environment, signal: Literal["traces", "metrics"], leave_out: Collection[str] = ()) -> list[str]:
    """Names in OTEL_<SIGNAL>_EXPORTER, which is a list; "none" is one that stands alone."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    names = list(dict.fromkeys(name for part in env.text(variable).split(",") if (name := part.strip())))
    if "none" in names and len(names) > 1:
        raise ConfigError(f"{variable}={','.join(names)}: none and something else can't both be")
    if set(names) - {"none", "otlp"}:
        # They have variables of their own.
        env.expect("OTEL_EXPORTER_")
    return [name for name in names if name not in {*leave_out, *({"none"} if leave_out else ())}]


def _target(env: Environment, signal: Literal["traces", "metrics"]) -> OtlpTarget | None:
    """Where a signal goes. Without an endpoint nowhere, unless OTEL_<SIGNAL>_EXPORTER asks for otlp by name."""
    upper = signal.upper()
    exporter = _exporters(env, signal)
    if exporter and "otlp" not in exporter:
        return None

    def names(suffix: str) -> tuple[str, str]:
        return f"OTEL_EXPORTER_OTLP_{upper}_{suffix}", f"OTEL_EXPORTER_OTLP_{suffix}"

    own_name, base_name = names("ENDPOINT")
    own, base = env.text(own_name), env.text(base_name)
    if not (own or base or exporter):
        return None
    protocol = env.text(*names("PROTOCOL")) or "http/protobuf"
    if protocol not in get_args(Protocol):
        raise ConfigError(
            f"OTLP over {protocol} is not there: only {', '.join(get_args(Protocol))}",
            "without OTEL_EXPORTER_OTLP_PROTOCOL it is http/protobuf, to the backend's port 4318 usually",
        )
    try:
        if protocol == "grpc":
            url = values.grpc_url(own or base or DEFAULT_GRPC_ENDPOINT, insecure=env.flag(*names("INSECURE")))
        else:
            url = values.parse_endpoint(own) if own else values.signal_url(base or DEFAULT_ENDPOINT, signal)
    except ValueError as error:
        raise ConfigError(f"{own_name if own else base_name}: {error}") from error
    compressions = get_args(GrpcCompression if protocol == "grpc" else Compression)
    return OtlpTarget(
        url=url,
        protocol=cast("Protocol", protocol),
        headers=env.pairs(*names("HEADERS")),
        compression=env.name(names("COMPRESSION"), cast("tuple[Compression, ...]", compressions), "none"),
        timeout_s=env.number(names("TIMEOUT"), 10_000.0, low=1.0) / 1000,
        ca_file=env.text(*names("CERTIFICATE")),
        client_certificate_file=env.text(*names("CLIENT_CERTIFICATE")),
        client_key_file=env.text(*names("CLIENT_KEY")),
    )
