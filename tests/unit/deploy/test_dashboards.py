"""Dashboards and alerts ask for metrics and attributes that are really sent, in PromQL that Prometheus understands.

Names by the specification's "Prometheus and OpenMetrics compatibility": dots become underscores, the unit and, for what
only grows, `total` are appended.
"""

import json
import pkgutil
import re
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.semconv._incubating import attributes
from tests.testbed import cache

from otel_ebpf.agent import kubernetes
from otel_ebpf.export import own
from otel_ebpf.protocols.registry import AREAS, PROTOCOLS, Metric

DEPLOY = Path(__file__).parents[3] / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana").glob("*.json"))
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
_UNITS = {"s": "_seconds", "By": "_bytes"}
# Not of the conventions: ours, and Prometheus's own.
_LABELS = {
    "le",
    "reason",
    "signal",
    "exporter",
    "data_type",
    "outcome",
    "bpf_map_name",
    "bpf_map_type",
    "bpf_program_name",
}
# Of what goes up and down: up-down counters and gauges.
_LEVELS = {
    own.QUEUE_ITEMS,
    own.QUEUE_BYTES,
    own.MEMORY_USAGE,
    own.MAP_MEMORY,
    own.QUEUE_SIZE,
    own.QUEUE_CAPACITY,
}


def sent() -> Iterator[tuple[Metric, bool]]:
    """Every metric that the agent sends, and whether it only grows."""
    for module in (own, kubernetes):
        for metric in vars(module).values():
            if isinstance(metric, Metric):
                yield metric, metric not in _LEVELS
    sides = [side for protocol in PROTOCOLS.values() for side in protocol.metrics.values()]
    for of in [*sides, *(side for area in AREAS.values() for side in area.values())]:
        for name in of.__slots__:
            if metric := getattr(of, name):
                yield metric, name != "active"


def in_prometheus(metric: Metric, *, grows: bool) -> set[str]:
    """Its series there."""
    name = re.sub(r"[^a-zA-Z0-9_:]", "_", metric.name) + _UNITS.get(metric.unit, "")
    if metric.bounds:
        return {f"{name}_{part}" for part in ("bucket", "sum", "count")}
    return {f"{name}_total"} if grows else {name}


def expressions(path: Path) -> list[str]:
    """PromQL of a dashboard or of the alerts, with variables and intervals filled in."""
    if path == ALERTS:
        return [rule["expr"] for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    dashboard = json.loads(path.read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            [selector] = re.findall(r"^label_values\((.*), \w+\)$", variable["query"]["query"])
            found.append(selector)
    return [re.sub(r"\$\w+", "x", one.replace("$__rate_interval", "5m")) for one in found]


def names_in(expression: str) -> tuple[set[str], set[str]]:
    """Metrics and labels."""
    text = re.sub(r'"[^"]*"', '""', expression)
    labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", text))
    for group in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", text):
        labels |= set(re.findall(r"\w+", group))
    text = re.sub(r"\b(?:by|without|on|ignoring)\s*\([^)]*\)|\{[^}]*\}|\[[^\]]*\]", " ", text)
    metrics = set(re.findall(r"\b([a-z_:][a-z0-9_:]*)\b(?!\s*\()", text)) - {"and", "or", "unless", "e6"}
    return metrics, labels


SENT = {name for metric, grows in sent() for name in in_prometheus(metric, grows=grows)}


def published() -> set[str]:
    """Attributes that the conventions have."""
    modules = [import_module(f"{attributes.__name__}.{one.name}") for one in pkgutil.iter_modules(attributes.__path__)]
    values = [value for module in modules for name, value in vars(module).items() if name.isupper()]
    return {value.replace(".", "_") for value in values if isinstance(value, str)}


def test_names_are_translated_as_prometheus_does() -> None:
    assert {
        "http_server_request_duration_seconds_bucket",
        "http_server_active_requests",
        "otel_ebpf_queue_size_bytes",
        "otel_ebpf_spans_dropped_total",
        "process_cpu_time_seconds_total",
        "otelcol_exporter_sent_spans_total",
    } <= SENT


@pytest.mark.parametrize("path", [*DASHBOARDS, ALERTS], ids=lambda path: path.name)
def test_what_is_asked_for_is_sent(path: Path) -> None:
    asked = [names_in(one) for one in expressions(path)]
    metrics = set().union(*(metrics for metrics, _ in asked))
    labels = set().union(*(labels for _, labels in asked))
    assert metrics
    assert metrics - SENT == set()
    assert labels - published() - _LABELS == set()


@pytest.mark.parametrize("path", [*DASHBOARDS, ALERTS], ids=lambda path: path.name)
def test_prometheus_understands_it(path: Path, tmp_path: Path) -> None:
    rules: Any = [{"record": f"x:{number}", "expr": one} for number, one in enumerate(expressions(path))]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    for checked in [file, *([ALERTS] if path == ALERTS else [])]:
        command = [cache.tool("promtool", "prometheus"), "check", "rules", str(checked)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stdout + done.stderr


def test_dashboards_are_told_apart_and_fit_the_screen() -> None:
    dashboards = [json.loads(path.read_text()) for path in DASHBOARDS]
    assert len(dashboards) == 4
    assert len({dashboard["uid"] for dashboard in dashboards}) == 4
    for dashboard in dashboards:
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            assert panel["type"] == "row" or panel["targets"]
