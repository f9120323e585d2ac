"""Sending to a backend over HTTP: what arrives, and what becomes of what does not."""

import base64
import socket
import ssl
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from typing import Any

import pytest
from google.rpc import status_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace
from tests.unit.backend import Answer, running_backend

from otel_ebpf.config.settings import OtlpTarget
from otel_ebpf.errors import ConfigError, ExportError, TemporaryExportError
from otel_ebpf.export.body import Body
from otel_ebpf.export.otlp import OtlpClient, RetryPolicy
from otel_ebpf.export.sender import Delivery, Parcel, Sender
from otel_ebpf.export.transport import METRICS, TRACES

QUICK = RetryPolicy(first_s=0.01, longest_s=0.02, give_up_s=0.5)


def client(url: str, policy: RetryPolicy = QUICK, hurry: threading.Event | None = None, **target: object) -> OtlpClient:
    where = OtlpTarget(f"{url}/v1/traces", **target)  # type: ignore[arg-type]
    return OtlpClient(where, TRACES, hurry or threading.Event(), policy)


def test_what_is_sent_arrives_over_one_connection_with_its_headers() -> None:
    with running_backend() as backend:
        sending = client(backend.url, headers=(("api-key", "k"),))
        assert [sending.send(body) for body in (Body.of(b"one"), Body.of(b"t", b"", b"wo"), Body.of())] == [0, 0, 0]
        assert [request.body for request in backend.requests] == [b"one", b"two", b""]
        assert len({request.connection for request in backend.requests}) == 1
        headers = backend.requests[0].headers
        assert (headers["content-type"], headers["api-key"]) == ("application/x-protobuf", "k")
        assert headers["user-agent"].startswith("otel-ebpf/")
        assert "content-encoding" not in headers
        assert [request.headers["content-length"] for request in backend.requests] == ["3", "3", "0"]
        assert not any("transfer-encoding" in request.headers for request in backend.requests)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compression(compression: str) -> None:
    with running_backend() as backend:
        client(backend.url, compression=compression).send(Body.of(b"x" * 9_000, memoryview(b"y" * 1_000)))
        assert backend.requests[0].headers["content-encoding"] == compression
        assert int(backend.requests[0].headers["content-length"]) < 200
        assert backend.requests[0].body == b"x" * 9_000 + b"y" * 1_000


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_backend_that_is_busy_is_tried_again(status: int) -> None:
    with running_backend(Answer(status), Answer(status)) as backend:
        assert client(backend.url).send(Body.of(b"one", memoryview(b"two"))) == 0
        assert [request.body for request in backend.requests] == [b"onetwo"] * 3


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413, 500, 501])
def test_any_other_refusal_is_final(status: int) -> None:
    with running_backend(Answer(status, b"because")) as backend:
        with pytest.raises(ExportError, match=f"HTTP {status} because"):
            client(backend.url).send(Body.of(b"x"))
        assert len(backend.requests) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [(status_pb2.Status(code=3, message="no such tenant").SerializeToString(), " no such tenant"), (b"\xff\0", "")],
)
def test_what_a_refusal_says_in_protobuf_is_told(body: bytes, said: str) -> None:
    with running_backend(Answer(400, body, {"Content-Type": "application/x-protobuf"})) as backend:
        with pytest.raises(ExportError) as refused:
            client(backend.url).send(Body.of(b"x"))
        assert str(refused.value) == f"{backend.url}/v1/traces: HTTP 400{said}"


def test_a_connection_that_the_backend_closed_is_opened_again() -> None:
    with running_backend(Answer(headers={"Connection": "close"})) as backend:
        sending = client(backend.url)
        for _ in range(3):
            assert sending.send(Body.of(b"x")) == 0
        assert len({request.connection for request in backend.requests}) == 2


