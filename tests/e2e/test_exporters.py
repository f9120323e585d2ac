"""The SDK's exporters beside OTLP: the same spans, from a real agent."""

import json

from tests.e2e.conftest import RunAgent, Serve
from tests.testbed import clients
from tests.testbed.clients import Ask


def documents(text: str) -> list[dict[str, object]]:
    """JSON documents one after the other, as the console exporter prints them."""
    decoder, at, found = json.JSONDecoder(), 0, []
    while (at := text.find("{", at)) >= 0:
        document, at = decoder.raw_decode(text, at)
        found.append(document)
    return found


def test_the_console_shows_what_the_collector_gets(run_agent: RunAgent, serve: Serve, tag: str) -> None:
    web = serve("nginx")
    with run_agent("--port", str(web.port), env={"OTEL_TRACES_EXPORTER": "otlp,console"}) as agent:
        clients.curl(web, [Ask("GET", f"/hello?t={tag}"), Ask("GET", f"/status/503?t={tag}")] * 5)
        assert agent.end() == 0
        arrived = {(span.trace_id, span.span_id, span.name, span.kind) for span in agent.telemetry.spans}
        kinds = {"SpanKind.SERVER": 2, "SpanKind.CLIENT": 3}
        shown = [row for row in documents(agent.program.stdout) if "context" in row]
        assert len(shown) == len(arrived) == 20
        assert {
            (row["context"]["trace_id"][2:], row["context"]["span_id"][2:], row["name"], kinds[row["kind"]])  # type: ignore[index]
            for row in shown
        } == arrived
        [sent] = [p for p in agent.points("otel_ebpf.exporter.sent") if p.attributes["signal"] == "traces"]
        assert (sent.attributes["exporter"], sent.value) == ("console", 20)


def test_without_otlp_the_first_one_keeps_the_books(run_agent: RunAgent, serve: Serve, tag: str) -> None:
    web = serve("nginx")
    with run_agent("--port", str(web.port), env={"OTEL_TRACES_EXPORTER": "console"}) as agent:
        clients.curl(web, [Ask("GET", f"/hello?t={tag}")] * 10)
        assert agent.end() == 0
        assert agent.telemetry.spans == []
        summary = next(row for row in documents(agent.program.stdout) if row.get("kind") == "summary")
        assert (summary["requests_seen"], summary["spans_exported"], summary["unaccounted"]) == (20, 20, 0)
