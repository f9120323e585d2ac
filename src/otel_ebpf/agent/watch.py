"""Who is there: the processes that the core met, what is known of each, and whether it is watched.

A pod's process may be met before the API server has told of the pod. It then gets its verdict a little later, and the
core holds what it does until then; what is found out later still counts from then on.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from otel_ebpf import semconv
from otel_ebpf.agent.kubernetes import Kubernetes
from otel_ebpf.agent.tls import TlsProbes
from otel_ebpf.capture.session import Core
from otel_ebpf.config.settings import Selection
from otel_ebpf.discover.enablement import Enablement
from otel_ebpf.enrich.process import Enricher, encode_resource, place, running
from otel_ebpf.model import ProcessInfo, Workload

log = logging.getLogger(__name__)

_LINGER_S: Final = 5.0
# Descriptions of processes that ended while a backend is waited for.
_MAX_ENDED: Final = 10_000
# How long a verdict waits for the API server; the core waits 2 s for the verdict.
_METADATA_S: Final = 1.5


def selects(selection: Selection, prefix: str | None = None) -> Callable[[int], bool]:
    """Whether the rules select the process with this pid. To be used on one thread.

    With a `prefix` of annotations, nobody's are known: what only they ask for is not selected.
    """
    selector, enricher = Enablement(selection, prefix), Enricher({})
    return lambda pid: selector.verdict(enricher.describe(running(pid))).selected


class Watch:
    """The processes that the core met: who they are, and whether they are watched."""

    def __init__(
        self,
        core: Core,
        enricher: Enricher,
        selection: Selection,
        tls: TlsProbes | None,
        kubernetes: Kubernetes | None = None,
    ) -> None:
        self.infos: dict[int, ProcessInfo] = {}
        self._core = core
        self._enricher = enricher
        self._kubernetes = kubernetes
        self._prefix = kubernetes.prefix if kubernetes else None
        self._rules = Enablement(selection, self._prefix)
        self._tls = tls
        self._waiting: dict[int, float] = {}  # for the API server; until when, the first first
        self._over: set[int] = set()
        self._watched: set[int] = set()
        self._unknown = encode_resource({semconv.SERVICE_NAME: "unknown_service"}).encoded
        self._ended: deque[tuple[float, int]] = deque()

    def meet(self) -> None:
        """Describes new processes and gives each its verdict."""
        for process in self._core.take_processes():
            info = self._enricher.describe(process)
            self.infos[info.key] = info
            if self._kubernetes and info.pod_uid:
                self._waiting[info.key] = time.monotonic() + _METADATA_S
                self._place(info, self._kubernetes)
            else:
                self._judge(info)
        if self._kubernetes:
            self._follow(self._kubernetes)
        if self._tls is None:
            return
        for pid in self._core.take_execs():
            self._tls.started(pid)
        for key in self._core.take_tls_users():
            if key in self._watched:
                self._tls.look(key, self.infos[key].pid)

    def reselect(self, selection: Selection) -> None:
        """New rules, for the processes that are there as well."""
        self._rules = Enablement(selection, self._prefix)
        for info in self.infos.values():
            if info.key not in self._waiting and info.key not in self._over:
                self._judge(info)
        if self._tls:
            self._tls.reselect(selects(selection, self._prefix))

    def ended(self, key: int, now_s: float) -> None:
        """A process ended. Its description stays for a while: lines of it may still be queued."""
        self._ended.append((now_s, key))
        self._over.add(key)
        self._leave(key)

    def forget(self, now_s: float, taken_s: float) -> None:
        """Lets go of who ended long enough ago. `taken_s`: spans of requests until then have left the core."""
        until_s = min(now_s - _LINGER_S, taken_s)
        while self._ended and (self._ended[0][0] < until_s or len(self._ended) > _MAX_ENDED):
            _, key = self._ended.popleft()
            self.infos.pop(key, None)
            self._waiting.pop(key, None)
            self._over.discard(key)

    def resource(self, key: int) -> bytes:
        """Encoded resource of a process."""
        if key not in self.infos:  # its first requests came after the last look
            self.meet()
        info = self.infos.get(key)
        return info.resource.encoded if info else self._unknown

    def services(self) -> set[str]:
        """Names of the services that are watched."""
        return {self.infos[key].service_name for key in self._watched if key in self.infos}

    def _follow(self, kubernetes: Kubernetes) -> None:
        """What changed in the cluster, for the processes that it is about; and who has waited long enough."""
        if changes := kubernetes.cluster.take_changes():
            for info in list(self.infos.values()):
                namespace = info.workload.pod.namespace if info.workload else ""
                if info.pod_uid in changes.pod_uids or namespace in changes.namespaces:
                    self._place(info, kubernetes)
        now_s = time.monotonic()
        while self._waiting and (first := next(iter(self._waiting.items())))[1] <= now_s:
            del self._waiting[first[0]]
            info = self.infos[first[0]]
            if info.workload is None:
                info = place(info, None)
                self.infos[info.key] = info
            if not _is_whole(info.workload):
                kubernetes.unplaced["partial" if info.workload else "missing"] += 1
            self._judge(info)

    def _place(self, info: ProcessInfo, kubernetes: Kubernetes) -> None:
        """Says of a process what the cluster knows by now. What is gone there stays as it was known."""
        workload = kubernetes.cluster.find(info.pod_uid, info.container_id)
        if workload is None:
            return
        if workload != info.workload:
            info = place(info, workload)
            self.infos[info.key] = info
            kubernetes.tell_invalid(self._rules, workload)
        if info.key in self._waiting:
            if not _is_whole(workload):
                return
            del self._waiting[info.key]
        elif info.key in self._over:
            return
        self._judge(info)

    def _judge(self, info: ProcessInfo) -> None:
        verdict = self._rules.verdict(info)
        log.debug(
            "%s (pid %d) %s: %s",
            info.service_name,
            info.pid,
            "watched" if verdict.selected else "left alone",
            verdict.why,
        )
        if verdict.selected:
            # Before what is held of it is let go.
            self._core.set_service(info.key, info.service_name)
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


def _is_whole(workload: Workload | None) -> bool:
    return workload is not None and workload.container is not None and workload.namespace_annotations is not None
