"""OTLP over HTTP/1.1, in protobuf or JSON.

Source: OTLP specification 1.x, "OTLP/HTTP". 429, 502, 503, 504 and a failed connection may pass; any other answer
but 2xx is final. A proxy that http_proxy or https_proxy names is used, but for what no_proxy lists.
"""

import contextlib
import time
from collections.abc import Callable, Iterable
from email.utils import parsedate_to_datetime
from typing import Final, cast
from urllib.request import getproxies, proxy_bypass

import urllib3
from google.protobuf.message import DecodeError, Message

from otel_ebpf.config.settings import OtlpTarget
from otel_ebpf.errors import ConfigError, ExportError, TemporaryExportError
from otel_ebpf.export import otlp_json
from otel_ebpf.export.body import Body
from otel_ebpf.export.credentials import Credentials
from otel_ebpf.export.transport import MAX_ANSWER_BYTES, USER_AGENT, Signal, printable, request_headers

_RETRYABLE: Final = frozenset({429, 502, 503, 504})
_PROTOBUF: Final = "application/x-protobuf"


class HttpTransport:
    """Posts over a connection that is kept."""

    def __init__(self, target: OtlpTarget, signal: Signal) -> None:
        self._target = target
        self._signal = signal
        self._json = target.protocol == "http/json"
        self._pack = _packer(target)
        self._credentials = Credentials(target) if target.encrypted else None
        try:
            # Credentials go into a header: a proxy would see them in the URL.
            self._url = urllib3.util.parse_url(target.url)._replace(auth=None).url
            self._manager = self._open()
        except urllib3.exceptions.LocationValueError as error:
            raise ConfigError(f"{target.shown_url} is no place to send to") from error
        self._timeout = urllib3.Timeout(total=target.timeout_s)
        self._headers = {
            "User-Agent": USER_AGENT,
            **request_headers(target),
            "Content-Type": "application/json" if self._json else _PROTOBUF,
        }
        if target.compression != "none":
            self._headers["Content-Encoding"] = target.compression

    def _open(self) -> urllib3.PoolManager:
        context = self._credentials.context if self._credentials else None
        proxy = _proxy(self._target.url)
        if proxy is None:
            return urllib3.PoolManager(1, ssl_context=context)
        headers = urllib3.make_headers(proxy_basic_auth=proxy.auth) if proxy.auth else None
        try:
            return urllib3.ProxyManager(proxy._replace(auth=None).url, 1, proxy_headers=headers, ssl_context=context)
        except urllib3.exceptions.ProxySchemeUnknown as error:
            raise ConfigError(f"{proxy._replace(auth=None).url} is no proxy of HTTP's") from error

    def prepare(self, body: Body) -> Body:
        """See Transport. Protobuf stays as it is, in its parts."""
        if self._json:
            body = Body.of(otlp_json.encode(self._signal.request.FromString(b"".join(body.parts))))
        return self._pack(body)

    def attempt(self, body: Body) -> Message | None:
        """See Transport."""
        if self._credentials and self._credentials.renew():
            self._manager.clear()
            self._manager = self._open()
        shown_url = self._target.shown_url
        try:
            answer = self._manager.urlopen(
                "POST",
                self._url,
                # Each part goes to the socket as it is; as the length is given, no chunk's head comes between.
                body=cast("Iterable[bytes]", body.parts),
                headers={**self._headers, "Content-Length": str(body.length)},
                timeout=self._timeout,
                retries=False,
                redirect=False,
                preload_content=False,
            )
            content = answer.read(MAX_ANSWER_BYTES)
            answer.drain_conn()
            answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise TemporaryExportError(f"{shown_url}: {_reason(error)}") from error
        if answer.status in _RETRYABLE:
            raise TemporaryExportError(
                f"{shown_url}: HTTP {answer.status}", _retry_after_s(answer.headers.get("Retry-After", ""))
            )
        if not 200 <= answer.status < 300:
            raise ExportError(f"{shown_url}: HTTP {answer.status}{printable(_words(answer, content))}")
        if self._json:
            return otlp_json.decode(content, self._signal.response)
        return self._signal.answer(content)

    def close(self) -> None:
        """See Transport."""
        self._manager.clear()


def _packer(target: OtlpTarget) -> Callable[[Body], Body]:
    if target.compression == "zstd":
        try:
            from otel_ebpf.export.zstd import packed  # noqa: PLC0415 - it may be missing
        except ImportError as error:
            raise ConfigError(
                f"zstd for {target.shown_url}: Python lacks it before 3.14", "pip install backports.zstd, or use gzip"
            ) from error
        return packed
    return Body.gzipped if target.compression == "gzip" else lambda body: body


def _proxy(url: str) -> urllib3.util.Url | None:
    """What the environment says of a URL, in variables of curl's and everybody's names."""
    proxies = getproxies()
    parts = urllib3.util.parse_url(url)
    proxy = proxies.get(parts.scheme or "") or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc or ""):
        return None
    return urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    """urllib3 wraps what happened in its own objects' names."""
    return str(error).rpartition(">: ")[2] or type(error).__name__


def _words(answer: urllib3.BaseHTTPResponse, content: bytes) -> str:
    """What a refusal says: a google.rpc.Status, if it is OTLP's in protobuf, else text."""
    if answer.headers.get("Content-Type", "").startswith(_PROTOBUF):
        from google.rpc import status_pb2  # noqa: PLC0415 - for refusals alone

        with contextlib.suppress(DecodeError):
            return str(status_pb2.Status.FromString(content).message)
    return content[:200].decode("utf-8", "backslashreplace")


def _retry_after_s(text: str) -> float:
    """Seconds or a date (RFC 9110, 10.2.3); 0 for anything else."""
    try:
        return max(
            0.0, float(text) if text.strip().isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
        )
    except ValueError:
        return 0.0
