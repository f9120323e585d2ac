"""Paths of cgroups whose ids the kernel saw: what is left of a process that ended before /proc was read.

A cgroup's id is the inode number of its directory on the cgroup2 file system.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# A walk takes some 10 µs a cgroup; ids that are not found must not cost one each.
_WALK_EVERY_S: Final = 0.5


class CgroupIds:
    """Looks up paths by id."""

    def __init__(self, proc_root: str = "/proc") -> None:
        self._root = _mount_point(Path(proc_root))
        self._paths: dict[int, str] = {}
        self._walked_s = -_WALK_EVERY_S

    def path(self, cgroup_id: int) -> str:
        """The path, from the file system's root, as in /proc/PID/cgroup; "" if it is not known."""
        if cgroup_id not in self._paths and self._root and time.monotonic() - self._walked_s >= _WALK_EVERY_S:
            self._paths = dict(_walk(self._root, ""))
            self._walked_s = time.monotonic()
        return self._paths.get(cgroup_id, "")


def _mount_point(proc_root: Path) -> str:
    try:
        mounts = (proc_root / "self" / "mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    fields = (line.split() for line in mounts)
    return next((each[1] for each in fields if len(each) > 2 and each[2] == "cgroup2"), "")


def _walk(root: str, path: str) -> Iterator[tuple[int, str]]:
    try:
        yield Path(root + path).stat().st_ino, path or "/"
        with os.scandir(root + path) as entries:
            below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:  # it went away meanwhile
        return
    for name in below:
        yield from _walk(root, f"{path}/{name}")
