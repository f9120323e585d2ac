"""The agent as these tests start it, looked at only from outside: /proc, the kernel's list of BPF programs, OTLP."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.process import NotReadyError, Program, eventually

COMMAND = Path(__file__).resolve().parents[2] / ".venv/bin/otel-ebpf"
ALL_SPANS = ("--spans-per-second", "0")
_STATS = Path("/proc/sys/kernel/bpf_stats_enabled")


@dataclass(frozen=True, slots=True)
class BpfProgram:
    """What the kernel counted for one BPF program. Run counts and times stay 0 without bpf_stats."""

    id: int
    name: str
    runs: int
    nanoseconds: int


class Agent:
    """A running `otel-ebpf run`."""

    def __init__(self, program: Program) -> None:
        self.program = program

    @property
    def pid(self) -> int:
        return self.program.pid

    def wait_attached(self, timeout_s: float = 60) -> None:
        """Until its BPF links are there and no more are coming."""

        def links() -> int:
            return sum(1 for _ in self._descriptors("bpf_link"))

        before = self.program.wait_until(links, "attaches its programs", timeout_s)
        while True:
            time.sleep(0.3)
            now = links()
            if now == before:
                return
            before = now

    def bpf_programs(self) -> list[BpfProgram]:
        """Its programs, by the descriptors it holds."""
        ids: dict[int, tuple[int, int]] = {}
        for fd in self._descriptors("bpf-prog"):
            info = dict(
                re.findall(r"^(\w+):\s+(\S+)$", Path(f"/proc/{self.pid}/fdinfo/{fd}").read_text(), re.MULTILINE)
            )
            ids[int(info["prog_id"])] = int(info.get("run_cnt", 0)), int(info.get("run_time_ns", 0))
        listed = subprocess.run(["bpftool", "-j", "prog", "show"], capture_output=True, text=True, check=True).stdout
        names = {row["id"]: row.get("name", "") for row in json.loads(listed)}
        return [BpfProgram(id_, names.get(id_, ""), *counts) for id_, counts in sorted(ids.items())]

    def cpu_s(self) -> float:
        """Processor time of all its threads so far, those that ended included."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        alive = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            alive += int((task / "schedstat").read_text().split()[0])
        # schedstat counts nanoseconds but forgets threads that ended; ticks remember them at 10 ms.
        return max(alive / 1e9, ticks - 0.02)

    def peak_rss_bytes(self) -> int:
        """The most memory it ever held."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) * 1024 if found else 0

    def _descriptors(self, kind: str) -> Iterator[int]:
        for fd in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                # "anon_inode:bpf-prog", "anon_inode:bpf_link", newer kernels with brackets around the name
                if re.fullmatch(rf"anon_inode:\[?{kind}\]?", str(fd.readlink())):
                    yield int(fd.name)
            except FileNotFoundError:
                continue


@contextmanager
def running(
    folder: Path,
    endpoint: str,
    arguments: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    *,
    timeout_s: float = 60,
) -> Iterator[Agent]:
    """The agent, attached and sending to `endpoint`; ends with SIGTERM and must then have left well."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **(env or {})}
    agent = Agent(Program([COMMAND, "run", *arguments], folder, "agent", environment))
    try:
        agent.wait_attached(timeout_s)
        yield agent
        status = agent.program.end(signal.SIGTERM, timeout_s)
        if status != 0:
            raise NotReadyError(f"the agent ended with {status}:\n{agent.program.stderr[-3000:]}")
    finally:
        if agent.program.running():
            agent.program.end(signal.SIGKILL)


def wait_unloaded(programs: Sequence[BpfProgram], timeout_s: float = 10) -> None:
    """Until the kernel holds none of these any more: it frees them a moment after their owner's end."""
    ids = {program.id for program in programs}

    def gone() -> bool:
        listed = subprocess.run(["bpftool", "-j", "prog", "show"], capture_output=True, text=True, check=True).stdout
        return not ids & {row["id"] for row in json.loads(listed)}

    eventually(gone, "every BPF program of the agent is gone", timeout_s)


@contextmanager
def bpf_stats() -> Iterator[None]:
    """The kernel counts runs and run time of each BPF program meanwhile."""
    before = _STATS.read_text()
    _STATS.write_text("1")
    try:
        yield
    finally:
        _STATS.write_text(before)
