"""What all ways of OTLP have in common: what a signal is to them, and what a way has to do."""

import re
from dataclasses import dataclass
from typing import Final, Protocol

import urllib3
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace

from otel_ebpf import __version__
from otel_ebpf.config.settings import OtlpTarget
from otel_ebpf.errors import ConfigError
from otel_ebpf.export.body import Body

USER_AGENT: Final = f"otel-ebpf/{__version__}"
MAX_ANSWER_BYTES: Final = 64 << 10
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2


@dataclass(frozen=True, slots=True)
class Signal:
    """What OTLP has for one signal. `method` is gRPC's name of the call, `rejected_field` is in `partial_success`."""

    method: str
    request: type[Message]
    response: type[Message]
    rejected_field: str

    def answer(self, content: bytes) -> Message | None:
        """A backend's `response`, None if it is none."""
        try:
            return self.response.FromString(content)
        except DecodeError:
            return None

    def rejected(self, answer: Message) -> tuple[int, str]:
        """Of a backend's `response`: how many items it did not take, and its message."""
        partial = getattr(answer, "partial_success")  # noqa: B009 - of generated classes, which have no common one
        return getattr(partial, self.rejected_field), partial.error_message


TRACES: Final = Signal(
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    trace.ExportTraceServiceRequest,
    trace.ExportTraceServiceResponse,
    "rejected_spans",
)
METRICS: Final = Signal(
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    metrics.ExportMetricsServiceRequest,
    metrics.ExportMetricsServiceResponse,
    "rejected_data_points",
)


class Transport(Protocol):
    """One way to one backend, over a connection that is kept. For one thread."""

    def prepare(self, body: Body) -> Body:
        """The request as it goes over the wire: made once, however often it is sent."""

    def attempt(self, body: Body) -> Message | None:
        """Sends what `prepare` gave, once. The backend's `response`, None if it can't be understood.

        Raises TemporaryExportError where another attempt may help, else ExportError.
        """

    def close(self) -> None:
        """Ends the connection."""


def request_headers(target: OtlpTarget) -> dict[str, str]:
    """The URL's user and password, and the headers that are set. What would be refused each time refuses to start."""
    basic = urllib3.make_headers(basic_auth=target.credentials) if target.credentials else {}
    for name, value in target.headers:
        if not _HEADER_NAME.fullmatch(name) or not (value.isascii() and value.isprintable()):
            # The value may be secret.
            raise ConfigError(f"header {name!r} for {target.shown_url}: its name or its value is not one of HTTP's")
    return {**basic, **dict(target.headers)}


def printable(text: str) -> str:
    """A backend's own words, for the end of a message: nothing if they are not plain text."""
    text = text[:200].strip()
    return f" {text}" if text and text.isprintable() else ""
