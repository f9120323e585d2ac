"""A protocol that begins in the clear and changes to TLS, as SMTP and PostgreSQL do, with HTTP inside.

    upgrade.py serve PORT own|memory CERTIFICATE KEY                  prints one JSON line per request
    upgrade.py client PORT own|memory REQUESTS TARGET GREETINGS       on one connection; prints "STATUS BODY_BYTES"

    client  HELLO n             as many as there are GREETINGS, each with its answer
    server  WELCOME n
    client  STARTTLS
    server  GO
            TLS, and HTTP/1.1 in it

`own`: the library reads and writes the socket. `memory`: it never sees it (ssl.MemoryBIO), as in asyncio.
"""

import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable


class Memory:
    """A connection whose TLS library is given and gives bytes, and this moves them."""

    def __init__(self, context: ssl.SSLContext, sock: socket.socket, server: bool) -> None:
        self.sock, self.incoming, self.outgoing = sock, ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server else "localhost"
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server, server_hostname=name)
        self._until_done(self.tls.do_handshake)

    def _flush(self) -> None:
        if data := self.outgoing.read():
            self.sock.sendall(data)

    def _until_done(self, step: Callable[[], object]) -> object:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
                if not (data := self.sock.recv(65536)):
                    return b""
                self.incoming.write(data)
            else:
                self._flush()
                return done

    def recv(self, size: int) -> bytes:
        data = self._until_done(lambda: self.tls.read(size))
        assert isinstance(data, bytes)
        return data

    def sendall(self, data: bytes) -> None:
        self._until_done(lambda: self.tls.write(data))


Stream = Memory | ssl.SSLSocket


def secured(context: ssl.SSLContext, sock: socket.socket, how: str, server: bool) -> Stream:
    if how == "memory":
        return Memory(context, sock, server)
    return context.wrap_socket(sock, server_side=server, server_hostname=None if server else "localhost")


def line(sock: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n") and (part := sock.recv(100)):
        data += part
    return data


def read_head(stream: Stream) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data and (part := stream.recv(65536)):
        data += part
    return data


def serve_one(context: ssl.SSLContext, sock: socket.socket, how: str) -> None:
    with sock:
        while (said := line(sock)) and said != b"STARTTLS\n":
            sock.sendall(b"WELCOME" + said[5:])
        if not said:
            return
        sock.sendall(b"GO\n")
        stream = secured(context, sock, how, server=True)
        while head := read_head(stream):
            begin = time.perf_counter()
            method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")
            row = {"method": method, "target": target, "status": 200, "body_bytes": 6}
            print(json.dumps({**row, "duration_s": time.perf_counter() - begin}), flush=True)


def serve(port: int, how: str, certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve_one, args=(context, sock, how), daemon=True).start()


def client(port: int, how: str, requests: int, target: str, greetings: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        for number in range(greetings):
            sock.sendall(b"HELLO %d\n" % number)
            line(sock)
            time.sleep(0.15)  # whoever watches may find by now that this is no protocol that it knows
        sock.sendall(b"STARTTLS\n")
        line(sock)
        stream = secured(ssl.create_default_context(), sock, how, server=False)
        for number in range(requests):
            stream.sendall(f"GET {target}&n={number} HTTP/1.1\r\nHost: test.example\r\n\r\n".encode())
            answer = read_head(stream)
            print(answer.split()[1].decode(), len(answer.partition(b"\r\n\r\n")[2]))


if __name__ == "__main__":
    role, at, way, *rest = sys.argv[1:]
    if role == "serve":
        serve(int(at), way, *rest)
    else:
        client(int(at), way, int(rest[0]), rest[1], int(rest[2]))
