"""OTEL_* variables, as every zero-code SDK reads them.

Rules (specification, "Environment variable specification"): empty is unset; only "true" is true, in any case;
a number or a name that can't be understood warns and is ignored. What would send data to the wrong place (an
endpoint, a protocol we do not speak) refuses to start instead: ConfigError.
"""

import difflib
import logging
import math
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeVar, cast, get_args

from otel_ebpf.config import obi, values
from otel_ebpf.config.catalogue import SETTINGS, with_value
from otel_ebpf.config.kinds import Other
from otel_ebpf.config.origin import Origin
from otel_ebpf.config.remote import parse_remote
from otel_ebpf.config.settings import (
    Compression,
    ExemplarFilter,
    GrpcCompression,
    Histograms,
    Metrics,
    OtlpTarget,
    Prometheus,
    Protocol,
    RemoteSampling,
    Rule,
    Sampler,
    Sampling,
    Selection,
    Settings,
    Temporality,
    Traces,
)
from otel_ebpf.errors import ConfigError

log = logging.getLogger(__name__)

Name = TypeVar("Name", bound=str)
Value = TypeVar("Value")
# Read in other places, or for other programs that share the environment: not worth a word.
_ELSEWHERE: Final[tuple[str, ...]] = (
    "OTEL_CONFIG_FILE",
    "OTEL_EXPORTER_OTLP_",
    "OTEL_EXPORTER_PROMETHEUS_",
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
        self._refused: set[str] = set()

    def _refuse(self, name: str, problem: str, shown: str | None = None) -> None:
        self._refused.add(name)
        log.warning("%s=%s: %s; ignored", name, self.text(name) if shown is None else shown, problem)

    def origins(self) -> dict[str, Origin]:
        """Of each setting that a variable decided: which one."""
        found = {}
        for setting in SETTINGS:
            for name in setting.env:
                if self.text(name) and name not in self._refused:
                    found[setting.name] = Origin("environment", name)
                    break
        return found

    def plain(self, settings: Settings) -> Settings:
        """`settings` with all that the catalogue knows how to read."""
        for setting in SETTINGS:
            if setting.by_hand or isinstance(setting.kind, Other):
                continue
            for name in setting.env:
                if not (text := self.text(name)):
                    continue
                try:
                    settings = with_value(settings, setting.name, setting.kind.parse(text))
                except ValueError as error:
                    self._refuse(name, str(error))
                    continue
                break
        return settings

    def parsed(self, name: str, parse: Callable[[str], Value]) -> Value | None:
        """What `parse` makes of a variable; where it raises ValueError, that is ignored with a warning."""
        if text := self.text(name):
            try:
                return parse(text)
            except ValueError as error:
                self._refuse(name, str(error))
        return None

    def unknown(self) -> list[str]:
        """Names of variables for OpenTelemetry, or OBI's ancestor, that are set and that nobody has asked for."""
        ours = ("OTEL_", "BEYLA_")
        set_ones = (name for name, value in self._variables.items() if name.startswith(ours) and value.strip())
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
            self._refuse(name, f"not a number from {low:g} to {high:g}")
        return default

    def name(self, names: tuple[str, ...], allowed: tuple[Name, ...], default: Name) -> Name:
        """One of the allowed names, in any case; anything else is ignored with a warning."""
        for name in names:
            text = self.text(name).lower()
            if text in allowed:
                return text
            if text:
                self._refuse(name, f"not one of {', '.join(allowed)}")
        return default

    def pairs(self, *names: str) -> tuple[tuple[str, str], ...]:
        """key=value,...; a malformed list is ignored with a warning, which does not show it: it may be secret."""
        for name in names:
            if text := self.text(name):
                try:
                    return values.parse_pairs(text)
                except ValueError:
                    self._refuse(name, "not of the form key=value,key=value", shown="...")
        return ()


def from_environment(variables: Mapping[str, str]) -> Settings:
    """Settings from OTEL_* variables alone."""
    return read_environment(variables)[0]


def read_environment(variables: Mapping[str, str]) -> tuple[Settings, dict[str, Origin]]:
    """The same, and which variable decided what."""
    env = Environment(variables)
    off = env.flag("OTEL_SDK_DISABLED")
    sampler, sampler_arg, remote = _sampler(env)
    settings = Settings(
        traces=Traces(
            target=None if off else _target(env, "traces"),
            exporters=() if off else _of_the_sdk(env, "traces"),
            sampler=sampler,
            sampler_arg=sampler_arg,
            sampling=Sampling(remote=remote),
            schedule_delay_s=env.number(("OTEL_BSP_SCHEDULE_DELAY",), 5000.0) / 1000,
            batch_spans=int(env.number(("OTEL_BSP_MAX_EXPORT_BATCH_SIZE",), 512.0, low=1.0)),
        ),
        metrics=Metrics(
            target=None if off else _target(env, "metrics"),
            exporters=() if off else _of_the_sdk(env, "metrics"),
            interval_s=_interval_s(env),
            temporality=env.name(
                ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",),
                cast("tuple[Temporality, ...]", get_args(Temporality)),
                "cumulative",
            ),
            histograms=env.name(
                ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",),
                cast("tuple[Histograms, ...]", get_args(Histograms)),
                "explicit_bucket_histogram",
            ),
            exemplars=env.name(
                ("OTEL_METRICS_EXEMPLAR_FILTER",),
                cast("tuple[ExemplarFilter, ...]", get_args(ExemplarFilter)),
                "trace_based",
            ),
            prometheus=None if off else _prometheus(env),
        ),
        selection=_selection(env),
        resource=_resource(env),
        log_level=_log_level(env),
    )
    settings = env.plain(settings)
    for name in env.unknown():
        _tell_unknown(name)
    return settings, env.origins()


def _tell_unknown(name: str) -> None:
    if instead := obi.advice(name):
        log.warning("%s has no meaning here: %s", name, instead)
        return
    known = [*_ALWAYS_KNOWN, *(name for setting in SETTINGS for name in setting.env)]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
    log.warning("%s is set, but has no meaning here%s", name, f"; did you mean {close[0]}?" if close else "")


def _selection(env: Environment) -> Selection:
    globs = env.parsed("OTEL_EBPF_AUTO_TARGET_EXE", obi.path_globs)
    return Selection((Rule(executables=globs),)) if globs else Selection()


def _interval_s(env: Environment) -> float:
    """OBI's name for it has a unit."""
    default_s = env.parsed("OTEL_EBPF_METRICS_INTERVAL", obi.duration_s) or Metrics().interval_s
    return env.number(("OTEL_METRIC_EXPORT_INTERVAL",), default_s * 1000, low=1.0) / 1000


def _sampler(env: Environment) -> tuple[Sampler, float, RemoteSampling]:
    name = env.name(("OTEL_TRACES_SAMPLER",), cast("tuple[Sampler, ...]", get_args(Sampler)), Traces().sampler)
    if not name.endswith("jaeger_remote"):
        return name, env.number(("OTEL_TRACES_SAMPLER_ARG",), 1.0, high=1.0), RemoteSampling()
    try:
        remote, rate = parse_remote(env.text("OTEL_TRACES_SAMPLER_ARG"))
    except ValueError as error:
        raise ConfigError(f"OTEL_TRACES_SAMPLER_ARG: {error}") from error
    return name, rate, remote


def _resource(env: Environment) -> tuple[tuple[str, str], ...]:
    attributes = dict(env.pairs("OTEL_RESOURCE_ATTRIBUTES"))
    if name := env.text("OTEL_SERVICE_NAME"):
        attributes["service.name"] = name
    return tuple(attributes.items())


def _log_level(env: Environment) -> LogLevel:
    levels: dict[str, LogLevel] = {"trace": "debug", "debug": "debug", "warn": "warning", "fatal": "error"}
    allowed = ("trace", "debug", "info", "warn", "warning", "error", "fatal")
    text = env.name(("OTEL_LOG_LEVEL", "OTEL_EBPF_LOG_LEVEL"), allowed, "info")
    return levels.get(text, cast("LogLevel", text))


def _prometheus(env: Environment) -> Prometheus | None:
    """Where Prometheus may fetch metrics, if OTEL_METRICS_EXPORTER names it, alone or beside others."""
    if "prometheus" not in _exporters(env, "metrics"):
        return None
    return Prometheus(
        env.text("OTEL_EXPORTER_PROMETHEUS_HOST") or Prometheus().host,
        int(env.number(("OTEL_EXPORTER_PROMETHEUS_PORT",), Prometheus().port, low=1, high=65535)),
    )


def _exporters(env: Environment, signal: Literal["traces", "metrics"]) -> list[str]:
    """Names in OTEL_<SIGNAL>_EXPORTER, which is a list; "none" is one that stands alone."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    names = list(dict.fromkeys(name for part in env.text(variable).split(",") if (name := part.strip())))
    if "none" in names and len(names) > 1:
        raise ConfigError(f"{variable}={','.join(names)}: none and something else can't both be")
    if set(names) - {"none", "otlp"}:
        # They have variables of their own.
        env.expect("OTEL_EXPORTER_")
    return names


def _of_the_sdk(env: Environment, signal: Literal["traces", "metrics"]) -> tuple[str, ...]:
    """The exporters that are none of ours."""
    ours = {"none", "otlp", "prometheus"} if signal == "metrics" else {"none", "otlp"}
    return tuple(name for name in _exporters(env, signal) if name not in ours)


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
