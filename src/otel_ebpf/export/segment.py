"""The files of the queue on disk, as bytes. All numbers are little-endian; every checksum is zlib's CRC-32.

    segment: requests in the order in which they came
     0          8         12          16
    +----------+---------+-----------+--------+--------+----
    | OTELQUE1 | version | crc 0..12 | record | record | ...
    +----------+---------+-----------+--------+--------+----

    record: one OTLP request in protobuf
     0         8        12      16       20         24          28
    +---------+--------+-------+--------+----------+-----------+-------------------+
    | time ns | length | items | signal | crc body | crc 0..24 | body, length long |
    +---------+--------+-------+--------+----------+-----------+-------------------+

    state: what of the segments is still wanted; two slots, 512 bytes apart, written in turn
     0            8         16       24      32         40        48
    +------------+---------+--------+-------+----------+---------+-----------+
    | generation | segment | offset | items | on their | flags   | crc 0..48 |
    |            |         |        |       | way      |         |           |
    +------------+---------+--------+-------+----------+---------+-----------+

A record's head has a checksum of its own: with a head that is right and a body that is not, one record is lost and it
is known of how many items; only what stands behind a broken head can't be found any more.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from otel_ebpf.errors import ConfigError
from otel_ebpf.model import Encoded

# Raised with each change of the layout. `check_header` tells the versions that are read apart.
VERSION: Final = 1
SIGNALS: Final = {"traces": 1, "metrics": 2}

_MAGIC: Final = b"OTELQUE1"
_HEADER: Final = struct.Struct("<8sII")
_RECORD: Final = struct.Struct("<QIIIII")
_STATE: Final = struct.Struct("<QQQQQQI")
HEADER_BYTES: Final = _HEADER.size
RECORD_BYTES: Final = _RECORD.size
STATE_BYTES: Final = _STATE.size
SLOTS: Final = (0, 512)
_CLEAN: Final = 1


def header() -> bytes:
    """How a segment begins."""
    head = _HEADER.pack(_MAGIC, VERSION, 0)[:12]
    return head + zlib.crc32(head).to_bytes(4, "little")


def check_header(head: bytes, name: str) -> bool:
    """Whether this is how a segment begins. Raises ConfigError for one whose layout is from a newer version."""
    if len(head) < HEADER_BYTES:
        return False
    magic, version, crc = _HEADER.unpack_from(head)
    if magic != _MAGIC or crc != zlib.crc32(head[:12]):
        return False
    if version > VERSION:
        raise ConfigError(
            f"{name} was written by a newer otel-ebpf: its format is {version}, this one reads up to {VERSION}",
            "run the newer one until the queue is empty, or use another directory",
        )
    return bool(version == VERSION)


@dataclass(frozen=True, slots=True)
class Head:
    """Of a record: `length` bytes with `items` spans or points, queued at `time_ns` of the Unix clock."""

    time_ns: int
    length: int
    items: int
    signal: int
    body_crc: int

    @classmethod
    def of(cls, parts: Sequence[Encoded], length: int, items: int, signal: int, time_ns: int) -> Self:
        """The head of a record with this body."""
        crc = 0
        for part in parts:
            crc = zlib.crc32(part, crc)
        return cls(time_ns, length, items, signal, crc)

    @classmethod
    def read(cls, data: bytes) -> Self | None:
        """None if these are not the bytes of a head."""
        if len(data) < RECORD_BYTES:
            return None
        *fields, crc = _RECORD.unpack_from(data)
        return cls(*fields) if crc == zlib.crc32(data[:24]) else None

    def encoded(self) -> bytes:
        """As it stands in the file."""
        head = _RECORD.pack(self.time_ns, self.length, self.items, self.signal, self.body_crc, 0)[:24]
        return head + zlib.crc32(head).to_bytes(4, "little")

    def matches(self, body: bytes) -> bool:
        """Whether this is the body that was written."""
        return len(body) == self.length and zlib.crc32(body) == self.body_crc


@dataclass(frozen=True, slots=True)
class State:
    """Up to `offset` of `segment` all is done. Behind it are `items`; `outside` more were known and not on disk."""

    segment: int = 0
    offset: int = HEADER_BYTES
    items: int = 0
    outside: int = 0
    clean: bool = False
    generation: int = 0

    @classmethod
    def read(cls, data: bytes) -> "State | None":
        """The newer one of the slots that are whole; None if none is."""
        found = [cls._read_slot(data[slot : slot + STATE_BYTES]) for slot in SLOTS]
        return max(filter(None, found), key=lambda state: state.generation, default=None)

    @classmethod
    def _read_slot(cls, data: bytes) -> "State | None":
        if len(data) < STATE_BYTES:
            return None
        generation, segment, offset, items, outside, flags, crc = _STATE.unpack(data)
        # Zeros are no state: their checksum is not zero.
        if crc != zlib.crc32(data[:48]):
            return None
        return cls(segment, offset, items, outside, bool(flags & _CLEAN), generation)

    def encoded(self) -> tuple[int, bytes]:
        """Where in the file, and what."""
        data = _STATE.pack(
            self.generation, self.segment, self.offset, self.items, self.outside, _CLEAN if self.clean else 0, 0
        )[:48]
        return SLOTS[self.generation % 2], data + zlib.crc32(data).to_bytes(4, "little")
