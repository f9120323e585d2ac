"""HTTP/1 as real servers and clients speak it, cut in ways that no client library would cut it."""

import socket
import threading

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.expect import assert_both_sides, assert_same, assert_valid, await_log, method_of
from tests.testbed import clients, servers, wire
from tests.testbed.agent import Agent
from tests.testbed.clients import Ask
from tests.testbed.servers import Server
from tests.testbed.telemetry import CLIENT, SERVER, UNSET
from tests.testbed.wire import Connection, request

REAL = ["nginx", "go", "node", "rust", "jdk", "http.server", "gunicorn-gthread", "uvicorn-httptools"]


def reach(address: tuple[str, int]) -> Server:
    """A server of wire.serving, for clients that want a Server."""
    return Server("wire", None, *address, log=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("server_name", REAL)
def test_keep_alive(agent: Agent, serve: Serve, tag: str, server_name: str) -> None:
    server = serve(server_name)
    with Connection(server) as conn:
        for number in range(20):
            conn.send(request("GET", f"/items/{number}?t={tag}"))
            conn.answer()
    agent.settle()
    served = agent.spans(server.pids, SERVER, tag)
    assert [span.path for span in served] == [f"/items/{number}" for number in range(20)]
    assert_same(served, server.access_log(tag))
    assert len({span.attributes["client.address"] for span in served}) == 1


@pytest.mark.parametrize("depth", [16, 100])
@pytest.mark.parametrize("server_name", ["nginx", "go", "node", "rust", "uvicorn-h11"])
def test_pipelining_gives_one_span_per_request_in_order(
    agent: Agent, serve: Serve, tag: str, server_name: str, depth: int
) -> None:
    server = serve(server_name)
    with Connection(server) as conn:
        conn.send(b"".join(request("GET", f"/items/{number}?t={tag}") for number in range(depth)))
        bodies = [conn.answer().body for _ in range(depth)]
    assert bodies == [f"item {number}\n".encode() for number in range(depth)]
    agent.settle()
    served = agent.spans(server.pids, SERVER, tag)
    assert_same(served, await_log(server, tag, depth))
    by_end = sorted(served, key=lambda span: span.end_ns)
    assert [span.path for span in by_end] == [f"/items/{number}" for number in range(depth)]


@pytest.mark.parametrize("server_name", REAL)
def test_request_sent_byte_by_byte(agent: Agent, serve: Serve, tag: str, server_name: str) -> None:
    server = serve(server_name)
    trace = "0af7651916cd43dd8448eb211c80319c"
    with Connection(server) as conn:
        for number in range(2):
            header = f"traceparent: 00-{trace}-b7ad6b7169203331-01"
            conn.send(request("POST", f"/echo?t={tag}&n={number}", header, body=b"GET / HTTP/1.1\r\n\r\n"), every=1)
            assert conn.answer().body == b"GET / HTTP/1.1\r\n\r\n"
    agent.settle()
    served = agent.spans(server.pids, SERVER, tag)
    assert_same(served, await_log(server, tag, 2))
    assert {span.trace_id for span in served} == {trace}
    assert {span.attributes.get("http.request.body.size") for span in served} == {18}


@pytest.mark.parametrize("every", [1, 7, 1000])
@pytest.mark.parametrize("client_name", clients.ALL)
def test_response_that_arrives_in_pieces(agent: Agent, tag: str, client_name: str, every: int) -> None:
    body = b"HTTP/1.1 500 No\r\n\r\n" * 20
    response = b"HTTP/1.1 200 OK\r\nX-Filler: y\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    def handle(conn: socket.socket) -> None:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while wire.read_head(conn):
            for begin in range(0, len(response), every):
                conn.sendall(response[begin : begin + every])

    with wire.serving(handle) as address:
        done = clients.ALL[client_name](reach(address), [Ask("GET", f"/a?t={tag}")] * 2)
    assert done.answers == [(200, len(body))] * 2
    agent.settle()
    asked = agent.spans([done.pid], CLIENT, tag)
    assert [(span.status_code, span.attributes.get("http.response.body.size")) for span in asked] == done.answers


@pytest.mark.parametrize("server_name", REAL)
def test_responses_without_a_body(agent: Agent, serve: Serve, tag: str, server_name: str) -> None:
    server = serve(server_name)
    paths = {"HEAD": ["/bytes/1000", "/hello"], "GET": ["/status/204", "/status/304", "/hello"]}
    sent = [(method, path) for method in paths for path in paths[method]]
    with Connection(server) as conn:
        for method, path in sent:
            conn.send(request(method, f"{path}?t={tag}"))
            conn.answer(method)
    agent.settle()
    served = agent.spans(server.pids, SERVER, tag)
    assert [(span.method, span.path) for span in served] == sent
    assert_same(served, await_log(server, tag, len(sent)))


@pytest.mark.parametrize("server_name", ["nginx", "go", "node", "rust", "uvicorn-h11", "gunicorn-gthread"])
def test_100_continue(agent: Agent, serve: Serve, tag: str, server_name: str) -> None:
    server = serve(server_name)
    done = clients.curl(server, [Ask("POST", f"/echo?t={tag}", 300_000)], "-H", "Expect: 100-continue")
    assert done.answers == [(200, 300_000)]
    agent.settle()
    served, asked = agent.spans(server.pids, SERVER, tag), agent.spans([done.pid], CLIENT, tag)
    assert_same(served, await_log(server, tag, 1))
    for span in (*served, *asked):
        assert span.status_code == 200
        assert span.attributes.get("http.request.body.size") == 300_000
        assert span.attributes.get("http.response.body.size") == 300_000
    assert len(asked) == 1


def test_early_hints_before_the_final_status(agent: Agent, tag: str) -> None:
    def handle(conn: socket.socket) -> None:
        wire.read_head(conn)
        conn.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
        conn.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")

    with wire.serving(handle) as address:
        done = clients.curl(reach(address), [Ask("GET", f"/a?t={tag}")])
    agent.settle()
    assert [span.status_code for span in agent.spans([done.pid], CLIENT, tag)] == [201]


@pytest.mark.parametrize("server_name", ["go", "node", "rust", "http.server", "uvicorn-h11", "gunicorn-gthread"])
def test_chunked_request_with_extensions_and_trailer(agent: Agent, serve: Serve, tag: str, server_name: str) -> None:
    server = serve(server_name)
    body = wire.chunked([b"x" * 10, b"y" * 1000, b"\r\n0\r\n\r\n"], extension=";a=b", trailer="X-Sum: 1\r\n")
    head = request("POST", f"/echo?t={tag}", "Transfer-Encoding: chunked", "Trailer: X-Sum")
    with Connection(server) as conn:
        for every in (0, 1):
            conn.send(head + body, every)
            assert len(conn.answer().body) == 1017
    agent.settle()
    served = agent.spans(server.pids, SERVER, tag)
    assert_same(served, await_log(server, tag, 2))
    assert [span.attributes.get("http.request.body.size") for span in served] == [1017, 1017]


def test_body_until_close(agent: Agent, tag: str) -> None:
    with servers.http_server(version="1.0") as server:
        done = clients.curl(server, [Ask("GET", f"/chunked/5000?t={tag}"), Ask("GET", f"/sse?t={tag}")])
        assert done.answers == [(200, 5000), (200, 45)]
        served, asked = assert_both_sides(agent, server, done.pid, tag, 2)
        assert {span.path: span.duration_s > 0.08 for span in served} == {"/chunked/5000": False, "/sse": True}
        assert not any(span.error_type for span in (*served, *asked))


def test_http_1_0_client(agent: Agent, serve: Serve, tag: str) -> None:
    server = serve("nginx")
    done = clients.curl(server, [Ask("GET", f"/hello?t={tag}")], "--http1.0")
    agent.settle()
    for span in (*agent.spans(server.pids, SERVER, tag), *agent.spans([done.pid], CLIENT, tag)):
        assert span.attributes["network.protocol.version"] == "1.0"
        assert span.status_code == 200


@pytest.mark.parametrize("method", ["PROPFIND", "BREW", "M-SEARCH", "get", "PURGE!"])
def test_unusual_methods(agent: Agent, serve: Serve, tag: str, method: str) -> None:
    server = serve("go")
    with Connection(server) as conn:
        conn.send(request(method, f"/hello?t={tag}"))
        conn.answer()
    agent.settle()
    (span,) = agent.spans(server.pids, SERVER, tag)
    assert span.method == "_OTHER"
    assert span.attributes["http.request.method_original"] == method
    assert span.name.split(" ")[0] == "HTTP"
    assert_valid([span])


def test_absolute_form_and_asterisk(agent: Agent, serve: Serve, tag: str) -> None:
    server = serve("nginx")
    with Connection(server) as conn:
        conn.send(request("GET", f"http://other.example:8080/items/5?t={tag}"))
        assert conn.answer().body == b"item 5\n"
    agent.settle()
    (span,) = agent.spans(server.pids, SERVER, tag)
    assert (span.method, span.path, span.status_code) == ("GET", "/items/5", 200)
    assert span.attributes["url.scheme"] == "http"

    server = serve("go")
    before = len(agent.spans(server.pids, SERVER))
    with Connection(server) as conn:
        conn.send(request("OPTIONS", "*"))
        status = conn.answer().status
    agent.settle()
    span = agent.spans(server.pids, SERVER)[-1]
    assert len(agent.spans(server.pids, SERVER)) == before + 1
    assert (span.method, span.status_code) == ("OPTIONS", status)
    assert "http.route" not in span.attributes


def test_connect_ends_http_on_the_connection(agent: Agent, serve: Serve, tag: str) -> None:
    """curl through a proxy's tunnel: the tunnel is one request, what goes through it is the origin's."""
    origin = serve("go")

    def pump(source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)

    def handle(conn: socket.socket) -> None:
        wire.read_head(conn)
        with socket.create_connection((origin.host, origin.port)) as through:
            conn.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(through, conn))
            back.start()
            pump(conn, through)
            back.join()

    with wire.serving(handle) as (host, port):
        proxy = ("--proxytunnel", "--proxy", f"http://{host}:{port}", "--noproxy", "")
        done = clients.curl(origin, [Ask("GET", f"/hello?t={tag}"), Ask("GET", f"/items/9?t={tag}")], *proxy)
    assert done.answers == [(200, 6), (200, 7)]
    agent.settle()
    assert [span.path for span in agent.spans(origin.pids, SERVER, tag)] == ["/hello", "/items/9"]
    asked = agent.spans([done.pid], CLIENT)
    assert [(span.method, span.status_code) for span in asked] == [("CONNECT", 200)]
    assert all(f"{origin.host}:{origin.port}" in str(span.attributes.get("url.full", "")) for span in asked) or (
        asked[0].attributes["server.port"] in (origin.port, port)
    )


