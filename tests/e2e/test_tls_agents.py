"""Agents that start and end while TLS is spoken: which connection a request is on, and what was there before."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunAgent, Serve, meet
from tests.e2e.expect import assert_same, await_log
from tests.testbed import agent as agents
from tests.testbed import cache, clients, nginx, tls
from tests.testbed.agent import Agent
from tests.testbed.clients import Ask
from tests.testbed.process import eventually
from tests.testbed.servers import Server
from tests.testbed.telemetry import CLIENT, SERVER
from tests.testbed.wire import Connection, request

ONLY = [f"--exe={name}" for name in ("python*", "nginx", "node", "app", "curl", "wget", "wrk")]


MANY = [(server, client, 50) for server in ("nginx", "uvicorn-httptools", "node", "go") for client in clients.MANY]
# One thread on each side.
MANY += [("uvicorn-httptools", "aiohttp", 200), ("node", "aiohttp", 200), ("uvicorn-h11", "node", 200)]


@pytest.mark.parametrize(("server_name", "client_name", "connections"), MANY)
def test_each_request_is_on_its_own_connection(
    encrypted: Serve, tag: str, tmp_path: Path, server_name: str, client_name: str, connections: int
) -> None:
    """Many connections at once: the server says in each body by which port it was asked, and so must the agent."""
    server = encrypted(server_name)
    for name in ("node", "go"):
        encrypted(name)  # their programs are the clients' as well, and so have been met
    with agents.shown(tmp_path, *ONLY) as rows:

        def seen(wanted: str) -> list[dict[str, Any]]:
            return [row for row in rows() if f"t={wanted}" in row["target"]]

        def met(name: str) -> bool:
            clients.curl(encrypted(name), [Ask("GET", f"/hello?t={name}")])
            return any(row["role"] == "server" for row in seen(name))

        for name in ("node", "go", server_name):
            eventually(partial(met, name), f"{name} is met")
        done = clients.MANY[client_name](server, tag, connections, 4)
        requests = 4 * connections
        assert len(done.ports) == requests
        found = eventually(lambda: all_of if len(all_of := seen(tag)) >= 2 * requests else [], "all lines are shown")
    assert len(found) == 2 * requests
    for role in ("client", "server"):
        told = {int(row["target"].rpartition("n=")[2]): row["client"] for row in found if row["role"] == role}
        assert told == {number: f"127.0.0.1:{port}" for number, port in done.ports.items()}
    assert {row["server"] for row in found} == {f"127.0.0.1:{server.port}"}
    assert {row["pid"] for row in found if row["role"] == "client"} == {done.pid}
    # Go's may find one that is free again already.
    assert len(set(done.ports.values())) >= connections * (0.4 if client_name == "go" else 1)


@pytest.mark.parametrize("server_name", ["nginx", "http.server", "gunicorn-gthread", "uvicorn-h11", "node", "go"])
def test_connections_older_than_the_agent(run_agent: RunAgent, encrypted: Serve, tag: str, server_name: str) -> None:
    """Whose library reads the socket is known from its next read on. Of a memory BIO it is never known: it is counted.

    A thread that waits in a read since before the agent started ends it unseen: its request is not seen, the next is.
    """
    server = encrypted(server_name)
    waits = server_name in {"http.server", "go"}
    memory = server_name in {"uvicorn-h11", "node"}
    with Connection(server) as conn:
        conn.send(request("GET", f"/hello?t={tag}&n=before"))
        conn.answer()
        with run_agent(*ONLY) as agent:
            meet(agent, server)
            for number in range(5):
                conn.send(request("POST", f"/echo?t={tag}&n={number}", body=b"x" * 100))
                conn.answer()
                agent.settle()
            log = [line for line in await_log(server, tag, 6) if "before" not in line.query]
            served = agent.spans(server.pids, SERVER, tag)
            assert_same(served, [] if memory else log[1:] if waits else log)
            assert agent.end() == 0
            unbound = agent.summary()["records"]["tls.unbound"]
            assert unbound >= 10 if memory else unbound == 0


def test_check_says_what_is_attached_right_now(run_agent: RunAgent, encrypted: Serve, tag: str) -> None:
    server = encrypted("nginx")

    def attached() -> tuple[set[int | None], str]:
        command = [sys.executable, "-m", "otel_ebpf", "check", "--pid", str(server.program.pid)]
        report = json.loads(subprocess.run([*command, "-o", "json"], capture_output=True, text=True).stdout)
        files = [file for file in report["tls"]["files"] if file["result"] == "attachable"]
        assert {file["implementation"] for file in files} == {"openssl"}
        text = subprocess.run(command, capture_output=True, text=True).stdout
        (line,) = (line for line in text.splitlines() if "attached right now" in line)
        return {file["attached"] for file in files}, line

    with run_agent() as agent:
        meet(agent, server, clients.curl)
        places, line = attached()
        assert places
        assert 0 not in places
        assert line.endswith("attached right now: yes")
    places, line = attached()
    assert places == {0}
    assert "attached right now: no" in line


def test_nothing_is_lost_to_attaching_and_detaching(run_agent: RunAgent, encrypted: Serve, tag: str) -> None:
    server = encrypted("nginx")
    with load(server) as wrk:
        for run in range(5):
            with run_agent(*ONLY, "--metrics-only") as agent:
                eventually(lambda: served(agent, server) > 100, "the load is seen")
                clients.curl(server, [Ask("GET", f"/hello?t={tag}-{run}")] * 3)
                assert agent.end() == 0
            assert wrk.poll() is None
    assert len(await_log(server, f"{tag}-0", 3)) == 3


@pytest.mark.slow
def test_nothing_is_lost_to_probes_that_come_and_go_a_hundred_times(
    run_agent: RunAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules are read anew that select server and client, and then neither: nobody else maps their library."""
    for name in ("libssl.so.3", "libcrypto.so.3"):
        shutil.copy(tls.debian_library(name, "libssl3"), tmp_path / name)
    file = tmp_path / "config.yaml"

    def write(*pids: int) -> None:
        selection = {"include": [{"pid": list(pids)}]}
        file.write_text(agents.configuration(spans_per_second=1, selection=selection))

    with ExitStack() as stack:
        with monkeypatch.context() as patched:
            patched.setenv("LD_LIBRARY_PATH", str(tmp_path))
            server = stack.enter_context(nginx.nginx(workers=1, proxy=False, encrypted=True))
            eventually(lambda: len(server.pids) == 2, "it has its worker")
            wrk = stack.enter_context(load(server))
        both = {*server.pids, wrk.pid}

        def mapped() -> bool:
            return all(str(tmp_path) in Path(f"/proc/{pid}/maps").read_text() for pid in both)

        eventually(mapped, "they map the library of their own")
        write(*both)
        agent = stack.enter_context(run_agent("--config", str(file)))
        eventually(lambda: served(agent, server) > 100, "the load is seen")
        attached = probes_of(agent)
        for _ in range(100):
            write(os.getpid())
            agent.program.popen.send_signal(signal.SIGHUP)
            eventually(lambda: probes_of(agent) < attached, "its probes are gone", every=0.005)
            write(*both)
            agent.program.popen.send_signal(signal.SIGHUP)
            eventually(lambda: probes_of(agent) == attached, "its probes are back", every=0.005)
        before = served(agent, server)
        eventually(lambda: served(agent, server) > before + 100, "the load is seen again")
        assert wrk.poll() is None


