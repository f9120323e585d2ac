"""Where the agent's own processor time goes: stacks, folded, as flamegraph.pl, speedscope and Perfetto read them.

    export-traces;sender._run;sender.deliver;otlp.send 1830
    native;otel-ebpf-drain 41200

Numbers are microseconds on a CPU. A hundred times a second each thread's time since the last look, by the kernel's own
count, is put to the stack that the thread has now: totals are exact, their places are samples. Threads that are not
Python's (the core's) have no stack here.

A sampler of its own, as py-spy and its kind are programs that need ptrace, and have no place in a container that has
nothing else in it.
"""

import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Final

from otel_ebpf.export.serving import Page, Route, text_page

_EVERY_S: Final = 0.01
_LONGEST_S: Final = 60.0
_TASKS: Final = Path("/proc/self/task")
_MAX_FRAMES: Final = 100


class Profiler:
    """One profile at a time."""

    def __init__(self) -> None:
        self._busy = threading.Lock()

    def routes(self) -> Mapping[str, Route]:
        """/debug/profile?seconds=5"""
        return {"/debug/profile": self._page}

    def _page(self, parameters: Mapping[str, str]) -> Page:
        try:
            seconds = float(parameters.get("seconds", "5"))
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= _LONGEST_S:
            raise ValueError(f"seconds: a number up to {_LONGEST_S:.0f}")
        if not self._busy.acquire(blocking=False):
            return text_page("another profile is being taken", HTTPStatus.TOO_MANY_REQUESTS)
        try:
            return text_page(folded(profile(seconds)))
        finally:
            self._busy.release()


def folded(stacks: Mapping[str, int]) -> str:
    """A line for each stack, the most expensive one first, in microseconds."""
    lines = sorted(stacks.items(), key=lambda item: -item[1])
    return "\n".join(f"{stack} {ns // 1000}" for stack, ns in lines if ns >= 1000)


def profile(seconds: float) -> Counter[str]:
    """Nanoseconds on a CPU by stack, but for the thread that asks."""
    me = threading.get_native_id()
    before, found = _on_cpu(), Counter[str]()
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        time.sleep(min(_EVERY_S, left_s))
        now, frames = _on_cpu(), sys._current_frames()  # noqa: SLF001 - documented, for exactly this
        threads = {one.native_id: one for one in threading.enumerate()}
        for task, on_cpu_ns in now.items():
            # A thread that began meanwhile has spent all of its time since.
            spent_ns = on_cpu_ns - before.get(task, 0)
            if spent_ns <= 0 or task == me:
                continue
            thread = threads.get(task)
            frame = frames.get(thread.ident or 0) if thread else None
            found[_stack(thread.name, frame) if thread and frame else f"native;{_name(task)}"] += spent_ns
        before = now
    return found


def _on_cpu() -> dict[int, int]:
    """Nanoseconds that each thread has been on a CPU: the first number of /proc/PID/task/TID/schedstat."""
    spent = {}
    for task in _TASKS.iterdir():
        try:
            spent[int(task.name)] = int((task / "schedstat").read_text().split()[0])
        except OSError:  # ended
            continue
    return spent


def _name(task: int) -> str:
    try:
        return (_TASKS / str(task) / "comm").read_text().strip()
    except OSError:
        return "ended"


def _stack(name: str, frame: FrameType | None) -> str:
    parts: list[str] = []
    while frame and len(parts) < _MAX_FRAMES:
        module = str(frame.f_globals.get("__name__", "?")).removeprefix("otel_ebpf.")
        parts.append(f"{module}.{frame.f_code.co_qualname}")
        frame = frame.f_back
    return ";".join([name, *reversed(parts)])
