"""Containers by cgroup path, as the container engines write them."""

import pytest

from otel_ebpf.enrich.container import cgroup_paths, container_id

ID = "7be92808767a667f35c8505cbf40d14e931ef6db5b0210329cf193b15ba9d605"
OTHER = "d86d75589bf6cc254f3e2cc29debdf85dde404998aa128997a819ff991827356"


@pytest.mark.parametrize(
    "text",
    [
        f"0::/docker/{ID}",
        f"0::/system.slice/docker-{ID}.scope",
        f"0::/system.slice/docker-{ID}.scope/init.scope",
        f"13:name=systemd:/docker/{ID}\n12:pids:/docker/{ID}\n0::/",
        f"4:memory:/kubepods/burstable/pod9f1c/{ID}\n0::/kubepods/burstable/pod9f1c/{ID}",
        f"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod9f1c.slice/cri-containerd-{ID}.scope",
        f"0::/kubepods.slice/kubepods-pod9f1c.slice/crio-{ID}.scope",
        f"0::/kubepods.slice/kubepods-pod9f1c.slice/crio-{ID}.scope/container",
        f"1:name=systemd:/system.slice/containerd.service/kubepods-pod9f1c.slice:cri-containerd:{ID}",
        f"0::/machine.slice/libpod-{ID}.scope/container",
        f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
        f"0::/docker/{OTHER}/docker/{ID}",
        f"0::/../../kubepods/pod9f1c/{ID}",
        f"0::/lxc/{ID}",
    ],
)
def test_in_a_container(text: str) -> None:
    assert container_id(cgroup_paths(text)) == ID


@pytest.mark.parametrize(
    "text",
    [
        "0::/",
        "",
        "nonsense\n0::/user.slice/user-1000.slice/session-1.scope",
        "0::/system.slice/nginx.service",
        f"0::/machine.slice/libpod-conmon-{ID}.scope",
        f"0::/kubepods.slice/crio-conmon-{ID}.scope",
        f"0::/system.slice/{ID[:40]}.scope",
    ],
)
def test_not_in_a_container(text: str) -> None:
    assert container_id(cgroup_paths(text)) == ""


def test_paths_come_once_each_and_v2s_first() -> None:
    assert cgroup_paths("2:cpu:/a\n1:name=systemd:/b\n3:pids:/a\n0::/c:d\n") == ("/c:d", "/a", "/b")
