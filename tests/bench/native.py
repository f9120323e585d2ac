"""Rounds on this machine: pairs of with and without, one right after the other, so that drift hits both."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.bench import measure, sink
from tests.bench.measure import FILE, GRPC, HELLO, HTTP2, HTTPS, WITHOUT, Mode, Sample, Workload
from tests.testbed import tls

PAIRS = [
    (Mode("server", "metrics"), FILE),
    (Mode("server", "budget"), FILE),
    (Mode("server", "all"), FILE),
    (Mode("both", "metrics"), FILE),
    (Mode("both", "budget"), FILE),
    (Mode("both", "all"), FILE),
    (Mode("both", "all"), HELLO),
    (Mode("server", "metrics"), HTTPS),
    (Mode("server", "all"), HTTPS),
    (Mode("both", "all"), HTTPS),
    (Mode("server", "metrics"), HTTP2),
    (Mode("server", "all"), HTTP2),
    (Mode("both", "all"), HTTP2),
    (Mode("server", "metrics"), GRPC),
    (Mode("server", "all"), GRPC),
    (Mode("both", "all"), GRPC),
]
QUICK = [(Mode("both", "budget"), FILE), (Mode("both", "all"), FILE)]


@dataclass(slots=True)
class Pairs:
    """All rounds of one mode."""

    mode: Mode
    workload: Workload
    without: list[Sample] = field(default_factory=list)
    watched: list[Sample] = field(default_factory=list)
    peak_rss_bytes: int = 0

    @property
    def ratios(self) -> list[float]:
        """Throughput with over throughput without, by pair."""
        return [
            watched.load.per_second / without.load.per_second
            for without, watched in zip(self.without, self.watched, strict=True)
        ]

    @property
    def ratio(self) -> float:
        return median(self.ratios)


def rounds(wanted: list[tuple[Mode, Workload]], count: int, seconds: float, say: Callable[[str], None]) -> list[Pairs]:
    """`count` rounds of all modes."""
    results = [Pairs(mode, workload) for mode, workload in wanted]
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        measure.bench(Path(folder), sink.build(), certificate=tls.certificate(), with_grpc=True) as bench,
    ):
        for number in range(count):
            for pairs in results:
                with bench.watching(WITHOUT) as nothing:
                    pairs.without.append(nothing.sample(pairs.workload, seconds))
                with bench.watching(pairs.mode) as watch:
                    pairs.watched.append(watch.sample(pairs.workload, seconds))
                pairs.peak_rss_bytes = max(pairs.peak_rss_bytes, watch.peak_rss_bytes)
                say(f"round {number + 1} of {count}: {pairs.mode.name}, {pairs.workload.name}: {pairs.ratios[-1]:.2f}")
    return results


def bpf_cost(seconds: float) -> Sample:
    """One run with the kernel's BPF statistics on: what each program costs (reading the clock included)."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        measure.bench(Path(folder), sink.build()) as bench,
        bench.watching(Mode("both", "all"), stats=True) as watch,
    ):
        return watch.sample(FILE, seconds)


@dataclass(frozen=True, slots=True)
class Counts:
    """The same requests, counted by three."""

    wrk: int
    access_log: int
    server: int
    client: int
    spans: int


def counts(requests: int, rate: float, say: Callable[[str], None]) -> Counts:
    """About `requests` of wrk, which makes them at `rate` per second."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        log = Path(folder, "access.log")
        with measure.bench(Path(folder), sink.build(), access_log=log) as bench:
            with bench.watching(Mode("both", "budget")) as watch:
                seconds = max(1.0, requests / rate)
                say(f"counting some {requests:,} requests, {seconds:.0f} s")
                sample = watch.sample(FILE, seconds)
            wrk_requests = watch.wrk_requests
        # nginx has ended and its log is written out.
        with log.open("rb") as lines:
            logged = sum(1 for _ in lines)
    return Counts(wrk_requests, logged, watch.counted["server"], watch.counted["client"], sample.spans)
