"""MongoDB as drivers speak it: each command that the driver tells of is one span on each side, and nothing else is."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.e2e.conftest import RunAgent
from tests.testbed import mongodb
from tests.testbed.agent import Agent
from tests.testbed.mongodb import Command, Shop
from tests.testbed.servers import Server
from tests.testbed.telemetry import CLIENT, ERROR, SERVER, UNSET, Span

LARGE = 30  # documents of 5 KB each

# Each with the driver that speaks its dialect.
PAIRS = {"ferretdb": (mongodb.ferretdb, False), "mongo-java-server": (mongodb.java_server, True)}


@pytest.fixture(scope="module", params=PAIRS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Server, bool]]:
    """A server that runs, and whether the old driver asks it."""
    start, old = PAIRS[request.param]
    with start() as server:
        yield server, old


def of_mongodb(spans: list[Span]) -> list[Span]:
    return [span for span in spans if span.attributes.get("db.system.name") == "mongodb"]


def as_commands(spans: list[Span]) -> list[tuple[str, ...]]:
    names = ("db.operation.name", "db.namespace", "db.collection.name", "db.response.status_code")
    return [tuple(str(span.attributes.get(name, "")) for name in names) for span in spans]


def told(commands: list[Command]) -> list[tuple[str, ...]]:
    return [(c.operation, c.namespace, c.collection, c.code.removeprefix("?")) for c in commands]


def assert_agree(spans: list[Span], shop: Shop) -> None:
    """The driver's account, command by command."""
    assert as_commands(spans) == told(shop.commands)
    for span, command in zip(spans, shop.commands, strict=True):
        assert span.name == " ".join(filter(None, (command.operation, command.collection or command.namespace)))
        assert span.attributes.get("error.type", "") == command.code.replace("?", "_OTHER")
        assert span.status == (ERROR if command.code else UNSET)
        assert span.attributes.get("db.operation.batch.size", 1) == max(command.batch, 1)
        if command.rows != LARGE:  # too large to be looked at in full
            assert span.attributes.get("db.response.returned_rows") == command.rows
        assert "db.query.text" not in span.attributes
        assert "secret" not in repr(span)


def test_each_command_is_a_span_on_both_sides(agent: Agent, pair: tuple[Server, bool]) -> None:
    server, old = pair
    before = len(of_mongodb(agent.spans(server.pids)))
    shop = mongodb.shop(server, old=old)
    assert len(shop.commands) >= 20
    agent.settle()
    asked = of_mongodb(agent.spans({shop.pid}, CLIENT))
    assert_agree(asked, shop)
    assert_agree(of_mongodb(agent.spans(server.pids, SERVER))[before:], shop)
    for span, command in zip(asked, shop.commands, strict=True):
        assert span.duration_s <= command.duration_s + 0.001
        assert span.attributes["server.port"] == server.port


def test_every_command_of_many_clients_counts(run_agent: RunAgent, pair: tuple[Server, bool]) -> None:
    server, old = pair
    with run_agent() as agent, ThreadPoolExecutor() as pool:
        ask = partial(mongodb.shop, server, 20, old=old)
        shops = list(pool.map(lambda number: ask(collection=f"orders{number}"), range(4)))
        agent.settle_metrics()
        commands = Counter(row for shop in shops for row in told(shop.commands))
        pids = {shop.pid for shop in shops}
        assert Counter(as_commands(of_mongodb(agent.spans(pids, CLIENT)))) == commands
        assert Counter(as_commands(of_mongodb(agent.spans(server.pids, SERVER)))) == commands
        measured = agent.points("db.client.operation.duration", pids)
        assert sum(point.count for point in measured) == commands.total()


def test_a_connection_that_is_older_than_the_agent(run_agent: RunAgent, pair: tuple[Server, bool]) -> None:
    """What is told of it is what happened, from some command on."""
    server, old = pair
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(mongodb.shop, server, 150, "old_orders", old)
        with run_agent() as agent:
            shop = asking.result()
            agent.settle()
            seen = as_commands(of_mongodb(agent.spans({shop.pid}, CLIENT)))
    commands = told(shop.commands)
    assert 20 < len(seen) < len(commands), "the agent came in the middle"
    assert seen == commands[-len(seen) :]
