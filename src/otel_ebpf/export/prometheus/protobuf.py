"""Families in Prometheus' protobuf format, which alone can carry native histograms.

The messages are those of io/prometheus/client/metrics.proto
(prometheus/client_model), as far as they are used; a histogram has its classic buckets beside the native ones, so that
who asks for the format for other reasons misses nothing.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

from otel_ebpf.export.exponential import downscaled
from otel_ebpf.export.prometheus.families import Distribution, Family
from otel_ebpf.export.prometheus.text import exemplar_labels, in_buckets

CONTENT_TYPE: Final = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
_KINDS: Final = {"counter": 0, "gauge": 1, "info": 1, "histogram": 4}
# Prometheus' finest schema.
_MAX_SCHEMA: Final = 8
# Values below are zero. It must not be 0: that is how a histogram says that it is a classic one.
_ZERO_THRESHOLD: Final = 1e-128
# Up to so many empty buckets cost less than a new span.
_GAP: Final = 2

_Field = tuple[str, int, str]
# message: (field, number, type); "*": repeated; what begins with a capital is a message.
_MESSAGES: Final[dict[str, tuple[_Field, ...]]] = {
    "LabelPair": (("name", 1, "string"), ("value", 2, "string")),
    "Exemplar": (("label", 1, "*LabelPair"), ("value", 2, "double"), ("timestamp", 3, "Timestamp")),
    "Gauge": (("value", 1, "double"),),
    "Counter": (("value", 1, "double"), ("created_timestamp", 3, "Timestamp")),
    "Bucket": (("cumulative_count", 1, "uint64"), ("upper_bound", 2, "double"), ("exemplar", 3, "Exemplar")),
    "BucketSpan": (("offset", 1, "sint32"), ("length", 2, "uint32")),
    "Histogram": (
        ("sample_count", 1, "uint64"),
        ("sample_sum", 2, "double"),
        ("bucket", 3, "*Bucket"),
        ("schema", 5, "sint32"),
        ("zero_threshold", 6, "double"),
        ("zero_count", 7, "uint64"),
        ("positive_span", 12, "*BucketSpan"),
        ("positive_delta", 13, "*sint64"),
        ("created_timestamp", 15, "Timestamp"),
        ("exemplars", 16, "*Exemplar"),
    ),
    "Metric": (
        ("label", 1, "*LabelPair"),
        ("gauge", 2, "Gauge"),
        ("counter", 3, "Counter"),
        ("histogram", 7, "Histogram"),
    ),
    "MetricFamily": (
        ("name", 1, "string"),
        ("help", 2, "string"),
        ("type", 3, "int32"),  # an enum there, which looks the same on the wire
        ("metric", 4, "*Metric"),
        ("unit", 5, "string"),
    ),
}


def family_class() -> Any:
    """io.prometheus.client.MetricFamily."""
    return _classes()["MetricFamily"]


def _pair_class() -> Any:
    return _classes()["LabelPair"]


@functools.cache
def _classes() -> dict[str, Any]:
    timestamp = timestamp_pb2.DESCRIPTOR
    package = "io.prometheus.client"
    file = descriptor_pb2.FileDescriptorProto(
        name="otel_ebpf/metrics.proto", package=package, syntax="proto2", dependency=[timestamp.name]
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, kind in fields:
            one = kind.lstrip("*")
            field = described.field.add(name=name, number=number)
            field.label = kinds.LABEL_REPEATED if kind.startswith("*") else kinds.LABEL_OPTIONAL
            if one[0].isupper():
                field.type = kinds.TYPE_MESSAGE
                field.type_name = ".google.protobuf.Timestamp" if one == "Timestamp" else f".{package}.{one}"
            else:
                field.type = kinds.Type.Value(f"TYPE_{one.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp.serialized_pb)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in ("LabelPair", "MetricFamily")
    }


def render(families: Sequence[Family]) -> Iterator[bytes]:
    """Each family behind its length."""
    for family in families:
        suffix = {"counter": "_total", "info": "_info"}.get(family.kind, "")
        message = family_class()(
            name=f"{family.name}{suffix}", help=family.help, type=_KINDS[family.kind], unit=family.unit
        )
        for number in family.numbers:
            metric = message.metric.add(label=_pairs(number.labels))
            (metric.counter if family.kind == "counter" else metric.gauge).value = number.value
        for distribution in family.distributions:
            _add_histogram(message.metric.add(label=_pairs(distribution.labels)).histogram, distribution)
        encoded = message.SerializeToString()
        yield _varint(len(encoded))
        yield encoded


def _add_histogram(histogram: Any, distribution: Distribution) -> None:
    point = distribution.point
    histogram.sample_count, histogram.sample_sum = point.count, point.sum
    histogram.created_timestamp.FromNanoseconds(point.start_time_unix_nano)
    exemplars = in_buckets(point)
    below = 0
    for place, count in enumerate(point.bucket_counts):
        below += count
        bound = point.explicit_bounds[place] if place < len(point.explicit_bounds) else float("inf")
        bucket = histogram.bucket.add(cumulative_count=below, upper_bound=bound)
        if one := exemplars.get(place):
            _set_exemplar(bucket.exemplar, one)
    if distribution.native is not None:
        _add_native(histogram, distribution.native)


def _add_native(histogram: Any, point: pb.ExponentialHistogramDataPoint) -> None:
    """Its bucket i ends at base^i, where OpenTelemetry's begins there."""
    schema = min(point.scale, _MAX_SCHEMA)
    offset, counts = downscaled(point.positive.offset, point.positive.bucket_counts, point.scale - schema)
    histogram.schema, histogram.zero_threshold, histogram.zero_count = schema, _ZERO_THRESHOLD, point.zero_count
    end = before = 0
    span = None
    for index, count in enumerate(counts, offset + 1):
        if not count:
            continue
        if span is None or index - end > _GAP:
            span = histogram.positive_span.add(offset=index - end, length=0)
            end = index
        for value in (*[0] * (index - end), count):
            histogram.positive_delta.append(value - before)
            span.length, before = span.length + 1, value
        end = index + 1
    if span is None:
        histogram.positive_span.add(offset=0, length=0)  # as client_golang says that it is native all the same
    for one in point.exemplars:
        _set_exemplar(histogram.exemplars.add(), one)


def _set_exemplar(exemplar: Any, one: pb.Exemplar) -> None:
    exemplar.value = one.as_double
    exemplar.label.extend(_pairs(exemplar_labels(one)))
    exemplar.timestamp.FromNanoseconds(one.time_unix_nano)


def _pairs(labels: Mapping[str, str]) -> list[Any]:
    return [_pair_class()(name=name, value=value) for name, value in sorted(labels.items())]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
