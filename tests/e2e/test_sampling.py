"""For how many a span stands, under real load, and who decides: budget, errors, rules, callers, Jaeger, the queue."""

import signal
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from tests.e2e.books import SERVED, balance, counted, own, settled
from tests.e2e.conftest import RunAgent, Serve
from tests.testbed import agent as agents
from tests.testbed import clients, jaeger
from tests.testbed import collector as collectors
from tests.testbed.agent import AMPLE_RING, Agent
from tests.testbed.clients import Ask
from tests.testbed.process import eventually
from tests.testbed.servers import Server
from tests.testbed.telemetry import SERVER, Span

ALL = 1 << 56


def threshold(span: Span) -> int:
    """`th` of the span's tracestate, out of 2^56."""
    members = dict(member.split("=", 1) for member in span.trace_state.split(",") if member)
    digits = dict(pair.split(":", 1) for pair in members["ot"].split(";"))["th"]
    return int(digits.ljust(14, "0"), 16)


def stand_for(spans: Iterable[Span]) -> float:
    """As a backend computes it: how many requests these spans are of."""
    return sum(ALL / (ALL - threshold(span)) for span in spans)


def configured(folder: Path, web: Server, **ours: object) -> tuple[str, str]:
    """Options for a file that watches nginx alone."""
    selection = {"include": [{"executable": "nginx", "port": web.port}]}
    file = folder / "sampling.yaml"
    file.write_text(agents.configuration(selection=selection, capture=dict(AMPLE_RING), **ours))
    return "--config", str(file)


def test_what_spans_stand_for_is_what_metrics_count(run_agent: RunAgent, web: Server, tag: str, tmp_path: Path) -> None:
    with run_agent(*configured(tmp_path, web, spans_per_second=300)) as agent:
        before = counted(web)
        clients.wrk(f"{web.url}/quiet?t={tag}", seconds=4, connections=16)
        served = settled(web) - before
        assert agent.end() == 0
        spans = [span for span in agent.telemetry.spans if span.tag == tag]
        exact = agent.telemetry.count(SERVED)
        assert exact == served + 1
        assert exact > 20 * len(spans)
        assert set(balance(agent)) == {"budget"}
    assert all(int(span.trace_id[-14:], 16) >= threshold(span) for span in spans)
    assert stand_for(spans) == pytest.approx(exact, rel=0.15)
    # Of the first instant there may be half a second's worth more, and of a second that is not whole less.
    begin = min(span.end_ns for span in spans)
    each = Counter((span.end_ns - begin) // 10**9 for span in spans)
    # How few there are depends on how steadily a busy machine lets wrk run, too.
    assert 100 < each[0] < 300 * 1.6
    assert all(100 < each[second] < 380 for second in (1, 2)), each


def test_errors_are_kept(run_agent: RunAgent, web: Server, tag: str) -> None:
    env = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.05"}
    asks = [Ask("GET", f"/hello?t={tag}")] * 1000 + [Ask("GET", f"/status/500?t={tag}")] * 20
    with run_agent("--exe", "nginx", "--port", str(web.port), env=env) as agent:
        clients.curl(web, asks)
        assert agent.end() == 0
        failed = [span for span in agent.telemetry.spans if span.status_code == 500]
        fine = [span for span in agent.telemetry.spans if span.status_code == 200]
        assert set(balance(agent)) == {"unsampled"}
    assert (len(failed), stand_for(failed)) == (20, 20.0)
    assert 20 <= len(fine) <= 90
    assert stand_for(fine) == pytest.approx(20 * len(fine), rel=0.001)


def test_slow_requests_are_kept(run_agent: RunAgent, serve: Serve, tag: str, tmp_path: Path) -> None:
    server = serve("go")
    content = yaml.safe_load(
        agents.configuration(
            selection={"include": [{"pid": pid} for pid in server.pids]}, sampling={"keep": {"slower_than_ms": 200}}
        )
    )
    content["tracer_provider"]["sampler"] = {"trace_id_ratio_based": {"ratio": 0}}
    file = tmp_path / "slow.yaml"
    file.write_text(yaml.safe_dump(content))
    with run_agent("--config", str(file)) as agent:
        clients.curl(server, [Ask("GET", f"/hello?t={tag}")] * 50)
        clients.curl(server, [Ask("GET", f"/sleep/300?t={tag}")] * 3)
        assert agent.end() == 0
        spans = agent.telemetry.spans
        assert set(balance(agent)) == {"unsampled"}
    assert [span.path for span in spans] == ["/sleep/300"] * 3
    assert stand_for(spans) == 3.0


def test_rules_by_service_and_route(run_agent: RunAgent, web: Server, tag: str, tmp_path: Path) -> None:
    rules = [
        {"route": "/hello", "sampler": "always_off"},
        {"service": "nginx", "route": "/items/*", "ratio": 0.25},
        {"service": "apache", "ratio": 0},
    ]
    with run_agent(*configured(tmp_path, web, sampling={"rules": rules})) as agent:
        # A busy machine may take longer to say whose a new process is than curl takes for all that is held meanwhile.
        clients.curl(web, [Ask("GET", f"/status/204?t={tag}")])
        eventually(lambda: decided(agent) == 1, "nginx is known")
        asks = [Ask("GET", f"/{path}?t={tag}") for path in ("hello", "items/1", "status/201") for _ in range(400)]
        clients.curl(web, asks)
        assert agent.end() == 0
        got = Counter(span.path for span in agent.telemetry.spans)
        items = [span for span in agent.telemetry.spans if span.path == "/items/1"]
        assert agent.telemetry.count(SERVED) == 1201
        assert set(balance(agent)) == {"unsampled"}
    assert (got["/hello"], got["/status/201"]) == (0, 400)
    assert 50 < got["/items/1"] < 150
    assert {span.trace_state for span in items} == {"ot=th:c"}


TRACE, PARENT = "0af7651916cd43dd84c0b7ad6b716920", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("tracestate", "expected"),
    [
        ("rojo=1,ot=th:c;rv:d0000000000000,congo=2", "ot=th:c;rv:d0000000000000,rojo=1,congo=2"),
        ("ot=th:8", "ot=th:8"),
        # says that it was sampled, and would not have been
        ("ot=th:e", ""),
        ("rojo=1", "rojo=1"),
    ],
)
def test_a_callers_probability_is_inherited(
    run_agent: RunAgent, web: Server, tag: str, tracestate: str, expected: str
) -> None:
    headers = ("-H", f"traceparent: 00-{TRACE}-{PARENT}-01", "-H", f"tracestate: {tracestate}")
    with run_agent("--exe", "nginx", "--port", str(web.port)) as agent:
        clients.curl(web, [Ask("GET", f"/hello?t={tag}")], *headers)
        assert agent.end() == 0
        (span,) = agent.telemetry.spans
    assert (span.trace_id, span.trace_state) == (TRACE, expected)


