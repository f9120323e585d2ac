"""The process that looks into files says what the function it calls says, whatever becomes of it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.testbed import tls

from otel_ebpf.discover.tls import Attachment, Refusal
from otel_ebpf.discover.tls.inspect import examine
from otel_ebpf.discover.tls.worker import Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    started = Worker()
    yield started
    started.end()


def test_it_says_what_the_function_says(worker: Worker) -> None:
    for path in (tls.libssl("3.0"), Path(__file__)):
        with path.open("rb") as file:
            assert worker.examine(file.fileno()) == examine(file.fileno())


def test_it_is_nobody_and_holds_no_file(worker: Worker) -> None:
    with tls.libssl("3.0").open("rb") as file:
        (found,) = worker.examine(file.fileno())
        assert isinstance(found, Attachment)
    assert worker._process
    of = Path(f"/proc/{worker._process.pid}")
    assert "\nCapEff:\t0000000000000000\n" in (of / "status").read_text()
    if os.geteuid() == 0:
        assert "\nUid:\t65534\t65534\t65534\t65534\n" in (of / "status").read_text()
    assert {each.name for each in (of / "fd").iterdir()} == {"0", "1", "2"}


def test_one_that_dies_is_told_of_and_replaced(worker: Worker) -> None:
    with tls.libssl("3.0").open("rb") as file:
        worker.examine(file.fileno())
        assert worker._process
        os.kill(worker._process.pid, signal.SIGKILL)
        worker._process.wait()
        (refusal,) = worker.examine(file.fileno())
        assert isinstance(refusal, Refusal)
        assert "could not be looked into" in refusal.reason
        assert worker.examine(file.fileno()) == examine(file.fileno())


def test_it_ends_with_whoever_started_it(worker: Worker) -> None:
    with tls.libssl("3.0").open("rb") as file:
        worker.examine(file.fileno())
    assert worker._process
    assert worker._channel
    worker._channel.close()
    assert worker._process.wait(5) == 0
