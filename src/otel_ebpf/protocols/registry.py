"""Registry of protocols: one entry for each parser of src/native/src/protocols.

To add one: write its parser in Rust, its vectors in tests/protocols, and its entry here.
"""

from dataclasses import dataclass
from typing import Final, Literal

from otel_ebpf import _native


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as the semantic conventions define it. No `bounds`: an up-down counter."""

    name: str
    unit: str
    description: str
    bounds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestMetrics:
    """What is measured of requests on one side of the connection."""

    duration: Metric
    request_size: Metric | None = None
    response_size: Metric | None = None
    active: Metric | None = None


@dataclass(frozen=True, slots=True)
class Protocol:
    """`name` is `network.protocol.name`, of calls `rpc.system.name`.

    `detector` says in a sentence how the core recognises it.
    """

    name: str
    title: str
    detector: str
    conventions: str
    metrics: dict[Literal["server", "client"], RequestMetrics]


_SECONDS: Final = tuple(_native.DURATION_BOUNDS_S)
_BYTES: Final = tuple(_native.SIZE_BOUNDS)

HTTP: Final = Protocol(
    name="http",
    title="HTTP/1.0, HTTP/1.1 and HTTP/2",
    detector="a request line (method, target, HTTP/1.x) in one direction, a status line in the other; HTTP/2's frames",
    conventions="https://opentelemetry.io/docs/specs/semconv/http/",
    metrics={
        "server": RequestMetrics(
            Metric("http.server.request.duration", "s", "Duration of HTTP server requests.", _SECONDS),
            Metric("http.server.request.body.size", "By", "Size of HTTP server request bodies.", _BYTES),
            Metric("http.server.response.body.size", "By", "Size of HTTP server response bodies.", _BYTES),
            Metric("http.server.active_requests", "{request}", "Number of active HTTP server requests."),
        ),
        "client": RequestMetrics(
            Metric("http.client.request.duration", "s", "Duration of HTTP client requests.", _SECONDS),
            Metric("http.client.request.body.size", "By", "Size of HTTP client request bodies.", _BYTES),
            Metric("http.client.response.body.size", "By", "Size of HTTP client response bodies.", _BYTES),
        ),
    },
)

# Sizes and messages per call had metrics until the conventions deprecated them without another in their place.
GRPC: Final = Protocol(
    name="grpc",
    title="gRPC",
    detector="a request of HTTP/2 with a content-type of application/grpc",
    conventions="https://opentelemetry.io/docs/specs/semconv/rpc/grpc/",
    metrics={
        "server": RequestMetrics(
            Metric("rpc.server.call.duration", "s", "Duration of incoming remote procedure calls.", _SECONDS)
        ),
        "client": RequestMetrics(
            Metric("rpc.client.call.duration", "s", "Duration of outgoing remote procedure calls.", _SECONDS)
        ),
    },
)

PROTOCOLS: Final = {protocol.name: protocol for protocol in (HTTP, GRPC)}
