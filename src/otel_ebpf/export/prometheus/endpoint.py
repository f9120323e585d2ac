"""The place that Prometheus scrapes: http://HOST:PORT/metrics.

A scrape asks, the agent answers at its next tick with a reading, and the scrape's own thread renders it in pieces,
which are sent as they come: what renders, or a client that reads slowly, holds up nobody who makes requests.
Connections are few, fewer are answered at a time, and none for longer than Prometheus waits.
"""

import logging
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from otel_ebpf.config.settings import Prometheus
from otel_ebpf.errors import ConfigError
from otel_ebpf.export.prometheus.reading import Reading, render
from otel_ebpf.export.serving import BoundedServer

log = logging.getLogger(__name__)

PATH: Final = "/metrics"
_MAX_CONNECTIONS: Final = 8
_MAX_ANSWERS: Final = 2
# For a request to come, for a reading to be given, for an answer to be sent: Prometheus' scrape_timeout.
_PATIENCE_S: Final = 10.0
_PIECE_BYTES: Final = 64 << 10


class Endpoint:
    """Listens from the start. `is_wanted` and `give` are for the agent's thread."""

    def __init__(self, settings: Prometheus) -> None:
        """Raises ConfigError where nobody can listen there."""
        self._changed = threading.Condition()
        self._waiting = self._given = 0
        self._reading: Reading | None = None
        self._closed = False
        self.room_to_answer = threading.BoundedSemaphore(_MAX_ANSWERS)
        try:
            family, _, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
            self._server = _Server(self, family, address)
        except OSError as error:
            raise ConfigError(
                f"can't listen on {settings.host}:{settings.port} for Prometheus: {error.strerror}",
                "OTEL_EXPORTER_PROMETHEUS_HOST and OTEL_EXPORTER_PROMETHEUS_PORT say where",
            ) from error
        threading.Thread(target=self._server.serve_forever, name="prometheus", daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def is_wanted(self) -> bool:
        """Whether a scrape waits for a reading."""
        return self._waiting > 0

    def give(self, reading: Reading) -> None:
        """Answers all scrapes that wait."""
        with self._changed:
            self._reading = reading
            self._given += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Listens no more; who waits is told to come again."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def reading(self) -> Reading | None:
        """The next one, on a scrape's thread. None: it did not come."""
        with self._changed:
            before = self._given
            self._waiting += 1
            came = self._changed.wait_for(lambda: self._given > before or self._closed, _PATIENCE_S)
            self._waiting -= 1
            reading = self._reading if came and not self._closed else None
            if not self._waiting:
                self._reading = None
            return reading


class _Server(BoundedServer):
    def __init__(self, endpoint: Endpoint, family: int, address: Any) -> None:
        self.endpoint = endpoint
        super().__init__(family, address, _Handler, connections=_MAX_CONNECTIONS, request_s=_PATIENCE_S)


class _Handler(BaseHTTPRequestHandler):
    """A connection is for one request: who scrapes each quarter of a minute gains nothing from keeping it."""

    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE_S
    server: _Server

    def do_GET(self) -> None:
        self.close_connection = True
        self.server.asked(self.request)
        endpoint = self.server.endpoint
        if self.path.partition("?")[0] != PATH:
            self.send_error(HTTPStatus.NOT_FOUND)
        elif not endpoint.room_to_answer.acquire(timeout=_PATIENCE_S):
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            try:
                self._answer(endpoint.reading())
            finally:
                endpoint.room_to_answer.release()

    def _answer(self, reading: Reading | None) -> None:
        if reading is None:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        deadline_s = time.monotonic() + _PATIENCE_S
        content_type, pieces = render(reading, self.headers.get("Accept", ""))
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Connection", "close")
        # An answer that is cut off must show that it is: by its last chunk, or gzip's checksum, that is missing.
        in_chunks = self.request_version != "HTTP/1.0"
        if in_chunks:
            self.send_header("Transfer-Encoding", "chunked")
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            self.send_header("Content-Encoding", "gzip")
            pieces = _compressed(pieces)
        self.end_headers()
        for piece in _gathered(pieces):
            if time.monotonic() > deadline_s:
                raise TimeoutError("the answer was not taken in time")
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if in_chunks else piece)
        if in_chunks:
            self.wfile.write(b"0\r\n\r\n")

    def version_string(self) -> str:
        return "otel-ebpf"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the standard library
        log.debug(format, *args)


def _compressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    gzip = zlib.compressobj(1, wbits=31)
    for piece in pieces:
        yield gzip.compress(piece)
    yield gzip.flush()


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same in larger ones; no piece is empty."""
    gathered = bytearray()
    for piece in pieces:
        gathered += piece
        if len(gathered) >= _PIECE_BYTES:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)
