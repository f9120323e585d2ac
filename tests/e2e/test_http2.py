"""HTTP/2 as real servers and clients speak it: in the clear and within TLS, one stream at a time and a hundred."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.e2e.conftest import RunAgent, Serve, meet
from tests.e2e.expect import (
    asks,
    assert_asked,
    assert_both_sides,
    assert_durations,
    assert_same,
    assert_valid,
    await_log,
)
from tests.testbed import clients, http2
from tests.testbed.agent import AMPLE_RING, Agent
from tests.testbed.clients import Ask
from tests.testbed.servers import LogLine, Server
from tests.testbed.telemetry import CLIENT, SERVER, Span

HTTP2 = ("2",)
WITH_ALL_ROUTES = [name for name in http2.SERVERS if not name.startswith("nghttp")]
PAIRS = [
    *((server, "curl") for server in WITH_ALL_ROUTES),
    *((f"nginx{tls}", client) for tls in ("", "-tls") for client in http2.CLIENTS if client != "curl"),
    *((f"{name}{tls}", name) for tls in ("", "-tls") for name in ("go", "node")),
    ("hypercorn", "httpx"),
    ("rust", "go"),
    ("go-tls", "httpx"),
]


def reach(serve2: Serve, server_name: str, client_name: str) -> Server:
    """The server, of which the client's library is not new to the agent either."""
    if server_name.endswith("-tls") and client_name in ("go", "node"):
        serve2(f"{client_name}-tls")  # the client is the same file, and so has been met
    return serve2(server_name)


def told(spans: Iterable[Span]) -> Counter[tuple[str, int]]:
    """Targets, query and all, with their status."""
    return Counter((f"{span.path}?{span.query}", span.status_code) for span in spans)


def logged(log: Iterable[LogLine]) -> Counter[tuple[str, int]]:
    """The same of a log."""
    return Counter((line.target, line.status) for line in log)


@pytest.mark.parametrize(("server_name", "client_name"), PAIRS)
def test_each_request_is_one_span_on_each_side(
    agent: Agent, serve2: Serve, tag: str, server_name: str, client_name: str
) -> None:
    server, plan, client = reach(serve2, server_name, client_name), asks(tag), http2.CLIENTS[client_name]
    done = client(server, plan)
    assert len(done.answers) == len(plan)
    log = await_log(server, tag, len(plan))
    assert {line.version for line in log} == {"2"}
    agent.settle()

    served = agent.spans(server.pids, SERVER, tag)
    assert_same(served, log)
    assert_valid(served, "https" if server.encrypted else "http", HTTP2)
    assert len({span.attributes["client.port"] for span in served}) == 1
    for span in served:
        assert span.attributes["client.address"] == "127.0.0.1"
        assert span.attributes["server.port"] == server.port
    assert_durations(agent, server, client, tag, log)
    assert_asked(agent.spans([done.pid], CLIENT, tag), server, log, HTTP2)
    if server.upstream:
        behind = agent.spans(server.upstream.pids, SERVER, tag)
        assert {span.attributes["network.protocol.version"] for span in behind} == {"1.1"}


@pytest.mark.parametrize("at_once", [10, 100])
@pytest.mark.parametrize(("server_name", "client_name"), PAIRS)
def test_many_streams_at_once(
    agent: Agent, serve2: Serve, tag: str, server_name: str, client_name: str, at_once: int
) -> None:
    """Each with a target of its own; answers come in any order, their frames among each other's."""
    server = reach(serve2, server_name, client_name)
    paths = ("/items/{}", "/sleep/30", "/bytes/100000", "/status/404", "/chunked/5500", "/status/503", "/sse")
    plan = [Ask("GET", f"{paths[n % 7].format(n)}?t={tag}&n={n}") for n in range(200)]
    plan += [Ask("HEAD", f"/bytes/1000?t={tag}&n={n}") for n in range(200, 210)]
    plan += [Ask("DELETE", f"/items/{n}?t={tag}&n={n}") for n in range(210, 220)]
    done = http2.CLIENTS[client_name](server, plan, at_once)
    log = await_log(server, tag, len(plan))
    assert len(done.answers) == len(log) == len(plan)
    agent.settle()
    served, asked = agent.spans(server.pids, SERVER, tag), agent.spans([done.pid], CLIENT, tag)
    for side in (served, asked):
        assert_same(side, log)
        assert told(side) == logged(log)
        assert_valid(side, "https" if server.encrypted else "http", HTTP2)
    assert len({span.attributes["client.port"] for span in served}) == 1
    assert len({span.span_id for span in (*served, *asked)}) == 2 * len(plan)


