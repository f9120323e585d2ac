"""gRPC as its own libraries speak it: each call is one span on each side, with the status that its trailers say."""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pytest

from tests.e2e.conftest import RunAgent, Serve
from tests.e2e.expect import SPAN_ID, TRACE_ID
from tests.testbed import grpc
from tests.testbed.agent import Agent
from tests.testbed.grpc import Call, LogLine
from tests.testbed.process import eventually
from tests.testbed.servers import Server
from tests.testbed.telemetry import CLIENT, ERROR, SERVER, UNSET, Span

NAMES = ["grpcio", "go", "node"]
# Of grpcio's own TLS, a library within its library, nothing is known.
PAIRS = [(server, client) for server in NAMES for client in NAMES]
PAIRS += [(f"{server}-tls", client) for server in ("go", "node") for client in ("go", "node")]
# What is the server's fault; the rest may be the client's.
SERVER_ERRORS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
CUT_SHORT = {"CANCELLED", "DEADLINE_EXCEEDED"}
ONE_MB = 1_000_000

EVERYTHING = [
    Call(),
    Call(want="size 100"),
    Call(want="sleep 60 size 10"),
    Call("List", "count 5 size 1000"),
    Call("List", "count 0"),
    Call("Upload", "size 7", messages=5, size=1000),
    Call("Chat", messages=6, size=100),
    Call(want="status 5"),
    Call(want="status 13"),
    Call(want="sleep 30 status 14"),
    Call("List", "count 0 status 7"),
    Call("List", "count 3 size 1000 status 8"),
    Call("Upload", "status 3", messages=3),
    Call("Chat", "status 9", messages=2),
    *(Call(want=f"status {code}") for code in range(1, 17)),
]

SUCCEED = next(number for number, call in enumerate(EVERYTHING) if "status" in call.want)


