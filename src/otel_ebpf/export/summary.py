"""The closing summary: totals by service and route, and where every request went."""

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from otel_ebpf.export.sender import Delivery
from otel_ebpf.export.terminal import bytes_text, duration_text, printable
from otel_ebpf.model import Accounting, CallSeries, HttpSeries, ProgramStats
from otel_ebpf.protocols.registry import AREAS, GRPC, HTTP

_ROWS: Final = 40
_OTHERS: Final = "(other)"
Key = tuple[str, str, str, str]
"""Service, role, method, route; of gRPC its title and rpc.method; of other calls their system and their spans' name."""


@dataclass(slots=True)
class Total:
    """Requests of one service and route. Bytes are of bodies, both ways. `system`: "" for HTTP and gRPC."""

    count: int = 0
    errors: int = 0
    sum_s: float = 0.0
    min_s: float = float("inf")
    max_s: float = 0.0
    bytes: float = 0.0
    buckets: list[int] = field(default_factory=list)
    system: str = ""
    bounds: Sequence[float] = HTTP.metrics["server"].duration.bounds

    def add(self, series: HttpSeries | CallSeries) -> None:
        """Adds one series, which must be new here."""
        duration = series.duration
        self.count += duration.count
        self.errors += duration.count if series.error_type else 0
        self.sum_s += duration.sum
        if duration.count:
            self.min_s, self.max_s = min(self.min_s, duration.min), max(self.max_s, duration.max)
        grown = self.buckets + [0] * (len(duration.buckets) - len(self.buckets))
        self.buckets = [have + more for have, more in zip(grown, duration.buckets, strict=True)]

    @property
    def mean_s(self) -> float:
        """Exact."""
        return self.sum_s / self.count if self.count else 0.0

    def add_http(self, series: HttpSeries) -> None:
        """Adds one series of HTTP or gRPC, which must be new here."""
        self.add(series)
        self.bytes += sum(body.sum for body in (series.request_body, series.response_body) if body)

    def quantile(self, fraction: float) -> float:
        """Estimated seconds: where in its bucket, on a logarithmic scale.

        The first bucket ends at 5 ms, which is a long time for many servers. So the bucket is cut to [min, max],
        and to what the mean allows: no more than 1 - fraction of all can be above (mean - min) / (1 - fraction).
        """
        bounds = self.bounds
        rank, below = fraction * self.count, 0
        limit = self.min_s + (self.mean_s - self.min_s) / (1 - fraction)
        for index, count in enumerate(self.buckets):
            if count and below + count >= rank:
                low = max(self.min_s, bounds[index - 1] if index else 0.0, 1e-9)
                high = min(self.max_s, limit, bounds[index] if index < len(bounds) else self.max_s)
                return low * math.pow(max(high, low) / low, (rank - below) / count)
            below += count
        return self.max_s


@dataclass(slots=True)
class _Read:
    """What was read of one process last."""

    series: list[HttpSeries] = field(default_factory=list)
    calls: list[CallSeries] = field(default_factory=list)


class Totals:
    """Keeps the last value of each live process's series; those of ended ones are added up and forgotten."""

    def __init__(self) -> None:
        self._live: dict[int, _Read] = {}
        self._ended: dict[Key, Total] = {}

    def update(self, series: Iterable[HttpSeries], calls: Iterable[CallSeries] = ()) -> None:
        """All series of the core, as they are now."""
        fresh: dict[int, _Read] = {}
        for one in series:
            fresh.setdefault(one.process_key, _Read()).series.append(one)
        for call in calls:
            fresh.setdefault(call.process_key, _Read()).calls.append(call)
        self._live.update(fresh)

    def last(self, process_key: int) -> tuple[Sequence[HttpSeries], Sequence[CallSeries]]:
        """What was read last of a process that has not been told to have `ended`."""
        read = self._live.get(process_key, _Read())
        return read.series, read.calls

    def ended(self, process_key: int, service: str) -> None:
        """A process ended, its last series have been given to `update`."""
        if read := self._live.pop(process_key, None):
            _add(self._ended, read, service)

    def by_route(self, services: Mapping[int, str]) -> dict[Key, Total]:
        """Totals of everything, the busiest first; `services` of the processes that are alive."""
        totals: dict[Key, Total] = {}
        for key, ended in self._ended.items():
            totals[key] = Total(**{name: getattr(ended, name) for name in Total.__slots__})
        for process_key, read in self._live.items():
            _add(totals, read, services.get(process_key, "?"))
        return dict(sorted(totals.items(), key=lambda item: (-item[1].count, item[0])))


def _add(totals: dict[Key, Total], read: _Read, service: str) -> None:
    for one in read.series:
        method = GRPC.title if one.rpc_system else one.method
        route = _OTHERS if one.overflow else one.rpc_method or one.route
        totals.setdefault((service, one.role, method, route), Total()).add_http(one)
    for call in read.calls:
        of_area = AREAS[call.area]["server" if call.role == "server" else "client"].duration.bounds
        name = _OTHERS if call.overflow else call.name
        totals.setdefault((service, call.role, call.system, name), Total(system=call.system, bounds=of_area)).add(call)


