"""deploy/collector's configurations as processes: the node's Collector, the gateway, Kafka between them if asked for.

Two parts can't be had as Go modules where the tests run, and are replaced by the nearest thing: `loadbalancing` by the
OTLP exporter that it is made of, with its own settings; `servicegraph` by nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.testbed.agent import REPOSITORY
from tests.testbed.collector import Collector, pipeline_path
from tests.testbed.process import Program, answers, free_port

FOLDER = REPOSITORY / "deploy" / "collector"
Config = dict[str, Any]
# As the downward API sets it.
NODE = {"K8S_NODE_NAME": "node-a"}


def load(name: str) -> Config:
    """As it is."""
    loaded: Config = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return loaded


def had(config: Config) -> Config:
    """The configuration with what can be had."""
    exporters, connectors = config.get("exporters", {}), config.get("connectors", {})
    if balancing := exporters.pop("loadbalancing", None):
        endpoint = balancing["resolver"]["dns"]["hostname"] + ":${env:GATEWAY_PORT:-4317}"
        exporters["otlp/balanced"] = {"endpoint": endpoint, **balancing["protocol"]["otlp"]}
    connectors.pop("servicegraph", None)
    for pipeline in config.get("service", {}).get("pipelines", {}).values():
        for kind in ("receivers", "exporters"):
            names = ["otlp/balanced" if name == "loadbalancing" else name for name in pipeline.get(kind, ())]
            if names:
                pipeline[kind] = [name for name in names if name != "servicegraph"]
    return config


def write(folder: Path, names: list[str], *, in_cluster: bool = True) -> list[str | Path]:
    """Arguments that name these configurations, written into `folder`. Outside of a cluster without k8sattributes."""
    arguments: list[str | Path] = []
    for name in names:
        config = had(load(name))
        if not in_cluster:
            for pipeline in config["service"]["pipelines"].values():
                if "k8sattributes" in pipeline.get("processors", ()):
                    pipeline["processors"].remove("k8sattributes")
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config))
        arguments += ["--config", path]
    return arguments


@dataclass(frozen=True, slots=True)
class Tier:
    """A Collector of the pipeline that answers."""

    program: Program
    grpc_port: int
    http_port: int
    prometheus_port: int


@contextmanager
def tier(folder: Path, names: list[str], env: Mapping[str, str]) -> Iterator[Tier]:
    """A Collector with these configurations, on free ports of loopback."""
    grpc, http, health, prometheus = (free_port() for _ in range(4))
    ports = {"GRPC_PORT": grpc, "HTTP_PORT": http, "HEALTH_PORT": health, "PROMETHEUS_PORT": prometheus}
    variables = {**NODE, "LISTEN": "127.0.0.1", **{name: str(port) for name, port in ports.items()}, **env}
    folder.mkdir()
    arguments = write(folder, names, in_cluster=False)
    with Program([pipeline_path(), *arguments], folder, names[-1], env=variables) as program:
        program.wait_until(lambda: answers("127.0.0.1", health) and answers("127.0.0.1", http), "answers", 20)
        yield Tier(program, grpc, http, prometheus)


def seen_through(entrance: Tier, backend: Collector) -> Collector:
    """What is sent to `entrance`, and read at the other end."""
    return Collector(entrance.program, entrance.http_port, entrance.grpc_port, backend.file)
