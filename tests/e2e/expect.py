"""What a server logged against what the agent made of it."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from tests.testbed.agent import Agent
from tests.testbed.clients import Ask, Done
from tests.testbed.process import eventually
from tests.testbed.servers import LogLine, Server
from tests.testbed.telemetry import CLIENT, SERVER, Span

TRACE_ID, SPAN_ID = re.compile(r"(?!0{32})[0-9a-f]{32}"), re.compile(r"(?!0{16})[0-9a-f]{16}")

HTTP1 = ("1.0", "1.1")

Row = tuple[str, str, int, int | None]  # method, path, status, bytes of the response's body


def asks(tag: str, only_get: bool = False) -> list[Ask]:
    """A bit of everything; `only_get`: for wget, which knows no other and fails where a status is an error."""
    plan = [
        ("GET", "/hello", 0),
        ("GET", "/items/42", 0),
        ("HEAD", "/bytes/1000", 0),
        ("GET", "/bytes/100000", 0),
        ("POST", "/echo", 20_000),
        ("GET", "/chunked/5500", 0),
        ("GET", "/status/204", 0),
        ("GET", "/status/404", 0),
        ("GET", "/status/503", 0),
        ("PUT", "/echo", 10),
        ("DELETE", "/items/7", 0),
        ("PATCH", "/echo", 3000),
        ("GET", "/sleep/60", 0),
        ("GET", "/sse", 0),
    ]
    wanted = [row for row in plan if not only_get or (row[0] == "GET" and not row[1].startswith("/status"))]
    return [Ask(method, f"{path}?t={tag}", size) for method, path, size in wanted]


def method_of(span: Span) -> str:
    """The method as it was sent."""
    return str(span.attributes.get("http.request.method_original", span.method))


def body_of(path: str, logged: int | None) -> int:
    """Bytes of a body; where the server logged them with framing, what the route promises."""
    if logged is not None:
        return logged
    name, _, argument = path.lstrip("/").partition("/")
    return {"chunked": int(argument) if argument.isdigit() else 0, "sse": 45}[name]


def logged_rows(lines: Iterable[LogLine]) -> list[Row]:
    """What the log says."""
    return [(line.method, line.path, line.status, body_of(line.path, line.body_bytes)) for line in lines]


def span_rows(spans: Iterable[Span]) -> list[Row]:
    """What the spans say."""
    return [
        (method_of(span), span.path, span.status_code, span.attributes.get("http.response.body.size")) for span in spans
    ]


def await_log(server: Server, tag: str, count: int) -> list[LogLine]:
    """The server's log once it has `count` lines with the tag: servers log after they answered."""
    return eventually(lambda: log if len(log := server.access_log(tag)) >= count else [], f"{count} lines in the log")


def assert_same(spans: Sequence[Span], log: Sequence[LogLine]) -> None:
    """Each logged request is one span and the other way round."""
    ours, theirs = Counter(span_rows(spans)), Counter(logged_rows(log))
    assert ours == theirs, (
        f"only in spans: {list((ours - theirs).elements())}, only in the log: {list((theirs - ours).elements())}"
    )


def wrong_durations(spans: Sequence[Span], log: Sequence[LogLine]) -> dict[tuple[str, str], str]:
    """Requests whose span is not as long as the server's own log has it, within 5 % + 1 ms, by method and path."""
    by_path: dict[tuple[str, str], list[float]] = {}
    for line in log:
        by_path.setdefault((line.method, line.path), []).append(line.duration_s)
    wrong = {}
    for key, logged in by_path.items():
        seen = [span.duration_s for span in spans if (method_of(span), span.path) == key]
        for ours, theirs in zip(sorted(seen), sorted(logged), strict=True):
            if abs(ours - theirs) > 0.05 * theirs + 0.001:
                wrong[key] = f"{ours * 1000:.3f} ms, logged as {theirs * 1000:.3f} ms"
    return wrong


def assert_durations(
    agent: Agent,
    server: Server,
    client: Callable[[Server, list[Ask]], Done],
    tag: str,
    log: Sequence[LogLine],
    *,
    only_get: bool = False,
) -> None:
    """The spans of `asks` are as long as the server's log has them.

    Server and kernel look at their clocks at different moments, and anything may run in between, for as long as a
    busy machine is busy. What is off for another reason is off again.
    """
    wrong = wrong_durations(agent.spans(server.pids, SERVER, tag), log)
    for attempt in range(8):
        tag_again = f"{tag}-{attempt}"
        again = [ask for ask in asks(tag_again, only_get) if (ask.method, ask.target.partition("?")[0]) in wrong]
        if not again:
            break
        time.sleep(0.2 * attempt)
        # What a server does once a connection, before it takes a time of its own, is not what is compared.
        client(server, [Ask("GET", f"/hello?t={tag_again}-first"), *again])
        log_again = await_log(server, tag_again, len(again))
        agent.settle()
        wrong = wrong_durations(agent.spans(server.pids, SERVER, tag_again), log_again)
    assert not wrong, wrong


def assert_asked(
    asked: Sequence[Span], server: Server, log: Sequence[LogLine], versions: Sequence[str] = HTTP1
) -> None:
    """The client's side of what the server logged."""
    assert_same(asked, log)
    assert_valid(asked, "https" if server.encrypted else "http", versions)
    for span in asked:
        assert span.attributes["server.port"] == server.port
        assert span.attributes["server.address"] == server.host
        assert str(span.attributes["url.full"]).startswith(f"{server.url}/")


def assert_both_sides(
    agent: Agent, server: Server, client_pid: int, tag: str, count: int
) -> tuple[list[Span], list[Span]]:
    """Each of the `count` requests that the server logged is a span of it and one of the client: these, and those."""
    log = await_log(server, tag, count)
    agent.settle()
    served, asked = agent.spans(server.pids, SERVER, tag), agent.spans([client_pid], CLIENT, tag)
    assert_same(served, log)
    assert_same(asked, log)
    return served, asked


def assert_valid(spans: Iterable[Span], scheme: str = "http", versions: Sequence[str] = HTTP1) -> None:
    """Ids, times, names and the attributes that every HTTP span has."""
    for span in spans:
        assert TRACE_ID.fullmatch(span.trace_id), span
        assert SPAN_ID.fullmatch(span.span_id), span
        assert 0 < span.start_ns <= span.end_ns, span
        assert span.attributes["url.scheme"] == scheme, span
        assert span.attributes["network.protocol.version"] in versions, span
        route = span.attributes.get("http.route")
        method = "HTTP" if span.method == "_OTHER" else span.method
        assert span.name == (f"{method} {route}" if route and span.kind == SERVER else method), span
        assert span.resource["service.name"], span
