"""The records in a session's ring, looked at beside the thread that takes them: they stay until they are overwritten.

The session is one of this process, among whose descriptors its maps are found.
"""

import ctypes
import mmap
import os
import platform
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

RINGBUF, LRU_HASH = 27, 9
OPEN, SEGMENT = 1, 2
RECV, SEND = 0, 1
LOST, UDP = 1, 16  # enum event_flags
STRANGER, HTTP2, PLAIN, FRAMED = 1, 2, 3, 4  # enum found
_FINDING = 24  # bytes
WITHIN_TLS = 1 << 63

_BUSY, _DISCARDED = 1 << 31, 1 << 30
_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
_MAP_UPDATE_ELEM, _MAP_FREEZE = 2, 22
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Segment:
    """`struct ev_segment`."""

    flags: int
    off: int
    adv: int
    data: bytes

    @property
    def end(self) -> int:
        """Of the bytes it has, not of those it speaks for."""
        return self.off + len(self.data)


@dataclass(slots=True)
class Seen:
    """One end of a connection."""

    conn: int
    local_port: int
    remote_port: int
    ways: tuple[list[Segment], list[Segment]]  # RECV, SEND
    flags: int  # of its `struct ev_open`
    remote_address: bytes  # IPv4 in the first four


@dataclass(frozen=True, slots=True)
class _Map:
    fd: int
    kind: int
    key_size: int
    value_size: int
    max_entries: int


def _maps() -> Iterator[_Map]:
    for info in Path("/proc/self/fdinfo").iterdir():
        try:
            text = info.read_text()
        except OSError:
            continue
        said = dict(re.findall(r"^(\w+):\s*(\S+)$", text, re.MULTILINE))
        if "map_type" in said:
            sizes = (int(said[name]) for name in ("map_type", "key_size", "value_size", "max_entries"))
            yield _Map(int(info.name), *sizes)


def descriptors() -> frozenset[int]:
    """The maps that this process has."""
    return frozenset(each.fd for each in _maps())


def _bpf(command: int, attributes: bytes) -> None:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    if _LIBC.syscall(_BPF, command, buffer, len(attributes)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Ring:
    """Of the session that began after `before` was taken by `descriptors()`."""

    def __init__(self, before: frozenset[int]) -> None:
        maps = [each for each in _maps() if each.fd not in before]
        ring = next(each for each in maps if each.kind == RINGBUF)
        found = (LRU_HASH, 8, _FINDING)
        self._strangers = next(each for each in maps if (each.kind, each.key_size, each.value_size) == found)
        self._size, page = ring.max_entries, mmap.PAGESIZE
        # what was written so far, and behind it the records, twice: none is cut at the end
        self._view = mmap.mmap(ring.fd, page + 2 * self._size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._at = self._written()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._view.close()

    def _written(self) -> int:
        (position,) = struct.unpack_from("Q", self._view)
        assert isinstance(position, int)
        return position

    def _records(self) -> Iterator[tuple[int, memoryview]]:
        """Those since the last call."""
        end = self._written()
        assert end - self._at <= self._size, "some were overwritten"
        while self._at < end:
            at = mmap.PAGESIZE + self._at % self._size
            (length,) = struct.unpack_from("I", self._view, at)
            assert not length & _BUSY
            size = length & ~_DISCARDED
            if not length & _DISCARDED:
                with memoryview(self._view) as whole, whole[at + 8 : at + 8 + size] as record:
                    yield record[0], record
            self._at += (8 + size + 7) & ~7

    def pass_over(self) -> None:
        """What came since the last call is not looked at."""
        self._at = self._written()

    def connections(self, known: dict[int, Seen] | None = None) -> dict[int, Seen]:
        """What came since the last call, by connection; adds to `known`."""
        seen = known if known is not None else {}
        for kind, record in self._records():
            _, way, flags, _, conn = struct.unpack_from("BBHIQ", record)
            if kind == OPEN:
                local, remote = struct.unpack_from("HH", record, 26)
                seen.setdefault(conn, Seen(conn, local, remote, ([], []), flags, bytes(record[48:64])))
            elif kind == SEGMENT and conn in seen:
                off, _, cap, adv = struct.unpack_from("QQII", record, 24)
                seen[conn].ways[way].append(Segment(flags, off, adv, bytes(record[48 : 48 + cap])))
        return seen

    def say(self, conn: int, found: int, frame_format: bytes = b"") -> None:
        """As user space says it of a connection."""
        key = ctypes.c_uint64(conn)
        value = ctypes.create_string_buffer(struct.pack("B3x20s", found, frame_format), _FINDING)
        where = ctypes.addressof(key), ctypes.addressof(value)
        _bpf(_MAP_UPDATE_ELEM, struct.pack("IIQQQ", self._strangers.fd, 0, *where, 0))

    def let_nobody_say(self) -> None:
        """Whatever the session makes of a connection, programs are not told from now on."""
        _bpf(_MAP_FREEZE, struct.pack("I", self._strangers.fd))
