"""An OTLP/HTTP receiver in this process: spans and metric points as the testbed's tests read them."""

import gzip
import http.server
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tests.testbed.telemetry import Point, Span, Telemetry


@contextmanager
def receiver() -> Iterator[tuple[str, Telemetry]]:
    """(endpoint, what arrived so far, growing)."""
    got = Telemetry(Path("/nonexistent"))
    lock = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            with lock:
                if self.path == "/v1/traces":
                    got.add(spans=spans(body))
                elif self.path == "/v1/metrics":
                    got.add(points=points(body))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", got
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def spans(body: bytes) -> Iterator[Span]:
    """The spans of an ExportTraceServiceRequest."""
    for part in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _attributes(part.resource.attributes)
        for scope in part.scope_spans:
            for row in scope.spans:
                yield Span(
                    row.trace_id.hex(),
                    row.span_id.hex(),
                    row.parent_span_id.hex(),
                    row.trace_state,
                    row.flags,
                    row.name,
                    row.kind,
                    row.start_time_unix_nano,
                    row.end_time_unix_nano,
                    row.status.code,
                    _attributes(row.attributes),
                    resource,
                )


def points(body: bytes) -> Iterator[Point]:
    """The data points of an ExportMetricsServiceRequest."""
    for part in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        resource = _attributes(part.resource.attributes)
        for scope in part.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                if kind not in ("sum", "gauge", "histogram"):
                    continue
                data = getattr(metric, kind)
                for row in data.data_points:
                    histogram = kind == "histogram"
                    yield Point(
                        metric.name,
                        metric.unit,
                        kind,
                        0 if kind == "gauge" else data.aggregation_temporality,
                        _attributes(row.attributes),
                        resource,
                        row.start_time_unix_nano,
                        row.time_unix_nano,
                        float(row.sum if histogram else getattr(row, row.WhichOneof("value") or "as_int")),
                        row.count if histogram else 0,
                        tuple(row.explicit_bounds) if histogram else (),
                        tuple(row.bucket_counts) if histogram else (),
                    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(part) for part in value.array_value.values]
    return getattr(value, kind)
