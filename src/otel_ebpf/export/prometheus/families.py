"""An OTLP request as families of samples.

Each ResourceMetrics is a target. Its samples have its `job` and `instance`, and `process_pid`, as the processes of a
container are one instance; its other attributes are the labels of `target_info`, where they are the same for all of an
instance.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from otel_ebpf import semconv
from otel_ebpf.export.prometheus.names import label_name, metric_name, unit_name

Kind = Literal["counter", "gauge", "histogram", "info"]
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Number:
    """A counter's or a gauge's value."""

    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram; `native`: the same in exponential buckets, if there are any."""

    labels: Labels
    point: pb.HistogramDataPoint
    native: pb.ExponentialHistogramDataPoint | None = None


@dataclass(slots=True)
class Family:
    """Everything of one name, without the suffixes of samples. No two samples have the same labels."""

    name: str
    help: str
    kind: Kind
    unit: str = ""
    numbers: list[Number] = field(default_factory=list)
    distributions: list[Distribution] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set)  # hashes of the samples' labels

    def is_new(self, labels: Labels) -> bool:
        """Whether nothing came with these labels; Prometheus refuses what comes twice."""
        key = hash(frozenset(labels.items()))
        fresh = key not in self._seen
        self._seen.add(key)
        return fresh


def families(
    request: ExportMetricsServiceRequest, exponential: ExportMetricsServiceRequest | None = None
) -> list[Family]:
    """By name, in the order in which they come. `exponential`: the same readings, with exponential histograms."""
    found: dict[str, Family] = {}
    targets: dict[tuple[str, str], dict[str, str]] = {}
    for place, resource in enumerate(request.resource_metrics):
        attributes = _labels(resource.resource.attributes)
        job, instance = _identity(attributes)
        _describe(targets, (job, instance), attributes)
        target = {"job": job, "instance": instance}
        if pid := attributes.get(label_name(semconv.PROCESS_PID)):
            target[label_name(semconv.PROCESS_PID)] = pid
        for index, scope in enumerate(resource.scope_metrics):
            base = {**target, **_scope_labels(scope)}
            twin = exponential.resource_metrics[place].scope_metrics[index] if exponential else None
            for number, metric in enumerate(scope.metrics):
                _add(found, base, metric, twin.metrics[number] if twin else None)
    info = Family("target", "Attributes of the resource.", "info")
    info.numbers = [
        Number({"job": job, "instance": instance, **labels}, 1.0) for (job, instance), labels in targets.items()
    ]
    return [info, *found.values()]


def _add(found: dict[str, Family], base: Labels, metric: pb.Metric, twin: pb.Metric | None) -> None:
    kind: Kind = "gauge"
    if metric.HasField("histogram"):
        kind = "histogram"
    elif metric.sum.is_monotonic:
        kind = "counter"
    name = metric_name(metric.name, metric.unit, kind)
    family = found.setdefault(name, Family(name, metric.description, kind, unit_name(metric.unit)))
    if kind == "histogram":
        natives: Sequence[pb.ExponentialHistogramDataPoint | None] = (
            twin.exponential_histogram.data_points
            if twin and twin.HasField("exponential_histogram")  # what the agent says of itself is explicit always
            else [None] * len(metric.histogram.data_points)
        )
        for point, native in zip(metric.histogram.data_points, natives, strict=True):
            labels = {**base, **_labels(point.attributes)}
            if family.is_new(labels):
                family.distributions.append(Distribution(labels, point, native))
        return
    for number in metric.sum.data_points or metric.gauge.data_points:
        labels = {**base, **_labels(number.attributes)}
        if family.is_new(labels):
            value = number.as_double if number.HasField("as_double") else float(number.as_int)
            family.numbers.append(Number(labels, value))


def _identity(attributes: dict[str, str]) -> tuple[str, str]:
    """`job` and `instance`, which are taken out."""
    name = attributes.pop(label_name(semconv.SERVICE_NAME), "")
    namespace = attributes.pop(label_name(semconv.SERVICE_NAMESPACE), "")
    instance = attributes.pop(label_name(semconv.SERVICE_INSTANCE_ID), "")
    return (f"{namespace}/{name}" if namespace else name), instance


def _describe(targets: dict[tuple[str, str], dict[str, str]], target: tuple[str, str], labels: Labels) -> None:
    known = targets.get(target)
    if known is None:
        targets[target] = dict(labels)
    else:
        targets[target] = {key: value for key, value in known.items() if labels.get(key) == value}


def _scope_labels(scope: pb.ScopeMetrics) -> dict[str, str]:
    labels = {
        "otel_scope_name": scope.scope.name,
        "otel_scope_version": scope.scope.version,
        "otel_scope_schema_url": scope.schema_url,
    }
    return {key: value for key, value in labels.items() if value}


def _labels(attributes: Sequence[KeyValue]) -> dict[str, str]:
    """Keys that become one label have their values joined."""
    labels: dict[str, str] = {}
    for pair in attributes:
        key, text = label_name(pair.key), ", ".join(_texts(pair.value))
        labels[key] = f"{labels[key]};{text}" if key in labels else text
    return labels


def _texts(value: AnyValue) -> Iterator[str]:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        for one in value.array_value.values:
            yield from _texts(one)
    elif kind == "bool_value":
        yield "true" if value.bool_value else "false"
    elif kind:
        yield str(getattr(value, kind))
