"""What the kernel holds of BPF, and for whom."""

import contextlib
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import cache

Objects = frozenset[tuple[str, int]]
"""Kind ("prog", "map", "link") and id."""

_ID = re.compile(r"^(prog|map|link)_id:\s*(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Program:
    """A program as its descriptor shows it."""

    id: int
    name: str
    verified_insns: int


def _descriptors(pid: int) -> list[str]:
    found = []
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            found.append(info.read_text())
    return found


def held_by(pid: int) -> Objects:
    """What a process keeps in the kernel."""
    return frozenset((kind, int(number)) for text in _descriptors(pid) for kind, number in _ID.findall(text))


def _bpftool(*arguments: str) -> list[dict[str, object]]:
    printed = subprocess.run([cache.tool("bpftool", "bpftool"), "-j", *arguments], capture_output=True, check=True)
    rows = json.loads(printed.stdout)
    return rows if isinstance(rows, list) else [rows]


def loaded() -> Objects:
    """All that is in the kernel."""
    found = set()
    for kind in ("prog", "map", "link"):
        for row in _bpftool(kind, "show"):
            number = row.get("id")
            assert isinstance(number, int)
            found.add((kind, number))
    return frozenset(found)


def pinned() -> Objects:
    """All that has a name in a BPF file system."""
    found = set()
    for kind in ("prog", "map", "link"):
        for row in _bpftool("--bpffs", kind, "show"):
            number = row.get("id")
            assert isinstance(number, int)
            if row.get("pinned"):
                found.add((kind, number))
    return frozenset(found)


def programs_of(pid: int) -> list[Program]:
    """The programs that a process keeps, each with what its verification took (kernel 5.16)."""
    found = []
    for text in _descriptors(pid):
        insns = re.search(r"^verified_insns:\s*(\d+)", text, re.MULTILINE)
        number = re.search(r"^prog_id:\s*(\d+)", text, re.MULTILINE)
        if insns and number:
            (row,) = _bpftool("prog", "show", "id", number[1])
            found.append(Program(int(number[1]), str(row["name"]), int(insns[1])))
    return sorted(found, key=lambda program: program.name)
