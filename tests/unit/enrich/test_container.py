"""Containers and pods by cgroup path, as container engines and kubelets write them."""

import pytest

from otel_ebpf.enrich.container import Container, cgroup_paths, container_of

ID = "7be92808767a667f35c8505cbf40d14e931ef6db5b0210329cf193b15ba9d605"
OTHER = "d86d75589bf6cc254f3e2cc29debdf85dde404998aa128997a819ff991827356"
UID = "2c48913c-b29f-11e7-9350-020968147796"
UNDER = UID.replace("-", "_")
OTHER_UID = "8b9aa4cc-9b52-4ac4-9cbd-a5a2c6d1d5b4"
HASH = "98ca2c44d9e1a8f1a1e2f4d3f5a7e9c0"


@pytest.mark.parametrize(
    "text",
    [
        f"0::/docker/{ID}",
        f"0::/system.slice/docker-{ID}.scope",
        f"0::/system.slice/docker-{ID}.scope/init.scope",
        f"13:name=systemd:/docker/{ID}\n12:pids:/docker/{ID}\n0::/",
        f"4:memory:/kubepods/burstable/pod9f1c/{ID}\n0::/kubepods/burstable/pod9f1c/{ID}",
        f"0::/machine.slice/libpod-{ID}.scope/container",
        f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
        f"0::/docker/{OTHER}/docker/{ID}",
        f"0::/lxc/{ID}",
    ],
)
def test_in_a_container_of_no_pod(text: str) -> None:
    assert container_of(cgroup_paths(text)) == Container(ID)


V1_CONTROLLERS = ("cpuset", "cpu,cpuacct", "memory", "pids", "name=systemd")


def v1(path: str, unified: str = "") -> str:
    """A file of cgroup v1, or with `unified` of a hybrid one."""
    lines = [f"{number}:{controllers}:{path}" for number, controllers in enumerate(V1_CONTROLLERS, 2)]
    return "\n".join([*reversed(lines), f"0::{unified}"] if unified else reversed(lines))


SYSTEMD = "/kubepods.slice"
BURSTABLE = f"{SYSTEMD}/kubepods-burstable.slice/kubepods-burstable-pod{UNDER}.slice"
BEST_EFFORT = f"{SYSTEMD}/kubepods-besteffort.slice/kubepods-besteffort-pod{UNDER}.slice"
GUARANTEED = f"{SYSTEMD}/kubepods-pod{UNDER}.slice"


@pytest.mark.parametrize(
    "text",
    [
        # v2, systemd
        f"0::{BURSTABLE}/cri-containerd-{ID}.scope",
        f"0::{BEST_EFFORT}/cri-containerd-{ID}.scope",
        f"0::{GUARANTEED}/cri-containerd-{ID}.scope",
        f"0::{BURSTABLE}/crio-{ID}.scope",
        f"0::{GUARANTEED}/crio-{ID}.scope/container",
        f"0::{BURSTABLE}/docker-{ID}.scope",
        # v2, cgroupfs
        f"0::/kubepods/burstable/pod{UID}/{ID}",
        f"0::/kubepods/besteffort/pod{UID}/{ID}",
        f"0::/kubepods/pod{UID}/{ID}",
        f"0::/kubepods/burstable/pod{UID}/crio-{ID}",
        # v1
        v1(f"/kubepods/burstable/pod{UID}/{ID}"),
        v1(f"{BURSTABLE}/cri-containerd-{ID}.scope"),
        v1(f"{BURSTABLE}/crio-{ID}.scope"),
        v1(f"{BEST_EFFORT}/docker-{ID}.scope"),
        # hybrid: the unified hierarchy knows nothing, or only the engine
        v1(f"/kubepods/burstable/pod{UID}/{ID}", "/"),
        v1(f"/kubepods/burstable/pod{UID}/{ID}", "/system.slice/containerd.service"),
        v1(f"/system.slice/containerd.service/kubepods-burstable-pod{UNDER}.slice:cri-containerd:{ID}", "/"),
        v1(f"/system.slice/containerd.service/kubepods-pod{UNDER}.slice:cri-containerd:{ID}", "/system.slice"),
        v1(f"/kubepods/pod{UID}/{ID}", f"/kubepods/pod{UID}/{ID}"),
        # kind: a node in a container, with either driver
        f"0::/docker/{OTHER}/kubelet/kubepods/burstable/pod{UID}/{ID}",
        f"0::/system.slice/docker-{OTHER}.scope/kubelet.slice/kubelet-kubepods.slice/"
        f"kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{UNDER}.slice/cri-containerd-{ID}.scope",
        v1(f"/docker/{OTHER}/kubelet/kubepods/besteffort/pod{UID}/{ID}", f"/docker/{OTHER}"),
        # a cluster in a pod of a cluster
        f"0::/kubepods/pod{OTHER_UID}/{OTHER}/kubelet/kubepods/burstable/pod{UID}/{ID}",
        # a container engine in a pod: the kubelet knows the outer container
        f"0::/kubepods/burstable/pod{UID}/{ID}/docker/{OTHER}",
        f"0::{BURSTABLE}/cri-containerd-{ID}.scope/system.slice/docker-{OTHER}.scope",
        # from within another cgroup namespace; below a cgroup root of one's own; in a group of the program's own
        f"0::/../../kubepods-burstable-pod{UNDER}.slice/cri-containerd-{ID}.scope",
        f"0::/../../../burstable/pod{UID}/{ID}",
        f"0::/nodes/a/kubepods/burstable/pod{UID}/{ID}",
        f"0::{BURSTABLE}/cri-containerd-{ID}.scope/init.scope",
    ],
)
def test_in_a_pod(text: str) -> None:
    assert container_of(cgroup_paths(text)) == Container(ID, UID)


@pytest.mark.parametrize(
    "text",
    [
        f"0::/kubepods/burstable/pod{HASH}/{ID}",
        f"0::{SYSTEMD}/kubepods-burstable.slice/kubepods-burstable-pod{HASH}.slice/cri-containerd-{ID}.scope",
        v1(f"{SYSTEMD}/kubepods-burstable.slice/kubepods-burstable-pod{HASH}.slice/crio-{ID}.scope"),
    ],
)
def test_a_static_pod_has_the_hash_of_its_manifest(text: str) -> None:
    assert container_of(cgroup_paths(text)) == Container(ID, HASH)


def test_a_pod_without_a_container_of_its_own() -> None:
    assert container_of((f"/kubepods/pod{UID}",)) == Container("", UID)
    assert container_of((f"/kata_overhead/pod{UID}", f"/kubepods/pod{UID}/{ID}")) == Container(ID, UID)


@pytest.mark.parametrize(
    "text",
    [
        "0::/",
        "",
        "nonsense\n0::/user.slice/user-1000.slice/session-1.scope",
        "0::/system.slice/nginx.service",
        f"0::/machine.slice/libpod-conmon-{ID}.scope",
        f"0::/kubepods.slice/crio-conmon-{ID}.scope",
        f"0::{BURSTABLE}/crio-conmon-{ID}.scope",
        f"0::/system.slice/{ID[:40]}.scope",
        f"0::/user.slice/my-podcast{UID}",
        f"0::/system.slice/pod{UID[:-1]}.service",
    ],
)
def test_in_none(text: str) -> None:
    assert container_of(cgroup_paths(text)) == Container()


def test_paths_come_once_each_and_v2s_first() -> None:
    assert cgroup_paths("2:cpu:/a\n1:name=systemd:/b\n3:pids:/a\n0::/c:d\n") == ("/c:d", "/a", "/b")
