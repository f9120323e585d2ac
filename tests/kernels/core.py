"""The core of what capture promises, on whatever kernel this runs: `python -m tests.kernels.core [-o FILE]`.

No pytest: in a test VM an interpreter starts slowly, and the cases share one agent. Each case makes requests that it
can find again by their query (`?t=CASE`) and compares what the agent sent with what the server's own access log
says, or with what the case itself put on the wire. tests/kernels/test_kernels.py runs this natively and in VMs.
"""

import argparse
import ctypes
import itertools
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tests.bpf import watched
from tests.kernels import agent
from tests.kernels.receiver import receiver
from tests.testbed.clients import AT_EASE
from tests.testbed.nginx import nginx
from tests.testbed.process import Program, answers, eventually, free_port
from tests.testbed.servers import Server
from tests.testbed.telemetry import CLIENT, SERVER, Span, Telemetry
from tests.testbed.wire import Connection, read_head, request, serving

# In a VM without KVM everything takes ten times as long.
PATIENCE_S = 30.0
BIG_FILE = 10_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one case went; `error` is empty where it passed."""

    case: str
    seconds: float
    error: str


@dataclass(slots=True)
class Ground:
    """What the cases stand on: servers, and an agent that watches them and all else."""

    folder: Path
    hooks: str
    agent: agent.Agent
    telemetry: Telemetry
    nginx: Server
    unix_nginx: Server
    old: Connection
    old_halfway: Connection

    def spans(self, tag: str, kind: int, count: int) -> list[Span]:
        """Exactly `count` spans of this kind with the tag, in the order of their starts."""

        def found() -> list[Span]:
            return [span for span in list(self.telemetry.spans) if span.tag == tag and span.kind == kind]

        def enough() -> bool:
            return len(found()) >= count

        with suppress(AssertionError):
            eventually(enough, "", PATIENCE_S, every=0.1)
        got = sorted(found(), key=lambda span: span.start_ns)
        assert len(got) == count, (
            f"{count} spans of kind {kind} expected, {len(got)} came: {[_brief(s) for s in got[:20]]}"
        )
        return got

    def like_the_log(self, server: Server, tag: str, count: int) -> list[Span]:
        """Server spans with the tag say what the server's access log says."""
        logged = eventually(
            lambda: lines if len(lines := server.access_log(tag)) >= count else None, f"{count} lines in the log", 10
        )
        assert logged is not None
        assert len(logged) == count
        spans = self.spans(tag, SERVER, count)
        want = Counter((line.method, line.path, line.status) for line in logged)
        got = Counter((span.method, span.path, span.status_code) for span in spans)
        assert got == want, f"the log has {want - got}, the spans have {got - want}"
        return spans


CASES: dict[str, Callable[[Ground], None]] = {}


def case(run: Callable[[Ground], None]) -> Callable[[Ground], None]:
    """Registers a case under its function's name."""
    CASES[run.__name__] = run
    return run


def _brief(span: Span) -> tuple[object, ...]:
    return (span.kind, span.pid, span.method, span.path, span.status_code, span.error_type)


# ---- connections older than the agent: first of all, nginx closes what is idle for long ----


@case
def older_than_the_agent(ground: Ground) -> None:
    ground.old.send(request("GET", "/hello?t=older_than_the_agent"))
    assert ground.old.answer().status == 200
    ground.old.send(request("GET", "/hello?t=older_than_the_agent"))
    assert ground.old.answer().status == 200
    ground.spans("older_than_the_agent", SERVER, 2)


@case
def older_halfway(ground: Ground) -> None:
    """The agent came in the middle of a request: from the next one on all is seen."""
    ground.old_halfway.send(b"ing: rest\r\n\r\n")
    assert ground.old_halfway.answer().status == 200
    ground.old_halfway.send(request("GET", "/hello?t=older_halfway"))
    assert ground.old_halfway.answer().status == 200
    ground.spans("older_halfway", SERVER, 1)


# ---- real servers and clients ----


