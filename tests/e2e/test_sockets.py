"""Every kind of socket and every system call that moves bytes."""

from pathlib import Path

import pytest

from tests.e2e.conftest import STARTS, RunAgent, Serve
from tests.e2e.expect import assert_both_sides, assert_same, await_log
from tests.testbed import clients, nginx, servers
from tests.testbed.agent import Agent
from tests.testbed.clients import Ask
from tests.testbed.telemetry import CLIENT, SERVER
from tests.testbed.wire import Connection, request

RECEIVE = [
    "read", "recv", "recv-1", "recvfrom", "recvmsg", "recvmsg-into", "recvmmsg", "readv", "readv-1000", "peek",
    "waitall", "nonblocking",
]  # fmt: skip
SEND = ["write", "send", "send-1", "sendto", "sendmsg", "sendmmsg", "writev", "writev-1000", "sendfile", "splice"]


def some(tag: str) -> list[Ask]:
    return [Ask("GET", f"/hello?t={tag}"), Ask("POST", f"/echo?t={tag}", 5000), Ask("GET", f"/items/3?t={tag}")]


@pytest.mark.parametrize("start", [servers.go, servers.node, servers.gunicorn, servers.uvicorn, nginx.nginx])
def test_unix_socket(agent: Agent, tag: str, tmp_path: Path, start: object) -> None:
    path = Path(f"/tmp/otel-ebpf-{tag}.sock")  # short: sun_path has 108 bytes
    options = {"worker": "sync"} if start is servers.gunicorn else {}
    with start(host=str(path), **options) as server:  # type: ignore[operator]
        done = clients.curl(server, some(tag))
        assert_both_sides(agent, server, done.pid, tag, 3)
        if start is servers.go:
            done = clients.go(server, some(f"{tag}-go"))
            agent.settle()
            assert len(agent.spans(server.pids, SERVER, f"{tag}-go")) == 3
            assert len(agent.spans([done.pid], CLIENT, f"{tag}-go")) == 3
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("start", [servers.go, servers.node, servers.rust, servers.jdk, nginx.nginx])
def test_ipv6(agent: Agent, tag: str, start: object) -> None:
    with start(host="::1") as server:  # type: ignore[operator]
        done = clients.curl(server, some(tag))
        served, asked = assert_both_sides(agent, server, done.pid, tag, 3)
        assert {span.attributes["client.address"] for span in served} == {"::1"}
        assert {span.attributes["server.port"] for span in asked} == {server.port}
        assert all(str(span.attributes["url.full"]).startswith(f"{server.url}/") for span in asked)


@pytest.mark.parametrize(("receive", "send"), [*((how, "send") for how in RECEIVE), *(("recv", how) for how in SEND)])
def test_system_calls(agent: Agent, tag: str, receive: str, send: str) -> None:
    with servers.exotic(receive, send) as server:
        with Connection(server) as conn:
            for number in range(3):
                conn.send(request("GET", f"/items/{number}?t={tag}", "X-Filler: " + "f" * 100))
                assert len(conn.answer().body) == 1000
        log = await_log(server, tag, 3)
        agent.settle()
        served = agent.spans(server.pids, SERVER, tag)
        assert_same(served, log)
        assert [span.path for span in served] == ["/items/0", "/items/1", "/items/2"]


def test_splice_out_of_a_socket_invents_nothing(agent: Agent, tag: str) -> None:
    """No hook sees what is spliced out of a socket; what is reported must still be true."""
    with servers.exotic("splice", "send") as server:
        with Connection(server) as conn:
            conn.send(request("GET", f"/hello?t={tag}"))
            conn.answer()
        agent.settle()
        assert all(span.path == "/hello" for span in agent.spans(server.pids, SERVER, tag))


@pytest.mark.parametrize("server_name", STARTS)
def test_connections_older_than_the_agent(run_agent: RunAgent, serve: Serve, tag: str, server_name: str) -> None:
    if server_name == "gunicorn-sync":
        server_name = "gunicorn-gthread"  # the sync worker keeps no connection
    server = serve(server_name)
    with Connection(server) as conn, Connection(server) as untouched:
        conn.send(request("GET", f"/hello?t={tag}&n=before"))
        conn.answer()
        with run_agent() as agent:
            for number in range(3):
                for each in (conn, untouched):
                    each.send(request("POST", f"/echo?t={tag}&n={number}", body=b"x" * 100))
                    each.answer()
            log = [line for line in await_log(server, tag, 7) if "before" not in line.query]
            agent.settle()
            served = [span for span in agent.spans(server.pids, SERVER, tag) if "before" not in span.query]
            assert_same(served, log)
