"""nginx, wrk, h2load and ghz as the benchmarks use them: one worker, one thread, figures out of their own reports."""

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.testbed import cache, toolchains
from tests.testbed.tls import Certificate

_CONFIG = """
user root; worker_processes 1; daemon off; pid {home}/pid; error_log {home}/error.log error;
events {{ worker_connections 1024; }}
http {{
    log_format short '$status';
    access_log {access_log}; keepalive_requests 1000000000; sendfile on;
    client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{http2_port} http2;
        {secure}
        default_type text/plain;
        location / {{ return 200 "hello world\\n"; }}
        location /static/ {{ root {home}; }}
    }}
}}
"""

# The requests are laid out once: what remains per request is a table look-up, the same with and without the agent.
_LUA = """
local syllables = {{"ba", "co", "di", "fu", "ga", "he", "jo", "ku", "la", "me", "no", "pa"}}
local function name(i)
  local text = ""
  for _ = 1, 3 do text, i = text .. syllables[i % 12 + 1], math.floor(i / 12) end
  return text
end
local requests, n = {{}}, 0
init = function(args)
  for i = 1, 1000 do requests[i] = wrk.format("GET", {target}) end
end
request = function() n = n % 1000 + 1; return requests[n] end
"""

_GHZ = "v0.93.0"
_PROTO = """
syntax = "proto3";
package shop;
message Nothing {}
service Orders { rpc Get(Nothing) returns (Nothing); }
"""

Paths = Literal["ids", "names"]
_TARGETS: dict[Paths, str] = {"ids": '"/item/" .. i', "names": '"/catalogue/" .. name(i)'}

HELLO = "/"
FILE_512 = "/static/512"


