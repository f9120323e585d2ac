"""The agent's own metrics: where every request went."""

from collections.abc import Iterator, Mapping
from typing import Final

from otel_ebpf.model import Accounting
from otel_ebpf.protocols.registry import Metric

SEEN: Final = Metric("otel_ebpf.requests.seen", "{request}", "Requests seen: exported, dropped, or still on their way.")
EXPORTED: Final = Metric("otel_ebpf.spans.exported", "{span}", "Spans that the backend took.")
DROPPED: Final = Metric("otel_ebpf.spans.dropped", "{span}", "Requests without an exported span, by reason.")
RECORDS: Final = Metric("otel_ebpf.records", "{record}", "Records of the kernel's ring, by what became of them.")


def own_counters(accounting: Accounting) -> Iterator[tuple[Metric, Mapping[str, str], int]]:
    """(metric, attributes, value) of each counter."""
    yield SEEN, {}, accounting.seen
    yield EXPORTED, {}, accounting.exported
    for reason, count in accounting.dropped.items():
        yield DROPPED, {"reason": reason}, count
    for outcome, count in accounting.records.items():
        yield RECORDS, {"outcome": outcome}, count