def marked(calls: Iterable[Call], tag: str) -> list[Call]:
    """The same calls, each in a trace of its own: by that its server's span is found."""
    return [
        replace(call, tag=f"{tag}-{n}", traceparent=f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01")
        for n, call in enumerate(calls)
    ]


def await_log(server: Server, tag: str, count: int) -> list[LogLine]:
    """The server's log of calls whose tags begin so, in the order of their numbers."""

    def lines() -> list[LogLine]:
        found = [line for line in grpc.access_log(server) if line.tag.startswith(f"{tag}-")]
        return sorted(found, key=lambda line: int(line.tag.rpartition("-")[2]))

    return eventually(lambda: log if len(log := lines()) >= count else [], f"{count} calls in the log")


def served_in_order(agent: Agent, server: Server, calls: Sequence[Call]) -> list[Span]:
    """The server's spans of these calls, in their order: one of each."""
    by_trace: dict[str, list[Span]] = {}
    for span in agent.spans(server.pids, SERVER):
        by_trace.setdefault(span.trace_id, []).append(span)
    found = [by_trace.get(call.traceparent.split("-")[1], []) for call in calls]
    wrong = [(call, spans) for call, spans in zip(calls, found, strict=True) if len(spans) != 1]
    assert not wrong, f"{len(wrong)} calls have not one span: {wrong[:3]}"
    return [span for (span,) in found]


def assert_valid(spans: Iterable[Span], server: Server) -> None:
    """What every span of a call has."""
    for span in spans:
        assert TRACE_ID.fullmatch(span.trace_id), span
        assert SPAN_ID.fullmatch(span.span_id), span
        assert 0 < span.start_ns <= span.end_ns, span
        assert span.attributes["rpc.system.name"] == "grpc", span
        assert span.name == ("grpc" if span.rpc_method == "_OTHER" else span.rpc_method), span
        assert span.attributes["server.port"] == server.port, span
        assert "http.request.method" not in span.attributes, span
        if span.rpc_status == "OK":
            assert (span.status, span.error_type) == (UNSET, ""), span
        elif span.kind == CLIENT or span.rpc_status in SERVER_ERRORS:
            assert (span.status, span.error_type) == (ERROR, span.rpc_status), span


def ends(spans: Iterable[Span]) -> Counter[tuple[str, str]]:
    """Methods and how they ended."""
    return Counter((span.rpc_method, span.rpc_status) for span in spans)


def reach(serve_grpc: Serve, server_name: str, client_name: str) -> Server:
    """The server, of which the client's library is not new to the agent either."""
    if server_name.endswith("-tls"):
        serve_grpc(f"{client_name}-tls")
    return serve_grpc(server_name)


@pytest.mark.parametrize("at_once", [1, 50])
@pytest.mark.parametrize(("server_name", "client_name"), PAIRS)
def test_each_call_is_one_span_on_each_side(
    agent: Agent, serve_grpc: Serve, tag: str, server_name: str, client_name: str, at_once: int
) -> None:
    server = reach(serve_grpc, server_name, client_name)
    calls = marked(EVERYTHING * (1 if at_once == 1 else 4), tag)
    with grpc.client(client_name, server, at_once) as client:
        # What is not implemented is no method's name: each is answered otherwise first.
        answers = [*client.ask(calls[:SUCCEED]), *client.ask(calls[SUCCEED:])]
        log = await_log(server, tag, len(calls))
        agent.settle()
    assert [line.status for line in log] == [answer.status for answer in answers]

    served = served_in_order(agent, server, calls)
    assert [(span.rpc_method, span.rpc_status) for span in served] == [(line.method, line.status) for line in log]
    assert_valid(served, server)
    asked = agent.spans([client.pid], CLIENT)
    assert ends(asked) == Counter((line.method, line.status) for line in log)
    assert_valid(asked, server)


@pytest.mark.parametrize(("server_name", "client_name"), PAIRS)
def test_calls_last_as_long_as_the_server_says(
    agent: Agent, serve_grpc: Serve, tag: str, server_name: str, client_name: str
) -> None:
    """All at once on one connection."""
    server = reach(serve_grpc, server_name, client_name)
    calls = marked([Call(("Get", "List")[n % 2], f"sleep {100 + 10 * n}") for n in range(20)], tag)
    with grpc.client(client_name, server, len(calls)) as client:
        client.ask(calls)
        log = await_log(server, tag, len(calls))
        agent.settle()
    assert len({line.port for line in log}) == 1
    for side in (served_in_order(agent, server, calls), agent.spans([client.pid], CLIENT)):
        for n, (ours, theirs) in enumerate(zip(sorted(span.duration_s for span in side), log, strict=True)):
            assert 0.099 + 0.01 * n < ours < theirs.duration_s + 0.1


@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize(("server_name", "client_name"), PAIRS)
def test_large_messages(
    agent: Agent, serve_grpc: Serve, tag: str, server_name: str, client_name: str, at_once: int
) -> None:
    server = reach(serve_grpc, server_name, client_name)
    kinds = [
        Call(want=f"size {ONE_MB}"),
        Call(size=ONE_MB),
        Call("List", f"count 3 size {ONE_MB}"),
        Call("Upload", messages=3, size=ONE_MB),
        Call("Chat", messages=3, size=ONE_MB),
    ]
    calls = marked(kinds * 2, tag)
    with grpc.client(client_name, server, at_once) as client:
        assert {answer.status for answer in client.ask(calls)} == {"OK"}
        agent.settle()
    served = served_in_order(agent, server, calls)
    assert [(span.rpc_method, span.rpc_status) for span in served] == [
        (f"{grpc.SERVICE}/{call.method}", "OK") for call in calls
    ]
    assert ends(agent.spans([client.pid], CLIENT)) == ends(served)


@pytest.mark.parametrize(("server_name", "client_name"), PAIRS)
def test_deadlines_and_cancelling(
    agent: Agent, serve_grpc: Serve, tag: str, server_name: str, client_name: str
) -> None:
    """Who noticed first decides what each side calls it; that it failed, and when, both know."""
    server = reach(serve_grpc, server_name, client_name)
    kinds = [
        Call(want="sleep 5000", deadline_ms=150),
        Call(want="sleep 5000", cancel_ms=150),
        Call("List", "sleep 5000", deadline_ms=150),
        Call("Upload", "sleep 5000", messages=2, cancel_ms=150),
        Call("Chat", "sleep 5000", messages=2, deadline_ms=150),
        Call(),
    ]
    calls = marked(kinds, tag)
    with grpc.client(client_name, server) as client:
        answers = client.ask(calls)
        assert [answer.status for answer in answers[:2]] == ["DEADLINE_EXCEEDED", "CANCELLED"]
        assert answers[-1].status == "OK"
        await_log(server, tag, len(calls))
        agent.settle()
    served, asked = served_in_order(agent, server, calls), agent.spans([client.pid], CLIENT)
    for side in (served, asked):
        assert [span.rpc_method for span in side] == [f"{grpc.SERVICE}/{call.method}" for call in calls]
        assert {span.rpc_status for span in side[:-1]} <= CUT_SHORT
        assert side[-1].rpc_status == "OK"
        for span in side[:-1]:
            assert 0.1 < span.duration_s < 0.4, span
            if span.kind == CLIENT:
                assert (span.status, span.error_type) == (ERROR, span.rpc_status), span


@pytest.mark.parametrize(("server_name", "client_name"), PAIRS)
def test_method_that_nobody_has(agent: Agent, serve_grpc: Serve, server_name: str, client_name: str) -> None:
    server = reach(serve_grpc, server_name, client_name)
    calls = marked([Call("Nothing")] * 3, "")
    with grpc.client(client_name, server) as client:
        assert {answer.status for answer in client.ask(calls)} == {"UNIMPLEMENTED"}
        agent.settle()
    for side in (served_in_order(agent, server, calls), agent.spans([client.pid], CLIENT)):
        assert [span.rpc_status for span in side] == ["UNIMPLEMENTED"] * 3
        assert {span.rpc_method for span in side} <= {f"{grpc.SERVICE}/Nothing", "_OTHER"}
        assert_valid(side, server)


@pytest.mark.parametrize("name", NAMES)
def test_metrics_count_by_method_and_status(run_agent: RunAgent, name: str) -> None:
    calls = [Call(), Call(want="status 5"), Call("List", "count 3"), Call("Chat", "status 13", messages=2)] * 100
    with grpc.server(name) as server, run_agent() as agent, grpc.client(name, server, 20) as client:
        client.ask(calls)
        agent.settle_metrics()
        # A server may log a call after it has answered it.
        eventually(lambda: len(grpc.access_log(server)) >= len(calls), "all calls are logged")
        logged = Counter((line.method, line.status) for line in grpc.access_log(server))
        assert logged.total() == len(calls)
        for metric, pids in (("rpc.server.call.duration", server.pids), ("rpc.client.call.duration", {client.pid})):
            counted: Counter[tuple[str, str]] = Counter()
            for point in agent.points(metric, pids):
                assert (point.unit, point.kind, point.temporality) == ("s", "histogram", 2)
                assert point.attributes["rpc.system.name"] == "grpc"
                counted[point.attributes["rpc.method"], point.attributes["rpc.response.status_code"]] += point.count
            assert counted == logged
        assert agent.points("http.server.request.duration", server.pids) == []


@pytest.mark.parametrize("name", NAMES)
def test_connection_that_is_older_than_the_agent(
    run_agent: RunAgent, tag: str, name: str, record_property: Callable[[str, object], None]
) -> None:
    """Both sides' tables have names that the agent never saw: it may not know a method, and never gets one wrong."""
    with grpc.server(name) as server, grpc.client(name, server) as client:
        client.ask([Call(tag="before"), Call("List", tag="before"), Call("Upload", tag="before")] * 5)
        with run_agent() as agent:
            kinds = [Call(), Call("List", "status 5"), Call("Upload", messages=2), Call("Chat"), Call(want="status 13")]
            calls = marked(kinds * 10, tag)
            began = time.time_ns()
            client.ask(calls)
            log = await_log(server, tag, len(calls))
            assert {line.port for line in log} == {grpc.access_log(server, "before")[0].port}
            agent.settle()
            for side in (agent.spans(server.pids, SERVER), agent.spans([client.pid], CLIENT)):
                spans = [span for span in side if span.start_ns > began]
                assert len(spans) == len(log)
                known = 0
                for span, line in zip(spans, log, strict=True):
                    assert span.rpc_method in (line.method, "_OTHER"), (span, line)
                    assert span.rpc_status in (line.status, ""), (span, line)
                    known += span.rpc_method == line.method
                record_property(f"known, kind {spans[0].kind}", known / len(log))
                # What is new to both sides is in nobody's table.
                assert "shop.Orders/Chat" in {span.rpc_method for span in spans}
