"""Processes of pods, as metadata and annotations come, change and go; over a core that hands out what it is given."""

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from tests.unit.backend import text_attributes
from tests.unit.enrich.test_process import start_boottime_ns
from tests.unit.fakes import FakeCore, Process

from otel_ebpf.agent import kubernetes as rooms
from otel_ebpf.agent import watch as watching
from otel_ebpf.agent.kubernetes import Kubernetes, access
from otel_ebpf.agent.watch import Watch
from otel_ebpf.config import settings
from otel_ebpf.config.settings import Rule, Selection
from otel_ebpf.enrich import proc
from otel_ebpf.enrich import process as enriching
from otel_ebpf.enrich.kubernetes import Access, Cluster
from otel_ebpf.enrich.process import Enricher

UID = "2c48913c-b29f-11e7-9350-020968147796"
ID = "ab" * 32
EVERYTHING_OFF = Selection()


def pod(uid: str = UID, containers: tuple[str, ...] = ("web",), **annotations: str) -> dict[str, Any]:
    named = {f"otel-ebpf.io/{key}": value for key, value in annotations.items()}
    return {
        "metadata": {"uid": uid, "name": "cart-0", "namespace": "shop", "annotations": named},
        "spec": {"containers": [{"name": name, "image": "web:1"} for name in containers]},
    }


def running(item: dict[str, Any], container: str) -> dict[str, Any]:
    return {**item, "status": {"containerStatuses": [{"name": container, "containerID": f"containerd://{ID}"}]}}


def namespace(**annotations: str) -> dict[str, Any]:
    named = {f"otel-ebpf.io/{key}": value for key, value in annotations.items()}
    return {"metadata": {"name": "shop", "annotations": named}}


class Node:
    """A node with one process in a pod that nobody has told of."""

    def __init__(self, pid: int, selection: Selection = EVERYTHING_OFF) -> None:
        self.core = FakeCore(processes=[Process(1, pid, start_boottime_ns=start_boottime_ns(pid), comm="cat")])
        self.kubernetes = Kubernetes.of(settings.Kubernetes(cluster_name="prod"), Access("node-a"))
        self.cluster: Cluster = self.kubernetes.cluster
        self.watch = Watch(self.core, Enricher(self.kubernetes.base), selection, None, self.kubernetes)

    def verdict(self) -> bool | None:
        """None: it has none."""
        self.watch.meet()
        return self.core.verdicts[1][0] if 1 in self.core.verdicts else None

    def resource(self) -> dict[str, Any]:
        return text_attributes(ResourceMessage.FromString(self.watch.resource(1)))


