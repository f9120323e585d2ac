"""MQTT as mosquitto and paho speak it: mosquitto's log of packets says what there was."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.testbed import brokers
from tests.testbed.agent import Agent
from tests.testbed.servers import Server
from tests.testbed.telemetry import CONSUMER, PRODUCER, SERVER, Span

LINK = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


@pytest.fixture(scope="module")
def mosquitto() -> Iterator[Server]:
    with brokers.mosquitto() as started:
        yield started


def topics(spans: list[Span], operation: str) -> Counter[str]:
    """How often it was done with each topic."""
    return Counter(
        str(span.attributes["messaging.destination.name"])
        for span in spans
        if span.attributes["messaging.operation.name"] == operation
    )


@pytest.mark.parametrize("version", [4, 5])
def test_messages_of_each_quality(agent: Agent, mosquitto: Server, tag: str, version: int) -> None:
    name = f"client-{tag}"
    pid, done = brokers.python("client_paho.py", mosquitto.port, name, version, 40)
    log = brokers.mosquitto_log(mosquitto, name)
    assert len(log["Received"]) == done["sent"]
    agent.settle()
    spans = agent.spans([pid])
    served = [s for s in agent.spans(mosquitto.pids, SERVER) if s.attributes.get("messaging.client.id") == name]
    for side in (spans, served):
        assert topics(side, "publish") == Counter(log["Received"])
        assert topics(side, "process") == Counter(log["Sending"])
    for span in spans:
        sends = span.attributes["messaging.operation.name"] == "publish"
        assert span.kind == (PRODUCER if sends else CONSUMER)
        assert span.attributes["messaging.client.id"] == name
        assert span.error_type == ""
        if version == 5:
            assert span.attributes["messaging.message.conversation_id"] == "conversation"
            if sends:
                assert (span.trace_id, span.parent_span_id) == LINK
            else:
                assert span.links == (LINK,)
        qos = span.name[-1]
        size = span.attributes["messaging.message.body.size"]
        assert size == (int(qos) * 20 if qos.isdigit() else 300_000)
    assert "secret" not in str(spans)
