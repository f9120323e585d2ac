"""Asks a server of Jaeger's remote sampling, for each service that is watched, how its traces are to be sampled.

Source: Jaeger's documentation, "Remote sampling"; jaeger-idl, proto/api_v2/sampling.proto, in JSON as Jaeger and the
OpenTelemetry Collector serve it: GET URL?service=NAME.

A thread of its own asks, as a server that hangs must hold up nobody. What it says goes to the core, which decides.
Until a service has been answered for, the initial rate holds; while the server is away, what it said last.
"""

import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from otel_ebpf.capture.session import Core
from otel_ebpf.config.settings import RemoteSampling

log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 5.0
_MAX_ANSWER_BYTES: Final = 1 << 20
# As in Jaeger's own clients.
_MAX_OPERATIONS: Final = 2000


@dataclass(frozen=True, slots=True)
class Strategy:
    """How one service's traces are sampled: see `_native.Session.set_strategy`."""

    probability: float
    per_second: float = 0.0
    floor_per_second: float = 0.0
    operations: tuple[tuple[str, float], ...] = ()


def parse(answer: bytes) -> Strategy:
    """A SamplingStrategyResponse. Raises ValueError."""
    response = json.loads(answer)
    if not isinstance(response, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - a value that came over the wire
    if operations := _object(response, "operationSampling"):
        named = operations.get("perOperationStrategies")
        named = [] if named is None else named
        if not isinstance(named, list):
            raise ValueError("perOperationStrategies is no list")
        return Strategy(
            probability=_rate(operations, "defaultSamplingProbability"),
            floor_per_second=_number(operations, "defaultLowerBoundTracesPerSecond"),
            operations=tuple(_operation(item) for item in named[:_MAX_OPERATIONS]),
        )
    if probabilistic := _object(response, "probabilisticSampling"):
        return Strategy(_rate(probabilistic, "samplingRate"))
    if limiting := _object(response, "rateLimitingSampling"):
        # None at all is a limit too.
        per_second = _number(limiting, "maxTracesPerSecond")
        return Strategy(1.0, per_second) if per_second else Strategy(0.0)
    # Protobuf's JSON may leave out what is 0.
    if response.get("strategyType") in {"PROBABILISTIC", "RATE_LIMITING", 0, 1}:
        return Strategy(0.0)
    raise ValueError("no strategy that is known")


def _operation(item: Any) -> tuple[str, float]:
    if not isinstance(item, dict) or not isinstance(item.get("operation"), str):
        raise ValueError("a strategy without an operation")  # noqa: TRY004
    return item["operation"], _rate(_object(item, "probabilisticSampling") or {}, "samplingRate")


def _object(parent: dict[str, Any], name: str) -> dict[str, Any] | None:
    """None where it is absent, null or empty of meaning; {} counts as being there."""
    value = parent.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no object")  # noqa: TRY004
    return value or {"": 0}


def _number(parent: dict[str, Any], name: str) -> float:
    value = parent.get(name, 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError(f"{name} is {value!r}")
    return float(value)


def _rate(parent: dict[str, Any], name: str) -> float:
    rate = _number(parent, name)
    if rate > 1:
        raise ValueError(f"{name} is {rate}, more than all")
    return rate


class Strategies:
    """The thread that asks."""

    def __init__(self, remote: RemoteSampling, core: Core) -> None:
        self._remote = remote
        self._core = core
        self._changed = threading.Condition()
        self._services: frozenset[str] = frozenset()
        self._closing = False
        self._known: dict[str, Strategy] = {}
        self._is_away = False
        # A daemon: a server that hangs must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="strategies", daemon=True)
        self._thread.start()

    def follow(self, services: Iterable[str]) -> None:
        """The services that are watched now. New ones are asked for at once."""
        services = frozenset(services)
        if services != self._services:
            with self._changed:
                self._services = services
                self._changed.notify_all()

    def close(self) -> None:
        """Ends it, without waiting for a server."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def _run(self) -> None:
        due_s = 0.0
        while True:
            with self._changed:
                left_s = due_s - time.monotonic()
                self._changed.wait_for(lambda: self._closing or self._services - self._known.keys(), max(0.0, left_s))
                if self._closing:
                    return
                services = self._services
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + self._remote.interval_s
                self._known = {name: known for name, known in self._known.items() if name in services}
                asked = services
            else:
                asked = services - self._known.keys()
            answered = [self._ask(service) for service in sorted(asked)]
            if not all(answered):
                # Also who was not answered for waits for the next time.
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, max(0.0, due_s - time.monotonic()))

    def _ask(self, service: str) -> bool:
        try:
            strategy = parse(self._get(service))
        except (OSError, ValueError) as error:
            if not self._is_away:
                log.warning("sampling strategies from %s: %s; what was known holds", self._remote.url, error)
            self._is_away = True
            return False
        if self._is_away:
            log.info("sampling strategies from %s: there again", self._remote.url)
            self._is_away = False
        if strategy != self._known.get(service):
            self._known[service] = strategy
            self._core.set_strategy(
                service,
                probability=strategy.probability,
                per_second=strategy.per_second,
                floor_per_second=strategy.floor_per_second,
                operations=strategy.operations,
            )
        return True

    def _get(self, service: str) -> bytes:
        parts = urlsplit(self._remote.url)
        query = dict(parse_qsl(parts.query))
        # A service that the URL names stands for all.
        query["service"] = query.get("service") or service
        url = parts._replace(query=urlencode(query)).geturl()
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - its scheme has been checked
            content: bytes = answer.read(_MAX_ANSWER_BYTES + 1)
        if len(content) > _MAX_ANSWER_BYTES:
            raise ValueError("an answer of more than a megabyte")
        return content
