"""Sessions of the core itself, in the tests' own process: what they watch happens in others."""

import os
from collections.abc import Iterator

import pytest

from otel_ebpf._native import Session
from tests.bpf.talk import roomy_session


@pytest.fixture(scope="package", autouse=True)
def _root() -> None:
    assert os.geteuid() == 0, "these tests load BPF programs: run them as root"


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """See `roomy_session`."""
    with roomy_session() as started:
        yield started
