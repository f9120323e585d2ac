"""An OTLP/HTTP backend that keeps what it gets, and answers as told."""

import gzip
import ssl
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@dataclass
class Answer:
    """What the backend says to one request."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: bytes
    connection: tuple[str, int]


@dataclass
class Backend:
    """`answers` are used up in order; when there are none left, everything is accepted."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    answers: deque[Answer] = field(default_factory=deque)

    @property
    def received(self) -> int:
        """How many requests have come."""
        return len(self.requests)

    def traces(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(r.body) for r in self.requests if r.path == "/v1/traces"]

    def metric_requests(self) -> list[ExportMetricsServiceRequest]:
        return [ExportMetricsServiceRequest.FromString(r.body) for r in self.requests if r.path == "/v1/metrics"]

    def span_names(self) -> list[str]:
        return [
            span.name
            for request in self.traces()
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def metrics(self) -> dict[tuple[str, str], Metric]:
        """The newest of each metric, by service and name."""
        return {
            (text_attributes(resource.resource)["service.name"], metric.name): metric
            for request in self.metric_requests()
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def wait_for(self, count: int, seconds: float = 5) -> None:
        deadline = time.monotonic() + seconds
        while len(self.requests) < count:
            assert time.monotonic() < deadline, f"{len(self.requests)} requests came, not {count}"
            time.sleep(0.01)


def text_attributes(message: Any) -> dict[str, Any]:
    """Attributes of a resource, span or point as plain values."""
    values = {}
    for pair in message.attributes:
        kind = pair.value.WhichOneof("value")
        values[pair.key] = getattr(pair.value, kind) if kind else None
    return values


@contextmanager
def running_backend(*answers: Answer, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Backend]:
    backend = Backend(answers=deque(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.headers.get("Content-Encoding") == "zstd":
                body = zstd.decompress(body)
            headers = {name.lower(): value for name, value in self.headers.items()}
            backend.requests.append(Request(self.path, headers, body, self.client_address))
            answer = backend.answers.popleft() if backend.answers else Answer()
            time.sleep(answer.delay_s)
            try:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)
            except OSError:  # who asked has given up
                self.close_connection = True

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # a handshake that failed
                self.close_connection = True

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    if tls:
        # The handshake is the connection's own thread's: a client that fails in it must not stop the others.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    backend.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    try:
        yield backend
    finally:
        server.shutdown()
        server.server_close()
