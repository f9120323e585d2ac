"""Nothing is lost silently: seen = exported + dropped by reason, and metrics count every request whatever happens."""

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.books import ASKED, SERVED, balance, counted, own, settled
from tests.e2e.conftest import RunAgent
from tests.testbed import cache, clients, servers
from tests.testbed.agent import Agent
from tests.testbed.clients import Ask
from tests.testbed.process import eventually, free_port
from tests.testbed.servers import Server
from tests.testbed.telemetry import CLIENT, SERVER


def test_books_balance(run_agent: RunAgent, web: Server, tag: str) -> None:
    with run_agent("--port", str(web.port)) as agent:
        clients.curl(web, [Ask("GET", f"/hello?t={tag}")] * 50)
        clients.curl(web, [Ask("GET", f"/status/404?t={tag}")] * 7)
        assert agent.end() == 0
        assert balance(agent) == {}
        assert agent.summary()["requests_seen"] == 114
        assert own(agent, "otel_ebpf.requests.seen") == 114
        assert own(agent, "otel_ebpf.spans.exported") == 114
        rows = {(row["service"], row["role"], row["route"]): row["requests"] for row in agent.summary()["routes"]}
        assert sum(rows.values()) == 114
        assert sum(count for (_, role, _), count in rows.items() if role == "server") == 57


def test_budget_limits_spans_and_not_metrics(run_agent: RunAgent, web: Server, tag: str) -> None:
    with run_agent("--exe", "nginx", "--port", str(web.port), spans_per_second=100) as agent:
        before = counted(web)
        clients.wrk(f"{web.url}/quiet?t={tag}", seconds=2, connections=16)
        served = settled(web) - before
        assert agent.end() == 0
        # `before`'s own request is served before, the last one's within.
        assert agent.telemetry.count(SERVED) == served + 1
        dropped = balance(agent)
        # On a machine that is busy elsewhere the ring may be full for a moment.
        assert "budget" in dropped
        assert set(dropped) <= {"budget", "ring_full"}
        assert 100 <= agent.summary()["spans_exported"] <= 1000
        assert own(agent, "otel_ebpf.spans.dropped") == sum(dropped.values())


def test_metrics_only(run_agent: RunAgent, web: Server, tag: str) -> None:
    with run_agent("--port", str(web.port), "--metrics-only") as agent:
        clients.curl(web, [Ask("GET", f"/hello?t={tag}")] * 20)
        assert agent.end() == 0
        assert agent.telemetry.spans == []
        assert agent.telemetry.count(SERVED) == agent.telemetry.count(ASKED) == 20


@pytest.mark.parametrize(
    ("sampler", "low", "high"), [("always_off", 0, 0), ("always_on", 400, 400), ("traceidratio", 50, 150)]
)
def test_samplers(run_agent: RunAgent, web: Server, tag: str, sampler: str, low: int, high: int) -> None:
    env = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": "0.25"}
    with run_agent("--exe", "nginx", "--port", str(web.port), env=env) as agent:
        clients.curl(web, [Ask("GET", f"/hello?t={tag}")] * 400)
        assert agent.end() == 0
        assert low <= len(agent.telemetry.spans) <= high
        assert set(balance(agent)) <= {"unsampled"}
        assert agent.telemetry.count(SERVED) == 400


def test_a_full_ring_loses_spans_and_no_count(run_agent: RunAgent, web: Server, tag: str) -> None:
    with run_agent("--port", str(web.port), capture={"ring_bytes": 16384}) as agent:
        before = counted(web)
        done = clients.wrk(f"{web.url}/quiet?t={tag}", seconds=3, connections=64)
        served = settled(web) - before
        assert agent.end() == 0
        dropped = balance(agent)
        assert dropped.get("ring_full", 0) > 0, "the ring was never full: this test tests nothing"
        assert agent.telemetry.count(SERVED) == served + 1
        asked = agent.telemetry.count(ASKED, [done.pid])
        # wrk leaves its last requests, one a connection at most, without an answer.
        assert len(done.answers) <= asked <= len(done.answers) + 64


