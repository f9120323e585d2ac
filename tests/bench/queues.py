"""What the queue on disk costs: the same requests through the senders in memory and on disk, to the sink.

Pairs one right after the other, encoded by the core beforehand; this process's CPU is all that is measured of it.
"""

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

from otel_ebpf.capture.session import encode_traces
from otel_ebpf.config.settings import OtlpTarget, Queue
from otel_ebpf.enrich.process import encode_resource
from otel_ebpf.export.body import Body
from otel_ebpf.export.otlp import OtlpClient
from otel_ebpf.export.queued import QueuedSender
from otel_ebpf.export.queues import Queues
from otel_ebpf.export.sender import Parcel, Sender
from otel_ebpf.export.transport import TRACES
from tests.bench import sink

_SPANS = 5000  # in a request: what the agent moves at once when there is much


@dataclass(slots=True)
class QueuePairs:
    """All rounds: spans a second, and microseconds of CPU per span, in memory and on disk."""

    spans: int = 0
    memory: list[float] = field(default_factory=list)
    disk: list[float] = field(default_factory=list)
    memory_us: list[float] = field(default_factory=list)
    disk_us: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Throughput on disk over that in memory: the median of the pairs."""
        return median(disk / memory for memory, disk in zip(self.memory, self.disk, strict=True))


def request() -> Body:
    """Spans with ten attributes and one resource."""
    attributes = [
        KeyValue(key=f"http.some.attribute.{number}", value=AnyValue(string_value=f"a value {number}"))
        for number in range(10)
    ]
    span = Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="GET /orders/{id}", kind=Span.SPAN_KIND_SERVER)
    span.start_time_unix_nano, span.end_time_unix_nano = 1_800_000_000_000_000_000, 1_800_000_000_100_000_000
    span.attributes.extend(attributes)
    encoded = ScopeSpans(spans=[span]).SerializeToString() * _SPANS
    resource = encode_resource({"service.name": "shop"}).encoded
    return Body(*encode_traces([(resource, encoded)], "bench", "1", ""))


def _deliver(sender: Sender | QueuedSender, body: Body, times: int) -> tuple[float, float]:
    """Spans a second, and microseconds of CPU for each."""
    began_s, cpu_s = time.perf_counter(), time.process_time()
    for _ in range(times):
        assert sender.await_room(60)
        sender.submit(Parcel(_SPANS, lambda: body))
    assert sender.drain(60)
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    sender.close(5)
    assert sender.delivery().exported == times * _SPANS
    return times * _SPANS / took_s, cpu_s * 1e6 / (times * _SPANS)


def rounds(count: int, seconds: float, say: Callable[[str], None]) -> QueuePairs:
    """Pairs, each of some seconds on a machine that moves a million spans a second."""
    say("the queue: in memory and on disk")
    body, found = request(), QueuePairs()
    times = max(2, int(seconds * 1_000_000 / _SPANS))
    # Not in memory, as /tmp may be.
    with tempfile.TemporaryDirectory(prefix="otel-ebpf-queue-", dir="/var/tmp") as temporary:
        folder = Path(temporary)
        with sink.running(sink.build(), folder / "sink") as drain:
            target = OtlpTarget(f"{drain.endpoint}/v1/traces")
            for number in range(count):
                hurry = threading.Event()
                memory = Sender("spans", OtlpClient(target, TRACES, hurry), hurry)
                per_second, each_us = _deliver(memory, body, times)
                found.memory.append(per_second)
                found.memory_us.append(each_us)
                queues = Queues(Queue(str(folder / f"queue-{number}")), ["traces"])
                queue = queues.get("traces")
                assert queue
                disk = QueuedSender("spans", OtlpClient(target, TRACES, hurry), hurry, queue)
                per_second, each_us = _deliver(disk, body, times)
                queues.close()
                found.disk.append(per_second)
                found.disk_us.append(each_us)
            found.spans = 2 * count * times * _SPANS
            assert drain.stats()["spans"] == found.spans
    return found
