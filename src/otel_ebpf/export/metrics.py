"""Series of the core as OTLP metrics, one ResourceMetrics for each process.

Points are cumulative as they come. For delta temporality the last value of each series is kept, and minimum
and maximum are left out: they can't be told for an interval.

Exponential buckets begin at the finest scale when the series does, and not with each interval: a delta point's scale is
that of all values so far.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage

from otel_ebpf import __version__, semconv
from otel_ebpf.export.exponential import increase
from otel_ebpf.export.own import Own
from otel_ebpf.model import ActiveSeries, CallSeries, Exponential, Histogram, HttpSeries
from otel_ebpf.protocols.registry import AREAS, HTTP, PROTOCOLS, Metric

Role = Literal["server", "client"]
_CUMULATIVE: Final = pb.AGGREGATION_TEMPORALITY_CUMULATIVE
_DELTA: Final = pb.AGGREGATION_TEMPORALITY_DELTA
_SCOPE: Final = InstrumentationScope(name=semconv.SCOPE_NAME, version=__version__)


@dataclass(slots=True)
class _Last:
    """What was sent of one histogram, and when."""

    time_ns: int
    count: int
    sum: float
    buckets: Sequence[int] = ()
    exponential: Exponential | None = None


class MetricsEncoder:
    """Builds requests; with `delta` it remembers what it has built, so each must be sent or counted as lost.

    `exponential`: histograms in exponential buckets, which the readings then have to have.
    """

    def __init__(self, *, delta: bool, start_unix_ns: int, exponential: bool = False) -> None:
        self._delta = delta
        self._exponential = exponential
        self._start_unix_ns = start_unix_ns
        self._last: dict[int, dict[tuple[object, ...], _Last]] = {}  # by process

    def forget(self, process_key: int) -> None:
        """A process ended and its last series are built."""
        self._last.pop(process_key, None)

    def request(
        self,
        resources: Mapping[int, bytes],
        series: Iterable[HttpSeries],
        active: Iterable[ActiveSeries],
        now_unix_ns: int,
        calls: Iterable[CallSeries] = (),
    ) -> ExportMetricsServiceRequest:
        """The request. `resources` are encoded, by process key; who has none is left out."""
        request = ExportMetricsServiceRequest()
        builders: dict[int, _Builder] = {}

        def builder(key: int) -> _Builder | None:
            if key not in builders and key in resources:
                builders[key] = _Builder(request, resources[key])
            return builders.get(key)

        for one in series:
            if target := builder(one.process_key):
                self._add(target, one, now_unix_ns)
        for call in calls:
            if target := builder(call.process_key):
                self._add_call(target, call, now_unix_ns)
        for gauge in active:
            metric = HTTP.metrics["server"].active
            if metric and (target := builder(gauge.process_key)):
                point = target.sum(metric, monotonic=False).data_points.add()
                point.start_time_unix_nano, point.time_unix_nano = self._start_unix_ns, now_unix_ns
                point.as_int = gauge.value
                point.attributes.extend(
                    [_text(semconv.HTTP_REQUEST_METHOD, gauge.method), _text(semconv.URL_SCHEME, gauge.scheme)]
                )
        return request

    def _add(self, target: "_Builder", series: HttpSeries, now_unix_ns: int) -> None:
        role: Role = "server" if series.role == "server" else "client"
        metrics = PROTOCOLS[series.rpc_system or HTTP.name].metrics[role]
        attributes = _attributes(series)
        for metric, histogram in (
            (metrics.duration, series.duration),
            (metrics.request_size, series.request_body),
            (metrics.response_size, series.response_body),
        ):
            if metric is None or histogram is None:
                continue
            point = self._point(target, series, _identity(series), metric, histogram, now_unix_ns=now_unix_ns)
            if point is not None:
                point.attributes.extend(attributes)

    def _add_call(self, target: "_Builder", series: CallSeries, now_unix_ns: int) -> None:
        metrics = AREAS[series.area]["server" if series.role == "server" else "client"]
        operation = series.attributes.get(semconv.MESSAGING_OPERATION_TYPE)
        duration = metrics.process if operation == "process" and metrics.process else metrics.duration
        identity = (series.area, series.role, series.overflow, *series.attributes.items())
        point = self._point(target, series, identity, duration, series.duration, now_unix_ns=now_unix_ns)
        if point is None:
            return
        attributes = _call_attributes(series)
        point.attributes.extend(attributes)
        counter = metrics.sent if operation == "send" else metrics.consumed
        if counter and series.messages:
            since_ns, messages = self._increase(series, (counter.name, *identity), now_unix_ns)
            number = target.sum(counter, monotonic=True, delta=self._delta).data_points.add()
            number.start_time_unix_nano, number.time_unix_nano = since_ns, now_unix_ns
            number.as_int = messages
            number.attributes.extend(attributes)

    def _increase(self, series: CallSeries, key: tuple[object, ...], now_unix_ns: int) -> tuple[int, int]:
        """Since when, and how many messages."""
        if not self._delta:
            return series.start_unix_ns, series.messages
        of_process = self._last.setdefault(series.process_key, {})
        last = of_process.get(key) or _Last(series.start_unix_ns, 0, 0.0)
        of_process[key] = _Last(now_unix_ns, series.messages, 0.0)
        return last.time_ns, series.messages - last.count

    def _point(
        self,
        target: "_Builder",
        series: HttpSeries | CallSeries,
        identity: tuple[object, ...],
        metric: Metric,
        histogram: Histogram,
        *,
        now_unix_ns: int,
    ) -> pb.HistogramDataPoint | pb.ExponentialHistogramDataPoint | None:
        """The histogram's point, to be given attributes. None: nothing is new, which delta leaves out."""
        last = _Last(series.start_unix_ns, 0, 0.0)
        if self._delta:
            of_process = self._last.setdefault(series.process_key, {})
            key = (metric.name, *identity)
            last = of_process.get(key, last)
            if histogram.count == last.count:
                return None
            of_process[key] = _Last(
                now_unix_ns, histogram.count, histogram.sum, list(histogram.buckets), histogram.exponential
            )
        point: pb.HistogramDataPoint | pb.ExponentialHistogramDataPoint
        if self._exponential and histogram.exponential:
            point = target.exponential(metric, delta=self._delta).data_points.add()
            buckets = increase(histogram.exponential, last.exponential)
            point.scale, point.zero_count = buckets.scale, buckets.zero_count
            if buckets.counts:
                point.positive.offset = buckets.offset
                point.positive.bucket_counts.extend(buckets.counts)
        else:
            point = target.histogram(metric, delta=self._delta).data_points.add()
            point.explicit_bounds.extend(metric.bounds)
            old_buckets = last.buckets or [0] * len(histogram.buckets)
            point.bucket_counts.extend(new - old for new, old in zip(histogram.buckets, old_buckets, strict=True))
        point.start_time_unix_nano, point.time_unix_nano = last.time_ns, now_unix_ns
        point.count, point.sum = histogram.count - last.count, histogram.sum - last.sum
        for one in histogram.exemplars:
            point.exemplars.add(
                as_double=one.value, time_unix_nano=one.time_unix_ns, trace_id=one.trace_id, span_id=one.span_id
            )
        if histogram.count and not self._delta:
            point.min, point.max = histogram.min, histogram.max
        return point


