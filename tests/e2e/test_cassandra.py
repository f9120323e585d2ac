"""Cassandra: each statement of the server's audit log is one span on each side, in all versions of the protocol."""

import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import RunAgent
from tests.testbed import cassandra
from tests.testbed.agent import Agent
from tests.testbed.process import eventually, waiting_at
from tests.testbed.telemetry import CLIENT, ERROR, SERVER, UNSET, Span

WAYS = [(3, "none"), (4, "none"), (4, "lz4"), (5, "none"), (5, "lz4")]
INSERT = "INSERT INTO items (id, name) VALUES (?, ?)"
DELETE = "DELETE FROM items WHERE id = ?"
SELECT = "SELECT id, name FROM items"
NewKeyspace = Callable[[], str]


@pytest.fixture(scope="module")
def server() -> Iterator[cassandra.Server]:
    with cassandra.server() as started:
        yield started


@pytest.fixture(scope="module")
def new_keyspace(server: cassandra.Server) -> Iterator[NewKeyspace]:
    """Makes a keyspace that no test has had before, with a table."""
    numbers = itertools.count(1)
    with cassandra.client(server) as client:

        def make() -> str:
            name = f"shop{next(numbers)}"
            how = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
            assert client.run(f"CREATE KEYSPACE {name} WITH replication = {how}") == 0
            assert client.run(f"CREATE TABLE {name}.items (id int PRIMARY KEY, name text)") == 0
            return name

        yield make


def logged(server: cassandra.Server, keyspace: str) -> Counter[str]:
    """Statements in a keyspace, and "BATCH N", without those that are in these; as the server's audit log has them."""
    lines = iter([line for line in server.audit() if line.keyspace == keyspace])
    texts: list[str] = []
    for line in lines:
        if line.kind == "BATCH":
            count = int(line.text.partition("BATCH of [")[2].partition("]")[0])
            texts.append(f"BATCH {count}")
            for _ in range(count):
                next(lines)
        elif line.kind in ("SELECT", "UPDATE", "DELETE"):
            texts.append(line.text)
        elif line.kind == "REQUEST_FAILURE":
            texts.append(line.text.partition(";")[0])
    return Counter(texts)


def told(spans: Iterable[Span]) -> Counter[str]:
    """The same of spans."""
    batches = [span.attributes.get("db.operation.batch.size", 0) for span in spans]
    texts = [span.attributes["db.query.text"] for span in spans]
    return Counter(f"BATCH {size}" if size else text for size, text in zip(batches, texts, strict=True))


def of(spans: Iterable[Span], keyspace: str) -> list[Span]:
    return [span for span in spans if span.attributes.get("db.namespace") == keyspace]


def assert_valid(spans: Iterable[Span], server: cassandra.Server) -> None:
    """What every span of a statement has."""
    for span in spans:
        assert span.attributes["db.system.name"] == "cassandra", span
        assert span.attributes["server.port"] == server.port, span
        assert span.name == span.attributes.get("db.query.summary", "cassandra"), span
        assert span.kind in (SERVER, CLIENT), span
        assert 0 < span.start_ns <= span.end_ns, span
        status = span.attributes.get("db.response.status_code", "")
        assert (span.status, span.error_type) == (ERROR if status else UNSET, status), span


@pytest.mark.parametrize(("version", "compression"), WAYS)
def test_each_statement_is_one_span_on_each_side(
    agent: Agent, server: cassandra.Server, new_keyspace: NewKeyspace, version: int, compression: str
) -> None:
    keyspace = new_keyspace()
    with cassandra.client(server, keyspace, version=version, compression=compression) as client:
        for n in range(20):
            assert client.run(INSERT, n, f"item {n}", prepared=True) == 0
        assert client.run(INSERT, 7, "seven", prepared=True, times=200) == 0
        assert client.run(DELETE, 3, prepared=True) == 0
        assert client.batch((INSERT, [50, "x"]), (INSERT, [51, "y"]), (DELETE, [50])) == 0
        assert client.run(SELECT) == 20
        assert client.run(SELECT, page=8) == 20
        assert client.run("SELECT nothing FROM items") == "InvalidRequest"
        assert client.run("SELEC nothing") == "SyntaxException"
        agent.settle()
    log = logged(server, keyspace)
    assert log.total() == 20 + 200 + 1 + 1 + 1 + 3 + 2
    for pid in (client.pid, server.program.pid):
        spans = of(agent.spans([pid]), keyspace)
        assert told(spans) == log
        assert_valid(spans, server)
        rows = Counter(span.attributes.get("db.response.returned_rows") for span in spans)
        assert {rows[20], rows[8], rows[4]} == {1, 2}
        codes = Counter(span.error_type for span in spans if span.error_type)
        assert codes == {"8704": 1, "8192": 1}  # Invalid, Syntax_error