@dataclass(frozen=True, slots=True)
class Nginx:
    """One that serves: base URLs in the clear, within TLS ("" if it can't), by HTTP/2; the pid of its master."""

    url: str
    secure_url: str
    http2_url: str
    pid: int


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk, h2load or ghz reported. h2load has no percentiles: the mean stands for p50, the longest for p99."""

    pid: int
    requests: int
    seconds: float
    per_second: float
    p50_us: float
    p99_us: float
    failed: int
    switches: int = 0  # context switches of the whole machine meanwhile


@contextmanager
def nginx(home: Path, *, access_log: Path | None = None, certificate: Certificate | None = None) -> Iterator[Nginx]:
    """nginx with one worker."""
    port, http2_port, secure_port = free_port(), free_port(), free_port()
    secure = secure_url = ""
    if certificate:
        secure = f"listen 127.0.0.1:{secure_port} ssl;"
        secure += f" ssl_certificate {certificate.certificate}; ssl_certificate_key {certificate.key};"
        secure_url = f"https://127.0.0.1:{secure_port}"
    (home / "static").mkdir(parents=True, exist_ok=True)
    (home / "static/512").write_bytes(b"x" * 511 + b"\n")
    names = {"home": home, "port": port, "http2_port": http2_port}
    log = f"{access_log} short buffer=256k" if access_log else "off"
    (home / "nginx.conf").write_text(_CONFIG.format(**names, secure=secure, access_log=log))
    process = subprocess.Popen(["nginx", "-p", str(home), "-c", str(home / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield Nginx(f"http://127.0.0.1:{port}", secure_url, f"http://127.0.0.1:{http2_port}", process.pid)
    finally:
        process.terminate()
        process.wait(20)


def rotating_paths(home: Path, paths: Paths) -> Path:
    """A wrk script that asks for 1,000 different paths in turn: with a number, or each with a name of its own."""
    script = home / f"{paths}.lua"
    script.write_text(_LUA.format(target=_TARGETS[paths]))
    return script


def wrk(url: str, seconds: float, *, connections: int = 16, script: Path | None = None) -> Load:
    """One run of wrk with one thread. Seconds are whole ones, as wrk wants them."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
    if script:
        command += ["-s", str(script)]
    switches = _switches()
    with subprocess.Popen([*command, url], stdout=subprocess.PIPE, text=True) as process:
        text = process.communicate()[0]
    total = re.search(r"(\d+) requests in ([\d.]+)(m?s|m)", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if total is None or rate is None:
        raise RuntimeError(f"wrk's report is not understood:\n{text}")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return Load(
        pid=process.pid,
        requests=int(total[1]),
        seconds=_seconds(total[2], total[3]),
        per_second=float(rate[1]),
        p50_us=_percentile(text, 50),
        p99_us=_percentile(text, 99),
        failed=(sum(map(int, errors.groups())) if errors else 0) + (int(bad[1]) if bad else 0),
        switches=_switches() - switches,
    )


def h2load(url: str, seconds: float, *, connections: int = 8, streams: int = 32) -> Load:
    """One run of h2load with one thread."""
    command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{max(1, round(seconds))}", url]
    switches = _switches()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        text = process.communicate()[0]
    total = re.search(r"^requests: .* (\d+) done, (\d+) succeeded, (\d+) failed", text, re.MULTILINE)
    rate = re.search(r"^finished in ([\d.]+)(us|ms|s|m), ([\d.]+) req/s", text, re.MULTILINE)
    times = re.search(r"^time for request: +\S+ +([\d.]+)(us|ms|s) +([\d.]+)(us|ms|s)", text, re.MULTILINE)
    if total is None or rate is None or times is None:
        raise RuntimeError(f"h2load's report is not understood:\n{text}")
    return Load(
        pid=process.pid,
        requests=int(total[2]),
        seconds=_seconds(rate[1], rate[2]),
        per_second=float(rate[3]),
        p50_us=_seconds(times[3], times[4]) * 1e6,
        p99_us=_seconds(times[1], times[2]) * 1e6,
        failed=int(total[3]),
        switches=_switches() - switches,
    )


def build_ghz() -> Path:
    """ghz, of a version that is always the same."""
    go = toolchains.recent_go()

    def make(into: Path) -> None:
        env = {**toolchains.go_environment(go), "GOBIN": str(into)}
        cache.command([go, "install", f"github.com/bojand/ghz/cmd/ghz@{_GHZ}"], cwd=into, env=env)

    return cache.built("ghz", [], _GHZ, make) / "ghz"


def ghz(program: Path, home: Path, address: str, seconds: float) -> Load:
    """One run of ghz: unary calls of shop.Orders/Get, 64 at once on eight connections."""
    proto = home / "orders.proto"
    proto.write_text(_PROTO)
    what = ["--proto", str(proto), "--call", "shop.Orders.Get", "-d", "{}", "--connections", "8", "-c", "64"]
    command = [str(program), "--insecure", *what, "-z", f"{max(1, round(seconds))}s", "-O", "json", address]
    switches = _switches()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        text = process.communicate()[0]
    report = json.loads(text)
    latency_ns = {row["percentage"]: row["latency"] for row in report["latencyDistribution"]}
    answered = report["statusCodeDistribution"].get("OK", 0)
    return Load(
        pid=process.pid,
        requests=answered,
        seconds=report["total"] / 1e9,
        per_second=answered * 1e9 / report["total"],
        p50_us=latency_ns[50] / 1e3,
        p99_us=latency_ns[99] / 1e3,
        failed=report["count"] - answered,  # those under way at the end
        switches=_switches() - switches,
    )


@contextmanager
def in_turn(pids: Iterable[int]) -> Iterator[None]:
    """These, and what is started meanwhile, run under SCHED_BATCH: who is woken waits until the others are done."""
    pids = [0, *pids]
    for pid in pids:
        os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        for pid in pids:
            os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))


def _switches() -> int:
    found = re.search(r"^ctxt (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def _percentile(text: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk's report has no {percent} %:\n{text}")
    return _seconds(found[1], found[2]) * 1e6


def _seconds(number: str, unit: str) -> float:
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[unit]


def free_port() -> int:
    """A TCP port of the loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, timeout_s: float = 20) -> None:
    """Until something accepts connections there."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")
