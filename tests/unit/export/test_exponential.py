"""Exponential histograms: OpenTelemetry's own SDK is the oracle."""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from tests.unit.export.test_metrics import SHOP, by_name, histogram
from tests.unit.fakes import Calls, Exponential, Series

from otel_ebpf.export.exponential import increase
from otel_ebpf.export.metrics import MetricsEncoder

CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parents[2] / "metrics" / "exponential.yaml").read_text())


def sdk(values: Iterable[float]) -> Exponential:
    """What the SDK makes of these values, without zeros at either end."""
    reader = InMemoryMetricReader()
    views = [View(instrument_name="duration", aggregation=ExponentialBucketHistogramAggregation())]
    recorder = MeterProvider([reader], views=views, shutdown_on_exit=False).get_meter("test")
    durations = recorder.create_histogram("duration")
    for value in values:
        durations.record(value)
    data = reader.get_metrics_data()
    assert data
    point: Any = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0]
    counts = list(point.positive.bucket_counts)
    first = next((place for place, count in enumerate(counts) if count), 0)
    while counts and not counts[-1]:
        counts.pop()
    return Exponential(point.scale, point.zero_count, point.positive.offset + first, tuple(counts[first:]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_vectors_are_what_the_sdk_does(case: dict[str, Any]) -> None:
    expected = Exponential(case["scale"], case["zero_count"], case["offset"], tuple(case["counts"]))
    assert sdk(ns / 1e9 for ns in case["durations_ns"]) == expected


def test_what_is_new_is_what_was_recorded_since() -> None:
    chance = random.Random(7)
    earlier = [chance.lognormvariate(-6, 0.2) for _ in range(100)]
    later = [0.0, *(chance.lognormvariate(-5, 2) for _ in range(300))]
    before, now = sdk(earlier), sdk([*earlier, *later])
    assert before.scale > now.scale, "the scale fell in between"
    new, expected = increase(now, before), sdk(later)
    assert (new.scale, new.zero_count, sum(new.counts)) == (now.scale, 1, 300)
    assert expected.scale == new.scale
    assert (new.offset, tuple(new.counts)) == (expected.offset, expected.counts)
    assert increase(now, None) is now
    nothing = increase(now, now)
    assert (nothing.zero_count, list(nothing.counts)) == (0, [])


def encode(encoder: MetricsEncoder, now: int, *durations: float) -> pb.ExponentialHistogram:
    read = histogram(len(durations), total=sum(durations))._replace(exponential=sdk(durations))
    metrics = by_name(encoder.request(SHOP, [Series(duration=read)], [], now))
    return metrics["http.server.request.duration"].exponential_histogram


def test_a_point_as_otlp_has_it() -> None:
    sent = encode(MetricsEncoder(delta=False, start_unix_ns=0, exponential=True), 99, 0.0, 0.25, 0.5, 0.5)
    assert sent.aggregation_temporality == pb.AGGREGATION_TEMPORALITY_CUMULATIVE
    [point] = sent.data_points
    assert (point.count, point.sum, point.min, point.max) == (4, 1.25, 0.001, 0.9)
    assert (point.scale, point.zero_count, point.positive.offset) == (7, 1, -257)
    assert point.positive.bucket_counts[0] == 1
    assert point.positive.bucket_counts[-1] == 2
    assert (point.start_time_unix_nano, point.time_unix_nano) == (Series().start_unix_ns, 99)
    assert point.attributes


def test_delta_points_hold_what_is_new_at_the_present_scale() -> None:
    encoder = MetricsEncoder(delta=True, start_unix_ns=0, exponential=True)
    first = encode(encoder, 100, 0.25)
    second = encode(encoder, 200, 0.25, 0.0, 4.0)
    assert second.aggregation_temporality == pb.AGGREGATION_TEMPORALITY_DELTA
    [one], [two] = first.data_points, second.data_points
    assert (one.scale, one.count, list(one.positive.bucket_counts)) == (20, 1, [1])
    assert (two.count, two.sum, two.zero_count, list(two.positive.bucket_counts)) == (2, 4.0, 1, [1])
    assert two.scale < one.scale
    assert (two.start_time_unix_nano, two.HasField("min")) == (100, False)
    idle = histogram(3)._replace(exponential=sdk([0.25, 0.0, 4.0]))
    assert not encoder.request(SHOP, [Series(duration=idle)], [], 300).resource_metrics


def test_calls_and_bodies_are_exponential_too() -> None:
    read = histogram(1)._replace(exponential=Exponential())
    encoder = MetricsEncoder(delta=False, start_unix_ns=0, exponential=True)
    series = [Series(duration=read, request_body=read, response_body=read)]
    metrics = by_name(encoder.request(SHOP, series, [], 1, [Calls(duration=read)]))
    assert {name for name, metric in metrics.items() if metric.HasField("exponential_histogram")} == {
        "http.server.request.duration",
        "http.server.request.body.size",
        "http.server.response.body.size",
        "db.client.operation.duration",
    }
