"""MySQL's protocol between real drivers and MariaDB: each command is one span on each side, as the server logged it."""

import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from tests.e2e.conftest import RunAgent
from tests.testbed import mariadb
from tests.testbed.agent import Agent
from tests.testbed.mariadb import DATABASE, LogLine
from tests.testbed.process import eventually
from tests.testbed.servers import Server
from tests.testbed.telemetry import CLIENT, ERROR, SERVER, UNSET, Span

# Each driver in the ways in which it speaks differently.
WAYS = [
    ("PyMySQL", ""),
    ("mysqlclient", ""),
    ("mysqlclient", "compress"),
    ("go", ""),
    ("go", "interpolateParams=true"),
    ("go", "compress=true"),
    ("MariaDB-J", "useServerPrepStmts=true"),
    ("MariaDB-J", "useServerPrepStmts=false"),
    ("MariaDB-J", "useServerPrepStmts=true&useCompression=true"),
    ("MariaDB-J", "useBulkStmts=false&useServerPrepStmts=true"),
    ("MySQL-J", "useServerPrepStmts=false"),
    ("MySQL-J", "useServerPrepStmts=true&useCompression=true"),
    ("MySQL-J", "useServerPrepStmts=true&useCursorFetch=true&defaultFetchSize=3"),
]
COMMON = ["query 5", "exec 5", "fail 2", "transaction 2", "rows 10", "use other", "query 1", "use shop"]
OWN = {
    "PyMySQL": ["several 3", "call 2", "load 5"],
    "mysqlclient": ["several 3", "call 2", "load 5"],
    "go": ["prepared 3", "reused 5"],
    "MariaDB-J": ["prepared 3", "reused 5", "batch 20", "call 2", "large 100", "stream 5000"],
    "MySQL-J": ["prepared 3", "reused 5", "batch 20", "call 2", "large 100", "stream 5000"],
}
# What is both logged and a call: MariaDB does not log pings, and closing a statement has no answer.
CALLS = {"Query", "Execute", "Prepare", "Init DB"}
NOT_LOGGED = {"PING", "STMT_FETCH", "STMT_RESET", "RESET_CONNECTION", "SET_OPTION"}


@pytest.fixture(scope="module")
def serve_sql() -> Iterator[Callable[[], Server]]:
    """A server, once."""
    with ExitStack() as stack:
        yield cache(lambda: stack.enter_context(mariadb.server()))


def without_literals(text: str) -> str:
    """As much of a statement as the log and a span have in common."""
    text = re.sub(r"x?'[^']*'|\b\d+\b|\bNULL\b", "?", re.sub(r"/\*.*?\*/", "", text))
    return re.sub(r"\?(, ?\?)+", "?", text).strip()


def logged(server: Server, already: int) -> list[LogLine]:
    """The last connection's calls, once it has quit."""

    def quitting() -> list[LogLine]:
        lines = mariadb.general_log(server)[already:]
        return lines if "Quit" in {line.command for line in lines} else []

    return [line for line in eventually(quitting, "the client quits") if line.command in CALLS]


def as_logged(span: Span) -> tuple[str, str]:
    """(command, text) of a span, in the log's words."""
    operation, text = span.attributes.get("db.operation.name", ""), span.attributes.get("db.query.text", "")
    return {"STMT_PREPARE": "Prepare", "INIT_DB": "Init DB", "": "Statement"}.get(
        operation, operation
    ), without_literals(text)


def expected(line: LogLine) -> tuple[str, str]:
    if line.command in ("Query", "Execute"):
        return "Statement", without_literals(line.text)
    return line.command, ""


def assert_valid(spans: list[Span], server: Server) -> None:
    """What every span of a command has."""
    for span in spans:
        assert 0 < span.start_ns <= span.end_ns, span
        assert span.attributes["db.system.name"] == "mariadb", span
        assert span.attributes["db.namespace"] in (DATABASE, "other"), span
        assert span.attributes["server.port"] == server.port, span
        status = span.attributes.get("db.response.status_code", "")
        assert (span.status, span.error_type) == ((ERROR, status) if status else (UNSET, "")), span


