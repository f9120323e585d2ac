"""What a Collector's file exporter wrote, as spans and metric points."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5
UNSET, OK, ERROR = 0, 1, 2


def _value(value: dict[str, Any]) -> Any:
    if not value:
        return None
    kind, content = next(iter(value.items()))
    if kind == "intValue":
        return int(content)
    if kind == "arrayValue":
        return [_value(part) for part in content.get("values", [])]
    return content


def _attributes(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    return {pair["key"]: _value(pair["value"]) for pair in pairs}


@dataclass(frozen=True, slots=True)
class Span:
    """A span as it arrived."""

    trace_id: str
    span_id: str
    parent_span_id: str
    trace_state: str
    flags: int
    name: str
    kind: int
    start_ns: int
    end_ns: int
    status: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    links: tuple[tuple[str, str], ...] = ()  # (trace id, span id)

    @property
    def pid(self) -> int:
        return int(self.resource.get("process.pid", 0))

    @property
    def method(self) -> str:
        return str(self.attributes.get("http.request.method", ""))

    @property
    def path(self) -> str:
        """Of the request's URL; client spans carry it whole."""
        return str(self.attributes.get("url.path") or urlsplit(str(self.attributes.get("url.full", ""))).path)

    @property
    def query(self) -> str:
        return str(self.attributes.get("url.query") or urlsplit(str(self.attributes.get("url.full", ""))).query)

    @property
    def status_code(self) -> int:
        return int(self.attributes.get("http.response.status_code", 0))

    @property
    def protocol_version(self) -> str:
        return str(self.attributes.get("network.protocol.version", ""))

    @property
    def rpc_method(self) -> str:
        return str(self.attributes.get("rpc.method", ""))

    @property
    def rpc_status(self) -> str:
        return str(self.attributes.get("rpc.response.status_code", ""))

    @property
    def error_type(self) -> str:
        return str(self.attributes.get("error.type", ""))

    @property
    def duration_s(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def tag(self) -> str:
        """The value of `t` in the query: how the tests find their own requests."""
        return next((part[2:] for part in self.query.split("&") if part.startswith("t=")), "")


@dataclass(frozen=True, slots=True)
class Point:
    """One data point of a metric."""

    name: str
    unit: str
    kind: str  # "sum", "gauge", "histogram", "exponentialHistogram"
    temporality: int  # 1 delta, 2 cumulative; 0 for a gauge
    attributes: dict[str, Any]
    resource: dict[str, Any]
    start_ns: int
    time_ns: int
    value: float  # of a sum or a gauge; a histogram's sum
    count: int  # of a histogram
    bounds: tuple[float, ...]
    buckets: tuple[int, ...]
    scale: int = 0  # of an exponential histogram, as are the next two; its `buckets` are those above zero
    zero_count: int = 0
    offset: int = 0
    exemplars: tuple[tuple[float, str, str], ...] = ()  # (value, trace id, span id)

    @property
    def pid(self) -> int:
        return int(self.resource.get("process.pid", 0))


def _spans(batch: dict[str, Any]) -> Iterator[Span]:
    for part in batch.get("resourceSpans", []):
        resource = _attributes(part.get("resource", {}).get("attributes", []))
        for scope in part.get("scopeSpans", []):
            for row in scope.get("spans", []):
                yield Span(
                    row["traceId"],
                    row["spanId"],
                    row.get("parentSpanId", ""),
                    row.get("traceState", ""),
                    row.get("flags", 0),
                    row["name"],
                    row["kind"],
                    int(row["startTimeUnixNano"]),
                    int(row["endTimeUnixNano"]),
                    row.get("status", {}).get("code", 0),
                    _attributes(row.get("attributes", [])),
                    resource,
                    tuple((link["traceId"], link["spanId"]) for link in row.get("links", [])),
                )


def _points(batch: dict[str, Any]) -> Iterator[Point]:
    for part in batch.get("resourceMetrics", []):
        resource = _attributes(part.get("resource", {}).get("attributes", []))
        for scope in part.get("scopeMetrics", []):
            for metric in scope.get("metrics", []):
                kind = next(k for k in ("sum", "gauge", "histogram", "exponentialHistogram") if k in metric)
                for row in metric[kind].get("dataPoints", []):
                    positive = row.get("positive", {})
                    yield Point(
                        metric["name"],
                        metric.get("unit", ""),
                        kind,
                        metric[kind].get("aggregationTemporality", 0),
                        _attributes(row.get("attributes", [])),
                        resource,
                        int(row.get("startTimeUnixNano", 0)),
                        int(row["timeUnixNano"]),
                        float(row.get("sum", row.get("asInt", row.get("asDouble", 0)))),
                        int(row.get("count", 0)),
                        tuple(row.get("explicitBounds", ())),
                        tuple(int(n) for n in row.get("bucketCounts", positive.get("bucketCounts", ()))),
                        int(row.get("scale", 0)),
                        int(row.get("zeroCount", 0)),
                        int(positive.get("offset", 0)),
                        tuple(
                            (float(one["asDouble"]), one.get("traceId", ""), one.get("spanId", ""))
                            for one in row.get("exemplars", ())
                        ),
                    )


@dataclass(slots=True)
class Telemetry:
    """All that the file holds so far; `refresh` reads on from where it was."""

    file: Path
    spans: list[Span] = field(default_factory=list)
    _newest: dict[str, dict[str, Point]] = field(default_factory=dict)  # by metric, then by series
    _of_pid: dict[int, list[Span]] = field(default_factory=dict)
    _offset: int = 0

    def refresh(self) -> "Telemetry":
        """Reads the complete lines that were added."""
        if self.file.exists():
            with self.file.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offset += len(whole)
            for line in whole.splitlines():
                batch = json.loads(line)
                self.add(_spans(batch), _points(batch))
        return self

    def add(self, spans: Iterable[Span] = (), points: Iterable[Point] = ()) -> None:
        """What arrived."""
        for span in spans:
            self.spans.append(span)
            self._of_pid.setdefault(span.pid, []).append(span)
        for point in points:
            series = f"{sorted(point.resource.items())} {sorted(point.attributes.items())}"
            self._newest.setdefault(point.name, {})[series] = point

    def of(self, pids: Iterable[int], kind: int = 0, tag: str = "") -> list[Span]:
        """Spans of these processes, in the order in which their requests began."""
        of_these = (span for pid in set(pids) for span in self._of_pid.get(pid, ()))
        found = (s for s in of_these if (not kind or s.kind == kind) and (not tag or s.tag == tag))
        return sorted(found, key=lambda span: span.start_ns)

    def latest(self, name: str, pids: Iterable[int] = ()) -> list[Point]:
        """The newest point of each series of a metric, of these processes or of all."""
        wanted = set(pids)
        return [point for point in self._newest.get(name, {}).values() if not wanted or point.pid in wanted]

    def history(self, name: str, pids: Iterable[int]) -> list[Point]:
        """Every point of a metric that has arrived of these processes, in the order of its arrival."""
        wanted = set(pids)
        with self.file.open("rb") as file:
            batches = [json.loads(line) for line in file.read(self._offset).splitlines()]
        points = (point for batch in batches for point in _points(batch))
        return [point for point in points if point.name == name and point.pid in wanted]

    def count(self, name: str, pids: Iterable[int] = (), status: int | None = None) -> int:
        """How many measurements a histogram holds: all, or whole answers with this status code."""

        def wanted(point: Point) -> bool:
            code, error = (point.attributes.get(key) for key in ("http.response.status_code", "error.type"))
            return status is None or (code == status and error in {None, str(status)})

        return sum(point.count for point in self.latest(name, pids) if wanted(point))