def test_refused_connect_is_an_ordinary_request(agent: Agent, serve: Serve, tag: str) -> None:
    server = serve("nginx")
    pids = server.pids
    before = len(agent.spans(pids, SERVER))
    with Connection(server) as conn:
        conn.send(request("CONNECT", "other.example:443", host="other.example:443"))
        status = conn.answer("CONNECT").status
    assert status >= 400
    agent.settle()
    new = agent.spans(pids, SERVER)[before:]
    assert [(span.method, span.status_code) for span in new] == [("CONNECT", status)]


def test_upgrade_ends_http_on_the_connection(agent: Agent, tag: str) -> None:
    def handle(conn: socket.socket) -> None:
        wire.read_head(conn)
        conn.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + bytes(range(256)))
        while conn.recv(65536):
            conn.sendall(b"\x81\x05hello")

    with wire.serving(handle) as address, Connection(address) as conn:
        upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
        conn.send(request("GET", f"/socket?t={tag}", *upgrade))
        assert conn.answer().status == 101
        conn.send(request("GET", f"/inside?t={tag}"))
        conn.send(b"\x81\x85\0\0\0\0hello")
        conn.sock.shutdown(socket.SHUT_WR)
        conn.rest()
    agent.settle()
    both = [span for span in agent.telemetry.refresh().spans if span.tag == tag]
    assert sorted((span.kind, span.path, span.status_code) for span in both) == [
        (SERVER, "/socket", 101),
        (CLIENT, "/socket", 101),
    ]


