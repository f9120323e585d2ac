"""A reading in each format, read back with prometheus_client's parsers and the protobuf messages."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf import proto
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families as parse_text
from tests.unit.export.test_exponential import sdk
from tests.unit.export.test_metrics import histogram
from tests.unit.fakes import Active, Calls, Exemplar, Exponential, Histogram, Series

from otel_ebpf import __version__, semconv
from otel_ebpf.enrich.process import encode_resource
from otel_ebpf.export.own import LATENCY, QUEUE_BYTES, SEEN, Distribution, Own
from otel_ebpf.export.prometheus.protobuf import CONTENT_TYPE, family_class
from otel_ebpf.export.prometheus.reading import Reading, negotiate, render
from otel_ebpf.model import Attributes

_parse_openmetrics: Callable[[str], Iterator[Metric]] = openmetrics_parser.text_string_to_metric_families
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
SHOP: Attributes = {
    "service.name": "cart",
    "service.namespace": "shop",
    "service.instance.id": "shop.cart-1.app",
    "process.pid": 42,
    "host.name": "node-1",
}
SCOPE = {
    "otel_scope_name": semconv.SCOPE_NAME,
    "otel_scope_version": __version__,
    "otel_scope_schema_url": semconv.SCHEMA_URL,
}
TARGET = {"job": "shop/cart", "instance": "shop.cart-1.app"}
OWN = encode_resource({"service.name": "otel-ebpf"}).encoded


def reading(*series: Series, calls: tuple[Calls, ...] = (), active: tuple[Active, ...] = ()) -> Reading:
    resources = {1: encode_resource(SHOP).encoded, 2: encode_resource({**SHOP, "process.pid": 43}).encoded}
    latency = Distribution(LATENCY, {}, 3, 0.6, [2, 1, *[0] * (len(LATENCY.bounds) - 1)])
    told = Own([(SEEN, {}, 10)], [(QUEUE_BYTES, {"signal": "a"}, 4)], [latency])
    return Reading(99, 5, OWN, resources, series, calls, active, told)


def openmetrics(read: Reading) -> dict[str, Metric]:
    content_type, pieces = render(read, OPENMETRICS)
    body = b"".join(pieces)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    return {family.name: family for family in _parse_openmetrics(body.decode())}


def protobuf(read: Reading) -> dict[str, Any]:
    content_type, pieces = render(read, PROTOBUF)
    body = b"".join(pieces)
    assert content_type == CONTENT_TYPE
    return {family.name: family for family in _delimited(body)}


def _delimited(body: bytes) -> Iterator[Any]:
    stream = io.BytesIO(body)
    while (message := proto.parse_length_prefixed(family_class(), stream)) is not None:
        yield message


def test_a_histogram_with_its_labels_in_openmetrics() -> None:
    family = openmetrics(reading(Series(duration=histogram(2, 1))))["http_server_request_duration_seconds"]
    assert (family.type, family.unit, family.documentation) == (
        "histogram",
        "seconds",
        "Duration of HTTP server requests.",
    )
    labels = {
        **TARGET,
        **SCOPE,
        "process_pid": "42",
        "http_request_method": "GET",
        "url_scheme": "http",
        "http_route": "/orders/{id}",
        "http_response_status_code": "200",
        "network_protocol_name": "http",
        "network_protocol_version": "1.1",
    }
    values = {
        (sample.name.removeprefix(family.name), sample.labels.get("le")): sample.value for sample in family.samples
    }
    assert values["_count", None] == 3
    assert values["_sum", None] == 1.0
    assert (values["_bucket", "0.005"], values["_bucket", "0.01"], values["_bucket", "+Inf"]) == (2, 3, 3)
    assert len(values) == 17
    for sample in family.samples:
        assert {key: value for key, value in sample.labels.items() if key != "le"} == labels


def test_counters_gauges_and_target_info() -> None:
    found = openmetrics(reading(active=(Active(),)))
    [seen] = found["otel_ebpf_requests_seen"].samples
    assert (seen.name, seen.value, seen.labels) == (
        "otel_ebpf_requests_seen_total",
        10,
        {"job": "otel-ebpf", "instance": "", **SCOPE},
    )
    [size] = found["otel_ebpf_queue_size_bytes"].samples
    assert (found["otel_ebpf_queue_size_bytes"].type, size.value, size.labels["signal"]) == ("gauge", 4, "a")
    [active] = found["http_server_active_requests"].samples
    assert active.value == 3
    shop, own = found["target"].samples
    assert (shop.name, shop.value) == ("target_info", 1)
    assert shop.labels == {**TARGET, "process_pid": "42", "host_name": "node-1"}
    assert own.labels == {"job": "otel-ebpf", "instance": ""}


def test_processes_of_one_instance_are_told_apart_and_described_by_what_they_share() -> None:
    found = openmetrics(reading(Series(1), Series(2)))
    counts = [
        sample for sample in found["http_server_request_duration_seconds"].samples if sample.name.endswith("_count")
    ]
    assert [sample.labels["process_pid"] for sample in counts] == ["42", "43"]
    assert found["target"].samples[0].labels == {**TARGET, "host_name": "node-1"}


def test_what_would_come_twice_comes_once() -> None:
    found = openmetrics(reading(Series(duration=histogram(5)), Series(duration=histogram(9))))
    counts = [
        sample for sample in found["http_server_request_duration_seconds"].samples if sample.name.endswith("_count")
    ]
    assert [sample.value for sample in counts] == [5]


def test_exemplars_stand_at_their_buckets() -> None:
    exemplars = (Exemplar(0.02), Exemplar(0.5, 1_700_000_002_500_000_000), Exemplar(0.005, 7, b"", b""))
    read = reading(Series(duration=histogram(1, 1, 1)._replace(exemplars=exemplars)))
    samples = openmetrics(read)["http_server_request_duration_seconds"].samples
    found = {sample.labels["le"]: sample.exemplar for sample in samples if sample.exemplar}
    assert set(found) == {"0.005", "0.025", "0.5"}
    assert found["0.025"].labels == {"trace_id": bytes(range(16)).hex(), "span_id": bytes(range(8)).hex()}
    assert (found["0.5"].value, str(found["0.5"].timestamp)) == (0.5, "1700000002.500000000")
    assert found["0.005"].labels == {}


def test_plain_text_for_who_asks_for_nothing_else() -> None:
    for accept in ("", "*/*", "text/plain;version=0.0.4"):
        content_type, pieces = render(reading(Series(), calls=(Calls(messages=3),)), accept)
        body = b"".join(pieces)
        assert content_type.startswith("text/plain; version=0.0.4")
        found = {family.name: family for family in parse_text(body.decode())}
        assert found["http_server_request_duration_seconds"].type == "histogram"
        assert found["otel_ebpf_requests_seen"].type == "counter"
        assert found["target_info"].type == "gauge"
        assert found["db_client_operation_duration_seconds"].samples[0].labels["db_system_name"] == "redis"


def test_the_overflow_series_is_named() -> None:
    samples = openmetrics(reading(Series(overflow=True, method="")))["http_server_request_duration_seconds"].samples
    assert {sample.labels["otel_metric_overflow"] for sample in samples} == {"true"}


def test_hostile_values_stay_values() -> None:
    evil = 'x"} 1\n# EOF\nevil_metric{a="\\'
    found = openmetrics(reading(Series(route=evil)))
    assert "evil_metric" not in found
    assert found["http_server_request_duration_seconds"].samples[0].labels["http_route"] == evil


def upper_bounds(message: Any) -> list[tuple[float, int]]:
    """The native buckets that count anything, as (upper bound, count), by Prometheus' rules."""
    found, index, place, count = [], 0, 0, 0
    for span in message.positive_span:
        index += span.offset
        for _ in range(span.length):
            count += message.positive_delta[place]
            place += 1
            if count:
                found.append((2 ** (index * 2**-message.schema), count))
            index += 1
    assert place == len(message.positive_delta)
    return found


