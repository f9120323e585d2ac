"""Metrics as a backend sees them."""

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from tests.unit.backend import text_attributes
from tests.unit.fakes import Active, Calls, Exemplar, Histogram, Series, call_series

from otel_ebpf.enrich.process import encode_resource
from otel_ebpf.export.metrics import MetricsEncoder, add_own
from otel_ebpf.export.own import Own, own_counters, own_levels
from otel_ebpf.export.sender import Delivery
from otel_ebpf.model import Accounting
from otel_ebpf.protocols.registry import HTTP

SHOP = {1: encode_resource({"service.name": "shop"}).encoded, 2: encode_resource({"service.name": "web"}).encoded}
BUCKETS = len(HTTP.metrics["server"].duration.bounds) + 1


def histogram(*counts: int, total: float = 1.0) -> Histogram:
    buckets = (*counts, *(0,) * (BUCKETS - len(counts)))
    return Histogram(sum(counts), total, 0.001, 0.9, buckets)


def by_name(request: ExportMetricsServiceRequest, resource: int = 0) -> dict[str, pb.Metric]:
    return {m.name: m for scope in request.resource_metrics[resource].scope_metrics for m in scope.metrics}


def test_a_server_has_duration_sizes_and_active_requests_with_the_conventions_units() -> None:
    sizes = Histogram(1, 612.0, 612.0, 612.0, (0, 1))
    request = MetricsEncoder(delta=False, start_unix_ns=5).request(
        SHOP, [Series(duration=histogram(2, 1), request_body=sizes, response_body=sizes)], [Active()], 99
    )
    metrics = by_name(request)
    assert {name: metric.unit for name, metric in metrics.items()} == {
        "http.server.request.duration": "s",
        "http.server.request.body.size": "By",
        "http.server.response.body.size": "By",
        "http.server.active_requests": "{request}",
    }
    duration = metrics["http.server.request.duration"].histogram
    assert duration.aggregation_temporality == pb.AGGREGATION_TEMPORALITY_CUMULATIVE
    point = duration.data_points[0]
    assert (point.count, point.sum, point.min, point.max) == (3, 1.0, 0.001, 0.9)
    assert (point.start_time_unix_nano, point.time_unix_nano) == (Series().start_unix_ns, 99)
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert text_attributes(point) == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "http.route": "/orders/{id}",
        "http.response.status_code": 200,
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
    }
    active = metrics["http.server.active_requests"].sum
    assert not active.is_monotonic
    assert active.data_points[0].as_int == 3
    assert text_attributes(active.data_points[0]) == {"http.request.method": "GET", "url.scheme": "http"}


def test_a_clients_points_name_the_server() -> None:
    series = Series(role="client", server_address="api", server_port=8080, status=0, error_type="timeout", route="")
    request = MetricsEncoder(delta=False, start_unix_ns=0).request(SHOP, [series], [], 1)
    point = by_name(request)["http.client.request.duration"].histogram.data_points[0]
    attributes = text_attributes(point)
    assert (attributes["server.address"], attributes["server.port"]) == ("api", 8080)
    assert attributes["error.type"] == "timeout"
    assert "http.response.status_code" not in attributes
    assert "http.route" not in attributes


def test_exemplars_name_spans() -> None:
    exemplars = (Exemplar(), Exemplar(0.5, 7, b"", b""))
    read = [Series(duration=histogram(2)._replace(exemplars=exemplars))]
    for delta in (False, True):
        request = MetricsEncoder(delta=delta, start_unix_ns=0).request(SHOP, read, [], 1)
        one, two = by_name(request)["http.server.request.duration"].histogram.data_points[0].exemplars
        assert (one.as_double, one.time_unix_nano) == (0.02, 1_700_000_001_000_000_000)
        assert (one.trace_id, one.span_id) == (bytes(range(16)), bytes(range(8)))
        assert (two.as_double, two.time_unix_nano, two.trace_id) == (0.5, 7, b"")


def test_the_overflow_series_has_no_other_attribute() -> None:
    request = MetricsEncoder(delta=False, start_unix_ns=0).request(SHOP, [Series(overflow=True, method="")], [], 1)
    point = by_name(request)["http.server.request.duration"].histogram.data_points[0]
    assert text_attributes(point) == {"otel.metric.overflow": True}


