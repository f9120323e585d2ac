"""Sessions of the core itself, in the tests' own process: what they watch happens in others."""

import os
from collections.abc import Iterator

import pytest

from otel_ebpf._native import Session


@pytest.fixture(scope="package", autouse=True)
def _root() -> None:
    assert os.geteuid() == 0, "these tests load BPF programs: run them as root"


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """One that makes a line, with ids, of everything it sees; with a ring for whatever else goes on here."""
    with Session(lines=True, line_queue=100_000, spans_per_second=0, ring_bytes=64 << 20) as started:
        yield started
