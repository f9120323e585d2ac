"""The container and the pod that a process is in, from its cgroup paths.

What the paths look like, by who made them (<uid> with dashes as underscores where systemd's own dashes would clash):

    docker, cgroupfs      /docker/<id>
    docker, systemd       /system.slice/docker-<id>.scope
    kubelet, systemd      /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/
                          cri-containerd-<id>.scope; crio-<id>.scope, with crun /container below; docker-<id>.scope
    kubelet, cgroupfs     /kubepods/burstable/pod<uid>/<id>, /kubepods/pod<uid>/crio-<id>; guaranteed pods have no class
    containerd v1 hybrid  /system.slice/containerd.service/kubepods-burstable-pod<uid>.slice:cri-containerd:<id>
    kind                  the same below the node's own /docker/<id>/kubelet or /kubelet.slice
    podman                /machine.slice/libpod-<id>.scope/container, also below user.slice

A static pod has no uid of the API server's here but the hash of its manifest: 32 digits without dashes, which its
mirror pod has as the annotation kubernetes.io/config.hash.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# `conmon` scopes hold the container's monitor, which runs outside.
_CONTAINER = re.compile(r"(?:^|[:-])(?P<id>[0-9a-f]{64})(?:\.scope)?$")
_MONITOR = re.compile(r"conmon-[0-9a-f]{64}")
_POD = re.compile(
    r"(?:^|-)pod(?P<uid>[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})"
    r"(?:\.slice)?(?:$|:)"
)


@dataclass(frozen=True, slots=True)
class Container:
    """Where a process runs; "" where it is in none. In a pod `id` is the pod's container, whatever runs inside it."""

    id: str = ""
    pod_uid: str = ""


def cgroup_paths(text: str) -> tuple[str, ...]:
    """Paths of a /proc/PID/cgroup file (`hierarchy:controllers:path` lines), without duplicates, v2's first."""
    lines = [line.split(":", 2) for line in text.splitlines()]
    paths = [(number != "0", path) for number, _, path in (line for line in lines if len(line) == 3)]
    return tuple(dict.fromkeys(path for _, path in sorted(paths, key=lambda pair: pair[0])))


def container_of(paths: Iterable[str]) -> Container:
    """The innermost pod and its container; outside of pods the innermost container."""
    found = [_of_path(path.split("/")) for path in paths]
    return max(found, key=lambda one: (bool(one.pod_uid), bool(one.id)), default=Container())


def _of_path(elements: list[str]) -> Container:
    if any(_MONITOR.search(element) for element in elements):
        return Container()
    for place in reversed(range(len(elements))):
        if pod := _POD.search(elements[place]):
            return Container(_first_id(elements[place:]), pod["uid"].replace("_", "-"))
    return Container(_first_id(reversed(elements)))


def _first_id(elements: Iterable[str]) -> str:
    return next((match["id"] for element in elements if (match := _CONTAINER.search(element))), "")