def test_calls_have_durations_of_their_own() -> None:
    series = [
        call_series(),
        call_series(status="INTERNAL", error_type="INTERNAL"),
        call_series(overflow=True),
        call_series(role="client", server=("cart", 50051)),
    ]
    metrics = by_name(MetricsEncoder(delta=False, start_unix_ns=0).request(SHOP, series, [], 1))
    assert {name: metric.unit for name, metric in metrics.items()} == {
        "rpc.server.call.duration": "s",
        "rpc.client.call.duration": "s",
    }
    server = [text_attributes(point) for point in metrics["rpc.server.call.duration"].histogram.data_points]
    call = {"rpc.system.name": "grpc", "rpc.method": "shop.v1.Cart/Add"}
    assert server == [
        {**call, "rpc.response.status_code": "OK"},
        {**call, "rpc.response.status_code": "INTERNAL", "error.type": "INTERNAL"},
        {"otel.metric.overflow": True},
    ]
    point = metrics["rpc.client.call.duration"].histogram.data_points[0]
    assert text_attributes(point) == {
        **call,
        "rpc.response.status_code": "OK",
        "server.address": "cart",
        "server.port": 50051,
    }


def test_delta_points_of_calls_are_kept_apart() -> None:
    encoder = MetricsEncoder(delta=True, start_unix_ns=0)
    for now, total in ((100, 3), (200, 5)):
        series = [call_series(duration=histogram(total)), call_series(status="NOT_FOUND", duration=histogram(total))]
        request = encoder.request(SHOP, series, [], now)
    points = by_name(request)["rpc.server.call.duration"].histogram.data_points
    assert [point.count for point in points] == [2, 2]


def test_each_process_is_a_resource_of_its_own() -> None:
    series = [Series(1), Series(2), Series(1, status=500, error_type="500"), Series(3)]
    request = MetricsEncoder(delta=False, start_unix_ns=0).request(SHOP, series, [], 1)
    names = [text_attributes(resource.resource)["service.name"] for resource in request.resource_metrics]
    assert names == ["shop", "web"]
    assert len(by_name(request)["http.server.request.duration"].histogram.data_points) == 2


def test_delta_points_are_what_was_new_and_begin_where_the_last_ended() -> None:
    encoder = MetricsEncoder(delta=True, start_unix_ns=0)
    first = encoder.request(SHOP, [Series(duration=histogram(2, 1))], [], 100)
    second = encoder.request(SHOP, [Series(duration=histogram(2, 3, 1, total=4.0))], [], 200)
    idle = encoder.request(SHOP, [Series(duration=histogram(2, 3, 1, total=4.0))], [], 300)
    third = encoder.request(SHOP, [Series(duration=histogram(3, 3, 1, total=4.5))], [], 400)

    points = [
        by_name(request)["http.server.request.duration"].histogram.data_points[0] for request in (first, second, third)
    ]
    assert [point.count for point in points] == [3, 3, 1]
    assert [point.sum for point in points] == [1.0, 3.0, 0.5]
    assert [list(point.bucket_counts[:3]) for point in points] == [[2, 1, 0], [0, 2, 1], [1, 0, 0]]
    assert [point.start_time_unix_nano for point in points] == [Series().start_unix_ns, 100, 200]
    assert not points[1].HasField("min")
    assert not idle.resource_metrics, "who has nothing new is not named"
    metric = by_name(second)["http.server.request.duration"]
    assert metric.histogram.aggregation_temporality == pb.AGGREGATION_TEMPORALITY_DELTA


def test_active_requests_stay_cumulative_with_delta() -> None:
    request = MetricsEncoder(delta=True, start_unix_ns=7).request(SHOP, [], [Active()], 99)
    active = by_name(request)["http.server.active_requests"].sum
    assert active.aggregation_temporality == pb.AGGREGATION_TEMPORALITY_CUMULATIVE
    assert active.data_points[0].start_time_unix_nano == 7


