"""How long spans take from their request's end to the backend: read from each request once it has arrived.

That counts everything on the way, a queue on disk and a restart in between included.
"""

import threading
import time
from collections.abc import Sequence
from typing import Final, Protocol

from otel_ebpf.export.body import Body
from otel_ebpf.export.own import LATENCY, Distribution
from otel_ebpf.export.sender import Client
from otel_ebpf.model import Encoded

_SIGNAL: Final = {"signal": "traces"}


class CountDelays(Protocol):
    """`_native.export_delays`."""

    def __call__(
        self, parts: Sequence[Encoded], now_unix_ns: int, bounds_s: Sequence[float]
    ) -> tuple[int, float, Sequence[int]]: ...


class Latency:
    """Adds up from one thread, is read from another."""

    def __init__(self, count_delays: CountDelays) -> None:
        self._count_delays = count_delays
        self._lock = threading.Lock()
        self._count, self._sum_s = 0, 0.0
        self._buckets = [0] * (len(LATENCY.bounds) + 1)

    def note(self, body: Body) -> None:
        """The request has arrived just now."""
        count, sum_s, buckets = self._count_delays(list(body.parts), time.time_ns(), LATENCY.bounds)
        with self._lock:
            self._count += count
            self._sum_s += sum_s
            self._buckets = [have + more for have, more in zip(self._buckets, buckets, strict=True)]

    def read(self) -> Distribution:
        """Of all spans so far."""
        with self._lock:
            return Distribution(LATENCY, _SIGNAL, self._count, self._sum_s, tuple(self._buckets))


class Timed:
    """A client of which it is noted when its requests arrived."""

    def __init__(self, client: Client, latency: Latency) -> None:
        self._client = client
        self._latency = latency

    def send(self, body: Body) -> int:
        """As the client does it."""
        rejected = self._client.send(body)
        self._latency.note(body)
        return rejected

    def close(self) -> None:
        """As the client does it."""
        self._client.close()
