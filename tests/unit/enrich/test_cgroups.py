"""Cgroups by the kernel's ids, on this machine's own cgroup2 file system."""

import os
from pathlib import Path

import pytest
from tests.unit.fakes import Process

from otel_ebpf.enrich.cgroups import CgroupIds
from otel_ebpf.enrich.process import Enricher


@pytest.fixture
def mounted() -> Path:
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    found = next((Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"), None)
    assert found, "no cgroup2 file system is mounted"
    return found


def test_paths_of_new_and_old_cgroups(mounted: Path) -> None:
    folder = mounted / f"otel-ebpf-unit-{os.getpid()}"
    (folder / "below").mkdir(parents=True)
    try:
        ids = CgroupIds()
        assert ids.path(mounted.stat().st_ino) == "/"
        assert ids.path(folder.stat().st_ino) == f"/{folder.name}"
        assert ids.path((folder / "below").stat().st_ino) == f"/{folder.name}/below"
        assert ids.path(0) == ""
        ended = Process(1, 2**22 + 1, comm="curl", cgroup_id=(folder / "below").stat().st_ino)
        assert Enricher({}).describe(ended).cgroups == (f"/{folder.name}/below",)
    finally:
        (folder / "below").rmdir()
        folder.rmdir()


def test_without_a_mount_nothing_is_known(tmp_path: Path) -> None:
    assert CgroupIds(str(tmp_path)).path(1) == ""
