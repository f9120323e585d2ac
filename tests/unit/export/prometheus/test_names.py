"""Names by OpenTelemetry's rules for Prometheus."""

import pytest

from otel_ebpf.export.prometheus.names import label_name, metric_name, unit_name
from otel_ebpf.protocols.registry import AREAS, PROTOCOLS, Metric


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("s", "seconds"),
        ("By", "bytes"),
        ("ms", "milliseconds"),
        ("{request}", ""),
        ("1", ""),
        ("%", "percent"),
        ("By/s", "bytes_per_second"),
        ("{packet}/s", "per_second"),
        ("m/s", "meters_per_second"),
        ("Mibit", "Mibit"),
        ("", ""),
    ],
)
def test_units(unit: str, name: str) -> None:
    assert unit_name(unit) == name


@pytest.mark.parametrize(
    ("name", "unit", "kind", "expected"),
    [
        ("http.server.request.duration", "s", "histogram", "http_server_request_duration_seconds"),
        ("http.server.request.body.size", "By", "histogram", "http_server_request_body_size_bytes"),
        ("http.server.active_requests", "{request}", "gauge", "http_server_active_requests"),
        ("otel_ebpf.requests.seen", "{request}", "counter", "otel_ebpf_requests_seen"),
        ("cache.hits_total", "", "counter", "cache_hits"),
        ("cpu.seconds", "s", "counter", "cpu_seconds"),
        ("cpu.utilization", "1", "gauge", "cpu_utilization_ratio"),
        ("1st.thing", "", "gauge", "_1st_thing"),
        ("a..b--c", "", "gauge", "a_b_c"),
    ],
)
def test_metrics(name: str, unit: str, kind: str, expected: str) -> None:
    assert metric_name(name, unit, kind) == expected


def test_labels() -> None:
    assert label_name("http.request.method") == "http_request_method"
    assert label_name("0day") == "key_0day"
    assert label_name("_a") == "_a"
    assert label_name("é.x") == "_x"


def test_no_two_metrics_become_one() -> None:
    every = {
        metric
        for metrics in (*(protocol.metrics for protocol in PROTOCOLS.values()), *AREAS.values())
        for side in metrics.values()
        for field in ("duration", "request_size", "response_size", "active", "process", "sent", "consumed")
        if isinstance(metric := getattr(side, field), Metric)
    }
    assert len({metric_name(metric.name, metric.unit, "histogram") for metric in every}) == len(
        {metric.name for metric in every}
    )