@pytest.mark.parametrize("client_name", ["go", "node"])
@pytest.mark.parametrize("server_name", WITH_ALL_ROUTES)
def test_bodies(agent: Agent, serve2: Serve, tag: str, server_name: str, client_name: str) -> None:
    """Far larger than a frame and than a window."""
    server = reach(serve2, server_name, client_name)
    plan = [
        Ask("POST", f"/echo?t={tag}", 100_000),
        Ask("GET", f"/bytes/1000000?t={tag}"),
        Ask("PUT", f"/echo?t={tag}", 1_000_000),
        Ask("HEAD", f"/bytes/1000000?t={tag}"),
        Ask("POST", f"/echo?t={tag}", 1),  # whose answer does not come before it
    ]
    done = http2.CLIENTS[client_name](server, plan)
    assert done.answers == [(200, 100_000), (200, 1_000_000), (200, 1_000_000), (200, 0), (200, 1)]
    for side in assert_both_sides(agent, server, done.pid, tag, len(plan)):
        assert [span.attributes.get("http.request.body.size", 0) for span in side] == [100_000, 0, 1_000_000, 0, 1]


@pytest.mark.parametrize("at_once", [1, 50])
@pytest.mark.parametrize("client_name", ["curl", "go", "node"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_padding_and_trailers(
    agent: Agent, serve2: Serve, tag: str, encrypted: bool, client_name: str, at_once: int
) -> None:
    """Of nghttpd, which can be told to. Neither is a body's."""
    with http2.nghttpd("--padding=255", "--trailer=x-sum: 1", encrypted=encrypted) as server:
        if encrypted:
            meet(agent, server, http2.curl)
            reach(serve2, f"{client_name}-tls" if client_name != "curl" else "nginx-tls", client_name)
        plan = [Ask("GET", f"/{name}?t={tag}&n={n}") for n in range(20) for name in http2.FILES]
        plan += [Ask("HEAD", f"/bytes/1000?t={tag}"), Ask("GET", f"/nothing?t={tag}")]
        plan += [Ask("POST", f"/echo?t={tag}", 50_000)]
        done = http2.CLIENTS[client_name](server, plan, at_once)
        log = await_log(server, tag, len(plan))
        for side in assert_both_sides(agent, server, done.pid, tag, len(plan)):
            assert told(side) == logged(log)
            (posted,) = (span for span in side if span.method == "POST")
            assert posted.attributes["http.request.body.size"] == 50_000


@pytest.mark.parametrize("at_once", [1, 50])
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_proxy_is_seen_on_all_four_sides(
    agent: Agent, serve2: Serve, tag: str, encrypted: bool, at_once: int
) -> None:
    """curl asks nghttpx, which asks nginx: each stream is a request of its own to each of them."""
    server = reach(serve2, "nghttpx-tls" if encrypted else "nghttpx", "curl")
    assert server.upstream
    paths = ("/items/{}", "/bytes/100000", "/status/404", "/hello", "/status/503")
    plan = [Ask("GET", f"{paths[n % 5].format(n)}?t={tag}&n={n}") for n in range(100)]
    done = http2.curl(server, plan, at_once)
    log = await_log(server, tag, len(plan))
    behind = await_log(server.upstream, tag, len(plan))
    assert len(done.answers) == len(log) == len(behind) == len(plan)
    agent.settle()
    sides = [
        (agent.spans([done.pid], CLIENT, tag), log),
        (agent.spans(server.pids, SERVER, tag), log),
        (agent.spans(server.pids, CLIENT, tag), behind),
        (agent.spans(server.upstream.pids, SERVER, tag), behind),
    ]
    for spans, its_log in sides:
        assert_same(spans, its_log)
        assert told(spans) == logged(its_log)
        assert {span.attributes["network.protocol.version"] for span in spans} == {"2"}


def test_upgrade_from_http1(agent: Agent, serve2: Serve, tag: str) -> None:
    """The first request is HTTP/1.1's, its answer already HTTP/2's."""
    server = serve2("hypercorn")
    plan = [Ask("GET", f"/items/{n}?t={tag}") for n in range(10)]
    done = clients.curl(server, plan, "--http2")
    log = await_log(server, tag, len(plan))
    assert "2" in {line.version for line in log}
    served, asked = assert_both_sides(agent, server, done.pid, tag, len(plan))
    assert_valid(served, versions=("1.1", "2"))
    assert_valid(asked, versions=("1.1", "2"))


def test_trace_context(agent: Agent, serve2: Serve, tag: str) -> None:
    """Sent with each request, and so soon no more than a number into a table."""
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    header = f"traceparent: 00-{trace}-{parent}-01"
    for server_name in ("nginx", "go", "node"):
        server = serve2(server_name)
        http2.curl(server, [Ask("GET", f"/hello?t={tag}")] * 3, 1, "-H", header)
        agent.settle()
        served = agent.spans(server.pids, SERVER, tag)
        assert [(span.trace_id, span.parent_span_id) for span in served] == [(trace, parent)] * 3


@pytest.mark.parametrize("server_name", ["nginx", "nginx-tls", "go", "go-tls", "node", "rust"])
def test_metrics_count_what_h2load_sent(run_agent: RunAgent, started2: Serve, tag: str, server_name: str) -> None:
    """Flat out, with few spans."""
    server = started2(server_name)
    with run_agent(spans_per_second=100, capture=AMPLE_RING) as agent:
        if server.encrypted:
            meet(agent, server, http2.curl)
        done = http2.h2load(f"{server.url}/hello?t={tag}", 10_000)
        assert len(await_log(server, tag, 10_000)) == len(done.answers) == 10_000
        assert agent.end() == 0
        assert agent.telemetry.count("http.client.request.duration", [done.pid], status=200) == 10_000
        points = agent.telemetry.latest("http.server.request.duration", server.pids)
        hello = [point for point in points if point.attributes["http.route"] == "/hello"]
        assert sum(point.count for point in hello) == 10_000
        assert {point.attributes["network.protocol.version"] for point in hello} == {"2"}


def test_connection_that_is_older_than_the_agent(run_agent: RunAgent, started2: Serve, tag: str) -> None:
    """Every request is counted; a path may not be known, and none is wrong."""
    server = started2("nginx")
    with httpx.Client(http1=False, http2=True, base_url=server.url) as client:
        for path in ("/hello", "/items/1"):
            client.get(f"{path}?t={tag}").raise_for_status()
        with run_agent() as agent:
            paths = [f"/{name}?t={tag}-{number}" for number in range(10) for name in ("hello", "items/1")]
            for path in [f"/hello?t={tag}", f"/items/1?t={tag}", *paths]:
                client.get(path).raise_for_status()
            await_log(server, f"{tag}-9", 2)
            agent.settle()
            for spans in (agent.spans(server.pids, SERVER), agent.spans([os.getpid()], CLIENT)):
                ours = [span for span in spans if span.path != "/fence" and span.protocol_version == "2"]
                assert [span.status_code for span in ours] == [200] * 22
                known = [f"{span.path}?{span.query}" for span in ours if span.query]
                assert known[-20:] == paths
                assert set(known[:-20]) <= {f"/hello?t={tag}", f"/items/1?t={tag}"}


def test_server_killed_with_streams_in_flight(agent: Agent, tag: str) -> None:
    with http2.SERVERS["go"]() as server, ThreadPoolExecutor() as pool:
        with httpx.Client(http1=False, http2=True, base_url=server.url, timeout=20) as client:
            client.get(f"/hello?t={tag}").raise_for_status()
            asked = [pool.submit(client.get, f"/sleep/10000?t={tag}&n={number}") for number in range(5)]
            time.sleep(1)
            server.program.popen.send_signal(signal.SIGKILL)
            for future in asked:
                assert isinstance(future.exception(20), httpx.HTTPError)
        agent.settle()
        ended = {"connection_reset", "connection_closed"}
        for pids, kind, reasons in (([server.program.pid], SERVER, {"process_exit"}), ([os.getpid()], CLIENT, ended)):
            spans = agent.spans(pids, kind, tag)
            assert Counter(span.path for span in spans) == {"/hello": 1, "/sleep/10000": 5}
            broken = [span for span in spans if span.path != "/hello"]
            assert {span.query for span in broken} == {f"t={tag}&n={number}" for number in range(5)}
            assert {span.error_type for span in broken} <= reasons
            assert all(0.8 < span.duration_s < 10 for span in broken)