def probes_of(agent: Agent) -> int:
    """How many links to places in programs the agent holds."""
    found = 0
    for info in Path(f"/proc/{agent.program.pid}/fdinfo").iterdir():
        with suppress(OSError):
            found += bool(re.search(r"^link_type:\s*u(ret)?probe|^link_type:\s*perf", info.read_text(), re.MULTILINE))
    return found


def served(agent: Agent, server: Server) -> int:
    """Requests that the agent has told the server to have answered."""
    agent.telemetry.refresh()
    return agent.telemetry.count("http.server.request.duration", server.pids)


@contextmanager
def load(server: Server) -> Iterator["subprocess.Popen[str]"]:
    """wrk, which reports no error in the end."""
    argv = [cache.tool("wrk", "wrk"), "-t1", "-c8", "-d120s", f"{server.url}/quiet"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as wrk:
        try:
            yield wrk
            wrk.send_signal(signal.SIGINT)  # it reports, and ends as it would have
            out, _ = wrk.communicate(timeout=30)
        finally:
            wrk.kill()
    assert wrk.returncode == 0
    assert "Socket errors" not in out
    assert "Non-2xx" not in out
    server.program.must_run()


KILLED = """
import http.client, os, signal, ssl, sys
connection = http.client.HTTPSConnection("127.0.0.1", int(sys.argv[1]), context=ssl.create_default_context())
connection.request("GET", sys.argv[2])
connection.getresponse().read()
os.kill(os.getpid(), signal.SIGKILL)
"""


def sessions_of(pids: set[int]) -> set[int]:
    """Those of the processes of which the kernel side, of any agent, holds TLS sessions."""
    bpftool = cache.tool("bpftool", "bpftool")

    def read(*what: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(cache.command([bpftool, "-j", "map", *what]) or "[]")
        return rows

    maps = [row["id"] for row in read("list") if row.get("name") == "tls_conns"]
    return {row["formatted"]["key"]["tgid"] for each in maps for row in read("dump", "id", str(each))} & pids


def test_sessions_of_the_killed_are_forgotten(run_agent: RunAgent, encrypted: Serve, tag: str) -> None:
    server = encrypted("nginx")
    env = {**os.environ, **tls.certificate().trust}
    with run_agent(*ONLY) as agent:
        meet(agent, server)
        argv = [sys.executable, "-c", KILLED, str(server.port), f"/hello?t={tag}"]
        pids = set()
        for _ in range(3):
            with subprocess.Popen(argv, env=env) as client:
                assert client.wait(20) == -signal.SIGKILL
            pids.add(client.pid)
        assert sessions_of(pids) == pids
        agent.settle()
        assert len(agent.spans(pids, CLIENT, tag)) == 3
        eventually(lambda: not sessions_of(pids), "nothing of theirs is kept", 10)
