"""Exporters of the SDK by entry point: what they are given is what the core has seen, as the SDK's own objects."""

import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, Sum
from opentelemetry.sdk.metrics.export import Histogram as SdkHistogram
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode
from tests.unit.fakes import Active, Series

from otel_ebpf.config.environment import from_environment
from otel_ebpf.enrich.process import encode_resource
from otel_ebpf.errors import ConfigError, ExportError
from otel_ebpf.export import sdk
from otel_ebpf.export.body import Body
from otel_ebpf.export.branches import Branches
from otel_ebpf.export.metrics import MetricsEncoder
from otel_ebpf.export.sdk_metrics import MetricClient, metrics_data
from otel_ebpf.export.sdk_spans import SpanClient, readable_spans
from otel_ebpf.export.sender import Parcel

BEGAN, ENDED = 1_800_000_000_000_001_000, 1_800_000_000_250_000_000


def text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def message(**changes: Any) -> Span:
    """A span with everything that a span of ours may have."""
    span = Span(
        trace_id=bytes(range(1, 17)),
        span_id=bytes(range(21, 29)),
        parent_span_id=bytes(range(31, 39)),
        trace_state="ot=th:8,vendor=1",
        flags=0x301,
        name="GET /orders/{id}",
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=BEGAN,
        end_time_unix_nano=ENDED,
        status=Status(code=Status.STATUS_CODE_ERROR),
        attributes=[
            text("http.request.method", "GET"),
            KeyValue(key="http.response.status_code", value=AnyValue(int_value=503)),
            KeyValue(key="some.ratio", value=AnyValue(double_value=0.5)),
            KeyValue(key="some.truth", value=AnyValue(bool_value=True)),
            KeyValue(key="dns.answers", value=AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="::1")]))),
        ],
        links=[Span.Link(trace_id=b"t" * 16, span_id=b"s" * 8, flags=1, attributes=[text("why", "message")])],
        events=[Span.Event(name="retry", time_unix_nano=BEGAN + 5, attributes=[text("n", "1")])],
    )
    for name, value in changes.items():
        setattr(span, name, value)
    return span


def request(*spans: Span) -> ExportTraceServiceRequest:
    resource = ResourceSpans(scope_spans=[ScopeSpans(spans=spans, schema_url="https://schema.test")])
    resource.resource.ParseFromString(encode_resource({"service.name": "shop", "process.pid": 17}).encoded)
    resource.scope_spans[0].scope.name, resource.scope_spans[0].scope.version = "otel-ebpf", "1"
    return ExportTraceServiceRequest(resource_spans=[resource])


def body(*spans: Span) -> Body:
    return Body.of(request(*spans).SerializeToString())


def test_a_span_is_the_sdks_span() -> None:
    [span] = readable_spans(request(message()))
    context = span.get_span_context()
    assert context
    assert f"{context.trace_id:032x}" == "0102030405060708090a0b0c0d0e0f10"
    assert f"{context.span_id:016x}" == "15161718191a1b1c"
    assert (context.trace_flags.sampled, context.is_remote) == (True, False)
    assert context.trace_state.to_header() == "ot=th:8,vendor=1"
    assert span.parent
    assert (f"{span.parent.span_id:016x}", span.parent.is_remote) == ("1f20212223242526", True)
    assert (span.name, span.kind) == ("GET /orders/{id}", SpanKind.SERVER)
    assert (span.start_time, span.end_time) == (BEGAN, ENDED)
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 503,
        "some.ratio": 0.5,
        "some.truth": True,
        "dns.answers": ("::1",),
    }
    assert dict(span.resource.attributes) == {"service.name": "shop", "process.pid": 17}
    [link] = span.links
    assert (link.context.trace_id.to_bytes(16, "big"), link.attributes) == (b"t" * 16, {"why": "message"})
    [event] = span.events
    assert (event.name, event.timestamp, event.attributes) == ("retry", BEGAN + 5, {"n": "1"})
    assert span.instrumentation_scope
    assert (span.instrumentation_scope.name, span.instrumentation_scope.version) == ("otel-ebpf", "1")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Span.SPAN_KIND_SERVER, SpanKind.SERVER),
        (Span.SPAN_KIND_CLIENT, SpanKind.CLIENT),
        (Span.SPAN_KIND_PRODUCER, SpanKind.PRODUCER),
        (Span.SPAN_KIND_CONSUMER, SpanKind.CONSUMER),
        (Span.SPAN_KIND_INTERNAL, SpanKind.INTERNAL),
    ],
)
def test_kinds(ours: Span.SpanKind.ValueType, theirs: SpanKind) -> None:
    [span] = readable_spans(request(message(kind=ours)))
    assert span.kind is theirs


def test_a_root_span_has_no_parent_and_success_no_status() -> None:
    span = message(parent_span_id=b"", trace_state="")
    span.ClearField("status")
    [read] = readable_spans(request(span))
    assert read.parent is None
    assert read.status.status_code is StatusCode.UNSET


def test_the_console_exporter_prints_them() -> None:
    printed = io.StringIO()
    client = SpanClient("console", ConsoleSpanExporter(out=printed))
    assert client.send(body(message())) == 0
    client.close()
    row = json.loads(printed.getvalue())
    assert (row["name"], row["kind"], row["status"]["status_code"]) == ("GET /orders/{id}", "SpanKind.SERVER", "ERROR")
    assert row["context"]["trace_id"] == "0x0102030405060708090a0b0c0d0e0f10"
    assert row["resource"]["attributes"]["service.name"] == "shop"


