"""Has conversations held by another process, and compares what a session heard of them."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from otel_ebpf._native import Line, Session
from tests.testbed.agent import REPOSITORY


@dataclass(frozen=True, slots=True)
class Told:
    """What was said, by those who said it."""

    port: int
    expected: list[dict[str, Any]]


def roomy_session() -> Session:
    """One that makes a line, with ids, of everything it sees; with room for whatever else goes on here."""
    return Session(lines=True, line_queue=100_000, spans_per_second=0, ring_bytes=64 << 20)


def run(name: str, seed: int = 1) -> Told:
    """Returns when all is said and the process has ended."""
    command = [sys.executable, "-m", "tests.bpf.conversations", name, str(seed)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return Told(**json.loads(done.stdout))


def heard(session: Session, told: Told) -> dict[str, list[Line]]:
    """The lines of a conversation by role, in order."""
    session.flush()
    time.sleep(0.25)  # what waits for bytes that no hook sees is told after 0.1 s
    session.flush()
    session.take_spans(1 << 30)
    lines = [line for line in session.take_lines(1_000_000) if line.server.endswith(f":{told.port}")]
    return {role: [line for line in lines if line.role == role] for role in ("server", "client")}


def assert_heard(session: Session, told: Told) -> None:
    """Each exchange once, in order, exact, from both ends."""
    for role, lines in heard(session, told).items():
        seen = [{name: getattr(line, name) for name in want} for line, want in zip(lines, told.expected, strict=False)]
        assert seen == told.expected, role
        assert len(lines) == len(told.expected), role
        assert [line.error_type for line in lines] == [""] * len(lines), role
