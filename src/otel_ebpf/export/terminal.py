"""One line for each request: aligned text for people, JSON for programs.

What a request says of itself is an attacker's text: control characters never reach the terminal.
"""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from rich.color import ColorSystem
from rich.style import Style

from otel_ebpf.model import Line, ProcessInfo
from otel_ebpf.protocols.registry import GRPC

LINES_PER_SECOND: Final = 2000
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_OK, _REDIRECT, _CLIENT_ERROR, _SERVER_ERROR = (Style.parse(name) for name in ("green", "cyan", "yellow", "bold red"))
_DIM: Final = Style.parse("dim")
_BOLD: Final = Style.parse("bold")

Formatter = Callable[[Line, ProcessInfo | None], str]


def printable(text: str) -> str:
    """`text` with control and direction characters as escapes."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def duration_text(seconds: float) -> str:
    """Three digits and a unit: `812 µs`, `1.25 ms`, `30.0 s`."""
    for unit, scale in (("µs", 1e6), ("ms", 1e3)):
        if seconds * scale < 999.5:
            return f"{_three_digits(seconds * scale)} {unit}"
    return f"{_three_digits(seconds)} s"


def bytes_text(count: float) -> str:
    """Exact below a kilobyte, then three digits: `612 B`, `1.50 kB`."""
    if count < 1000:
        return f"{count:.0f} B"
    units = ("kB", "MB", "GB", "TB")
    power = next((power for power in (1, 2, 3) if count / 1000**power < 999.5), 4)
    return f"{_three_digits(count / 1000**power)} {units[power - 1]}"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


class TextLines:
    """Columns keep the width of the widest value so far, up to a limit; `width` is the terminal's, 0 for none."""

    #        service  client → server  method  route  status
    _START = (10, 33, 6, 24, 3)
    _LIMIT = (20, 47, 10, 48, 19)
    # time, duration, bytes, and two blanks between each of the eight columns
    _FIXED = 12 + 8 + 8 + 2 * 7
    _SHORTEST_TARGET = 12

    def __init__(self, *, colours: ColorSystem | None, width: int) -> None:
        self._colours = colours
        self._width = width
        self._widths = list(self._START)

    def __call__(self, line: Line, process: ProcessInfo | None) -> str:
        local = time.localtime(line.start_unix_ns // 1_000_000_000)
        clock = f"{time.strftime('%H:%M:%S', local)}.{line.start_unix_ns // 1_000_000 % 1000:03}"
        cells = [
            printable(process.service_name if process else "?"),
            printable(f"{line.client} → {line.server}"),
            line.system or (GRPC.title if line.rpc_method else printable(line.method)),
            printable(_route(line) or line.target or "-"),
            printable(_status(line)),
        ]
        self._fit(cells)
        service, peers, method, route, status = (
            cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True)
        )
        return (
            "  ".join(
                (
                    self._paint(clock, _DIM),
                    self._paint(service, _BOLD),
                    peers,
                    self._paint(method, _BOLD),
                    route,
                    self._paint(status, _status_style(line)),
                    duration_text(line.duration_ns / 1e9).rjust(8),
                    bytes_text(line.response_body_bytes).rjust(8),
                    self._paint(self._target(line), _DIM),
                )
            ).rstrip()
            + "\n"
        )

    def _target(self, line: Line) -> str:
        """The path as sent, where the route does not say it all: whole in a file, on a terminal what fits."""
        if line.system:
            target, route = line.query, line.summary
        else:
            target, route = line.target, _route(line) or line.target
        if target in (route, f"/{route}" if line.rpc_method else route):
            return ""
        target = printable(target)
        if not self._width:
            return target
        room = self._width - self._FIXED - sum(self._widths) - 2
        return target if len(target) <= room else target[: room - 1] + "…" if room >= self._SHORTEST_TARGET else ""

    def _fit(self, cells: list[str]) -> None:
        for index, cell in enumerate(cells):
            self._widths[index] = max(self._widths[index], min(len(cell), self._LIMIT[index]))
        if self._width:
            # On a terminal the route gives way, so that a line stays one line where it can.
            others = self._FIXED + sum(self._widths) - self._widths[3]
            self._widths[3] = min(self._widths[3], max(self._START[3], self._width - others))
            for index in (0, 3):
                if len(cells[index]) > self._widths[index]:
                    cells[index] = cells[index][: self._widths[index] - 1] + "…"

    def _paint(self, text: str, style: Style) -> str:
        return style.render(text, color_system=self._colours) if self._colours else text


def _route(line: Line) -> str:
    """What was asked for, as far as it has a name: a route, gRPC's method, a query's summary."""
    if line.system:
        return line.summary
    return line.route if line.rpc_method in ("", "_OTHER") else line.rpc_method


def _status(line: Line) -> str:
    """How it was answered, in the protocol's words."""
    if line.system:
        return line.code or line.error_type or "OK"
    return line.rpc_status or (str(line.status) if line.status else line.error_type or "-")


def _status_style(line: Line) -> Style:
    if line.system:
        return _SERVER_ERROR if line.error_type else _OK
    if line.rpc_status:
        return _SERVER_ERROR if line.error_type else _OK if line.rpc_status == "OK" else _CLIENT_ERROR
    if not line.status or line.status >= 500:
        return _SERVER_ERROR
    if line.status >= 400:
        return _CLIENT_ERROR
    return _REDIRECT if line.status >= 300 else _OK


def json_line(line: Line, process: ProcessInfo | None) -> str:
    """One JSON object and a newline. What is not there is null."""
    when = datetime.fromtimestamp(line.start_unix_ns // 1_000_000_000, UTC)
    return (
        json.dumps(
            {
                "kind": "request",
                "time": f"{when:%Y-%m-%dT%H:%M:%S}.{line.start_unix_ns % 1_000_000_000:09}Z",
                "service": process.service_name if process else None,
                "pid": process.pid if process else None,
                "role": line.role,
                "system": line.system or None,
                "summary": line.summary or None,
                "query": line.query or None,
                "response_code": line.code or None,
                "client": line.client,
                "server": line.server,
                "method": line.method or None,
                "target": line.target or None,
                "route": line.route or None,
                "status": line.status or None,
                "rpc_method": line.rpc_method or None,
                "rpc_status": line.rpc_status or None,
                "request_messages": line.request_messages,
                "response_messages": line.response_messages,
                "error_type": line.error_type or None,
                "duration_ns": line.duration_ns,
                "request_body_bytes": line.request_body_bytes,
                "response_body_bytes": line.response_body_bytes,
                "trace_id": line.trace_id or None,
                "span_id": line.span_id or None,
            },
            separators=(",", ":"),
        )
        + "\n"
    )


class LineBudget:
    """How many lines may still be shown: at most LINES_PER_SECOND in any second or so, evenly."""

    def __init__(self, now_s: float) -> None:
        self._left = float(LINES_PER_SECOND)
        self._at_s = now_s

    def take(self, now_s: float) -> int:
        """Whole lines that may be shown now."""
        self._left = min(LINES_PER_SECOND, self._left + (now_s - self._at_s) * LINES_PER_SECOND)
        self._at_s = now_s
        return int(self._left)

    def spend(self, lines: int) -> None:
        """So many were shown."""
        self._left -= lines
