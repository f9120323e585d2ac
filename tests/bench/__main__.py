"""What the agent costs, in one run: `make bench`, or `make bench ARGS='--quick'`.

Throughput and latency of nginx under wrk with and without the agent (interleaved pairs, medians with min-max), BPF
time by program, the agent's processor time and memory, counts against wrk's and the access log's; then instructions
per request in a VM that counts them, which is the figure to trust on a busy machine.
"""

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import calls, counting, native, queues, whole
from tests.bench.measure import Sample, Watch

SECTIONS = ("native", "calls", "queue", "whole", "bpf", "count", "vm")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: does it run, is it about right")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="only this (again for more)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of pairs natively [3]")
    parser.add_argument("--seconds", type=float, default=4, help="length of each run natively [4]")
    parser.add_argument("--requests", type=int, default=1_000_000, help="to be counted exactly [1000000]")
    parser.add_argument("--kernel", default="6.12", help="series of Debian's kernel in the VM [6.12]")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("capture needs root")
    if options.quick:
        options.rounds, options.seconds, options.requests = 1, 2, 100_000
    sections = options.only or SECTIONS
    results: dict[str, Any] = {"machine": machine()}
    as_json = options.output == "json"
    if not as_json:
        print(f"{results['machine']['kernel']}, {results['machine']['cpus']} x {results['machine']['cpu']}")
        if results["machine"]["load"] > 0.5:
            print(
                f"note: this machine is busy already (load {results['machine']['load']}); trust only the VM's figures"
            )

    if "native" in sections:
        pairs = native.rounds(native.QUICK if options.quick else native.PAIRS, options.rounds, options.seconds, say)
        results["native"] = [_pairs_as_dict(each) for each in pairs]
        if not as_json:
            print_pairs(pairs)
    if "calls" in sections:
        called = calls.rounds(options.rounds, options.seconds, say)
        results["calls"] = [asdict(each) | {"ratio": each.ratio} for each in called]
        if not as_json:
            print_calls(called)
    if "queue" in sections:
        queued = queues.rounds(options.rounds, options.seconds / 4, say)
        results["queue"] = asdict(queued) | {"ratio": queued.ratio}
        if not as_json:
            print_queue(queued)
    if "whole" in sections:
        way = whole.run(options.seconds, say)
        results["whole"] = asdict(way) | {"times_cheaper": way.times_cheaper}
        if not as_json:
            print_whole(way)
    if "bpf" in sections:
        sample = native.bpf_cost(options.seconds)
        results["bpf"] = asdict(sample)
        if not as_json:
            print_bpf(sample)
    if "count" in sections:
        counts = native.counts(options.requests, 30_000, say)
        results["count"] = asdict(counts)
        if not as_json:
            print_counts(counts)
    if "vm" in sections:
        say(f"instructions per request on Debian's {options.kernel}: minutes")
        kernel, watches = counting.run(options.kernel, quick=options.quick)
        results["vm"] = {"kernel": kernel, "watches": [watch.as_dict() for watch in watches]}
        if not as_json:
            print_instructions(kernel, watches)
    if as_json:
        print(json.dumps(results, indent=2))
    return 0


