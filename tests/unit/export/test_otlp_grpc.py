"""Sending to a backend over gRPC: what arrives, and what becomes of what does not."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import status_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace
from tests.testbed.process import free_port
from tests.testbed.wire import serving
from tests.unit.grpc_backend import Answer, running_backend

from otel_ebpf.config.settings import OtlpTarget
from otel_ebpf.errors import ConfigError, ExportError, TemporaryExportError
from otel_ebpf.export.body import Body
from otel_ebpf.export.otlp import OtlpClient, RetryPolicy
from otel_ebpf.export.transport import METRICS, TRACES, Signal

QUICK = RetryPolicy(first_s=0.01, longest_s=0.02, give_up_s=0.5)
PATIENT = RetryPolicy(first_s=0.01, longest_s=0.2, give_up_s=10)
CODE = grpc.StatusCode


def client(url: str, policy: RetryPolicy = QUICK, signal: Signal = TRACES, **target: Any) -> OtlpClient:
    return OtlpClient(OtlpTarget(url, "grpc", **target), signal, threading.Event(), policy)


def test_what_is_sent_arrives_as_it_is_over_one_connection_with_its_headers() -> None:
    with running_backend() as backend:
        sending = client(backend.url.replace("//", "//me:s%3Acret@"), headers=(("Api-Key", "k"),))
        assert [sending.send(body) for body in (Body.of(b"one"), Body.of(b"t", memoryview(b"wo")), Body.of())] == [
            0
        ] * 3
        assert [call.body for call in backend.calls] == [b"one", b"two", b""]
        assert len({call.connection for call in backend.calls}) == 1
        assert {call.method for call in backend.calls} == {
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
        }
        metadata = backend.calls[0].metadata
        assert metadata["api-key"] == "k"
        assert metadata["authorization"] == "Basic bWU6czpjcmV0"
        assert str(metadata["user-agent"]).startswith("otel-ebpf/")
        sending.close()


@pytest.mark.parametrize(
    "code", ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"]
)
def test_what_may_pass_is_tried_again(code: str) -> None:
    with running_backend(Answer(getattr(CODE, code)), Answer(getattr(CODE, code))) as backend:
        assert client(backend.url, PATIENT).send(Body.of(b"one")) == 0
        assert [call.body for call in backend.calls] == [b"one"] * 3


@pytest.mark.parametrize(
    "code",
    [
        *("INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED"),
        *("FAILED_PRECONDITION", "INTERNAL", "UNKNOWN", "RESOURCE_EXHAUSTED"),
    ],
)
def test_any_other_code_is_final(code: str) -> None:
    with running_backend(Answer(getattr(CODE, code), "because")) as backend:
        with pytest.raises(ExportError, match=f"{code} because") as refused:
            client(backend.url).send(Body.of(b"x"))
        assert not isinstance(refused.value, TemporaryExportError)
        assert len(backend.calls) == 1


@pytest.mark.parametrize("code", [CODE.UNAVAILABLE, CODE.RESOURCE_EXHAUSTED])
def test_retry_info_is_honoured(code: grpc.StatusCode) -> None:
    with running_backend(Answer(code, retry_after_s=0.7)) as backend:
        began = time.monotonic()
        assert client(backend.url, PATIENT).send(Body.of(b"x")) == 0
        assert 0.7 <= time.monotonic() - began < 5
        assert len(backend.calls) == 2


def test_a_retry_info_of_nothing_says_that_another_attempt_is_welcome() -> None:
    with running_backend(Answer(CODE.RESOURCE_EXHAUSTED, retry_after_s=0)) as backend:
        assert client(backend.url).send(Body.of(b"x")) == 0
        assert len(backend.calls) == 2


def test_details_without_a_retry_info_are_none() -> None:
    other = any_pb2.Any(type_url="type.googleapis.com/google.rpc.DebugInfo")
    details = status_pb2.Status(details=[other]).SerializeToString()
    for status_details in (details, b"\xff\xff"):
        with running_backend(Answer(CODE.RESOURCE_EXHAUSTED, status_details=status_details)) as backend:
            with pytest.raises(ExportError, match="RESOURCE_EXHAUSTED"):
                client(backend.url).send(Body.of(b"x"))
            assert len(backend.calls) == 1


@pytest.mark.parametrize(
    ("signal", "answer"),
    [
        (
            TRACES,
            trace.ExportTraceServiceResponse(
                partial_success=trace.ExportTracePartialSuccess(rejected_spans=2, error_message="too old")
            ),
        ),
        (
            METRICS,
            metrics.ExportMetricsServiceResponse(
                partial_success=metrics.ExportMetricsPartialSuccess(rejected_data_points=2, error_message="too old")
            ),
        ),
    ],
)
def test_partial_success_is_counted_and_told(signal: Signal, answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    with running_backend(Answer(body=answer.SerializeToString())) as backend:
        assert client(backend.url, signal=signal).send(Body.of(b"x")) == 2
        assert backend.calls[0].method == signal.method
    assert "too old" in caplog.text


def test_an_answer_that_is_no_protobuf_is_success_all_the_same() -> None:
    with running_backend(Answer(body=b"\xff")) as backend:
        assert client(backend.url).send(Body.of(b"x")) == 0


def test_an_answer_that_takes_too_long_is_a_failure_that_may_pass() -> None:
    with running_backend(Answer(delay_s=1)) as backend:
        assert client(backend.url, PATIENT, timeout_s=0.3).send(Body.of(b"x")) == 0
        # Who did not answer in time is not waited for on the same connection.
        assert len({call.connection for call in backend.calls}) == 2


def test_nobody_there_is_given_up_after_a_while_and_found_once_it_is_there() -> None:
    port = free_port()
    sending = client(f"http://127.0.0.1:{port}")
    with pytest.raises(TemporaryExportError, match="UNAVAILABLE"):
        sending.send(Body.of(b"x"))
    with running_backend(port=port) as backend:
        patient = client(backend.url, PATIENT)
        assert patient.send(Body.of(b"x")) == 0
    # And a connection that was there and went is opened anew.
    with running_backend(port=port) as backend:
        assert patient.send(Body.of(b"y")) == 0
        assert [call.body for call in backend.calls] == [b"y"]


@pytest.mark.parametrize("name", ["x-bin", "X-Bin", "a*b"])
def test_headers_that_grpc_cannot_carry_refuse_to_start(name: str) -> None:
    with pytest.raises(ConfigError, match="gRPC has none of this name"):
        client("http://127.0.0.1:1", headers=((name, "x"),))


def test_a_password_in_the_url_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    answers = Answer(CODE.UNAVAILABLE), Answer(CODE.INTERNAL)
    with running_backend(*answers) as backend, pytest.raises(ExportError) as refused:
        client(backend.url.replace("//", "//me:s%3Acret@")).send(Body.of(b"x"))
    assert "UNAVAILABLE" in caplog.text
    assert "cret" not in caplog.text + str(refused.value)


def test_a_backends_words_that_are_no_plain_text_are_not_shown() -> None:
    with running_backend(Answer(CODE.INTERNAL, "\x1b[2J")) as backend, pytest.raises(ExportError) as refused:
        client(backend.url).send(Body.of(b"x"))
    assert str(refused.value).endswith(": INTERNAL")


def test_grpcio_is_loaded_only_where_it_is_used() -> None:
    program = (
        "import sys, threading\n"
        "import otel_ebpf.agent.agent\n"
        "from otel_ebpf.config.settings import OtlpTarget\n"
        "from otel_ebpf.export.otlp import OtlpClient\n"
        "from otel_ebpf.export.transport import TRACES\n"
        "for protocol in ('http/protobuf', 'http/json', 'grpc'):\n"
        "    OtlpClient(OtlpTarget('http://127.0.0.1:1', protocol), TRACES, threading.Event())\n"
        "    print('grpc' in sys.modules)\n"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False", "False", "True"]


@pytest.mark.parametrize(("compression", "low", "high"), [("none", 50_000, 60_000), ("gzip", 50, 5_000)])
def test_gzip(compression: str, low: int, high: int) -> None:
    passed: list[bytes] = []

    with running_backend() as backend:

        def handle(conn: socket.socket) -> None:
            """Passes all on, and keeps what the client sent."""
            with socket.create_connection(("127.0.0.1", backend.port)) as onward:
                back = threading.Thread(target=pump, args=(onward, conn, []), daemon=True)
                back.start()
                pump(conn, onward, passed)

        def pump(source: socket.socket, sink: socket.socket, seen: list[bytes]) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    seen.append(data)
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)

        with serving(handle) as (host, port):
            sending = client(f"http://{host}:{port}", compression=compression)
            assert sending.send(Body.of(b"x" * 50_000)) == 0
            sending.close()
        assert [call.body for call in backend.calls] == [b"x" * 50_000]
    assert low < sum(map(len, passed)) < high
