"""OTLP over each of its ways to a real Collector: in the clear, within TLS, with certificates on both sides."""

import base64
import json
import ssl
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from otel_ebpf.config.settings import Compression, OtlpTarget, Protocol
from otel_ebpf.export.body import Body
from otel_ebpf.export.otlp import OtlpClient
from otel_ebpf.export.transport import METRICS, TRACES, Signal
from tests.e2e.conftest import Serve
from tests.testbed import agent as agents
from tests.testbed import clients
from tests.testbed.authority import Pair, authority, issue
from tests.testbed.clients import Ask
from tests.testbed.collector import Collector, collector
from tests.testbed.process import eventually
from tests.testbed.servers import Server
from tests.testbed.telemetry import CLIENT, SERVER
from tests.unit import backend as over_http
from tests.unit import grpc_backend as over_grpc

PROTOCOLS: tuple[Protocol, ...] = ("http/protobuf", "http/json", "grpc")
SIGNALS = {"traces": TRACES, "metrics": METRICS}


def endpoint(backend: Collector, protocol: Protocol) -> str:
    return backend.grpc_endpoint if protocol == "grpc" else backend.http_endpoint


def run(
    backend: Collector, fence: agents.Fence, server: Server, protocol: Protocol, **variables: str
) -> AbstractContextManager[agents.Agent]:
    """An agent that watches `server` and sends to `backend`."""
    env = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, **variables}
    return agents.running(backend, fence, "--port", str(server.port), env=env, endpoint=endpoint(backend, protocol))


def ask(server: Server, tag: str) -> int:
    """Some requests of a few kinds; the client's pid."""
    targets = ("/hello", "/bytes/1000", "/status/404", "/status/500")
    return clients.curl(server, [Ask("GET", f"{target}?t={tag}") for target in targets * 5]).pid


def arrived(agent: agents.Agent, server: Server, client: int, tag: str, count: int) -> None:
    """Waits for the spans of both sides."""

    def all_there() -> bool:
        agent.program.must_run()
        return min(len(agent.spans(server.pids, SERVER, tag)), len(agent.spans([client], CLIENT, tag))) >= count

    eventually(all_there, f"{count} spans of each side arrive", 15)
    assert len(agent.spans(server.pids, SERVER, tag)) == len(agent.spans([client], CLIENT, tag)) == count


@pytest.fixture
def authorities(tmp_path: Path) -> tuple[Pair, Pair, Pair]:
    """An authority, and what it has issued to the Collector and to the agent."""
    (tmp_path / "ca").mkdir()
    ca = authority(tmp_path / "ca", "ca")
    return ca, issue(ca, "server"), issue(ca, "client")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_each_way_in_the_clear(
    protocol: Protocol, compression: str, serve: Serve, fence: agents.Fence, tag: str
) -> None:
    server = serve("go")
    with (
        collector() as backend,
        run(backend, fence, server, protocol, OTEL_EXPORTER_OTLP_COMPRESSION=compression) as agent,
    ):
        client = ask(server, tag)
        arrived(agent, server, client, tag, 20)
        assert agent.end() == 0
        books = agent.summary()
        assert books["requests_seen"] == books["spans_exported"] == 40
        assert agent.telemetry.count("http.server.request.duration", server.pids) == 20


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mutual", [False, True], ids=["tls", "mtls"])
def test_each_way_within_tls(
    protocol: Protocol,
    mutual: bool,
    serve: Serve,
    fence: agents.Fence,
    tag: str,
    authorities: tuple[Pair, Pair, Pair],
) -> None:
    server = serve("go")
    ca, theirs, mine = authorities
    variables = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(ca.certificate)}
    if mutual:
        variables["OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"] = str(mine.certificate)
        variables["OTEL_EXPORTER_OTLP_CLIENT_KEY"] = str(mine.key)
    with (
        collector(theirs, ca.certificate if mutual else None) as backend,
        run(backend, fence, server, protocol, **variables) as agent,
    ):
        arrived(agent, server, ask(server, tag), tag, 20)
        assert agent.end() == 0
        assert agent.summary()["spans_exported"] == 40


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_certificates_are_replaced_while_both_sides_run(
    protocol: Protocol,
    serve: Serve,
    fence: agents.Fence,
    tag: str,
    authorities: tuple[Pair, Pair, Pair],
    tmp_path: Path,
) -> None:
    server = serve("go")
    ca, theirs, mine = authorities
    (tmp_path / "next").mkdir()
    next_ca = authority(tmp_path / "next", "next")
    next_theirs, next_mine = issue(next_ca, "server"), issue(next_ca, "client")
    both = tmp_path / "both.pem"
    both.write_bytes(ca.certificate.read_bytes() + next_ca.certificate.read_bytes())
    variables = {
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(ca.certificate),
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(mine.certificate),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(mine.key),
    }
    with collector(theirs, both) as backend, run(backend, fence, server, protocol, **variables) as agent:
        arrived(agent, server, ask(server, f"{tag}-1"), f"{tag}-1", 20)

        theirs.replace(next_theirs)
        port = backend.grpc_port if protocol == "grpc" else backend.http_port
        shown = next_theirs.certificate.read_text().strip()
        eventually(
            lambda: ssl.get_server_certificate(("127.0.0.1", port)).strip() == shown, "the Collector shows it", 10
        )
        ca.certificate.write_bytes(next_ca.certificate.read_bytes())
        mine.replace(next_mine)
        arrived(agent, server, ask(server, f"{tag}-2"), f"{tag}-2", 20)
        assert agent.end() == 0
        assert agent.summary()["spans_exported"] == 80
        assert "lost" not in agent.program.stderr