@pytest.mark.parametrize("durations", [[0.0, 0.25, 0.5, 0.5, 3.0], [1e-6, 5.0], [0.001 * n for n in range(1, 200)]])
def test_native_histograms(durations: list[float]) -> None:
    read = histogram(len(durations))._replace(exponential=sdk(durations), exemplars=(Exemplar(),))
    family = protobuf(reading(Series(duration=read)))["http_server_request_duration_seconds"]
    assert (family.type, family.unit) == (4, "seconds")
    [metric] = family.metric
    message = metric.histogram
    assert (message.sample_count, message.zero_count) == (len(durations), durations.count(0.0))
    assert message.schema <= 8
    assert message.zero_threshold > 0
    assert message.created_timestamp.ToNanoseconds() == Series().start_unix_ns
    # each value is in the bucket that ends at or above it, and begins below it
    expected: dict[float, int] = {}
    bounds = upper_bounds(message)
    for value in filter(None, durations):
        bound = next(bound for bound, _ in bounds if value <= bound * (1 + 1e-12))
        assert value > bound / 2**2**-message.schema * (1 - 1e-12)
        expected[bound] = expected.get(bound, 0) + 1
    assert list(expected.items()) == bounds
    assert len(message.bucket) == 15, "the classic ones are there too"
    assert message.bucket[14].upper_bound == float("inf")
    assert message.bucket[2].exemplar.label[0].name == "span_id"
    assert message.exemplars[0].value == 0.02


def test_an_empty_native_histogram_is_one_all_the_same() -> None:
    read = Histogram(0, 0.0, 0.0, 0.0, (0,) * 15, Exponential(20, 0, 0, ()))
    family = protobuf(reading(Series(duration=read)))["http_server_request_duration_seconds"]
    assert [(span.offset, span.length) for span in family.metric[0].histogram.positive_span] == [(0, 0)]


def test_protobuf_has_the_rest_too() -> None:
    found = protobuf(reading(active=(Active(),)))
    assert found["otel_ebpf_requests_seen_total"].metric[0].counter.value == 10
    assert found["http_server_active_requests"].metric[0].gauge.value == 3
    [latency] = found["otel_ebpf_export_latency_seconds"].metric
    assert (latency.histogram.sample_count, latency.histogram.bucket[0].cumulative_count) == (3, 2)
    labels = {pair.name: pair.value for pair in found["target_info"].metric[0].label}
    assert labels == {**TARGET, "process_pid": "42", "host_name": "node-1"}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        # Prometheus 2.42 with native histograms, and without; 3.x
        (
            f"{PROTOBUF},application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "protobuf",
        ),
        ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75", "openmetrics"),
        (
            f"{PROTOBUF};q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2",
            "protobuf",
        ),
        (f"application/openmetrics-text;version=1.0.0;q=0.6,{PROTOBUF};q=0.5", "openmetrics"),
        ("text/plain;version=0.0.4;q=0.9,application/openmetrics-text;q=0.5", "text"),
        ("application/vnd.google.protobuf", "text"),
        (f"{PROTOBUF};q=nonsense", "text"),
        (f"{PROTOBUF};q=0", "text"),
        (";;,=,q=", "text"),
        ("image/png", "text"),
        ("", "text"),
    ],
)
def test_each_has_the_format_that_it_prefers(accept: str, expected: str) -> None:
    assert negotiate(accept) == expected
