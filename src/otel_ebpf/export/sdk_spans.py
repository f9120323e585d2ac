"""Encoded spans as the SDK's ReadableSpan, for its exporters."""

from collections.abc import Iterator
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otel_ebpf.export import sdk_values
from otel_ebpf.export.body import Body
from otel_ebpf.export.sdk import refuse_unless, whole

# Span.flags: whether the parent's being remote is known, and whether it is (opentelemetry-proto, SpanFlags).
_HAS_IS_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200
_TRACE_FLAGS: Final = 0xFF
_KINDS: Final = {
    SpanMessage.SPAN_KIND_SERVER: SpanKind.SERVER,
    SpanMessage.SPAN_KIND_CLIENT: SpanKind.CLIENT,
    SpanMessage.SPAN_KIND_PRODUCER: SpanKind.PRODUCER,
    SpanMessage.SPAN_KIND_CONSUMER: SpanKind.CONSUMER,
}


class SpanClient:
    """Hands spans to one of the SDK's exporters."""

    def __init__(self, name: str, exporter: SpanExporter) -> None:
        self._name = name
        self._exporter = exporter

    def send(self, body: Body) -> int:
        """As clients do; an exporter takes all or nothing."""
        spans = list(readable_spans(ExportTraceServiceRequest.FromString(whole(body))))
        refuse_unless(self._exporter.export(spans) is SpanExportResult.SUCCESS, self._name)
        return 0

    def close(self) -> None:
        """Ends the exporter, which may have something left to send."""
        self._exporter.force_flush()
        self._exporter.shutdown()


def readable_spans(request: ExportTraceServiceRequest) -> Iterator[ReadableSpan]:
    """All spans of a request."""
    for of_resource in request.resource_spans:
        resource = sdk_values.resource(of_resource.resource, of_resource.schema_url)
        for of_scope in of_resource.scope_spans:
            scope = sdk_values.scope(of_scope.scope, of_scope.schema_url)
            for span in of_scope.spans:
                yield _readable(span, resource, scope)


def _readable(span: SpanMessage, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
    parent = None
    if span.parent_span_id:
        parent = _context(span.trace_id, span.parent_span_id, span.flags, span.trace_state)
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id, span.flags & _TRACE_FLAGS, span.trace_state),
        parent=parent,
        resource=resource,
        attributes=sdk_values.attributes(span.attributes),
        events=[
            Event(event.name, sdk_values.attributes(event.attributes), event.time_unix_nano) for event in span.events
        ],
        links=[
            Link(
                _context(link.trace_id, link.span_id, link.flags, link.trace_state),
                sdk_values.attributes(link.attributes),
            )
            for link in span.links
        ],
        kind=_KINDS.get(span.kind, SpanKind.INTERNAL),
        status=Status(StatusCode(span.status.code), span.status.message or None),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
        instrumentation_scope=scope,
    )


def _context(trace_id: bytes, span_id: bytes, flags: int, trace_state: str) -> SpanContext:
    return SpanContext(
        int.from_bytes(trace_id, "big"),
        int.from_bytes(span_id, "big"),
        is_remote=bool(flags & _HAS_IS_REMOTE and flags & _IS_REMOTE),
        trace_flags=TraceFlags(flags & _TRACE_FLAGS),
        trace_state=TraceState.from_header([trace_state] if trace_state else []),
    )