def is_unprepared(span: Span) -> bool:
    return span.attributes.get("db.operation.name") == "STMT_PREPARE" and span.status == ERROR


def assert_same(spans: list[Span], log: list[LogLine]) -> None:
    """Each logged command is one span, in the same order, and there is no other but what is not logged: some commands,
    and statements that can't be prepared.
    """
    unlogged = [span for span in spans if as_logged(span)[0] in NOT_LOGGED or is_unprepared(span)]
    told = [span for span in spans if span not in unlogged]
    assert [as_logged(span) for span in told] == [expected(line) for line in log]


@pytest.mark.parametrize(("name", "options"), WAYS)
def test_each_command_is_one_span_on_each_side(
    agent: Agent, serve_sql: Callable[[], Server], name: str, options: str
) -> None:
    server = serve_sql()
    already, began = len(mariadb.general_log(server)), time.time_ns()
    with mariadb.client(name, server, options) as client:
        client.do(*COMMON, *OWN[name])
    log = logged(server, already)
    agent.settle()
    for side in (agent.spans([client.pid], CLIENT), agent.spans(server.pids, SERVER)):
        spans = [span for span in side if span.start_ns > began]
        assert_same(spans, log)
        assert_valid(spans, server)
        failed = [span for span in spans if span.status == ERROR]
        assert Counter(span.error_type for span in failed) >= Counter({"1146": 2})
        assert {span.error_type for span in failed} == {"1146"}
        assert {span.attributes["db.namespace"] for span in spans} == {DATABASE, "other"}
        assert "secret" not in str([span.attributes for span in spans])


@pytest.mark.parametrize("name", ["PyMySQL", "mysqlclient", "go"])
def test_tls_that_is_agreed_on_within_the_protocol(agent: Agent, name: str) -> None:
    """The client wants it, and goes on with TLS at once."""
    with mariadb.server(encrypted=True) as server:

        def both() -> tuple[mariadb.Client, int, int]:
            already, began = len(mariadb.general_log(server)), time.time_ns()
            with mariadb.client(name, server) as client:
                client.do("query 5", "exec 5", "fail 2")
            return client, already, began

        def seen() -> bool:
            client, _, began = both()
            agent.settle()
            sides = agent.spans([client.pid], CLIENT), agent.spans(server.pids, SERVER)
            return all(any(span.start_ns > began and span.error_type == "1146" for span in side) for side in sides)

        eventually(seen, "the libraries are probed", 30)
        client, already, began = both()
        log = logged(server, already)
        agent.settle()
        for side in (agent.spans([client.pid], CLIENT), agent.spans(server.pids, SERVER)):
            spans = [span for span in side if span.start_ns > began]
            assert_same(spans, log)


LARGE = ["rows 20000", "long 200000", "query 3"]
# A packet has 16 MB at most. Compressed, results are then in frames as large, of which not all is looked at.
LARGER = ["long 17000000", "query 3", "rows 30000", "query 3"]


@pytest.mark.parametrize(
    ("name", "options", "lines"),
    [
        ("go", "", LARGE + LARGER),
        ("go", "compress=true", LARGE),
        ("MariaDB-J", "", LARGE + LARGER),
        ("MySQL-J", "", LARGE + LARGER),
    ],
)
def test_large_statements_and_results(
    agent: Agent, serve_sql: Callable[[], Server], name: str, options: str, lines: list[str]
) -> None:
    """More than is captured of either."""
    server = serve_sql()
    already, began = len(mariadb.general_log(server)), time.time_ns()
    with mariadb.client(name, server, options) as client:
        client.do(*lines)
    log = logged(server, already)
    agent.settle()
    for side in (agent.spans([client.pid], CLIENT), agent.spans(server.pids, SERVER)):
        spans = [span for span in side if span.start_ns > began]
        texts = [str(span.attributes.get("db.query.text", "")) for span in spans]
        assert [text[:12] for text in texts] == [without_literals(line.text)[:12] for line in log]


