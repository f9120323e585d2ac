"""A few pages over HTTP, for probes, scrapers and curl. Who asks is not trusted.

    Served(routes) ── GET /path?key=value ──► routes["/path"]({"key": "value"}) ──► Page

Bounds: so many connections at a time, each of one request, which must have come within seconds; a body is never read.
`BoundedServer` has them for whoever answers in another way.
"""

import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from otel_ebpf.errors import ConfigError

log = logging.getLogger(__name__)

_MAX_CONNECTIONS: Final = 16
# From the connection on. What then has not been asked is not answered.
_REQUEST_S: Final = 5.0
_TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    body: bytes
    status: int = 200
    content_type: str = _TEXT


def text_page(text: str, status: int = 200) -> Page:
    """Plain text."""
    return Page(f"{text}\n".encode(), status)


Route = Callable[[Mapping[str, str]], Page]
"""From the query's parameters, of each the last, to the page. Called on threads of the server's."""


class Served:
    """Listens from the start on, so that an address that can't be had refuses to start; answers from `start` on."""

    def __init__(self, name: str, address: tuple[str, int]) -> None:
        """Raises ConfigError."""
        self._name = name
        try:
            self._server = _Server(address)
        except OSError as error:
            raise ConfigError(f"{name}: can't listen on {_shown(address)}: {error.strerror or error}") from error
        self._thread = threading.Thread(target=self._server.serve_forever, name=name, daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, which was chosen if 0 was asked for."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def start(self, routes: Mapping[str, Route]) -> None:
        """Begins to answer."""
        self._server.routes = routes
        self._thread.start()
        log.info("%s: http://%s, %s", self._name, _shown(self.address), " ".join(routes))

    def close(self) -> None:
        """Ends it; what is being answered goes on for as long as the process does."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


def _shown(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class BoundedServer(ThreadingHTTPServer):
    """One thread for each connection, `connections` at most; handlers say when the request has been `asked`."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, family: int, address: Any, handler: type[BaseHTTPRequestHandler], *, connections: int, request_s: float
    ) -> None:
        """Raises OSError. `request_s`: from a connection on, until what has not been asked is not answered."""
        self.address_family = family
        self._request_s = request_s
        self._free = threading.BoundedSemaphore(connections)
        self._lock = threading.Lock()
        self._deadlines: dict[socket.socket, float] = {}
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # The original asks the resolver for this machine's name, which may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        with self._lock:
            self._deadlines[request] = time.monotonic() + self._request_s
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.asked(request)
            self._free.release()

    def asked(self, request: Any) -> None:
        """The request is complete."""
        with self._lock:
            self._deadlines.pop(request, None)

    def service_actions(self) -> None:
        """Called twice a second: who is slow to ask is hung up on."""
        now_s = time.monotonic()
        with self._lock:
            late = [request for request, deadline_s in self._deadlines.items() if deadline_s < now_s]
            for request in late:
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:  # gone by itself
                    continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Of a connection that broke there is nothing more to say; anything else is a mistake of ours."""
        if isinstance(sys.exception(), OSError):
            log.debug("%s: %s ended early", _shown(client_address[:2]), request, exc_info=True)
        else:
            log.exception("what %s asked could not be answered", _shown(client_address[:2]))


class _Server(BoundedServer):
    def __init__(self, address: tuple[str, int]) -> None:
        self.routes: Mapping[str, Route] = {}
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(family, address, _Handler, connections=_MAX_CONNECTIONS, request_s=_REQUEST_S)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "otel-ebpf"
    sys_version = ""
    timeout = _REQUEST_S
    error_content_type = _TEXT
    error_message_format = "%(code)d %(message)s\n"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        self.server.asked(self.request)
        try:
            parts = urlsplit(self.path)
            route = self.server.routes.get(parts.path, self._nowhere)
            page = route(dict(parse_qsl(parts.query, max_num_fields=16)))
        except ValueError as error:
            page = text_page(str(error), HTTPStatus.BAD_REQUEST)
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(page.body)

    def _nowhere(self, _parameters: Mapping[str, str]) -> Page:
        return text_page(f"not here; there is {' '.join(self.server.routes)}", HTTPStatus.NOT_FOUND)

    def log_message(self, form: str, *args: Any) -> None:
        log.debug("%s: %s", self.address_string(), form % args)
