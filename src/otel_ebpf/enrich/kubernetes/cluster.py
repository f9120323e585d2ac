"""The pods of this node and all namespaces, as the API server told them last.

Written by the threads that follow the API server, read by the agent's. A reader asks what has changed since it asked
last and then looks things up; nothing here ever waits for the network.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from otel_ebpf.enrich.kubernetes import objects
from otel_ebpf.enrich.kubernetes.objects import Json, Kept
from otel_ebpf.model import Pod, PodContainer, Workload

# Pods that were deleted: their processes may be met, and their last spans sent, a little later.
_LINGER_S: Final = 30.0
_MAX_LINGERING: Final = 1000


@dataclass(frozen=True, slots=True)
class Changes:
    """Uids of pods, static ones' hashes too, and names of namespaces that are new or other than before."""

    pod_uids: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.pod_uids or self.namespaces)


class Cluster:
    """A copy that is never newer than the API server, and says how far behind it may be."""

    def __init__(self, kept: Kept | None = None) -> None:
        self._kept = kept or Kept()
        self._lock = threading.Lock()
        self._pods: dict[str, Pod] = {}
        self._static: dict[str, str] = {}  # hash of the manifest: the mirror pod's uid
        self._gone: dict[str, float] = {}  # uid: when it was deleted
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._changed_pods: set[str] = set()
        self._changed_namespaces: set[str] = set()
        self._stale = {"pods", "namespaces"}

    def find(self, pod_uid: str, container_id: str) -> Workload | None:
        """Pod and container with these ids; None if the API server has not told of the pod."""
        with self._lock:
            found = self._pods.get(self._static.get(pod_uid, pod_uid))
            if found is None:
                return None
            return Workload(found, _container(found, container_id), self._namespaces.get(found.namespace))

    def take_changes(self) -> Changes:
        """What changed since the last call."""
        if not self._changed_pods and not self._changed_namespaces:
            return Changes()
        with self._lock:
            changes = Changes(frozenset(self._changed_pods), frozenset(self._changed_namespaces))
            self._changed_pods.clear()
            self._changed_namespaces.clear()
            return changes

    def put_pod(self, item: Json) -> None:
        """A pod is there, or changed."""
        new = objects.pod(item, self._kept)
        with self._lock:
            self._gone.pop(new.uid, None)
            if self._pods.get(new.uid) != new:
                self._pods[new.uid] = new
                self._changed_pods.add(new.uid)
                if manifest := new.annotations.get(objects.STATIC_HASH):
                    self._static[manifest] = new.uid
                    self._changed_pods.add(manifest)

    def remove_pod(self, item: Json) -> None:
        """A pod was deleted; it is known for a while yet."""
        with self._lock:
            self._leave(item["metadata"]["uid"])

    def keep_pods(self, uids: set[str]) -> None:
        """A new list came: what is not in it was deleted while nobody told."""
        with self._lock:
            for uid in self._pods.keys() - uids:
                self._leave(uid)

    def put_namespace(self, item: Json) -> None:
        """A namespace is there, or changed."""
        name, annotations = item["metadata"]["name"], self._kept.annotations(item["metadata"])
        with self._lock:
            if self._namespaces.get(name) != annotations:
                self._namespaces[name] = annotations
                self._changed_namespaces.add(name)

    def remove_namespace(self, item: Json) -> None:
        """A namespace was deleted, after all of its pods."""
        with self._lock:
            self._namespaces.pop(item["metadata"]["name"], None)

    def keep_namespaces(self, names: set[str]) -> None:
        """As `keep_pods`."""
        with self._lock:
            for name in self._namespaces.keys() - names:
                del self._namespaces[name]

    def mark(self, collection: str, *, stale: bool) -> None:
        """Whether the API server tells of a collection ("pods", "namespaces") right now."""
        with self._lock:
            if stale:
                self._stale.add(collection)
            else:
                self._stale.discard(collection)

    @property
    def stale(self) -> bool:
        """What is here may be older than what the API server has."""
        return bool(self._stale)

    def counts(self) -> tuple[int, int]:
        """Pods and namespaces known; for tests of memory and messages."""
        with self._lock:
            return len(self._pods), len(self._namespaces)

    def _leave(self, uid: str) -> None:
        now_s = time.monotonic()
        if uid in self._pods:
            self._gone.setdefault(uid, now_s)
        while self._gone:
            oldest, gone_s = next(iter(self._gone.items()))
            if now_s - gone_s < _LINGER_S and len(self._gone) <= _MAX_LINGERING:
                return
            del self._gone[oldest]
            removed = self._pods.pop(oldest)
            manifest = removed.annotations.get(objects.STATIC_HASH, "")
            if self._static.get(manifest) == oldest:
                del self._static[manifest]


def _container(pod: Pod, container_id: str) -> PodContainer | None:
    """The container with this id; or, as the kubelet may tell of a new run seconds late, the only one there can be."""
    for container in pod.containers:
        if container_id in container.ids:
            return container
    return pod.containers[0] if container_id and len(pod.containers) == 1 else None
