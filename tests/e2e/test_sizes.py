"""Big bodies, long URLs, large heads."""

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.expect import assert_both_sides, assert_same, await_log
from tests.testbed import clients
from tests.testbed.agent import Agent
from tests.testbed.clients import Ask
from tests.testbed.telemetry import CLIENT, SERVER
from tests.testbed.wire import Connection, request

TEN_MB = 10_000_000


@pytest.mark.parametrize("server_name", ["nginx", "go", "node", "rust", "jdk", "http.server", "uvicorn-httptools"])
def test_ten_megabytes_down(agent: Agent, serve: Serve, tag: str, server_name: str) -> None:
    """nginx sends the file with sendfile: no byte of the body passes through user space."""
    server = serve(server_name)
    done = clients.curl(server, [Ask("GET", f"/bytes/{TEN_MB}?t={tag}"), Ask("GET", f"/hello?t={tag}")])
    assert done.answers == [(200, TEN_MB), (200, 6)]
    assert_both_sides(agent, server, done.pid, tag, 2)


@pytest.mark.parametrize("client_name", ["curl", "requests", "aiohttp", "go", "node-http"])
@pytest.mark.parametrize("server_name", ["nginx", "go"])
def test_ten_megabytes_up(agent: Agent, serve: Serve, tag: str, server_name: str, client_name: str) -> None:
    server = serve(server_name)
    plan = [Ask("POST", f"/echo?t={tag}", TEN_MB), Ask("GET", f"/hello?t={tag}")]
    done = clients.ALL[client_name](server, plan)
    assert done.answers == [(200, TEN_MB), (200, 6)]
    for side in assert_both_sides(agent, server, done.pid, tag, 2):
        assert [span.attributes.get("http.request.body.size", 0) for span in side] == [TEN_MB, 0]


def test_proxy_is_server_and_client(agent: Agent, serve: Serve, tag: str) -> None:
    """nginx in front of Go: three spans of one request, in nginx's, Go's and the client's processes."""
    server = serve("nginx")
    assert server.upstream is not None
    clients.curl(server, [Ask("POST", f"/echo?t={tag}", 100_000)] * 5)
    agent.settle()
    behind = await_log(server.upstream, tag, 5)
    assert_same(agent.spans(server.pids, SERVER, tag), await_log(server, tag, 5))
    assert_same(agent.spans(server.pids, CLIENT, tag), behind)
    assert_same(agent.spans(server.upstream.pids, SERVER, tag), behind)


@pytest.mark.parametrize("server_name", ["nginx", "go", "jdk"])
def test_url_of_8_kb(agent: Agent, serve: Serve, tag: str, server_name: str) -> None:
    server = serve(server_name)
    path = "/items/" + "abcdefgh" * 1000
    done = clients.curl(server, [Ask("GET", f"{path}?t={tag}")])
    agent.settle()
    (served,) = agent.spans(server.pids, SERVER, tag)
    (asked,) = agent.spans([done.pid], CLIENT, tag)
    assert served.path == path
    assert served.status_code == 200
    assert len(served.attributes.get("http.route", "")) < 300
    assert asked.attributes["url.full"] == f"{server.url}{path}?t={tag}"


@pytest.mark.parametrize("every", [0, 1000, 7])
@pytest.mark.parametrize("server_name", ["nginx", "go", "jdk"])
def test_traceparent_behind_16_kb_of_headers(
    agent: Agent, serve: Serve, tag: str, server_name: str, every: int
) -> None:
    server = serve(server_name)
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    filler = [f"X-Filler-{number}: {'z' * 1000}" for number in range(32)]
    head = [*filler[:17], f"traceparent: 00-{trace}-{parent}-01", "tracestate: vendor=1,other=2", *filler[17:]]
    with Connection(server) as conn:
        for _ in range(2):
            conn.send(request("POST", f"/echo?t={tag}", *head, body=b"hello"), every)
            assert conn.answer().body == b"hello"
    agent.settle()
    served = agent.spans(server.pids, SERVER, tag)
    assert len(served) == 2
    for span in served:
        assert (span.trace_id, span.parent_span_id) == (trace, parent)
        assert span.trace_state == "vendor=1,other=2"
        assert span.attributes.get("http.request.body.size") == 5
    assert_same(served, await_log(server, tag, 2))
