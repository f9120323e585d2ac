"""OTLP in JSON: as the specification has it, and the same as in protobuf."""

import json
import threading
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from tests.unit.backend import Answer, running_backend

from otel_ebpf.config.settings import Compression, OtlpTarget
from otel_ebpf.export import otlp_json
from otel_ebpf.export.body import Body
from otel_ebpf.export.otlp import OtlpClient, RetryPolicy
from otel_ebpf.export.transport import METRICS, TRACES, Signal

TRACE_ID, SPAN_ID = bytes(range(16)), bytes(range(240, 248))


def spans() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(trace_id=TRACE_ID, span_id=SPAN_ID, name="GET /ä", kind=2, start_time_unix_nano=2**63 + 1)
    )
    span.links.add(trace_id=TRACE_ID, span_id=SPAN_ID)
    span.status.code = Status.STATUS_CODE_ERROR
    span.attributes.append(KeyValue(key="traceId", value=AnyValue(bytes_value=b"\xff")))
    span.attributes.append(KeyValue(key="n", value=AnyValue(int_value=7)))
    return request


def test_ids_are_hexadecimal_enums_are_numbers_and_names_are_camels() -> None:
    (resource,) = json.loads(otlp_json.encode(spans()))["resourceSpans"]
    (span,) = resource["scopeSpans"][0]["spans"]
    assert span == {
        "traceId": "000102030405060708090a0b0c0d0e0f",
        "spanId": "f0f1f2f3f4f5f6f7",
        "name": "GET /ä",
        "kind": 2,
        "startTimeUnixNano": "9223372036854775809",
        "attributes": [
            {"key": "traceId", "value": {"bytesValue": "/w=="}},
            {"key": "n", "value": {"intValue": "7"}},
        ],
        "links": [{"traceId": "000102030405060708090a0b0c0d0e0f", "spanId": "f0f1f2f3f4f5f6f7"}],
        "status": {"code": 2},
    }


def test_parents_and_exemplars_too() -> None:
    request = spans()
    request.resource_spans[0].scope_spans[0].spans[0].parent_span_id = SPAN_ID
    (resource,) = json.loads(otlp_json.encode(request))["resourceSpans"]
    assert resource["scopeSpans"][0]["spans"][0]["parentSpanId"] == SPAN_ID.hex()
    points = ExportMetricsServiceRequest()
    scope = points.resource_metrics.add().scope_metrics.add()
    for kind in ("histogram", "sum", "gauge", "exponential_histogram"):
        point = getattr(scope.metrics.add(name=kind), kind).data_points.add()
        if kind.endswith("histogram"):
            point.sum = 0.5
        point.exemplars.add(trace_id=TRACE_ID, span_id=SPAN_ID)
    document = json.loads(otlp_json.encode(points))
    for metric in document["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]:
        (data,) = (value for value in metric.values() if isinstance(value, dict))
        assert data["dataPoints"][0]["exemplars"] == [{"traceId": TRACE_ID.hex(), "spanId": SPAN_ID.hex()}]


def client(url: str, signal: Signal = TRACES, compression: Compression = "none") -> OtlpClient:
    target = OtlpTarget(url, "http/json", compression=compression)
    return OtlpClient(target, signal, threading.Event(), RetryPolicy(first_s=0.01, give_up_s=0.5))


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_it_is_posted_as_json_however_often_it_takes(compression: Compression) -> None:
    whole = spans().SerializeToString()
    with running_backend(Answer(503)) as backend:
        sending = client(f"{backend.url}/v1/traces", compression=compression)
        assert sending.send(Body.of(whole[:5], memoryview(whole[5:]))) == 0
        assert [request.body for request in backend.requests] == [otlp_json.encode(spans())] * 2
        headers = backend.requests[0].headers
        assert headers["content-type"] == "application/json"
        assert headers.get("content-encoding", "none") == compression


@pytest.mark.parametrize("count", [3, "3"])
@pytest.mark.parametrize(("signal", "field"), [(TRACES, "rejectedSpans"), (METRICS, "rejectedDataPoints")])
def test_partial_success_is_counted_and_told(
    signal: Signal, field: str, count: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answer = {"partialSuccess": {field: count, "errorMessage": "too old", "new": 1}}
    with running_backend(Answer(body=json.dumps(answer).encode())) as backend:
        assert client(backend.url, signal).send(Body.of()) == 3
    assert "too old" in caplog.text


@pytest.mark.parametrize("body", [b"", b"\xff", b"<html>", b"[]", b'{"partialSuccess": 1}'])
def test_an_answer_that_is_none_is_success_all_the_same(body: bytes) -> None:
    with running_backend(Answer(body=body)) as backend:
        assert client(backend.url).send(Body.of()) == 0