@case
def check_passes(ground: Ground) -> None:
    done = subprocess.run([agent.COMMAND, "check", "-o", "json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["status"] in ("pass", "warn"), report
    (hooks,) = (row for row in report["checks"] if row["id"] == "hooks")
    assert hooks["status"] == "pass", hooks


@case
def hooks_fit_the_kernel(ground: Ground) -> None:
    out = subprocess.run(
        [sys.executable, "-c", "from otel_ebpf import _native; print(_native.probe_hooks())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert out in ("sock_length", "fexit")
    assert not ground.hooks or out == ground.hooks


@case
def nginx_under_curl(ground: Ground) -> None:
    asks = [("GET", "/hello"), ("GET", "/status/404"), ("HEAD", "/hello"), ("GET", "/items/7"), ("GET", "/status/204")]
    for method, path in asks:
        command = ["curl", "-s", "-o", "/dev/null", *(["-I"] if method == "HEAD" else [])]
        subprocess.run([*command, f"{ground.nginx.url}{path}?t=nginx_under_curl"], check=True)
    ground.like_the_log(ground.nginx, "nginx_under_curl", len(asks))
    clients = ground.spans("nginx_under_curl", CLIENT, len(asks))
    assert [(span.method, span.status_code) for span in clients] == [
        ("GET", 200),
        ("GET", 404),
        ("HEAD", 200),
        ("GET", 200),
        ("GET", 204),
    ]


@case
def nginx_under_wrk(ground: Ground) -> None:
    command = ["wrk", "-t1", "-c4", "-d1s", "-s", str(AT_EASE), f"{ground.nginx.url}/hello?t=nginx_under_wrk"]
    subprocess.run(command, check=True, capture_output=True)
    lines = len(ground.nginx.access_log("nginx_under_wrk"))
    assert lines > 100
    ground.spans("nginx_under_wrk", SERVER, lines)


@case
def nginx_over_tls(ground: Ground) -> None:
    with nginx(workers=1, proxy=False, encrypted=True) as server:
        urls = [f"{server.url}{path}?t=nginx_over_tls" for path in ("/hello", "/status/404", "/hello")]
        subprocess.run(["curl", "-s", "-k", "--http1.1", "-o", "/dev/null", *urls], check=True, capture_output=True)
        for span in ground.like_the_log(server, "nginx_over_tls", len(urls)):
            assert span.attributes["url.scheme"] == "https"
        for span in ground.spans("nginx_over_tls", CLIENT, len(urls)):
            assert span.attributes["server.port"] == server.port


@case
def ipv6(ground: Ground) -> None:
    with nginx("::1", workers=1, proxy=False) as server:
        subprocess.run(["curl", "-s", "-g", "-o", "/dev/null", f"{server.url}/hello?t=ipv6"], check=True)
        (span,) = ground.like_the_log(server, "ipv6", 1)
        assert span.attributes["server.address"] == "::1"


@case
def unix_socket(ground: Ground) -> None:
    path = ground.unix_nginx.host
    for _ in range(3):
        url = "http://localhost/hello?t=unix_socket"
        subprocess.run(["curl", "-s", "-o", "/dev/null", "--unix-socket", path, url], check=True)
    ground.like_the_log(ground.unix_nginx, "unix_socket", 3)
    ground.spans("unix_socket", CLIENT, 3)


@case
def sendfile_bytes(ground: Ground) -> None:
    before = _response_bytes(ground, "/bytes/")
    for size in (512, BIG_FILE):
        url = f"{ground.nginx.url}/bytes/{size}?t=sendfile_bytes"
        subprocess.run(["curl", "-s", "-o", "/dev/null", url], check=True)
    for span in ground.like_the_log(ground.nginx, "sendfile_bytes", 2):
        if "http.response.body.size" in span.attributes:
            assert span.attributes["http.response.body.size"] == int(span.path.rpartition("/")[2])
    want = before + 512 + BIG_FILE
    eventually(lambda: _response_bytes(ground, "/bytes/") >= want, f"body bytes reach {want}", PATIENCE_S, 0.2)
    assert _response_bytes(ground, "/bytes/") == want


def _response_bytes(ground: Ground, route: str) -> float:
    points = ground.telemetry.latest("http.server.response.body.size", ground.nginx.pids)
    return sum(point.value for point in points if str(point.attributes.get("http.route", "")).startswith(route))


@case
def python_http_server(ground: Ground) -> None:
    root = ground.folder / "www"
    root.mkdir()
    (root / "a.txt").write_text("a" * 3000)
    port = free_port()
    argv: list[str | Path] = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "-d", root]
    with Program(argv, ground.folder, "http.server") as server:
        server.wait_until(lambda: answers("127.0.0.1", port), "answers")
        for path in ("a.txt", "none", "a.txt"):
            url = f"http://127.0.0.1:{port}/{path}?t=python_http_server"
            subprocess.run(["curl", "-s", "-o", "/dev/null", url], check=True)
        spans = ground.spans("python_http_server", SERVER, 3)
        assert [(span.path, span.status_code) for span in spans] == [("/a.txt", 200), ("/none", 404), ("/a.txt", 200)]
        assert {span.pid for span in spans} == {server.pid}


# ---- how the bytes are cut ----


@case
def split_requests(ground: Ground) -> None:
    """A request cut in two at each byte of its first line and around the end of its head."""
    whole = request("GET", "/items/5?t=split_requests", "X-Padding: 1")
    cuts = [*range(1, 36), len(whole) - 4, len(whole) - 3, len(whole) - 2, len(whole) - 1]
    with Connection(ground.nginx) as connection:
        for cut in cuts:
            connection.send(whole[:cut])
            time.sleep(0.005)
            connection.send(whole[cut:])
            assert connection.answer().status == 200
    for span in ground.like_the_log(ground.nginx, "split_requests", len(cuts)):
        assert span.path == "/items/5"


@case
def byte_by_byte(ground: Ground) -> None:
    with Connection(ground.nginx) as connection:
        connection.send(request("GET", "/items/6?t=byte_by_byte"), every=1, pause=0.001)
        assert connection.answer().status == 200
    ground.like_the_log(ground.nginx, "byte_by_byte", 1)


@case
def pipelining(ground: Ground) -> None:
    paths = [f"/items/{n}" for n in range(20)]
    with Connection(ground.nginx) as connection:
        connection.send(b"".join(request("GET", f"{path}?t=pipelining") for path in paths))
        for _ in paths:
            assert connection.answer().status == 200
    spans = ground.like_the_log(ground.nginx, "pipelining", len(paths))
    # Those that came in one read and left in one write begin and end alike: no later one may be before an earlier.
    by_path = {span.path: span for span in spans}
    times = [(by_path[path].start_ns, by_path[path].end_ns) for path in paths]
    first = times[0][0]
    said = [(path, begin - first, end - first) for path, (begin, end) in zip(paths, times, strict=True)]
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(times)), said


@case
def split_response(ground: Ground) -> None:
    """Status line, head and chunks each cut in two, over 200 ms."""
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\n0\r\nT: 1\r\n\r\n"
    pieces = [whole[:3], whole[3:11], whole[11:40], whole[40:48], whole[48:56], whole[56:60], whole[60:65], whole[65:]]

    def handle(connection: socket.socket) -> None:
        read_head(connection)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.025)

    with serving(handle) as (host, port):
        with Connection((host, port)) as connection:
            connection.send(request("GET", "/x?t=split_response"))
            assert connection.answer().body == b"hello"
            connection.rest()
        for kind in (SERVER, CLIENT):
            (span,) = ground.spans("split_response", kind, 1)
            assert span.status_code == 200
            assert span.duration_s >= 0.17
            assert span.attributes.get("http.response.body.size", 5) == 5


@case
def no_answer(ground: Ground) -> None:
    def handle(connection: socket.socket) -> None:
        read_head(connection)

    with serving(handle) as (host, port):
        with Connection((host, port)) as connection:
            connection.send(request("GET", "/x?t=no_answer"))
            connection.rest()
        for kind in (SERVER, CLIENT):
            (span,) = ground.spans("no_answer", kind, 1)
            assert span.error_type
            assert span.status_code == 0


@case
def not_http(ground: Ground) -> None:
    before = len([span for span in ground.telemetry.spans if span.pid == os.getpid()])

    def handle(connection: socket.socket) -> None:
        connection.sendall(connection.recv(65536)[::-1])

    with serving(handle) as (host, port):
        for data in (
            b"\x16\x03\x01\x02\x00" + bytes(200),
            b"*1\r\n$4\r\nPING\r\n",
            b"hello, who are you?\n",
            bytes(9000),
        ):
            with Connection((host, port)) as connection:
                connection.send(data)
                connection.rest()
    time.sleep(2)
    after = [span for span in ground.telemetry.spans if span.pid == os.getpid() and not span.path.startswith("/v1/")]
    assert len(after) <= before, [_brief(span) for span in after[before:]]


@case
def http2_frames(ground: Ground) -> None:
    """What the programs tell of HTTP/2, from a session of our own."""
    with watched.watching(16 << 20) as (_, ring):
        ring.let_nobody_say()
        for name in ("headers_cut", "vectors", "sendfile"):
            watched.assert_dialogue(ring, name)


@case
def what_is_not_http(ground: Ground) -> None:
    """What the programs tell of other protocols, from a session of our own."""
    watched.assert_framed("framed_in_vectors: mysql")


@case
def datagrams(ground: Ground) -> None:
    with watched.watching(16 << 20) as (_, ring):
        ring.let_nobody_say()
        for name in ("connected", "over_ipv6", "large", "unconnected", "messages", "many_at_once"):
            watched.assert_exchange(ring, name)


# ---- every system call that moves bytes ----


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MsgHdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("iov", ctypes.POINTER(_IoVec)),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _MMsgHdr(ctypes.Structure):
    _fields_ = (("header", _MsgHdr), ("length", ctypes.c_uint))


_LIBC = ctypes.CDLL(None, use_errno=True)


def _thirds(data: bytes) -> list[bytes]:
    third = len(data) // 3
    return [data[:third], b"", data[third : 2 * third], data[2 * third :]]


def _messages(parts: list[bytearray]) -> ctypes.Array[_MMsgHdr]:
    """One message for each buffer; the buffers have to outlive it."""
    messages = (_MMsgHdr * len(parts))()
    for message, part in zip(messages, parts, strict=True):
        buffer = (ctypes.c_char * len(part)).from_buffer(part)
        vector = _IoVec(ctypes.addressof(buffer), len(part))
        message.header.iov = ctypes.pointer(vector)
        message.header.iov_length = 1
    return messages


def _sendmmsg(sock: socket.socket, data: bytes) -> None:
    parts = [bytearray(part) for part in _thirds(data) if part]
    messages = _messages(parts)
    assert _LIBC.sendmmsg(sock.fileno(), messages, len(messages), 0) == len(messages)


def _splice(sock: socket.socket, data: bytes) -> None:
    """A response's head by send, its body from a pipe; what is spliced is not in user memory, so no head may be."""
    head, mark, body = data.partition(b"\r\n\r\n")
    sock.sendall(head + mark)
    out, into = os.pipe()
    os.write(into, body)
    os.close(into)
    while os.splice(out, sock.fileno(), 65536):
        pass
    os.close(out)


def _sendfile(sock: socket.socket, data: bytes) -> None:
    """A response's head by send, its body by sendfile, as servers do; a request's body is empty."""
    head, mark, body = data.partition(b"\r\n\r\n")
    sock.sendall(head + mark)
    with tempfile.TemporaryFile() as file:
        file.write(body)
        file.flush()
        sent = 0
        while sent < len(body):
            sent += os.sendfile(sock.fileno(), file.fileno(), sent, len(body) - sent)


def _whole(read: Callable[[socket.socket], bytes]) -> Callable[[socket.socket], bytes]:
    def until_the_end_of_the_body(sock: socket.socket) -> bytes:
        data = b""
        while not data.endswith((b"\r\n\r\n", b"!")):
            part = read(sock)
            if not part:
                break
            data += part
        return data

    return until_the_end_of_the_body


def _readv(sock: socket.socket) -> bytes:
    parts = [bytearray(7), bytearray(0), bytearray(40), bytearray(8192)]
    got = os.readv(sock.fileno(), parts)
    return b"".join(parts)[:got]


def _recvmsg(sock: socket.socket) -> bytes:
    parts = [bytearray(11), bytearray(3), bytearray(8192)]
    got = sock.recvmsg_into(parts)[0]
    return b"".join(parts)[:got]


def _peek_then_recv(sock: socket.socket) -> bytes:
    sock.recv(8192, socket.MSG_PEEK)
    sock.recv(1, socket.MSG_PEEK)
    return sock.recv(8192)


def _recvmmsg(sock: socket.socket) -> bytes:
    parts = [bytearray(16), bytearray(8192)]
    messages = _messages(parts)
    got = _LIBC.recvmmsg(sock.fileno(), messages, 2, 0x10000, None)  # MSG_WAITFORONE
    assert got > 0, os.strerror(ctypes.get_errno())
    return b"".join(bytes(part[: message.length]) for part, message in zip(parts, messages[:got], strict=False))


def _wait_for_all(sock: socket.socket) -> bytes:
    """Waits for one byte, then takes what else is there."""
    first = sock.recv(1, socket.MSG_WAITALL)
    with suppress(BlockingIOError):
        return first + sock.recv(8192, socket.MSG_DONTWAIT)
    return first


SENDS: dict[str, Callable[[socket.socket, bytes], object]] = {
    "write": lambda sock, data: os.write(sock.fileno(), data),
    "writev": lambda sock, data: os.writev(sock.fileno(), _thirds(data)),
    "send": lambda sock, data: sock.send(data),
    "sendmsg": lambda sock, data: sock.sendmsg(_thirds(data)),
    "sendmmsg": _sendmmsg,
    "sendfile": _sendfile,
    "splice": _splice,
}
RECEIVES: dict[str, Callable[[socket.socket], bytes]] = {
    "read": lambda sock: os.read(sock.fileno(), 8192),
    "readv": _readv,
    "recv": lambda sock: sock.recv(8192),
    "recvfrom": lambda sock: sock.recvfrom(8192)[0],
    "recvmsg": _recvmsg,
    "recvmmsg": _recvmmsg,
    "peek": _peek_then_recv,
    "waitall": _wait_for_all,
}


@case
def system_calls_tcp(ground: Ground) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _system_calls(ground, "system_calls_tcp", listener, lambda: socket.create_connection(listener.getsockname()))


@case
def system_calls_unix(ground: Ground) -> None:
    path = str(ground.folder / "calls.sock")

    def connect() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        return sock

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        _system_calls(ground, "system_calls_unix", listener, connect)


def _system_calls(ground: Ground, tag: str, listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
    """Each way to send with each way to receive, both as client and as server, one connection each."""
    body = b"b" * 4999 + b"!"
    response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    names = [(send, receive) for send in SENDS for receive in RECEIVES]
    for send_name, receive_name in names:
        send, receive = SENDS[send_name], _whole(RECEIVES[receive_name])
        with connect() as client:
            server, _ = listener.accept()
            with server:
                for sock in (client, server):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 10, 0))
                send(client, request("GET", f"/{send_name}/{receive_name}?t={tag}"))
                asked = receive(server)
                assert asked.endswith(b"\r\n\r\n"), (send_name, receive_name, asked)
                send(server, response)
                assert receive(client) == response, (send_name, receive_name)
    want = {f"/{send}/{receive}" for send, receive in names}
    problems = []
    for kind in (SERVER, CLIENT):
        try:
            spans = ground.spans(tag, kind, len(names))
        except AssertionError:
            spans = [span for span in ground.telemetry.spans if span.tag == tag and span.kind == kind]
        got = Counter(_path(span) for span in spans)
        if got != Counter(want):
            problems.append(f"kind {kind}: missing {sorted(want - set(got))}, too many {sorted(got - Counter(want))}")
        for span in spans:
            size = span.attributes.get("http.response.body.size", len(body))
            if (span.status_code, size) != (200, len(body)):
                problems.append(f"{_brief(span)} with {size} bytes")
    assert not problems, "\n".join(problems)


