"""One signal's way to its backend: OTLP over HTTP, in protobuf.

Source: OTLP specification 1.x, "OTLP/HTTP". 429, 502, 503, 504 and a failed connection are tried again as the
Collector does: after 5 s, then 1.5 times as long each time up to 30 s, Retry-After honoured, until 300 s have
gone by. Any other answer but 2xx is final.
"""

import logging
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, cast

import tenacity
import urllib3
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_ebpf import __version__
from otel_ebpf.config.settings import OtlpTarget
from otel_ebpf.errors import ConfigError, ExportError, TemporaryExportError
from otel_ebpf.export.body import Body

log = logging.getLogger(__name__)

_RETRYABLE: Final = frozenset({429, 502, 503, 504})
_MAX_ANSWER_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Seconds."""

    first_s: float = 5.0
    factor: float = 1.5
    longest_s: float = 30.0
    give_up_s: float = 300.0


def rejected_spans(body: bytes) -> tuple[int, str]:
    """Of a trace backend's answer: how many spans it did not take, and its message."""
    partial = ExportTraceServiceResponse.FromString(body).partial_success
    return partial.rejected_spans, partial.error_message


def rejected_points(body: bytes) -> tuple[int, str]:
    """Of a metrics backend's answer: how many points it did not take, and its message."""
    partial = ExportMetricsServiceResponse.FromString(body).partial_success
    return partial.rejected_data_points, partial.error_message


class OtlpClient:
    """Posts requests over a connection that is kept. For one thread; `hurry` may be set from another.

    `rejected` reads an answer's partial success. Once `hurry` is set nothing is waited for: each request gets
    one attempt.
    """

    def __init__(
        self,
        target: OtlpTarget,
        rejected: Callable[[bytes], tuple[int, str]],
        hurry: threading.Event,
        policy: RetryPolicy | None = None,
    ) -> None:
        self._rejected = rejected
        self._hurry = hurry
        self._policy = policy or RetryPolicy()
        self._pool = _pool(target)
        self._path = urllib3.util.parse_url(target.url).request_uri
        self._shown_url = target.shown_url
        self._timeout = urllib3.Timeout(total=target.timeout_s)
        self._gzip = target.compression == "gzip"
        self._headers = {
            "User-Agent": f"otel-ebpf/{__version__}",
            **(urllib3.make_headers(basic_auth=target.credentials) if target.credentials else {}),
            **dict(target.headers),
            "Content-Type": "application/x-protobuf",
        }
        if self._gzip:
            self._headers["Content-Encoding"] = "gzip"

        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TemporaryExportError),
            wait=self._pause,
            stop=tenacity.stop_any(
                tenacity.stop_before_delay(self._policy.give_up_s), tenacity.stop_when_event_set(self._hurry)
            ),
            sleep=tenacity.sleep_using_event(self._hurry),
            before_sleep=self._tell,
            reraise=True,
        )

    def send(self, body: Body) -> int:
        """Delivers a request; returns how many of its items the backend rejected. Raises ExportError."""
        return self._retrying(self._attempt, body.gzipped() if self._gzip else body)

    def _attempt(self, body: Body) -> int:
        try:
            answer = self._pool.urlopen(
                "POST",
                self._path,
                # Each part goes to the socket as it is; as the length is given, no chunk's head comes between.
                body=cast("Iterable[bytes]", body.parts),
                headers={**self._headers, "Content-Length": str(body.length)},
                timeout=self._timeout,
                retries=False,
                redirect=False,
                preload_content=False,
            )
            content = answer.read(_MAX_ANSWER_BYTES)
            answer.drain_conn()
            answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise TemporaryExportError(f"{self._shown_url}: {_reason(error)}") from error
        if answer.status in _RETRYABLE:
            raise TemporaryExportError(
                f"{self._shown_url}: HTTP {answer.status}", _retry_after_s(answer.headers.get("Retry-After", ""))
            )
        if not 200 <= answer.status < 300:
            text = content[:200].decode("utf-8", "backslashreplace").strip()
            raise ExportError(f"{self._shown_url}: HTTP {answer.status} {text if text.isprintable() else ''}".rstrip())
        return self._partial_success(content)

    def _partial_success(self, content: bytes) -> int:
        try:
            count, message = self._rejected(content)
        except DecodeError:  # accepted all the same: an empty or foreign body says nothing of rejects
            return 0
        if count or message:
            log.warning("%s rejected %d: %s", self._shown_url, count, message or "no reason given")
        return max(count, 0)

    def _pause(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after_s if isinstance(error, TemporaryExportError) else 0.0
        pause = min(self._policy.first_s * self._policy.factor ** (state.attempt_number - 1), self._policy.longest_s)
        return max(asked, pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads a herd of agents, hides nothing

    def _tell(self, state: tenacity.RetryCallState) -> None:
        if state.attempt_number == 1 and not self._hurry.is_set():
            error = state.outcome.exception() if state.outcome else None
            log.warning("%s; will keep trying for %.0f s", error, self._policy.give_up_s)

    def close(self) -> None:
        """Ends the connection."""
        self._pool.close()


def _pool(target: OtlpTarget) -> urllib3.HTTPConnectionPool:
    options = {"ssl_context": _tls(target)} if target.url.startswith("https:") else {}
    try:
        return urllib3.connection_from_url(target.url, **options)
    except urllib3.exceptions.LocationValueError as error:
        raise ConfigError(f"{target.shown_url} is no place to send to") from error


def _tls(target: OtlpTarget) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=target.ca_file or None)
        if target.client_certificate_file:
            context.load_cert_chain(target.client_certificate_file, target.client_key_file or None)
    except OSError as error:  # ssl.SSLError is one: not a certificate
        raise ConfigError(f"certificates for {target.shown_url}: {error}") from error
    return context


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    """urllib3 wraps what happened in its own objects' names."""
    return str(error).rpartition(">: ")[2] or type(error).__name__


def _retry_after_s(text: str) -> float:
    """Seconds or a date (RFC 9110, 10.2.3); 0 for anything else."""
    try:
        return max(
            0.0, float(text) if text.strip().isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
        )
    except ValueError:
        return 0.0
