"""What is not HTTP, between two ends in a process of their own: `python -m tests.bpf.others NAME SEED PORT`.

The first turn of each dialogue is before anybody looks, the second before user space has said what is spoken; see
frames.py for the rest.
"""

import itertools
import random
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from tests.bpf import conversations, frames
from tests.bpf.conversations import Message, Send, recv, whole
from tests.bpf.frames import Dialogue

DIALOGUES: dict[str, Callable[[random.Random], Dialogue]] = {}
BEFORE = b"x" * 20
WHOLE, HEAD, TAIL = 256 << 10, 4096, 64
"""Up to how much of a plain operation all of it is passed on, and how much of the others."""


def dialogue(make: Callable[[random.Random], Dialogue]) -> Callable[[random.Random], Dialogue]:
    DIALOGUES[make.__name__] = make
    return make


def said_before() -> list[tuple[bytes, bytes]]:
    """Both sides at once: who asks is not told, and of so little all is passed on in any case."""
    return [(BEFORE, BEFORE)] * 2


@dialogue
def questions_and_answers(rng: random.Random) -> Dialogue:
    turns = said_before()
    for size in (1, 300, 1024, 1025, 5000, 60_000):
        turns += [(rng.randbytes(size), b""), (b"", rng.randbytes(size))]
    return Dialogue(turns)


@dialogue
def looks_like_http(rng: random.Random) -> Dialogue:
    """Text in a statement that would tell of a body's length, and an answer like one."""
    statement = b"INSERT INTO notes VALUES ('\r\nContent-Length: 100000\r\n\r\n" + b"a" * 3000 + b"')"
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3000\r\n" + b"b" * 5000
    return Dialogue([*said_before(), (statement, b""), (b"", answer), (statement, b""), (b"", answer)])


@dialogue
def one_way_for_long(rng: random.Random) -> Dialogue:
    """A broker to a consumer: more than any burst of HTTP's."""
    each = conversations.cut(rng, 2000)
    return Dialogue([*said_before(), (b"", rng.randbytes(1_000_000))], server_sends=each, client_receives=recv(2000))


@dialogue
def large_operations(rng: random.Random) -> Dialogue:
    each = conversations.cut(rng, 300_000)
    turns = [*said_before(), (rng.randbytes(900_000), b""), (b"", rng.randbytes(900_000))]
    return Dialogue(turns, each, each)


@dialogue
def large_between_small(rng: random.Random) -> Dialogue:
    turns = [(rng.randbytes(5000), b""), (b"", rng.randbytes(5000)), (rng.randbytes(10), b""), (b"", rng.randbytes(10))]
    return Dialogue([*said_before(), *turns])


@dialogue
def large_vectors(rng: random.Random) -> Dialogue:
    each = conversations.vectors(rng, 1000, 600, conversations.writev)
    turns = [*said_before(), (rng.randbytes(900_000), b""), (b"", rng.randbytes(900_000))]
    return Dialogue(turns, each, each)


# ---- frames ----


@dataclass(frozen=True, slots=True)
class Format:
    """`struct frame_format`."""

    header: int
    length_at: int
    length_bytes: int
    order: Literal["big", "little"]
    bias: int = 0
    lettered: bool = False

    def frame(self, rng: random.Random, size: int) -> bytes:
        """With a payload of so many bytes."""
        header = bytearray(rng.randbytes(self.header))
        if self.lettered:
            header[0] = rng.choice(b"CDTZ" if size else b"123CDTZ")
        length = (size - self.bias).to_bytes(self.length_bytes, self.order)
        header[self.length_at : self.length_at + self.length_bytes] = length
        return bytes(header) + rng.randbytes(size)

    def frames_of(self, stream: bytes) -> Iterator[tuple[int, int]]:
        """Where each begins, and how long its payload is."""
        at = 0
        while at < len(stream):
            length = stream[at + self.length_at : at + self.length_at + self.length_bytes]
            size = int.from_bytes(length, self.order) + self.bias
            yield at, size
            at += self.header + size

    def packed(self, want_received: int, want_sent: int) -> bytes:
        """As the programs are told of it."""
        how = self.header, self.length_at, self.length_bytes, self.order == "little", self.lettered
        return struct.pack("4B?3xiII", *how, self.bias, want_received, want_sent)


FORMATS = {
    "postgresql": Format(5, 1, 4, "big", -4, lettered=True),
    "mysql": Format(4, 0, 3, "little"),
    "kafka": Format(4, 0, 4, "big"),
    "cassandra": Format(9, 5, 4, "big"),
    "mongodb": Format(16, 0, 4, "little", -16),
    "amqp": Format(7, 3, 4, "big", 1),
    "of two bytes": Format(2, 0, 2, "big"),
}
SIZES = 1, 15, 17, 100, 511, 512, 513, 600, 3000


Made = Callable[[random.Random, Format], Dialogue]


def framed(make: Made) -> Made:
    """One for each format, named after both."""
    for name, format_ in FORMATS.items():
        DIALOGUES[f"{make.__name__}: {name}"] = _of(make, format_)
    return make