def refusals(protocol: Protocol) -> AbstractContextManager[over_http.Backend | over_grpc.Backend]:
    """A backend that takes all but one, then refuses, then is busy; and takes everything from then on."""
    partial = ExportTracePartialSuccess(rejected_spans=1, error_message="too old")
    answer = ExportTraceServiceResponse(partial_success=partial)
    if protocol == "grpc":
        return over_grpc.running_backend(
            over_grpc.Answer(body=answer.SerializeToString()),
            over_grpc.Answer(grpc.StatusCode.RESOURCE_EXHAUSTED, "full"),
            over_grpc.Answer(grpc.StatusCode.UNAVAILABLE, retry_after_s=1),
        )
    text = json_format.MessageToJson(answer).encode() if protocol == "http/json" else answer.SerializeToString()
    return over_http.running_backend(
        over_http.Answer(body=text), over_http.Answer(400, b"full"), over_http.Answer(503, headers={"Retry-After": "1"})
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_a_backend_does_not_take_is_in_the_books(
    protocol: Protocol, serve: Serve, fence: agents.Fence, tag: str
) -> None:
    server = serve("go")
    with collector() as unused, refusals(protocol) as backend:
        env = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_METRICS_EXPORTER": "none"}
        options = ("--port", str(server.port))
        with agents.running(unused, fence, *options, env=env, endpoint=backend.url) as agent:
            while backend.answers:
                left = len(backend.answers)
                ask(server, tag)
                eventually(lambda: len(backend.answers) < left, "an answer is given", 10)  # noqa: B023 - used at once
            busy = backend.received
            eventually(lambda: backend.received > busy, "it tries again", 15)
            assert agent.end() == 0
            books, said = agent.summary(), agent.program.stderr
    assert books["requests_seen"] == books["spans_exported"] + sum(books["spans_dropped"].values())
    assert books["spans_dropped"]["rejected"] == 1
    assert books["spans_dropped"]["export_failed"] > 0
    assert books["spans_exported"] > 0
    assert "too old" in said
    assert "full" in said


def request_of(document: dict[str, Any], signal: Signal) -> bytes:
    """A line of the file exporter, in protobuf: its ids are hexadecimal, protobuf's JSON has base64."""

    def as_base64(node: Any) -> Any:
        if isinstance(node, list):
            return [as_base64(child) for child in node]
        if not isinstance(node, dict):
            return node
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode()
            if key.endswith(("raceId", "panId"))
            else as_base64(value)
            for key, value in node.items()
        }

    encoded: bytes = json_format.ParseDict(as_base64(document), signal.request()).SerializeToString()
    return encoded


def documents(backend: Collector) -> list[dict[str, Any]]:
    return [json.loads(line) for line in backend.file.read_text().splitlines()]


def test_every_way_brings_the_same(serve: Serve, fence: agents.Fence, tag: str) -> None:
    """What an agent sent is sent again, the same bytes over each way: what arrives is equal to the last bit."""
    server = serve("go")
    with collector() as backend, run(backend, fence, server, "http/protobuf") as agent:
        arrived(agent, server, ask(server, tag), tag, 20)
        assert agent.end() == 0
        sent = documents(backend)
    assert {next(iter(document)) for document in sent} == {"resourceSpans", "resourceMetrics"}
    compressions: tuple[Compression, ...] = ("none", "gzip", "zstd")
    for protocol in PROTOCOLS:
        for compression in compressions[: 2 if protocol == "grpc" else 3]:
            with collector() as backend:
                for name, signal in SIGNALS.items():
                    path = "" if protocol == "grpc" else f"/v1/{name}"
                    target = OtlpTarget(f"{endpoint(backend, protocol)}{path}", protocol, compression=compression)
                    client = OtlpClient(target, signal, threading.Event())
                    key = "resourceSpans" if name == "traces" else "resourceMetrics"
                    for document in sent:
                        if key in document:
                            assert client.send(Body.of(request_of(document, signal))) == 0
                    client.close()
                came = documents(backend)
            for key in ("resourceSpans", "resourceMetrics"):
                assert [d for d in came if key in d] == [d for d in sent if key in d], (protocol, compression, key)
