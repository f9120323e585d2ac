"""Staying in step: versions, 410, and an API server that comes and goes. A real one is e2e's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.testbed.process import eventually

from otel_ebpf.enrich.kubernetes import Cluster, Follower, collections_of, follow
from otel_ebpf.errors import ClusterError


def pod(uid: str, version: int = 1, **annotations: str) -> dict[str, Any]:
    named = {f"otel-ebpf.io/{key}": value for key, value in annotations.items()}
    metadata = {"uid": uid, "name": uid, "namespace": "shop", "resourceVersion": str(version), "annotations": named}
    return {"metadata": metadata, "spec": {"containers": [{"name": "web"}]}}


def event(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": item}


BOOKMARK_9 = event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
GONE = event("ERROR", {"kind": "Status", "code": 410, "message": "too old resource version: 1 (5)"})
Step = list[dict[str, Any]] | ClusterError


@dataclass
class Script:
    """An API server that answers from a script, and then ends watches when told to."""

    pages: list[dict[str, Any] | ClusterError]
    watches: list[Step]
    asked: list[tuple[str, ...]] = field(default_factory=list)
    over: bool = False

    def page(self, collection: str, resource_version: str, continued: str = "") -> dict[str, Any]:
        self.asked.append(("list", collection, resource_version, continued))
        answer = self.pages.pop(0)
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    @contextmanager
    def watch(self, collection: str, resource_version: str, timeout_s: int) -> Iterator[Iterator[dict[str, Any]]]:
        self.asked.append(("watch", collection, resource_version))
        step = self.watches.pop(0) if self.watches else None
        if isinstance(step, ClusterError):
            raise step
        yield self._events(step)

    def _events(self, step: list[dict[str, Any]] | None) -> Iterator[dict[str, Any]]:
        yield from step or ()
        if step is None:  # nothing more happens
            eventually(lambda: self.over, "the test is over")


def page(*items: dict[str, Any], version: str = "1", more: str = "") -> dict[str, Any]:
    return {"items": list(items), "metadata": {"resourceVersion": version, "continue": more}}


Started = Callable[[Script], tuple[Follower, Cluster]]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    monkeypatch.setattr(follow, "_FIRST_WAIT_S", 0.01)
    running: list[tuple[Follower, Script]] = []

    def begin(script: Script) -> tuple[Follower, Cluster]:
        cluster = Cluster()
        cluster.mark("namespaces", stale=False)  # nobody follows them here
        follower = Follower(lambda: script, collections_of(cluster)[0], cluster)
        running.append((follower, script))
        follower.start()
        return follower, cluster

    yield begin
    for follower, script in running:
        follower.close()
        script.over = True


def known(cluster: Cluster, *uids: str) -> bool:
    return all(cluster.find(uid, "") for uid in uids)


def test_a_list_in_pages_and_a_watch_from_its_version(start: Started) -> None:
    script = Script([page(pod("a"), more="next"), page(pod("b"), version="3")], [[event("ADDED", pod("c", 4))]])
    _, cluster = start(script)
    eventually(lambda: known(cluster, "a", "b", "c"), "all three are known")
    assert script.asked[:3] == [
        ("list", "pods", "0", ""),
        ("list", "pods", "0", "next"),
        ("watch", "pods", "3"),
    ]
    assert cluster.take_changes().pod_uids == {"a", "b", "c"}
    assert not cluster.take_changes()


def test_a_watch_goes_on_where_the_last_one_ended(start: Started) -> None:
    script = Script([page(pod("a"))], [[event("ADDED", pod("b", 4))], [BOOKMARK_9], [event("ADDED", pod("c", 12))]])
    follower, cluster = start(script)
    eventually(lambda: known(cluster, "a", "b", "c") and len(script.asked) == 5, "all are known")
    assert [row[2] for row in script.asked] == ["0", "1", "4", "9", "12"]
    assert follower.lists == 1
    assert not cluster.stale


@pytest.mark.parametrize("how", [[GONE], ClusterError("410 Gone", 410)])
def test_a_version_that_is_too_old_means_a_new_list(start: Started, how: Step) -> None:
    script = Script([page(pod("a"), pod("b")), page(pod("b"), pod("c"), version="20")], [how])
    follower, cluster = start(script)
    eventually(lambda: known(cluster, "b", "c") and len(script.asked) == 4, "the new list is known")
    # The latest, as the API server's memory may be as old as what we had.
    assert script.asked[2:] == [("list", "pods", "", ""), ("watch", "pods", "20")]
    assert (follower.lists, follower.failures) == (2, 0)


def test_while_the_api_server_is_gone_the_last_state_stays_and_is_stale(start: Started) -> None:
    down = ClusterError("connection refused")
    script = Script([page(pod("a"))], [[event("ADDED", pod("b", 4))], *[down] * 5, [event("ADDED", pod("c", 5))]])
    seen: list[tuple[bool, bool]] = []
    cluster = Cluster()
    marked = cluster.mark

    def mark(collection: str, *, stale: bool) -> None:
        marked(collection, stale=stale)
        seen.append((stale, known(cluster, "a", "b")))

    cluster.mark = mark  # type: ignore[method-assign]  # to look at each moment
    follower = Follower(lambda: script, collections_of(cluster)[0], cluster)
    follower.start()
    eventually(lambda: known(cluster, "c"), "it is back")
    follower.close()
    script.over = True
    assert seen[:7] == [(False, False), *[(True, True)] * 5, (False, True)]
    assert (follower.failures, follower.lists) == (5, 1)
    assert {row[2] for row in script.asked[3:8]} == {"4"}


def test_a_first_list_that_fails_is_asked_for_again(start: Started) -> None:
    refused = ClusterError("403 Forbidden: pods is forbidden", 403)
    follower, cluster = start(Script([refused, refused, page(pod("a"))], []))
    eventually(lambda: known(cluster, "a"), "the pod is known")
    assert follower.failures == 2


def test_what_was_deleted_unseen_is_known_a_little_longer(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_ebpf.enrich.kubernetes.cluster._LINGER_S", 0.0)
    script = Script([page(pod("a"), pod("b")), page(pod("b"), version="20")], [[GONE]])
    _, cluster = start(script)
    eventually(lambda: cluster.counts()[0] == 1, "the list's pods alone are known")
    assert known(cluster, "b")


def test_only_what_changes_is_a_change() -> None:
    cluster = Cluster()
    cluster.put_pod(pod("a"))
    assert cluster.take_changes().pod_uids == {"a"}
    cluster.put_pod(pod("a", 2))  # a probe's result, say: nothing that is kept
    assert not cluster.take_changes()
    cluster.put_pod(pod("a", 3, enabled="true"))
    assert cluster.take_changes().pod_uids == {"a"}
    namespace = {"metadata": {"name": "shop", "annotations": {"otel-ebpf.io/enabled": "true"}}}
    cluster.put_namespace(namespace)
    cluster.put_namespace(namespace)
    assert cluster.take_changes().namespaces == {"shop"}


def test_pods_that_come_and_go_leave_nothing_behind() -> None:
    cluster = Cluster()
    for number in range(5000):
        item = pod(f"uid-{number}")
        item["metadata"]["annotations"] = {"kubernetes.io/config.hash": f"{number:032x}"}
        cluster.put_pod(item)
        cluster.remove_pod(item)
        cluster.take_changes()
    # What lingers is bounded however fast they go.
    assert cluster.counts()[0] <= 1000
    assert cluster.find(f"{0:032x}", "") is None
    assert cluster.find("uid-4999", "") is not None
