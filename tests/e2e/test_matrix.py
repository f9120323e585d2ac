"""Every server with every client: what the server logged is what the agent reports, on both sides."""

import pytest

from tests.e2e.conftest import STARTS, RunAgent, Serve
from tests.e2e.expect import asks, assert_asked, assert_durations, assert_same, assert_valid, await_log, method_of
from tests.testbed import clients
from tests.testbed.agent import Agent
from tests.testbed.clients import Ask
from tests.testbed.telemetry import CLIENT, SERVER

BOUNDS_S = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]


@pytest.mark.parametrize("client_name", clients.ALL)
@pytest.mark.parametrize("server_name", STARTS)
def test_each_request_is_one_span_on_each_side(
    agent: Agent, serve: Serve, tag: str, server_name: str, client_name: str
) -> None:
    server, plan = serve(server_name), asks(tag)
    done = clients.ALL[client_name](server, plan)
    assert len(done.answers) == len(plan)
    log = await_log(server, tag, len(plan))
    agent.settle()

    served = agent.spans(server.pids, SERVER, tag)
    assert_same(served, log)
    assert_valid(served)
    assert_durations(agent, server, clients.ALL[client_name], tag, log)

    asked = agent.spans([done.pid], CLIENT, tag)
    assert [(method_of(span), span.status_code) for span in asked] == [
        (ask.method, status) for ask, (status, _) in zip(plan, done.answers, strict=True)
    ]
    assert_asked(asked, server, log)


@pytest.mark.parametrize("server_name", ["nginx", "go", "node", "rust", "uvicorn-httptools", "gunicorn-gthread"])
def test_metrics_count_what_wrk_sent(run_agent: RunAgent, serve: Serve, tag: str, server_name: str) -> None:
    """Flat out, with few spans: nobody stores 90,000 a second."""
    server = serve(server_name)
    with run_agent(spans_per_second=10) as agent:
        done = clients.wrk(f"{server.url}/hello?t={tag}", seconds=1)
        answered = len(server.settled_log(tag))
        assert agent.end() == 0
        # What wrk had under way when its time was over is in the server's log, but not in wrk's count.
        assert agent.telemetry.count("http.client.request.duration", [done.pid], status=200) == len(done.answers)
        # Whose client went away with wrk, some servers log and some do not.
        assert answered <= agent.telemetry.count("http.server.request.duration", server.pids) <= answered + 4


@pytest.mark.parametrize("server_name", ["nginx", "go", "uvicorn-httptools"])
def test_every_request_of_wrk_is_a_span(agent: Agent, serve: Serve, tag: str, server_name: str) -> None:
    server = serve(server_name)
    done = clients.wrk(f"{server.url}/hello?t={tag}", seconds=1, script=clients.AT_EASE)
    agent.settle(30)
    answered = len(server.access_log(tag))
    assert answered >= len(done.answers) > 10
    # What wrk had under way when its time was over may have its status line already: it is told as cut off.
    asked = [span for span in agent.spans([done.pid], CLIENT, tag) if span.status_code == 200]
    assert len([span for span in asked if "error.type" not in span.attributes]) == len(done.answers)
    assert len(asked) <= answered
    assert answered <= len(agent.spans(server.pids, SERVER, tag)) <= answered + 4


@pytest.mark.parametrize("server_name", STARTS)
def test_metrics_count_by_route_and_status(agent: Agent, serve: Serve, tag: str, server_name: str) -> None:
    server = serve(server_name)
    name = "http.server.request.duration"
    agent.settle_metrics()
    before = agent.telemetry.count(name, server.pids)
    before_404 = agent.telemetry.count(name, server.pids, status=404)
    clients.curl(server, [Ask("GET", f"/items/{n}?t={tag}") for n in range(20)])
    clients.curl(server, [Ask("GET", f"/status/404?t={tag}")] * 5)
    agent.settle_metrics()
    assert agent.telemetry.count(name, server.pids) - before == 25
    assert agent.telemetry.count(name, server.pids, status=404) - before_404 == 5
    routes = {span.attributes.get("http.route") for span in agent.spans(server.pids, SERVER, tag)}
    assert len(routes) == 2, routes
    for point in agent.points(name, server.pids):
        assert (point.unit, point.kind, point.temporality) == ("s", "histogram", 2)
        assert sum(point.buckets) == point.count
        assert list(point.bounds) == BOUNDS_S
        assert point.attributes["http.request.method"]
        assert point.attributes["url.scheme"] == "http"
