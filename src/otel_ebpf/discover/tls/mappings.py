"""The files that a process executes code from, and a path by which each can be opened from here.

The process may live in another mount namespace, its files may be deleted or never have had a name (memfd), and the
names that it shows us are of its own making. So a name is believed only if it leads to the file that is mapped;
/proc/PID/map_files leads there whatever the name says, but wants CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN.
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MAX_MAPS_BYTES: Final = 16 << 20  # a JVM with tens of thousands of mappings has a few MB
_MAX_FILES: Final = 2048
# proc(5), /proc/PID/maps: 7f35-7f36 r-xp 00001000 fe:00 1234   /usr/lib/libssl.so.3
_LINE: Final = re.compile(rb"([0-9a-f]+-[0-9a-f]+) ..x. [0-9a-f]+ ([0-9a-f]+):([0-9a-f]+) (\d+) *(.*)")
_DELETED: Final = " (deleted)"


@dataclass(frozen=True, slots=True)
class MappedFile:
    """A file of which something is mapped executable. `name` is the process's word for it, for people."""

    name: str
    path: str
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class MappedFiles:
    """Those that can be opened, and those that can't, with the reason."""

    files: tuple[MappedFile, ...]
    unreadable: tuple[str, ...]


def executable_mappings(pid: int, proc: str = "/proc") -> MappedFiles:
    """Every file that `pid` maps executable, once. OSError if the process is gone or may not be looked at."""
    root = f"{proc}/{pid}"
    files: dict[tuple[int, int], MappedFile] = {}
    unreadable: dict[str, str] = {}
    for where, device, inode, name in _lines(root):
        if len(files) >= _MAX_FILES:
            unreadable["..."] = f"only the first {_MAX_FILES} files are looked at"
            break
        try:
            found = _locate(root, where, device, inode, name)
        except OSError as error:
            unreadable[name] = error.strerror or str(error)
            continue
        if found:
            files.setdefault((found.device, found.inode), found)
    return MappedFiles(tuple(files.values()), tuple(f"{name}: {why}" for name, why in unreadable.items()))


def _lines(root: str) -> Iterator[tuple[str, int, int, str]]:
    """(address range, device, inode, name) of executable mappings of files, each file once."""
    seen = set()
    with Path(f"{root}/maps").open("rb") as maps:
        for line in maps.read(_MAX_MAPS_BYTES).split(b"\n"):
            found = _LINE.match(line)
            if found is None or found[4] == b"0":
                continue
            key = found.groups()[1:4]
            if key in seen:
                continue
            seen.add(key)
            name = os.fsdecode(found[5].replace(b"\\012", b"\n"))
            yield found[1].decode(), os.makedev(int(found[2], 16), int(found[3], 16)), int(found[4]), name


def _locate(root: str, where: str, device: int, inode: int, name: str) -> MappedFile | None:
    """None if what is mapped is no regular file."""
    by_name = f"{root}/root{name}" if name.startswith("/") and not name.endswith(_DELETED) else ""
    named = _stat(by_name)
    if named and (named.st_dev, named.st_ino) == (device, inode):
        return _regular(name, by_name, named)
    # btrfs and overlayfs show another device in maps than stat(2) does.
    by_address = f"{root}/map_files/{where}"
    mapped = Path(by_address).stat()
    if named and (named.st_dev, named.st_ino) == (mapped.st_dev, mapped.st_ino):
        return _regular(name, by_name, named)
    return _regular(name, by_address, mapped)


def _regular(name: str, path: str, status: os.stat_result) -> MappedFile | None:
    if not stat.S_ISREG(status.st_mode):
        return None
    return MappedFile(name, path, status.st_dev, status.st_ino)


def _stat(path: str) -> os.stat_result | None:
    try:
        return Path(path).stat() if path else None
    except (OSError, ValueError):
        return None
