"""Processes in cgroups as a kubelet makes them for pods, on a node without one."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tests.testbed.cgroups import cgroup
from tests.testbed.kube import Json, Kube
from tests.testbed.process import descendants
from tests.testbed.servers import Server


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of the API server's whose container is a server that runs here."""

    made: Json
    container_id: str
    server: Server

    @property
    def name(self) -> str:
        return str(self.made["metadata"]["name"])

    @property
    def path(self) -> str:
        """Of the API."""
        return f"/api/v1/namespaces/{self.made['metadata']['namespace']}/pods/{self.name}"


@contextmanager
def in_pod(uid: str, container_id: str, *pids: int) -> Iterator[None]:
    """The processes are in the cgroup of a burstable pod's container for a while, named as by systemd's driver."""
    pod_slice = f"kubepods-burstable-pod{uid.replace('-', '_')}.slice"
    path = f"kubepods.slice/kubepods-burstable.slice/{pod_slice}/cri-containerd-{container_id}.scope"
    with cgroup(path, *pids):
        yield


@contextmanager
def pod(
    kube: Kube,
    namespace: str,
    name: str,
    node: str,
    server: Server,
    metadata: Json | None = None,
    others: Mapping[str, str] | None = None,
) -> Iterator[Pod]:
    """A pod bound to a node, with a server as its container "web", which is said to run. `others`: more containers."""
    containers = {"web": "example.com/web:1", **(others or {})}
    made, container_id = kube.pod(namespace, name, node, metadata, containers), secrets.token_hex(32)
    with in_pod(made["metadata"]["uid"], container_id, *sorted(descendants(server.program.pid))):
        kube.runs(namespace, name, web=container_id)
        try:
            yield Pod(made, container_id, server)
        finally:
            kube.delete_pod(namespace, name)
