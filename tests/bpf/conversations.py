"""Both ends of a conversation in a process of their own: `python -m tests.bpf.conversations NAME SEED`.

Prints one JSON object: the port, and what an observer must report of each exchange. A conversation is a list of
connections, a connection a list of exchanges, and a way to receive and to send for each end.
"""

import ctypes
import json
import os
import random
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.testbed.apps.python import exotic
from tests.testbed.wire import chunked, request

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

Send = Callable[[socket.socket, "Message"], object]
Receive = Callable[[socket.socket, int, int], int]
"""Takes what is left of a message's head and body, moves some bytes (of the next message too), says how many."""


@dataclass(frozen=True, slots=True)
class Message:
    head: bytes
    body: bytes = b""

    @property
    def bytes(self) -> bytes:
        return self.head + self.body


@dataclass(frozen=True, slots=True)
class Exchange:
    question: Message
    answer: Message
    expected: dict[str, object]


@dataclass(slots=True)
class Conversation:
    connections: list[list[Exchange]]
    server_sends: Send = field(default_factory=lambda: whole)
    client_sends: Send = field(default_factory=lambda: whole)
    server_receives: Receive = field(default_factory=lambda: recv(65536))
    client_receives: Receive = field(default_factory=lambda: recv(65536))
    pipelined: bool = False
    answers_at_once: bool = False
    client_waits_s: float = 0.0


# ---- ways to send ----


def whole(conn: socket.socket, message: Message) -> None:
    conn.sendall(message.bytes)


def head_then_body(conn: socket.socket, message: Message) -> None:
    conn.sendall(message.head)
    conn.sendall(message.body)


def cut(rng: random.Random, *sizes: int) -> Send:
    def send(conn: socket.socket, message: Message) -> None:
        data, at = message.bytes, 0
        while at < len(data):
            at += conn.send(data[at : at + rng.choice(sizes)])

    return send


def vectors(rng: random.Random, count: int, largest: int, move: Callable[[socket.socket, list[bytes]], int]) -> Send:
    def send(conn: socket.socket, message: Message) -> None:
        data, at = message.bytes, 0
        while at < len(data):
            pieces, end = [], at
            for _ in range(count):
                size = rng.randint(1, largest)
                pieces.append(data[end : end + size])
                end += size
            at += move(conn, pieces)

    return send


def writev(conn: socket.socket, pieces: list[bytes]) -> int:
    return os.writev(conn.fileno(), pieces)


def sendmsg(conn: socket.socket, pieces: list[bytes]) -> int:
    return conn.sendmsg(pieces)


def sendmmsg(conn: socket.socket, pieces: list[bytes]) -> int:
    filled = [piece for piece in pieces if piece]
    buffers = [ctypes.create_string_buffer(piece, len(piece)) for piece in filled]
    messages = exotic._messages(buffers)
    sent = exotic.LIBC.sendmmsg(conn.fileno(), messages, len(buffers), 0)
    return sum(messages[i].length for i in range(sent))


def sendfile(conn: socket.socket, message: Message) -> None:
    conn.sendall(message.head)
    with tempfile.TemporaryFile() as file:
        file.write(message.body)
        file.flush()
        at = 0
        while at < len(message.body):
            at += os.sendfile(conn.fileno(), file.fileno(), at, len(message.body) - at)


def splice(conn: socket.socket, message: Message) -> None:
    conn.sendall(message.head)
    read_end, write_end = os.pipe()
    at = 0
    while at < len(message.body):
        filled = os.write(write_end, message.body[at : at + 60000])
        at += filled
        while filled:
            filled -= os.splice(read_end, conn.fileno(), filled)
    os.close(read_end)
    os.close(write_end)


# ---- ways to receive ----


def recv(size: int) -> Receive:
    return lambda conn, _head, _body: len(conn.recv(size))


def recv_odd(rng: random.Random, *sizes: int) -> Receive:
    return lambda conn, _head, _body: len(conn.recv(rng.choice(sizes)))


def peek(conn: socket.socket, head: int, body: int) -> int:
    conn.recv(10, socket.MSG_PEEK)
    conn.recv(100_000, socket.MSG_PEEK)
    return len(conn.recv(5000))


def truncate(conn: socket.socket, head: int, body: int) -> int:
    """Bodies are thrown away unread."""
    if head:
        return len(conn.recv(head))
    return conn.recv_into(bytearray(body), body, socket.MSG_TRUNC)


