"""An OTLP/gRPC backend by grpcio that keeps what it gets, and answers as told."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2


@dataclass
class Answer:
    """What the backend says to one call. `retry_after_s` goes into a RetryInfo, None into none."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""
    retry_after_s: float | None = None
    status_details: bytes = b""  # in place of those
    body: bytes = b""
    delay_s: float = 0.0


@dataclass
class Call:
    method: str
    metadata: dict[str, str | bytes]
    body: bytes
    connection: str


@dataclass
class Backend:
    """`answers` are used up in order; when there are none left, everything is accepted."""

    port: int = 0
    calls: list[Call] = field(default_factory=list)
    answers: deque[Answer] = field(default_factory=deque)

    @property
    def received(self) -> int:
        """How many requests have come."""
        return len(self.calls)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def _status_details(answer: Answer) -> bytes:
    if answer.retry_after_s is None:
        return answer.status_details
    delay = duration_pb2.Duration()
    delay.FromNanoseconds(int(answer.retry_after_s * 1e9))
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    bytes_: bytes = status_pb2.Status(code=answer.code.value[0], details=[packed]).SerializeToString()
    return bytes_


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = handler_call_details.method

        def handle(body: bytes, context: grpc.ServicerContext) -> bytes:
            metadata = dict(context.invocation_metadata())
            self._backend.calls.append(Call(method, metadata, body, context.peer()))
            answer = self._backend.answers.popleft() if self._backend.answers else Answer()
            time.sleep(answer.delay_s)
            if details := _status_details(answer):
                context.set_trailing_metadata((("grpc-status-details-bin", details),))
            context.set_code(answer.code)
            context.set_details(answer.details)
            return answer.body

        return grpc.unary_unary_rpc_method_handler(handle)


@contextmanager
def running_backend(
    *answers: Answer, credentials: grpc.ServerCredentials | None = None, port: int = 0
) -> Iterator[Backend]:
    backend = Backend(answers=deque(answers))
    server = grpc.server(ThreadPoolExecutor(4), handlers=[_Handler(backend)], options=(("grpc.so_reuseport", 0),))
    address = f"127.0.0.1:{port}"
    backend.port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    try:
        yield backend
    finally:
        server.stop(0).wait()
