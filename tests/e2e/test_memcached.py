"""memcached in its three languages: each command is a call on both sides, counted as the server counts."""

import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import RunAgent
from tests.testbed import memcached
from tests.testbed.agent import AMPLE_RING, Agent
from tests.testbed.servers import Server
from tests.testbed.telemetry import CLIENT, ERROR, SERVER, UNSET, Span

ASKED, SERVED = "db.client.operation.duration", "otel_ebpf.db.server.operation.duration"
NONE = -1  # what is not said


@pytest.fixture
def server() -> Iterator[Server]:
    """A server whose counts are the test's."""
    with memcached.memcached() as started:
        yield started


def rows(spans: list[Span]) -> Counter[tuple[str, str, int]]:
    """What was asked, how it was answered, how many items were found; without what the tests asked."""
    found: Counter[tuple[str, str, int]] = Counter()
    for span in spans:
        text, code = (str(span.attributes.get(name, "")) for name in ("db.query.text", "db.response.status_code"))
        if span.name != "stats":
            found[text, code, int(span.attributes.get("db.response.returned_rows", NONE))] += 1
    return found


def hits(seen: Counter[tuple[str, str, int]]) -> int:
    """Items that were found, which is how memcached counts."""
    return sum(items * n for (text, _, items), n in seen.items() if text.startswith("get "))


def both_sides(agent: Agent, server: Server, client: str) -> Counter[tuple[str, str, int]]:
    """Runs a client, and gives what both sides' spans say."""
    pid = memcached.client(client, server)
    agent.settle()
    asked, served = agent.spans([pid], CLIENT), agent.spans(server.pids, SERVER)
    for span in (*asked, *served):
        assert span.attributes["db.system.name"] == "memcached", span
        assert span.name == span.attributes["db.operation.name"], span
        assert not any("secret" in str(value) for value in span.attributes.values()), span
        failed = str(span.attributes.get("db.response.status_code", "")).endswith("ERROR")
        assert (span.status == ERROR) is failed, span
        assert span.status in (UNSET, ERROR), span
    assert rows(asked) == rows(served)
    return rows(asked)


def test_nothing_is_missing_for_an_agent_that_gets_no_cpu(agent: Agent, server: Server) -> None:
    """Of values larger than the ring what they begin and end with is kept, and so there is room for the rest."""
    os.kill(agent.program.pid, signal.SIGSTOP)
    try:
        pid = memcached.client("text", server)
    finally:
        os.kill(agent.program.pid, signal.SIGCONT)
    agent.settle()
    asked, served = rows(agent.spans([pid], CLIENT)), rows(agent.spans(server.pids, SERVER))
    assert asked == served
    assert asked["set T:large ?", "SERVER_ERROR", NONE] == 1
    assert asked["get T:a", "", 1] == asked["get T:nothing", "", 0] == 100


def test_text(agent: Agent, server: Server) -> None:
    seen = both_sides(agent, server, "text")
    counted = memcached.counted(server)
    assert seen["get T:a", "", 1] == seen["get T:nothing", "", 0] == 100
    assert counted["get_hits"] == hits(seen)
    stored = Counter({row: n for row, n in seen.items() if row[0].split()[0] in ("set", "add", "cas")})
    assert counted["cmd_set"] == stored.total() - stored["set T:large ?", "SERVER_ERROR", NONE]
    for text, code in (
        ("set T:silent ?", ""),
        ("incr T:number ?", ""),
        ("incr T:nothing ?", "NOT_FOUND"),
        ("add T:a ?", "NOT_STORED"),
        ("cas T:a ?", "EXISTS"),
        ("touch T:a ?", ""),
        ("delete T:a", ""),
        ("delete T:a", "NOT_FOUND"),
        ("incr T:large ?", "CLIENT_ERROR"),
    ):
        assert seen[text, code, NONE] == 1, (text, code)
    assert seen["get T:a T:number T:nothing T:large", "", 3] == 1


def test_meta(agent: Agent, server: Server) -> None:
    assert both_sides(agent, server, "meta") == {
        ("ms T:a ?", "", NONE): 50,
        ("mg T:a ?", "", 1): 100,
        ("mg T:nothing ?", "", 0): 50,
        ("mn", "", NONE): 100,
        ("md T:a ?", "", NONE): 50,
        ("md T:a ?", "NF", NONE): 50,
    }


def test_binary(agent: Agent, server: Server) -> None:
    seen = both_sides(agent, server, "binary")
    assert seen["get T:a", "", 1] == 101
    assert seen["get T:nothing", "", 0] == 101
    assert seen["set T:b ?", "", NONE] == seen["set T:c ?", "", NONE] == 1
    assert seen["add T:a ?", "EXISTS", NONE] == seen["delete T:a", "", NONE] == 1
    assert memcached.counted(server)["get_hits"] == hits(seen)


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_as_many_calls_as_memcslap_makes(run_agent: RunAgent, server: Server, binary: bool) -> None:
    before = memcached.counted(server)
    with run_agent("--port", str(server.port), "--metrics-only", capture=AMPLE_RING) as agent:
        options = ["--execute-number=200", "--concurrency=2", "--test=get"]
        pid = memcached.load(server, *options, *(["--binary"] if binary else []))
        counted = Counter(memcached.counted(server)) - Counter(before)
        assert agent.end() == 0
        for name, pids in ((ASKED, [pid]), (SERVED, server.pids)):
            seen: Counter[str] = Counter()
            for point in agent.points(name, pids):
                seen[str(point.attributes["db.operation.name"])] += point.count
            assert seen["get"] == counted["cmd_get"] == 400
            assert seen["set"] == counted["cmd_set"] == 200
