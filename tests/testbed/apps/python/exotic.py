"""A server that receives and sends by the system calls it is told to: `exotic.py PORT RECEIVE SEND`.

Answers every request with 200 and BODY; prints one JSON line per request. RECEIVE and SEND are names of RECEIVERS
and SENDERS. Calls that Python lacks are made through libc.
"""

import ctypes
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable

BODY = b"0123456789" * 100
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(BODY)
LIBC = ctypes.CDLL(None, use_errno=True)


class IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class MsgHdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.POINTER(IoVec)),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class MMsgHdr(ctypes.Structure):
    _fields_ = [("header", MsgHdr), ("length", ctypes.c_uint)]


def _messages(buffers: list[ctypes.Array[ctypes.c_char]]) -> ctypes.Array[MMsgHdr]:
    messages = (MMsgHdr * len(buffers))()
    for message, buffer in zip(messages, buffers, strict=True):
        vector = (IoVec * 1)(IoVec(ctypes.addressof(buffer), len(buffer)))
        message.header.iov, message.header.iovlen = vector, 1
    return messages


def _vectors(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def receive_readv(conn: socket.socket) -> bytes:
    buffers = [bytearray(), bytearray(3), bytearray(7), bytearray(65536)]
    count = os.readv(conn.fileno(), buffers)
    return b"".join(buffers)[:count]


def receive_many_vectors(conn: socket.socket) -> bytes:
    buffers = [bytearray(1) for _ in range(1000)]
    count = os.readv(conn.fileno(), buffers)
    return b"".join(buffers)[:count]


def receive_recvmsg_into(conn: socket.socket) -> bytes:
    buffers = [bytearray(5), bytearray(65536)]
    count = conn.recvmsg_into(buffers)[0]
    return b"".join(buffers)[:count]


def receive_recvmmsg(conn: socket.socket) -> bytes:
    buffers = [ctypes.create_string_buffer(64) for _ in range(8)]
    messages = _messages(buffers)
    waitforone = 0x10000
    count = LIBC.recvmmsg(conn.fileno(), messages, len(buffers), waitforone, None)
    return b"".join(buffers[i].raw[: messages[i].length] for i in range(max(count, 0)))


def receive_peeked(conn: socket.socket) -> bytes:
    conn.recv(10, socket.MSG_PEEK)
    conn.recv(65536, socket.MSG_PEEK)
    return conn.recv(65536)


def receive_waitall(conn: socket.socket) -> bytes:
    return conn.recv(16, socket.MSG_WAITALL) + conn.recv(65536)


def receive_nonblocking(conn: socket.socket) -> bytes:
    conn.setblocking(False)
    while True:
        try:
            return conn.recv(65536)
        except BlockingIOError:
            time.sleep(0.001)
        finally:
            conn.setblocking(True)


def receive_spliced(conn: socket.socket) -> bytes:
    read_end, write_end = os.pipe()
    count = os.splice(conn.fileno(), write_end, 65536)
    data = os.read(read_end, count) if count else b""
    os.close(read_end)
    os.close(write_end)
    return data


RECEIVERS: dict[str, Callable[[socket.socket], bytes]] = {
    "read": lambda conn: os.read(conn.fileno(), 65536),
    "recv": lambda conn: conn.recv(65536),
    "recv-1": lambda conn: conn.recv(1),
    "recvfrom": lambda conn: conn.recvfrom(65536)[0],
    "recvmsg": lambda conn: conn.recvmsg(65536)[0],
    "recvmsg-into": receive_recvmsg_into,
    "recvmmsg": receive_recvmmsg,
    "readv": receive_readv,
    "readv-1000": receive_many_vectors,
    "peek": receive_peeked,
    "waitall": receive_waitall,
    "nonblocking": receive_nonblocking,
    "splice": receive_spliced,
}


def send_sendmmsg(conn: socket.socket) -> None:
    data = HEAD + BODY
    buffers = [ctypes.create_string_buffer(part, len(part)) for part in _vectors(data, 50)]
    assert LIBC.sendmmsg(conn.fileno(), _messages(buffers), len(buffers), 0) == len(buffers)


def send_sendfile(conn: socket.socket) -> None:
    conn.sendall(HEAD, socket.MSG_MORE)
    with tempfile.TemporaryFile() as file:
        file.write(BODY)
        file.flush()
        assert os.sendfile(conn.fileno(), file.fileno(), 0, len(BODY)) == len(BODY)


def send_splice(conn: socket.socket) -> None:
    conn.sendall(HEAD)
    read_end, write_end = os.pipe()
    os.write(write_end, BODY)
    assert os.splice(read_end, conn.fileno(), len(BODY)) == len(BODY)
    os.close(read_end)
    os.close(write_end)


def send_bytewise(conn: socket.socket) -> None:
    for part in _vectors(HEAD, 1):
        conn.sendall(part)
    conn.sendall(BODY)


SENDERS: dict[str, Callable[[socket.socket], object]] = {
    "write": lambda conn: os.write(conn.fileno(), HEAD + BODY),
    "send": lambda conn: conn.sendall(HEAD + BODY),
    "send-1": send_bytewise,
    "sendto": lambda conn: conn.sendto(HEAD + BODY, conn.getpeername()),
    "sendmsg": lambda conn: conn.sendmsg([b"", HEAD[:20], b"", HEAD[20:], BODY]),
    "sendmmsg": send_sendmmsg,
    "writev": lambda conn: os.writev(conn.fileno(), [b"", HEAD, BODY]),
    "writev-1000": lambda conn: os.writev(conn.fileno(), _vectors(HEAD + BODY, 2)),
    "sendfile": send_sendfile,
    "splice": send_splice,
}


def main() -> None:
    port, receive, send = int(sys.argv[1]), RECEIVERS[sys.argv[2]], SENDERS[sys.argv[3]]
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            conn, _ = listener.accept()
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with conn:
                data = b""
                while True:
                    while b"\r\n\r\n" not in data and (part := receive(conn)):
                        data += part
                    if b"\r\n\r\n" not in data:
                        break
                    head, _, data = data.partition(b"\r\n\r\n")
                    begin = time.perf_counter()
                    send(conn)
                    method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
                    line = {"method": method, "target": target, "status": 200, "body_bytes": len(BODY)}
                    print(json.dumps({**line, "duration_s": time.perf_counter() - begin}), flush=True)


if __name__ == "__main__":
    main()
