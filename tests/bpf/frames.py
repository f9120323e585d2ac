"""HTTP/2 between two ends in a process of their own: `python -m tests.bpf.frames NAME SEED PORT`.

What is said follows from name and seed, so that whoever watches knows it too. A line on the standard input lets the
ends go on from one turn to the next; each is answered by a line.
"""

import os
import random
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from tests.bpf import conversations
from tests.bpf.conversations import Message, Receive, Send, recv, whole
from tests.testbed.tls import certificate

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
UNKNOWN = 0xEE
LEAD, SHORT = 16, 512
"""Bytes of a payload that are always wanted, and up to how many all of them are."""


def frame(kind: int, payload: bytes = b"", stream: int = 1, flags: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


@dataclass(slots=True)
class Dialogue:
    """In a turn each end says its part, both at the same time."""

    turns: list[tuple[bytes, bytes]]
    client_sends: Send = field(default_factory=lambda: whole)
    server_sends: Send = field(default_factory=lambda: whole)
    client_receives: Receive = field(default_factory=lambda: recv(65536))
    server_receives: Receive = field(default_factory=lambda: recv(65536))
    encrypted: bool = False

    def stream(self, end: int) -> bytes:
        """All that the client (0) or the server (1) says."""
        return b"".join(turn[end] for turn in self.turns)


DIALOGUES: dict[str, Callable[[random.Random], Dialogue]] = {}


def dialogue(make: Callable[[random.Random], Dialogue]) -> Callable[[random.Random], Dialogue]:
    DIALOGUES[make.__name__] = make
    return make


def settings(count: int = 3) -> bytes:
    return frame(SETTINGS, b"\0\3\0\0\0\x64" * count, 0)


HELLO = PREFACE + settings() + frame(WINDOW_UPDATE, b"\0\x0e\0\1", 0)


def some(rng: random.Random, count: int, largest: int = 3000) -> bytes:
    """Frames of every type."""
    said = []
    for number in range(count):
        stream = 2 * number + 1
        size = rng.choice([0, 1, 15, 16, 17, 100, 511, 512, 513, 600, largest])
        said.append(
            rng.choice(
                [
                    frame(DATA, rng.randbytes(size), stream, rng.choice([0, 1, 8])),
                    frame(HEADERS, rng.randbytes(rng.choice([1, 30, 100])), stream, 4),
                    frame(HEADERS, rng.randbytes(size), stream) + frame(CONTINUATION, rng.randbytes(size), stream, 4),
                    frame(PRIORITY, rng.randbytes(5), stream),
                    frame(RST_STREAM, rng.randbytes(4), stream),
                    frame(SETTINGS, flags=1, stream=0),
                    frame(PUSH_PROMISE, rng.randbytes(40), stream, 4),
                    frame(PING, rng.randbytes(8), 0, rng.choice([0, 1])),
                    frame(GOAWAY, rng.randbytes(8 + size), 0),
                    frame(WINDOW_UPDATE, rng.randbytes(4), rng.choice([0, stream])),
                    frame(UNKNOWN, rng.randbytes(size), stream),
                ]
            )
        )
    return b"".join(said)


def download(rng: random.Random, size: int = 1 << 20, each: int = 16384) -> bytes:
    body = [frame(DATA, rng.randbytes(each)) for _ in range(size // each)]
    return frame(HEADERS, rng.randbytes(80), flags=4) + b"".join(body) + frame(HEADERS, b"trailers", flags=5)


ASK = frame(HEADERS, b"h" * 40, flags=5)


@dialogue
def whole_requests(rng: random.Random) -> Dialogue:
    answer = frame(HEADERS, b"a" * 60, flags=4) + frame(DATA, b"d" * 400, flags=1)
    return Dialogue([(HELLO, settings()), *[(ASK, answer)] * 30])


@dialogue
def preface_alone(rng: random.Random) -> Dialogue:
    return Dialogue([(PREFACE, b""), (settings(), settings()), (ASK, download(rng, 100_000))])


@dialogue
def preface_before_something_large(rng: random.Random) -> Dialogue:
    return Dialogue([(HELLO + download(rng, 100_000), settings()), (ASK, download(rng, 100_000))])


@dialogue
def byte_by_byte(rng: random.Random) -> Dialogue:
    one = conversations.cut(rng, 1)
    return Dialogue([(HELLO, settings()), (some(rng, 12, 700), some(rng, 12, 700))], one, one, recv(1), recv(1))


@dialogue
def cut_at_random(rng: random.Random) -> Dialogue:
    cut = conversations.cut(rng, 1, 5, 9, 100, 1000, 1025, 5000, 70_000)
    receive = conversations.recv_odd(rng, 1, 8, 9, 10, 300, 1024, 1025, 4096, 70_000)
    turns = [(some(rng, 60), some(rng, 60)) for _ in range(5)]
    return Dialogue([(HELLO, settings()), *turns], cut, cut, receive, receive)


@dialogue
def megabyte(rng: random.Random) -> Dialogue:
    return Dialogue([(HELLO, settings()), (ASK, download(rng))])


@dialogue
def megabyte_frame_by_frame(rng: random.Random) -> Dialogue:
    """A write a frame, and reads that end in the middle of some."""
    each = conversations.cut(rng, 16384 + 9)
    return Dialogue([(HELLO, settings()), (download(rng), download(rng))], each, each, recv(4096), recv(9000))


@dialogue
def header_then_payload(rng: random.Random) -> Dialogue:
    """A read of nine bytes, and one of what they announce."""

    def receive(conn: socket.socket, head: int, body: int) -> int:
        header = conn.recv(9, socket.MSG_WAITALL)
        length = int.from_bytes(header[:3], "big")
        return len(header) + (len(conn.recv(length, socket.MSG_WAITALL)) if length else 0)

    return Dialogue([(HELLO, settings()), (some(rng, 100), download(rng, 200_000))], client_receives=receive)


@dialogue
def headers_cut(rng: random.Random) -> Dialogue:
    """Each operation ends in the middle of a header, that of DATA which is not wanted among them."""
    said, cuts = b"", []
    for at in [*range(1, 9)] * 4:
        said += frame(DATA, rng.randbytes(rng.choice([3, 2000])), 3)
        cuts.append(len(said) + at)
        said += frame(HEADERS, rng.randbytes(at), 5, 4) if at % 2 else frame(DATA, rng.randbytes(700), 3)

    def send(conn: socket.socket, message: Message) -> None:
        ends = [end for end in cuts if end < len(message.bytes)]
        for begin, end in zip([0, *ends], [*ends, len(message.bytes)], strict=True):
            conn.sendall(message.bytes[begin:end])

    return Dialogue([(HELLO, settings()), (said, said)], send, send)


@dialogue
def server_first(rng: random.Random) -> Dialogue:
    turns = [(b"", settings()), (HELLO, b""), (ASK, download(rng, 200_000)), (some(rng, 30), some(rng, 30))]
    return Dialogue(turns)


@dialogue
def many_small_ones(rng: random.Random) -> Dialogue:
    """gRPC's streams: messages of a hundred bytes, many in an operation."""
    messages = b"".join(frame(DATA, rng.randbytes(rng.randint(5, 200)), 2 * n + 1) for n in range(2000))
    return Dialogue([(HELLO, settings()), (messages, messages)])


@dialogue
def vectors(rng: random.Random) -> Dialogue:
    few = conversations.vectors(rng, 3, 20_000, conversations.writev)
    many = conversations.vectors(rng, 1000, 60, conversations.writev)
    turns = [(some(rng, 60), some(rng, 60)) for _ in range(3)]
    turns.append((download(rng, 100_000), download(rng, 100_000)))
    return Dialogue([(HELLO, settings()), *turns], few, many, conversations.readv(rng), conversations.recvmsg(rng))


@dialogue
def sendmmsg(rng: random.Random) -> Dialogue:
    each = conversations.vectors(rng, 30, 3000, conversations.sendmmsg)
    turns = [(some(rng, 60), some(rng, 60)) for _ in range(3)]
    return Dialogue([(HELLO, settings()), *turns], each, each, conversations.recvmmsg, conversations.recvmmsg)


@dialogue
def both_at_once(rng: random.Random) -> Dialogue:
    """Sends and receives of one socket in two threads, each frame an operation."""
    each = conversations.cut(rng, 1000, 3000)
    turns = [(some(rng, 3000, 600), some(rng, 3000, 600))]
    return Dialogue([(HELLO, settings()), *turns], each, each, recv(2000), recv(2000))


@dialogue
def not_what_it_seems(rng: random.Random) -> Dialogue:
    """Begins like the preface and is none."""
    return Dialogue([(PREFACE[:20] + b"sm\r\n", b"no"), (some(rng, 3), some(rng, 3))])


def frames_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        yield at, data[at : at + 9]
        at += 9 + int.from_bytes(data[at : at + 3], "big")


def _sendfile(conn: socket.socket, message: Message) -> None:
    """Headers by send, the payload of DATA by sendfile, as nginx does it."""
    for at, header in frames_of(message.bytes):
        payload = message.bytes[at + 9 : at + 9 + int.from_bytes(header[:3], "big")]
        if header[3] == DATA:
            conversations.sendfile(conn, Message(header, payload))
        else:
            conn.sendall(header + payload)


@dialogue
def sendfile(rng: random.Random) -> Dialogue:
    return Dialogue([(HELLO, settings()), (ASK, download(rng, 300_000)), (ASK, some(rng, 30))], server_sends=_sendfile)


@dialogue
def spliced_away(rng: random.Random) -> Dialogue:
    """Payload of DATA leaves the socket where no hook sees it."""
    read_end, write_end = os.pipe()

    def receive(conn: socket.socket, head: int, body: int) -> int:
        header = conn.recv(9, socket.MSG_WAITALL)
        left = length = int.from_bytes(header[:3], "big")
        while left:
            if header[3] == DATA:
                moved = os.splice(conn.fileno(), write_end, min(left, 60000))
                os.read(read_end, moved)
            else:
                moved = len(conn.recv(left, socket.MSG_WAITALL))
            left -= moved
        return 9 + length

    return Dialogue([(HELLO, settings()), (ASK, download(rng, 200_000)), (ASK, some(rng, 60))], client_receives=receive)


@dialogue
def an_old_one(rng: random.Random) -> Dialogue:
    """Its first turn is before anybody looks, its second in many operations."""
    pings = frame(PING, b"12345678", 0) * 40
    turns = [(HELLO, settings()), (pings, pings), (ASK * 30, b""), (b"", frame(SETTINGS, b"", 0, 1) + download(rng))]
    return Dialogue(turns, conversations.cut(rng, 17), server_receives=recv(17))


@dialogue
def more_than_the_ring_holds(rng: random.Random) -> Dialogue:
    """What is lost ends in the middle of DATA, so that what comes then tells whether anybody has kept count."""
    short = b"".join(frame(DATA, rng.randbytes(100), 3) for _ in range(200))
    last = frame(DATA, rng.randbytes(16000), 3)
    return Dialogue([(HELLO, settings()), (b"", short + last[:5000]), (b"", last[5000:] + ASK)])


@dialogue
def within_tls(rng: random.Random) -> Dialogue:
    """One end at a time: Python's SSLSocket is not for two threads."""
    turns = [(HELLO, b""), (b"", settings()), (ASK, b""), (b"", download(rng, 300_000)), (some(rng, 60), b"")]
    cut = conversations.cut(rng, 1, 9, 1000, 16384)
    return Dialogue(turns, client_sends=cut, client_receives=recv(9000), encrypted=True)


# ---- both ends ----


def _receive(conn: socket.socket, size: int, receive: Receive) -> None:
    while size > 0:
        moved = receive(conn, 0, size)
        if moved == 0:
            raise EOFError
        size -= moved


def _turn(it: Dialogue, said: tuple[bytes, bytes], client: socket.socket, server: socket.socket) -> None:
    jobs = [
        threading.Thread(target=_receive, args=(server, len(said[0]), it.server_receives)),
        threading.Thread(target=_receive, args=(client, len(said[1]), it.client_receives)),
        threading.Thread(target=it.client_sends, args=(client, Message(said[0]))),
        threading.Thread(target=it.server_sends, args=(server, Message(said[1]))),
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()


def _encrypted(client: socket.socket, server: socket.socket) -> tuple[socket.socket, socket.socket]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate().certificate, certificate().key)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    asks = trusting.wrap_socket(client, do_handshake_on_connect=False)
    handshake = threading.Thread(target=asks.do_handshake)
    handshake.start()
    answers = context.wrap_socket(server, server_side=True)
    handshake.join()
    return asks, answers


def hold(dialogues: Mapping[str, Callable[[random.Random], Dialogue]]) -> None:
    """The one that the command line names."""
    name, seed, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    it = dialogues[name](random.Random(seed))
    with (
        socket.create_server(("127.0.0.1", port)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
    ):
        for conn in (client, server):
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ends = _encrypted(client, server) if it.encrypted else (client, server)
        for said in it.turns:
            if not sys.stdin.readline():
                return
            _turn(it, said, *ends)
            print("said", flush=True)


if __name__ == "__main__":
    hold(DIALOGUES)
