"""Requests within TLS: the same spans as in the clear, with scheme https, on the right connection.

Each server with curl, each client with nginx, and the pairs that are not OpenSSL on either side. Who keeps its library
from the socket (asyncio, Node: memory BIOs) is here as often as who does not.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.expect import assert_same, assert_valid, await_log, logged_rows, method_of, wrong_durations
from tests.testbed import clients, nginx, servers
from tests.testbed.agent import Agent
from tests.testbed.clients import Ask
from tests.testbed.process import eventually
from tests.testbed.servers import Server
from tests.testbed.telemetry import CLIENT, SERVER, Span

STARTS: dict[str, Callable[[], AbstractContextManager[Server]]] = {
    "nginx": lambda: nginx.nginx(encrypted=True),
    "http.server": lambda: servers.http_server(encrypted=True),
    "gunicorn-sync": lambda: servers.gunicorn(encrypted=True),
    "gunicorn-gthread": lambda: servers.gunicorn("gthread", encrypted=True),
    "uvicorn-h11": lambda: servers.uvicorn(encrypted=True),
    "uvicorn-httptools": lambda: servers.uvicorn("httptools", encrypted=True),
    "node": lambda: servers.node(encrypted=True),
    "go": lambda: servers.go(encrypted=True),
    "go-stripped": lambda: servers.go(encrypted=True, build="stripped"),
}
CLIENTS = {**clients.ALL, "wget": clients.wget}
PAIRS = [
    *((server, "curl") for server in STARTS),
    *(("nginx", client) for client in CLIENTS if client != "curl"),
    ("go", "go"),
    ("node", "node-http"),
    ("uvicorn-httptools", "aiohttp"),
    ("uvicorn-h11", "wget"),
    ("http.server", "go"),
]


def meet(agent: Agent, server: Server) -> None:
    """Makes requests until the agent sees them: it looks for TLS in a program once it has met it."""

    def seen() -> bool:
        clients.curl(server, [Ask("GET", "/status/200?t=meet"), Ask("GET", "/chunked/10?t=meet")])
        agent.settle()
        return all(agent.spans(each.pids, SERVER, "meet") for each in (server, server.upstream) if each)

    eventually(seen, f"{server.name} is seen")


@pytest.fixture(scope="module")
def secure(agent: Agent) -> Iterator[Serve]:
    """Starts a server with TLS by name, once; it is met by then. What comes before that is test_how_soon's."""
    with ExitStack() as stack:
        started: dict[str, Server] = {}

        def start(name: str) -> Server:
            if name not in started:
                started[name] = stack.enter_context(STARTS[name]())
                meet(agent, started[name])
            return started[name]

        yield start


def asks(tag: str, only_get: bool = False) -> list[Ask]:
    """A bit of everything."""
    plan = [
        ("GET", "/hello", 0),
        ("HEAD", "/bytes/1000", 0),
        ("GET", "/bytes/100000", 0),
        ("POST", "/echo", 20_000),
        ("GET", "/chunked/5500", 0),
        ("GET", "/status/204", 0),
        ("GET", "/status/404", 0),
        ("GET", "/status/503", 0),
        ("PUT", "/echo", 10),
        ("GET", "/sleep/60", 0),
        ("GET", "/sse", 0),
    ]
    wanted = [row for row in plan if not only_get or (row[0] == "GET" and not row[1].startswith("/status"))]
    return [Ask(method, f"{path}?t={tag}", size) for method, path, size in wanted]


def assert_client(asked: list[Span], server: Server, log: list[servers.LogLine]) -> None:
    """The client's side of what the server logged."""
    assert [(method_of(span), span.path, span.status_code) for span in asked] == [
        (line.method, line.path, line.status) for line in log
    ]
    for span in asked:
        assert span.attributes["server.port"] == server.port
        assert span.attributes["server.address"] == server.host
        assert str(span.attributes["url.full"]).startswith(f"https://{server.host}:{server.port}/")
    bodies = Counter(span.attributes.get("http.response.body.size") for span in asked)
    assert bodies == Counter(row[3] for row in logged_rows(log))


@pytest.mark.parametrize(("server_name", "client_name"), PAIRS)
def test_each_request_is_one_span_on_each_side(
    agent: Agent, secure: Serve, tag: str, server_name: str, client_name: str
) -> None:
    server, plan = secure(server_name), asks(tag, client_name == "wget")
    done = CLIENTS[client_name](server, plan)
    assert len(done.answers) == len(plan)
    log = await_log(server, tag, len(plan))
    agent.settle()

    served = agent.spans(server.pids, SERVER, tag)
    assert_same(served, log)
    assert_valid(served, "https")
    for span in served:
        assert span.attributes["client.address"] == "127.0.0.1"
        assert span.attributes["server.port"] == server.port
    wrong = wrong_durations(served, log)
    assert len(wrong) <= 1, wrong  # on a busy machine one may be off; all are compared in the clear
    assert_client(agent.spans([done.pid], CLIENT, tag), server, log)
    if server.upstream:
        assert {span.attributes["url.scheme"] for span in agent.spans(server.upstream.pids, SERVER, tag)} == {"http"}
