"""The manifest for Kubernetes probes what the agent answers, where the agent answers it."""

from pathlib import Path

import yaml
from tests.unit.fakes import FakeCore

from otel_ebpf.agent.health import Health
from otel_ebpf.config.environment import from_environment
from otel_ebpf.config.values import parse_listen

MANIFEST = Path(__file__).parents[3] / "deploy/kubernetes/otel-ebpf.yaml"


def test_probes_ask_for_pages_that_are_there() -> None:
    documents = list(yaml.safe_load_all(MANIFEST.read_text()))
    [daemon] = [one for one in documents if one["kind"] == "DaemonSet"]
    [container] = daemon["spec"]["template"]["spec"]["containers"]
    settings = from_environment({one["name"]: one["value"] for one in container["env"] if "value" in one})
    host, port = parse_listen(settings.health.endpoint)
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    pages = Health(FakeCore()).routes()
    for probe in ("livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"] in pages
        assert ports[asked["port"]] == port
    # Kubelets ask the pod's address.
    assert host == "0.0.0.0"
    assert settings.health.profile_endpoint == ""
