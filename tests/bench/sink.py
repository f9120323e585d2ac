"""The OTLP receiver of the benchmarks (sink.c): built once, run, asked what it got."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kernels.receiver import points
from tests.testbed import cache
from tests.testbed.telemetry import Telemetry

_SOURCE = Path(__file__).with_name("sink.c")


def build() -> Path:
    """The program, linked statically so that it runs in any VM."""

    def compile_into(folder: Path) -> None:
        cache.command(["cc", "-O2", "-Wall", "-Wextra", "-static", "-o", str(folder / "sink"), str(_SOURCE)])

    return cache.built("bench-sink", [_SOURCE], "cc -static", compile_into) / "sink"


@dataclass(frozen=True, slots=True)
class Sink:
    """A running sink."""

    pid: int
    endpoint: str
    folder: Path

    def stats(self) -> dict[str, int]:
        """posts, bytes, spans, compressed, malformed since the start."""
        with urllib.request.urlopen(f"{self.endpoint}/stats", timeout=10) as answer:
            got = json.load(answer)
        assert isinstance(got, dict)
        return got

    def counted(self, metric: str, pids: set[int], attribute: tuple[str, str] | None = None) -> int:
        """Measurements in the last state of a cumulative histogram, by these processes, with this attribute."""
        telemetry = Telemetry(self.folder)
        for path in sorted(self.folder.glob("metrics-*.bin")):
            telemetry.add(points=points(path.read_bytes()))
        found = telemetry.latest(metric, pids)
        return sum(p.count for p in found if attribute is None or p.attributes.get(attribute[0]) == attribute[1])


@contextmanager
def running(program: Path, folder: Path) -> Iterator[Sink]:
    """A sink that keeps metrics in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen([program, folder], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Sink(process.pid, f"http://127.0.0.1:{int(process.stdout.readline())}", folder)
    finally:
        process.kill()
        process.wait()