@contextmanager
def zipkin_server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A collector of Zipkin's API, version 2: its URL, and what it got."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(202)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/api/v2/spans", got
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_an_exporter_that_somebody_else_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    with zipkin_server() as (url, got):
        monkeypatch.setenv("OTEL_EXPORTER_ZIPKIN_ENDPOINT", url)
        [exporter] = sdk.load("traces", ["zipkin_json"])
        exporter.client.send(body(message()))
        exporter.client.close()
    [span] = got
    assert (span["traceId"], span["id"], span["parentId"]) == (
        "0102030405060708090a0b0c0d0e0f10",
        "15161718191a1b1c",
        "1f20212223242526",
    )
    assert (span["kind"], span["name"], span["localEndpoint"]["serviceName"]) == ("SERVER", "GET /orders/{id}", "shop")
    assert (span["timestamp"], span["duration"]) == (BEGAN // 1000, 249_999)
    assert span["tags"]["http.response.status_code"] == "503"


class _Failing:
    def export(self, spans: list[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.FAILURE

    def force_flush(self) -> bool:
        return True

    def shutdown(self) -> None:
        pass


def test_a_failure_is_an_error() -> None:
    with pytest.raises(ExportError, match="the exporter 'x' failed"):
        SpanClient("x", _Failing()).send(body(message()))  # type: ignore[arg-type]


def test_metrics_are_the_sdks_metrics() -> None:
    shop = {1: encode_resource({"service.name": "shop"}).encoded}
    encoder = MetricsEncoder(delta=False, start_unix_ns=7)
    data = metrics_data(encoder.request(shop, [Series()], [Active()], ENDED))
    [resource] = data.resource_metrics
    assert resource.resource.attributes == {"service.name": "shop"}
    metrics = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    duration, active = metrics["http.server.request.duration"].data, metrics["http.server.active_requests"].data
    assert isinstance(duration, SdkHistogram)
    [point] = duration.data_points
    assert (point.count, point.sum, point.explicit_bounds[:2]) == (1, 0.02, [0.005, 0.01])
    assert point.attributes == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "http.route": "/orders/{id}",
        "http.response.status_code": 200,
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
    }
    assert isinstance(active, Sum)
    assert (active.data_points[0].value, active.is_monotonic) == (3, False)


def test_the_console_takes_metrics() -> None:
    shop = {1: encode_resource({"service.name": "shop"}).encoded}
    sent: ExportMetricsServiceRequest = MetricsEncoder(delta=False, start_unix_ns=7).request(shop, [Series()], [], 9)
    printed = io.StringIO()
    client = MetricClient("console", ConsoleMetricExporter(out=printed), 1000)
    client.send(Body.of(sent.SerializeToString()))
    client.close()
    [resource] = json.loads(printed.getvalue())["resource_metrics"]
    assert resource["scope_metrics"][0]["metrics"][0]["name"] == "http.server.request.duration"


def test_a_name_that_is_not_installed_says_what_is() -> None:
    with pytest.raises(
        ConfigError, match="OTEL_TRACES_EXPORTER: no exporter 'zapkin' is installed for traces; there is"
    ):
        sdk.load("traces", ["zapkin"])
    with pytest.raises(ConfigError, match="for metrics; there is console, otlp") as caught:
        sdk.load("metrics", ["zipkin_json"])
    assert "opentelemetry_metrics_exporter" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "otlp", "exporters"),
    [
        ("", True, ()),
        ("otlp", True, ()),
        ("none", False, ()),
        ("console", False, ("console",)),
        ("otlp,console", True, ("console",)),
        (" console , otlp,console, zipkin_json", True, ("console", "zipkin_json")),
    ],
)
def test_the_variable_is_a_list(value: str, otlp: bool, exporters: tuple[str, ...]) -> None:
    settings = from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_TRACES_EXPORTER": value})
    assert (settings.traces.target is not None, settings.traces.exporters) == (otlp, exporters)
    assert settings.traces.leave == (otlp or bool(exporters))
    assert settings.metrics.exporters == ()


def test_none_stands_alone() -> None:
    with pytest.raises(ConfigError, match="none and something else"):
        from_environment({"OTEL_METRICS_EXPORTER": "none,console"})


class _Slow:
    """As somebody's terminal."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.items = 0

    def send(self, body: Body) -> int:
        self.go.wait(10)
        self.items += len(body.parts)
        return 0

    def close(self) -> None:
        pass


def test_an_exporter_that_lags_holds_up_nobody_and_is_counted() -> None:
    slow = _Slow()
    branches = Branches("traces", "spans", [sdk.Exporter("slow", slow)])
    began_s, built = time.monotonic(), []

    def build() -> Body:
        built.append(1)
        return Body.of(b"")

    for _ in range(30):
        assert branches.share(Parcel(5000, build)).build().length == 0
    assert time.monotonic() - began_s < 5
    # Once for all, whoever asks first.
    assert len(built) == 30
    slow.go.set()
    branches.close(5)
    values = {attributes.get("reason", metric.name): value for metric, attributes, value in branches.counters()}
    assert values["otel_ebpf.exporter.sent"] + values["lagging"] == 30 * 5000
    assert 20_000 <= values["otel_ebpf.exporter.sent"] <= 30_000
