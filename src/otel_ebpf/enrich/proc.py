"""What /proc says of one process, read so that it can't be another one that got the same pid.

A descriptor of /proc/PID stays with the process: once it has ended, everything below the descriptor fails
with ESRCH, whoever has the pid now. So the start time is compared once, after opening.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
# Of what `_stat` gives.
_PARENT_PID: Final = 1
_START_TICKS: Final = 19
# An environment may be megabytes; the variables we look for are rarely behind the first one.
_MAX_READ: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ProcessFiles:
    """Empty where a file can't be read. `cgroup` is the file's text."""

    executable: str = ""
    args: tuple[str, ...] = ()
    environ: tuple[str, ...] = ()
    working_directory: str = ""
    cgroup: str = ""
    parent_pid: int = 0


def read(pid: int, start_boottime_ns: int, root: str = "/proc") -> ProcessFiles | None:
    """Files of the process `pid` that started `start_boottime_ns` after boot; None if it is gone, or another one."""
    try:
        with _directory(f"{root}/{pid}") as directory:
            fields = _stat(directory)
            if abs(int(fields[_START_TICKS]) - start_boottime_ns * _TICKS_PER_S // 1_000_000_000) > 1:
                return None
            return ProcessFiles(
                executable=_link(directory, "exe").removesuffix(" (deleted)"),
                args=_strings(directory, "cmdline"),
                environ=_strings(directory, "environ"),
                working_directory=_link(directory, "cwd"),
                cgroup=_text(directory, "cgroup"),
                parent_pid=int(fields[_PARENT_PID]),
            )
    except (OSError, ValueError, IndexError):
        return None


def start_boottime_ns(pid: int, root: str = "/proc") -> int:
    """When the process that has the pid now was started, to the tick; 0 if there is none."""
    try:
        with _directory(f"{root}/{pid}") as directory:
            return int(_stat(directory)[_START_TICKS]) * 1_000_000_000 // _TICKS_PER_S
    except (OSError, ValueError, IndexError):
        return 0


@contextmanager
def _directory(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _text(directory: int, name: str) -> str:
    """Content of a file, "" if it may not be read or the process has ended."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return ""
    try:
        chunks = []
        size = 0
        # One read of /proc gives at most a page or so, whatever was asked for.
        while size < _MAX_READ and (chunk := os.read(descriptor, 65536)):
            chunks.append(chunk)
            size += len(chunk)
        return b"".join(chunks).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _stat(directory: int) -> list[str]:
    """Fields behind the name, which stands between parentheses and may hold anything; numbers, but for the first."""
    return _text(directory, "stat").rpartition(")")[2].split()


def _strings(directory: int, name: str) -> tuple[str, ...]:
    text = _text(directory, name)
    return tuple(text.removesuffix("\0").split("\0")) if text else ()


def _link(directory: int, name: str) -> str:
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:
        return ""
