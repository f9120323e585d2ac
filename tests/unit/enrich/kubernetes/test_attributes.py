"""What pods are called, from objects as the API server sends them."""

from typing import Any

import pytest

from otel_ebpf.enrich.kubernetes import Cluster, Kept, described
from otel_ebpf.enrich.kubernetes.attributes import split_image
from otel_ebpf.enrich.kubernetes.objects import pod as pod_of
from otel_ebpf.model import Attributes

UID = "2c48913c-b29f-11e7-9350-020968147796"
ID = "ab" * 32


def a_pod(owner: tuple[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    references = (
        [{"kind": owner[0], "name": owner[1], "controller": True, "apiVersion": "x", "uid": "y"}] if owner else []
    )
    return {
        "metadata": {
            "uid": UID,
            "namespace": "shop",
            "name": "cart-5d9c7f-abcde",
            "creationTimestamp": "2026-03-01T12:00:10Z",
            "ownerReferences": references,
            "managedFields": [{"manager": "kubectl"}],
            **metadata,
        },
        "spec": {
            "initContainers": [{"name": "migrate", "image": "example.com/migrate"}],
            "containers": [
                {"name": "web", "image": "registry:5000/shop/web:1.7@sha256:" + "0" * 64},
                {"name": "proxy", "image": "envoy"},
            ],
            "ephemeralContainers": [{"name": "debugger", "image": "busybox:1"}],
        },
        "status": {
            "startTime": "2026-03-01T12:00:11Z",
            "containerStatuses": [
                {"name": "proxy", "containerID": "containerd://" + "cd" * 32},
                {
                    "name": "web",
                    "containerID": f"containerd://{ID}",
                    "lastState": {"terminated": {"containerID": "containerd://" + "ef" * 32}},
                },
            ],
            "initContainerStatuses": [{"name": "migrate", "containerID": "cri-o://" + "12" * 32}],
            "ephemeralContainerStatuses": [{"name": "debugger", "containerID": "docker://" + "34" * 32}],
        },
    }


def attributes(item: dict[str, Any], container_id: str = ID) -> Attributes:
    cluster = Cluster()
    cluster.put_pod(item)
    found = cluster.find(UID, container_id)
    assert found
    return described(found)


def test_all_that_is_said_of_a_pod_of_a_deployment() -> None:
    item = a_pod(("ReplicaSet", "cart-5d9c7f"), labels={"pod-template-hash": "5d9c7f", "app": "cart"})
    assert attributes(item) == {
        "k8s.namespace.name": "shop",
        "k8s.pod.name": "cart-5d9c7f-abcde",
        "k8s.pod.uid": UID,
        "k8s.pod.start_time": "2026-03-01T12:00:11Z",
        "k8s.container.name": "web",
        "k8s.replicaset.name": "cart-5d9c7f",
        "k8s.deployment.name": "cart",
        "container.image.name": "registry:5000/shop/web",
        "container.image.tags": ("1.7",),
        "service.name": "cart",
        "service.namespace": "shop",
        "service.version": "1.7",
        "service.instance.id": "shop.cart-5d9c7f-abcde.web",
    }


@pytest.mark.parametrize(
    ("owner", "labels", "expected"),
    [
        (("ReplicaSet", "cart-5d9c7f"), {}, {"k8s.replicaset.name": "cart-5d9c7f"}),
        (("ReplicaSet", "cart-5d9c7f"), {"pod-template-hash": "d9c7f"}, {"k8s.replicaset.name": "cart-5d9c7f"}),
        (("StatefulSet", "db"), {}, {"k8s.statefulset.name": "db"}),
        (("DaemonSet", "logs"), {"controller-revision-hash": "x"}, {"k8s.daemonset.name": "logs"}),
        (("Job", "once"), {}, {"k8s.job.name": "once"}),
        # 2026-03-01T12:00 in minutes
        (("Job", "nightly-29539440"), {}, {"k8s.cronjob.name": "nightly", "k8s.job.name": "nightly-29539440"}),
        (("Job", "backup-20260301"), {}, {"k8s.job.name": "backup-20260301"}),
        (("Job", "nightly-29539500"), {}, {"k8s.job.name": "nightly-29539500"}),
        (("Node", "node-a"), {}, {}),
        (("Rollout", "canary"), {}, {}),
        (None, {}, {}),
    ],
)
def test_whose_pod_it_is(owner: tuple[str, str] | None, labels: dict[str, str], expected: dict[str, str]) -> None:
    said = attributes(a_pod(owner, labels=labels))
    kinds = ("deployment", "replicaset", "statefulset", "daemonset", "job", "cronjob")
    assert {key: value for key, value in said.items() if key.split(".")[1] in kinds} == expected
    assert said["service.name"] == (next(iter(expected.values())) if expected else "cart-5d9c7f-abcde")


def test_annotations_go_before_labels_and_labels_before_owners() -> None:
    labels = {"app.kubernetes.io/name": "cart", "app.kubernetes.io/version": "2.0", "pod-template-hash": "5d9c7f"}
    owner = ("ReplicaSet", "web-5d9c7f")
    said = attributes(a_pod(owner, labels=labels))
    assert (said["service.name"], said["service.version"]) == ("cart", "2.0")
    labels["app.kubernetes.io/instance"] = "cart-blue"
    assert attributes(a_pod(owner, labels=labels))["service.name"] == "cart-blue"
    said = attributes(
        a_pod(
            owner,
            labels=labels,
            annotations={
                "resource.opentelemetry.io/service.name": "basket",
                "resource.opentelemetry.io/service.namespace": "sales",
                "resource.opentelemetry.io/service.version": "3",
                "resource.opentelemetry.io/service.instance.id": "one",
                "resource.opentelemetry.io/deployment.environment.name": "prod",
                "resource.opentelemetry.io/": "nothing",
            },
        )
    )
    assert {key: said[key] for key in said if key.startswith(("service.", "deployment."))} == {
        "service.name": "basket",
        "service.namespace": "sales",
        "service.version": "3",
        "service.instance.id": "one",
        "deployment.environment.name": "prod",
    }
    assert "" not in said


@pytest.mark.parametrize(
    ("container_id", "name"),
    [(ID, "web"), ("ef" * 32, "web"), ("cd" * 32, "proxy"), ("12" * 32, "migrate"), ("34" * 32, "debugger")],
)
def test_each_kind_of_container_and_the_run_before(container_id: str, name: str) -> None:
    assert attributes(a_pod(), container_id)["k8s.container.name"] == name


def test_a_container_that_nobody_told_of_yet_is_left_out_and_marked() -> None:
    said = attributes(a_pod(), "99" * 32)
    assert said["otel_ebpf.kubernetes.metadata"] == "partial"
    assert said["k8s.pod.name"] == "cart-5d9c7f-abcde"
    assert not {"k8s.container.name", "service.instance.id", "container.image.name"} & said.keys()


def test_the_only_container_of_a_pod_needs_no_status() -> None:
    item = a_pod()
    item["spec"] = {"containers": [{"name": "web", "image": "a"}]}
    assert attributes(item, "99" * 32)["k8s.container.name"] == "web"


def test_a_static_pod_is_found_by_its_manifests_hash() -> None:
    cluster = Cluster()
    cluster.put_pod(a_pod(("Node", "a"), annotations={"kubernetes.io/config.hash": "f" * 32}))
    found = cluster.find("f" * 32, ID)
    assert found
    assert described(found)["k8s.pod.uid"] == UID
    assert cluster.take_changes().pod_uids == {"f" * 32, UID}


@pytest.mark.parametrize(
    ("image", "name", "tag"),
    [
        ("nginx", "nginx", ""),
        ("nginx:1.27", "nginx", "1.27"),
        ("registry:5000/nginx", "registry:5000/nginx", ""),
        ("registry:5000/a/nginx:1", "registry:5000/a/nginx", "1"),
        ("nginx@sha256:" + "0" * 64, "nginx", ""),
        ("r.io/nginx:1.27@sha256:" + "0" * 64, "r.io/nginx", "1.27"),
    ],
)
def test_images(image: str, name: str, tag: str) -> None:
    assert split_image(image) == (name, tag)


def test_of_a_pod_only_what_is_used_is_kept() -> None:
    item = a_pod(labels={"app": "x"}, annotations={"note": "y", "otel-ebpf.io/enabled": "true", "z.io/enabled": "no"})
    kept = pod_of(item, Kept())
    assert (kept.labels, kept.annotations) == ({}, {"otel-ebpf.io/enabled": "true"})
    assert pod_of(item, Kept("z.io/")).annotations == {"z.io/enabled": "no"}


def test_a_pod_that_was_only_just_made_has_next_to_nothing() -> None:
    kept = pod_of({"metadata": {"uid": UID, "name": "a", "namespace": "b"}, "spec": {}}, Kept())
    assert (kept.uid, kept.start_time, kept.containers) == (UID, "", ())
