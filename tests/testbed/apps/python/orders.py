"""The testbed's Python application for gRPC, on grpcio: `orders.py serve ADDRESS [CERTIFICATE KEY]`,
`orders.py client ADDRESS AT_ONCE [CERTIFICATE]`. What both do is said in ../../grpc.py.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

CODES = {code.value[0]: code for code in grpc.StatusCode}


def say(line: str) -> None:
    """In one piece, whichever thread it is."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Serving:
    """One call on the server's side; logged at its end, which may come while the handler still waits."""

    def __init__(self, method: str, context: grpc.ServicerContext) -> None:
        self.method, self.context = method, context
        self.tag = dict(context.invocation_metadata()).get("x-tag", "")
        self.port = int(context.peer().rpartition(":")[2])
        self.begin = time.perf_counter()
        self.wants = {"count": 1}
        self.requests = self.responses = 0
        self.code = grpc.StatusCode.CANCELLED
        self.gone = threading.Event()
        context.add_callback(self.log)

    def log(self) -> None:
        self.gone.set()
        line = {"method": f"shop.Orders/{self.method}", "status": self.code.name, "requests": self.requests}
        line |= {"responses": self.responses, "duration_s": time.perf_counter() - self.begin}
        say(json.dumps({**line, "tag": self.tag, "port": self.port}))

    def read(self, message: bytes) -> None:
        self.requests += 1
        if self.requests == 1:
            words = message.split()
            self.wants |= {name.decode(): int(number) for name, number in zip(words[::2], words[1::2], strict=False)}
            self.gone.wait(self.wants.get("sleep", 0) / 1000)

    def answer(self) -> bytes:
        self.responses += 1
        return b"x" * self.wants.get("size", 0)

    def end(self) -> None:
        if self.gone.is_set():
            return
        self.code = CODES[self.wants.get("status", 0)]
        if self.code is not grpc.StatusCode.OK:
            self.context.abort(self.code, "as asked")


def get(request: bytes, context: grpc.ServicerContext) -> bytes:
    serving = Serving("Get", context)
    serving.read(request)
    serving.end()
    return serving.answer()


def upload(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
    serving = Serving("Upload", context)
    for message in requests:
        serving.read(message)
    serving.end()
    return serving.answer()


def list_(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    serving = Serving("List", context)
    serving.read(request)
    for _ in range(serving.wants["count"]):
        yield serving.answer()
    serving.end()


def chat(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    serving = Serving("Chat", context)
    for message in requests:
        serving.read(message)
        serving.responses += 1
        yield message
    serving.end()


def serve(address: str, *pem: str) -> None:
    handlers = {
        "Get": grpc.unary_unary_rpc_method_handler(get),
        "List": grpc.unary_stream_rpc_method_handler(list_),
        "Upload": grpc.stream_unary_rpc_method_handler(upload),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    server = grpc.server(ThreadPoolExecutor(128))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Orders", handlers),))
    if pem:
        certificate, key = (Path(file).read_bytes() for file in pem)
        server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
    else:
        server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


def ask(channel: grpc.Channel, one: dict[str, Any]) -> str:
    metadata = [("x-tag", one["tag"])]
    if one["traceparent"]:
        metadata.append(("traceparent", one["traceparent"]))
    request = one["want"].ljust(one["size"]).encode()
    path, method = f"/shop.Orders/{one['method']}", one["method"]
    taken = threading.Semaphore(0)

    def requests() -> Iterator[bytes]:
        for number in range(one["messages"]):
            if method == "Chat" and number:
                taken.acquire(timeout=30)
            yield request

    timeout = one["deadline_ms"] / 1000 or None
    sends, receives = method in ("Upload", "Chat"), method in ("List", "Chat")
    kinds: dict[tuple[bool, bool], Callable[..., Any]] = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    start = kinds[sends, receives](path)
    call = (start if receives else start.future)(requests() if sends else request, timeout, metadata=metadata)
    if one["cancel_ms"]:
        threading.Timer(one["cancel_ms"] / 1000, call.cancel).start()
    messages = received = 0
    try:
        for message in call if receives else [call.result()]:
            messages += 1
            received += len(message)
            taken.release()
    except (grpc.RpcError, grpc.FutureCancelledError):
        pass  # its code says it
    return f"{call.code().name} {messages} {received}"


def client(address: str, at_once: str, *trust: str) -> None:
    if trust:
        secure = grpc.ssl_channel_credentials(Path(trust[0]).read_bytes())
        channel = grpc.secure_channel(address, secure)
    else:
        channel = grpc.insecure_channel(address)
    with channel, ThreadPoolExecutor(int(at_once)) as pool:
        for number, line in enumerate(sys.stdin):
            one = json.loads(line)
            pool.submit(lambda number=number, one=one: say(f"{number} {ask(channel, one)}"))


{"serve": serve, "client": client}[sys.argv[1]](*sys.argv[2:])
