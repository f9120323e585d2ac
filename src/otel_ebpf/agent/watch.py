"""Who is there: the processes that the core met, what is known of each, and whether it is watched."""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from otel_ebpf import semconv
from otel_ebpf.agent.tls import TlsProbes
from otel_ebpf.capture.session import Core
from otel_ebpf.config.settings import Selection
from otel_ebpf.discover.selection import Selector
from otel_ebpf.enrich.process import Enricher, encode_resource
from otel_ebpf.model import ProcessInfo

log = logging.getLogger(__name__)

_LINGER_S: Final = 5.0
# Descriptions of processes that ended while a backend is waited for.
_MAX_ENDED: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Running:
    """A process that the core has not met."""

    tgid: int
    key: int = 0
    ppid: int = 0
    start_boottime_ns: int = 0
    cgroup_id: int = 0
    comm: str = ""
    args: tuple[str, ...] = ()


def selects(selection: Selection) -> Callable[[int], bool]:
    """Whether the rules select the process with this pid. To be used on one thread."""
    selector, enricher = Selector(selection), Enricher({})
    return lambda pid: selector.verdict(enricher.describe(_Running(pid))).selected


class Watch:
    """The processes that the core met: who they are, and whether they are watched."""

    def __init__(self, core: Core, enricher: Enricher, selection: Selection, tls: TlsProbes | None) -> None:
        self.infos: dict[int, ProcessInfo] = {}
        self._core = core
        self._enricher = enricher
        self._selector = Selector(selection)
        self._tls = tls
        self._watched: set[int] = set()
        self._unknown = encode_resource({semconv.SERVICE_NAME: "unknown_service"}).encoded
        self._ended: deque[tuple[float, int]] = deque()

    def meet(self) -> None:
        """Describes new processes and gives each its verdict."""
        for process in self._core.take_processes():
            info = self._enricher.describe(process)
            self.infos[info.key] = info
            self._judge(info)
        if self._tls is None:
            return
        for pid in self._core.take_execs():
            self._tls.started(pid)
        for key in self._core.take_tls_users():
            if key in self._watched:
                self._tls.look(key, self.infos[key].pid)

    def reselect(self, selection: Selection) -> None:
        """New rules, for the processes that are there as well."""
        self._selector = Selector(selection)
        for info in self.infos.values():
            self._judge(info)
        if self._tls:
            self._tls.reselect(selects(selection))

    def ended(self, key: int, now_s: float) -> None:
        """A process ended. Its description stays for a while: lines of it may still be queued."""
        self._ended.append((now_s, key))
        self._leave(key)

    def forget(self, now_s: float, taken_s: float) -> None:
        """Lets go of who ended long enough ago. `taken_s`: spans of requests until then have left the core."""
        until_s = min(now_s - _LINGER_S, taken_s)
        while self._ended and (self._ended[0][0] < until_s or len(self._ended) > _MAX_ENDED):
            self.infos.pop(self._ended.popleft()[1], None)

    def resource(self, key: int) -> bytes:
        """Encoded resource of a process."""
        if key not in self.infos:  # its first requests came after the last look
            self.meet()
        info = self.infos.get(key)
        return info.resource.encoded if info else self._unknown

    def _judge(self, info: ProcessInfo) -> None:
        verdict = self._selector.verdict(info)
        log.debug(
            "%s (pid %d) %s: %s",
            info.service_name,
            info.pid,
            "watched" if verdict.selected else "left alone",
            verdict.why,
        )
        self._core.set_verdict(
            info.key,
            verdict.selected,
            None if verdict.include_ports is None else list(verdict.include_ports),
            list(verdict.exclude_ports) or None,
        )
        if not verdict.selected:
            self._leave(info.key)
        elif info.key not in self._watched:
            self._watched.add(info.key)
            if self._tls:
                self._tls.look(info.key, info.pid)

    def _leave(self, key: int) -> None:
        if key in self._watched:
            self._watched.discard(key)
            if self._tls:
                self._tls.forget(key)
