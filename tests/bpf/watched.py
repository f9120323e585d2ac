"""Has dialogues (frames.py: HTTP/2, others.py: anything else) held by another process, and compares what the ring has
of them.
"""

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from otel_ebpf._native import Session
from tests.bpf import frames, others, records
from tests.bpf.frames import PREFACE, Dialogue
from tests.bpf.records import RECV, SEND, Ring, Seen, Segment
from tests.testbed.agent import REPOSITORY
from tests.testbed.process import free_port


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
            for _ in both.it.turns[2:]:
                both.turn()
                session.flush()
                seen = ring.connections(seen)
            client, server = both.of(seen)
            asked, answered = (both.it.stream(end)[len(both.it.turns[0][end]) :] for end in (0, 1))
            return Told(client, server, asked, answered, session.counters())


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
