"""The container that a process is in, from its cgroup paths.

What the paths look like, by who made them:

    docker, cgroupfs      /docker/<id>
    docker, systemd       /system.slice/docker-<id>.scope
    containerd, cri-o     /kubepods.slice/…/cri-containerd-<id>.scope, …/crio-<id>.scope
    kubelet, cgroupfs     /kubepods/burstable/pod<uid>/<id>
    containerd v1 hybrid  /system.slice/containerd.service/kubepods-….slice:cri-containerd:<id>
    podman                /machine.slice/libpod-<id>.scope/container, also below user.slice
"""

import re
from collections.abc import Iterable

# `conmon` scopes hold the container's monitor, which runs outside.
_CONTAINER = re.compile(r"(?:^|[:-])(?P<id>[0-9a-f]{64})(?:\.scope)?$")
_MONITOR = re.compile(r"conmon-[0-9a-f]{64}")


def cgroup_paths(text: str) -> tuple[str, ...]:
    """Paths of a /proc/PID/cgroup file (`hierarchy:controllers:path` lines), without duplicates, v2's first."""
    lines = [line.split(":", 2) for line in text.splitlines()]
    paths = [(number != "0", path) for number, _, path in (line for line in lines if len(line) == 3)]
    return tuple(dict.fromkeys(path for _, path in sorted(paths, key=lambda pair: pair[0])))


def container_id(paths: Iterable[str]) -> str:
    """The innermost container's id, "" where there is none."""
    for path in paths:
        for element in reversed(path.split("/")):
            if _MONITOR.search(element):
                break
            if match := _CONTAINER.search(element):
                return match["id"]
    return ""
