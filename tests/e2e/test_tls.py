"""Requests within TLS: the same spans as in the clear, with scheme https, on the right connection.

Each server with curl, each client with nginx, and the pairs that are not OpenSSL on either side. Who keeps its library
from the socket (asyncio, Node: memory BIOs) is here as often as who does not.
"""

import os
import signal
import ssl
import time
from functools import partial

import pytest

from tests.e2e.conftest import ENCRYPTED, Serve
from tests.e2e.expect import (
    asks,
    assert_asked,
    assert_both_sides,
    assert_durations,
    assert_same,
    assert_valid,
    await_log,
)
from tests.testbed import clients, servers
from tests.testbed.agent import Agent
from tests.testbed.clients import Ask
from tests.testbed.process import eventually
from tests.testbed.telemetry import CLIENT, ERROR, SERVER
from tests.testbed.wire import Connection, request

TEN_MB = 10_000_000

CLIENTS = {**clients.ALL, "wget": clients.wget}
PAIRS = [
    *((server, "curl") for server in ENCRYPTED),
    *(("nginx", client) for client in CLIENTS if client != "curl"),
    ("go", "go"),
    ("node", "node-http"),
    ("uvicorn-httptools", "aiohttp"),
    ("uvicorn-h11", "wget"),
    ("http.server", "go"),
    *(("nginx-tls1.2", client) for client in CLIENTS if client != "curl"),
]


@pytest.mark.parametrize(("server_name", "client_name"), PAIRS)
def test_each_request_is_one_span_on_each_side(
    agent: Agent, secure: Serve, tag: str, server_name: str, client_name: str
) -> None:
    only_get = client_name == "wget"
    server, plan = secure(server_name), asks(tag, only_get)
    if (program := client_name.partition("-")[0]) in {"node", "go"}:
        secure(program)  # the client is the same file, and so has been met
    done = CLIENTS[client_name](server, plan)
    assert len(done.answers) == len(plan)
    log = await_log(server, tag, len(plan))
    if server_name.startswith("nginx"):
        assert {line.tls for line in log} == {"TLSv1.2" if server_name.endswith("1.2") else "TLSv1.3"}
    agent.settle()

    served = agent.spans(server.pids, SERVER, tag)
    assert_same(served, log)
    assert_valid(served, "https")
    for span in served:
        assert span.attributes["client.address"] == "127.0.0.1"
        assert span.attributes["server.port"] == server.port
    assert_durations(agent, server, CLIENTS[client_name], tag, log, only_get=only_get)
    assert_asked(agent.spans([done.pid], CLIENT, tag), server, log)
    if server.upstream:
        assert {span.attributes["url.scheme"] for span in agent.spans(server.upstream.pids, SERVER, tag)} == {"http"}


@pytest.mark.parametrize("server_name", ["nginx", "go", "http.server", "node"])
def test_pipelined(agent: Agent, secure: Serve, tag: str, server_name: str) -> None:
    server = secure(server_name)
    with Connection(server) as conn:
        conn.send(b"".join(request("GET", f"/items/{number}?t={tag}") for number in range(10)))
        for number in range(10):
            assert conn.answer().body == f"item {number}\n".encode()
    served, _ = assert_both_sides(agent, server, os.getpid(), tag, 10)
    assert [span.path for span in served] == [f"/items/{number}" for number in range(10)]


@pytest.mark.parametrize("server_name", ["nginx", "go", "node", "http.server", "uvicorn-httptools"])
def test_ten_megabytes(agent: Agent, secure: Serve, tag: str, server_name: str) -> None:
    server = secure(server_name)
    plan = [
        Ask("GET", f"/bytes/{TEN_MB}?t={tag}"),
        Ask("POST", f"/echo?t={tag}", TEN_MB),
        Ask("GET", f"/chunked/100000?t={tag}"),
        Ask("GET", f"/hello?t={tag}"),
    ]
    done = clients.curl(server, plan)
    assert done.answers == [(200, TEN_MB), (200, TEN_MB), (200, 100_000), (200, 6)]
    for side in assert_both_sides(agent, server, done.pid, tag, 4):
        assert [span.attributes.get("http.request.body.size", 0) for span in side] == [0, TEN_MB, 0, 0]