def splice_out(conn: socket.socket, head: int, body: int) -> int:
    """Bodies go into a pipe."""
    if head:
        return len(conn.recv(head))
    read_end, write_end = os.pipe()
    count = os.splice(conn.fileno(), write_end, min(body, 60000))
    os.close(read_end)
    os.close(write_end)
    return count


def readv(rng: random.Random) -> Receive:
    def receive(conn: socket.socket, head: int, body: int) -> int:
        return os.readv(conn.fileno(), [bytearray(rng.randint(1, 50)) for _ in range(1000)])

    return receive


def recvmsg(rng: random.Random) -> Receive:
    def receive(conn: socket.socket, head: int, body: int) -> int:
        return conn.recvmsg_into([bytearray(rng.choice([1, 30, 3000, 70_000])) for _ in range(10)])[0]

    return receive


def recvmmsg(conn: socket.socket, head: int, body: int) -> int:
    buffers = [ctypes.create_string_buffer(size) for size in (10, 300, 3000, 10_000)]
    messages = exotic._messages(buffers)
    wait_for_one = 0x10000
    count = exotic.LIBC.recvmmsg(conn.fileno(), messages, len(buffers), wait_for_one, None)
    assert count > 0
    return sum(messages[i].length for i in range(count))


# ---- what is said ----


Asked = tuple[Message, dict[str, object]]
"""A request, and what must be reported of it."""


def ask(number: int, *headers: str, body: bytes = b"", expected: int | None = None, method: str = "") -> Asked:
    method = method or ("POST" if body else "GET")
    length = [f"Content-Length: {len(body)}"] if body and expected is None else []
    target = f"/items/{number}"
    said = {"method": method, "target": target, "request_body_bytes": len(body) if expected is None else expected}
    return Message(request(method, target, *length, *headers), body), said