def test_values_stay_here(agent: Agent, server: cassandra.Server, new_keyspace: NewKeyspace) -> None:
    keyspace = new_keyspace()
    with cassandra.client(server, keyspace) as client:
        assert client.run("INSERT INTO items (id, name) VALUES (1, 'secret')") == 0
        assert client.run(INSERT, 2, "secret", prepared=True) == 0
        assert client.batch(("INSERT INTO items (id, name) VALUES (3, 'secret')", []), (INSERT, [4, "secret"])) == 0
        assert client.run("SELECT name FROM items WHERE name = 'secret' ALLOW FILTERING") == 4
        agent.settle()
    for pid in (client.pid, server.program.pid):
        spans = of(agent.spans([pid]), keyspace)
        assert len(spans) == 4
        assert not [span for span in spans if "secret" in repr(span)]
        (batch,) = [span for span in spans if "db.operation.batch.size" in span.attributes]
        assert batch.attributes["db.operation.name"] == "BATCH"
        assert batch.attributes["db.query.text"].count(INSERT) == 2


@pytest.mark.parametrize(("version", "compression"), [(4, "none"), (5, "none"), (5, "lz4")])
def test_large_statements_and_rows(
    agent: Agent, server: cassandra.Server, new_keyspace: NewKeyspace, version: int, compression: str
) -> None:
    """Longer than what is captured of a message, and in version 5 than a segment."""
    keyspace = new_keyspace()
    with cassandra.client(server, keyspace, version=version, compression=compression) as client:
        for n in range(5):
            assert client.run(INSERT, n, os.urandom(200_000).hex(), prepared=True) == 0
            assert client.run(SELECT) == n + 1
        assert client.batch(*((INSERT, [n, "x" * 3_000]) for n in range(10))) == 0
        agent.settle()
    log = logged(server, keyspace)
    for pid in (client.pid, server.program.pid):
        spans = of(agent.spans([pid]), keyspace)
        assert [span.attributes.get("db.response.returned_rows") for span in spans if span.name.startswith("SELECT")]
        assert len(spans) == log.total() == 11


def test_metrics_count_statements(run_agent: RunAgent, server: cassandra.Server, new_keyspace: NewKeyspace) -> None:
    keyspace = new_keyspace()
    with run_agent() as agent, cassandra.client(server, keyspace) as client:
        assert client.run(INSERT, 1, "x", prepared=True, times=500) == 0
        assert client.run("SELECT nothing FROM items") == "InvalidRequest"
        agent.settle_metrics()
        counted: Counter[str] = Counter()
        for point in agent.points("db.client.operation.duration", {client.pid}):
            if point.attributes.get("db.namespace") == keyspace:
                counted[point.attributes.get("error.type", "")] += point.count
    assert counted == {"": 500, "8704": 1}


@pytest.mark.parametrize(("version", "compression"), WAYS)
def test_connection_that_is_older_than_the_agent(
    run_agent: RunAgent, server: cassandra.Server, new_keyspace: NewKeyspace, version: int, compression: str
) -> None:
    """What was prepared before has no text, and the keyspace is not known; all of it is counted."""
    keyspace = new_keyspace()
    with cassandra.client(server, keyspace, version=version, compression=compression) as client:
        assert client.run(INSERT, 1, "x", prepared=True) == 0
        with run_agent() as agent:
            began = time.time_ns()
            for n in range(20):
                assert client.run(INSERT, n, "x", prepared=True) == 0
                assert client.run(SELECT + " WHERE name = '" + "a" * 50 + "' ALLOW FILTERING") == 0
                assert client.run(DELETE, n, prepared=True) == 0
            agent.settle()
            for pid in (client.pid, server.program.pid):
                spans = [s for s in agent.spans([pid]) if s.start_ns > began]
                spans = [s for s in spans if s.attributes.get("db.system.name") == "cassandra"]
                told = Counter(str(s.attributes.get("db.query.summary", "")) for s in spans)
                # the driver reads the schema anew some time after the keyspace was made
                assert {what: n for what, n in told.items() if " system" not in what} == {
                    "": 20,
                    "SELECT items": 20,
                    "DELETE items": 20,
                }
                assert not of(spans, keyspace)


def test_server_that_dies(agent: Agent) -> None:
    """What was asked and not answered failed with the connection."""
    with cassandra.server() as dying, ThreadPoolExecutor(1) as meanwhile, cassandra.client(dying) as client:
        assert client.run("SELECT key FROM system.local") == 1
        os.kill(dying.program.pid, signal.SIGSTOP)
        answer = meanwhile.submit(client.run, "SELECT key FROM system.local", times=3)
        eventually(lambda: waiting_at(dying.port), "the statements are with the server")
        os.kill(dying.program.pid, signal.SIGKILL)
        assert answer.result() == "NoHostAvailable"
        agent.settle()
    ends = Counter(
        span.error_type
        for span in agent.spans([client.pid])
        if span.attributes.get("db.query.text") == "SELECT key FROM system.local"
    )
    assert ends.pop("") == 1
    assert sum(ends.values()) == 3
    assert ends.keys() <= {"connection_closed", "connection_reset"}
