"""The agent's own metrics: where every request went, and what waits in the queues on disk."""

from collections.abc import Iterator, Mapping
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

Value = tuple[Metric, Mapping[str, str], int]
"""(metric, attributes, value)"""


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
