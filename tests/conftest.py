"""What all tests share: markers, longer patience for tests that build real servers, a last look at the kernel."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed import agent as agents
from tests.testbed.cgroups import cgroup
from tests.testbed.process import eventually

E2E = Path(__file__).parent / "e2e"


def pytest_configure(config: pytest.Config) -> None:
    # Ended from outside, the tests still end what they started.
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", 143))
    config.addinivalue_line("markers", "slow: takes more than ten seconds; runs all the same")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(E2E) and item.get_closest_marker("timeout") is None:
            # The first of them waits for the Collector's build on a machine that has none yet.
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session", autouse=True)
def _only_ours() -> Iterator[None]:
    if not os.environ.get("TESTBED_ONLY_OURS"):
        yield
        return
    with cgroup(f"otel-ebpf-tests-{os.getpid()}", os.getpid()) as path:
        agents.only_cgroup = path
        yield


@pytest.fixture(scope="session", autouse=True)
def _nothing_stays_attached() -> Iterator[None]:
    yield
    seen = agents.programs_seen
    if seen:
        eventually(lambda: not seen & agents.programs_loaded(), "no BPF program of any agent stays loaded", 5)
