"""Probes on the TLS libraries of watched processes.

A file is probed once, for every process that maps it, and as long as a watched one does. Which files those are is
looked up at the start for processes that run, later for each new program a few times, when a process is met, and
again when one of its sockets turns out to carry TLS: libraries are loaded late. The machine's own libraries are probed
in any case: a process may be over before it could be looked at. Looking into a file takes up to 50 ms, so all of this
has a thread of its own.
"""

import heapq
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from otel_ebpf.capture.session import Core, NativeError, Place
from otel_ebpf.discover.tls import Attachment, Finding, Inspector, Probe, Refusal, describe, system_libraries
from otel_ebpf.errors import AgentError

log = logging.getLogger(__name__)

# A process whose library was not found, or came late, is looked at again after so long at the earliest.
_AGAIN_S: Final = 0.5
_AGAIN_AT_MOST_S: Final = 60.0
_PRUNE_S: Final = 30.0
# After its start a program has its libraries within milliseconds, an interpreter later.
_LOOKS_S: Final = (0.015, 0.15, 0.6)
_STARTS_WAITING: Final = 256

_CALLS: Final = {
    "SSL_read": "receive",
    "SSL_read_ex": "receive count4",
    "SSL_write": "send",
    "SSL_write_ex": "send count4",
    "SSL_write_ex2": "send count5",
    "SSL_do_handshake": "no-data",
    "gnutls_record_recv": "receive",
    "gnutls_record_send": "send",
    "gnutls_record_send2": "send",
    "crypto/tls.(*Conn).Read": "receive go",
    "crypto/tls.(*Conn).Write": "send go",
    "crypto/tls.(*Conn).handshakeContext": "no-data go",
}
_ENDS: Final = {
    "SSL_free": "",
    "SSL_set_bio": "",
    "SSL_set_fd": "",
    "gnutls_deinit": "",
    "crypto/tls.(*Conn).Close": "go",
}

_Key = tuple[int, int]  # device and inode


@dataclass(slots=True)
class _File:
    """A probed file; `number` 0: it can't be."""

    number: int
    users: set[int] = field(default_factory=set)  # keys of processes; -pid of those that have not been met
    kept: bool = False  # one of the machine's own: whoever comes next maps it


@dataclass(slots=True)
class _Seen:
    """When a process was looked at last, and how long until it may be again."""

    at_s: float
    pause_s: float