def test_a_full_ring_heals(run_agent: RunAgent, web: Server, tag: str) -> None:
    with run_agent("--port", str(web.port), capture={"ring_bytes": 65536}) as agent:
        clients.wrk(f"{web.url}/quiet", seconds=2, connections=64)

        asked: list[int] = []

        def is_read() -> bool:
            agent.program.must_run()
            asked.append(clients.curl(web, [Ask("GET", f"/hello?t={tag}-first")]).pid)
            return bool(agent.spans(asked, CLIENT, f"{tag}-first"))

        eventually(is_read, "a request's span arrives again", every=0.1)
        # As many as fit even if nobody reads meanwhile.
        done = clients.curl(web, [Ask("GET", f"/hello?t={tag}")] * 10)
        assert agent.end() == 0
        assert len(agent.spans([done.pid], CLIENT, tag)) == 10
        assert len(agent.spans(web.pids, SERVER, tag)) == 10


def test_a_full_queue_is_counted(run_agent: RunAgent, web: Server, tag: str) -> None:
    with run_agent("--port", str(web.port), capture={"span_queue_bytes": 4096}) as agent:
        before = counted(web)
        clients.wrk(f"{web.url}/quiet?t={tag}", seconds=1, connections=16)
        served = settled(web) - before
        assert agent.end() == 0
        dropped = balance(agent)
        assert dropped.get("queue_full", 0) > 0
        assert agent.telemetry.count(SERVED) == served + 1


def test_a_backend_that_is_not_there(run_agent: RunAgent, web: Server, tag: str) -> None:
    with run_agent("--port", str(web.port), endpoint=f"http://127.0.0.1:{free_port()}") as agent:
        clients.curl(web, [Ask("GET", f"/hello?t={tag}")] * 20)
        time.sleep(1)
        begin = time.monotonic()
        assert agent.end() == 0
        assert time.monotonic() - begin < 14
        books = agent.summary()
        assert books["requests_seen"] == 40 == sum(books["spans_dropped"].values())
        assert books["unaccounted"] == 0
        assert "Traceback" not in agent.program.stderr


@pytest.mark.slow
def test_a_million_requests_are_a_million(run_agent: RunAgent, web: Server, tag: str) -> None:
    million = 1_000_000
    with run_agent("--port", str(web.port), spans_per_second=1000) as agent:
        before = counted(web)
        argv = [cache.tool("wrk", "wrk"), "-t1", "-c16", "-d300s", f"{web.url}/quiet?t={tag}"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as wrk:
            eventually(lambda: counted(web) - before > million + 1000, "a million requests", 250, every=0.5)
            wrk.send_signal(signal.SIGINT)
            out, _ = wrk.communicate(timeout=30)
        found = re.search(r"(\d+) requests in", out)
        assert found, out
        answered, served = int(found[1]), counted(web) - before
        assert answered >= million
        assert agent.end() == 0
        assert agent.telemetry.count(ASKED, [wrk.pid], status=200) == answered
        assert agent.telemetry.count(SERVED) == served + 1
        assert set(balance(agent)) <= {"budget", "ring_full"}


def test_memory_does_not_grow_with_connections_gone(run_agent: RunAgent, web: Server, tag: str, tmp_path: Path) -> None:
    script = tmp_path / "close.lua"
    script.write_text('wrk.headers["Connection"] = "close"\n')

    def resident_kb(agent: Agent) -> int:
        status = Path(f"/proc/{agent.program.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found, status
        return int(found[1])

    with run_agent("--port", str(web.port), "--metrics-only") as agent:
        clients.wrk(f"{web.url}/quiet", seconds=2, connections=16, script=script)
        first = resident_kb(agent)
        before = counted(web)
        done = clients.wrk(f"{web.url}/quiet", seconds=3, connections=16, script=script)
        assert len(done.answers) > 1000
        after = resident_kb(agent)
        served = settled(web) - before
        assert agent.telemetry.refresh().count(ASKED) >= 0
        assert agent.end() == 0
        assert agent.telemetry.count(ASKED, [done.pid], status=200) == len(done.answers)
        assert served >= len(done.answers)
        assert after - first < 4096, f"{first} kB, then {after} kB"


def test_a_server_with_many_processes_and_paths(run_agent: RunAgent, tag: str) -> None:
    """A thousand paths are few routes; series stay few, and each process counts for itself."""
    with servers.go() as server, run_agent("--pid", str(server.program.pid)) as agent:
        asks = [Ask("GET", f"/items/{number * 7919}/part-{number}?t={tag}") for number in range(1000)]
        clients.go(server, asks)
        assert agent.end() == 0
        assert len(agent.spans(server.pids, SERVER, tag)) == 1000
        assert agent.telemetry.count(SERVED, server.pids) == 1000
        routes = {span.attributes.get("http.route") for span in agent.spans(server.pids, SERVER, tag)}
        assert len(routes) <= 210
