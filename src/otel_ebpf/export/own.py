"""The agent's own metrics: where every request went, what waits in the queues, and what all of it costs.

They are made here and not by the SDK's instruments: docs/adr/0013-own-metrics-without-the-sdk.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from otel_ebpf.export.sender import Delivery
from otel_ebpf.model import Accounting
from otel_ebpf.protocols.registry import Metric

SEEN: Final = Metric("otel_ebpf.requests.seen", "{request}", "Requests seen: exported, dropped, or still on their way.")
EXPORTED: Final = Metric("otel_ebpf.spans.exported", "{span}", "Spans that the backend took.")
DROPPED: Final = Metric("otel_ebpf.spans.dropped", "{span}", "Requests without an exported span, by reason.")
RECORDS: Final = Metric("otel_ebpf.records", "{record}", "Records of the kernel's ring, by what became of them.")
SERIES_EXPORTED: Final = Metric("otel_ebpf.series.exported", "{series}", "Readings of series that the backend took.")
SERIES_DROPPED: Final = Metric("otel_ebpf.series.dropped", "{series}", "Readings of series that were lost, by reason.")
RECOVERED: Final = Metric("otel_ebpf.queue.recovered", "{item}", "Spans or series that earlier runs left on disk.")
WRITE_ERRORS: Final = Metric("otel_ebpf.queue.write_errors", "{error}", "Times that the disk would take no more.")
QUEUE_ITEMS: Final = Metric("otel_ebpf.queue.items", "{item}", "Spans or series that wait for the backend on disk.")
QUEUE_BYTES: Final = Metric("otel_ebpf.queue.size", "By", "Size of the files in which they wait.")

# By the names of the conventions for processes: the agent's resource says which process.
CPU_TIME: Final = Metric("process.cpu.time", "s", "CPU seconds of the agent, by cpu.mode.")
MEMORY_USAGE: Final = Metric("process.memory.usage", "By", "Physical memory that the agent uses.")
PROGRAM_TIME: Final = Metric("otel_ebpf.bpf.program.run_time", "s", "CPU seconds in each BPF program, by bpf_stats.")
PROGRAM_RUNS: Final = Metric("otel_ebpf.bpf.program.runs", "{run}", "Runs of each BPF program, by bpf_stats.")
PROGRAM_MISSED: Final = Metric(
    "otel_ebpf.bpf.program.missed", "{run}", "Runs that the kernel left out, as the program was running already."
)
MAP_MEMORY: Final = Metric("otel_ebpf.bpf.map.memory", "By", "Kernel memory of each BPF map.")
LATENCY: Final = Metric(
    "otel_ebpf.export.latency",
    "s",
    "From a request's end to its span's arrival at the backend.",
    (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 300.0, 3600.0),
)
# By the Collector's names, so that what watches Collectors watches agents. Its queue can be counted in bytes, too.
SENT_SPANS: Final = Metric("otelcol_exporter_sent_spans", "{spans}", "Spans that the backend took.")
SEND_FAILED_SPANS: Final = Metric(
    "otelcol_exporter_send_failed_spans", "{spans}", "Spans that were given up: rejected, failed, or left at the end."
)
ENQUEUE_FAILED_SPANS: Final = Metric(
    "otelcol_exporter_enqueue_failed_spans", "{spans}", "Spans for which the queue had no room, or no more."
)
ALSO_SENT: Final = Metric(
    "otel_ebpf.exporter.sent", "{item}", "Spans or series that an exporter beside the first one took."
)
ALSO_DROPPED: Final = Metric(
    "otel_ebpf.exporter.dropped", "{item}", "Spans or series that an exporter beside the first one lost, by reason."
)
QUEUE_SIZE: Final = Metric("otelcol_exporter_queue_size", "By", "Bytes of spans that wait for the backend.")
QUEUE_CAPACITY: Final = Metric("otelcol_exporter_queue_capacity", "By", "Bytes of spans that may wait.")

_SEND_FAILED: Final = frozenset({"export_failed", "rejected", "shutdown"})
_TRACES: Final = {"data_type": "traces"}

Value = tuple[Metric, Mapping[str, str], int | float]
"""(metric, attributes, value)"""


@dataclass(frozen=True, slots=True)
class Distribution:
    """Cumulative: one point of a histogram whose bounds are the metric's."""

    metric: Metric
    attributes: Mapping[str, str]
    count: int
    sum: float
    buckets: Sequence[int]


@dataclass(frozen=True, slots=True)
class Own:
    """What the agent has to say of itself: what only grows, what also falls, and what is spread out."""

    counters: Sequence[Value] = ()
    levels: Sequence[Value] = ()
    distributions: Sequence[Distribution] = ()


@dataclass(frozen=True, slots=True)
class SpanQueue:
    """Bytes that wait, and that may wait: on disk if the queue is there, else in the core's memory."""

    size_bytes: int
    capacity_bytes: int


def exporter_counters(accounting: Accounting, exporter: str) -> Iterator[Value]:
    """The books of spans in the Collector's shape."""
    dropped = accounting.dropped.items()
    of = {"exporter": exporter, **_TRACES}
    yield SENT_SPANS, of, accounting.exported
    yield SEND_FAILED_SPANS, of, sum(count for reason, count in dropped if reason in _SEND_FAILED)
    yield ENQUEUE_FAILED_SPANS, of, sum(count for reason, count in dropped if reason.startswith("queue_"))


def exporter_levels(queue: SpanQueue, exporter: str) -> Iterator[Value]:
    """The queue of spans in the Collector's shape."""
    of = {"exporter": exporter, **_TRACES}
    yield QUEUE_SIZE, of, queue.size_bytes
    yield QUEUE_CAPACITY, of, queue.capacity_bytes


def own_counters(accounting: Accounting, spans: Delivery | None, series: Delivery) -> Iterator[Value]:
    """What only grows."""
    yield SEEN, {}, accounting.seen
    yield EXPORTED, {}, accounting.exported
    for reason, count in accounting.dropped.items():
        yield DROPPED, {"reason": reason}, count
    for outcome, count in accounting.records.items():
        yield RECORDS, {"outcome": outcome}, count
    yield SERIES_EXPORTED, {}, series.exported
    for reason, count in series.dropped.items():
        yield SERIES_DROPPED, {"reason": reason}, count
    for signal, delivery in _by_signal(spans, series):
        yield RECOVERED, {"signal": signal}, delivery.recovered
        yield WRITE_ERRORS, {"signal": signal}, delivery.write_errors


def own_levels(spans: Delivery | None, series: Delivery) -> Iterator[Value]:
    """What goes up and down."""
    for signal, delivery in _by_signal(spans, series):
        yield QUEUE_ITEMS, {"signal": signal}, delivery.kept
        yield QUEUE_BYTES, {"signal": signal}, delivery.kept_bytes


def _by_signal(spans: Delivery | None, series: Delivery) -> Iterator[tuple[str, Delivery]]:
    if spans and spans.on_disk:
        yield "traces", spans
    if series.on_disk:
        yield "metrics", series
