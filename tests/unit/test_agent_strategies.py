"""What is asked of a sampling server, what of its answers reaches the core, and what happens while it is away."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.testbed.process import eventually
from tests.unit.fakes import FakeCore

from otel_ebpf.agent.strategies import Strategies, Strategy, parse
from otel_ebpf.config.settings import RemoteSampling


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.5}}', Strategy(0.5)),
        (
            '{"strategyType":0,"probabilisticSampling":{"samplingRate":1},"rateLimitingSampling":null,'
            '"operationSampling":null}',
            Strategy(1.0),
        ),
        ('{"strategyType":"RATE_LIMITING","rateLimitingSampling":{"maxTracesPerSecond":5}}', Strategy(1.0, 5.0)),
        ('{"strategyType":"RATE_LIMITING","rateLimitingSampling":{}}', Strategy(0.0)),
        ('{"probabilisticSampling":{}}', Strategy(0.0)),
        ('{"strategyType":"PROBABILISTIC"}', Strategy(0.0)),
        (
            '{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.8},"operationSampling":{'
            '"defaultSamplingProbability":0.2,"defaultLowerBoundTracesPerSecond":0.016,"perOperationStrategies":['
            '{"operation":"GET /a","probabilisticSampling":{"samplingRate":1}},'
            '{"operation":"GET /b","probabilisticSampling":{}}]}}',
            Strategy(0.2, 0.0, 0.016, (("GET /a", 1.0), ("GET /b", 0.0))),
        ),
        ('{"operationSampling":{"defaultSamplingProbability":0.2,"perOperationStrategies":null}}', Strategy(0.2)),
    ],
)
def test_answers(answer: str, expected: Strategy) -> None:
    assert parse(answer.encode()) == expected


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"strategyType":7}',
        '{"probabilisticSampling":{"samplingRate":"1"}}',
        '{"probabilisticSampling":{"samplingRate":1.5}}',
        '{"probabilisticSampling":{"samplingRate":NaN}}',
        '{"probabilisticSampling":[1]}',
        '{"rateLimitingSampling":{"maxTracesPerSecond":-1}}',
        '{"rateLimitingSampling":{"maxTracesPerSecond":true}}',
        '{"operationSampling":{"perOperationStrategies":{}}}',
        '{"operationSampling":{"perOperationStrategies":[{}]}}',
        "\xff",
    ],
)
def test_what_is_no_answer(answer: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the kind is all that matters
        parse(answer.encode("latin-1"))


@dataclass
class Server:
    """Answers for services by name; others get a 404."""

    url: str = ""
    answers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            (service,) = parse_qs(url.query)["service"]
            server.asked.append(f"{url.path} {service}")
            body = server.answers.get(service, "").encode()
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        server.url = f"http://127.0.0.1:{http.server_port}/sampling"
        yield server
        http.shutdown()


HALF = '{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.5}}'
FIVE = '{"strategyType":"RATE_LIMITING","rateLimitingSampling":{"maxTracesPerSecond":5}}'


def test_each_service_is_asked_for_again_and_again(caplog: pytest.LogCaptureFixture) -> None:
    core = FakeCore()
    with serving() as server:
        server.answers = {"shop": HALF, "cart & co": FIVE}
        strategies = Strategies(RemoteSampling(server.url, 0.05), core)
        strategies.follow({"shop"})
        eventually(lambda: core.strategies.get("shop") == (0.5, 0.0, 0.0, ()), "it is told of")
        strategies.follow({"shop", "cart & co"})
        eventually(lambda: core.strategies.get("cart & co") == (1.0, 5.0, 0.0, ()), "so is a new one")
        server.answers["shop"] = FIVE
        eventually(lambda: core.strategies["shop"] == (1.0, 5.0, 0.0, ()), "a change is told of")
        del server.answers["shop"]
        eventually(lambda: "what was known holds" in caplog.text, "that it is away is said")
        server.answers["shop"] = HALF
        eventually(lambda: core.strategies["shop"] == (0.5, 0.0, 0.0, ()), "and it is there again")
        strategies.close()
    assert set(server.asked) == {"/sampling shop", "/sampling cart & co"}
    assert caplog.text.count("what was known holds") == 1


def test_a_new_service_does_not_wait_for_the_interval() -> None:
    core = FakeCore()
    with serving() as server:
        server.answers = {"a": HALF, "b": HALF}
        strategies = Strategies(RemoteSampling(server.url, 3600.0), core)
        strategies.follow({"a"})
        eventually(lambda: "a" in core.strategies, "its strategy comes")
        strategies.follow({"a", "b"})
        eventually(lambda: "b" in core.strategies, "so does the other's")
        strategies.close()
    assert server.asked == ["/sampling a", "/sampling b"]


def test_a_service_that_the_url_names_stands_for_all() -> None:
    core = FakeCore()
    with serving() as server:
        server.answers = {"everyone": HALF}
        strategies = Strategies(RemoteSampling(f"{server.url}?service=everyone", 3600.0), core)
        strategies.follow({"a"})
        eventually(lambda: "a" in core.strategies, "its strategy comes")
        strategies.close()
    assert server.asked == ["/sampling everyone"]