@pytest.mark.parametrize("server_name", ["nginx", "http.server", "uvicorn-httptools", "node", "go"])
def test_a_client_that_is_limited_to_tls_1_2(agent: Agent, secure: Serve, tag: str, server_name: str) -> None:
    """On one connection: one after the other, in chunks, large in both directions, pipelined."""
    server = secure(server_name)
    plan = [
        *(Ask("GET", f"/items/{number}?t={tag}") for number in range(3)),
        Ask("GET", f"/chunked/100000?t={tag}"),
        Ask("POST", f"/echo?t={tag}", TEN_MB),
        Ask("GET", f"/bytes/{TEN_MB}?t={tag}"),
    ]
    targets = [f"/items/{number}?t={tag}" for number in range(10, 20)]
    with Connection(server, newest=ssl.TLSVersion.TLSv1_2) as conn:
        assert conn.version == "TLSv1.2"
        sizes = []
        for ask in plan:
            conn.send(request(ask.method, ask.target, body=b"x" * ask.body_bytes))
            sizes.append(len(conn.answer().body))
        assert sizes == [7, 7, 7, 100_000, TEN_MB, TEN_MB]
        conn.send(b"".join(request("GET", target) for target in targets))
        assert [conn.answer().body for _ in targets] == [f"item {number}\n".encode() for number in range(10, 20)]
        address = conn.sock.getsockname()
    served, asked = assert_both_sides(agent, server, os.getpid(), tag, len(plan) + len(targets))
    for side in (served, asked):
        assert [f"{span.path}?t={tag}" for span in side] == [ask.target for ask in plan] + targets
        assert [span.attributes.get("http.request.body.size", 0) for span in side] == [0, 0, 0, 0, TEN_MB] + [0] * 11
    assert {(span.attributes["client.address"], span.attributes["client.port"]) for span in served} == {address}


@pytest.mark.parametrize(
    ("server_name", "target"),
    [
        ("nginx", "/sse"),
        ("nginx", "/bytes/10000000"),
        ("go", "/sse"),
        ("go", "/bytes/10000000"),
        # Node has given its library all of a large body by then: to it the answer is complete.
        ("node", "/sse"),
        ("uvicorn-h11", "/sse"),
    ],
)
def test_client_resets_in_the_middle_of_the_answer(
    agent: Agent, secure: Serve, tag: str, server_name: str, target: str
) -> None:
    server = secure(server_name)
    conn = Connection(server)
    conn.send(request("GET", f"{target}?t={tag}"))
    conn.sock.recv(20)
    conn.reset()
    for pids, kind in ((server.pids, SERVER), ([os.getpid()], CLIENT)):
        (span,) = eventually(partial(agent.spans, pids, kind, tag), "the span arrives")
        assert span.error_type, span
        assert span.status == ERROR
    agent.settle()
    assert len(agent.spans(server.pids, SERVER, tag)) == 1


def test_server_killed_while_it_answers(agent: Agent, secure: Serve, tag: str) -> None:
    secure("go")  # its program has been met
    with servers.go(encrypted=True) as server:
        pids = server.pids
        with Connection(server) as conn:
            conn.send(request("GET", f"/sleep/20000?t={tag}"))
            time.sleep(0.4)
            server.program.popen.send_signal(signal.SIGKILL)
            conn.rest()
        agent.settle()
        (served,) = agent.spans(pids, SERVER, tag)
        assert served.error_type == "process_exit"
        (asked,) = agent.spans([os.getpid()], CLIENT, tag)
        assert asked.error_type
        server.program.popen.wait()


def test_tls_that_we_do_not_know_is_nothing(agent: Agent, secure: Serve, tag: str) -> None:
    """Java's own: its client is seen, and of itself there is not a span, right or wrong."""
    with servers.jdk(encrypted=True) as server:
        done = clients.curl(server, asks(tag))
        log = await_log(server, tag, len(done.answers))
        agent.settle()
        assert_asked(agent.spans([done.pid], CLIENT, tag), server, log)
        assert agent.spans(server.pids) == []
