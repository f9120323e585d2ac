"""NATS and JetStream as nats-server and its clients speak them: requests last until their answers, deliveries until
they are acknowledged."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.testbed import brokers
from tests.testbed.agent import Agent
from tests.testbed.telemetry import CLIENT, CONSUMER, PRODUCER, SERVER, Span

LINK = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


@pytest.fixture(scope="module")
def nats() -> Iterator[brokers.Nats]:
    with brokers.nats() as started:
        yield started


def operations(spans: list[Span]) -> Counter[tuple[str, str, str]]:
    """How often each operation was done on each destination, and how it ended."""
    return Counter(
        (
            str(span.attributes["messaging.operation.name"]),
            str(span.attributes["messaging.destination.name"]),
            span.error_type,
        )
        for span in spans
    )


def test_what_nats_py_does(agent: Agent, nats: brokers.Nats, tag: str) -> None:
    before = nats.monitor()
    pid, done = brokers.python("client_nats.py", nats.port, tag)
    after = nats.monitor()
    agent.settle()
    spans = agent.spans([pid])
    expected = Counter(
        {
            ("publish", f"{tag}.news", ""): done["published"],
            ("process", f"{tag}.news", ""): done["received"],
            ("publish", f"{tag}.sum", ""): done["answered"],
            ("process", f"{tag}.sum", ""): done["answered"],
            ("publish", f"{tag}.nobody", "503"): 1,
            ("publish", f"{tag}.stream", ""): done["streamed"],
            ("publish", f"{tag}.stream", "10071"): 1,
            ("process", f"{tag}.stream", ""): done["acked"],
            ("publish", f"$KV.{tag}-bucket", ""): 1,
            ("get", f"KV_{tag}-bucket", ""): 2,
        }
    )
    assert operations(spans) == expected
    served = [s for s in agent.spans(nats.pids, SERVER) if tag in s.name]  # it is asked for its counts, too
    assert operations(served) == expected
    # the server counts answers, acknowledgements and what JetStream is asked as messages, too
    sent = sum(count for (operation, _, _), count in expected.items() if operation == "publish")
    assert after["in_msgs"] - before["in_msgs"] >= sent

    for span in spans:
        operation = span.attributes["messaging.operation.name"]
        assert span.kind == {"publish": PRODUCER, "process": CONSUMER, "get": CLIENT}[operation]
        assert span.attributes["messaging.client.id"] == "shop"
        assert span.attributes["messaging.system"] == "nats"
        if span.name.endswith(".sum") or (span.name == f"process {tag}.stream"):
            assert 0.019 < span.duration_s < 5  # as long as the handler takes
    news = [span for span in spans if span.name == f"process {tag}.news"]
    assert {span.attributes["messaging.consumer.group.name"] for span in news} == {"readers"}
    assert Counter(span.links for span in news) == {(LINK,): 25, (): 26}
    sent_with_trace = [span for span in spans if span.parent_span_id == LINK[1]]
    assert {span.name for span in sent_with_trace} == {f"publish {tag}.news"}
    assert len(sent_with_trace) == 25
    assert max(span.attributes["messaging.message.body.size"] for span in news) == 500_000


def test_many_requests_at_once_and_a_stream(agent: Agent, nats: brokers.Nats, tag: str) -> None:
    pid, done = brokers.go("nats", f"nats://127.0.0.1:{nats.port}", tag, 1000)
    agent.settle()
    assert operations(agent.spans([pid])) == {
        ("publish", f"{tag}.sum", ""): done["requests"],
        ("process", f"{tag}.sum", ""): done["requests"],
        ("publish", f"{tag}.stream", ""): done["streamed"],
        ("process", f"{tag}.stream", ""): done["streamed"],
    }
