"""The sender over a queue on disk: a backend that is away, or gone for good, costs nothing but disk."""

import errno
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace
from tests.testbed.process import eventually, free_port
from tests.unit.backend import Answer, Backend, running_backend

from otel_ebpf.config.settings import OtlpTarget
from otel_ebpf.export.body import Body
from otel_ebpf.export.diskqueue import DiskQueue
from otel_ebpf.export.otlp import OtlpClient, RetryPolicy
from otel_ebpf.export.queued import QueuedSender
from otel_ebpf.export.sender import Delivery, Parcel
from otel_ebpf.export.transport import TRACES

QUICK = RetryPolicy(first_s=0.01, longest_s=0.02, give_up_s=0.1)


def sender(folder: Path, url: str, policy: RetryPolicy = QUICK, **limits: float) -> QueuedSender:
    hurry = threading.Event()
    client = OtlpClient(OtlpTarget(f"{url}/v1/traces", timeout_s=1), TRACES, hurry, policy)
    queue = DiskQueue(folder, "traces", int(limits.get("max_bytes", 64 << 20)), limits.get("max_age_s", 3600))
    return QueuedSender("spans", client, hurry, queue)


def submit(sending: QueuedSender, *texts: str) -> None:
    for text in texts:
        sending.submit(Parcel(10, lambda text=text: Body.of(text.encode())))  # type: ignore[misc]


def arrived(backend: Backend) -> list[str]:
    return [request.body.decode() for request in backend.requests]


@contextmanager
def nobody() -> Iterator[str]:
    yield f"http://127.0.0.1:{free_port()}"


def books(delivery: Delivery) -> tuple[int, dict[str, int], int, int]:
    """exported, dropped, pending, recovered."""
    return delivery.exported, delivery.dropped, delivery.pending, delivery.recovered


def test_what_is_submitted_arrives_in_order_and_leaves_no_file(tmp_path: Path) -> None:
    with running_backend() as backend:
        sending = sender(tmp_path, backend.url)
        submit(sending, *"abcdef")
        assert sending.drain(5)
        sending.close(2)
        assert arrived(backend) == list("abcdef")
    assert books(sending.delivery()) == (60, {}, 0, 0)
    assert not list(tmp_path.glob("*.queue"))


def test_a_backend_that_is_away_holds_up_nobody_and_loses_nothing(tmp_path: Path) -> None:
    with nobody() as url:
        sending = sender(tmp_path, url, RetryPolicy())
        for text in "abcdef":
            assert sending.await_room(2)
            submit(sending, text)
        eventually(lambda: sending.delivery().kept == 60, "all is on disk")
        began = time.monotonic()
        sending.close(5)
        assert time.monotonic() - began < 2
        assert books(sending.delivery()) == (0, {}, 60, 0)
    with running_backend() as backend:
        sending = sender(tmp_path, backend.url)
        submit(sending, "g")
        assert sending.drain(5)
        sending.close(2)
        assert arrived(backend) == list("abcdefg")
    assert books(sending.delivery()) == (70, {}, 0, 60)


def test_trying_goes_on_after_the_client_has_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running_backend(*[Answer(503)] * 40) as backend:
        sending = sender(tmp_path, backend.url)
        submit(sending, "a")
        assert sending.drain(10)
        sending.close(1)
    assert books(sending.delivery()) == (10, {}, 0, 0)
    assert "10 spans stay in the queue" in caplog.text


def test_what_is_refused_rejected_or_unbuildable_is_counted_by_reason(tmp_path: Path) -> None:
    partial = trace.ExportTracePartialSuccess(rejected_spans=2)
    body = trace.ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    with running_backend(Answer(400), Answer(body=body)) as backend:
        sending = sender(tmp_path, backend.url)
        submit(sending, "a", "b")
        sending.submit(Parcel(1, lambda: Body.of(bytes([256]))))
        submit(sending, "c")
        assert sending.drain(5)
        sending.close(1)
    assert books(sending.delivery()) == (18, {"export_failed": 11, "rejected": 2}, 0, 0)


def test_a_backend_that_hangs_at_the_end_gets_it_next_time(tmp_path: Path) -> None:
    with running_backend(Answer(delay_s=3)) as backend:
        sending = sender(tmp_path, backend.url, RetryPolicy())
        submit(sending, "a", "b")
        backend.wait_for(1)
        sending.close(0.2)
        assert books(sending.delivery()) == (0, {}, 20, 0)
    with running_backend() as backend:
        sending = sender(tmp_path, backend.url)
        assert sending.drain(5)
        sending.close(1)
        assert arrived(backend) == ["a", "b"]


def test_bounds_are_kept_while_the_backend_is_away_and_the_books_balance(tmp_path: Path) -> None:
    with nobody() as url:
        sending = sender(tmp_path, url, RetryPolicy(), max_bytes=1 << 20)
        for number in range(60):
            assert sending.await_room(2)
            submit(sending, f"{number:03}" + "x" * 50_000)
        eventually(lambda: sending.delivery().pending + sum(sending.delivery().dropped.values()) == 600, "all written")
        sending.close(5)
    delivery = sending.delivery()
    assert delivery.dropped.keys() == {"queue_size"}
    assert delivery.pending + delivery.dropped["queue_size"] == 600
    assert delivery.kept_bytes <= 1 << 20


def test_what_is_too_old_goes_though_nobody_takes_it(tmp_path: Path) -> None:
    with running_backend(*[Answer(503)] * 1000) as backend:
        sending = sender(tmp_path, backend.url, max_age_s=0.3)
        submit(sending, "a", "b")
        eventually(lambda: sending.delivery().dropped == {"queue_age": 20}, "it went", 5)
        assert sending.drain(1)
        sending.close(1)


class FullDisk:
    """A disk that is full until it is not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        append = DiskQueue.append

        def maybe(queue: DiskQueue, body: Body, items: int) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            append(queue, body, items)

        monkeypatch.setattr(DiskQueue, "append", maybe)


def test_with_a_full_disk_it_goes_on_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FullDisk(monkeypatch)
    with running_backend() as backend:
        sending = sender(tmp_path, backend.url)
        submit(sending, "a", "b")
        assert sending.drain(5)
        disk.full = False
        submit(sending, "c")
        assert sending.drain(5)
        sending.close(1)
        assert arrived(backend) == ["a", "b", "c"]
    assert books(sending.delivery()) == (30, {}, 0, 0)
    assert sending.delivery().write_errors == 1
    assert "No space left on device; what comes waits in memory" in caplog.text


def test_with_a_full_disk_and_nobody_there_the_queue_is_as_short_as_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    with nobody() as url:
        sending = sender(tmp_path, url, RetryPolicy())
        for text in "ab":
            submit(sending, text)
            assert sending.await_room(2)
        submit(sending, "c")
        assert not sending.await_room(0.2)
        assert books(sending.delivery()) == (0, {}, 30, 0)
        sending.close(5)
        assert books(sending.delivery()) == (0, {"shutdown": 30}, 0, 0)
    disk.full = False


def test_with_a_disk_that_has_room_again_what_was_held_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    with nobody() as url:
        sending = sender(tmp_path, url, RetryPolicy())
        submit(sending, "a", "b", "c")
        eventually(lambda: sending.delivery().write_errors == 1, "the disk is full")
        disk.full = False
        # The sender keeps what it tries to deliver; at the end it can be written.
        eventually(lambda: sending.delivery().kept == 20, "what waited is on disk")
        sending.close(5)
    assert books(sending.delivery()) == (0, {}, 30, 0)
    assert sending.delivery().write_errors == 1