def test_nobody_there_is_given_up_after_a_while() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        began = time.monotonic()
        with pytest.raises(TemporaryExportError, match=r"[Rr]efused"):
            client(f"http://127.0.0.1:{unused.getsockname()[1]}").send(Body.of(b"x"))
        assert 0.2 < time.monotonic() - began < 3


def test_an_answer_that_takes_too_long_is_a_failure_that_may_pass() -> None:
    with running_backend(Answer(delay_s=0.5)) as backend:
        assert client(backend.url, timeout_s=0.1).send(Body.of(b"x")) == 0
        assert len(backend.requests) == 2


@pytest.mark.parametrize("asked", ["1", "date"])
def test_retry_after_is_honoured(asked: str) -> None:
    # A date has whole seconds: one two seconds ahead is more than one ahead.
    text = formatdate(time.time() + 2, usegmt=True) if asked == "date" else asked
    with running_backend(Answer(503, headers={"Retry-After": text})) as backend:
        began = time.monotonic()
        client(backend.url, RetryPolicy(first_s=0.01, give_up_s=10)).send(Body.of(b"x"))
        assert time.monotonic() - began > 0.9


def test_partial_success_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    partial = trace.ExportTracePartialSuccess(rejected_spans=2, error_message="too old")
    body = trace.ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    with running_backend(Answer(body=body)) as backend:
        assert client(backend.url).send(Body.of(b"x")) == 2
    assert "too old" in caplog.text


def test_partial_success_of_metrics() -> None:
    partial = metrics.ExportMetricsPartialSuccess(rejected_data_points=3)
    body = metrics.ExportMetricsServiceResponse(partial_success=partial).SerializeToString()
    with running_backend(Answer(body=body)) as backend:
        where = OtlpTarget(f"{backend.url}/v1/metrics")
        assert OtlpClient(where, METRICS, threading.Event(), QUICK).send(Body.of(b"x")) == 3


def test_an_answer_that_is_no_protobuf_is_success_all_the_same() -> None:
    with running_backend(Answer(body=b'{"partialSuccess":{}}')) as backend:
        assert client(backend.url).send(Body.of(b"x")) == 0


def test_in_a_hurry_there_is_one_attempt_and_no_waiting() -> None:
    hurry = threading.Event()
    hurry.set()
    with running_backend(Answer(503), Answer(503)) as backend:
        with pytest.raises(TemporaryExportError):
            client(backend.url, RetryPolicy(), hurry).send(Body.of(b"x"))
        assert len(backend.requests) == 1


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize(
    "header", [("a b", "s3cret"), ("", "s3cret"), ("x", "s3cret\n"), ("x", "s3crät"), ("x", "\0s3cret")]
)
def test_what_cannot_be_a_header_refuses_to_start(protocol: str, header: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="not one of HTTP's") as refused:
        client("http://127.0.0.1:1", protocol=protocol, headers=(header,))
    assert "s3c" not in str(refused.value)


def test_zstd_that_is_not_there_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "otel_ebpf.export.zstd", None)
    with pytest.raises(ConfigError, match="zstd for http://c/v1/traces") as refused:
        client("http://c", compression="zstd")
    assert "use gzip" in refused.value.hint


def test_certificates_that_are_not_there_refuse_to_start() -> None:
    with pytest.raises(ConfigError, match="certificates for https://c/v1/traces"):
        client("https://c", ca_file="/nonexistent.pem")


def test_a_host_that_cannot_be_refuses_to_start_without_showing_the_password() -> None:
    with pytest.raises(ConfigError, match="no place to send to") as refused:
        client("http://me:secret@a b")
    assert "secret" not in str(refused.value)


# ---- the sender around it ----


def sender(url: str, policy: RetryPolicy = QUICK, **target: object) -> Sender:
    hurry = threading.Event()
    return Sender("spans", client(url, policy, hurry, **target), hurry)


def parcel(items: int, body: bytes = b"x") -> Parcel:
    return Parcel(items, lambda: Body.of(body))