def test_slow_request_and_slow_response_are_as_long_as_they_are(agent: Agent, serve: Serve, tag: str) -> None:
    server = serve("go")
    with Connection(server) as conn:
        conn.send(request("GET", f"/sse?t={tag}"), every=20, pause=0.02)
        conn.answer()
    agent.settle()
    (span,) = agent.spans(server.pids, SERVER, tag)
    # About 60 bytes in 20s are three pauses; five events are 100 ms.
    assert 0.13 < span.duration_s < 0.3


def test_status_and_errors(agent: Agent, serve: Serve, tag: str) -> None:
    server = serve("go")
    done = clients.curl(server, [Ask("GET", f"/status/{code}?t={tag}") for code in (200, 302, 404, 500, 503)])
    agent.settle()
    served = {span.status_code: span for span in agent.spans(server.pids, SERVER, tag)}
    asked = {span.status_code: span for span in agent.spans([done.pid], CLIENT, tag)}
    assert sorted(served) == sorted(asked) == [200, 302, 404, 500, 503]
    assert {code: span.status != UNSET for code, span in served.items()} == {
        200: False,
        302: False,
        404: False,
        500: True,
        503: True,
    }
    assert [code for code, span in sorted(asked.items()) if span.status != UNSET] == [404, 500, 503]
    assert served[404].error_type == ""
    assert asked[404].error_type == "404"
    assert served[503].error_type == asked[503].error_type == "503"


def test_methods_of_every_span_are_what_was_sent(agent: Agent, serve: Serve, tag: str) -> None:
    server = serve("node")
    methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
    clients.curl(server, [Ask(method, f"/hello?t={tag}") for method in methods])
    agent.settle()
    served = agent.spans(server.pids, SERVER, tag)
    assert [method_of(span) for span in served] == [span.method for span in served] == methods
