"""Kafka: what a broker's log has is what producers' and consumers' spans say, on both sides.

Oracles: where the broker's logs end, what groups have committed, and what clients account for message by message.
"""

import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.e2e.conftest import RunAgent
from tests.testbed import kafka
from tests.testbed.agent import Agent
from tests.testbed.process import eventually, waiting_at
from tests.testbed.telemetry import CLIENT, ERROR, PRODUCER, SERVER, UNSET, Span

CLIENTS = sorted(kafka.CLIENTS)
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
NewTopic = Callable[..., str]


@pytest.fixture(scope="module")
def broker() -> Iterator[kafka.Broker]:
    with kafka.broker() as started:
        yield started


@pytest.fixture(scope="module")
def new_topic(broker: kafka.Broker) -> NewTopic:
    """Makes a topic that no test has had before."""
    numbers = itertools.count(1)
    return lambda partitions=1, **config: broker.create(f"orders-{next(numbers)}", partitions, **config)


def of(spans: Iterable[Span], topic: str, operation: str) -> list[Span]:
    """Those of an operation on a topic."""
    return [
        span
        for span in spans
        if span.attributes.get("messaging.operation.name") == operation
        and span.attributes.get("messaging.destination.name") == topic
    ]


def messages(spans: Iterable[Span]) -> int:
    """How many messages they moved."""
    return sum(span.attributes.get("messaging.batch.message_count", 1) for span in spans)


def assert_valid(spans: Iterable[Span], broker: kafka.Broker, topic: str, operation: str) -> None:
    """What every span of an operation has."""
    types = {"send": "send", "poll": "receive", "commit": "settle"}
    for span in spans:
        assert span.name == f"{operation} {topic}", span
        assert span.attributes["messaging.system"] == "kafka", span
        assert span.attributes["messaging.operation.type"] == types[operation], span
        assert span.attributes["server.port"] == broker.port, span
        assert 0 < span.start_ns <= span.end_ns, span
        assert span.kind in (SERVER, PRODUCER if operation == "send" else CLIENT), span
        assert (span.status, span.error_type) == (UNSET, ""), span


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("name", CLIENTS)
def test_messages_sent_are_those_of_the_log(
    agent: Agent, broker: kafka.Broker, new_topic: NewTopic, name: str, codec: str
) -> None:
    topic = new_topic(3)
    with kafka.producer(name, broker, client_id="shop", compression_type=codec) as producer:
        for count in (1, 300, 40):
            producer.send(topic, count)
        agent.settle()
    assert broker.messages(topic, 3) == 341
    for pid in (producer.pid, broker.program.pid):
        sent = of(agent.spans([pid]), topic, "send")
        assert messages(sent) == 341
        assert_valid(sent, broker, topic, "send")
        assert {span.attributes["messaging.client.id"] for span in sent} == {"shop"}


@pytest.mark.parametrize("name", CLIENTS)
def test_places_in_the_log(agent: Agent, broker: kafka.Broker, new_topic: NewTopic, name: str) -> None:
    """One message at a time: each span has its partition and its offset."""
    topic = new_topic(2)
    with kafka.producer(name, broker) as producer:
        answers = [message for _ in range(20) for message in producer.send(topic, 1, 70)]
        agent.settle()
    theirs = Counter((m.partition, m.offset) for m in answers if isinstance(m, kafka.Message))
    assert theirs.total() == 20
    for pid in (producer.pid, broker.program.pid):
        sent = [span.attributes for span in of(agent.spans([pid]), topic, "send")]
        ours = [(int(a["messaging.destination.partition.id"]), a["messaging.kafka.offset"]) for a in sent]
        assert Counter(ours) == theirs
        assert {a["messaging.message.body.size"] for a in sent} == {70}


@pytest.mark.parametrize("name", CLIENTS)
def test_acks_that_nobody_waits_for(agent: Agent, broker: kafka.Broker, new_topic: NewTopic, name: str) -> None:
    topic = new_topic()
    with kafka.producer(name, broker, acks="0") as producer:
        for _ in range(5):
            producer.send(topic, 20)
        eventually(lambda: broker.messages(topic) == 100, "the log has them all")
        agent.settle()
    for pid in (producer.pid, broker.program.pid):
        sent = of(agent.spans([pid]), topic, "send")
        assert messages(sent) == 100
        assert_valid(sent, broker, topic, "send")


