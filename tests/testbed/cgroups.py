"""Cgroups of the tests' own, on the cgroup2 file system."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.testbed.process import eventually


@contextmanager
def cgroup(name: str, *pids: int) -> Iterator[str]:
    """Puts processes (and what they start from then on) into a new cgroup for a while; yields the cgroup's path."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    root = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
    assert root, "no cgroup2 file system is mounted"
    line = next(line for line in Path(f"/proc/{pids[0]}/cgroup").read_text().splitlines() if line.startswith("0::"))
    before = root / line[3:].lstrip("/") / "cgroup.procs"
    folder = root / name
    outer = [above for above in reversed(folder.parents) if above.is_relative_to(root) and not above.exists()]
    for above in (*outer, folder):
        above.mkdir()
    for pid in pids:
        (folder / "cgroup.procs").write_text(str(pid))
    try:
        yield f"/{name}"
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # it has ended
                before.write_text(str(pid))

        def removed() -> bool:
            with contextlib.suppress(OSError):
                folder.rmdir()
            return not folder.exists()

        eventually(removed, f"{folder} is empty and can go", 5)
        for above in reversed(outer):
            above.rmdir()
