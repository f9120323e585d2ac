"""PostgreSQL as its own clients speak it: each statement of the server's log is one call on each side."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.e2e.conftest import RunAgent
from tests.e2e.expect import SPAN_ID, TRACE_ID
from tests.testbed import postgresql
from tests.testbed.agent import AMPLE_RING, Agent, Fence, running
from tests.testbed.collector import Collector
from tests.testbed.postgresql import Call, Postgresql
from tests.testbed.process import eventually
from tests.testbed.telemetry import CLIENT, ERROR, SERVER, UNSET, Span


@pytest.fixture(scope="module")
def agent(collector: Collector, fence: Fence) -> Iterator[Agent]:
    """The agent that watches everything."""
    with running(collector, fence, capture=AMPLE_RING) as started:
        yield started


@pytest.fixture(scope="module")
def server() -> Iterator[Postgresql]:
    """A server with a log."""
    with postgresql.postgresql() as started:
        yield started


def freed(text: str) -> str:
    """Without its literals, on one line."""
    return " ".join(re.sub(r"'[^']*'|\$\$.*\$\$|\btrue\b|(?<![$\w])\d+", "?", text).split())


def logged(calls: Iterable[Call]) -> Counter[tuple[str, str]]:
    """Statements and how they ended."""
    return Counter((freed(call.text), call.code) for call in calls)


def text(span: Span) -> str:
    return str(span.attributes.get("db.query.text", ""))


def told(spans: Iterable[Span]) -> Counter[tuple[str, str]]:
    """The same of spans."""
    return Counter((freed(text(span)), str(span.attributes.get("db.response.status_code", ""))) for span in spans)


def assert_valid(spans: Iterable[Span], server: Postgresql) -> None:
    """What every span of a call has."""
    for span in spans:
        assert TRACE_ID.fullmatch(span.trace_id), span
        assert SPAN_ID.fullmatch(span.span_id), span
        assert 0 < span.start_ns <= span.end_ns, span
        assert span.attributes["db.system.name"] == "postgresql", span
        assert span.attributes["db.namespace"] == postgresql.DATABASE, span
        assert span.attributes["server.port"] == server.port, span
        assert "secret" not in str(span), span
        code = str(span.attributes.get("db.response.status_code", ""))
        assert (span.status, span.error_type) == ((ERROR, code) if code else (UNSET, "")), span
        assert span.name == span.attributes.get("db.query.summary", "postgresql"), span


def sides(agent: Agent, pid: int, calls: Iterable[Call]) -> list[list[Span]]:
    """The server's spans and the client's."""
    agent.settle()
    return [agent.spans({call.pid for call in calls}, SERVER), agent.spans([pid], CLIENT)]


@pytest.mark.parametrize("name", postgresql.CLIENTS)
def test_each_statement_is_one_call_on_each_side(agent: Agent, server: Postgresql, tag: str, name: str) -> None:
    pid = postgresql.client(name, server.dsn(tag))
    calls = server.calls(tag)
    assert len({call.pid for call in calls}) == 1
    for spans in sides(agent, pid, calls):
        assert told(spans) == logged(calls)
        assert_valid(spans, server)


def counted(agent: Agent, pids: Iterable[int]) -> int:
    """Calls that the metrics count."""
    names = ("db.client.operation.duration", "otel_ebpf.db.server.operation.duration")
    return sum(point.count for name in names for point in agent.points(name, set(pids)))


def test_a_batch_of_very_many(agent: Agent, server: Postgresql, tag: str) -> None:
    """More than are sent as spans: each is counted."""
    pid = postgresql.client("asyncpg", server.dsn(tag), "30000")
    calls = server.calls(tag)
    assert len(calls) > 30_000
    agent.settle_metrics()
    assert counted(agent, {call.pid for call in calls}) == len(calls)
    assert counted(agent, [pid]) == len(calls)


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench_counts_what_is_counted(agent: Agent, server: Postgresql, tag: str, mode: str) -> None:
    pid, transactions = postgresql.pgbench(server, tag, "-S", "-M", mode, "-c", "4", "-j", "2", "-t", "500")
    calls = server.calls(tag)
    for spans in sides(agent, pid, calls):
        selects = [span for span in spans if text(span).startswith("SELECT abalance")]
        assert len(selects) == transactions
        assert {span.attributes["db.response.returned_rows"] for span in selects} == {1}
        assert_valid(spans, server)
    agent.settle_metrics()
    assert counted(agent, {call.pid for call in calls}) == len(calls)
    assert counted(agent, [pid]) == len(calls)


def test_transactions_of_pgbench(agent: Agent, server: Postgresql, tag: str) -> None:
    """BEGIN, UPDATE, SELECT, INSERT, END, on eight connections at once."""
    pid, transactions = postgresql.pgbench(server, tag, "-M", "prepared", "-c", "8", "-j", "2", "-t", "40")
    calls = server.calls(tag)
    assert transactions == 320
    for spans in sides(agent, pid, calls):
        assert told(spans) == logged(calls)


def test_within_tls(agent: Agent, server: Postgresql, tag: str) -> None:
    numbers = iter(range(1, 1000))

    def seen() -> bool:
        name = f"{tag}-{next(numbers)}"
        pid = postgresql.client("psycopg", server.dsn(name, sslmode="require"))
        calls = server.calls(name)
        served, asked = sides(agent, pid, calls)
        # before its library is probed, or half-way
        whole = logged(calls)
        assert not told(served) - whole
        assert not told(asked) - whole
        assert_valid([*served, *asked], server)
        return told(served) == told(asked) == whole

    eventually(seen, "all is seen", 60)


def test_a_statement_takes_as_long_as_the_server_says(agent: Agent, server: Postgresql, tag: str) -> None:
    with postgresql.session(server.dsn(tag)) as session:
        for _ in range(3):
            assert session.execute("SELECT pg_sleep(%s)", [0.2]) == "ok"
        for spans in sides(agent, session.pid, server.calls(tag)):
            assert len(spans) == 3
            assert all(0.2 <= span.duration_s < 0.35 for span in spans)


def test_a_connection_older_than_the_agent(run_agent: RunAgent, server: Postgresql, tag: str) -> None:
    """What was prepared before has no text, and the database is not known."""
    with postgresql.session(server.dsn(tag)) as session:
        assert session.execute("SELECT %s::int", [1], prepare=True) == "ok"
        with run_agent() as agent:
            assert session.execute("SELECT %s::int", [2], prepare=True) == "ok"
            assert session.execute("SELECT %s::int + 1", [3], prepare=True) == "ok"
            assert session.execute("SELECT %s::int + 1", [4], prepare=True) == "ok"
            for spans in sides(agent, session.pid, server.calls(tag)):
                assert [text(span) for span in spans] == ["", *["SELECT $1::int + 1"] * 2]
                assert all(span.attributes["db.response.returned_rows"] == 1 for span in spans)
                assert not any("db.namespace" in span.attributes for span in spans)


ENDS: dict[str, tuple[str, Callable[[Postgresql, int], None]]] = {
    "cancelled": ("57014", lambda server, pid: server.sql(f"SELECT pg_cancel_backend({pid})")),
    "terminated": ("57P01", lambda server, pid: server.sql(f"SELECT pg_terminate_backend({pid})")),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_call_that_is_ended_from_elsewhere(agent: Agent, server: Postgresql, tag: str, how: str) -> None:
    code, end = ENDS[how]
    with postgresql.session(server.dsn(tag)) as session:
        session.begin("SELECT pg_sleep(60)")
        begun = eventually(lambda: server.calls(tag), "it begins")
        end(server, begun[-1].pid)
        assert session.end() == code
        calls = server.calls(tag)
        assert logged(calls) == Counter({("SELECT pg_sleep(?)", code): 1})
        for spans in sides(agent, session.pid, calls):
            assert told(spans) == logged(calls)
            assert_valid(spans, server)


def test_a_client_that_is_killed(agent: Agent, server: Postgresql, tag: str) -> None:
    with postgresql.session(server.dsn(tag)) as session:
        session.begin("SELECT pg_sleep(60)")
        eventually(lambda: server.calls(tag), "it begins")
        session.kill()
        agent.settle()
        (asked,) = agent.spans([session.pid], CLIENT)
        assert (asked.status, asked.error_type) == (ERROR, "process_exit")
        assert text(asked) == "SELECT pg_sleep(?)"


def test_a_context_in_a_comment(agent: Agent, server: Postgresql, tag: str) -> None:
    parent = "00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01"
    with postgresql.session(server.dsn(tag)) as session:
        assert session.execute(f"SELECT now() /*traceparent='{parent}'*/") == "ok"
        for spans in sides(agent, session.pid, server.calls(tag)):
            (span,) = spans
            assert (span.trace_id, span.parent_span_id) == (parent.split("-")[1], parent.split("-")[2])
