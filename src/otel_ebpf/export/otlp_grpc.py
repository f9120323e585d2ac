"""OTLP over gRPC, by grpcio. It takes memory, so this module is imported only where a target asks for it.

Source: OTLP specification 1.x, "OTLP/gRPC". The codes of _RETRYABLE may pass, RESOURCE_EXHAUSTED only where the
backend says when (google.rpc.RetryInfo); any other is final. grpcio honours proxies by itself, in the variables
https_proxy, http_proxy and no_proxy, in this order.
"""

import re
from typing import Any, Final, cast
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from otel_ebpf.config.settings import OtlpTarget
from otel_ebpf.errors import ConfigError, ExportError, TemporaryExportError
from otel_ebpf.export.body import Body
from otel_ebpf.export.credentials import Credentials
from otel_ebpf.export.transport import MAX_ANSWER_BYTES, USER_AGENT, Signal, printable, request_headers

_RETRYABLE: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_OPTIONS: Final = (
    ("grpc.primary_user_agent", USER_AGENT),
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    # Attempts are the client's business, and how long it waits between them: gRPC's own wait is shorter than any.
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A channel for each signal, as over HTTP: one that hangs must not hold up the other.
    ("grpc.use_local_subchannel_pool", 1),
)
_METADATA_KEY: Final = re.compile(r"[0-9a-z_.-]+")


class GrpcTransport:
    """Calls over a channel that is kept."""

    def __init__(self, target: OtlpTarget, signal: Signal) -> None:
        self._target = target
        self._signal = signal
        self._metadata = _metadata(target)
        self._compression = grpc.Compression.Gzip if target.compression == "gzip" else grpc.Compression.NoCompression
        self._credentials = Credentials(target) if target.encrypted else None
        self._open()

    def _open(self) -> None:
        parts = urlsplit(self._target.url)
        address = parts.netloc.rpartition("@")[2]
        if self._credentials:
            pem = self._credentials.pem
            self._channel = grpc.secure_channel(
                address, grpc.ssl_channel_credentials(pem.authorities, pem.key, pem.certificate), _OPTIONS
            )
        else:
            self._channel = grpc.insecure_channel(address, _OPTIONS)
        # Without serialisers bytes go through as they are.
        self._export: Any = self._channel.unary_unary(self._signal.method)

    def prepare(self, body: Body) -> Body:
        """See Transport. gRPC wants one piece."""
        return Body.of(b"".join(body.parts))

    def attempt(self, body: Body) -> Message | None:
        """See Transport."""
        if self._credentials and self._credentials.renew():
            self._reopen()
        try:
            answer = self._export(
                body.parts[0],
                timeout=self._target.timeout_s,
                metadata=self._metadata,
                compression=self._compression,
            )
        except grpc.RpcError as error:
            raise self._failure(cast("grpc.Call", error)) from error
        return self._signal.answer(answer)

    def _failure(self, call: Any) -> ExportError:
        code: grpc.StatusCode = call.code()
        message = f"{self._target.shown_url}: {code.name}{printable(call.details() or '')}"
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            # Who does not answer may be gone with the connection, which TCP would notice in a quarter of an hour.
            self._reopen()
        delay_s = _retry_delay_s(call)
        if code in _RETRYABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and delay_s is not None):
            return TemporaryExportError(message, delay_s or 0.0)
        return ExportError(message)

    def _reopen(self) -> None:
        self._channel.close()
        self._open()

    def close(self) -> None:
        """See Transport."""
        self._channel.close()


def _metadata(target: OtlpTarget) -> tuple[tuple[str, str], ...]:
    """Headers as gRPC has them: names in lower case, and none for binary values."""
    metadata = {name.lower(): value for name, value in request_headers(target).items()}
    for name in metadata:
        if not _METADATA_KEY.fullmatch(name) or name.endswith("-bin"):
            raise ConfigError(f"header {name!r} for {target.shown_url}: gRPC has none of this name")
    return tuple(metadata.items())


def _retry_delay_s(call: Any) -> float | None:
    """What google.rpc.RetryInfo in the status' details says, None if there is none."""
    for key, value in call.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        try:
            status = status_pb2.Status.FromString(value)
            for detail in status.details:
                info = error_details_pb2.RetryInfo()
                if detail.Unpack(info):
                    return max(0.0, float(info.retry_delay.ToNanoseconds()) / 1e9)
        except DecodeError:  # details of whoever stands between: they say nothing
            return None
    return None