def _of(make: Made, format_: Format) -> Callable[[random.Random], Dialogue]:
    return lambda rng: make(rng, format_)


def first(rng: random.Random, format_: Format) -> list[tuple[bytes, bytes]]:
    """So large that the programs ask what is spoken, and each side's frame an operation."""
    return [*said_before(), (format_.frame(rng, 2000), b""), (b"", format_.frame(rng, 2000))]


def some(rng: random.Random, format_: Format, count: int) -> bytes:
    return b"".join(format_.frame(rng, rng.choice(SIZES)) for _ in range(count))


@framed
def framed_questions(rng: random.Random, format_: Format) -> Dialogue:
    turns = [(some(rng, format_, count), some(rng, format_, count)) for count in (1, 1, 2, 20, 60)]
    return Dialogue([*first(rng, format_), *turns])


@framed
def framed_bulk(rng: random.Random, format_: Format) -> Dialogue:
    bulk = b"".join(format_.frame(rng, 60_000) for _ in range(20))
    asked = format_.frame(rng, 40)
    return Dialogue([*first(rng, format_), (asked, b""), (b"", bulk), (asked, b""), (b"", bulk)])


@framed
def framed_in_odd_cuts(rng: random.Random, format_: Format) -> Dialogue:
    cut = conversations.cut(rng, 2000 + format_.header, 1, 3, 5, 9, 100, 1000, 5000)
    receive = conversations.recv_odd(rng, 1, 3, 4, 5, 9, 300, 1025, 4096, 70_000)
    turns = [(some(rng, format_, 60), some(rng, format_, 60)) for _ in range(3)]
    whole_first = [*first(rng, format_), *turns]
    return Dialogue(whole_first, _after(whole, cut), _after(whole, cut), client_receives=receive)


@framed
def framed_in_vectors(rng: random.Random, format_: Format) -> Dialogue:
    few = conversations.vectors(rng, 3, 20_000, conversations.writev)
    many = conversations.vectors(rng, 1000, 60, conversations.writev)
    turns = [(some(rng, format_, 60), some(rng, format_, 60)) for _ in range(3)]
    made = Dialogue([*first(rng, format_), *turns], _after(whole, few), _after(whole, many))
    made.client_receives, made.server_receives = conversations.readv(rng), conversations.recvmsg(rng)
    return made


def _after(begin: Send, then: Send) -> Send:
    """The first messages another way than the others."""
    sent = itertools.count()

    def send(conn: socket.socket, message: Message) -> None:
        (begin if next(sent) < 4 else then)(conn, message)

    return send


@dialogue
def told_in_the_middle(rng: random.Random) -> Dialogue:
    """Of a frame: what is left of it is not taken for one."""
    kafka = FORMATS["kafka"]
    large, small = kafka.frame(rng, 60_000), kafka.frame(rng, 300)
    begun = [(BEFORE, BEFORE), (b"", large[:20_000])]
    return Dialogue([*begun, (b"", large[20_000:40_000]), (b"", large[40_000:]), (small, b""), (b"", large + small)])


@dialogue
def found_in_the_middle(rng: random.Random) -> Dialogue:
    """Both sides speak by turns, in operations that end anywhere, of short frames that are full of small numbers."""
    format_ = FORMATS["postgresql"]
    length = format_.length_at + format_.length_bytes
    made = [format_.frame(rng, rng.randrange(1, 60)) for _ in range(20_000)]
    stream = b"".join(frame[:length] + bytes(len(frame) - length - 1) + frame[-1:] for frame in made)
    pieces = [stream[at : at + 8192] for at in range(0, len(stream), 8192)]
    return Dialogue([(BEFORE, BEFORE), *((piece, piece) for piece in pieces)])


@dialogue
def found_among_answers(rng: random.Random) -> Dialogue:
    """The same of PostgreSQL's own, as many INSERTs give them: a digit and zeros are found at many places."""
    stream = (b"2\0\0\0\4" + b"C\0\0\0\x0fINSERT 0 1\0") * 20_000
    stream = stream[17:]  # the first operation that is told of begins with a "1", a zero and the next header
    pieces = [stream[at : at + 8192] for at in range(0, len(stream), 8192)]
    return Dialogue([(BEFORE, BEFORE), *((piece, piece) for piece in pieces)])


@dialogue
def much_at_once(rng: random.Random) -> Dialogue:
    """The first that is said is more than is passed on of a burst of HTTP's."""
    return Dialogue([(b"\0" + rng.randbytes(1_500_000), b"")], client_sends=conversations.cut(rng, 100_000))


@dialogue
def framed_and_lost(rng: random.Random) -> Dialogue:
    """Between what is lost and what comes then it is known where a frame begins: in the middle of an operation."""
    kafka = FORMATS["kafka"]
    small = b"".join(kafka.frame(rng, 100) for _ in range(60))
    large = kafka.frame(rng, 5000)
    turns = [(small + large[:3000], b""), (large[3000:] + kafka.frame(rng, 10), b"")]
    return Dialogue([*first(rng, kafka), *turns])


if __name__ == "__main__":
    frames.hold(DIALOGUES)
