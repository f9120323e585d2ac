"""W3C Trace Context on incoming requests."""

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.expect import assert_valid
from tests.testbed import clients
from tests.testbed.agent import Agent
from tests.testbed.clients import Ask
from tests.testbed.telemetry import SERVER

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize("server_name", ["nginx", "go", "node", "uvicorn-h11"])
def test_incoming_trace_is_honoured(agent: Agent, serve: Serve, tag: str, server_name: str) -> None:
    server = serve(server_name)
    headers = ("-H", f"traceparent: 00-{TRACE}-{PARENT}-01", "-H", "tracestate: rojo=00f067aa0ba902b7,congo=t61")
    clients.curl(server, [Ask("GET", f"/hello?t={tag}")] * 3, *headers)
    agent.settle()
    served = agent.spans(server.pids, SERVER, tag)
    assert len(served) == 3
    for span in served:
        assert (span.trace_id, span.parent_span_id) == (TRACE, PARENT)
        assert span.trace_state == "rojo=00f067aa0ba902b7,congo=t61"
        assert span.flags & 1
    assert len({span.span_id for span in served}) == 3
    assert_valid(served)


def test_unsampled_parent_gives_metrics_and_no_span(agent: Agent, serve: Serve, tag: str) -> None:
    server = serve("go")
    agent.settle_metrics()
    before = agent.telemetry.count("http.server.request.duration", server.pids)
    headers = ("-H", f"traceparent: 00-{TRACE}-{PARENT}-00")
    clients.curl(server, [Ask("GET", f"/hello?t={tag}")] * 3, *headers)
    agent.settle_metrics()
    assert agent.spans(server.pids, SERVER, tag) == []
    assert agent.telemetry.count("http.server.request.duration", server.pids) == before + 3


@pytest.mark.parametrize(
    "header",
    [
        f"00-{TRACE}-{PARENT}",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        "nonsense",
    ],
)
def test_invalid_traceparent_starts_a_new_trace(agent: Agent, serve: Serve, tag: str, header: str) -> None:
    server = serve("go")
    clients.curl(server, [Ask("GET", f"/hello?t={tag}")], "-H", f"traceparent: {header}", "-H", "tracestate: a=b")
    agent.settle()
    (span,) = agent.spans(server.pids, SERVER, tag)
    assert span.trace_id != TRACE
    assert span.parent_span_id == ""
    assert span.trace_state == "ot=th:0"
    assert_valid([span])


def test_traceparent_of_a_later_version(agent: Agent, serve: Serve, tag: str) -> None:
    server = serve("go")
    clients.curl(server, [Ask("GET", f"/hello?t={tag}")], "-H", f"traceparent: 01-{TRACE}-{PARENT}-01-more")
    agent.settle()
    (span,) = agent.spans(server.pids, SERVER, tag)
    assert (span.trace_id, span.parent_span_id) == (TRACE, PARENT)


def test_requests_without_a_trace_have_traces_of_their_own(agent: Agent, serve: Serve, tag: str) -> None:
    server = serve("go")
    clients.curl(server, [Ask("GET", f"/hello?t={tag}")] * 100)
    agent.settle()
    served = agent.spans(server.pids, SERVER, tag)
    assert len({span.trace_id for span in served}) == 100
    assert len({span.span_id for span in served}) == 100
    assert_valid(served)
