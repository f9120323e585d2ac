"""Prometheus itself, which scrapes the agent."""

import json
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.testbed import cache
from tests.testbed.process import Program, answers, free_port


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs."""

    program: Program
    port: int

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], Any]]:
        """Labels and values of an instant vector: a number each, or a native histogram as the API has it."""
        rows = self._get("query", query=expression)["result"]
        return [(row["metric"], row["histogram"][1] if "histogram" in row else float(row["value"][1])) for row in rows]

    def exemplars(self, expression: str) -> list[dict[str, Any]]:
        """All that are stored of the series that an expression selects."""
        rows = self._get("query_exemplars", query=expression, start="0", end="9999999999")
        return [exemplar for row in rows for exemplar in row["exemplars"]]

    def metadata(self) -> dict[str, dict[str, str]]:
        """Type, help and unit by metric."""
        return {name: rows[0] for name, rows in self._get("metadata").items()}

    def target(self) -> dict[str, Any]:
        """How the agent's last scrape went."""
        [target] = self._get("targets", state="active")["activeTargets"]
        return dict(target)


@contextmanager
def prometheus(scraped: int, *features: str) -> Iterator[Prometheus]:
    """One that scrapes the port of this machine four times a second."""
    path = cache.tool("prometheus", "prometheus")
    port = free_port()
    job = {
        "job_name": "otel-ebpf",
        "honor_labels": True,
        "static_configs": [{"targets": [f"127.0.0.1:{scraped}"]}],
    }
    with tempfile.TemporaryDirectory(prefix="otel-ebpf-prometheus-") as temporary:
        folder = Path(temporary)
        config = folder / "prometheus.yaml"
        timing = {"scrape_interval": "250ms", "scrape_timeout": "250ms"}
        config.write_text(yaml.safe_dump({"global": timing, "scrape_configs": [job]}))
        argv: list[str | Path] = [path, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
        argv += [f"--web.listen-address=127.0.0.1:{port}", f"--enable-feature={','.join(features)}"]
        with Program(argv, folder, "prometheus") as program:
            program.wait_until(lambda: answers("127.0.0.1", port), "answers")
            yield Prometheus(program, port)