def test_the_agents_own_counters() -> None:
    books = Accounting(seen=10, exported=7, dropped={"budget": 2, "export_failed": 1}, records={"malformed": 1})
    assert books.pending == 0
    request = ExportMetricsServiceRequest()
    told = Own(tuple(own_counters(books, None, Delivery())))
    add_own(request, encode_resource({"service.name": "otel-ebpf"}).encoded, told, 1, 2)
    metrics = by_name(request)
    assert metrics["otel_ebpf.requests.seen"].sum.data_points[0].as_int == 10
    assert metrics["otel_ebpf.spans.exported"].sum.is_monotonic
    dropped = {
        text_attributes(point)["reason"]: point.as_int for point in metrics["otel_ebpf.spans.dropped"].sum.data_points
    }
    assert dropped == {"budget": 2, "export_failed": 1}
    assert metrics["otel_ebpf.records"].sum.data_points[0].as_int == 1


def test_the_queues_own_counters_and_levels() -> None:
    spans = Delivery(on_disk=True, pending=9, recovered=5, kept=7, kept_bytes=4096, write_errors=1)
    series = Delivery(exported=20, dropped={"queue_age": 3})
    books = Accounting(seen=10, exported=6, recovered=5, kept=7)
    assert books.pending == 2
    request = ExportMetricsServiceRequest()
    add_own(request, b"", Own(tuple(own_counters(books, spans, series)), tuple(own_levels(spans, series))), 1, 2)
    metrics = by_name(request)
    assert metrics["otel_ebpf.series.exported"].sum.data_points[0].as_int == 20
    assert text_attributes(metrics["otel_ebpf.series.dropped"].sum.data_points[0]) == {"reason": "queue_age"}
    assert metrics["otel_ebpf.queue.recovered"].sum.data_points[0].as_int == 5
    assert metrics["otel_ebpf.queue.write_errors"].sum.is_monotonic
    [items] = metrics["otel_ebpf.queue.items"].sum.data_points
    assert (items.as_int, text_attributes(items)) == (7, {"signal": "traces"})
    assert metrics["otel_ebpf.queue.size"].sum.data_points[0].as_int == 4096
    assert not metrics["otel_ebpf.queue.size"].sum.is_monotonic


def _of_calls(encoder: MetricsEncoder, *calls: Calls, now: int = 9) -> dict[str, pb.Metric]:
    return by_name(encoder.request(SHOP, (), (), now, calls))


def test_a_databases_calls_have_the_conventions_metric_and_bounds() -> None:
    metrics = _of_calls(MetricsEncoder(delta=False, start_unix_ns=0), Calls())
    point = metrics["db.client.operation.duration"].histogram.data_points[0]
    assert list(point.explicit_bounds) == [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10]
    assert len(point.bucket_counts) == 10
    assert text_attributes(point) == {"db.system.name": "redis", "server.port": 6379}
    served = _of_calls(MetricsEncoder(delta=False, start_unix_ns=0), Calls(role="server"))
    assert list(served) == ["otel_ebpf.db.server.operation.duration"]


def test_messages_are_counted_by_what_is_done_with_them() -> None:
    def call(operation: str, messages: int = 5) -> Calls:
        return Calls(
            area="messaging",
            attributes={"messaging.operation.type": operation},
            duration=histogram(1),
            messages=messages,
        )

    def names(operation: str) -> set[str]:
        return set(_of_calls(MetricsEncoder(delta=False, start_unix_ns=0), call(operation)))

    assert names("send") == {"messaging.client.operation.duration", "messaging.client.sent.messages"}
    assert names("receive") == {"messaging.client.operation.duration", "messaging.client.consumed.messages"}
    assert names("process") == {"messaging.process.duration", "messaging.client.consumed.messages"}

    encoder = MetricsEncoder(delta=True, start_unix_ns=0)
    sent = []
    for now, messages in ((10, 5), (20, 12)):
        grown = call("send", messages)._replace(duration=histogram(now))
        total = _of_calls(encoder, grown, now=now)["messaging.client.sent.messages"].sum
        assert total.aggregation_temporality == pb.AGGREGATION_TEMPORALITY_DELTA
        point = total.data_points[0]
        sent.append((point.start_time_unix_nano, point.time_unix_nano, point.as_int))
    assert sent == [(Calls().start_unix_ns, 10, 5), (10, 20, 7)]


def test_the_overflow_series_of_calls_has_no_other_attribute() -> None:
    metrics = _of_calls(MetricsEncoder(delta=False, start_unix_ns=0), Calls(overflow=True, attributes={}))
    point = metrics["db.client.operation.duration"].histogram.data_points[0]
    assert text_attributes(point) == {"otel.metric.overflow": True}
