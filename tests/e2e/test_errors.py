"""Requests that get no proper answer."""

import signal
import socket
import subprocess
import threading
import time

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.expect import assert_valid
from tests.testbed import cache, servers, wire
from tests.testbed.agent import Agent
from tests.testbed.process import eventually
from tests.testbed.telemetry import CLIENT, ERROR, SERVER
from tests.testbed.wire import Connection, request


def curl(url: str, *options: str) -> subprocess.Popen[bytes]:
    """A curl that goes on in the background."""
    return subprocess.Popen([cache.tool("curl", "curl"), "-s", "-g", "-o", "/dev/null", *options, url])


def test_server_killed_while_it_answers(agent: Agent, tag: str) -> None:
    with servers.go() as server:
        pids = server.pids
        with curl(f"{server.url}/sleep/20000?t={tag}") as client:
            time.sleep(0.4)
            server.program.popen.send_signal(signal.SIGKILL)
            assert client.wait(10) != 0
        agent.settle()
        (served,) = agent.spans(pids, SERVER, tag)
        (asked,) = agent.spans([client.pid], CLIENT, tag)
        for span in (served, asked):
            assert span.error_type, span
            assert span.status == ERROR
            assert "http.response.status_code" not in span.attributes
            assert 0.3 < span.duration_s < 2
        assert served.error_type == "process_exit"
        server.program.popen.wait()
        assert_valid([served, asked])


def test_client_gives_up(agent: Agent, serve: Serve, tag: str) -> None:
    server = serve("go")
    with curl(f"{server.url}/sleep/1500?t={tag}", "-m", "0.3") as client:
        assert client.wait(10) == 28
    agent.settle()
    (asked,) = agent.spans([client.pid], CLIENT, tag)
    assert asked.error_type
    assert asked.status == ERROR
    assert 0.25 < asked.duration_s < 0.6
    eventually(lambda: agent.spans(server.pids, SERVER, tag), "the server's side is told too")
    agent.settle()
    assert len(agent.spans(server.pids, SERVER, tag)) == 1


@pytest.mark.parametrize("target", ["/sse", "/bytes/10000000"])
def test_client_resets_in_the_middle_of_the_answer(agent: Agent, serve: Serve, tag: str, target: str) -> None:
    server = serve("go")
    conn = Connection(server)
    conn.send(request("GET", f"{target}?t={tag}"))
    conn.sock.recv(20)
    conn.reset()
    (served,) = eventually(lambda: agent.spans(server.pids, SERVER, tag), "the span arrives")
    agent.settle()
    assert len(agent.spans(server.pids, SERVER, tag)) == 1
    assert served.error_type
    assert served.status == ERROR


def test_server_closes_without_a_word(agent: Agent, tag: str) -> None:
    def handle(conn: socket.socket) -> None:
        wire.read_head(conn)

    with wire.serving(handle) as (host, port), curl(f"http://{host}:{port}/a?t={tag}") as client:
        assert client.wait(10) != 0
    agent.settle()
    (asked,) = agent.spans([client.pid], CLIENT, tag)
    assert asked.error_type == "connection_closed"
    assert asked.status == ERROR


def test_server_closes_in_the_middle_of_a_body(agent: Agent, tag: str) -> None:
    def handle(conn: socket.socket) -> None:
        wire.read_head(conn)
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nnot quite")

    with wire.serving(handle) as (host, port), curl(f"http://{host}:{port}/a?t={tag}") as client:
        assert client.wait(10) != 0
    agent.settle()
    (asked,) = agent.spans([client.pid], CLIENT, tag)
    assert asked.status_code == 200
    assert asked.error_type
    assert asked.attributes.get("http.response.body.size") in (9, None)


def test_answer_that_is_not_http(agent: Agent, tag: str) -> None:
    def handle(conn: socket.socket) -> None:
        wire.read_head(conn)
        conn.sendall(b"220 mail.example ESMTP\r\n" * 3)

    with wire.serving(handle) as (host, port), curl(f"http://{host}:{port}/a?t={tag}") as client:
        client.wait(10)
    agent.settle()
    for span in agent.spans([client.pid], CLIENT, tag):
        assert span.error_type
        assert span.status_code == 0


def test_many_servers_killed_leave_the_agent_well(agent: Agent, tag: str) -> None:
    with servers.http_server() as server:
        threads = [
            threading.Thread(target=lambda: curl(f"{server.url}/sleep/20000?t={tag}").wait(20)) for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        pids = server.pids
        time.sleep(1)
        server.program.popen.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join()
        agent.settle()
        served = agent.spans(pids, SERVER, tag)
        assert len(served) == 20
        assert {span.error_type for span in served} == {"process_exit"}
        server.program.popen.wait()
