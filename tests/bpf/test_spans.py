"""Spans on their way from the core's memory into a request, never copied in between."""

import gc
import io
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

from otel_ebpf._native import Session, SpanBatch, Spans, encode_traces
from tests.bpf import talk

# What is smaller is copied into what stands around it.
COPIED_BELOW_BYTES = 16 << 10


@pytest.fixture
def batches() -> Iterator[list[SpanBatch]]:
    """Two hundred spans in pieces of several sizes."""
    with Session(spans_per_second=0, ring_bytes=64 << 20) as session:
        talk.run("pipelined")
        session.flush()
        yield session.take_spans()


def count(spans: bytes) -> int:
    return len(ScopeSpans.FromString(spans).spans)


def test_they_are_read_as_a_buffer_and_never_written(batches: list[SpanBatch]) -> None:
    assert sum(batch.count for batch in batches) >= 200
    for batch in batches:
        view = memoryview(batch.spans)
        assert (view.readonly, view.format, view.ndim, view.nbytes) == (True, "B", 1, len(batch.spans))
        assert count(bytes(batch.spans)) == batch.count
        with pytest.raises(TypeError, match="read-write"):
            io.BytesIO(b"x").readinto(batch.spans)


def test_their_memory_stays_as_long_as_anybody_looks_at_it(batches: list[SpanBatch]) -> None:
    views = [memoryview(batch.spans)[:] for batch in batches]
    before = [bytes(view) for view in views]
    counts = [batch.count for batch in batches]
    batches.clear()
    gc.collect()
    with Session(spans_per_second=0, ring_bytes=64 << 20) as session:
        talk.run("pipelined")
        session.flush()
        session.take_spans()
    assert [bytes(view) for view in views] == before
    assert [count(spans) for spans in before] == counts


def test_the_parts_of_a_request_are_the_spans_themselves(batches: list[SpanBatch]) -> None:
    resources = [
        Resource(dropped_attributes_count=1 + number % 2).SerializeToString() for number in range(len(batches))
    ]
    pairs = [(resource, batch.spans) for resource, batch in zip(resources, batches, strict=True)]
    parts, length = encode_traces(pairs, "scope", "1", "https://schema")
    large = [batch.spans for batch in batches if len(batch.spans) >= COPIED_BELOW_BYTES]
    assert large
    passed = [part for part in parts if isinstance(part, Spans)]
    assert all(part is spans for part, spans in zip(passed, large, strict=True))

    whole = b"".join(parts)
    assert len(whole) == length
    request = ExportTraceServiceRequest.FromString(whole)
    got = [(each.resource.dropped_attributes_count, len(each.scope_spans[0].spans)) for each in request.resource_spans]
    assert got == [(1 + number % 2, batch.count) for number, batch in enumerate(batches)]


def test_spans_may_be_bytes_and_a_request_may_be_empty() -> None:
    spans = ScopeSpans(spans=[Span(name="x" * 300)] * 100).SerializeToString()
    parts, length = encode_traces([(b"", spans), (b"", b"")], "scope", "1", "")
    assert any(part is spans for part in parts)
    assert sum(map(len, parts)) == length
    assert encode_traces([], "scope", "1", "") == ([], 0)
