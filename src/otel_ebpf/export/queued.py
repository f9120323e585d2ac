"""The sender whose queue is on disk: what is submitted is written first, and sent from there.

    submit ── parcel ──► writer's thread ── append ──► disk ── take ──► sender's thread ──► backend
                                │ no room on disk                            ▲
                                └──────────────── one request, held ─────────┘

A backend that is away holds up nobody, however long: the queue's bounds are the only ones. While the disk is full the
writer holds one request and keeps one more waiting, so that spans wait in the core as they do without a queue.

A request is done when the backend has answered. If the agent is killed between the answer and the note of it on disk,
some microseconds, or while it waits for the answer, that request is sent again: OTLP has no way to ask.
"""

import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Final

from otel_ebpf.errors import TemporaryExportError
from otel_ebpf.export.body import Body
from otel_ebpf.export.diskqueue import DiskQueue, Record
from otel_ebpf.export.sender import Client, Delivery, Inbox, Parcel, deliver

log = logging.getLogger(__name__)

# At most so much is lost to a power cut. A kill loses nothing that was written.
_SYNC_S: Final = 1.0


@dataclass(slots=True, eq=False)
class _Held:
    """A request that is not on disk. `is_busy`: one of the threads is at it."""

    items: int
    body: Body
    is_busy: bool = False