@pytest.fixture
def pid(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A process that runs; the cgroup of each is said to be a pod's."""
    read = proc.read

    def in_pod(*args: Any) -> Any:
        files = read(*args)
        return files and replace(files, cgroup=f"0::/kubepods/pod{UID}/{ID}\n")

    monkeypatch.setattr(proc, "read", in_pod)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        while b"cat" not in Path(f"/proc/{child.pid}/cmdline").read_bytes():
            time.sleep(0.001)
        yield child.pid
        child.kill()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_METADATA_S", 0.0)


def test_the_verdict_waits_for_pod_container_and_namespace(pid: int) -> None:
    node = Node(pid)
    assert node.verdict() is None
    node.cluster.put_pod(pod(containers=("web", "proxy")))
    assert node.verdict() is None
    node.cluster.put_namespace(namespace(enabled="true"))
    assert node.verdict() is None
    node.cluster.put_pod(running(pod(containers=("web", "proxy")), "proxy"))
    assert node.verdict() is True
    said = node.resource()
    assert said["k8s.container.name"] == "proxy"
    assert said["service.name"] == "cart-0"
    assert (said["k8s.node.name"], said["k8s.cluster.name"]) == ("node-a", "prod")
    assert "otel_ebpf.kubernetes.metadata" not in said


@pytest.mark.usefixtures("impatient")
def test_what_nobody_tells_of_in_time_goes_out_by_the_rules_and_marked(pid: int) -> None:
    node = Node(pid, Selection((Rule(executables=("cat",)),)))
    assert node.verdict() is True
    said = node.resource()
    assert said["otel_ebpf.kubernetes.metadata"] == "missing"
    assert (said["k8s.pod.uid"], said["container.id"], said["service.name"]) == (UID, ID, "cat")
    assert node.kubernetes.unplaced == {"missing": 1, "partial": 0}
    # Late is better than never.
    node.cluster.put_namespace(namespace())
    node.cluster.put_pod(pod())
    assert node.verdict() is True
    assert node.resource()["service.name"] == "cart-0"
    assert "otel_ebpf.kubernetes.metadata" not in node.resource()


@pytest.mark.usefixtures("impatient")
def test_a_container_that_nobody_tells_of_in_time(pid: int) -> None:
    node = Node(pid)
    node.cluster.put_namespace(namespace(enabled="true"))
    node.cluster.put_pod(pod(containers=("web", "proxy")))
    assert node.verdict() is True
    assert node.resource()["otel_ebpf.kubernetes.metadata"] == "partial"
    assert node.kubernetes.unplaced == {"missing": 0, "partial": 1}


def test_on_and_off_while_it_runs(pid: int) -> None:
    node = Node(pid)
    node.cluster.put_pod(pod())
    node.cluster.put_namespace(namespace())
    assert node.verdict() is False
    for item, expected in ((namespace(enabled="true"), True), (namespace(), False), (namespace(enabled="true"), True)):
        node.cluster.put_namespace(item)
        assert node.verdict() is expected
    node.cluster.put_pod(pod(enabled="false"))
    assert node.verdict() is False
    node.cluster.put_pod(pod())
    assert node.verdict() is True
    # A pod that is deleted still has requests to finish.
    node.cluster.remove_pod(pod())
    assert node.verdict() is True
    assert node.resource()["k8s.pod.name"] == "cart-0"


def test_new_rules_do_not_hurry_who_waits(pid: int) -> None:
    node = Node(pid)
    assert node.verdict() is None
    node.watch.reselect(Selection((Rule(executables=("cat",)),)))
    assert node.verdict() is None
    node.cluster.put_namespace(namespace())
    node.cluster.put_pod(pod())
    assert node.verdict() is True


def test_a_process_that_ended_is_described_but_not_attached_to(pid: int) -> None:
    node = Node(pid)
    node.cluster.put_pod(pod())
    node.cluster.put_namespace(namespace(enabled="true"))
    assert node.verdict() is True
    node.watch.ended(1, time.monotonic())
    node.core.verdicts.clear()
    node.cluster.put_pod(pod(containers=("renamed",)))
    assert node.verdict() is None
    assert node.resource()["k8s.container.name"] == "renamed"
    node.watch.forget(time.monotonic() + 60, time.monotonic() + 60)
    assert not node.watch.infos


def test_annotations_that_are_not_valid_are_counted_once(pid: int, caplog: pytest.LogCaptureFixture) -> None:
    node = Node(pid)
    node.cluster.put_namespace(namespace(enabled="on"))
    node.cluster.put_pod(pod(sampler="always_on"))
    assert node.verdict() is False
    node.cluster.put_pod(pod(sampler="always_on", containers_="x"))
    node.verdict()
    counted = {metric: value for metric, _, value in node.kubernetes.counters()}
    assert counted[rooms.INVALID] == 3
    assert "namespace shop: annotation otel-ebpf.io/enabled='on' counts as unset" in caplog.text


def test_its_own_name_goes_before_the_pods(pid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enriching, "_own_attributes", lambda _: {"service.name": "own", "k8s.pod.name": "mine"})
    node = Node(pid)
    node.cluster.put_namespace(namespace())
    node.cluster.put_pod(pod())
    node.verdict()
    said = node.resource()
    assert (said["service.name"], said["k8s.pod.name"], said["service.namespace"]) == ("own", "mine", "shop")


def test_where_there_is_a_cluster() -> None:
    pods = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "K8S_NODE_NAME": "node-a"}
    wanted = settings.Kubernetes
    assert access(wanted(), {}) is None
    assert access(wanted(), {"KUBECONFIG": "/k"}) is None
    assert access(wanted(), pods) == Access("node-a")
    assert access(wanted(enabled=False), pods) is None
    assert access(wanted(enabled=True), {"KUBECONFIG": "/k", "K8S_NODE_NAME": "a"}) == Access("a", "/k")
    assert access(wanted(kubeconfig="/own", node_name="b"), pods) == Access("b", "/own")
    assert access(wanted(enabled=True), {}) == Access(
        os.uname().nodename.lower(), str(Path("~/.kube/config").expanduser())
    )