def test_books_balance_when_all_goes_well() -> None:
    with running_backend() as backend:
        sending = sender(backend.url)
        for items in (3, 4):
            sending.submit(parcel(items))
        assert sending.drain(5)
        assert sending.delivery() == Delivery(exported=7)
        sending.close(1)


def test_what_is_refused_rejected_or_unbuildable_is_counted_by_reason() -> None:
    partial = trace.ExportTracePartialSuccess(rejected_spans=2)
    body = trace.ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    with running_backend(Answer(400), Answer(body=body)) as backend:
        sending = sender(backend.url)
        sending.submit(parcel(10))
        sending.submit(parcel(5))
        sending.submit(Parcel(1, lambda: Body.of(bytes([256]))))
        sending.submit(parcel(1))
        assert sending.drain(5)
        assert sending.delivery() == Delivery(exported=4, dropped={"export_failed": 11, "rejected": 2})
        sending.close(1)


def test_a_slow_backend_fills_the_queue_and_holds_up_nobody() -> None:
    with running_backend(Answer(delay_s=0.3)) as backend:
        sending = sender(backend.url)
        began = time.monotonic()
        for _ in range(6):
            sending.submit(parcel(1))
        assert not sending.has_room
        assert time.monotonic() - began < 0.2
        sending.close(5)
        assert sending.delivery() == Delivery(exported=6)


def test_room_is_waited_for_but_not_for_ever() -> None:
    with running_backend(Answer(delay_s=0.3)) as backend:
        sending = sender(backend.url)
        for _ in range(2):
            sending.submit(parcel(1))
        backend.wait_for(1)
        assert not sending.await_room(0.05)
        assert not sending.await_room(-1)
        assert sending.await_room(5)
        sending.close(5)
        assert sending.delivery() == Delivery(exported=2)


def test_what_is_left_at_the_end_counts_as_dropped() -> None:
    with running_backend(Answer(delay_s=2)) as backend:
        sending = sender(backend.url)
        for _ in range(3):
            sending.submit(parcel(2))
        backend.wait_for(1)
        began = time.monotonic()
        sending.close(0.2)
        assert time.monotonic() - began < 1
        assert sending.delivery() == Delivery(dropped={"shutdown": 6})


def test_the_end_does_not_wait_for_the_next_attempt() -> None:
    with running_backend(*[Answer(503)] * 9) as backend:
        sending = sender(backend.url, RetryPolicy())
        sending.submit(parcel(2))
        backend.wait_for(1)
        began = time.monotonic()
        sending.close(5)
        assert time.monotonic() - began < 2
        assert sending.delivery() == Delivery(dropped={"export_failed": 2})


def test_a_password_in_the_url_is_sent_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    with running_backend(Answer(503), Answer(400)) as backend:
        sending = client(backend.url.replace("//", "//me:s%3Acret@"))
        with pytest.raises(ExportError) as refused:
            sending.send(Body.of(b"x"))
        assert backend.requests[0].headers["authorization"] == "Basic " + base64.b64encode(b"me:s:cret").decode()
    assert "HTTP 503" in caplog.text
    assert "cret" not in caplog.text + str(refused.value)


# ---- over TLS ----


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=test"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return cert, key


def test_https_with_the_backends_own_authority_and_a_client_certificate(certificate: tuple[str, str]) -> None:
    cert, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.load_verify_locations(cert)
    context.verify_mode = ssl.CERT_REQUIRED
    with running_backend(tls=context) as backend:
        own: dict[str, Any] = {"ca_file": cert, "client_certificate_file": cert, "client_key_file": key}
        assert client(backend.url, **own).send(Body.of(b"x")) == 0
        with pytest.raises(ExportError):
            client(backend.url, ca_file=cert).send(Body.of(b"x"))
        with pytest.raises(TemporaryExportError, match="CERTIFICATE_VERIFY_FAILED"):
            client(backend.url).send(Body.of(b"x"))
        assert [request.body for request in backend.requests] == [b"x"]
