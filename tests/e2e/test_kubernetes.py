"""Requests of pods: who is watched is a matter of annotations, and every attribute is the API server's.

The API server is real, kubelet and scheduler are the tests: they bind pods, and put real servers into pods' cgroups.
"""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.conftest import RunAgent, Serve
from tests.testbed import agent as agents
from tests.testbed import servers
from tests.testbed.clients import Ask, curl
from tests.testbed.kube import Kube, kube
from tests.testbed.pods import in_pod, pod
from tests.testbed.process import eventually
from tests.testbed.servers import Server
from tests.testbed.telemetry import CLIENT, SERVER

NODE = "node-a"
# What a user is promised: on and off take no longer.
PROMISE_S = 2.0


@pytest.fixture(scope="module")
def api() -> Iterator[Kube]:
    """An API server with a namespace."""
    with kube() as started:
        started.namespace("shop")
        yield started


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that no agent has met."""
    with servers.go() as started:
        yield started


@pytest.fixture
def node(run_agent: RunAgent, api: Kube) -> "Node":
    """Starts an agent as the DaemonSet would."""
    return Node(run_agent, api)


class Node:
    def __init__(self, run_agent: RunAgent, api: Kube) -> None:
        self._run = run_agent
        self._env = {
            "OTEL_EBPF_KUBE_METADATA_ENABLE": "true",
            "OTEL_EBPF_KUBE_CLUSTER_NAME": "test-cluster",
            "K8S_NODE_NAME": NODE,
            "KUBECONFIG": str(api.kubeconfig()),
        }

    @contextmanager
    def __call__(self, *options: str) -> Iterator[agents.Agent]:
        with self._run(*options, env=self._env) as agent:
            known = ("pods are known", "namespaces are known")
            agent.program.wait_until(lambda: all(each in agent.program.stderr for each in known), "knows the cluster")
            yield agent


def asked(server: Server, tag: str, times: int = 3) -> None:
    curl(server, [Ask("GET", f"/hello?t={tag}")] * times)


def await_on(agent: agents.Agent, server: Server, tag: str) -> float:
    """Asks until a request is seen; when the first one that was began (Unix time)."""
    number = 0

    def seen() -> bool:
        nonlocal number
        number += 1
        asked(server, f"{tag}-{number}", 1)
        return any(span.tag.startswith(tag) for span in agent.spans(server.pids, SERVER))

    eventually(seen, "a request is seen", 15, every=0.05)
    return min(span.start_ns for span in agent.spans(server.pids, SERVER) if span.tag.startswith(tag)) / 1e9


def await_off(agent: agents.Agent, server: Server, tag: str) -> float:
    """Asks for the time that switching off may take, and once more; when the last request that was seen began."""
    end_s, number = time.monotonic() + PROMISE_S, 0
    while time.monotonic() < end_s:
        number += 1
        asked(server, f"{tag}-{number}", 1)
        time.sleep(0.02)
    asked(server, f"{tag}-after")
    found = [span.start_ns / 1e9 for span in agent.spans(server.pids, SERVER) if span.tag.startswith(tag)]
    return max(found, default=0.0)


def test_a_namespace_is_switched_on_and_off(node: Node, api: Kube, server: Server, tag: str) -> None:
    with pod(api, "shop", "cart-0", NODE, server) as cart, node() as agent:
        asked(server, f"{tag}-before")
        time.sleep(PROMISE_S)  # what is annotated while a verdict is waited for counts for what is held as well
        at_s = time.time()
        api.annotate("/api/v1/namespaces/shop", enabled="true")
        assert await_on(agent, server, f"{tag}-on") - at_s < PROMISE_S
        at_s = time.time()
        api.annotate("/api/v1/namespaces/shop", enabled=None)
        assert await_off(agent, server, f"{tag}-off") - at_s < PROMISE_S
        # A pod's word goes before its namespace's.
        api.annotate(cart.path, enabled="true")
        await_on(agent, server, f"{tag}-pod")
        api.annotate("/api/v1/namespaces/shop", enabled="false")
        time.sleep(PROMISE_S)
        asked(server, f"{tag}-still")
        eventually(lambda: len(agent.spans(server.pids, SERVER, f"{tag}-still")) == 3, "the pod is still watched")
        api.annotate(cart.path, enabled="perhaps")
        await_off(agent, server, f"{tag}-invalid")
        assert "annotation otel-ebpf.io/enabled='perhaps' counts as unset" in agent.program.stderr
        invalid = "otel_ebpf.kubernetes.annotations.invalid"
        eventually(lambda: [point.value for point in agent.points(invalid)] == [1.0], "it is counted")
        api.annotate("/api/v1/namespaces/shop", enabled="true")
        await_on(agent, server, f"{tag}-again")
        assert agent.end() == 0
        tags = {span.tag for span in agent.spans(server.pids)}
        assert not [one for one in tags if one.endswith(("-before", "-after"))]
        api.annotate("/api/v1/namespaces/shop", enabled=None)


def owner(kind: str, name: str) -> list[dict[str, Any]]:
    return [{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": secrets.token_hex(8), "controller": True}]


def test_every_attribute_is_the_api_servers(node: Node, api: Kube, server: Server, tag: str) -> None:
    metadata = {
        "labels": {"pod-template-hash": "5d9c7f"},
        "annotations": {
            "otel-ebpf.io/enabled": "true",
            "resource.opentelemetry.io/deployment.environment.name": "test",
        },
        "ownerReferences": owner("ReplicaSet", "cart-5d9c7f"),
    }
    others = {"client": "registry:5000/curl@sha256:" + "0" * 64}
    with pod(api, "shop", "cart-5d9c7f-abcde", NODE, server, metadata, others) as cart, node() as agent:
        await_on(agent, server, tag)
        client_id = secrets.token_hex(32)
        api.runs("shop", cart.name, web=cart.container_id, client=client_id)
        # curl begins in the cgroup that we are in.
        with in_pod(cart.made["metadata"]["uid"], client_id, os.getpid()):
            pid = curl(server, [Ask("GET", f"/hello?t={tag}-client")]).pid
        eventually(lambda: agent.spans([pid], CLIENT, f"{tag}-client"), "the client's span arrives")
        assert agent.end() == 0
        truth = api.ask("GET", cart.path)
        of_both = {
            "k8s.cluster.name": "test-cluster",
            "k8s.node.name": truth["spec"]["nodeName"],
            "k8s.namespace.name": truth["metadata"]["namespace"],
            "k8s.pod.name": truth["metadata"]["name"],
            "k8s.pod.uid": truth["metadata"]["uid"],
            "k8s.pod.start_time": truth["status"]["startTime"],
            "k8s.replicaset.name": "cart-5d9c7f",
            "k8s.deployment.name": "cart",
            "service.name": "cart",
            "service.namespace": "shop",
            "deployment.environment.name": "test",
            "otel_ebpf.kubernetes.metadata": None,
        }
        of_server = {
            "k8s.container.name": "web",
            "container.id": cart.container_id,
            "container.image.name": "example.com/web",
            "container.image.tags": ["1"],
            "service.version": "1",
            "service.instance.id": "shop.cart-5d9c7f-abcde.web",
        }
        of_client = {
            "k8s.container.name": "client",
            "container.id": client_id,
            "container.image.name": "registry:5000/curl",
            "container.image.tags": None,
            "service.version": None,
            "service.instance.id": "shop.cart-5d9c7f-abcde.client",
        }
        points = agent.points("http.server.request.duration", server.pids)
        assert points
        resources = [span.resource for span in agent.spans(server.pids, SERVER)] + [point.resource for point in points]
        for said in resources:
            assert {key: said.get(key) for key in (*of_both, *of_server)} == {**of_both, **of_server}
        for span in agent.spans([pid]):
            assert {key: span.resource.get(key) for key in (*of_both, *of_client)} == {**of_both, **of_client}


@pytest.mark.parametrize("kind", ["go", "nginx"])
def test_tls_of_a_pod_is_seen_within_the_promise(node: Node, api: Kube, encrypted: Serve, kind: str, tag: str) -> None:
    server = encrypted(kind)
    with pod(api, "shop", f"secure-{kind}", NODE, server) as secure, node() as agent:
        asked(server, f"{tag}-before")
        time.sleep(PROMISE_S)
        at_s = time.time()
        api.annotate(secure.path, enabled="true")
        assert await_on(agent, server, f"{tag}-on") - at_s < PROMISE_S
        assert agent.end() == 0
        assert not agent.spans(server.pids, SERVER, f"{tag}-before")
        assert {span.resource["k8s.pod.name"] for span in agent.spans(server.pids)} == {f"secure-{kind}"}


def test_a_request_before_the_pods_metadata_waits_for_it(node: Node, api: Kube, server: Server, tag: str) -> None:
    pods = "/api/v1/namespaces/shop/pods"
    metadata = {"name": "late-0", "annotations": {"otel-ebpf.io/enabled": "true"}}
    made = api.ask("POST", pods, {"metadata": metadata, "spec": {"containers": [{"name": "web", "image": "a/web:1"}]}})
    identifier = secrets.token_hex(32)
    with node() as agent, in_pod(made["metadata"]["uid"], identifier, server.program.pid):
        # In step: what is asked for now waits for the pod alone.
        annotated = {"annotations": {"otel-ebpf.io/enabled": "true"}}
        with servers.rust() as known, pod(api, "shop", "known-0", NODE, known, annotated):
            await_on(agent, known, f"{tag}-known")
        asked(server, tag)
        time.sleep(0.5)
        assert not agent.spans(server.pids)
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        api.ask("POST", f"{pods}/late-0/binding", {"metadata": {"name": "late-0"}, "target": target})
        eventually(lambda: len(agent.spans(server.pids, SERVER, tag)) == 3, "the spans arrive")
        assert {span.resource["k8s.pod.name"] for span in agent.spans(server.pids)} == {"late-0"}
        assert agent.end() == 0
    api.delete_pod("shop", "late-0")


def test_a_pod_that_nobody_tells_of_goes_by_the_rules_and_is_marked(node: Node, server: Server, tag: str) -> None:
    uid, identifier = "2c48913c-b29f-11e7-9350-020968147796", secrets.token_hex(32)
    with in_pod(uid, identifier, server.program.pid), node("--exe", "app") as agent:
        asked(server, tag)
        eventually(lambda: len(agent.spans(server.pids, SERVER, tag)) == 3, "the spans arrive", 5)
        said = agent.spans(server.pids)[0].resource
        assert (said["k8s.pod.uid"], said["container.id"]) == (uid, identifier)
        assert said["otel_ebpf.kubernetes.metadata"] == "missing"
        assert said["service.name"] == "app"
        unplaced = "otel_ebpf.kubernetes.processes.unplaced"
        eventually(lambda: sum(point.value for point in agent.points(unplaced)) == 1, "it is counted")
        assert agent.end() == 0


def test_without_the_api_server_what_was_known_stays(node: Node, api: Kube, server: Server, tag: str) -> None:
    metadata = {"annotations": {"otel-ebpf.io/enabled": "true"}}
    with pod(api, "shop", "cart-1", NODE, server, metadata) as cart, node() as agent:
        await_on(agent, server, f"{tag}-up")
        api.stop()
        eventually(lambda: "what is known stays" in agent.program.stderr, "the agent notices")
        asked(server, f"{tag}-down")
        eventually(lambda: len(agent.spans(server.pids, SERVER, f"{tag}-down")) == 3, "the spans arrive")
        assert {span.resource["k8s.pod.name"] for span in agent.spans(server.pids)} == {"cart-1"}
        api.start()
        eventually(lambda: "in step again" in agent.program.stderr, "the agent is back in step", 40)
        at_s = time.time()
        api.annotate(cart.path, enabled="false")
        assert await_off(agent, server, f"{tag}-off") - at_s < PROMISE_S
        assert agent.end() == 0
        assert not agent.spans(server.pids, SERVER, f"{tag}-off-after")


def why(api: Kube, *args: str) -> subprocess.CompletedProcess[str]:
    env = {**agents.environment(None), "KUBECONFIG": str(api.kubeconfig()), "K8S_NODE_NAME": NODE}
    command = [str(agents.COMMAND), "why", *args]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env}, timeout=60, check=False)


def test_why_a_pod_is_watched(api: Kube, server: Server) -> None:
    api.annotate("/api/v1/namespaces/shop", enabled="true")
    others = {"proxy": "example.com/proxy:2"}
    with pod(
        api, "shop", "asked-0", NODE, server, {"annotations": {"otel-ebpf.io/enabled": "maybe"}}, others
    ) as asked_pod:
        done = why(api, "asked-0", "-o", "json")
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["namespace"], said["node"], said["on_this_node"]) == ("shop", NODE, True)
        web, proxy = said["decisions"]
        assert (web["container"], web["pid"], web["service"]) == ("web", server.program.pid, "asked-0")
        assert (proxy["container"], proxy["pid"], proxy["selected"]) == ("proxy", None, True)
        assert web["selected"]
        assert [(step["rule"], step["decides"]) for step in web["rules"]] == [
            ("configuration: exclude", False),
            ("pod", False),
            ("namespace", True),
        ]
        assert "otel-ebpf.io/enabled='maybe' counts as unset" in web["rules"][1]["said"]
        assert web["rules"][2]["said"] == "otel-ebpf.io/enabled=true"

        api.annotate(asked_pod.path, containers="pro*")
        text = why(api, "shop/asked-0").stdout
        assert f"pod shop/asked-0 on node {NODE}" in text
        assert f"container web, pid {server.program.pid} (app): left alone" in text
        assert "container proxy, whatever runs there: watched" in text
        assert "> namespace               otel-ebpf.io/enabled=true, but container web is none of pro*" in text

    api.pod("shop", "asked-1", "node-b")
    assert "another node's" in why(api, "asked-1").stdout
    api.delete_pod("shop", "asked-1")
    api.annotate("/api/v1/namespaces/shop", enabled=None)
    done = why(api, "shop/asked-9")
    assert (done.returncode, done.stderr) == (1, "otel-ebpf: there is no pod asked-9 in namespace shop\n")