@dataclass(frozen=True, slots=True)
class Summary:
    """What is told at the end. `lines_shown` None: no lines were asked for. `backend`: spans go to one.

    `series`: what became of the readings of series, if they go to one.
    """

    totals: Mapping[Key, Total]
    accounting: Accounting
    duration_s: float
    backend: bool
    lines_shown: int | None = None
    programs: Sequence[ProgramStats] | None = None
    series: Delivery | None = None

    def as_text(self, *, colours: bool, width: int) -> str:
        """Tables and sentences; `width` 0: as wide as needed."""
        console = Console(
            file=io.StringIO(), force_terminal=colours, no_color=not colours, width=width or 200, highlight=False
        )
        console.print()
        if self.totals:
            console.print(self._route_table())
        for sentence in self._sentences():
            console.print(Text(sentence))
        if self.programs is not None:
            console.print(_program_table(self.programs))
        text = console.file.getvalue() if isinstance(console.file, io.StringIO) else ""
        return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"

    def _route_table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
        for heading in ("service", "role", "method", "route"):
            table.add_column(heading, overflow="ellipsis", no_wrap=heading != "route")
        for heading in ("requests", "errors", "mean", "~p50", "~p99", "bytes"):
            table.add_column(heading, justify="right", no_wrap=True)
        for (service, role, method, route), total in list(self.totals.items())[:_ROWS]:
            table.add_row(
                Text(printable(service)),
                role,
                Text(printable(method)),
                Text(printable(route) or "-"),
                f"{total.count:,}",
                Text(f"{total.errors:,}", "red" if total.errors else ""),
                duration_text(total.mean_s),
                duration_text(total.quantile(0.5)),
                duration_text(total.quantile(0.99)),
                bytes_text(total.bytes),
            )
        if hidden := list(self.totals.values())[_ROWS:]:
            table.add_row(f"… and {len(hidden):,} more", "", "", "", f"{sum(total.count for total in hidden):,}")
        return table

    def _sentences(self) -> list[str]:
        books = self.accounting
        per_second = books.seen / self.duration_s if self.duration_s > 0 else 0.0
        sentences = [f"{books.seen:,} requests seen in {self.duration_s:.1f} s ({per_second:,.0f} a second)"]
        if self.lines_shown is not None:
            hidden = max(0, books.seen - self.lines_shown)
            sentences[0] += f"; {self.lines_shown:,} shown, {hidden:,} not"
        if self.backend:
            dropped = sum(books.dropped.values())
            parts = ", ".join(f"{reason} {count:,}" for reason, count in sorted(books.dropped.items()) if count)
            sentences.append(
                f"spans: seen {books.seen:,}"
                + (f" + left by earlier runs {books.recovered:,}" if books.recovered else "")
                + f" = exported {books.exported:,} + dropped {dropped:,}"
                + (f" ({parts})" if parts else "")
                + (f" + kept on disk {books.kept:,}" if books.kept else "")
                + (f" + unaccounted {books.pending:,}" if books.pending else "")
            )
        if (series := self.series) and (series.dropped or series.kept or series.recovered):
            # Otherwise all is as it should be.
            parts = ", ".join(f"{reason} {count:,}" for reason, count in sorted(series.dropped.items()))
            sentences.append(
                f"metrics, in readings of series: exported {series.exported:,}"
                + f" + dropped {sum(series.dropped.values()):,}"
                + (f" ({parts})" if parts else "")
                + (f" + kept on disk {series.kept:,}" if series.kept else "")
                + (f"; left by earlier runs {series.recovered:,}" if series.recovered else "")
            )
        # The other records went the way they should.
        lost = ", ".join(
            f"{name} {count:,}"
            for name, count in sorted(books.records.items())
            if count and name.startswith(("lost", "malformed"))
        )
        if lost:
            sentences.append(f"records of the kernel's ring: {lost}")
        if unbound := books.records.get("tls.unbound"):
            sentences.append(f"{unbound:,} reads and writes through TLS not seen: on connections older than this run")
        return sentences

    def as_json(self) -> str:
        """One JSON object and a newline."""
        routes: list[dict[str, Any]] = [
            {
                "service": service,
                "role": role,
                "system": total.system or None,
                "method": None if total.system or method == GRPC.title else method or None,
                "route": None if total.system or method == GRPC.title else route or None,
                "rpc_method": route if method == GRPC.title else None,
                "summary": route if total.system else None,
                "requests": total.count,
                "errors": total.errors,
                "mean_s": total.mean_s,
                "p50_s": total.quantile(0.5),
                "p99_s": total.quantile(0.99),
                "body_bytes": int(total.bytes),
            }
            for (service, role, method, route), total in self.totals.items()
        ]
        books = self.accounting
        summary: dict[str, Any] = {
            "kind": "summary",
            "duration_s": round(self.duration_s, 3),
            "requests_seen": books.seen,
            "spans_exported": books.exported,
            "spans_dropped": dict(books.dropped),
            "spans_recovered": books.recovered,
            "spans_kept": books.kept,
            "unaccounted": books.pending,
            "series": {
                "exported": self.series.exported,
                "dropped": self.series.dropped,
                "recovered": self.series.recovered,
                "kept": self.series.kept,
            }
            if self.series
            else None,
            "records": dict(books.records),
            "lines_shown": self.lines_shown,
            "routes": routes,
        }
        if self.programs is not None:
            summary["programs"] = [
                {
                    "name": one.name,
                    "hook": one.hook,
                    "run_count": one.run_count,
                    "run_time_ns": one.run_time_ns,
                    "missed": one.missed,
                }
                for one in self.programs
            ]
        return json.dumps(summary, separators=(",", ":")) + "\n"


def _program_table(programs: Iterable[ProgramStats]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    table.add_column("program")
    table.add_column("hook")
    for heading in ("runs", "ns per run", "missed"):
        table.add_column(heading, justify="right")
    for one in programs:
        per_run = f"{one.run_time_ns / one.run_count:,.0f}" if one.run_count else "-"
        table.add_row(Text(one.name), Text(one.hook), f"{one.run_count:,}", per_run, f"{one.missed:,}")
    return table
