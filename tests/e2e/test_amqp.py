"""AMQP 0-9-1 as RabbitMQ and its clients speak it: a message is a span where it is sent and one where it is handled."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import RunAgent
from tests.testbed import brokers
from tests.testbed.agent import Agent
from tests.testbed.process import eventually
from tests.testbed.telemetry import CLIENT, CONSUMER, ERROR, PRODUCER, SERVER, UNSET, Span


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[brokers.RabbitMQ]:
    with brokers.rabbitmq() as started:
        yield started


def operations(spans: list[Span]) -> Counter[tuple[str, str, str]]:
    """How often each operation was done on each destination, and how it ended."""
    return Counter(
        (str(s.attributes["messaging.operation.name"]), str(s.attributes["messaging.destination.name"]), s.error_type)
        for s in spans
    )


def test_what_pika_does(agent: Agent, rabbitmq: brokers.RabbitMQ, tag: str) -> None:
    pid, done = brokers.python("client_pika.py", rabbitmq.port, tag)
    assert rabbitmq.queues()[tag] == 0
    assert done["errors"] == [404, 404]
    agent.settle()
    expected = Counter(
        {
            ("publish", tag, ""): done["sent"] + done["confirmed"],
            ("publish", "amq.direct:nowhere", "no-route"): done["returned"],
            ("publish", f"nosuch-{tag}:key", "not-found"): 1,
            ("get", tag, ""): done["got"] + done["empty"],
            ("get", f"nosuch-{tag}", "not-found"): 1,
            ("ack", tag, ""): done["got"],
            ("process", tag, ""): done["processed"],
            ("process", tag, "nack"): done["refused"],
        }
    )
    spans = agent.spans([pid])
    assert operations(spans) == expected
    brokers_own = [s for s in agent.spans(rabbitmq.pids, SERVER) if tag in str(s.attributes) or "nowhere" in s.name]
    assert operations(brokers_own) == expected

    kinds = {"publish": PRODUCER, "get": CLIENT, "ack": CLIENT, "process": CONSUMER}
    for span in spans:
        operation = span.attributes["messaging.operation.name"]
        assert span.kind == kinds[operation]
        assert span.attributes["messaging.system"] == "rabbitmq"
        assert span.name == f"{operation} {span.attributes['messaging.destination.name']}"
        assert span.attributes["server.port"] == rabbitmq.port
        assert span.status == (ERROR if span.error_type else UNSET)
        if operation == "process":
            assert 0.0099 < span.duration_s < 2  # pika hands out one at a time of the five that it has
    assert {s.attributes.get("messaging.message.body.size") for s in spans} >= {0, 19, 1_000_000}


def test_messages_carry_their_trace(agent: Agent, rabbitmq: brokers.RabbitMQ, tag: str) -> None:
    pid, _ = brokers.python("client_pika.py", rabbitmq.port, tag)
    agent.settle()
    spans = agent.spans([pid])
    for n in range(20):
        trace, parent = f"{n + 1:032x}", f"{n + 1:016x}"
        about = [span for span in spans if span.attributes.get("messaging.message.id") == f"m{n}"]
        (sent,) = (span for span in about if span.kind == PRODUCER)
        assert (sent.trace_id, sent.parent_span_id) == (trace, parent)
        for span in about:
            if span.kind != PRODUCER:
                assert span.links == ((trace, parent),), span


def test_channels_at_once_and_many_confirms(agent: Agent, rabbitmq: brokers.RabbitMQ, tag: str) -> None:
    url = f"amqp://guest:guest@127.0.0.1:{rabbitmq.port}/"
    pid, done = brokers.go("amqp", url, tag, 2000)
    assert rabbitmq.queues()[tag] == 0
    agent.settle()
    spans = agent.spans([pid])
    expected = Counter({("publish", tag, ""): done["published"], ("process", tag, ""): done["consumed"]})
    assert operations(spans) == expected
    sizes = Counter(span.attributes["messaging.message.body.size"] for span in spans)
    assert sizes == dict.fromkeys((0, 100, 200, 300), 1000)


def test_metrics_count_messages(agent: Agent, rabbitmq: brokers.RabbitMQ, tag: str) -> None:
    pid, done = brokers.python("client_pika.py", rabbitmq.port, tag)
    agent.settle_metrics()

    def newest(name: str) -> float:
        points = [p for p in agent.points(name, [pid]) if p.attributes.get("messaging.destination.name") == tag]
        last = max(point.time_ns for point in points)
        return sum(point.value for point in points if point.time_ns == last)

    assert newest("messaging.client.sent.messages") == done["sent"] + done["confirmed"]
    assert newest("messaging.client.consumed.messages") == done["got"] + done["processed"] + done["refused"]


def test_a_consumer_older_than_the_agent(run_agent: RunAgent, rabbitmq: brokers.RabbitMQ, tag: str) -> None:
    with (
        brokers.running_python("client_pika.py", rabbitmq.port, tag, "consume", 41) as consumer,
        run_agent() as agent,
    ):
        pid, _ = brokers.python("client_pika.py", rabbitmq.port, tag, "publish", 41)
        eventually(lambda: not consumer.running(), "the consumer has them all", 20)
        agent.settle()
        assert operations(agent.spans([pid])) == {("publish", tag, ""): 41}
        assert operations(agent.spans([consumer.pid])) == {("process", tag, ""): 41}
