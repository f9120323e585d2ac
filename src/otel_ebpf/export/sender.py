"""A thread that delivers one signal, so that a slow backend holds up nothing but its own queue.

The queue is short: while it is full the agent leaves spans where they are, in the core, whose own queue is
bounded in bytes and whose drops are counted. `queued` has the sender whose queue is on disk.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from otel_ebpf.errors import ExportError
from otel_ebpf.export.body import Body

log = logging.getLogger(__name__)

# One is sent, or written, while one waits; whoever has more waits for room.
_QUEUE: Final = 1


class Client(Protocol):
    """What delivers requests: for one thread."""

    def send(self, body: Body) -> int:
        """Delivers a request; returns how many of its items were rejected. Raises ExportError."""

    def close(self) -> None:
        """No request follows."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """`items` spans or points; `build` encodes them, on the sender's thread."""

    items: int
    build: Callable[[], Body]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of all items so far: submitted + recovered = exported + Σ dropped + pending.

    With a queue `on_disk`: `recovered` were left by earlier runs, `kept` of those pending are in its files of
    `kept_bytes`, and `write_errors` times there was no room for a request.
    """

    exported: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    pending: int = 0
    on_disk: bool = False
    recovered: int = 0
    kept: int = 0
    kept_bytes: int = 0
    write_errors: int = 0


class Inbox:
    """Parcels that wait for the thread that takes them."""

    def __init__(self) -> None:
        self._parcels: deque[Parcel] = deque()
        self._changed = threading.Condition()

    @property
    def has_room(self) -> bool:
        """Whether `submit` would leave what waits at its proper length."""
        return len(self._parcels) < _QUEUE

    def await_room(self, timeout_s: float) -> bool:
        """Waits until `has_room`. False if time ran out."""
        with self._changed:
            return self._changed.wait_for(lambda: self.has_room, timeout_s)


def deliver(
    client: Client, name: str, items: int, build: Callable[[], Body], keep: type[ExportError] | None = None
) -> tuple[int, Counter[str]]:
    """How many items arrived, and how many did not, by reason. Raises nothing but `keep`."""
    try:
        rejected = min(client.send(build()), items)
    except ExportError as error:
        if keep and isinstance(error, keep):
            raise
        log.warning("%d %s lost: %s", items, name, error)
    except Exception:
        # A thread that died here would stop the signal without a word.
        log.exception("%d %s lost to a fault of the exporter", items, name)
    else:
        return items - rejected, Counter(rejected=rejected)
    return 0, Counter(export_failed=items)


class Sender(Inbox):
    """`hurry` is the client's: set when the end is near."""

    def __init__(self, name: str, client: Client, hurry: threading.Event) -> None:
        super().__init__()
        self._name = name
        self._client = client
        self._hurry = hurry
        self._exported = 0
        self._dropped: Counter[str] = Counter()
        self._pending = 0
        self._closing = self._abandoned = False
        # A daemon: a backend that hangs must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name=f"export-{name}", daemon=True)
        self._thread.start()

    def submit(self, parcel: Parcel) -> None:
        """Queues a parcel, even beyond `has_room`."""
        with self._changed:
            self._pending += parcel.items
            self._parcels.append(parcel)
            self._changed.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Waits until everything queued has been sent or given up. False if time ran out."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending, timeout_s)

    def close(self, timeout_s: float) -> None:
        """Sends what is queued without waiting for a backend that is away; what is left then counts as dropped."""
        deadline = time.monotonic() + timeout_s
        self._hurry.set()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            self._abandoned = True
            if self._pending:
                self._dropped["shutdown"] += self._pending
                self._pending = 0
                self._parcels.clear()

    def delivery(self) -> Delivery:
        """The state of the books."""
        with self._changed:
            return Delivery(self._exported, dict(self._dropped), self._pending)

    def _run(self) -> None:
        while (parcel := self._next()) is not None:
            exported, dropped = deliver(self._client, self._name, parcel.items, parcel.build)
            with self._changed:
                if self._abandoned:
                    return
                self._exported += exported
                self._dropped.update({reason: count for reason, count in dropped.items() if count})
                self._pending -= parcel.items
                self._changed.notify_all()
            # Its spans' memory is wanted for others while the next parcel is waited for.
            parcel = None
        self._client.close()

    def _next(self) -> Parcel | None:
        with self._changed:
            self._changed.wait_for(lambda: self._parcels or self._closing)
            parcel = self._parcels.popleft() if self._parcels else None
            self._changed.notify_all()
            return parcel
