"""What a scrape is answered with, taken at one moment, and how it is rendered."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from otel_ebpf.export.metrics import MetricsEncoder, add_own
from otel_ebpf.export.own import Own
from otel_ebpf.export.prometheus import protobuf, text
from otel_ebpf.export.prometheus.families import families
from otel_ebpf.model import ActiveSeries, CallSeries, HttpSeries

Format = Literal["protobuf", "openmetrics", "text"]
_FORMATS: Final[Mapping[str, Format]] = {
    "application/vnd.google.protobuf": "protobuf",
    "application/openmetrics-text": "openmetrics",
    "text/plain": "text",
    "*/*": "text",
}
_PROTOBUF: Final = {"proto=io.prometheus.client.MetricFamily", "encoding=delimited"}


@dataclass(frozen=True, slots=True)
class Reading:
    """Series with the encoded resources of their processes; what the agent says of itself with its own."""

    now_unix_ns: int
    start_unix_ns: int  # of the agent
    own: bytes
    resources: Mapping[int, bytes] = field(default_factory=dict)
    series: Sequence[HttpSeries] = ()
    calls: Sequence[CallSeries] = ()
    active: Sequence[ActiveSeries] = ()
    told: Own = field(default_factory=Own)

    def request(self, *, exponential: bool) -> ExportMetricsServiceRequest:
        """The reading as OTLP would have it, cumulative."""
        encoder = MetricsEncoder(delta=False, start_unix_ns=self.start_unix_ns, exponential=exponential)
        request = encoder.request(self.resources, self.series, self.active, self.now_unix_ns, self.calls)
        add_own(request, self.own, self.told, self.start_unix_ns, self.now_unix_ns)
        return request


def render(reading: Reading, accept: str) -> tuple[str, Iterator[bytes]]:
    """The Content-Type, and the body in pieces: protobuf with native histograms, OpenMetrics or text, as asked for."""
    classic = reading.request(exponential=False)
    match negotiate(accept):
        case "protobuf":
            both = families(classic, reading.request(exponential=True))
            return protobuf.CONTENT_TYPE, protobuf.render(both)
        case "openmetrics":
            pieces = text.render(families(classic), openmetrics=True)
            return text.OPENMETRICS_TYPE, (piece.encode() for piece in pieces)
        case _:
            pieces = text.render(families(classic), openmetrics=False)
            return text.TEXT_TYPE, (piece.encode() for piece in pieces)


def negotiate(accept: str) -> Format:
    """The format that the header Accept gives the most weight to; of equals the one that can say more."""
    weights: dict[Format, float] = {"protobuf": 0.0, "openmetrics": 0.0, "text": 0.001}
    for part in accept.split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((one.removeprefix("q=") for one in parameters if one.startswith("q=")), "1")
        number = float(weight) if re.fullmatch(r"[01](\.\d{0,3})?", weight) else 0.0
        name = _FORMATS.get(kind)
        if name and (name != "protobuf" or set(parameters) >= _PROTOBUF):
            weights[name] = max(weights[name], number)
    return max(weights, key=lambda name: weights[name])