def strategies(**of_nginx: object) -> dict[str, object]:
    """In the form of Jaeger's file; all other services' are never sampled."""
    mine = {"service": "nginx", **of_nginx}
    return {"service_strategies": [mine], "default_strategy": {"type": "probabilistic", "param": 0}}


def test_a_jaeger_server_is_followed(run_agent: RunAgent, web: Server, tag: str) -> None:
    by_operation = [
        {"operation": "GET /hello", "type": "probabilistic", "param": 1},
        {"operation": "GET /items/{id}", "type": "probabilistic", "param": 0.25},
    ]
    first = strategies(type="probabilistic", param=0, operation_strategies=by_operation)
    with jaeger.jaeger(first) as server:
        argument = f"endpoint={server.url},pollingIntervalMs=200,initialSamplingRate=0"
        env = {"OTEL_TRACES_SAMPLER": "parentbased_jaeger_remote", "OTEL_TRACES_SAMPLER_ARG": argument}
        with run_agent("--exe", "nginx", "--port", str(web.port), env=env) as agent:

            def served(target: str, times: int) -> list[Span]:
                seen = own(agent, "otel_ebpf.requests.seen")
                clients.curl(web, [Ask("GET", target)] * times)
                eventually(lambda: decided(agent) >= seen + times, "all of them are decided on")
                return [span for span in agent.spans(web.pids, SERVER) if target.endswith(f"?{span.query}")]

            eventually(lambda: served(f"/hello?t={tag}", 1), "its strategy is followed", 20, every=0.2)
            assert len(served(f"/hello?t={tag}-a", 50)) == 50
            items = served(f"/items/1?t={tag}-b", 400)
            assert 50 < len(items) < 150
            assert {span.trace_state for span in items} == {"ot=th:c"}
            assert served(f"/status/201?t={tag}-c", 50) == []

            server.say(strategies(type="ratelimiting", param=2))
            eventually(lambda: served(f"/status/201?t={tag}-d", 1), "the new one is followed", 20, every=0.2)
            limited = served(f"/status/204?t={tag}-e", 500)
            assert 1 <= len(limited) < 60
            assert agent.end() == 0


def decided(agent: Agent) -> int:
    """How many requests have become a span that has arrived, or none, by the agent's own metrics."""
    return own(agent, "otel_ebpf.spans.exported") + own(agent, "otel_ebpf.spans.dropped")


def test_a_queue_that_fills_up_means_fewer_spans_and_not_lost_ones(
    fence: agents.Fence, web: Server, tag: str, tmp_path: Path
) -> None:
    env = {"OTEL_EBPF_QUEUE_DIRECTORY": str(tmp_path / "queue"), "OTEL_EBPF_QUEUE_MAX_BYTES": str(2 << 20)}
    options = ("--exe", "nginx", "--port", str(web.port))
    with (
        collectors.collector() as backend,
        agents.running(backend, fence, *options, env=env, spans_per_second=2000) as agent,
    ):
        backend.program.end(signal.SIGKILL)
        clients.wrk(f"{web.url}/quiet?t={tag}", seconds=8, connections=2)
        with collectors.collector(earlier=backend) as again:
            arrived = again.telemetry()
            eventually(lambda: arrived.refresh().of(web.pids, SERVER, tag), "it is there again", 60)
            assert agent.end() == 0
            dropped = agent.summary()["spans_dropped"]
    assert dropped["back_pressure"] > 1000
    assert dropped.get("queue_size", 0) == 0
    assert dropped.get("queue_full", 0) == 0
