"""Whether the agent lives and is ready, for Kubernetes' probes and for whoever has curl.

Alive: its main loop and the core's drain thread go round. Ready: programs are attached, the processes that ran have
been met, and in a cluster the API server has told of this node's pods. What does not hold is said with the reason.
"""

import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, Literal

from otel_ebpf.capture.session import Core
from otel_ebpf.export.serving import Page, Route, text_page

# Both go round ten times a second; a machine that is very busy may hold them up for a while.
_STALLED_S: Final = 10.0
Phase = Literal["starting", "running", "ending"]


class Health:
    """Told by the agent what it does; asked by others, from any thread."""

    def __init__(self, core: Core, clock: Callable[[], float] = time.monotonic) -> None:
        self._core = core
        self._clock = clock
        self._lock = threading.Lock()
        self._phase: Phase = "starting"
        self._waits_for = ""
        self._ticked_s = self._drained_s = clock()
        self._rounds = -1

    def ticked(self, waits_for: str = "") -> None:
        """The main loop has gone round. `waits_for`: what it can't do without and has not got yet."""
        rounds, now_s = self._core.rounds(), self._clock()
        with self._lock:
            self._phase, self._waits_for, self._ticked_s = "running", waits_for, now_s
            if rounds != self._rounds:
                self._rounds, self._drained_s = rounds, now_s

    def ending(self) -> None:
        """What is left is brought to its end: by then nothing is captured."""
        with self._lock:
            self._phase = "ending"

    def not_alive(self) -> str:
        """Why it is not, "" if it is."""
        with self._lock:
            if self._phase == "ending":
                return ""
            now_s = self._clock()
            for what, since_s in (("main loop", self._ticked_s), ("drain thread", self._drained_s)):
                if now_s - since_s > _STALLED_S:
                    return f"the {what} has not gone round for {now_s - since_s:.0f} s"
        return ""

    def not_ready(self) -> str:
        """Why it is not, "" if it is."""
        if reason := self.not_alive():
            return reason
        with self._lock:
            if self._phase != "running":
                return f"the agent is {self._phase}"
            return f"waiting for {self._waits_for}" if self._waits_for else ""

    def routes(self) -> Mapping[str, Route]:
        """/livez and /readyz: 200 and "ok", or 503 and the reason."""
        return {"/livez": lambda _: _page(self.not_alive()), "/readyz": lambda _: _page(self.not_ready())}


def _page(reason: str) -> Page:
    return text_page(reason, HTTPStatus.SERVICE_UNAVAILABLE) if reason else text_page("ok")