@pytest.mark.parametrize("group_protocol", ["classic", "consumer"])
@pytest.mark.parametrize("name", CLIENTS)
def test_messages_received_and_committed(
    agent: Agent, broker: kafka.Broker, new_topic: NewTopic, name: str, group_protocol: str
) -> None:
    topic = new_topic(3)
    group = f"desk-{topic}"
    with kafka.producer("java", broker) as producer:
        producer.send(topic, 200)
    with kafka.consumer(name, broker, topic, group, client_id="desk", group_protocol=group_protocol) as consumer:
        first = consumer.poll(200)
        with kafka.producer("librdkafka", broker) as producer:
            producer.send(topic, 77)
        second = consumer.poll(77)
        agent.settle()
    assert len(set(first + second)) == broker.messages(topic, 3) == broker.committed(group, topic, 3) == 277
    for pid in (consumer.pid, broker.program.pid):
        spans = [span for span in agent.spans([pid]) if span.attributes.get("messaging.client.id") == "desk"]
        polled, committed = of(spans, topic, "poll"), of(spans, topic, "commit")
        if pid == consumer.pid:
            assert messages(polled) == 277
        else:  # the broker sends its log by sendfile: nobody sees how many there are
            assert len(polled) >= 2
            assert not any("messaging.batch.message_count" in span.attributes for span in polled)
        assert_valid(polled, broker, topic, "poll")
        assert len(committed) >= 2
        assert_valid(committed, broker, topic, "commit")
        assert {span.attributes["messaging.consumer.group.name"] for span in committed} == {group}


@pytest.mark.parametrize("name", CLIENTS)
def test_consumer_that_begins_where_another_ended(
    agent: Agent, broker: kafka.Broker, new_topic: NewTopic, name: str
) -> None:
    """In the middle of a batch, which the broker sends whole: what was not asked for is not counted."""
    topic = new_topic()
    with kafka.producer("java", broker, linger_ms="200") as producer:
        producer.send(topic, 50)
    with kafka.consumer("java", broker, topic, "relay", max_poll_records="20", client_id="one") as consumer:
        consumer.poll(20)
    assert broker.committed("relay", topic) == 20
    with kafka.consumer(name, broker, topic, "relay", client_id="two") as consumer:
        assert [message.offset for message in consumer.poll(30)] == list(range(20, 50))
        agent.settle()
    polled = of(agent.spans([consumer.pid]), topic, "poll")
    assert messages(polled) == 30
    assert [span.attributes["messaging.kafka.offset"] for span in polled] == [20]


@pytest.mark.parametrize("receiver", CLIENTS)
@pytest.mark.parametrize("sender", CLIENTS)
def test_contexts_of_messages(
    agent: Agent, broker: kafka.Broker, new_topic: NewTopic, sender: str, receiver: str
) -> None:
    """A message's sender is told by its header: the sending span continues it, the receiving one links to it."""
    topic = new_topic()
    with kafka.producer(sender, broker) as producer:
        producer.send(topic, 1, traced=True)
        with kafka.consumer(receiver, broker, topic, f"traced-{topic}") as consumer:
            (message,) = consumer.poll(1)
        agent.settle()
    _, trace_id, span_id, _ = message.traceparent.split("-")
    (sent,) = of(agent.spans([producer.pid]), topic, "send")
    assert (sent.trace_id, sent.parent_span_id) == (trace_id, span_id)
    (polled,) = of(agent.spans([consumer.pid]), topic, "poll")
    assert polled.links == ((trace_id, span_id),)
    assert polled.trace_id != trace_id


@pytest.mark.parametrize("name", CLIENTS)
def test_what_the_broker_refuses(agent: Agent, broker: kafka.Broker, new_topic: NewTopic, name: str) -> None:
    topic = new_topic(max_message_bytes="200")
    with kafka.producer(name, broker) as producer:
        assert len([what for what in producer.send(topic, 1, 1000) if isinstance(what, str)]) == 1
        agent.settle()
    assert broker.messages(topic) == 0
    for pid in (producer.pid, broker.program.pid):
        sent = of(agent.spans([pid]), topic, "send")
        assert sent
        assert {(span.error_type, span.status) for span in sent} == {("MESSAGE_TOO_LARGE", ERROR)}


