"""The manifests: an API server takes them, they grant what the agent needs, and nothing else."""

import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import RunAgent
from tests.testbed import agent as agents
from tests.testbed import servers
from tests.testbed.clients import Ask, curl
from tests.testbed.kube import Json, Kube, kube
from tests.testbed.pods import pod
from tests.testbed.process import eventually
from tests.testbed.telemetry import SERVER

MANIFESTS = agents.REPOSITORY / "deploy" / "kubernetes" / "otel-ebpf.yaml"
_PATHS = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/otel-ebpf/serviceaccounts",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
    "DaemonSet": "/apis/apps/v1/namespaces/otel-ebpf/daemonsets",
}


def manifests() -> list[Json]:
    return list(yaml.safe_load_all(MANIFESTS.read_text()))


@pytest.fixture(scope="module")
def api() -> Iterator[Kube]:
    """An API server with the manifests applied; a misspelt field is refused."""
    with kube() as started:
        for manifest in manifests():
            started.ask("POST", f"{_PATHS[manifest['kind']]}?fieldValidation=Strict", manifest)
        started.namespace("shop", {"otel-ebpf.io/enabled": "true"})
        yield started


@pytest.fixture(scope="module")
def token(api: Kube) -> str:
    """The service account's."""
    path = "/api/v1/namespaces/otel-ebpf/serviceaccounts/otel-ebpf/token"
    return str(api.ask("POST", path, {"spec": {"audiences": []}})["status"]["token"])


@pytest.fixture(scope="module")
def security() -> dict[str, Any]:
    """The container's securityContext."""
    daemon_set = next(manifest for manifest in manifests() if manifest["kind"] == "DaemonSet")
    found: dict[str, Any] = daemon_set["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    return found


@pytest.mark.parametrize("path", ["/api/v1/pods", "/api/v1/namespaces", "/api/v1/namespaces/shop"])
def test_its_account_may_read_what_the_agent_asks_for(api: Kube, token: str, path: str) -> None:
    assert api.ask("GET", path, token=token)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/secrets"),
        ("GET", "/api/v1/namespaces/shop/secrets"),
        ("GET", "/api/v1/configmaps"),
        ("GET", "/api/v1/nodes"),
        ("GET", "/apis/apps/v1/replicasets"),
        ("POST", "/api/v1/namespaces"),
        ("POST", "/api/v1/namespaces/shop/pods"),
        ("PATCH", "/api/v1/namespaces/shop"),
        ("DELETE", "/api/v1/namespaces/shop"),
        ("POST", "/api/v1/namespaces/otel-ebpf/serviceaccounts/otel-ebpf/token"),
    ],
)
def test_its_account_may_do_nothing_else(api: Kube, token: str, method: str, path: str) -> None:
    body = None if method == "GET" else {"metadata": {"name": "x"}}
    with pytest.raises(urllib.error.HTTPError) as refused:
        api.ask(method, path, body, token)
    assert refused.value.code == 403


def test_the_container_is_not_privileged(security: dict[str, Any]) -> None:
    assert not security["privileged"]
    assert not security["allowPrivilegeEscalation"]
    assert security["readOnlyRootFilesystem"]
    assert security["capabilities"]["drop"] == ["ALL"]


def test_its_capabilities_and_its_account_are_enough(
    api: Kube,
    token: str,
    security: dict[str, Any],
    run_agent: RunAgent,
    tag: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    added = ",".join(f"+{name.lower()}" for name in security["capabilities"]["add"])
    confined = tmp_path / "otel-ebpf"
    confined.write_text(f'#!/bin/sh\nexec setpriv --bounding-set=-all,{added} --no-new-privs {agents.COMMAND} "$@"\n')
    confined.chmod(0o755)
    monkeypatch.setattr(agents, "COMMAND", confined)
    env = {
        "OTEL_EBPF_KUBE_METADATA_ENABLE": "true",
        "K8S_NODE_NAME": "node-a",
        "KUBECONFIG": str(api.kubeconfig(token)),
    }
    with (
        servers.go() as server,
        pod(api, "shop", "cart-0", "node-a", server),
        run_agent(env=env) as agent,
    ):
        asked = [Ask("GET", f"/hello?t={tag}")]

        def seen() -> bool:
            curl(server, asked)
            return bool(agent.spans(server.pids, SERVER, tag))

        eventually(seen, "a request is seen", 15, every=0.1)
        assert {span.resource["k8s.pod.name"] for span in agent.spans(server.pids)} == {"cart-0"}
        status = Path(f"/proc/{agent.program.pid}/status").read_text()
        assert status.split("CapBnd:")[1].split()[0] == status.split("CapEff:")[1].split()[0] != "0" * 16
        assert agent.end() == 0
