"""Redis as its own tools and libraries speak it: each command is a call on both sides, counted as the server counts."""

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest
import redis as library
from redis.exceptions import MovedError

from tests.e2e.conftest import RunAgent
from tests.testbed import redis
from tests.testbed.agent import AMPLE_RING, Agent
from tests.testbed.servers import Server
from tests.testbed.telemetry import CLIENT, ERROR, SERVER, UNSET, Span

ASKED, SERVED = "db.client.operation.duration", "otel_ebpf.db.server.operation.duration"
# What go-redis and redis-py try and this server refuses is not in the server's count.
REFUSED = {"CLIENT SETINFO", "CLIENT MAINT_NOTIFICATIONS", "HELLO"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server for the tests of this module."""
    with redis.redis() as started:
        yield started


def operation(span: Span) -> str:
    """The command."""
    return str(span.attributes["db.operation.name"])


def text(span: Span) -> str:
    """What was asked."""
    return str(span.attributes.get("db.query.text", ""))


def code(span: Span) -> str:
    """The error's prefix."""
    return str(span.attributes.get("db.response.status_code", ""))


def operations(spans: Iterable[Span]) -> Counter[str]:
    """How often which command was seen, without those that were refused and those of the tests themselves."""
    return Counter(name for name in map(operation, spans) if name not in REFUSED | redis.ORACLE)


def accepted(counts: Counter[str]) -> Counter[str]:
    """The server's count of the same."""
    return Counter({name: count for name, count in counts.items() if name not in REFUSED})


def assert_valid(spans: Iterable[Span], server: Server) -> None:
    """What every span of a call has; and no value leaves."""
    for span in spans:
        assert 0 < span.start_ns <= span.end_ns, span
        assert span.attributes["db.system.name"] == "redis", span
        assert span.name == operation(span), span
        assert span.attributes["server.port"] == server.port, span
        assert "http.request.method" not in span.attributes, span
        assert (span.status, span.error_type) == ((ERROR, code(span)) if code(span) else (UNSET, "")), span
        assert not any("secret" in str(value) for value in span.attributes.values()), span


@pytest.mark.parametrize("client", ["redis-py resp2", "redis-py resp3", "redis-py asyncio", "go-redis"])
def test_each_command_is_a_call_on_both_sides(agent: Agent, server: Server, client: str) -> None:
    agent.settle()
    before = len(agent.spans(server.pids, SERVER))
    redis.forget(server)
    pid = redis.client(client, server)
    counted = accepted(redis.counted(server))
    agent.settle()
    asked, served = agent.spans([pid], CLIENT), agent.spans(server.pids, SERVER)[before:]
    assert counted.total() > 500
    assert operations(asked) == counted
    assert operations(served) == counted
    assert_valid(asked, server)
    assert_valid(served, server)
    later = [span for span in asked if operation(span) not in REFUSED | {"SELECT"}]
    assert {span.attributes["db.namespace"] for span in later} == {"3"}


@pytest.mark.parametrize("protocol", ["resp2", "resp3"])
def test_what_is_said_of_a_call(agent: Agent, server: Server, protocol: str) -> None:
    pid = redis.client(f"redis-py {protocol}", server)
    agent.settle()
    asked = agent.spans([pid], CLIENT)
    texts = Counter(map(text, asked))
    for expected in (
        "SET T:string ?",
        "GET T:nothing",
        "MSET T:a ? T:b ?",
        "HSET T:hash field ?",
        "ZADD T:sorted ? ?",
        "EVAL ? 1 T:key ?",
        "BLPOP T:empty ?",
        "SUBSCRIBE T:channel",
        "UNSUBSCRIBE",
    ):
        assert texts[expected] == 1, expected
    assert texts["PUBLISH T:channel ?"] == 3

    failed = Counter((operation(span), code(span)) for span in asked if code(span))
    assert failed - Counter({key: n for key, n in failed.items() if key[0] in REFUSED}) == {
        ("LPUSH", "WRONGTYPE"): 1,
        ("EVAL", "SECRETS"): 1,
        ("EXEC", "ERR"): 1,
    }
    batches = [span.attributes.get("db.operation.batch.size") for span in asked if operation(span) == "EXEC"]
    assert batches == [3, 2]
    (waited,) = (span for span in asked if operation(span) == "BLPOP")
    assert 0.29 < waited.duration_s < 1


@pytest.mark.parametrize("pipeline", [1, 16, 100])
def test_as_many_calls_as_redis_benchmark_makes(run_agent: RunAgent, pipeline: int) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(redis.redis())
        agent = stack.enter_context(run_agent("--port", str(server.port), "--metrics-only", capture=AMPLE_RING))
        tests = "ping_inline,set,get,incr,lpush,sadd,hset,spop,mset"
        pid = redis.benchmark(server, "-t", tests, "-n", "4000", "-c", "4", "-P", str(pipeline), "-r", "100")
        counted = redis.counted(server)
        assert agent.end() == 0
        for name, pids in ((ASKED, [pid]), (SERVED, server.pids)):
            seen: Counter[str] = Counter()
            for point in agent.points(name, pids):
                seen[str(point.attributes["db.operation.name"])] += point.count
            assert Counter({name: n for name, n in seen.items() if name not in redis.ORACLE}) == counted


def test_a_cluster_redirects(agent: Agent) -> None:
    with redis.cluster() as nodes:
        with library.Redis(nodes[0].host, nodes[0].port, protocol=2) as client:
            for number in range(30):
                with contextlib.suppress(MovedError):
                    client.set(f"key:{number}", "secret")
        agent.settle()
        served = [span for span in agent.spans(nodes[0].pids, SERVER) if operation(span) == "SET"]
        assert len(served) == 30
        assert {code(span) for span in served} == {"", "MOVED"}


def test_a_connection_older_than_the_agent(run_agent: RunAgent, server: Server, tag: str) -> None:
    with library.Redis(server.host, server.port, db=5, protocol=2) as client, client.client() as connection:
        connection.set(f"{tag}:before", "secret")
        with run_agent() as agent:
            for _ in range(10):
                connection.get(f"{tag}:after")
            connection.execute_command("SELECT", 6)
            connection.get(f"{tag}:after")
            agent.settle()
            served = [span for span in agent.spans(server.pids, SERVER) if tag in text(span)]
    assert [text(span) for span in served] == [f"GET {tag}:after"] * 11
    assert [span.attributes.get("db.namespace") for span in served] == [None] * 10 + ["6"]


@pytest.mark.parametrize(("how", "error"), [(signal.SIGTERM, "connection_closed"), (signal.SIGKILL, "connection_")])
def test_a_server_that_ends(agent: Agent, tag: str, how: signal.Signals, error: str) -> None:
    with redis.redis() as server:

        def wait() -> None:
            with library.Redis(server.host, server.port, protocol=2) as client, pytest.raises(library.ConnectionError):
                client.client().execute_command("BLPOP", tag, 30)

        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.3)  # how long it waits is what is measured
        server.program.end(how)
        waiting.join(30)
        agent.settle()
        (asked,) = (span for span in agent.spans([os.getpid()], CLIENT) if text(span) == f"BLPOP {tag} ?")
        assert asked.error_type.startswith(error)
        assert 0.2 < asked.duration_s < 5
