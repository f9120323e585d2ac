"""Why a pod is watched, or is not: the decision of each of its processes, as the agent of its node takes it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from otel_ebpf.config.settings import Settings
from otel_ebpf.discover.enablement import Enablement, Step
from otel_ebpf.enrich import container
from otel_ebpf.enrich.kubernetes import Access, Api, Cluster, Json, Kept
from otel_ebpf.enrich.process import Enricher, encode_resource, place, running
from otel_ebpf.errors import AgentError, ClusterError
from otel_ebpf.model import Pod, ProcessInfo, Verdict, Workload


@dataclass(frozen=True, slots=True)
class Decision:
    """About a process; about whatever may run in the container, where `process` is None."""

    container: str
    process: ProcessInfo | None
    verdict: Verdict
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """`here`: the pod is on this node, so its processes can be looked at."""

    pod: Pod
    node: str
    here: bool
    decisions: tuple[Decision, ...]


def explain(name: str, settings: Settings, access: Access, api: Api) -> Explanation:
    """The decisions about a pod, "name" or "namespace/name". Raises AgentError: no such pod, or more than one."""
    found = _find(name, api)
    metadata, spec = found["metadata"], found.get("spec") or {}
    cluster = Cluster(Kept(settings.kubernetes.annotation_prefix))
    cluster.put_pod(found)
    cluster.put_namespace(api.namespace(metadata["namespace"]))
    rules = Enablement(settings.selection, settings.kubernetes.annotation_prefix)
    whole = cluster.find(metadata["uid"], "")
    if whole is None:
        raise ClusterError(f"the API server's pod {name} has no uid")
    node = spec.get("nodeName") or ""
    decisions = list(_of_processes(cluster, whole.pod, rules)) if node == access.node else []
    met = {decision.container for decision in decisions}
    for each in whole.pod.containers:
        if each.name not in met:
            info = ProcessInfo(0, 0, "", "", (), "", encode_resource({}))
            workload = Workload(whole.pod, each, whole.namespace_annotations)
            decisions.append(Decision(each.name, None, *rules.decide(place(info, workload))))
    return Explanation(whole.pod, node, node == access.node, tuple(decisions))


def _find(name: str, api: Api) -> Json:
    namespace, _, pod = name.rpartition("/")
    found = api.pods_named(pod, namespace)
    if not found:
        where = f"in namespace {namespace}" if namespace else "in any namespace"
        raise AgentError(f"there is no pod {pod} {where}")
    if len(found) > 1:
        names = ", ".join(f"{one['metadata']['namespace']}/{pod}" for one in found)
        raise AgentError(f"there are {len(found)} pods of this name: {names}", "name the namespace too")
    return found[0]


def _of_processes(cluster: Cluster, pod: Pod, rules: Enablement) -> Iterator[Decision]:
    enricher = Enricher({})
    for pid in sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        info = _in_pod(pid, enricher)
        workload = cluster.find(info.pod_uid, info.container_id) if info and pid != os.getpid() else None
        if info is None or workload is None or workload.pod != pod:
            continue
        # The sandbox's own process holds the pod's namespaces, and is in no container of the pod.
        if info.executable_name != "pause":
            placed = place(info, workload)
            name = workload.container.name if workload.container else ""
            yield Decision(name, placed, *rules.decide(placed))


def _in_pod(pid: int, enricher: Enricher) -> ProcessInfo | None:
    """A process that is in some pod; None for all others, which are not looked at further."""
    try:
        paths = container.cgroup_paths(Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    if not container.container_of(paths).pod_uid:
        return None
    return enricher.describe(running(pid))
