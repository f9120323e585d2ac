"""One Collector and one agent for each module's tests that need no other; servers that are started once."""

import functools
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import pytest

from tests.testbed import agent as agents
from tests.testbed import collector as collectors
from tests.testbed import grpc, http2, nginx, servers
from tests.testbed.clients import Ask, Done, curl
from tests.testbed.process import eventually
from tests.testbed.telemetry import SERVER, Span

STARTS: dict[str, Callable[[], AbstractContextManager[servers.Server]]] = {
    "nginx": nginx.nginx,
    "http.server": servers.http_server,
    "gunicorn-sync": servers.gunicorn,
    "gunicorn-gthread": lambda: servers.gunicorn("gthread"),
    "uvicorn-h11": servers.uvicorn,
    "uvicorn-httptools": lambda: servers.uvicorn("httptools"),
    "node": servers.node,
    "go": servers.go,
    "jdk": servers.jdk,
    "rust": servers.rust,
}

ENCRYPTED: dict[str, Callable[[], AbstractContextManager[servers.Server]]] = {
    "nginx": lambda: nginx.nginx(encrypted=True),
    "nginx-tls1.2": lambda: nginx.nginx(encrypted=True, versions="TLSv1.2"),
    "http.server": lambda: servers.http_server(encrypted=True),
    "gunicorn-sync": lambda: servers.gunicorn(encrypted=True),
    "gunicorn-gthread": lambda: servers.gunicorn("gthread", encrypted=True),
    "uvicorn-h11": lambda: servers.uvicorn(encrypted=True),
    "uvicorn-httptools": lambda: servers.uvicorn("httptools", encrypted=True),
    "node": lambda: servers.node(encrypted=True),
    "go": lambda: servers.go(encrypted=True),
    "go-stripped": lambda: servers.go(encrypted=True, build="stripped"),
}

Serve = Callable[[str], servers.Server]
RunAgent = Callable[..., AbstractContextManager[agents.Agent]]


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    assert os.geteuid() == 0, "these tests load BPF programs: run them as root"
    assert agents.COMMAND.exists(), f"{agents.COMMAND} is not there: make setup"


@pytest.fixture(scope="module")
def web() -> Iterator[servers.Server]:
    """An nginx of one worker; /quiet is not logged, /count says how many requests there were."""
    with nginx.nginx(workers=1, proxy=False) as started:
        yield started


@pytest.fixture(scope="module")
def collector() -> Iterator[collectors.Collector]:
    """A Collector that runs."""
    with collectors.collector() as started:
        yield started


@pytest.fixture(scope="session")
def fence() -> Iterator[agents.Fence]:
    """Marks a point in time."""
    with agents.fence() as standing:
        yield standing


@pytest.fixture(scope="module")
def agent(collector: collectors.Collector, fence: agents.Fence) -> Iterator[agents.Agent]:
    """The agent that watches everything, for tests that tell their own requests by process and tag."""
    with agents.running(collector, fence) as started:
        yield started


@pytest.fixture(scope="session")
def run_agent(fence: agents.Fence) -> RunAgent:
    """Starts an agent with options and a Collector of its own."""

    @contextmanager
    def run(*options: str, **keywords: Any) -> Iterator[agents.Agent]:
        with collectors.collector() as own, agents.running(own, fence, *options, **keywords) as started:
            yield started

    return run


@pytest.fixture(scope="session")
def serve() -> Iterator[Serve]:
    """Starts a server by name, once; it has answered a few requests by then, so that nothing of it is new."""
    with ExitStack() as stack:

        @functools.cache
        def start(name: str) -> servers.Server:
            started = stack.enter_context(STARTS[name]())
            targets = ("/hello", "/bytes/1000", "/chunked/1000", "/sleep/1", "/status/404", "/items/1")
            curl(started, [Ask("GET", target) for target in targets * 2])
            return started

        yield start


@pytest.fixture(scope="session")
def encrypted() -> Iterator[Serve]:
    """Starts a server with TLS by name, once."""
    with ExitStack() as stack:
        yield functools.cache(lambda name: stack.enter_context(ENCRYPTED[name]()))


def meet(
    agent: agents.Agent, server: servers.Server, client: Callable[[servers.Server, list[Ask]], Done] = curl
) -> servers.Server:
    """Makes requests until the agent sees them: its library is probed from then on."""

    def seen() -> bool:
        client(server, [Ask("GET", "/status/200?t=meet"), Ask("GET", "/chunked/10?t=meet")])
        agent.settle()
        return all(agent.spans(each.pids, SERVER, "meet") for each in (server, server.upstream) if each)

    eventually(seen, f"{server.name} is seen", 30)
    return server


@pytest.fixture(scope="module")
def secure(agent: agents.Agent, encrypted: Serve) -> Serve:
    """The same for a module's agent, which has met it by then. What is before that is test_tls_agents.py's."""
    return functools.cache(lambda name: meet(agent, encrypted(name)))


@pytest.fixture(scope="session")
def started2() -> Iterator[Serve]:
    """Starts a server of HTTP/2 by name, once."""
    with ExitStack() as stack:
        yield functools.cache(lambda name: stack.enter_context(http2.SERVERS[name]()))


@pytest.fixture(scope="module")
def serve2(agent: agents.Agent, started2: Serve) -> Serve:
    """The same for a module's agent, which has met those with TLS."""

    @functools.cache
    def start(name: str) -> servers.Server:
        server = started2(name)
        return meet(agent, server, http2.curl) if server.encrypted else server

    return start


@pytest.fixture(scope="session")
def started_grpc() -> Iterator[Serve]:
    """Starts a server of gRPC by name, once; those of "NAME-tls" within TLS."""
    with ExitStack() as stack:

        def start(name: str) -> servers.Server:
            return stack.enter_context(grpc.server(name.removesuffix("-tls"), encrypted=name.endswith("-tls")))

        yield functools.cache(start)


@pytest.fixture(scope="module")
def serve_grpc(agent: agents.Agent, started_grpc: Serve) -> Serve:
    """The same for a module's agent, which has met those with TLS."""

    def seen(server: servers.Server) -> list[Span]:
        with grpc.client("go", server) as client:
            client.ask([grpc.Call()])
        agent.settle()
        return agent.spans(server.pids, SERVER)

    @functools.cache
    def start(name: str) -> servers.Server:
        server = started_grpc(name)
        if server.encrypted:
            eventually(lambda: seen(server), f"{server.name} is seen", 30)
        return server

    return start


_tags = itertools.count(1)


@pytest.fixture
def tag() -> str:
    """For the query of a test's requests: `?t=` and this."""
    return f"{os.getpid()}-{next(_tags)}"
