"""Encoded metrics as the SDK's MetricsData, for its exporters."""

from collections.abc import Iterator

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)

from otel_ebpf.export import sdk_values
from otel_ebpf.export.body import Body
from otel_ebpf.export.sdk import refuse_unless, whole


class MetricClient:
    """Hands metrics to one of the SDK's exporters."""

    def __init__(self, name: str, exporter: MetricExporter, timeout_ms: int) -> None:
        self._name = name
        self._exporter = exporter
        self._timeout_ms = timeout_ms

    def send(self, body: Body) -> int:
        """As clients do; an exporter takes all or nothing."""
        data = metrics_data(ExportMetricsServiceRequest.FromString(whole(body)))
        result = self._exporter.export(data, timeout_millis=self._timeout_ms)
        refuse_unless(result is MetricExportResult.SUCCESS, self._name)
        return 0

    def close(self) -> None:
        """Ends the exporter, which may have something left to send."""
        self._exporter.force_flush()
        self._exporter.shutdown()


def metrics_data(request: ExportMetricsServiceRequest) -> MetricsData:
    """All metrics of a request."""
    return MetricsData(
        [
            ResourceMetrics(
                resource=sdk_values.resource(of_resource.resource, of_resource.schema_url),
                scope_metrics=[
                    ScopeMetrics(
                        scope=sdk_values.scope(of_scope.scope, of_scope.schema_url),
                        metrics=list(_metrics(of_scope)),
                        schema_url=of_scope.schema_url,
                    )
                    for of_scope in of_resource.scope_metrics
                ],
                schema_url=of_resource.schema_url,
            )
            for of_resource in request.resource_metrics
        ]
    )


def _metrics(of_scope: pb.ScopeMetrics) -> Iterator[Metric]:
    for metric in of_scope.metrics:
        data: Sum | Gauge | Histogram | ExponentialHistogram
        match metric.WhichOneof("data"):
            case "sum":
                data = Sum(_numbers(metric.sum), _temporality(metric.sum), metric.sum.is_monotonic)
            case "gauge":
                data = Gauge(_numbers(metric.gauge))
            case "histogram":
                points = [_histogram(point) for point in metric.histogram.data_points]
                data = Histogram(points, _temporality(metric.histogram))
            case "exponential_histogram":
                exponential = metric.exponential_histogram
                data = ExponentialHistogram(
                    [_exponential(p) for p in exponential.data_points], _temporality(exponential)
                )
            case _:
                continue
        yield Metric(metric.name, metric.description, metric.unit, data)


def _temporality(data: pb.Sum | pb.Histogram | pb.ExponentialHistogram) -> AggregationTemporality:
    return AggregationTemporality(data.aggregation_temporality)


def _numbers(data: pb.Sum | pb.Gauge) -> list[NumberDataPoint]:
    return [
        NumberDataPoint(
            attributes=sdk_values.attributes(point.attributes),
            start_time_unix_nano=point.start_time_unix_nano,
            time_unix_nano=point.time_unix_nano,
            value=point.as_int if point.WhichOneof("value") == "as_int" else point.as_double,
        )
        for point in data.data_points
    ]


def _histogram(point: pb.HistogramDataPoint) -> HistogramDataPoint:
    return HistogramDataPoint(
        attributes=sdk_values.attributes(point.attributes),
        start_time_unix_nano=point.start_time_unix_nano,
        time_unix_nano=point.time_unix_nano,
        count=point.count,
        sum=point.sum,
        bucket_counts=list(point.bucket_counts),
        explicit_bounds=list(point.explicit_bounds),
        min=point.min,
        max=point.max,
    )


def _exponential(point: pb.ExponentialHistogramDataPoint) -> ExponentialHistogramDataPoint:
    return ExponentialHistogramDataPoint(
        attributes=sdk_values.attributes(point.attributes),
        start_time_unix_nano=point.start_time_unix_nano,
        time_unix_nano=point.time_unix_nano,
        count=point.count,
        sum=point.sum,
        scale=point.scale,
        zero_count=point.zero_count,
        positive=Buckets(point.positive.offset, list(point.positive.bucket_counts)),
        negative=Buckets(point.negative.offset, list(point.negative.bucket_counts)),
        flags=point.flags,
        min=point.min,
        max=point.max,
    )
