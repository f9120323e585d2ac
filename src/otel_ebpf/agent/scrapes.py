"""Answers Prometheus' scrapes from the agent's thread: live series as they are now, and those of ended processes.

What a process did between the last scrape and its end would otherwise be seen by nobody. So its last series are there
for some minutes more, for each Prometheus that comes by, as in the Collector's Prometheus exporter.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from otel_ebpf.agent.watch import Watch
from otel_ebpf.capture.session import Core
from otel_ebpf.export.own import Own
from otel_ebpf.export.prometheus.endpoint import Endpoint
from otel_ebpf.export.prometheus.reading import Reading
from otel_ebpf.model import CallSeries, HttpSeries
from otel_ebpf.protocols.registry import Metric

# The Collector's metric_expiration.
_ENDED_S: Final = 300.0
# One answer's: 200 MB of text if all are HTTP servers', for which 70 MB of memory and two seconds are needed.
_MAX_SERIES: Final = 10_000
OMITTED: Final = Metric("otel_ebpf.scrape.omitted", "{series}", "Series that the last scrape's answer had no room for.")


@dataclass(frozen=True, slots=True)
class _Ended:
    until_s: float
    resource: bytes
    series: Sequence[HttpSeries]
    calls: Sequence[CallSeries]

    def __len__(self) -> int:
        return len(self.series) + len(self.calls)


class Scrapes:
    """For the agent's thread. `own` is the agent's encoded resource."""

    def __init__(self, endpoint: Endpoint, core: Core, watch: Watch, own: bytes, start_unix_ns: int) -> None:
        self._endpoint = endpoint
        self._core = core
        self._watch = watch
        self._own = own
        self._start_unix_ns = start_unix_ns
        self._ended: dict[int, _Ended] = {}
        self._ended_series = 0

    def ended(self, key: int, series: Sequence[HttpSeries], calls: Sequence[CallSeries]) -> None:
        """A process ended, and these are its last series."""
        self._expire()
        one = _Ended(time.monotonic() + _ENDED_S, self._watch.resource(key), series, calls)
        if len(one):
            self._ended[key] = one
            self._ended_series += len(one)
            self._expire()

    def answer(self, own: Callable[[], Own]) -> None:
        """Gives who waits for it a reading; `own`: what the agent says of itself."""
        if not self._endpoint.is_wanted:
            return
        self._expire()
        (http, others), active = self._core.peek_series(), self._core.read_active()
        series, calls = list(http[:_MAX_SERIES]), list(others[: max(0, _MAX_SERIES - len(http))])
        omitted = len(http) + len(others) - len(series) - len(calls)
        keys = {one.process_key for some in (series, calls, active) for one in some}
        resources = {key: self._watch.resource(key) for key in keys}
        for key, ended in self._newest_first():
            if len(series) + len(calls) + len(ended) > _MAX_SERIES:
                omitted += len(ended)
                continue
            resources[key] = ended.resource
            series += ended.series
            calls += ended.calls
        told = own()
        self._endpoint.give(
            Reading(
                time.time_ns(),
                self._start_unix_ns,
                self._own,
                resources,
                series,
                calls,
                active,
                replace(told, levels=(*told.levels, (OMITTED, {}, omitted))),
            )
        )

    def close(self) -> None:
        """No more scrapes."""
        self._endpoint.close()

    def _newest_first(self) -> Iterator[tuple[int, _Ended]]:
        return reversed(self._ended.items())

    def _expire(self) -> None:
        now_s = time.monotonic()
        while self._ended:
            key, oldest = next(iter(self._ended.items()))
            if oldest.until_s > now_s and self._ended_series <= _MAX_SERIES:
                return
            del self._ended[key]
            self._ended_series -= len(oldest)