@pytest.mark.parametrize("name", CLIENTS)
def test_large_messages(agent: Agent, broker: kafka.Broker, new_topic: NewTopic, name: str) -> None:
    topic = new_topic()
    with kafka.producer(name, broker, linger_ms="100") as producer:
        producer.send(topic, 20, 700_000)
        with kafka.consumer(name, broker, topic, f"large-{topic}") as consumer:
            consumer.poll(20)
        agent.settle()
    assert broker.messages(topic) == 20
    for pid in (producer.pid, broker.program.pid):
        assert messages(of(agent.spans([pid]), topic, "send")) == 20
    assert messages(of(agent.spans([consumer.pid]), topic, "poll")) == 20
    assert of(agent.spans([broker.program.pid]), topic, "poll")


@pytest.mark.parametrize("name", CLIENTS)
def test_metrics_count_messages(run_agent: RunAgent, broker: kafka.Broker, new_topic: NewTopic, name: str) -> None:
    topic = new_topic(2)
    with run_agent() as agent, ExitStack() as stack:
        producer = stack.enter_context(kafka.producer(name, broker))
        producer.send(topic, 500)
        consumer = stack.enter_context(kafka.consumer(name, broker, topic, f"counted-{topic}"))
        consumer.poll(500)
        agent.settle_metrics()
        for metric, pid in (
            ("messaging.client.sent.messages", producer.pid),
            ("messaging.client.consumed.messages", consumer.pid),
        ):
            points = agent.points(metric, {pid})
            assert {point.attributes["messaging.destination.name"] for point in points} == {topic}
            assert sum(point.value for point in points) == broker.messages(topic, 2) == 500


@pytest.mark.parametrize("name", CLIENTS)
def test_connections_that_are_older_than_the_agent(
    run_agent: RunAgent, broker: kafka.Broker, new_topic: NewTopic, name: str
) -> None:
    """Messages are counted once a request was seen; a consumer's is under way when the agent comes."""
    topic = new_topic()
    with ExitStack() as stack:
        producer = stack.enter_context(kafka.producer(name, broker))
        consumer = stack.enter_context(kafka.consumer(name, broker, topic, f"old-{topic}"))
        producer.send(topic, 10)
        consumer.poll(10)
        with run_agent() as agent:
            producer.send(topic, 10)
            consumer.poll(10)
            agent.settle()
            began = time.time_ns()
            for _ in range(10):
                producer.send(topic, 10)
            consumer.poll(100)
            agent.settle()
            for operation, pid in (
                ("send", producer.pid),
                ("poll", consumer.pid),
                ("send", broker.program.pid),
            ):
                spans = [span for span in agent.spans([pid]) if span.end_ns > began]
                # which topic an id means nobody may have said since
                assert messages(span for span in spans if span.name in (operation, f"{operation} {topic}")) == 100


@pytest.mark.parametrize("name", CLIENTS)
def test_broker_that_dies(agent: Agent, name: str) -> None:
    """What was sent and not answered failed with the connection."""
    with kafka.broker() as dying, ThreadPoolExecutor(1) as meanwhile:
        topic, pid = dying.create("orders"), dying.program.pid
        with kafka.producer(name, dying, delivery_timeout_ms="3000", request_timeout_ms="2500") as producer:
            producer.send(topic, 1)
            os.kill(pid, signal.SIGSTOP)
            answers = meanwhile.submit(producer.send, topic, 1)
            eventually(lambda: waiting_at(dying.port), "the message is with the broker")
            os.kill(pid, signal.SIGKILL)
            assert [type(answer) for answer in answers.result()] == [str]
            agent.settle()
    ends = Counter(span.error_type for span in of(agent.spans([producer.pid]), topic, "send"))
    assert ends.pop("") == 1
    assert sum(ends.values()) == 1
    assert ends.keys() <= {"connection_closed", "connection_reset"}
