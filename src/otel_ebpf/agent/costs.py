"""What the agent costs: CPU and memory of its process, run time of its BPF programs, memory of their maps."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from otel_ebpf.capture.session import Core
from otel_ebpf.export.own import (
    CPU_TIME,
    MAP_MEMORY,
    MEMORY_USAGE,
    PROGRAM_MISSED,
    PROGRAM_RUNS,
    PROGRAM_TIME,
    Own,
    Value,
)

_STATM: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def costs(core: Core) -> Own:
    """Now. Programs say what they cost only while bpf_stats is on, as `--stats` has it; once closed, nothing does."""
    return Own(
        counters=(*_cpu(), *_programs(core)),
        levels=((MEMORY_USAGE, {}, resident_bytes()), *_maps(core)),
    )


def resident_bytes() -> int:
    """This process's physical memory."""
    return int(_STATM.read_text().split()[1]) * _PAGE_BYTES


def _cpu() -> Iterator[Value]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield CPU_TIME, {"cpu.mode": "user"}, used.ru_utime
    yield CPU_TIME, {"cpu.mode": "system"}, used.ru_stime


def _programs(core: Core) -> Iterator[Value]:
    for program in core.program_stats():
        named = {"bpf.program.name": program.name}
        yield PROGRAM_MISSED, named, program.missed
        if program.run_count:
            yield PROGRAM_TIME, named, program.run_time_ns / 1e9
            yield PROGRAM_RUNS, named, program.run_count


def _maps(core: Core) -> Iterator[Value]:
    for one in core.map_costs():
        yield MAP_MEMORY, {"bpf.map.name": one.name, "bpf.map.type": one.type}, one.memory_bytes