class _Builder:
    """The ResourceMetrics of one process (or the agent), with each metric made when first needed."""

    def __init__(self, request: ExportMetricsServiceRequest, resource: bytes) -> None:
        self._request = request
        self._resource = resource
        self._scope: pb.ScopeMetrics | None = None  # made when there is something to say
        self._metrics: dict[str, pb.Metric] = {}

    def _metric(self, metric: Metric) -> pb.Metric:
        made = self._metrics.get(metric.name)
        if made is None:
            made = self._in_scope().metrics.add(name=metric.name, unit=metric.unit, description=metric.description)
            self._metrics[metric.name] = made
        return made

    def _in_scope(self) -> pb.ScopeMetrics:
        if self._scope is None:
            message = self._request.resource_metrics.add(
                resource=ResourceMessage.FromString(self._resource), schema_url=semconv.SCHEMA_URL
            )
            self._scope = message.scope_metrics.add(scope=_SCOPE, schema_url=semconv.SCHEMA_URL)
        return self._scope

    def histogram(self, metric: Metric, *, delta: bool) -> pb.Histogram:
        histogram = self._metric(metric).histogram
        histogram.aggregation_temporality = _DELTA if delta else _CUMULATIVE
        return histogram

    def exponential(self, metric: Metric, *, delta: bool) -> pb.ExponentialHistogram:
        histogram = self._metric(metric).exponential_histogram
        histogram.aggregation_temporality = _DELTA if delta else _CUMULATIVE
        return histogram

    def sum(self, metric: Metric, *, monotonic: bool, delta: bool = False) -> pb.Sum:
        # Up-down counters are cumulative whatever the preference, and our own few counters are not worth a memory.
        total = self._metric(metric).sum
        total.aggregation_temporality, total.is_monotonic = _DELTA if delta else _CUMULATIVE, monotonic
        return total


