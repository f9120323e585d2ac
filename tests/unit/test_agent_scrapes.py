"""Scrapes of an agent over a core that hands out what it is given."""

import os
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from operator import contains
from typing import Any

import pytest
from tests.testbed.process import eventually, free_port
from tests.unit.backend import running_backend
from tests.unit.fakes import Active, Calls, FakeCore, Process, Series
from tests.unit.test_agent import running, sending_to

from otel_ebpf.agent import scrapes
from otel_ebpf.config.settings import Metrics, Prometheus, Settings
from otel_ebpf.export.prometheus.endpoint import Endpoint

SETTINGS = Settings(metrics=Metrics(prometheus=Prometheus()))
COUNT = "http_server_request_duration_seconds_count"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint(Prometheus("127.0.0.1", free_port()))
    yield made
    made.close()


def scrape(endpoint: Endpoint) -> dict[str, list[str]]:
    """The lines of samples, by name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/metrics", timeout=10) as response:
        text = response.read().decode()
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            rows.setdefault(line.partition("{")[0], []).append(line)
    return rows


def value(rows: list[str]) -> float:
    return sum(float(row.rpartition(" ")[2]) for row in rows)


def test_a_scrape_has_what_a_backend_would_have(endpoint: Endpoint) -> None:
    core = FakeCore(processes=[Process(1, os.getpid())], series=[Series(1)], active=[Active()], dropped={"disabled": 3})
    core.calls = [Calls()]
    with running(core, SETTINGS, endpoint=endpoint):
        rows = scrape(endpoint)
    assert value(rows[COUNT]) == 1
    assert f'process_pid="{os.getpid()}"' in rows[COUNT][0]
    assert value(rows["http_server_active_requests"]) == 3
    assert value(rows["db_client_operation_duration_seconds_count"]) == 1
    assert value(rows["otel_ebpf_requests_seen_total"]) == 3
    assert 'reason="disabled"' in rows["otel_ebpf_spans_dropped_total"][0]
    assert value(rows["otel_ebpf_scrape_omitted"]) == 0
    assert len(rows["target_info"]) == 2


def test_delta_for_the_backend_changes_nothing_for_a_scrape(endpoint: Endpoint) -> None:
    with running_backend() as backend:
        core = FakeCore(processes=[Process(1, os.getpid())], series=[Series(1)])
        delta = sending_to(backend, OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta")
        with running(core, delta, endpoint=endpoint) as run:
            eventually(lambda: run.agent._metrics.sender and run.agent._metrics.sender.delivery().exported, "arrived")
            assert value(scrape(endpoint)[COUNT]) == 1
            assert value(scrape(endpoint)[COUNT]) == 1


def test_ended_processes_stay_for_a_while(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_ebpf.agent.agent._READ_EVERY_S", 0.05)
    monkeypatch.setattr("otel_ebpf.agent.watch._LINGER_S", 0.05)
    monkeypatch.setattr(scrapes, "_ENDED_S", 2.0)
    core = FakeCore(processes=[Process(1, 0, comm="curl")], series=[Series(1)])
    with running(core, SETTINGS, endpoint=endpoint) as run:
        eventually(lambda: run.agent._metrics.totals._live, "its series are read")
        core.series = []
        core.exits = [1]
        ended_s = time.monotonic()
        eventually(lambda: not run.agent._watch.infos, "it is forgotten")
        assert 'job="curl"' in scrape(endpoint)[COUNT][0]
        assert 'job="curl"' in scrape(endpoint)[COUNT][0], "for the next Prometheus too"
        eventually(lambda: COUNT not in scrape(endpoint), "it is gone")
        assert time.monotonic() - ended_s >= 1.9


def test_an_answer_is_bounded_and_says_what_it_lacks(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_ebpf.agent.agent._READ_EVERY_S", 0.05)
    monkeypatch.setattr(scrapes, "_MAX_SERIES", 3)

    def of(key: int, count: int) -> list[Any]:
        return [Series(key, route=f"/{number}") for number in range(count)]

    core = FakeCore(processes=[Process(key, 0, comm=f"p{key}") for key in (1, 2, 3)], series=of(1, 2))
    with running(core, SETTINGS, endpoint=endpoint) as run:
        for key in (1, 2):
            core.series = of(key, 2)
            eventually(partial(contains, run.agent._metrics.totals._live, key), "its series are read")
            core.series = []
            core.exits = [key]
            eventually(lambda: not run.agent._metrics.totals._live, "it ended")
        # No more than three of ended ones are kept: the oldest went.
        kept = scrape(endpoint)[COUNT]
        assert [('job="p2"' in row) for row in kept] == [True, True]
        core.series = of(3, 2)
        rows = scrape(endpoint)
        assert [('job="p3"' in row) for row in rows[COUNT]] == [True, True], "the living go first"
        assert value(rows["otel_ebpf_scrape_omitted"]) == 2
        core.series = of(3, 5)
        rows = scrape(endpoint)
        assert len(rows[COUNT]) == 3
        assert value(rows["otel_ebpf_scrape_omitted"]) == 4
