"""deploy/collector: each configuration is valid, and a real agent's spans come through all of it."""

import http.client
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import Serve
from tests.testbed import agent as agents
from tests.testbed import collector as collectors
from tests.testbed import kafka, pipeline
from tests.testbed.collector import Collector, pipeline_path
from tests.testbed.pipeline import Tier
from tests.testbed.process import eventually
from tests.testbed.servers import Server
from tests.testbed.telemetry import CLIENT, SERVER
from tests.unit.deploy.test_dashboards import SENT

ALL = [["agent"], ["gateway"], ["agent", "agent-kafka"], ["gateway", "gateway-kafka"]]


def validate(arguments: list[str | Path]) -> subprocess.CompletedProcess[str]:
    command = [pipeline_path(), "validate", *arguments]
    env = {**os.environ, **pipeline.NODE}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def test_all_of_them_are_tried() -> None:
    assert {name for names in ALL for name in names} == {path.stem for path in pipeline.FOLDER.glob("*.yaml")}


@pytest.mark.parametrize("names", ALL, ids="+".join)
def test_the_collector_finds_nothing_wrong(names: list[str], tmp_path: Path) -> None:
    arguments = pipeline.write(tmp_path, names)
    done = validate(arguments)
    assert done.returncode == 0, done.stderr


def test_it_would_find_it(tmp_path: Path) -> None:
    arguments = pipeline.write(tmp_path, ["gateway"])
    path = tmp_path / "gateway.yaml"
    path.write_text(path.read_text().replace("sampling_percentage", "sampling_percent"))
    done = validate(arguments)
    assert done.returncode
    assert "sampling_percent" in done.stderr


def test_traces_are_balanced_by_their_ids() -> None:
    balancing = pipeline.load("agent")["exporters"]["loadbalancing"]
    assert balancing["routing_key"] == "traceID"
    assert set(balancing) == {"routing_key", "protocol", "resolver"}
    assert set(balancing["resolver"]["dns"]) <= {"hostname", "port", "interval", "timeout"}
    assert pipeline.load("agent")["service"]["pipelines"]["traces"]["exporters"] == ["loadbalancing"]
    gateway = pipeline.load("gateway")["service"]["pipelines"]
    assert "servicegraph" in gateway["traces/measured"]["exporters"]
    assert "servicegraph" in gateway["metrics"]["receivers"]


@contextmanager
def both_tiers(folder: Path, backend: Collector, *, through_kafka: bool) -> Iterator[tuple[Tier, Tier]]:
    with ExitStack() as stack:
        env = {"TRACES_ENDPOINT": backend.http_endpoint, "DECISION_WAIT": "2s", "FLUSH": "500ms"}
        node, gateway = ["agent"], ["gateway"]
        if through_kafka:
            broker = stack.enter_context(kafka.broker())
            broker.create("otlp_spans", partitions=4)
            env["KAFKA"] = f"127.0.0.1:{broker.port}"
            node, gateway = [*node, "agent-kafka"], [*gateway, "gateway-kafka"]
        second = stack.enter_context(pipeline.tier(folder / "gateway", gateway, env))
        to_second = {
            "GATEWAY": "127.0.0.1",
            "GATEWAY_PORT": str(second.grpc_port),
            "METRICS_GATEWAY": f"127.0.0.1:{second.grpc_port}",
        }
        first = stack.enter_context(pipeline.tier(folder / "node", node, env | to_second))
        yield first, second


def scraped(tier: Tier, name: str) -> float:
    """Sum of a metric's values at the gateway's Prometheus endpoint."""
    with urllib.request.urlopen(f"http://127.0.0.1:{tier.prometheus_port}/metrics", timeout=10) as page:
        text = page.read().decode()
    return sum(float(value) for value in re.findall(rf"^{name}{{.*}} (\S+)$", text, re.MULTILINE))


def metric_names(tier: Tier) -> set[str]:
    """Names of all series at the gateway's Prometheus endpoint."""
    with urllib.request.urlopen(f"http://127.0.0.1:{tier.prometheus_port}/metrics", timeout=10) as page:
        return set(re.findall(r"^(\w+)\{", page.read().decode(), re.MULTILINE))


@pytest.mark.parametrize("through_kafka", [False, True], ids=["direct", "kafka"])
def test_errors_come_through_whole_and_everything_is_measured(
    through_kafka: bool, serve: Serve, fence: agents.Fence, tmp_path: Path, tag: str
) -> None:
    web = serve("nginx")
    with (
        collectors.collector() as backend,
        both_tiers(tmp_path, backend, through_kafka=through_kafka) as (node, gateway),
        agents.running(pipeline.seen_through(node, backend), fence, "--port", str(web.port)) as agent,
    ):
        for number in range(40):
            ask(web, f"/status/{503 if number % 4 == 0 else 200}?t={tag}", number)
        assert agent.end() == 0

        def failed() -> bool:
            spans = agent.telemetry.refresh().spans
            return sum(span.status_code == 503 for span in spans) >= 20

        eventually(failed, "all failed requests arrive", 30)
        traces: dict[str, list[int]] = {}
        for span in agent.telemetry.spans:
            traces.setdefault(span.trace_id, []).append(span.kind)
        # What is kept is whole; of the others a tenth is, and hardly all.
        assert all(sorted(kinds) == [SERVER, CLIENT] for kinds in traces.values())
        assert {trace(number) for number in range(0, 40, 4)} <= set(traces)
        assert len(traces) < 30
        eventually(lambda: scraped(gateway, "traces_span_metrics_calls_total") == 80, "all spans are measured", 20)
        count = "http_server_request_duration_seconds_count"
        eventually(lambda: scraped(gateway, count) == 40, "the agent's own count arrives", 20)
        # What dashboards and alerts are held against is what Prometheus gets.
        shown = {name for name in metric_names(gateway) if not name.startswith(("traces_span_metrics_", "target_info"))}
        assert shown - SENT == set()
        assert {"otel_ebpf_export_latency_seconds_bucket", "otelcol_exporter_queue_size_bytes"} <= shown


def trace(number: int) -> str:
    return f"{number + 1:032x}"


def ask(web: Server, target: str, number: int) -> None:
    """Makes a request that is a trace of its own, of a client's and a server's span."""
    with closing(http.client.HTTPConnection(web.host, web.port, timeout=10)) as connection:
        connection.request("GET", target, headers={"traceparent": f"00-{trace(number)}-00000000000000aa-01"})
        connection.getresponse().read()
