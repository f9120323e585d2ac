"""What the machine says about itself, for the preflight: files under a root, and the few facts no file has.

Everything goes through `Host`, so a test can hand over a folder of files and made-up answers.
"""

import ctypes
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from otel_ebpf.capture import bpfcall

STA_UNSYNC = 0x40  # include/uapi/linux/timex.h


class Capability(IntEnum):
    """The capabilities that capture may need (include/uapi/linux/capability.h)."""

    DAC_READ_SEARCH = 2
    SYS_PTRACE = 19
    SYS_ADMIN = 21
    PERFMON = 38
    BPF = 39


class Mount(NamedTuple):
    """One line of /proc/self/mounts."""

    path: str
    fstype: str


class Clock(NamedTuple):
    """How far the wall clock can be trusted."""

    synchronised: bool
    max_error_us: int
    step_ns: int  # by how much the wall clock moved against CLOCK_BOOTTIME while it was watched


class _Timex(ctypes.Structure):
    # include/uapi/linux/timex.h, struct timex: only the head is read, the rest is room for the kernel to write to.
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("room", ctypes.c_char * 256),
    )


def read_clock(watch_s: float = 0.05) -> Clock:
    """Asks adjtimex, and watches the wall clock against the one that never steps."""

    def wall_minus_boot() -> int:
        return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    before = wall_minus_boot()
    time.sleep(watch_s)
    step_ns = wall_minus_boot() - before
    timex = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")
    return Clock(not timex.status & STA_UNSYNC, timex.maxerror, step_ns)


def native_hooks() -> str:
    """Which hooks the native core would use; ImportError where the core itself cannot be loaded."""
    from otel_ebpf import _native  # noqa: PLC0415  (a core that does not load is a finding, not a crash)

    return _native.probe_hooks()


def memlock_limit() -> int | None:
    """RLIMIT_MEMLOCK in bytes; None: no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if soft == resource.RLIM_INFINITY else soft


@dataclass(frozen=True, slots=True)
class Host:
    """A machine: the files below `root`, and what has to be asked of the kernel."""

    root: Path = Path("/")
    machine: str = field(default_factory=lambda: os.uname().machine)
    own_pid: int = field(default_factory=os.getpid)
    hooks: Callable[[], str] = native_hooks
    try_ring: Callable[[int], None] = bpfcall.try_ring  # OSError where the kernel refuses
    tracing_programs: Callable[[], list[str]] = bpfcall.tracing_programs
    memlock: Callable[[], int | None] = memlock_limit
    clock: Callable[[], Clock] = read_clock

    def path(self, relative: str) -> Path:
        """A path of that machine, given without the leading slash."""
        return self.root / relative

    def text(self, relative: str) -> str | None:
        """A small file's text without the white space around it; None where there is no such file."""
        try:
            return self.path(relative).read_text(errors="replace").strip()
        except FileNotFoundError:
            return None

    def mounts(self) -> list[Mount]:
        """What is mounted, in this process's view."""
        lines = (line.split() for line in (self.text("proc/self/mounts") or "").splitlines())
        return [Mount(fields[1], fields[2]) for fields in lines if len(fields) > 2]

    def status(self) -> dict[str, str]:
        """The fields of /proc/self/status."""
        lines = (self.text("proc/self/status") or "").splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def has(self, capability: Capability) -> bool:
        """Whether this process has a capability in effect."""
        return bool(int(self.status().get("CapEff", "0"), 16) >> capability & 1)

    def meminfo_bytes(self, key: str) -> int | None:
        """A field of /proc/meminfo."""
        for line in (self.text("proc/meminfo") or "").splitlines():
            name, _, value = line.partition(":")
            if name == key:
                return int(value.split()[0]) * 1024
        return None

    def processes(self) -> Iterator[tuple[int, str]]:
        """(pid, name of the executable or, for interpreters' scripts, of the script) of every process."""
        for folder in self.path("proc").iterdir():
            if not folder.name.isdecimal():
                continue
            try:
                argv = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue  # ended meanwhile, or another user's under hidepid
            names = [Path(arg).name for arg in argv[:2] if arg and not arg.startswith("-")]
            if len(names) == 2 and names[0].startswith(("python", "node", "ruby", "java")):
                del names[0]
            if names:
                yield int(folder.name), names[0]
