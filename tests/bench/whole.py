"""The way of a span as a whole, from the ring to the socket: at full load, at a steady rate, with very many URLs.

CPU is the agent's own, all its threads, drain and export; what BPF costs in the applications' time stands in `bpf`.
Spans per second of CPU are what one core can do. Side by side, in the same run: the SDK's BatchSpanProcessor with its
exporter over http/protobuf, in a process of its own, to the same sink, ten attributes a span.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench import load, measure, sink
from tests.bench.measure import FILE, Mode
from tests.kernels import agent
from tests.kernels.receiver import points
from tests.testbed.process import descendants
from tests.testbed.telemetry import Telemetry

_RATE = 10_000
_CONNECTIONS = 8
_URLS = 100_000
_URL_RATE = 10_000

# What an application would do; the loop pauses when the processor's queue would overflow, so that nothing is dropped.
_SDK = """
import json, sys, time
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

endpoint, count = sys.argv[1], int(sys.argv[2])
provider = TracerProvider(resource=Resource({"service.name": "bench"}))
processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint + "/v1/traces"), max_queue_size=8192)
provider.add_span_processor(processor)
tracer = provider.get_tracer("bench")
attributes = {f"http.some.attribute.{n}": f"a value {n}" for n in range(10)}
began, cpu = time.perf_counter(), time.process_time()
for number in range(count):
    tracer.start_span("GET /orders/{id}", kind=SpanKind.SERVER, attributes=attributes).end()
    if number % 4096 == 4095:
        processor.force_flush()
provider.shutdown()
print(json.dumps([time.perf_counter() - began, time.process_time() - cpu]))
"""


@dataclass(slots=True)
class Flow:
    """Spans that arrived, the agent's CPU for them, and memory."""

    spans: int
    seconds: float
    cpu_s: float
    peak_rss_bytes: int

    @property
    def us_per_span(self) -> float:
        return self.cpu_s * 1e6 / self.spans

    @property
    def per_core_second(self) -> float:
        """What one core moves from the ring to the socket."""
        return self.spans / self.cpu_s

    @property
    def of_a_core(self) -> float:
        return self.cpu_s / self.seconds


@dataclass(slots=True)
class Urls:
    """So many distinct URLs: series of them, and memory before and after."""

    urls: int
    series: int
    rss_before_bytes: int
    rss_after_bytes: int


@dataclass(slots=True)
class Whole:
    """All of it."""

    flat_out: Flow
    sdk: Flow
    steady: Flow
    urls: Urls

    @property
    def times_cheaper(self) -> float:
        """CPU per span of the SDK over the agent's."""
        return self.sdk.us_per_span / self.flat_out.us_per_span


def run(seconds: float, say: Callable[[str], None]) -> Whole:
    """One round."""
    program = sink.build()
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        say("flat out, every span")
        with measure.bench(folder, program) as bench:
            with bench.watching(Mode("both", "all")) as watch:
                sample = watch.sample(FILE, seconds)
            flat_out = Flow(sample.spans, sample.load.seconds, sample.agent_cpu_s, watch.peak_rss_bytes)
            say("the same through the SDK")
            sdk = _sdk(program, folder, 50_000)
            say(f"{_RATE:,} spans a second")
            steady = _steady(bench, folder, max(10.0, seconds))
            say(f"{_URLS:,} URLs")
            urls = _urls(bench, folder)
    return Whole(flat_out, sdk, steady, urls)


def _sdk(program: Path, folder: Path, count: int) -> Flow:
    with sink.running(program, folder / "sdk") as drain:
        command = [sys.executable, "-c", _SDK, drain.endpoint, str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        took_s, cpu_s = json.loads(done.stdout)
        spans = drain.stats()["spans"]
    assert spans == count, f"the SDK lost {count - spans} spans"
    return Flow(spans, took_s, cpu_s, 0)


def _h2load(*arguments: str) -> float:
    """One run over HTTP/1.1; seconds."""
    began_s = time.perf_counter()
    done = subprocess.run(["h2load", "--h1", "-t1", *arguments], capture_output=True, text=True)
    failed = re.search(r"(\d+) succeeded, (\d+) failed", done.stdout)
    if done.returncode or failed is None or failed[2] != "0":
        raise RuntimeError(f"h2load's report is not understood, or not well:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - began_s


def _watched(home: Path) -> tuple[list[str], dict[str, str]]:
    home.mkdir()
    return ["--exe", "nginx", *agent.ALL_SPANS], {"OTEL_METRIC_EXPORT_INTERVAL": "2000"}


def _steady(bench: measure.Bench, folder: Path, seconds: float) -> Flow:
    arguments, env = _watched(folder / "steady")
    with (
        sink.running(bench.sink_program, folder / "steady-sink") as drain,
        agent.running(folder / "steady", drain.endpoint, arguments, env) as it,
    ):
        url = bench.nginx.url + load.FILE_512
        rate = f"-c{_CONNECTIONS}", f"--rps={_RATE // _CONNECTIONS}"
        _h2load(*rate, "-D2", url)
        time.sleep(6)  # a batch may wait for 5 s
        spans, cpu_s = drain.stats()["spans"], it.cpu_s()
        took_s = _h2load(*rate, f"-D{round(seconds)}", url)
        time.sleep(6)
        return Flow(drain.stats()["spans"] - spans, took_s, it.cpu_s() - cpu_s, it.peak_rss_bytes())


def _urls(bench: measure.Bench, folder: Path) -> Urls:
    """Paths of names, as no pattern of an id tells that they vary."""
    arguments, env = _watched(folder / "urls")
    drain_folder = folder / "urls-sink"
    with (
        sink.running(bench.sink_program, drain_folder) as drain,
        agent.running(folder / "urls", drain.endpoint, arguments, env) as it,
    ):
        _h2load("-n2000", bench.nginx.url + load.FILE_512)
        time.sleep(3)
        before = _rss_bytes(it.pid)
        targets = folder / "urls.txt"
        targets.write_text("".join(f"{bench.nginx.url}/catalogue/{_name(n)}\n" for n in range(_URLS)))
        # By one connection: each goes through the file from its start.
        _h2load("-c1", f"--rps={_URL_RATE}", f"-n{_URLS}", "-i", str(targets))
        time.sleep(6)
        after = _rss_bytes(it.pid)
    telemetry = Telemetry(drain_folder)
    for path in sorted(drain_folder.glob("metrics-*.bin")):
        telemetry.add(points=points(path.read_bytes()))
    series = telemetry.latest("http.server.request.duration", descendants(bench.nginx.pid))
    return Urls(_URLS, len(series), before, after)


def _name(number: int) -> str:
    syllables = ("ba", "co", "di", "fu", "ga", "he", "jo", "ku", "la", "me")
    return "".join(syllables[int(digit)] for digit in f"{number:06d}")


def _rss_bytes(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0
