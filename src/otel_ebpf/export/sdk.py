"""Any exporter of OpenTelemetry's SDK, by its entry point: spans and metrics as the SDK's own objects.

This is the ecosystem's plug-in interface, and the slow way: a request that the core has encoded is decoded again and an
object made of each span, some 30 µs before the exporter does anything. Nothing of it is loaded unless asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Literal

from otel_ebpf.errors import ConfigError, ExportError
from otel_ebpf.export.body import Body
from otel_ebpf.export.sender import Client

Signal = Literal["traces", "metrics"]
_EXPORT_TIMEOUT_MS: Final = 30_000


@dataclass(frozen=True, slots=True)
class Exporter:
    """`client` is for one thread, as all clients are."""

    name: str
    client: Client


def load(signal: Signal, names: Sequence[str]) -> tuple[Exporter, ...]:
    """The exporters of these names, each made with its defaults and its own variables. Raises ConfigError."""
    return tuple(Exporter(name, _client(signal, name)) for name in names)


def _client(signal: Signal, name: str) -> Client:
    made: Any = _made(signal, name)
    # Here, as they take the SDK with them.
    if signal == "traces":
        from otel_ebpf.export.sdk_spans import SpanClient  # noqa: PLC0415

        return SpanClient(name, made)
    from otel_ebpf.export.sdk_metrics import MetricClient  # noqa: PLC0415

    return MetricClient(name, made, _EXPORT_TIMEOUT_MS)


def _made(signal: Signal, name: str) -> object:
    variable, group = f"OTEL_{signal.upper()}_EXPORTER", f"opentelemetry_{signal}_exporter"
    installed: dict[str, EntryPoint] = {one.name: one for one in entry_points(group=group)}
    if name not in installed:
        raise ConfigError(
            f"{variable}: no exporter {name!r} is installed for {signal}; there is {', '.join(sorted(installed))}",
            f"a package that has it as an entry point in the group {group} can be installed next to otel-ebpf",
        )
    try:
        kind: Any = installed[name].load()
        made: object = kind()
    except Exception as error:
        raise ConfigError(f"{variable}: the exporter {name!r} can't be had: {error}") from error
    if not callable(getattr(made, "export", None)):
        raise ConfigError(f"{variable}: {name!r} is no exporter that is given {signal}, but reads them itself")
    return made


def refuse_unless(success: bool, name: str) -> None:
    """Raises ExportError; what may pass, the exporter has tried again itself."""
    if not success:
        raise ExportError(f"the exporter {name!r} failed")


def whole(body: Body) -> bytes:
    """The request in one piece."""
    return b"".join(bytes(part) for part in body.parts)
