"""The cluster that the agent's node belongs to, if there is one: what is known of pods, and what went wrong with it."""

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from otel_ebpf import semconv
from otel_ebpf.config import settings
from otel_ebpf.discover.enablement import Enablement
from otel_ebpf.enrich.kubernetes import Access, Cluster, Follower, Kept, collections_of, connect, node_name
from otel_ebpf.export.own import Value
from otel_ebpf.model import Workload
from otel_ebpf.protocols.registry import Metric

log = logging.getLogger(__name__)

INVALID: Final = Metric(
    "otel_ebpf.kubernetes.annotations.invalid", "{annotation}", "Annotations that are not valid and count as unset."
)
UNPLACED: Final = Metric(
    "otel_ebpf.kubernetes.processes.unplaced",
    "{process}",
    "Processes of pods of which nothing, or not the container, was known in time.",
)
FAILURES: Final = Metric(
    "otel_ebpf.kubernetes.failures", "{request}", "Times that the API server could not be asked for a collection."
)
_MAX_TOLD: Final = 10_000


def access(wanted: settings.Kubernetes, variables: Mapping[str, str] = os.environ) -> Access | None:
    """How to reach the cluster; None if there is none. Kubelets set KUBERNETES_SERVICE_HOST in every container."""
    in_pod = bool(variables.get("KUBERNETES_SERVICE_HOST"))
    if wanted.enabled is False or (wanted.enabled is None and not in_pod and not wanted.kubeconfig):
        return None
    kubeconfig = wanted.kubeconfig
    if not kubeconfig and not in_pod:
        kubeconfig = variables.get("KUBECONFIG", "") or str(Path("~/.kube/config").expanduser())
    return Access(node_name(wanted.node_name, variables), kubeconfig)


@dataclass(slots=True)
class Kubernetes:
    """Followed from `start` on, on threads of its own; nothing here waits for the API server."""

    cluster: Cluster
    prefix: str
    base: Mapping[str, str]  # goes on every resource
    unplaced: dict[str, int] = field(default_factory=lambda: {"missing": 0, "partial": 0})
    _followers: tuple[Follower, ...] = ()
    _told: set[tuple[str, str, str]] = field(default_factory=set)
    _invalid: int = 0

    @classmethod
    def of(cls, wanted: settings.Kubernetes, how: Access) -> "Kubernetes":
        """Nothing is asked yet."""
        cluster = Cluster(Kept(wanted.annotation_prefix))
        shared = cache(lambda: connect(how))  # a failure is not kept
        followers = tuple(Follower(shared, one, cluster) for one in collections_of(cluster))
        names = {semconv.K8S_NODE_NAME: how.node, semconv.K8S_CLUSTER_NAME: wanted.cluster_name}
        base = {key: name for key, name in names.items() if name}
        return cls(cluster, wanted.annotation_prefix, base, _followers=followers)

    def start(self) -> None:
        """Begins to follow the API server."""
        for follower in self._followers:
            follower.start()

    @property
    def waits_for(self) -> str:
        """What the API server has not told of yet, "" once it has."""
        missing = [follower.name for follower in self._followers if not follower.lists]
        return f"the API server to tell of {' and '.join(missing)}" if missing else ""

    def close(self) -> None:
        """What is known stays."""
        for follower in self._followers:
            follower.close()

    def tell_invalid(self, rules: Enablement, workload: Workload) -> None:
        """Counts each annotation that is not valid once, and says what is wrong with it."""
        for where, one in rules.invalid(workload):
            if (which := (where, one.key, one.value)) in self._told:
                continue
            if len(self._told) >= _MAX_TOLD:
                self._told.clear()
            self._told.add(which)
            self._invalid += 1
            log.warning("%s: annotation %s=%r counts as unset: %s", where, one.key, one.value, one.why)

    def counters(self) -> Iterator[Value]:
        """Of what went wrong."""
        yield INVALID, {}, self._invalid
        for metadata, count in self.unplaced.items():
            yield UNPLACED, {"metadata": metadata}, count
        for follower in self._followers:
            yield FAILURES, {"collection": follower.name}, follower.failures
