"""One signal's queue on disk: requests that are encoded already, in order, until they have been delivered.

A folder of append-only segments (`segment`), a file that says up to where they are done, and two bounds, bytes and age,
at which the oldest goes. What is written survives the end of the process whatever way it ends; `sync`, called once a
second, makes it survive the machine's. Why not a database: docs/adr/0008.

Memory: nothing but a few numbers for each segment. Whoever `take`s holds one request.
"""

import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from otel_ebpf.export import segment as form
from otel_ebpf.export.body import Body
from otel_ebpf.export.segment import HEADER_BYTES, RECORD_BYTES, SIGNALS, Head, State
from otel_ebpf.model import Encoded

log = logging.getLogger(__name__)

_SEGMENT_BYTES: Final = 8 << 20
# A queue has at least so many: at its bound one of them goes, and that should not be all of it.
_LEAST_SEGMENTS: Final = 8
# writev takes no more at once (IOV_MAX).
_PARTS_AT_ONCE: Final = 1024
_SUFFIX: Final = ".queue"


@dataclass(slots=True, eq=False)
class Record:
    """A request that was taken to be delivered. `position`: for the queue."""

    items: int
    body: Body
    position: tuple[int, int]


@dataclass(slots=True)
class _Segment:
    number: int
    size: int = HEADER_BYTES
    items: int = 0  # that are not done


@dataclass(frozen=True, slots=True)
class QueueLevel:
    """Items in the queue and bytes of its files; items `on_their_way` to it, or from it without a place of their own.

    `recovered`: items that earlier runs left, those that turned out to be lost included.
    """

    items: int = 0
    bytes: int = 0
    on_their_way: int = 0
    recovered: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


