"""Programs with a root file system of their own, as in a container: copies of all that they map, and a pid namespace.

No image and no runtime is needed: what the host has is copied. As the inodes are new, to the agent these are files
that it has never met.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.testbed import cache, tls
from tests.testbed.process import descendants, eventually

_BIND = 'mount --bind "$1/tree" "$1/top"'
_OVERLAY = 'mount -t overlay overlay -o "lowerdir=$1/tree:$1/empty" "$1/top"'
_PIVOT = (
    ' && cd "$1/top" && mount -t proc proc proc && pivot_root . old && shift'
    ' && exec /bin/sh -c \'umount -l /old && exec "$0" "$@"\' "$@"'
)
_UNSHARE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]

# By what name the kernel shows the files that a program within maps, and which device they are on, differs among these.
ROOTS = {
    "chroot": [*_UNSHARE, "sh", "-c", 'cd "$1/tree" && shift && exec chroot . "$@"', "sh"],
    "pivot_root": [*_UNSHARE, "sh", "-c", _BIND + _PIVOT, "sh"],
    "overlay": [*_UNSHARE, "sh", "-c", _OVERLAY + _PIVOT, "sh"],
}


def tree(folder: Path, program: str) -> str:
    """Makes in an empty folder what a program takes to run there; returns its path in there."""
    for name in ("empty", "top", "tree/old", "tree/proc"):
        (folder / name).mkdir(parents=True)
    root = folder / "tree"
    path = cache.tool(program, program)
    for name in (path, cache.tool("sh", "dash"), cache.tool("umount", "mount")):
        for library in re.findall(r"(/\S+) \(0x", cache.command(["ldd", name])):
            _copy(Path(library), root / library[1:])
        _copy(Path(name), root / name[1:])
    if not (root / "bin" / "sh").exists():
        _copy(Path("/bin/sh"), root / "bin" / "sh")
    _copy(tls.certificate().certificate, root / "cert.pem")
    return path


def _copy(source: Path, to: Path) -> None:
    if not to.exists():
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, to)


@contextmanager
def running(how: str, folder: Path, argv: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A program of the tree in `folder`; `how`: a key of ROOTS. Yields also its pid, as the host has it."""
    env = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "CURL_CA_BUNDLE": "/cert.pem"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*ROOTS[how], str(folder), *argv], env=env, text=True, stdin=pipe, stdout=pipe, stderr=pipe
    ) as popen:

        def started() -> int:
            assert popen.poll() is None, popen.communicate()
            return next((pid for pid in descendants(popen.pid) if _executable(pid) == Path(argv[0]).name), 0)

        try:
            yield popen, eventually(started, f"{argv[0]} runs")
        finally:
            popen.kill()


def _executable(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return ""
