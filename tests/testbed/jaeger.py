"""Jaeger's collector, which serves sampling strategies from a file: GET /api/sampling?service=NAME.

The program is Jaeger's own, built from its Go module; its second version has the same code in a far larger program.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.testbed import cache, toolchains
from tests.testbed.process import Program, answers, free_port

HERE = Path(__file__).parent / "jaeger-collector"

_PACKAGE = "github.com/jaegertracing/jaeger/cmd/collector"


@dataclass(frozen=True, slots=True)
class Jaeger:
    """One that runs."""

    program: Program
    url: str
    file: Path

    def say(self, strategies: Mapping[str, Any]) -> None:
        """Changes the strategies; it reads them anew within a second or so."""
        # In one step: what is half written would be taken for a mistake.
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps(strategies))
        fresh.rename(self.file)


def _build(into: Path) -> None:
    go = toolchains.recent_go()
    env = toolchains.go_environment(go)
    (into / "go.mod").write_bytes((HERE / "go.mod").read_bytes())
    # The module's sums come with it: only its version is ours to say.
    version = re.search(r"jaeger v(\S+)", (HERE / "go.mod").read_text())
    assert version, "go.mod names no version"
    cache.command([go, "get", "-tool", f"{_PACKAGE}@v{version[1]}"], cwd=into, env=env)
    flags = ["-trimpath", "-ldflags=-s -w"]
    cache.command([go, "build", *flags, "-o", str(into / "collector"), _PACKAGE], cwd=into, env=env)


def program_path() -> Path:
    """The executable; built once, which takes some minutes."""
    return cache.built("jaeger", [HERE / "go.mod"], toolchains.RECENT_GO, _build) / "collector"


@contextmanager
def jaeger(strategies: Mapping[str, Any]) -> Iterator[Jaeger]:
    """Serves these strategies, in the form of Jaeger's --sampling.strategies-file."""
    with tempfile.TemporaryDirectory(prefix="otel-ebpf-jaeger-") as temporary:
        folder = Path(temporary)
        file = folder / "strategies.json"
        file.write_text(json.dumps(strategies))
        ports = {name: free_port() for name in ("collector.http-server", "collector.grpc-server", "admin.http")}
        argv: list[str | Path] = [
            program_path(),
            f"--sampling.strategies-file={file}",
            "--sampling.strategies-reload-interval=200ms",
            "--collector.otlp.enabled=false",
            *(f"--{name}.host-port=127.0.0.1:{port}" for name, port in ports.items()),
        ]
        url = f"http://127.0.0.1:{ports['collector.http-server']}/api/sampling"
        with Program(argv, folder, "jaeger", env={"SPAN_STORAGE_TYPE": "memory"}) as program:
            port = ports["collector.http-server"]
            program.wait_until(lambda: answers("127.0.0.1", port), "answers", 30)
            yield Jaeger(program, url, file)
