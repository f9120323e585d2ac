"""Has dialogues (frames.py: HTTP/2, others.py: anything else) held by another process, and compares what the ring has
of them.
"""

import json
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from otel_ebpf._native import Session
from tests.bpf import frames, others, records
from tests.bpf.datagrams import DNS, HOST, Moved
from tests.bpf.frames import PREFACE, Dialogue
from tests.bpf.records import RECV, SEND, Ring, Seen, Segment
from tests.testbed.agent import REPOSITORY
from tests.testbed.process import free_port

WANT_OF_QUESTIONS, WANT_OF_ANSWERS = 100, 16
"""Bytes of each payload."""


class Ends:
    """Both ends of a dialogue, from one turn to the next."""

    def __init__(self, name: str, seed: int, held_in: ModuleType) -> None:
        self.port = free_port()
        self.it: Dialogue = held_in.DIALOGUES[name](random.Random(seed))
        command = [sys.executable, "-m", held_in.__name__, name, str(seed), str(self.port)]
        self.process = subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def turn(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "said\n"

    def all_turns(self) -> None:
        for _ in self.it.turns:
            self.turn()

    def of(self, seen: dict[int, Seen]) -> tuple[Seen, Seen]:
        """The client's and the server's socket."""
        (client,) = (each for each in seen.values() if each.remote_port == self.port)
        (server,) = (each for each in seen.values() if each.local_port == self.port)
        return client, server


@contextmanager
def ends(name: str, seed: int = 1, held_in: ModuleType = frames) -> Iterator[Ends]:
    both = Ends(name, seed, held_in)
    with both.process:
        yield both
        assert both.process.stdin
        both.process.stdin.close()
    assert both.process.returncode == 0


@contextmanager
def watching(ring_bytes: int, ports: list[int] | None = None) -> Iterator[tuple[Session, Ring]]:
    before = records.descriptors()
    with Session(spans=False, ring_bytes=ring_bytes, ports=ports) as session, Ring(before) as ring:
        yield session, ring


def wanted(stream: bytes, payload_of_data: bool = True) -> Iterator[tuple[int, int]]:
    """The places of the bytes that user space needs."""
    begin = 0
    if stream.startswith(PREFACE):
        yield 0, len(PREFACE)
        begin = len(PREFACE)
    for at, header in frames.frames_of(stream[begin:]):
        length = int.from_bytes(header[:3], "big")
        if header[3] == frames.DATA and not payload_of_data:
            length = 0
        elif (header[3] == frames.DATA or header[3] > frames.CONTINUATION) and length > frames.SHORT:
            length = frames.LEAD
        yield begin + at, begin + at + 9 + length


def assert_spoken_for(segments: list[Segment], stream: bytes, *, holes: bool = False) -> bytearray:
    """Each byte once, in order, and as it was said. Returns which were passed on."""
    at, have = 0, bytearray(len(stream))
    for segment in segments:
        assert segment.flags & records.LOST == 0
        assert segment.off == at or (holes and segment.off > at)
        assert segment.data == stream[segment.off : segment.end]
        have[segment.off : segment.end] = b"\1" * len(segment.data)
        at = segment.off + segment.adv
    assert at == len(stream)
    return have


def assert_told(segments: list[Segment], stream: bytes, *, readable: bool = True, holes: bool = False) -> int:
    """As above, with those that are wanted. Returns how many were passed on."""
    have = assert_spoken_for(segments, stream, holes=holes)
    for begin, end in wanted(stream, payload_of_data=readable):
        assert all(have[begin:end]), (begin, end, end - begin)
    return sum(have)


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of both ends since somebody looks, and what was said since."""

    client: Seen
    server: Seen
    asked: bytes
    answered: bytes
    counters: dict[str, int]


def recognised(name: str, found: int, formats: tuple[bytes, bytes] = (b"", b""), ring_bytes: int = 64 << 20) -> Told:
    """A dialogue of others.py whose programs know what is spoken, the client's and the server's end, from the third
    turn on.
    """
    with ends(name, held_in=others) as both:
        both.turn()
        with watching(ring_bytes, [both.port]) as (session, ring):
            both.turn()
            session.flush()
            seen = ring.connections()
            for end, frame_format in zip(both.of(seen), formats, strict=True):
                ring.say(end.conn, found, frame_format)
            ring.let_nobody_say()  # that it is none of ours, which random bytes are soon found to be
            for _ in both.it.turns[2:]:
                both.turn()
                session.flush()
                seen = ring.connections(seen)
            client, server = both.of(seen)
            asked, answered = (both.it.stream(end)[len(both.it.turns[0][end]) :] for end in (0, 1))
            return Told(client, server, asked, answered, session.counters())


def told_of_frames(name: str, format_: others.Format, ring_bytes: int = 64 << 20) -> Told:
    client = format_.packed(WANT_OF_ANSWERS, WANT_OF_QUESTIONS)
    server = format_.packed(WANT_OF_QUESTIONS, WANT_OF_ANSWERS)
    return recognised(name, records.FRAMED, (client, server), ring_bytes)


def framed_ways(it: Told, format_: others.Format) -> Iterator[tuple[list[Segment], bytes, int, list[tuple[int, int]]]]:
    """Each way of each end, with its stream, how much of a payload is wanted and where frames begin."""
    for end, asks, answers in ((it.client, SEND, RECV), (it.server, RECV, SEND)):
        for way, stream, want in ((asks, it.asked, WANT_OF_QUESTIONS), (answers, it.answered, WANT_OF_ANSWERS)):
            said_before = len(stream) - len(stream.lstrip(b"x"))
            begins = [(said_before + at, size) for at, size in format_.frames_of(stream[said_before:])]
            yield end.ways[way], stream, want, begins


def assert_framed(name: str) -> None:
    """Of both ends of a dialogue in frames, both ways: headers, and what is wanted of payloads."""
    format_ = others.FORMATS[name.partition(": ")[2]]
    for segments, stream, want, begins in framed_ways(told_of_frames(name, format_), format_):
        have = assert_spoken_for(segments, stream)
        for at, size in begins:
            wanted = size if size <= frames.SHORT else want
            assert all(have[at : at + format_.header + wanted]), (at, size)


def assert_dialogue(ring: Ring, name: str, seed: int = 1) -> None:
    """What both ends said is told of both ends, both ways."""
    ring.connections()
    with ends(name, seed) as both:
        both.all_turns()
    client, server = both.of(ring.connections())
    for end, asks, answers, is_server in ((client, SEND, RECV, False), (server, RECV, SEND, True)):
        assert_told(end.ways[asks], both.it.stream(0))
        sent = name == "sendfile" and is_server
        spliced = name == "spliced_away" and not is_server
        assert_told(end.ways[answers], both.it.stream(1), readable=not (sent or spliced), holes=spliced)


MOST_OF_A_DATAGRAM = 4096


def datagrams_of(name: str) -> Moved:
    """Has an exchange of datagrams.py held."""
    command = [sys.executable, "-m", "tests.bpf.datagrams", name]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return Moved(**json.loads(done.stdout))


def _assert_datagrams(end: Seen, way: int, letter: bytes, sizes: list[int]) -> None:
    off = 0
    for segment, size in zip(end.ways[way], sizes, strict=True):
        assert (segment.flags, segment.off, segment.adv) == (0, off, size)
        assert segment.data == letter * min(size, MOST_OF_A_DATAGRAM)
        off += size


def assert_exchange(ring: Ring, name: str) -> None:
    """Each datagram that both ends have moved is told of both, and that they are datagrams."""
    ring.connections()
    moved = datagrams_of(name)
    seen = ring.connections().values()
    (client,) = (end for end in seen if end.local_port == moved.client_port)
    (server,) = (end for end in seen if end.local_port == DNS)
    assert client.remote_port == DNS
    assert client.flags & records.UDP
    assert server.flags & records.UDP
    if name != "over_ipv6":
        assert client.remote_address[:4] == socket.inet_aton(HOST)
    for end, asks, answers in ((client, SEND, RECV), (server, RECV, SEND)):
        _assert_datagrams(end, asks, b"q", moved.asked)
        _assert_datagrams(end, answers, b"a", moved.answered)