class QueuedSender(Inbox):
    """As `Sender`, over a queue on disk, which it closes."""

    def __init__(self, name: str, client: Client, hurry: threading.Event, queue: DiskQueue) -> None:
        super().__init__()
        self._name = name
        self._client = client
        self._hurry = hurry
        self._queue = queue
        self._held: _Held | None = None  # what the disk had no room for
        self._exported = self._write_errors = 0
        self._dropped: Counter[str] = Counter()
        self._is_full = False  # the disk
        self._closing = self._written = self._abandoned = False
        self._sync_due_s = time.monotonic() + _SYNC_S
        self._final: Delivery | None = None
        # Daemons: a backend that hangs must not keep the program from ending.
        self._writer = threading.Thread(target=self._write, name=f"queue-{name}", daemon=True)
        self._thread = threading.Thread(target=self._send, name=f"export-{name}", daemon=True)
        self._writer.start()
        self._thread.start()

    def submit(self, parcel: Parcel) -> None:
        """Queues a parcel, even beyond `has_room`."""
        self._queue.announce(parcel.items)
        with self._changed:
            self._parcels.append(parcel)
            self._changed.notify_all()

    def note_waiting(self, items: int) -> None:
        """How many items have not been submitted: should this run be killed, the next one counts them."""
        self._queue.note_waiting(items)

    @property
    def fill(self) -> float:
        """How full the disk's part is, 0 to 1."""
        return self._queue.fill

    def drain(self, timeout_s: float) -> bool:
        """Waits until everything has been sent or given up. False if time ran out."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._delivery().pending, timeout_s)

    def close(self, timeout_s: float) -> None:
        """Writes what is submitted, sends of it what a backend that is there takes; the rest stays on disk."""
        deadline = time.monotonic() + timeout_s
        self._hurry.set()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in (self._writer, self._thread):
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._written:
            self._write_held()
        with self._changed:
            self._abandoned = True
            if lost := self._queue.level().on_their_way:
                self._dropped["shutdown"] += lost
                self._queue.settle(lost)
            self._final = self._delivery()
        try:
            self._queue.close()
        except OSError as error:
            log.warning("queue of %s: %s", self._name, error.strerror)

    def delivery(self) -> Delivery:
        """The state of the books."""
        with self._changed:
            return self._final or self._delivery()

    def _delivery(self) -> Delivery:
        level = self._queue.level()
        return Delivery(
            self._exported,
            dict(self._dropped + Counter(level.dropped)),
            level.items + level.on_their_way,
            on_disk=True,
            recovered=level.recovered,
            kept=level.items,
            kept_bytes=level.bytes,
            write_errors=self._write_errors,
        )

    # ---- the writer's thread ----

    def _write(self) -> None:
        try:
            while True:
                with self._changed:
                    left_s = max(0.0, self._sync_due_s - time.monotonic())
                    self._changed.wait_for(lambda: self._parcels or self._closing, left_s)
                    parcel = self._parcels.popleft() if self._parcels else None
                    ends = self._closing and parcel is None
                    self._changed.notify_all()
                if parcel:
                    self._store(parcel)
                    parcel = None
                if ends:
                    return
                self._keep_house()
        finally:
            with self._changed:
                self._written = True
                self._changed.notify_all()

    def _store(self, parcel: Parcel) -> None:
        try:
            body = parcel.build()
        except Exception:
            # A thread that died here would stop the signal without a word.
            log.exception("%d %s lost to a fault of the exporter", parcel.items, self._name)
            with self._changed:
                self._dropped["export_failed"] += parcel.items
                self._queue.settle(parcel.items)
                self._changed.notify_all()
            return
        while not (self._write_held() and self._append(body, parcel.items)):
            with self._changed:
                if self._held is None:
                    self._held = _Held(parcel.items, body)
                    self._changed.notify_all()
                    return
                if self._changed.wait_for(lambda: self._closing, _SYNC_S):
                    return
            self._keep_house()

    def _append(self, body: Body, items: int) -> bool:
        try:
            self._queue.append(body, items)
        except OSError as error:
            if not self._is_full:
                log.warning("queue of %s: %s; what comes waits in memory", self._name, error.strerror)
                self._write_errors += 1
            self._is_full = True
            return False
        if self._is_full:
            log.info("queue of %s: written to again", self._name)
            self._is_full = False
        with self._changed:
            self._changed.notify_all()
        return True

    def _write_held(self) -> bool:
        """Writes what the disk had no room for, unless it is being sent. False: there is no room yet."""
        with self._changed:
            held = self._held
            if held is None or held.is_busy:
                return True
            held.is_busy = True
        written = self._append(held.body, held.items)
        with self._changed:
            held.is_busy = False
            if written:
                self._held = None
            self._changed.notify_all()
        return written

    def _keep_house(self) -> None:
        if time.monotonic() < self._sync_due_s:
            return
        self._sync_due_s = time.monotonic() + _SYNC_S
        self._write_held()
        self._queue.expire()
        try:
            self._queue.sync()
        except OSError as error:
            log.warning("queue of %s: %s", self._name, error.strerror)

    # ---- the sender's thread ----

    def _send(self) -> None:
        while (task := self._next()) is not None:
            sent = self._deliver(task.items, task.body)
            with self._changed:
                if self._abandoned:
                    return
                if isinstance(task, Record):
                    self._queue.give_back(task) if sent is None else self._queue.finish(task)
                elif sent is None:
                    task.is_busy = False
                else:
                    self._held = None
                    self._queue.settle(task.items)
                if sent:
                    self._exported += sent[0]
                    self._dropped.update({reason: count for reason, count in sent[1].items() if count})
                self._changed.notify_all()
                if sent is None and self._closing:
                    break
            # Its memory is wanted for others while the next request is waited for.
            task = None
        self._client.close()

    def _next(self) -> "Record | _Held | None":
        """What is on disk goes first. None at the end."""
        while True:
            if record := self._queue.take():
                return record
            with self._changed:
                held = self._held
                if held and not held.is_busy:
                    held.is_busy = True
                    return held
                if self._written and not held:
                    return None
                if not self._queue.level().items:
                    self._changed.wait(_SYNC_S)

    def _deliver(self, items: int, body: Body) -> tuple[int, Counter[str]] | None:
        """How many items arrived, and how many did not, by reason. None: the backend is away."""
        try:
            return deliver(self._client, self._name, items, lambda: body, TemporaryExportError)
        except TemporaryExportError as error:
            log.warning("%d %s stay in the queue: %s", items, self._name, error)
            return None
