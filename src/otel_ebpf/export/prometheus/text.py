"""Families in Prometheus' text format 0.0.4, or in OpenMetrics 1.0, piece by piece.

prometheus_client would do it, but not in pieces: 2,000 series of HTTP, which are 100,000 lines, cost 2.5 s and 165 MB
with it. It is what the tests read the pieces with.
"""

import bisect
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from otel_ebpf.export.prometheus.families import Distribution, Family

OPENMETRICS_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SUFFIXES: Final = {"counter": "_total", "info": "_info"}
_ESCAPED: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def render(families: Sequence[Family], *, openmetrics: bool) -> Iterator[str]:
    """Lines, a few at a time."""
    for family in families:
        yield _head(family, openmetrics=openmetrics)
        name = family.name + _SUFFIXES.get(family.kind, "")
        for number in family.numbers:
            yield f"{name}{{{_labels(number.labels)}}} {_number(number.value)}\n"
        for distribution in family.distributions:
            yield _histogram(name, distribution, openmetrics=openmetrics)
    if openmetrics:
        yield "# EOF\n"


def in_buckets(point: pb.HistogramDataPoint) -> dict[int, pb.Exemplar]:
    """The newest exemplar of each bucket, by the bucket's place."""
    oldest_first = sorted(point.exemplars, key=lambda one: one.time_unix_nano)
    return {bisect.bisect_left(point.explicit_bounds, one.as_double): one for one in oldest_first}


def exemplar_labels(exemplar: pb.Exemplar) -> dict[str, str]:
    """By the names that the specification gives them; none where there is no span."""
    if not exemplar.span_id:
        return {}
    return {"trace_id": exemplar.trace_id.hex(), "span_id": exemplar.span_id.hex()}


def _head(family: Family, *, openmetrics: bool) -> str:
    """In the older format a family is called as its samples are, and `info` is not known."""
    if not openmetrics:
        name = family.name + _SUFFIXES.get(family.kind, "")
        kind = "gauge" if family.kind == "info" else family.kind
        described = family.help.replace("\\", r"\\").replace("\n", r"\n")
        return f"# HELP {name} {described}\n# TYPE {name} {kind}\n"
    unit = f"# UNIT {family.name} {family.unit}\n" if family.name.endswith(f"_{family.unit}") else ""
    described = family.help.translate(_ESCAPED)
    return f"# HELP {family.name} {described}\n# TYPE {family.name} {family.kind}\n{unit}"


def _histogram(name: str, distribution: Distribution, *, openmetrics: bool) -> str:
    point, labels = distribution.point, _labels(distribution.labels)
    exemplars = in_buckets(point) if openmetrics else {}
    bounds = [*map(str, point.explicit_bounds), "+Inf"]
    lines, below = [], 0
    for place, (bound, count) in enumerate(zip(bounds, point.bucket_counts, strict=True)):
        below += count
        exemplar = _exemplar(exemplars[place]) if place in exemplars else ""
        lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {below}{exemplar}\n')
    lines.append(f"{name}_count{{{labels}}} {point.count}\n{name}_sum{{{labels}}} {_number(point.sum)}\n")
    return "".join(lines)


def _exemplar(one: pb.Exemplar) -> str:
    seconds, rest_ns = divmod(one.time_unix_nano, 1_000_000_000)
    return f" # {{{_labels(exemplar_labels(one))}}} {_number(one.as_double)} {seconds}.{rest_ns:09d}"


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{key}="{value.translate(_ESCAPED)}"' for key, value in labels.items())


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
