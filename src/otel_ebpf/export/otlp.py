"""One signal's way to its backend: OTLP, over whichever transport the target names.

What may pass is tried again as the Collector does: after 5 s, then 1.5 times as long each time up to 30 s, or when
the backend asked for it (Retry-After, RetryInfo), until 300 s have gone by.
"""

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import tenacity

from otel_ebpf.config.settings import OtlpTarget
from otel_ebpf.errors import TemporaryExportError
from otel_ebpf.export.body import Body
from otel_ebpf.export.otlp_http import HttpTransport
from otel_ebpf.export.transport import Signal, Transport

log = logging.getLogger(__name__)

# While a backend is away: how soon another one that it is told of is tried.
_LOOK_EVERY_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Seconds."""

    first_s: float = 5.0
    factor: float = 1.5
    longest_s: float = 30.0
    give_up_s: float = 300.0


@dataclass(slots=True)
class _Letter:
    """A request, and how it goes over a transport."""

    body: Body
    prepared: Body = field(default_factory=lambda: Body.of(b""))
    transport: Transport | None = None


class OtlpClient:
    """Sends requests over a connection that is kept. For one thread; `hurry` may be set from another.

    Once `hurry` is set nothing is waited for: each request gets one attempt.
    """

    def __init__(
        self, target: OtlpTarget, signal: Signal, hurry: threading.Event, policy: RetryPolicy | None = None
    ) -> None:
        self._signal = signal
        self._hurry = hurry
        self._policy = policy or RetryPolicy()
        self._target = target
        self._transport = _transport(target, signal)
        self._next: tuple[OtlpTarget, Transport] | None = None
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TemporaryExportError),
            wait=self._pause,
            stop=tenacity.stop_any(
                tenacity.stop_before_delay(self._policy.give_up_s), tenacity.stop_when_event_set(self._hurry)
            ),
            sleep=self._sleep,
            before_sleep=self._tell,
            reraise=True,
        )

    def send(self, body: Body) -> int:
        """Delivers a request; returns how many of its items the backend rejected. Raises ExportError."""
        return self._retrying(self._attempt, _Letter(body))

    def turn_to(self, target: OtlpTarget) -> Callable[[], None]:
        """Another target: what is returned, once called, makes the next attempt go there. For another thread.

        Raises ConfigError, for a target that can't be.
        """
        if target == self._target:
            return lambda: None
        made = target, _transport(target, self._signal)

        def turn() -> None:
            self._next, self._target = made, target

        return turn

    def _turn(self) -> None:
        """Takes up the target that was turned to, if there is one."""
        made, self._next = self._next, None
        if made:
            self._transport.close()
            self._transport = made[1]

    def _sleep(self, seconds: float) -> None:
        """Until the time is over, the end is near, or there is another target to try."""
        deadline_s = time.monotonic() + seconds
        while (left_s := deadline_s - time.monotonic()) > 0 and self._next is None:
            if self._hurry.wait(min(left_s, _LOOK_EVERY_S)):
                return

    def _attempt(self, letter: "_Letter") -> int:
        self._turn()
        if letter.transport is not self._transport:
            letter.prepared, letter.transport = self._transport.prepare(letter.body), self._transport
        answer = self._transport.attempt(letter.prepared)
        if answer is None:  # accepted all the same: an empty or foreign body says nothing of rejects
            return 0
        count, message = self._signal.rejected(answer)
        if count or message:
            log.warning("%s rejected %d: %s", self._target.shown_url, count, message or "no reason given")
        return max(count, 0)

    def _pause(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after_s if isinstance(error, TemporaryExportError) else 0.0
        pause = min(self._policy.first_s * self._policy.factor ** (state.attempt_number - 1), self._policy.longest_s)
        return max(asked, pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads a herd of agents, hides nothing

    def _tell(self, state: tenacity.RetryCallState) -> None:
        if state.attempt_number == 1 and not self._hurry.is_set():
            error = state.outcome.exception() if state.outcome else None
            log.warning("%s; will keep trying for %.0f s", error, self._policy.give_up_s)

    def close(self) -> None:
        """Ends the connection."""
        self._transport.close()


def _transport(target: OtlpTarget, signal: Signal) -> Transport:
    if target.protocol != "grpc":
        return HttpTransport(target, signal)
    # Read once, at the import. What it would write to standard error by itself comes as the failure's reason too.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from otel_ebpf.export.otlp_grpc import GrpcTransport  # noqa: PLC0415 - grpcio takes its memory where it is used

    return GrpcTransport(target, signal)
