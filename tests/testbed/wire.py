"""Bytes on sockets, as they are: for cuts, pipelines and protocols that no client library would send."""

import contextlib
import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import tls
from tests.testbed.process import free_port
from tests.testbed.servers import Server


@dataclass(frozen=True, slots=True)
class Answer:
    """One response as a client reads it."""

    status: int
    body: bytes


class _Stream:
    """Lets http.client read several responses from one file."""

    def __init__(self, file: io.BufferedReader) -> None:
        self.file = file

    def makefile(self, *_: object) -> io.BufferedReader:
        return self.file


class _Kept(io.BufferedReader):
    """A reader that stays open when a response is done with it."""

    def close(self) -> None:
        pass


class Connection:
    """A client's connection; within TLS where the server wants it so, in this process's OpenSSL."""

    def __init__(
        self,
        server: Server | tuple[str, int] | str,
        timeout: float = 20,
        newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    ) -> None:
        encrypted = isinstance(server, Server) and server.encrypted
        if isinstance(server, Server):
            server = (server.host, server.port) if server.port else server.host
        family = socket.AF_UNIX if isinstance(server, str) else socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        self.sock = socket.socket(family)
        self.sock.settimeout(timeout)
        self.sock.connect(server)
        if family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if encrypted:
            context = ssl.create_default_context(cafile=str(tls.certificate().certificate))
            context.maximum_version = newest
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self._reader = _Kept(socket.SocketIO(self.sock, "rb"), 65536)

    @property
    def version(self) -> str | None:
        """Of TLS, what both have agreed on; None in the clear."""
        return self.sock.version() if isinstance(self.sock, ssl.SSLSocket) else None

    def send(self, data: bytes, every: int = 0, pause: float = 0.0) -> None:
        """Sends, `every` bytes at a time if given, with a pause after each piece."""
        for begin in range(0, len(data), every or len(data)):
            self.sock.sendall(data[begin : begin + (every or len(data))])
            if pause:
                time.sleep(pause)

    def answer(self, method: str = "GET") -> Answer:
        """Reads one response, the 1xx before it aside."""
        response = http.client.HTTPResponse(_Stream(self._reader), method=method)  # type: ignore[arg-type]
        response.begin()
        return Answer(response.status, response.read())

    def rest(self) -> bytes:
        """Reads until the server closes (or resets)."""
        data = b""
        with contextlib.suppress(ConnectionError):
            while part := self._reader.read1(65536):
                data += part
        return data

    def reset(self) -> None:
        """Closes with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def request(method: str, target: str, *headers: str, body: bytes = b"", host: str = "test.example") -> bytes:
    """A request's bytes; a body brings its Content-Length."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(parts: Iterable[bytes], extension: str = "", trailer: str = "") -> bytes:
    """A chunked body."""
    framed = b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension.encode(), part) for part in parts)
    return framed + b"0" + extension.encode() + b"\r\n" + trailer.encode() + b"\r\n"


def read_head(conn: socket.socket) -> bytes:
    """Reads until the empty line that ends a head, or the end."""
    data = b""
    while b"\r\n\r\n" not in data and (part := conn.recv(65536)):
        data += part
    return data


@contextmanager
def serving(handle: Callable[[socket.socket], None], where: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    """A server in this process: calls `handle` with each connection, in a thread. Yields (host, port)."""
    family = socket.AF_UNIX if where.startswith("/") else socket.AF_INET6 if ":" in where else socket.AF_INET
    listener = socket.socket(family)
    port = 0
    if family == socket.AF_UNIX:
        listener.bind(where)
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = free_port(where)
        listener.bind((where, port))
    listener.listen(64)

    def connection(conn: socket.socket) -> None:
        with conn, contextlib.suppress(OSError):
            handle(conn)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                conn, _ = listener.accept()
                threading.Thread(target=connection, args=(conn,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield where, port
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        if family == socket.AF_UNIX:
            Path(where).unlink(missing_ok=True)


def _relay(here: socket.socket, there: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := here.recv(65536):
            there.sendall(data)
        there.shutdown(socket.SHUT_WR)


@contextmanager
def tunnel() -> Iterator[tuple[str, int]]:
    """A proxy that knows CONNECT and nothing else. Yields (host, port)."""

    def handle(conn: socket.socket) -> None:
        host, _, port = read_head(conn).split(b" ")[1].decode().rpartition(":")
        with socket.create_connection((host, int(port))) as upstream:
            conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=_relay, args=(upstream, conn), daemon=True)
            back.start()
            _relay(conn, upstream)
            back.join(10)

    with serving(handle) as address:
        yield address
