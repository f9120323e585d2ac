"""The OpenTelemetry Collector, built by its own builder from otelcol/manifest.yaml: the backend of the tests."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.testbed import cache, toolchains
from tests.testbed.authority import Pair
from tests.testbed.process import Program, answers, free_port
from tests.testbed.telemetry import Telemetry

HERE = Path(__file__).parent / "otelcol"


@dataclass(frozen=True, slots=True)
class Collector:
    """A Collector that takes OTLP."""

    program: Program
    http_port: int
    grpc_port: int
    file: Path
    encrypted: bool = False

    @property
    def http_endpoint(self) -> str:
        return f"http{'s' * self.encrypted}://127.0.0.1:{self.http_port}"

    @property
    def grpc_endpoint(self) -> str:
        return f"http{'s' * self.encrypted}://127.0.0.1:{self.grpc_port}"

    def telemetry(self) -> Telemetry:
        """What has arrived so far; keep it and `refresh` it."""
        return Telemetry(self.file).refresh()


def _build(manifest: Path, into: Path) -> None:
    go = toolchains.recent_go()
    env = toolchains.go_environment(go)
    version = re.search(r"version: (\S+)", manifest.read_text())
    assert version, "the manifest names no version"
    builder = f"go.opentelemetry.io/collector/cmd/builder@v{version[1]}"
    cache.command([go, "install", builder], env={**env, "GOBIN": str(into)})
    (into / "manifest.yaml").write_bytes(manifest.read_bytes())
    # The builder ends with `go mod tidy`, which wants modules that only tests of its parts use and that are not
    # always to be had: so its complaint is ignored, and the build proper says whether all is there.
    cache.command(["./builder", "--config=manifest.yaml", "--skip-compilation"], cwd=into, env=env, check=False)
    sources = into / "_build"
    cache.command([go, "mod", "tidy", "-e"], cwd=sources, env=env, check=False)
    cache.command([go, "build", "-trimpath", "-ldflags=-s -w", "-o", str(into / "otelcol"), "."], cwd=sources, env=env)
    cache.remove(sources)
    (into / "builder").unlink()


def program_path(manifest: str = "manifest.yaml", name: str = "otelcol") -> Path:
    """The Collector's executable; built once, which takes a minute or two."""
    path = HERE / manifest
    return cache.built(name, [path], toolchains.RECENT_GO, partial(_build, path)) / "otelcol"


def pipeline_path() -> Path:
    """The executable of a Collector with all parts that deploy/collector's configurations name."""
    return program_path("pipeline.yaml", "otelcol-pipeline")


@contextmanager
def collector(
    server: Pair | None = None, client_ca: Path | None = None, *, earlier: Collector | None = None
) -> Iterator[Collector]:
    """A Collector on free ports, or on those of an earlier one that has ended.

    Within TLS if it has a certificate; `client_ca` has issued those of its clients.
    """
    path = program_path()
    with tempfile.TemporaryDirectory(prefix="otel-ebpf-collector-") as temporary:
        folder = Path(temporary)
        grpc, http = (earlier.grpc_port, earlier.http_port) if earlier else (free_port(), free_port())
        health = free_port()
        out = folder / "out.jsonl"
        env = {"GRPC_PORT": str(grpc), "HTTP_PORT": str(http), "HEALTH_PORT": str(health), "OUT": str(out)}
        configs: list[str | Path] = ["--config", HERE / "config.yaml"]
        if server:
            configs += ["--config", HERE / "tls.yaml"]
            env |= {"CERTIFICATE": str(server.certificate), "KEY": str(server.key), "CLIENT_CA": str(client_ca or "")}
        with Program([path, *configs], folder, "otelcol", env=env) as program:
            program.wait_until(lambda: answers("127.0.0.1", health) and answers("127.0.0.1", http), "answers")
            yield Collector(program, http, grpc, out, server is not None)
