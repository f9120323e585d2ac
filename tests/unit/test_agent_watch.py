"""Which processes the rules select before they have had any traffic: what TLS probes go by."""

import subprocess
from pathlib import Path

import pytest
from tests.testbed.process import eventually

from otel_ebpf.agent.watch import selects
from otel_ebpf.config.settings import Rule, Selection


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        (Selection(), True),
        (Selection((Rule(executables=("sleep",)),)), True),
        (Selection((Rule(services=("waits",)),)), True),
        (Selection((Rule(executables=("nginx",)),)), False),
        (Selection((), (Rule(executables=("sleep",)),)), False),
    ],
)
def test_a_process_that_was_not_met(selection: Selection, selected: bool) -> None:
    with subprocess.Popen(["sleep", "60"], env={"OTEL_SERVICE_NAME": "waits"}) as process:
        eventually(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "the program runs")
        assert selects(selection)(process.pid) == selected
        process.kill()


def test_nobody_is_selected_by_what_can_not_be_read() -> None:
    with subprocess.Popen(["true"]) as process:
        pass
    assert not selects(Selection((Rule(executables=("true",)),)))(process.pid)