def answer(body: bytes, *headers: str, status: int = 200) -> Message:
    lines = [f"HTTP/1.1 {status} OK", *headers]
    if not any(line.startswith("Transfer-Encoding") for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return Message("\r\n".join([*lines, "", ""]).encode(), body)


def exchange(asked: Asked, answered: Message, body_bytes: int | None = None, status: int = 200) -> Exchange:
    question, said = asked
    size = len(answered.body) if body_bytes is None else body_bytes
    return Exchange(question, answered, {**said, "status": status, "response_body_bytes": size})


def content(rng: random.Random, size: int) -> bytes:
    """Bytes of any kind, or lines with empty ones between them: an end of a head is nothing special in a body."""
    lines = rng.choice([b"event: data\n\n", b"some: text\n\r\n"])
    return rng.choice([rng.randbytes(size), (lines * (size // len(lines) + 1))[:size]])


def chunks(rng: random.Random, largest: int, most: int) -> tuple[bytes, int]:
    """A chunked body and the bytes in it."""
    sizes = [min(rng.choice([1, 5, 100, 1000, 5000, 70_000]), largest) for _ in range(rng.randint(1, most))]
    extension, trailer = rng.choice(["", ";ext=1", ';a="b" ; c']), rng.choice(["", "X-T: 1\r\n"])
    return chunked([content(rng, size) for size in sizes], extension, trailer), sum(sizes)


def chunked_both_ways(rng: random.Random, largest: int = 70_000, most: int = 60, count: int = 20) -> list[Exchange]:
    said = []
    for number in range(count):
        (up, up_bytes), (down, down_bytes) = chunks(rng, largest, most), chunks(rng, largest, most)
        padding = "X-Pad: " + "p" * rng.choice([1, 600, 5000])
        asked = ask(number, "Transfer-Encoding: chunked", padding, body=up, expected=up_bytes)
        said.append(exchange(asked, answer(down, "Transfer-Encoding: chunked", padding), down_bytes))
    return said


def mixed(rng: random.Random, count: int, largest: int) -> list[Exchange]:
    """With and without bodies, of known length."""
    said = []
    for number in range(count):
        up, down = (content(rng, rng.choice([0, 1, 900, largest])) for _ in range(2))
        said.append(exchange(ask(number, body=up), answer(down)))
    return said


CONVERSATIONS: dict[str, Callable[[random.Random], Conversation]] = {}


def conversation(make: Callable[[random.Random], Conversation]) -> Callable[[random.Random], Conversation]:
    CONVERSATIONS[make.__name__] = make
    return make


@conversation
def chunked_in_one(rng: random.Random) -> Conversation:
    connections = [chunked_both_ways(rng, count=5) for _ in range(4)]
    sizes = [rng.choice([4096, 65536, 1 << 20]) for _ in range(2)]
    return Conversation(connections, server_receives=recv(sizes[0]), client_receives=recv(sizes[1]))


@conversation
def chunked_behind_its_head(rng: random.Random) -> Conversation:
    made = chunked_in_one(rng)
    made.server_sends = made.client_sends = head_then_body
    return made


@conversation
def chunked_from_iovecs(rng: random.Random) -> Conversation:
    """As Node and hyper send: a chunk's line, its data and the line end each in its own place."""
    made = chunked_in_one(rng)
    made.server_sends = made.client_sends = vectors(rng, 1000, 300, writev)
    return made


@conversation
def chunked_in_odd_cuts(rng: random.Random) -> Conversation:
    odd = cut(rng, 1, 7, 100, 3000, 9000, 65536)
    return Conversation([chunked_both_ways(rng, 5000, 30)], odd, odd, recv_odd(rng, 7, 4096), recv_odd(rng, 100, 65536))


@conversation
def large_chunked_in_odd_cuts(rng: random.Random) -> Conversation:
    odd = cut(rng, 1, 7, 100, 3000, 9000, 65536)
    return Conversation([chunked_both_ways(rng)], odd, odd)


@conversation
def ten_megabytes_both_ways(rng: random.Random) -> Conversation:
    body = rng.randbytes(10_000_000)
    said = [exchange(ask(0, body=body), answer(body)), exchange(ask(1), answer(b"ok"))] * 2
    return Conversation([said], whole, cut(rng, 1000, 100_000), recv(1 << 20), recv_odd(rng, 9000, 1 << 20))


@conversation
def pipelined(rng: random.Random) -> Conversation:
    said = [exchange(ask(number), answer(rng.randbytes(8192))) for number in range(100)]
    return Conversation([said], pipelined=True)


@conversation
def pipelined_and_answered_at_once(rng: random.Random) -> Conversation:
    said = [exchange(ask(number), answer(rng.randbytes(8192))) for number in range(100)]
    return Conversation([said], pipelined=True, answers_at_once=True, client_receives=recv(1 << 20))


@conversation
def pipelined_uploads(rng: random.Random) -> Conversation:
    said = [exchange(ask(number, body=content(rng, 3000)), answer(content(rng, 100))) for number in range(100)]
    return Conversation([said], pipelined=True, answers_at_once=True)


@conversation
def pipelined_with_answers_of_all_kinds(rng: random.Random) -> Conversation:
    said = []
    for number in range(100):
        body, framed = content(rng, rng.choice([0, 30, 700, 3000])), rng.randrange(4)
        if framed == 0:
            said.append(exchange(ask(number, method="HEAD"), Message(answer(body).head), 0))
        elif framed == 1:
            not_modified = Message(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n')
            said.append(exchange(ask(number), not_modified, status=304))
        else:
            said.append(exchange(ask(number), answer(body)))
    return Conversation([said], pipelined=True, answers_at_once=True)


@conversation
def head_of_32_kb(rng: random.Random) -> Conversation:
    filler = [f"X-Filler-{number}: {'z' * 1000}" for number in range(31)]
    said = []
    for number in range(4):
        question, words = ask(number, *filler, f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01", body=b"hello")
        said.append(exchange((question, {**words, "trace_id": TRACE}), answer(b"ok", *filler)))
    return Conversation([said])


@conversation
def head_of_32_kb_in_odd_cuts(rng: random.Random) -> Conversation:
    made = head_of_32_kb(rng)
    made.client_sends, made.server_sends = cut(rng, 7, 1000, 4095), cut(rng, 1, 5000)
    made.server_receives, made.client_receives = recv_odd(rng, 100, 4097), recv_odd(rng, 1, 10_000)
    return made


@conversation
def url_of_8_kb(rng: random.Random) -> Conversation:
    said = []
    for number in range(3):
        target = f"/items/{number}/" + "abcdefgh" * 1000
        question = Message(request("GET", target))
        words: dict[str, object] = {"method": "GET", "target": target[:2048], "request_body_bytes": 0}
        said.append(exchange((question, words), answer(b"ok")))
    return Conversation([said])


@conversation
def msg_peek(rng: random.Random) -> Conversation:
    return Conversation([mixed(rng, 20, 100_000)], server_receives=peek, client_receives=peek)


@conversation
def msg_trunc(rng: random.Random) -> Conversation:
    return Conversation([mixed(rng, 20, 100_000)], server_receives=truncate, client_receives=truncate)


@conversation
def a_thousand_iovecs(rng: random.Random) -> Conversation:
    many = vectors(rng, 1000, 50, writev)
    return Conversation([mixed(rng, 20, 60_000)], many, many, readv(rng), readv(rng))


@conversation
def a_thousand_iovecs_pipelined(rng: random.Random) -> Conversation:
    many = vectors(rng, 1000, 50, writev)
    said = [exchange(ask(number), answer(rng.randbytes(rng.choice([1, 500, 5000])))) for number in range(60)]
    return Conversation([said], many, many, readv(rng), readv(rng), pipelined=True, answers_at_once=True)


@conversation
def sendmsg_and_recvmsg(rng: random.Random) -> Conversation:
    some = vectors(rng, 10, 20_000, sendmsg)
    return Conversation([mixed(rng, 20, 100_000)], some, some, recvmsg(rng), recvmsg(rng))


@conversation
def sendmmsg_and_recvmmsg(rng: random.Random) -> Conversation:
    some = vectors(rng, 30, 3000, sendmmsg)
    return Conversation([mixed(rng, 20, 100_000)], some, some, recvmmsg, recvmmsg)


@conversation
def sendfile_both_ways(rng: random.Random) -> Conversation:
    return Conversation([mixed(rng, 10, 1_000_000)], sendfile, sendfile)


@conversation
def splice_in(rng: random.Random) -> Conversation:
    return Conversation([mixed(rng, 10, 300_000)], splice, splice)


@conversation
def splice_out_of_the_server(rng: random.Random) -> Conversation:
    return Conversation([mixed(rng, 10, 300_000)], server_receives=splice_out)


@conversation
def splice_out_of_the_client(rng: random.Random) -> Conversation:
    said = [*mixed(rng, 10, 300_000), exchange(ask(99), answer(b""))]
    return Conversation([said], client_receives=splice_out)


@conversation
def fin_read_with_the_data(rng: random.Random) -> Conversation:
    connections = []
    for number in range(5):
        body = rng.randbytes(rng.choice([2, 5000, 100_000]))
        until_close = Message(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", body)
        answers = [until_close, answer(body, "Connection: close")]
        connections += [[exchange(ask(number), each)] for each in answers]
    return Conversation(connections, client_receives=recv(1 << 20), client_waits_s=0.02)


# ---- both ends ----


def _each(conn: socket.socket, messages: list[Message], receive: Receive) -> Iterator[None]:
    """Yields once for each message that has arrived whole."""
    ahead = 0
    for message in messages:
        left = len(message.bytes) - ahead
        while left > 0:
            head = max(0, left - len(message.body))
            moved = receive(conn, head, min(left, len(message.body)))
            if moved == 0:
                raise EOFError
            left -= moved
        ahead = -left
        yield


def _together(messages: list[Message]) -> Message:
    return Message(b"".join(message.bytes for message in messages))


def _serve(listener: socket.socket, it: Conversation) -> None:
    for said in it.connections:
        conn, _ = listener.accept()
        with conn:
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            questions = _each(conn, [each.question for each in said], it.server_receives)
            for each, () in zip(said, ((),) * len(said), strict=True):
                next(questions)
                if not it.answers_at_once:
                    it.server_sends(conn, each.answer)
            if it.answers_at_once:
                it.server_sends(conn, _together([each.answer for each in said]))


def _ask(address: tuple[str, int], it: Conversation) -> None:
    for said in it.connections:
        with socket.create_connection(address) as conn:
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answers = _each(conn, [each.answer for each in said], it.client_receives)
            questions = [each.question for each in said]
            if it.pipelined:
                questions, rest = [_together(questions)], len(questions) - 1
            for question in questions:
                it.client_sends(conn, question)
                time.sleep(it.client_waits_s)
                next(answers)
            for _ in range(rest if it.pipelined else 0):
                next(answers)
            with_end = it.client_receives(conn, 1, 0) if it.client_waits_s else 0
            assert with_end == 0


def main() -> None:
    it = CONVERSATIONS[sys.argv[1]](random.Random(int(sys.argv[2])))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_serve, args=(listener, it))
        server.start()
        _ask(listener.getsockname(), it)
        server.join()
        port = listener.getsockname()[1]
    print(json.dumps({"port": port, "expected": [each.expected for said in it.connections for each in said]}))


if __name__ == "__main__":
    main()
