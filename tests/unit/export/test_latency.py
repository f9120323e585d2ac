"""How long spans took to their backend, in memory and on disk, is what the agent's own histogram says."""

import os
import threading
import time
from pathlib import Path

from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span
from tests.testbed.process import eventually
from tests.unit.backend import Answer, running_backend

from otel_ebpf.capture.session import encode_traces, export_delays
from otel_ebpf.config.settings import OtlpTarget, Queue
from otel_ebpf.enrich.process import encode_resource
from otel_ebpf.export.body import Body
from otel_ebpf.export.latency import Latency, Timed
from otel_ebpf.export.otlp import OtlpClient, RetryPolicy
from otel_ebpf.export.own import LATENCY, Distribution
from otel_ebpf.export.queued import QueuedSender
from otel_ebpf.export.queues import Queues
from otel_ebpf.export.sender import Parcel, Sender
from otel_ebpf.export.transport import TRACES


def request(*ages_s: float, name: str = "GET") -> Body:
    """As the core makes them: spans that ended so many seconds ago."""
    now = time.time_ns()
    spans = [Span(name=name, trace_id=os.urandom(16), end_time_unix_nano=now - int(age * 1e9)) for age in ages_s]
    resource = encode_resource({"service.name": "shop"}).encoded
    return Body(*encode_traces([(resource, ScopeSpans(spans=spans).SerializeToString())], "otel-ebpf", "1", ""))


def by_bound(found: Distribution) -> dict[float, int]:
    bounds = (*LATENCY.bounds, float("inf"))
    return {bound: count for bound, count in zip(bounds, found.buckets, strict=True) if count}


def test_each_span_is_counted_once_its_request_has_arrived() -> None:
    with running_backend(Answer(503), Answer(503)) as backend:
        latency, hurry = Latency(export_delays), threading.Event()
        client = OtlpClient(OtlpTarget(backend.url + "/v1/traces"), TRACES, hurry, RetryPolicy(0.2, give_up_s=5))
        sender = Sender("spans", Timed(client, latency), hurry)
        sender.submit(Parcel(3, lambda: request(1.2, 20, 7200)))
        assert sender.drain(10)
        sender.close(5)
    found = latency.read()
    assert by_bound(found) == {2.5: 1, 30: 1, float("inf"): 1}
    # The two pauses that the backend caused are in it: of 0.1 s and 0.15 s at least.
    assert 7221.2 + 3 * 0.25 <= found.sum < 7225


def test_what_the_backend_did_not_take_is_not_counted() -> None:
    with running_backend(Answer(400)) as backend:
        latency, hurry = Latency(export_delays), threading.Event()
        sender = Sender(
            "spans", Timed(OtlpClient(OtlpTarget(backend.url + "/v1/traces"), TRACES, hurry), latency), hurry
        )
        sender.submit(Parcel(1, lambda: request(1)))
        assert sender.drain(10)
        sender.close(5)
        assert sender.delivery().dropped == {"export_failed": 1}
    assert latency.read().count == 0


def test_time_on_disk_counts(tmp_path: Path) -> None:
    with running_backend() as backend:
        target, hurry = OtlpTarget(backend.url + "/v1/traces"), threading.Event()
        queues, latency = Queues(Queue(str(tmp_path)), ["traces"]), Latency(export_delays)
        queue = queues.get("traces")
        assert queue
        sender = QueuedSender("spans", Timed(OtlpClient(target, TRACES, hurry), latency), hurry, queue)
        # Enough of them for the core to hand them out in parts.
        body = request(*[40.0] * 2000, name="GET /orders/{id}")
        sender.submit(Parcel(2000, lambda: body))
        eventually(lambda: latency.read().count == 2000, "all are counted", 10)
        sender.close(5)
        queues.close()
    assert by_bound(latency.read()) == {60: 2000}