@pytest.mark.parametrize("name", ["PyMySQL", "go", "MariaDB-J"])
def test_connection_that_is_older_than_the_agent(
    run_agent: RunAgent, serve_sql: Callable[[], Server], name: str
) -> None:
    """It is recognised by its next statement. Which of the two systems it is, and which database, nobody says."""
    server = serve_sql()
    with mariadb.client(name, server) as client:
        client.do("query 1", *OWN[name])
        with run_agent() as agent:
            already, began = len(mariadb.general_log(server)), time.time_ns()
            client.do("query 3", "fail 1", *OWN[name], "transaction 1", "rows 10", "use other", "query 2")
            agent.settle()
            log = [line for line in mariadb.general_log(server)[already:] if line.command in CALLS]
            for side in (agent.spans([client.pid], CLIENT), agent.spans(server.pids, SERVER)):
                spans = [span for span in side if span.start_ns > began]
                assert_same(spans, log)
                assert [span.attributes["db.namespace"] for span in spans[-2:]] == ["other"] * 2
                assert all("db.namespace" not in span.attributes for span in spans[:-3])


def test_login_that_is_refused(agent: Agent, serve_sql: Callable[[], Server]) -> None:
    server, began = serve_sql(), time.time_ns()
    argv = [
        "mariadb",
        "--no-defaults",
        "-h127.0.0.1",
        f"-P{server.port}",
        "-uapp",
        "-pwrong",
        "-e",
        "SELECT 1",
        DATABASE,
    ]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as popen:
        assert "1045" in popen.communicate()[1]
    agent.settle()
    for side in (agent.spans([popen.pid], CLIENT), agent.spans(server.pids, SERVER)):
        (span,) = (span for span in side if span.start_ns > began)
        assert (span.attributes["db.operation.name"], span.status, span.error_type) == ("CONNECT", ERROR, "1045")


def test_server_that_is_killed(agent: Agent) -> None:
    """What was in flight fails, and a new server's connections are new."""
    with mariadb.server() as server, mariadb.client("go", server) as client:
        client.do("query 2")
        asking = threading.Thread(target=lambda: client.attempt("sleep 20"))
        asking.start()
        eventually(lambda: "SLEEP" in mariadb.general_log(server)[-1].text, "it sleeps")
        server.program.popen.kill()
        asking.join(20)
        agent.settle()
        spans = [span for span in agent.spans([client.pid], CLIENT) if "SLEEP" in str(span.attributes)]
        assert [span.error_type for span in spans] in (["connection_reset"], ["connection_closed"])


@pytest.mark.parametrize("connections", [1, 8])
def test_load_is_counted_exactly(run_agent: RunAgent, connections: int) -> None:
    """MariaDB's own load generator; the server's counters say what it did."""
    with mariadb.server() as server, run_agent() as agent:
        query = "SELECT a FROM numbers WHERE a = 7"
        argv = [
            "mariadb-slap",
            "--no-defaults",
            "-h127.0.0.1",
            f"-P{server.port}",
            "-uroot",
            f"--create-schema={DATABASE}",
        ]
        argv += [f"--query={query}", f"--concurrency={connections}", "--number-of-queries=2000", "--no-drop"]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as load:
            assert load.wait(60) == 0
        asked = sum(line.text == query for line in mariadb.general_log(server))
        assert asked == 2000
        agent.settle_metrics()
        for metric in ("db.client.operation.duration", "otel_ebpf.db.server.operation.duration"):
            pids = server.pids if "server" in metric else {load.pid}

            def counted(metric: str = metric, pids: set[int] = pids) -> int:
                points = agent.points(metric, pids)
                assert {(point.unit, point.kind) for point in points} <= {("s", "histogram")}
                named = (point for point in points if point.attributes.get("db.query.summary") == "SELECT numbers")
                return sum(point.count for point in named)

            eventually(lambda: counted() >= asked, f"{metric} counts all")
            assert counted() == asked
