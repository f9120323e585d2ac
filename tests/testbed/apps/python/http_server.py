"""The routes on http.server: `http_server.py HOST PORT [1.0|1.1 [CERTIFICATE KEY]]`; prints one JSON line per request.

Its chunks carry extensions and a trailer section. With HTTP/1.0 a body without a length goes on until close.
"""

import json
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from routes import answer


class Handler(BaseHTTPRequestHandler):
    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self) -> None:
        begin = time.perf_counter()
        status, length, parts = answer(self.path.partition("?")[0], self._body())
        chunked = length is None and self.protocol_version == "HTTP/1.1"
        self.send_response(status)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Trailer", "X-Sum")
        elif length is None:
            self.close_connection = True
        elif status not in (204, 304):
            self.send_header("Content-Length", str(length))
        self.end_headers()
        sent = 0
        if self.command != "HEAD":
            for part in parts:
                sent += len(part)
                framed = b'%x;name="a;b"\r\n%s\r\n' % (len(part), part) if chunked else part
                self.wfile.write(framed)
            if chunked:
                self.wfile.write(b"0;last\r\nX-Sum: %d\r\n\r\n" % sent)
        line = {"method": self.command, "target": self.path, "status": status, "body_bytes": sent}
        print(json.dumps({**line, "duration_s": time.perf_counter() - begin}), flush=True)

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    if sys.argv[3:4] != ["1.0"]:
        Handler.protocol_version = "HTTP/1.1"
    if ":" in sys.argv[1]:
        import socket

        ThreadingHTTPServer.address_family = socket.AF_INET6
    ThreadingHTTPServer.request_queue_size = 128
    server = ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
    if sys.argv[4:]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*sys.argv[4:])
        # The handshake is not in accept(), where one client that says nothing would hold up all others.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()