def _path(span: Span) -> str:
    if span.kind == SERVER:
        return span.path
    return "/" + str(span.attributes.get("url.full", "")).partition("://")[2].partition("/")[2].partition("?")[0]


# ---- the end ----


@case
def short_lived_processes(ground: Ground) -> None:
    """Clients that live for one request, as fast as they can be started."""
    for _ in range(10):
        url = f"{ground.nginx.url}/hello?t=short_lived_processes"
        subprocess.run(["curl", "-s", "-o", "/dev/null", url], check=True)
    assert len({span.pid for span in ground.spans("short_lived_processes", CLIENT, 10)}) == 10


def _after_the_end(ground: Ground) -> None:
    """SIGTERM: a clean end, every span accounted for, nothing left in the kernel."""
    loaded = ground.agent.bpf_programs()
    assert loaded
    status = ground.agent.program.end(signal.SIGTERM, PATIENCE_S)
    assert status == 0, f"the agent ended with {status}: {ground.agent.program.stderr[-2000:]}"
    agent.wait_unloaded(loaded)


def _after_kill(ground: Ground, endpoint: str) -> None:
    """SIGKILL: nothing left in the kernel either."""
    with _agent(ground.folder / "second", endpoint) as second:
        loaded = second.bpf_programs()
        assert loaded
        second.program.end(signal.SIGKILL)
        agent.wait_unloaded(loaded)