def say(text: str) -> None:
    """Progress, apart from the results."""
    print(f"... {text}", file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """What the native figures were measured on."""
    models = [
        line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "kernel": f"Linux {platform.release()}",
        "cpu": models[0] if models else platform.machine(),
        "cpus": os.cpu_count() or 0,
        "load": round(os.getloadavg()[0], 2),
    }


def table(title: str, head: list[str], rows: list[list[str]]) -> None:
    """Prints columns, the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    print(f"\n{title}")
    for row in [head, *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  " + "  ".join(cells).rstrip())
    sys.stdout.flush()


def span_of(values: list[float], form: str = ",.0f") -> str:
    """Median, with min-max where there are several."""
    if len(values) == 1:
        return format(values[0], form)
    return f"{median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def print_pairs(pairs: list[native.Pairs]) -> None:
    """(a) and (c) of the issue's list."""
    table(
        "nginx under wrk -t1 -c16 (https: -c8; HTTP/2: h2load -t1 -c8 -m32, which tells mean and longest; "
        "gRPC: ghz -c64 --connections 8 against grpc-go), "
        "pairs of without and with the agent: median (min-max)",
        ["", "req/s without", "with", "ratio", "p50 µs", "p99 µs", "agent µs/req", "peak RSS MB", "spans/req"],
        [
            [
                f"{each.mode.name}, {each.workload.name}",
                span_of([sample.load.per_second for sample in each.without]),
                span_of([sample.load.per_second for sample in each.watched]),
                span_of(each.ratios, ".2f"),
                _before_after(each, "p50_us"),
                _before_after(each, "p99_us"),
                span_of([sample.agent_us_per_request for sample in each.watched], ".2f"),
                f"{each.peak_rss_bytes / 1e6:.0f}",
                f"{sum(s.spans for s in each.watched) / sum(s.load.requests for s in each.watched):.2f}",
            ]
            for each in pairs
        ],
    )


def _before_after(each: native.Pairs, percentile: str) -> str:
    without = median(getattr(sample.load, percentile) for sample in each.without)
    watched = median(getattr(sample.load, percentile) for sample in each.watched)
    return f"{without:,.0f} → {watched:,.0f}"


def print_calls(pairs: list[calls.Pairs]) -> None:
    """Databases under their own tools."""
    table(
        "PostgreSQL under pgbench, Redis under redis-benchmark, client and server watched, pairs of without and with "
        "the agent: median (min-max)",
        ["", "calls/s without", "with", "ratio", "agent µs/call", "peak RSS MB", "calls", "missed"],
        [
            [
                each.name,
                span_of(each.without),
                span_of(each.watched),
                span_of(each.ratios, ".2f"),
                span_of(each.agent_us, ".2f"),
                f"{each.peak_rss_bytes / 1e6:.0f}",
                f"{each.calls:,}",
                f"{each.missed:,}",
            ]
            for each in pairs
        ],
    )


def print_queue(found: queues.QueuePairs) -> None:
    """The sender alone, without capture."""
    table(
        f"Spans from the core's memory to the socket, {found.spans:,} in all: median (min-max)",
        ["queue", "spans/s", "agent µs/span", "ratio"],
        [
            ["in memory", span_of(found.memory), span_of(found.memory_us, ".3f"), ""],
            ["on disk", span_of(found.disk), span_of(found.disk_us, ".3f"), f"{found.ratio:.2f}"],
        ],
    )


def print_whole(way: whole.Whole) -> None:
    """From the ring to the socket."""
    table(
        "Spans from the ring to the socket; the SDK's from start_span to the socket",
        ["", "spans", "spans/s of a core", "µs of CPU/span", "of a core", "peak RSS MB"],
        [
            [
                name,
                f"{flow.spans:,}",
                f"{flow.per_core_second:,.0f}",
                f"{flow.us_per_span:.2f}",
                f"{flow.of_a_core:.1%}",
                f"{flow.peak_rss_bytes / 1e6:.0f}" if flow.peak_rss_bytes else "",
            ]
            for name, flow in (
                ("flat out, client and server", way.flat_out),
                ("the SDK's BatchSpanProcessor and exporter", way.sdk),
                ("10,000 a second", way.steady),
            )
        ],
    )
    urls = way.urls
    table(
        "Distinct URLs",
        ["URLs", "series", "RSS before MB", "after MB"],
        [
            [
                f"{urls.urls:,}",
                f"{urls.series:,}",
                f"{urls.rss_before_bytes / 1e6:.0f}",
                f"{urls.rss_after_bytes / 1e6:.0f}",
            ]
        ],
    )


def print_bpf(sample: Sample) -> None:
    """(b) of the issue's list."""
    requests = sample.load.requests
    rows = [
        [
            program.name,
            f"{program.runs / requests:.2f}",
            f"{program.nanoseconds / program.runs:,.0f}",
            f"{program.nanoseconds / requests:,.0f}",
        ]
        for program in sorted(sample.bpf, key=lambda program: -program.nanoseconds)
    ]
    total = sum(program.nanoseconds for program in sample.bpf)
    runs = sum(program.runs for program in sample.bpf)
    rows.append(["all", f"{runs / requests:.2f}", f"{total / runs if runs else 0:,.0f}", f"{total / requests:,.0f}"])
    table("BPF, client and server watched, by program", ["", "runs/request", "ns/run", "ns/request"], rows)


def print_counts(counts: native.Counts) -> None:
    """Whether every request was counted once."""
    table(
        "Requests counted",
        ["by", "requests", "more than the access log"],
        [
            ["nginx's access log", f"{counts.access_log:,}", ""],
            [
                "wrk (what was under way at its end is missing)",
                f"{counts.wrk:,}",
                f"{counts.wrk - counts.access_log:+,}",
            ],
            ["http.server.request.duration", f"{counts.server:,}", f"{counts.server - counts.access_log:+,}"],
            ["http.client.request.duration", f"{counts.client:,}", f"{counts.client - counts.access_log:+,}"],
        ],
    )


def print_instructions(kernel: str, watches: list[Watch]) -> None:
    """(d) of the issue's list."""
    table(
        f"Instructions per request (load, server, agent together), {kernel}, wrk -t1 -c8, h2load -t1 -c8 -m32",
        ["", "total", "added", "of it agent", "throughput ratio", "spans/req", "switches/req"],
        [
            [
                f"{row.mode.name}, {row.workload}",
                span_of(row.instructions),
                f"{row.added:,.0f}",
                f"{row.agent:,.0f}",
                f"{(row.instructions_median - row.added) / row.instructions_median:.2f}",
                f"{row.spans_per_request:.2f}",
                f"{row.switches_per_request:.2f}",
            ]
            for row in counting.rows(watches)
        ],
    )


def _pairs_as_dict(pairs: native.Pairs) -> dict[str, Any]:
    return {**asdict(pairs), "ratios": pairs.ratios, "ratio": pairs.ratio}


if __name__ == "__main__":
    sys.exit(main())