class DiskQueue:
    """One thread appends, one takes; `level` may be asked by any. The caller holds the directory's lock."""

    def __init__(self, folder: Path, signal: str, max_bytes: int, max_age_s: float) -> None:
        """Reads what an earlier run left. Raises OSError, and ConfigError for a newer version's files."""
        self._folder = folder
        self._signal = SIGNALS[signal]
        self._max_bytes = max_bytes
        self._max_age_ns = int(max_age_s * 1e9)
        self._segment_bytes = min(_SEGMENT_BYTES, max_bytes // _LEAST_SEGMENTS)
        self._lock = threading.RLock()
        self._segments: deque[_Segment] = deque()
        self._offset = HEADER_BYTES  # into the first segment: what is before is done
        self._taken: Record | None = None
        self._detached = 0  # items that are being sent while their record's place on disk was given up
        self._waiting = self._announced = 0  # items that are not submitted yet; that are, and not yet written
        self._dropped: Counter[str] = Counter()
        self._tail = -1  # the last segment, if it is this run's and still grows
        self._reading: tuple[int, int] = (0, -1)  # number and descriptor of the first segment
        self._unsynced: list[int] = []  # descriptors of segments that have ended
        self._dirty = self._new_file = self._closed = False

        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._state_file = os.open(folder / "state", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._generation = 0
        self._recovered = self._recover()
        self._write_state()

    # ---- what is left of an earlier run ----

    def _recover(self) -> int:
        """Finds the segments and how much is in them; counts what is missing. Returns how many items there were."""
        state = State.read(os.pread(self._state_file, 1024, 0))
        was = state or State(clean=True)
        self._generation = was.generation
        numbers = sorted(
            int(path.stem) for path in self._folder.glob(f"*{_SUFFIX}") if path.stem.isascii() and path.stem.isdigit()
        )
        self._number = max([*numbers, was.segment])
        for number in numbers:
            if number < was.segment:
                self._path(number).unlink()
                continue
            found = self._walk(number, was.offset if number == was.segment else HEADER_BYTES)
            if not self._segments and number == was.segment:
                self._offset = min(was.offset, found.size)
            self._segments.append(found)
        items = sum(each.items for each in self._segments)
        # A record is written before the state that counts it.
        uncounted = max(0, items - was.items) if state else 0
        corrupt, killed = max(0, was.items - items), 0 if was.clean else max(0, was.outside - uncounted)
        self._dropped.update({reason: n for reason, n in (("corrupt", corrupt), ("killed", killed)) if n})
        if items or corrupt or killed:
            log.info("%s: %d items of an earlier run are queued", self._folder, items)
        if corrupt or killed:
            log.warning("%s: lost: %d items to damage, %d not yet written at the kill", self._folder, corrupt, killed)
        return items + corrupt + killed

    def _walk(self, number: int, offset: int) -> _Segment:
        """Counts a segment's records by their heads. It ends, for us, where no whole record follows."""
        path = self._path(number)
        found = _Segment(number, offset)
        with path.open("rb", buffering=0) as file:
            end = size = os.fstat(file.fileno()).st_size
            if not form.check_header(file.read(HEADER_BYTES), str(path)):
                end = 0  # nothing of it can be read
            while head := Head.read(os.pread(file.fileno(), RECORD_BYTES, found.size)):
                after = found.size + RECORD_BYTES + head.length
                if after > end:
                    break
                found.size, found.items = after, found.items + head.items
        if size > found.size:
            os.truncate(path, found.size)
        return found

    # ---- in ----

    def append(self, body: Body, items: int) -> None:
        """Puts a request at the end; the oldest go if there is no room. Raises OSError: then it is not in the queue."""
        head = Head.of(body.parts, body.length, items, self._signal, time.time_ns())
        need = RECORD_BYTES + body.length
        with self._lock:
            if need + HEADER_BYTES > self._max_bytes:
                log.warning("%s: a request of %d bytes is larger than the queue may be", self._folder, body.length)
                self._dropped["queue_size"] += items
                self._announced -= items
                return
            if self._tail >= 0 and self._segments[-1].size + need > self._segment_bytes:
                self._seal()
            while self._segments and self._bytes() + need + HEADER_BYTES > self._max_bytes:
                self._evict("queue_size")
            if self._tail < 0:
                self._begin_segment()
            tail = self._segments[-1]
            try:
                _write_all(self._tail, [head.encoded(), *body.parts], tail.size)
            except OSError:
                # What was written of it would be taken for damage.
                os.ftruncate(self._tail, tail.size)
                raise
            tail.size += need
            tail.items += items
            self._announced -= items
            self._dirty = True
            self._write_state()

    def note_waiting(self, items: int) -> None:
        """How many items are known of and not announced: lost, and counted by the next run, if this one is killed."""
        with self._lock:
            if items != self._waiting and not self._closed:
                self._waiting = items
                self._write_state()

    def announce(self, items: int) -> None:
        """So many of those that wait will be appended."""
        with self._lock:
            self._announced += items
            self._waiting = max(0, self._waiting - items)

    def settle(self, items: int) -> None:
        """So many of those announced will not be appended: the caller counts them."""
        with self._lock:
            self._announced -= items
            if not self._closed:
                self._write_state()

    # ---- out ----

    def take(self) -> Record | None:
        """The oldest request, which stays in the queue until it is `finish`ed; None if there is none."""
        with self._lock:
            while (found := self._first()) is not None:
                head, body = found
                if self._is_old(head):
                    self._drop(head, "queue_age")
                elif head.signal != self._signal or not head.matches(body):
                    log.warning("%s: a damaged request was left out, with %d items", self._folder, head.items)
                    self._drop(head, "corrupt")
                else:
                    position = self._segments[0].number, self._offset
                    self._taken = Record(head.items, Body.of(body), position)
                    return self._taken
            return None

    def finish(self, record: Record) -> None:
        """What was taken was delivered, or refused for good: the caller counts it."""
        with self._lock:
            if self._closed:
                return
            if self._taken is record:
                self._taken = None
                self._advance(RECORD_BYTES + record.body.length, record.items)
            else:
                self._detached -= record.items
            self._write_state()

    def give_back(self, record: Record) -> None:
        """What was taken could not be delivered now. If its place was given up meanwhile, it is lost."""
        with self._lock:
            if self._taken is record:
                self._taken = None
            elif not self._closed:
                self._detached -= record.items
                self._dropped["queue_size"] += record.items
                self._write_state()

    def expire(self) -> None:
        """Drops what is older than may be, except a request that is being sent."""
        with self._lock:
            changed = False
            while self._taken is None and (found := self._first(with_body=False)) and self._is_old(found[0]):
                self._drop(found[0], "queue_age")
                changed = True
            if changed:
                self._write_state()

    # ---- the rest ----

    def sync(self) -> None:
        """Makes the disk have what was appended so far; for the appending thread. Raises OSError."""
        with self._lock:
            ended, self._unsynced = self._unsynced, []
            dirty, self._dirty = self._dirty, False
            new_file, self._new_file = self._new_file, False
            tail = self._tail
        try:
            for descriptor in ended:
                os.fdatasync(descriptor)
        finally:
            for descriptor in ended:
                os.close(descriptor)
        if not dirty:
            return
        if tail >= 0:
            os.fdatasync(tail)
        os.fdatasync(self._state_file)
        if new_file:
            _sync_folder(self._folder)

    @property
    def fill(self) -> float:
        """Which part of its bytes is in use."""
        with self._lock:
            return min(1.0, self._bytes() / self._max_bytes)

    def level(self) -> QueueLevel:
        """What is in it."""
        with self._lock:
            on_their_way = self._announced + self._detached
            return QueueLevel(self._items(), self._bytes(), on_their_way, self._recovered, dict(self._dropped))

    def close(self) -> None:
        """The end of a run that went well: what is still in the queue is the next run's."""
        with self._lock:
            if self._closed:
                return
            self._first(with_body=False)
            if self._tail >= 0:
                self._seal()
            self._first(with_body=False)  # may be the sealed one's end
            self._write_state(clean=True)
            self._closed = self._dirty = True
            if self._reading[1] >= 0:
                os.close(self._reading[1])
        try:
            self.sync()
        finally:
            os.close(self._state_file)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:020d}{_SUFFIX}"

    def _items(self) -> int:
        return sum(each.items for each in self._segments)

    def _bytes(self) -> int:
        return sum(each.size for each in self._segments)

    def _is_old(self, head: Head) -> bool:
        return time.time_ns() - head.time_ns > self._max_age_ns

    def _first(self, *, with_body: bool = True) -> tuple[Head, bytes] | None:
        """The oldest record; segments that are done are removed on the way."""
        while self._segments:
            first = self._segments[0]
            if self._offset < first.size:
                head = Head.read(self._read(RECORD_BYTES, self._offset))
                if head and self._offset + RECORD_BYTES + head.length <= first.size:
                    at = self._offset + RECORD_BYTES
                    return head, self._read(head.length, at) if with_body else b""
                # It was whole at the start: damage since then. How many are lost is known all the same.
                self._dropped["corrupt"] += first.items
                first.items = 0
                self._offset = first.size
            elif len(self._segments) == 1 and self._tail >= 0:
                return None
            else:
                self._remove_first()
        return None

    def _read(self, length: int, offset: int) -> bytes:
        """Of the first segment. What can't be read is as good as damaged."""
        number = self._segments[0].number
        try:
            if self._reading[0] != number:
                descriptor = os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC)
                if self._reading[1] >= 0:
                    os.close(self._reading[1])
                self._reading = (number, descriptor)
            return os.pread(self._reading[1], length, offset)
        except OSError as error:
            log.warning("%s can't be read: %s", self._path(number), error.strerror)
            return b""

    def _advance(self, size: int, items: int) -> None:
        self._offset += size
        self._segments[0].items -= items

    def _drop(self, head: Head, reason: str) -> None:
        self._dropped[reason] += head.items
        self._advance(RECORD_BYTES + head.length, head.items)

    def _evict(self, reason: str) -> None:
        """Gives up the oldest segment. A request of it that is being sent may still arrive."""
        if len(self._segments) == 1 and self._tail >= 0:
            self._seal()
        lost = self._segments[0].items
        if self._taken and self._taken.position[0] == self._segments[0].number:
            lost -= self._taken.items
            self._detached += self._taken.items
            self._taken = None
        self._dropped[reason] += lost
        self._remove_first()
        self._write_state()

    def _remove_first(self) -> None:
        gone = self._segments.popleft()
        self._offset = HEADER_BYTES
        if self._reading[0] == gone.number:
            os.close(self._reading[1])
            self._reading = (0, -1)
        try:
            self._path(gone.number).unlink(missing_ok=True)
        except OSError as error:
            # The next run removes it: the state says that it is done.
            log.warning("%s can't be removed: %s", self._path(gone.number), error.strerror)

    def _begin_segment(self) -> None:
        number = self._number + 1
        path = self._path(number)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, [form.header()], 0)
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        self._number, self._tail, self._new_file = number, descriptor, True
        if not self._segments:
            self._offset = HEADER_BYTES
        self._segments.append(_Segment(number))

    def _seal(self) -> None:
        self._unsynced.append(self._tail)
        self._tail = -1

    def _write_state(self, *, clean: bool = False) -> None:
        first = self._segments[0].number if self._segments else self._number + 1
        self._generation += 1
        outside = self._waiting + self._announced + self._detached
        state = State(first, self._offset, self._items(), outside, clean, self._generation)
        at, data = state.encoded()
        try:
            os.pwrite(self._state_file, data, at)
        except OSError as error:
            # What was or was not appended stays so. A run after a kill would deliver some of it again.
            log.warning("%s: its state can't be written: %s", self._folder, error.strerror)


def _write_all(descriptor: int, parts: Sequence[Encoded], offset: int) -> None:
    """Writes parts of a file from their own memory. Raises OSError where not all of it could be written."""
    left = deque(memoryview(part).cast("B") for part in parts if len(part))
    while left:
        written = os.pwritev(descriptor, [left[index] for index in range(min(len(left), _PARTS_AT_ONCE))], offset)
        offset += written
        while left and written >= len(left[0]):
            written -= len(left.popleft())
        if written:
            left[0] = left[0][written:]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