def add_own(
    request: ExportMetricsServiceRequest, resource: bytes, told: Own, start_unix_ns: int, now_unix_ns: int
) -> None:
    """Adds what the agent says of itself, under its own resource; always cumulative."""
    builder = _Builder(request, resource)
    for metric, attributes, value, monotonic in (
        *((*counter, True) for counter in told.counters),
        *((*level, False) for level in told.levels),
    ):
        point = builder.sum(metric, monotonic=monotonic).data_points.add()
        point.start_time_unix_nano, point.time_unix_nano = start_unix_ns, now_unix_ns
        if isinstance(value, int):
            point.as_int = value
        else:
            point.as_double = value
        point.attributes.extend(_text(key, text) for key, text in attributes.items())
    for one in told.distributions:
        spread = builder.histogram(one.metric, delta=False).data_points.add(
            start_time_unix_nano=start_unix_ns,
            time_unix_nano=now_unix_ns,
            count=one.count,
            sum=one.sum,
            bucket_counts=one.buckets,
            explicit_bounds=one.metric.bounds,
        )
        spread.attributes.extend(_text(key, text) for key, text in one.attributes.items())


def _identity(series: HttpSeries) -> tuple[object, ...]:
    return (
        series.role,
        series.rpc_system,
        series.rpc_method,
        series.rpc_status,
        series.method,
        series.scheme,
        series.route,
        series.status,
        series.error_type,
        series.protocol_version,
        series.server_address,
        series.server_port,
        series.overflow,
    )


def _attributes(series: HttpSeries) -> list[KeyValue]:
    if series.overflow:
        return [KeyValue(key=semconv.METRIC_OVERFLOW, value=AnyValue(bool_value=True))]
    attributes = [
        _text(key, value)
        for key, value in (
            (semconv.RPC_SYSTEM_NAME, series.rpc_system),
            (semconv.RPC_METHOD, series.rpc_method),
            (semconv.RPC_RESPONSE_STATUS_CODE, series.rpc_status),
            (semconv.HTTP_REQUEST_METHOD, series.method),
            (semconv.URL_SCHEME, series.scheme),
            (semconv.HTTP_ROUTE, series.route),
            (semconv.ERROR_TYPE, series.error_type),
            (semconv.NETWORK_PROTOCOL_NAME, "" if series.rpc_system else HTTP.name),
            (semconv.NETWORK_PROTOCOL_VERSION, series.protocol_version),
            (semconv.SERVER_ADDRESS, series.server_address),
        )
        if value
    ]
    if series.status:
        attributes.append(_integer(semconv.HTTP_RESPONSE_STATUS_CODE, series.status))
    if series.server_port:
        attributes.append(_integer(semconv.SERVER_PORT, series.server_port))
    return attributes


def _call_attributes(series: CallSeries) -> list[KeyValue]:
    if series.overflow:
        return [KeyValue(key=semconv.METRIC_OVERFLOW, value=AnyValue(bool_value=True))]
    return [
        _text(key, value) if isinstance(value, str) else _integer(key, value)
        for key, value in series.attributes.items()
    ]


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _integer(key: str, value: int) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(int_value=value))