@contextmanager
def _agent(folder: Path, endpoint: str) -> Iterator[agent.Agent]:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    }
    watched = agent.Agent(Program([agent.COMMAND, "run", *agent.ALL_SPANS], folder, "agent", environment))
    try:
        watched.wait_attached(PATIENCE_S * 2)
        yield watched
    finally:
        if watched.program.running():
            watched.program.end(signal.SIGKILL)


def _try(name: str, run: Callable[[], None]) -> Outcome:
    begin = time.monotonic()
    error = ""
    try:
        run()
    except Exception as problem:  # a case's failure is a result, whatever it is
        lines = traceback.format_exception(problem)
        error = lines[-1] + "".join(lines[-3:-1])
    outcome = Outcome(name, round(time.monotonic() - begin, 2), error)
    print(f"{'FAIL' if error else 'ok':4} {name} {outcome.seconds} s {error}", flush=True)
    return outcome


def run(hooks: str = "", only: list[str] | None = None) -> list[Outcome]:
    """Runs the cases (all, or those named) and the end; needs root."""
    outcomes = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="otel-ebpf-core-")))
        folder.chmod(0o755)
        endpoint, telemetry = stack.enter_context(receiver())
        server = stack.enter_context(nginx(workers=1, proxy=False))
        unix_server = stack.enter_context(nginx(str(folder / "nginx.sock"), workers=1, proxy=False))
        old, old_halfway = stack.enter_context(Connection(server)), stack.enter_context(Connection(server))
        old.send(request("GET", "/hello"))
        assert old.answer().status == 200
        old_halfway.send(b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Someth")
        watched = stack.enter_context(_agent(folder, endpoint))
        ground = Ground(folder, hooks, watched, telemetry, server, unix_server, old, old_halfway)
        for name, body in CASES.items():
            if not only or name in only:
                outcomes.append(_try(name, partial(body, ground)))
        outcomes.append(_try("after_the_end", lambda: _after_the_end(ground)))
        outcomes.append(_try("after_kill", lambda: _after_kill(ground, endpoint)))
        if any(outcome.error for outcome in outcomes):
            print(f"--- what the agent said:\n{watched.program.stderr[-4000:]}{watched.program.stdout[-2000:]}")
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], help="only these")
    parser.add_argument("--hooks", default="", help="the hooks that this kernel must get")
    parser.add_argument("-o", "--output", type=Path, help="outcomes as JSON")
    options = parser.parse_args()
    outcomes = run(options.hooks, options.cases)
    if options.output:
        options.output.write_text(json.dumps([asdict(outcome) for outcome in outcomes]))
    return 1 if any(outcome.error for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
