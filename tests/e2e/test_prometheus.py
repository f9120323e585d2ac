"""Prometheus itself scrapes the agent: what it stores is what the server logged."""

import math
import time
import urllib.request

import pytest

from tests.e2e.conftest import RunAgent, Serve
from tests.e2e.expect import await_log
from tests.testbed import clients
from tests.testbed.clients import Ask
from tests.testbed.process import eventually, free_port
from tests.testbed.prometheus import prometheus
from tests.testbed.servers import Server

SERVED = "http_server_request_duration_seconds"


@pytest.fixture
def web(serve: Serve) -> Server:
    """A server of one process."""
    return serve("go")


def environment(port: int, exporters: str = "otlp,prometheus") -> dict[str, str]:
    return {
        "OTEL_METRICS_EXPORTER": exporters,
        "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
    }


def test_prometheus_counts_what_the_collector_and_the_server_count(run_agent: RunAgent, web: Server, tag: str) -> None:
    port = free_port()
    with (
        run_agent(env=environment(port)) as agent,
        prometheus(port, "exemplar-storage") as prom,
    ):
        plan = [Ask("GET", f"/hello?t={tag}")] * 30 + [Ask("GET", f"/status/404?t={tag}")] * 7
        done = clients.curl(web, plan)
        await_log(web, tag, len(plan))
        agent.settle_metrics()
        [pid] = web.pids
        mine = f'{{process_pid="{pid}"}}'

        def counted(expression: str) -> float:
            return float(sum(value for _, value in prom.query(expression)))

        eventually(lambda: counted(f"{SERVED}_count{mine}") == len(plan), "Prometheus has them all", 20)
        assert prom.target()["health"] == "up"
        assert prom.target()["lastError"] == ""
        assert {row["http_response_status_code"]: value for row, value in prom.query(f"{SERVED}_count{mine}")} == {
            "200": 30,
            "404": 7,
        }
        assert counted(f'{SERVED}_bucket{{process_pid="{pid}",le="+Inf"}}') == len(plan)
        sent = agent.points("http.server.request.duration", web.pids)
        assert counted(f"{SERVED}_sum{mine}") == pytest.approx(sum(point.value for point in sent))
        assert counted(f"http_server_active_requests{mine}") == 0
        # The client has ended; its series are there for who comes late.
        asked = f'http_client_request_duration_seconds_count{{process_pid="{done.pid}"}}'
        eventually(lambda: counted(asked) == len(plan), "Prometheus has the client's, too", 20)

        [(labels, _)] = prom.query(f'target_info{{process_pid="{pid}"}}')
        point = sent[0]
        assert labels["job"] == point.resource["service.name"]
        assert labels["instance"] == point.resource["service.instance.id"]
        assert labels["host_name"] == point.resource["host.name"]
        joined = f"{SERVED}_count{mine} * on(job, instance) group_left(process_executable_name) target_info"
        assert {row["process_executable_name"] for row, _ in prom.query(joined)} == {
            point.resource["process.executable.name"]
        }
        metadata = prom.metadata()
        assert (metadata[SERVED]["type"], metadata[SERVED]["unit"]) == ("histogram", "seconds")
        assert counted("otel_ebpf_requests_seen_total") >= 2 * len(plan)

        spans = {(span.trace_id, span.span_id): span for span in agent.spans(web.pids, tag=tag)}
        exemplars = eventually(lambda: prom.exemplars(f"{SERVED}_bucket{mine}"), "there are exemplars")
        for one in exemplars:
            span = spans[one["labels"]["trace_id"], one["labels"]["span_id"]]
            assert span.duration_s == pytest.approx(float(one["value"]))


def test_native_histograms_for_who_asks(run_agent: RunAgent, web: Server, tag: str) -> None:
    port = free_port()
    with (
        run_agent(env=environment(port)) as agent,
        prometheus(port, "native-histograms", "exemplar-storage") as prom,
    ):
        clients.curl(web, [Ask("GET", f"/sleep/{ms}?t={tag}") for ms in (1, 20, 60) for _ in range(10)])
        agent.settle()
        [pid] = web.pids
        eventually(
            lambda: sum(v for _, v in prom.query(f'histogram_count({SERVED}{{process_pid="{pid}"}})')) == 30,
            "Prometheus has a native histogram",
            20,
        )
        assert prom.target()["lastError"] == ""
        [(_, native)] = prom.query(f'{SERVED}{{process_pid="{pid}"}}')
        assert sum(float(count) for _, _, _, count in native["buckets"]) == 30
        spans = sorted(span.duration_s for span in agent.spans(web.pids, tag=tag))
        assert float(native["sum"]) == pytest.approx(sum(spans))
        for _, low, high, count in native["buckets"]:
            within = sum(float(low) < duration <= float(high) for duration in spans)
            assert within == float(count), (low, high)
        [(_, median)] = prom.query(f'histogram_quantile(0.5, {SERVED}{{process_pid="{pid}"}})')
        assert spans[14] / 1.02 < median < spans[15] * 1.02
        assert not math.isnan(median)


def test_scrapes_alone_without_a_backend(run_agent: RunAgent, web: Server, tag: str) -> None:
    port = free_port()
    env = {**environment(port, "prometheus"), "OTEL_TRACES_EXPORTER": "none"}
    with run_agent("--port", str(web.port), env=env) as agent:
        clients.curl(web, [Ask("GET", f"/hello?t={tag}")] * 5)
        url = f"http://127.0.0.1:{port}/metrics"

        def count() -> float:
            with urllib.request.urlopen(url, timeout=10) as response:
                text = response.read().decode()
            rows = (line for line in text.splitlines() if line.startswith(f"{SERVED}_count"))
            return sum(float(row.rpartition(" ")[2]) for row in rows)

        eventually(lambda: count() == 5, "the scrape has them", 10)
        assert agent.telemetry.refresh().spans == []
        assert agent.points("http.server.request.duration") == []
        began_s = time.monotonic()
        count()
        assert time.monotonic() - began_s < 2
        assert agent.end() == 0
