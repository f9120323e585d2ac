"""What the agent says of itself: costs, its exporter in the Collector's shape, latency."""

import os
import time
from pathlib import Path

from tests.testbed.process import eventually
from tests.unit.backend import Answer, Backend, running_backend, text_attributes
from tests.unit.fakes import FakeCore, Process, spans_of
from tests.unit.test_agent import running, sending_to

from otel_ebpf.config.settings import Queue
from otel_ebpf.export.queues import Queues


def values(backend: Backend, name: str) -> dict[str, float]:
    """Newest values of one of the agent's sums, by their attributes' values."""
    return {
        ",".join(map(str, text_attributes(point).values())): point.as_int or point.as_double
        for point in backend.metrics()["otel-ebpf", name].sum.data_points
    }


def test_processor_time_and_memory_are_the_processs_own() -> None:
    with running_backend() as backend:
        with running(FakeCore(), sending_to(backend)):
            eventually(lambda: ("otel-ebpf", "process.cpu.time") in backend.metrics(), "the agent's metrics arrive")
        cpu = values(backend, "process.cpu.time")
        assert set(cpu) == {"user", "system"}
        assert 0 < sum(cpu.values()) <= time.process_time()
        metric = backend.metrics()["otel-ebpf", "process.cpu.time"]
        assert (metric.unit, metric.sum.is_monotonic) == ("s", True)
        [memory] = values(backend, "process.memory.usage").values()
        resident_kb = int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0])
        assert 0.5 < memory / 1024 / resident_kb < 2


def test_the_exporter_has_the_collectors_shape() -> None:
    with running_backend(Answer(400)) as backend:
        core = FakeCore(
            processes=[Process(1, os.getpid())], spans=[spans_of(1, "a", "b")], dropped={"queue_full": 3, "budget": 7}
        )
        with running(core, sending_to(backend, OTEL_METRIC_EXPORT_INTERVAL="60000")):
            eventually(lambda: backend.received, "the first request is refused")
            core.spans.append(spans_of(1, "c"))
            eventually(lambda: len(backend.span_names()) == 3, "the next one arrives")
        by = "otlp,traces"
        assert values(backend, "otelcol_exporter_sent_spans") == {by: 1}
        assert values(backend, "otelcol_exporter_send_failed_spans") == {by: 2}
        assert values(backend, "otelcol_exporter_enqueue_failed_spans") == {by: 3}
        assert values(backend, "otelcol_exporter_queue_size") == {by: 0}
        assert values(backend, "otelcol_exporter_queue_capacity") == {by: 16 << 20}
        [latency] = backend.metrics()["otel-ebpf", "otel_ebpf.export.latency"].histogram.data_points
        assert (latency.count, text_attributes(latency)) == (1, {"signal": "traces"})
        assert latency.start_time_unix_nano < latency.time_unix_nano <= time.time_ns()


def test_a_queue_on_disk_is_the_one_that_is_told_of(tmp_path: Path) -> None:
    with running_backend(*[Answer(503)] * 100) as backend:
        core = FakeCore(processes=[Process(1, os.getpid())], spans=[spans_of(1, *["GET"] * 100)])
        queues = Queues(Queue(str(tmp_path), max_bytes=8 << 20), ["traces"])
        with running(core, sending_to(backend, OTEL_EBPF_QUEUE_MAX_BYTES=str(8 << 20)), queues=queues):
            eventually(lambda: backend.received, "the backend is tried")
            backend.answers.clear()
        [size] = values(backend, "otelcol_exporter_queue_size").values()
        [capacity] = values(backend, "otelcol_exporter_queue_capacity").values()
        assert (size > 0, capacity) == (True, 8 << 20)