class TlsProbes:
    """All calls but `close` return at once; what they ask for is done on the thread, in order."""

    def __init__(
        self,
        core: Core,
        wanted: Callable[[int], bool],
        inspector: Inspector | None = None,
        proc: Path = Path("/proc"),
    ) -> None:
        """`wanted`: whether the rules select the process with this pid, for those that are there already."""
        self._core = core
        self._wanted = wanted
        self._proc = proc
        self._inspector = inspector or Inspector()
        self._files: dict[_Key, _File] = {}
        self._seen: dict[int, _Seen] = {}
        self._refused: set[tuple[str, str]] = set()
        self._starts: list[tuple[float, int, int]] = []  # heap: when to look, pid, how often it was looked at
        self._work: queue.SimpleQueue[tuple[str, int, int]] = queue.SimpleQueue()
        # A daemon: a file on a hanging network file system must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="tls", daemon=True)
        self._thread.start()

    def look(self, key: int, pid: int) -> None:
        """A watched process is there, or shows TLS."""
        self._work.put(("look", key, pid))

    def started(self, pid: int) -> None:
        """A process became another program."""
        self._work.put(("start", 0, pid))

    def forget(self, key: int) -> None:
        """A process is gone, or not watched any longer."""
        self._work.put(("forget", key, 0))

    def reselect(self, wanted: Callable[[int], bool]) -> None:
        """New rules, for new programs and for processes that are there but have not been met."""
        self._wanted = wanted
        self._work.put(("reselect", 0, 0))

    def close(self) -> None:
        """Nothing more is attached; what is, the core detaches."""
        self._work.put(("close", 0, 0))
        self._thread.join(1.0)

    def _run(self) -> None:
        try:
            self._start()
        except Exception:
            log.exception("TLS of what runs already")
        prune_s = time.monotonic() + _PRUNE_S
        while True:
            now_s = time.monotonic()
            due_s = self._starts[0][0] if self._starts else prune_s
            what, key, pid = "due", 0, 0
            with suppress(queue.Empty):  # who is met comes before who may be
                what, key, pid = self._work.get(timeout=max(0.0, due_s - now_s))
            try:
                match what:
                    case "look":
                        self._look(key, pid)
                    case "start" if len(self._starts) < _STARTS_WAITING:
                        heapq.heappush(self._starts, (now_s + _LOOKS_S[0], pid, 0))
                    case "forget":
                        self._forget(key)
                    case "reselect":
                        self._forget_unmet(lambda pid: not self._wanted(pid))
                        self._sweep()
                    case "due" if self._starts:
                        self._look_at_start(*heapq.heappop(self._starts))
                    case "close":
                        self._inspector.rest()
                        return
                if now_s >= prune_s:
                    prune_s = now_s + _PRUNE_S
                    self._forget_unmet(lambda pid: not (self._proc / str(pid)).exists())
                    self._inspector.rest()
            except Exception:
                # A thread that died here would end TLS for all without a word.
                log.exception("TLS of process %d", pid)

    def _look_at_start(self, due_s: float, pid: int, looks: int) -> None:
        with suppress(AgentError):  # it is over
            if self._wanted(pid):
                self._probe(describe(pid, self._inspector).findings, -pid)
                if looks + 1 < len(_LOOKS_S):
                    again_s = due_s + _LOOKS_S[looks + 1] - _LOOKS_S[looks]
                    heapq.heappush(self._starts, (again_s, pid, looks + 1))

    def _start(self) -> None:
        for file in system_libraries():
            with suppress(OSError):
                self._probe(self._inspector.findings(file), 0)
        self._sweep()

    def _sweep(self) -> None:
        """Has each process that runs looked at once, when nothing else is to be done."""
        pids = {int(entry.name) for entry in self._proc.iterdir() if entry.name.isdigit()} - {os.getpid()}
        for pid in sorted(pids):
            heapq.heappush(self._starts, (0.0, pid, len(_LOOKS_S) - 1))

    def _forget_unmet(self, gone: Callable[[int], bool]) -> None:
        """Drops users that have not been met, and of whose pids `gone` holds."""
        for pid in {-key for file in self._files.values() for key in file.users if key < 0}:
            if gone(pid):
                self._forget(-pid)

    def _look(self, key: int, pid: int) -> None:
        now_s = time.monotonic()
        seen = self._seen.get(key)
        if seen and now_s - seen.at_s < seen.pause_s:
            return
        pause_s = min(2 * seen.pause_s, _AGAIN_AT_MOST_S) if seen else _AGAIN_S
        self._seen[key] = _Seen(now_s, pause_s)
        try:
            report = describe(pid, self._inspector)
        except AgentError as error:
            log.debug("TLS of process %d: %s", pid, error)
            return
        self._probe(report.findings, key)
        for file in self._files.values():
            file.users.discard(-pid)

    def _probe(self, findings: Sequence[Finding], key: int) -> None:
        for finding in findings:
            if isinstance(finding, Refusal):
                self._tell(finding)
                continue
            file = self._files.get((finding.device, finding.inode))
            if file is None:
                number = self._attach(finding)
                if number is None:
                    continue
                file = _File(number)
                self._files[finding.device, finding.inode] = file
            if key:
                file.users.add(key)
            else:
                file.kept = True

    def _attach(self, found: Attachment) -> int | None:
        """The probes' number, 0 if the kernel does not want them; None: the process that led to the file is gone."""
        probes = [each for probe in found.probes for each in _as_core_wants(probe)]
        began_s = time.monotonic()
        try:
            number = self._core.add_probes(
                found.path, probes, client_random=found.random_path, is_server=found.is_server
            )
        except NativeError as error:
            if not Path(found.path).exists():
                return None
            log.warning("TLS in %s is not seen: %s", found.name, error.args[0])
            return 0
        log.debug(
            "%s %s in %s: %d probes in %.0f ms",
            found.implementation,
            found.version,
            found.name,
            len(probes),
            (time.monotonic() - began_s) * 1000,
        )
        return number

    def _tell(self, refusal: Refusal) -> None:
        if (which := (refusal.name, refusal.reason)) not in self._refused and len(self._refused) < 1000:
            self._refused.add(which)
            log.info("TLS in %s (%s) is not seen: %s", refusal.name, refusal.implementation, refusal.reason)

    def _forget(self, key: int) -> None:
        self._seen.pop(key, None)
        for where, file in list(self._files.items()):
            file.users.discard(key)
            if not file.users and not file.kept:
                self._core.remove_probes(file.number)
                del self._files[where]


def probed_offsets(found: Attachment) -> set[int]:
    """Where the file is probed when it is watched."""
    return {probe.offset for probe in found.probes if _as_core_wants(probe)}


def _as_core_wants(probe: Probe) -> list[tuple[Place, int, str, int | None, bool]]:
    place: Place
    if (call := _CALLS.get(probe.function)) is not None:
        place = "enter" if probe.place == "enter" else "exit"
        return [(place, probe.offset, call, probe.result_at, probe.place == "return")]
    if (call := _ENDS.get(probe.function)) is not None and probe.place == "enter":
        return [("free", probe.offset, call, None, False)]
    return []
