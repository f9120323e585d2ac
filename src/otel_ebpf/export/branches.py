"""Exporters beside the one that the books are kept of: each has a queue of its own, and holds up nobody."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from otel_ebpf.export.body import Body
from otel_ebpf.export.own import ALSO_DROPPED, ALSO_SENT, Value
from otel_ebpf.export.sdk import Exporter
from otel_ebpf.export.sender import Parcel, Sender

# Items that wait for one of them at most: more than the agent moves at once.
_MAX_WAITING: Final = 20_000


class Branches:
    """Gives the same parcels to some more exporters."""

    def __init__(self, signal: str, items: str, exporters: Sequence[Exporter]) -> None:
        self._signal = signal
        self._senders = {one.name: Sender(items, one.client, threading.Event()) for one in exporters}
        self._lagging = dict.fromkeys(self._senders, 0)

    def share(self, parcel: Parcel) -> Parcel:
        """The parcel for the first exporter, after the others have got theirs: it is encoded once for all."""
        if not self._senders:
            return parcel
        shared = replace(parcel, build=_once(parcel.build))
        for name, sender in self._senders.items():
            if sender.delivery().pending > _MAX_WAITING:
                self._lagging[name] += parcel.items
            else:
                sender.submit(shared)
        return shared

    def close(self, timeout_s: float) -> None:
        """What waits is sent, within this time each."""
        for sender in self._senders.values():
            sender.close(timeout_s)

    def counters(self) -> Iterator[Value]:
        """What became of what they were given."""
        for name, sender in self._senders.items():
            delivery, of = sender.delivery(), {"exporter": name, "signal": self._signal}
            yield ALSO_SENT, of, delivery.exported
            yield ALSO_DROPPED, {**of, "reason": "lagging"}, self._lagging[name]
            for reason, count in delivery.dropped.items():
                yield ALSO_DROPPED, {**of, "reason": reason}, count


def _once(build: Callable[[], Body]) -> Callable[[], Body]:
    lock, made = threading.Lock(), list[Body]()

    def shared() -> Body:
        with lock:
            if not made:
                made.append(build())
            return made[0]

    return shared
