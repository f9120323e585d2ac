"""A copy of a real API server's pods and namespaces."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from otel_ebpf.enrich.kubernetes import Access, Cluster, Follower, collections_of, connect
from otel_ebpf.errors import ClusterError
from tests.testbed.kube import Kube, kube
from tests.testbed.process import eventually

ID = "ab" * 32


@pytest.fixture(scope="module")
def api() -> Iterator[Kube]:
    """An API server of these tests' own: they end it."""
    with kube() as started:
        started.namespace("shop", {"otel-ebpf.io/enabled": "true", "note": "not ours"})
        yield started


@contextmanager
def following(api: Kube, node: str) -> Iterator[tuple[Cluster, list[Follower]]]:
    """A copy that is in step."""
    cluster, access = Cluster(), Access(node, str(api.kubeconfig()))
    followers = [Follower(lambda: connect(access), one, cluster) for one in collections_of(cluster)]
    for follower in followers:
        follower.start()
    try:
        eventually(lambda: not cluster.stale, "the copy is in step")
        yield cluster, followers
    finally:
        for follower in followers:
            follower.close()


def test_pods_of_this_node_alone_as_they_come_change_and_go(api: Kube) -> None:
    before = api.pod("shop", "before", "node-a")["metadata"]["uid"]
    elsewhere = api.pod("shop", "elsewhere", "node-b")["metadata"]["uid"]
    with following(api, "node-a") as (cluster, followers):
        assert cluster.find(before, "")
        later = api.pod("shop", "later", "node-a", containers={"web": "a/web:1", "proxy": "a/proxy:1"})
        uid = later["metadata"]["uid"]
        eventually(lambda: cluster.find(uid, ID), "the new pod is known", 2)
        found = cluster.find(uid, ID)
        assert found
        assert (found.pod.name, found.container) == ("later", None)
        assert found.namespace_annotations == {"otel-ebpf.io/enabled": "true"}
        api.runs("shop", "later", proxy=ID, web="cd" * 32)
        eventually(lambda: (found := cluster.find(uid, ID)) and found.container, "its container is known", 2)
        found = cluster.find(uid, ID)
        assert found
        assert found.container
        assert found.container.name == "proxy"
        assert cluster.find(elsewhere, "") is None
        cluster.take_changes()
        api.annotate("/api/v1/namespaces/shop", enabled="false")
        eventually(lambda: cluster.take_changes().namespaces == {"shop"}, "the annotation is known", 2)
        api.delete_pod("shop", "later")
        assert [follower.lists for follower in followers] == [1, 1]


def test_the_api_server_goes_and_comes_back(api: Kube) -> None:
    kept = api.pod("shop", "kept", "node-c")["metadata"]["uid"]
    with following(api, "node-c") as (cluster, followers):
        api.stop()
        eventually(lambda: cluster.stale, "the copy is stale")
        assert cluster.find(kept, "")
        api.start()
        eventually(lambda: not cluster.stale, "the copy is in step", 30)
        uid = api.pod("shop", "new", "node-c")["metadata"]["uid"]
        eventually(lambda: cluster.find(uid, ""), "the new pod is known", 5)
        assert cluster.find(kept, "")
        assert all(follower.failures for follower in followers)


def test_who_may_not_ask_is_told_so(api: Kube) -> None:
    with pytest.raises(ClusterError, match="401 Unauthorized") as refused:
        connect(Access("node-a", str(api.kubeconfig("nobody's")))).page("pods", "0")
    assert refused.value.status == 401


def test_no_credentials_are_told_of() -> None:
    with pytest.raises(ClusterError, match="no access to the cluster"):
        connect(Access("node-a"))
