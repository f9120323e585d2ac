"""docs/metrics.md names every metric that there is."""

from pathlib import Path

import pytest

from otel_ebpf.protocols.registry import AREAS, PROTOCOLS, Metric

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
EVERY = {
    metric
    for metrics in (*(protocol.metrics for protocol in PROTOCOLS.values()), *AREAS.values())
    for side in metrics.values()
    for name in type(side).__slots__
    if isinstance(metric := getattr(side, name), Metric)
}


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.name)
def test_the_page_names_it_with_its_unit(metric: Metric) -> None:
    rows = [row for row in PAGE.splitlines() if f"`{metric.name}`" in row and row.startswith("|")]
    assert rows
    assert any(f"{kind}, {metric.unit} |" in rows[0] for kind in ("histogram", "counter", "up-down counter"))
